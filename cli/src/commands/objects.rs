//! What commands on volumes, networks and contexts share: inspection and questions before removal.

use std::io::BufRead as _;

use super::shape;
use crate::args::parse::quote;
use crate::client::{Client, Request};
use crate::error::{Failure, Result};
use crate::{sys, units};
use shoal_gotemplate::value::{Value, indent};
use shoal_gotemplate::{Missing, Template};

/// Shows objects, each given as JSON; then fails with the errors of those that could not be read.
pub(super) fn show(format: &str, found: &[String], errors: &[String]) -> Result {
    show_as("", format, found, errors)
}

/// As [`show`], of objects of this kind, the types of whose members templates know.
pub(super) fn show_as(kind: &str, format: &str, found: &[String], errors: &[String]) -> Result {
    let mut errors = errors.to_vec();
    sys::out(render(kind, format, found, &mut errors)?);
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}

/// An object that the template does not fit is one of the `errors`; the others are shown.
fn render(kind: &str, format: &str, found: &[String], errors: &mut Vec<String>) -> Result<String> {
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
        match template.render(&shape::typed(kind, &data), Missing::Key) {
            Ok(line) => text = text + &line + "\n",
            Err(why) => errors.push(format!("template parsing error: {why}")),
        }
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

    fn rendered(format: &str, found: &[String]) -> Result<String> {
        render("", format, found, &mut Vec::new())
    }

    #[test]
    fn an_object_that_does_not_fit_is_an_error_beside_the_others() {
        let found = [r#"{"A":1}"#.to_owned(), r#"{"B":2}"#.to_owned()];
        let mut errors = vec!["no such thing".to_owned()];
        assert_eq!(render("", "{{.B}}", &found, &mut errors).unwrap(), "2\n");
        let why = "template: :1:2: executing \"\" at <.B>: map has no entry for key \"B\"";
        assert_eq!(errors, ["no such thing".to_owned(), format!("template parsing error: {why}")]);
    }

    #[test]
    fn objects_are_shown_as_docker_shows_them() {
        let found = [r#"{"Name":"a","L":{}}"#.to_owned()];
        assert_eq!(rendered("", &[]).unwrap(), "[]\n");
        assert_eq!(
            rendered("", &found).unwrap(),
            "[\n    {\n        \"Name\": \"a\",\n        \"L\": {}\n    }\n]\n"
        );
        assert_eq!(rendered("{{.Name}}", &found).unwrap(), "a\n");
        assert_eq!(rendered("{{.Name}}", &[]).unwrap(), "\n");
        assert_eq!(rendered("json", &found).unwrap(), "[{\"Name\":\"a\",\"L\":{}}]\n");
        assert_eq!(rendered("{{", &found).unwrap_err().code, 64);
    }

    #[test]
    fn removed_things_are_listed_or_not_mentioned() {
        assert_eq!(deleted("Deleted Volumes", ["a".to_owned()]), "Deleted Volumes:\na\n");
        assert_eq!(deleted("Deleted Volumes", []), "");
        assert_eq!(pairs(&["a=b=c".into(), "d".into()]), serde_json::json!({"a": "b=c", "d": ""}));
    }
}
