//! `--format`: tables, templates, JSON; and names as people write them. Pure, but for `print`.

use crate::context::Context;
use crate::error::{Failure, Result};
use crate::table::align;
use shoal_gotemplate::value::Value;
use shoal_gotemplate::{Missing, Template};

/// A row: its columns by name, in the order in which they are declared.
#[derive(Debug, Clone, Default)]
pub(super) struct Row(Vec<(String, Value)>);

impl Row {
    /// Adds a column, or replaces it.
    pub(super) fn put(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.retain(|(name, _)| name != key);
        self.0.push((key.to_owned(), value.into()));
        self
    }
}

/// What a list of objects can be shown as.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    /// Template of the default table, without the word `table`.
    pub(super) table: &'a str,
    /// Template with `--quiet`.
    pub(super) quiet: &'a str,
    /// Header of each column.
    pub(super) headers: &'a [(&'a str, &'a str)],
}

impl Listing<'_> {
    /// Renders rows in the format that was asked for.
    pub(super) fn render(
        &self,
        format: &str,
        quiet: bool,
        rows: Vec<Row>,
    ) -> std::result::Result<String, String> {
        let table = format!("table {}", self.table);
        let format = match format {
            "" | "table" if quiet => self.quiet,
            "" | "table" => &table,
            "json" => "{{json .}}",
            "raw" if quiet => self.quiet,
            other => other,
        };
        let (is_table, template) = match format.strip_prefix("table") {
            Some(rest) => (true, rest.trim()),
            None => (false, format),
        };
        let template = template.replace("\\t", "\t").replace("\\n", "\n");
        let parsed =
            Template::parse(&template).map_err(|why| format!("template parsing error: {why}"))?;
        let mut text = String::new();
        if is_table {
            let headers: Vec<_> = self
                .headers
                .iter()
                .map(|(key, header)| ((*key).to_owned(), Value::from(*header)))
                .collect();
            let mut labels = headers;
            labels.push(("\0labels".into(), Value::Map(Vec::new())));
            text.push_str(&header(&template, &Value::Map(labels)));
            text.push('\n');
        }
        for row in rows {
            // Go marshals the columns as a map: sorted.
            let mut fields = row.0;
            fields.sort_by(|left, right| left.0.cmp(&right.0));
            let data = Value::Map(fields);
            let line = if template == "{{json .}}" {
                data.json(true)
            } else {
                parsed
                    .render(&data, Missing::Field)
                    .map_err(|why| format!("template parsing error: {why}"))?
            };
            text.push_str(&line);
            text.push('\n');
        }
        Ok(if is_table { align(&text, 10) } else { text })
    }

    /// Renders in the format of the command line or of the configuration.
    pub(super) fn print(
        &self,
        context: &Context,
        setting: &str,
        format: &str,
        quiet: bool,
        rows: Vec<Row>,
    ) -> Result {
        let configured = || if quiet { "" } else { context.setting(setting).unwrap_or_default() };
        let format = if format.is_empty() { configured() } else { format };
        crate::sys::out(self.render(format, quiet, rows).map_err(Failure::new)?);
        Ok(())
    }
}

/// The header is the template on the headers, where functions do not apply: they leave the header alone.
/// Headers are never empty, so conditions hold and what follows `else` is left out.
fn header(template: &str, headers: &Value) -> String {
    let mut plain = String::new();
    let mut left = template;
    let mut otherwise = None;
    while let Some(open) = left.find("{{") {
        let text = &left[..open];
        let Some(close) = left[open..].find("}}") else { break };
        let action = &left[open + 2..open + close];
        left = &left[open + close + 2..];
        if otherwise.is_none() {
            plain.push_str(text);
        }
        match (action.split_whitespace().next().unwrap_or_default(), &mut otherwise) {
            ("if" | "with" | "range", Some(depth)) => *depth += 1,
            ("end", Some(0)) => otherwise = None,
            ("end", Some(depth)) => *depth -= 1,
            ("else", None) => otherwise = Some(0usize),
            _ => {}
        }
        if otherwise.is_some() || action.trim_start().starts_with("if ") {
            continue;
        }
        let field = action.split_whitespace().find(|word| word.starts_with('.'));
        let field =
            field.map(|word| word.trim_start_matches('.').split('.').next().unwrap_or_default());
        if let Some(name) = field {
            let label = (name == "Label").then(|| action.split('"').nth(1)).flatten();
            plain.push_str(&label.map_or_else(
                || headers.at(name).text().to_owned(),
                |text| text.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " "),
            ));
        }
    }
    plain.push_str(left);
    plain
}

