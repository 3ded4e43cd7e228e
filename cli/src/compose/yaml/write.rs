//! JSON values → YAML. Pure.

use serde_json::Value as Json;

use super::plain;

/// Writes a value as YAML in the block style.
pub(crate) fn write(value: &Json) -> String {
    let mut out = String::new();
    write_block(value, 0, &mut out);
    out
}
fn write_block(value: &Json, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                out.push_str(&format!("{pad}{}:", word(key)));
                write_after_key(value, indent, out);
            }
        }
        Json::Array(list) if !list.is_empty() => {
            for value in list {
                let mut inner = String::new();
                write_block(value, indent + 2, &mut inner);
                out.push_str(&format!("{pad}- {}", &inner[inner.len().min(indent + 2)..]));
            }
        }
        scalar => out.push_str(&format!("{pad}{}\n", inline(scalar))),
    }
}

fn write_after_key(value: &Json, indent: usize, out: &mut String) {
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            write_block(value, indent + 2, out);
        }
        Json::Array(list) if !list.is_empty() => {
            out.push('\n');
            write_block(value, indent, out);
        }
        scalar => out.push_str(&format!(" {}\n", inline(scalar))),
    }
}

fn inline(value: &Json) -> String {
    match value {
        Json::String(text) => word(text),
        Json::Object(_) => "{}".to_owned(),
        Json::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// A text, quoted when it would mean something else without quotes.
fn word(text: &str) -> String {
    let special = text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@` ".contains(c))
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
        || text.chars().any(char::is_control)
        || matches!(text.to_ascii_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off");
    if text.chars().any(char::is_control) {
        return Json::from(text).to_string();
    }
    if special || !matches!(plain(text), Json::String(_)) {
        let quoted = text.replace('\'', "''");
        // Numbers and the like are quoted as Go's library does it.
        return if special && !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            format!("'{quoted}'")
        } else {
            Json::from(text).to_string()
        };
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_reads_the_same() {
        let value = json!({"a": ["x", {"b": "1", "c": []}, ["y"]], "d": {"e": "a: b", "f": {}},
                           "g": "yes", "h": "two\nlines", "i": null, "j": 1.5, "k": "- x", "l": ""});
        let text = write(&value);
        assert_eq!(parse("", &text).unwrap().value, value, "{text}");
    }
}
