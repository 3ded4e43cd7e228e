//! What commands on volumes, networks and contexts share: inspection and questions before removal.

use std::io::BufRead as _;

use crate::args::parse::quote;
use crate::client::{Client, Request};
use crate::error::{Failure, Result};
use crate::{sys, units};
use shoal_gotemplate::value::{Value, indent};
use shoal_gotemplate::{Missing, Template};

/// Shows objects, each given as JSON; then fails with the errors of those that could not be read.
pub(super) fn show(format: &str, found: &[String], errors: &[String]) -> Result {
    sys::out(render(format, found)?);
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}

fn render(format: &str, found: &[String]) -> Result<String> {
    let list = format!("[{}]", found.join(","));
    match format {
        "" => return Ok(indent(&list, "") + "\n"),
        "json" => return Ok(list + "\n"),
        _ => {}
    }
    let template = Template::parse(format)
        .map_err(|why| Failure::new(format!("template parsing error: {why}")).with_code(64))?;
    let mut text = String::new();
    for object in found {
        let data: Value = serde_json::from_str(object)
            .map_err(|error| Failure::new(format!("reading the answer: {error}")))?;
        let line = template
            .render(&data, Missing::Key)
            .map_err(|why| Failure::new(format!("template parsing error: {why}")))?;
        text.push_str(&line);
        text.push('\n');
    }
    // An empty result is an empty line, as scripts expect it.
    Ok(if text.is_empty() { "\n".to_owned() } else { text })
}

/// Reads objects at these paths and shows them.
pub(super) async fn inspect(
    client: &Client,
    format: &str,
    requests: impl Iterator<Item = Request>,
) -> Result {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for request in requests {
        let read = async { client.send(request).await?.text().await };
        match read.await {
            Ok(text) => found.push(text.trim().to_owned()),
            Err(error) => errors.push(error.to_string()),
        }
    }
    show(format, &found, &errors)
}

/// Asks before something is removed. Anything but `y` ends the program with success and without a word.
pub(super) fn confirm(question: &str) -> Result {
    sys::out(format!("{question} [y/N] "));
    let mut line = String::new();
    // A closed standard input is a refusal.
    let read = std::io::stdin().lock().read_line(&mut line);
    if read.is_ok() && line.trim().eq_ignore_ascii_case("y") {
        return Ok(());
    }
    Err(Failure::code(0))
}

/// A list of removed things under a heading; nothing when there are none.
pub(super) fn deleted(heading: &str, names: impl IntoIterator<Item = String>) -> String {
    let lines: String = names.into_iter().map(|name| name + "\n").collect();
    if lines.is_empty() { lines } else { format!("{heading}:\n{lines}") }
}

/// The last line of every `prune`.
pub(super) fn reclaimed(bytes: f64) {
    sys::line(format_args!("Total reclaimed space: {}", units::human_size(bytes)));
}

/// `k=v` options as a JSON object.
pub(super) fn pairs(given: &[String]) -> serde_json::Value {
    let map: serde_json::Map<String, serde_json::Value> = given
        .iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.to_owned(), value.into())
        })
        .collect();
    serde_json::Value::Object(map)
}

/// Refuses what is not `key=value`.
pub(super) fn pair(text: &str) -> std::result::Result<(), String> {
    if text.contains('=') {
        return Ok(());
    }
    Err(format!("{} is not in the form key=value", quote(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_shown_as_docker_shows_them() {
        let found = [r#"{"Name":"a","L":{}}"#.to_owned()];
        assert_eq!(render("", &[]).unwrap(), "[]\n");
        assert_eq!(
            render("", &found).unwrap(),
            "[\n    {\n        \"Name\": \"a\",\n        \"L\": {}\n    }\n]\n"
        );
        assert_eq!(render("{{.Name}}", &found).unwrap(), "a\n");
        assert_eq!(render("{{.Name}}", &[]).unwrap(), "\n");
        assert_eq!(render("json", &found).unwrap(), "[{\"Name\":\"a\",\"L\":{}}]\n");
        assert_eq!(render("{{", &found).unwrap_err().code, 64);
    }

    #[test]
    fn removed_things_are_listed_or_not_mentioned() {
        assert_eq!(deleted("Deleted Volumes", ["a".to_owned()]), "Deleted Volumes:\na\n");
        assert_eq!(deleted("Deleted Volumes", []), "");
        assert_eq!(pairs(&["a=b=c".into(), "d".into()]), serde_json::json!({"a": "b=c", "d": ""}));
    }
}