/// Splits `name:tag`; the colon of a port is not one.
pub(crate) fn split_tag(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repo, tag)) if !tag.contains('/') => (repo, tag),
        _ => (name, ""),
    }
}

/// The short form in which docker shows an image, with a tag.
pub(super) fn familiar(image: &str) -> String {
    let short = image.strip_prefix("docker.io/").unwrap_or(image);
    let short = short.strip_prefix("library/").unwrap_or(short);
    if short.contains('@') || !split_tag(short).1.is_empty() {
        short.to_owned()
    } else {
        format!("{short}:latest")
    }
}

/// A platform `os[/arch[/variant]]` as the API takes it: JSON, or nothing for nothing.
pub(super) fn platform(text: &str) -> Result<String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let parts: Vec<&str> = text.split('/').collect();
    let is_word = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if parts.len() > 3 || !parts.iter().all(is_word) {
        return Err(format!("invalid platform: {text:?}: must be os[/arch[/variant]]").into());
    }
    let keys = ["os", "architecture", "variant"];
    let platform: serde_json::Map<String, serde_json::Value> =
        keys.iter().zip(&parts).map(|(key, part)| ((*key).to_owned(), (*part).into())).collect();
    Ok(serde_json::Value::Object(platform).to_string())
}

/// Filters of the command line as the API takes them.
pub(super) fn filters(given: &[String]) -> String {
    let mut map =
        std::collections::BTreeMap::<String, std::collections::BTreeMap<String, bool>>::new();
    for filter in given.iter().filter(|filter| !filter.is_empty()) {
        let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
        map.entry(key.trim().to_lowercase()).or_default().insert(value.trim().to_owned(), true);
    }
    if map.is_empty() { String::new() } else { serde_json::json!(map).to_string() }
}

/// `k=v,…`, sorted.
pub(super) fn labels(labels: &Value) -> String {
    let mut all: Vec<String> =
        labels.fields().iter().map(|(key, value)| format!("{key}={}", value.text())).collect();
    all.sort_unstable();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(format: &str, quiet: bool) -> String {
        let listing = Listing {
            table: "{{.ID}}\t{{.Name}}",
            quiet: "{{.ID}}",
            headers: &[("ID", "ID"), ("Name", "NAME")],
        };
        let row = Row::default()
            .put("Name", "<a>")
            .put("ID", "1")
            .put("\0labels", Value::Map(vec![("x".into(), "y".into())]));
        listing.render(format, quiet, vec![row]).unwrap_or_else(|error| error)
    }

    #[test]
    fn formats_are_dockers() {
        assert_eq!(render("", false), "ID        NAME\n1         <a>\n");
        assert_eq!(render("", true), "1\n");
        assert_eq!(render("json", false), "{\"ID\":\"1\",\"Name\":\"\\u003ca\\u003e\"}\n");
        assert_eq!(
            render("table {{upper .Name}}\\t{{.Label \"x\"}}", false),
            "NAME      x\n<A>       y\n"
        );
        assert_eq!(render("{{.ID}}:{{.Name}}", false), "1:<a>\n");
        assert_eq!(
            render("table {{if .ID}}{{.ID}}{{else}}{{.Name}}-{{end}}\\t{{.Name}}", false),
            "ID        NAME\n1         <a>\n"
        );
    }

    #[test]
    fn platforms_become_json() {
        assert_eq!(platform(""), Ok(String::new()));
        let expected = r#"{"architecture":"arm64","os":"linux"}"#;
        assert_eq!(platform("linux/arm64").unwrap(), expected);
        let refused = platform("linux//x").unwrap_err();
        assert_eq!(refused.message, "invalid platform: \"linux//x\": must be os[/arch[/variant]]");
    }

    #[test]
    fn names_are_shown_short() {
        assert_eq!(familiar("busybox"), "busybox:latest");
        assert_eq!(familiar("docker.io/library/busybox:1"), "busybox:1");
        assert_eq!(familiar("localhost:5000/x"), "localhost:5000/x:latest");
        assert_eq!(filters(&["a=b".into(), "a=c".into()]), r#"{"a":{"b":true,"c":true}}"#);
    }
}
