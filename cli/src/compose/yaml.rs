//! YAML → JSON values: anchors, merge keys, and scalars as Go's YAML library reads them; and back. Pure.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value as Json};

/// Nesting and copies by aliases end here: a file of a few lines must not fill the memory.
const MOST_NODES: usize = 200_000;
const MOST_DEPTH: usize = 100;

/// Reads one document.
///
/// # Errors
/// What is wrong, and on which line.
pub(crate) fn parse(text: &str) -> Result<Json, String> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    let mut document = None;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(document.unwrap_or(Json::Null)),
            (Event::StreamStart | Event::Nothing | Event::DocumentEnd, _) => {}
            (Event::DocumentStart(_), line) if document.is_some() => {
                return Err(format!("yaml: line {line}: more than one document"));
            }
            (Event::DocumentStart(_), _) => {
                let (event, line) = reader.next()?;
                document = Some(reader.node(event, line, 0)?);
            }
            (_, line) => return Err(format!("yaml: line {line}: unexpected content")),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, (Json, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, usize), String> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => {
                Err(format!("yaml: line {}: {}", error.marker().line(), error.info()))
            }
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > MOST_NODES {
            return Err(format!("yaml: line {line}: document contains excessive aliasing"));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Json, String> {
        if depth > MOST_DEPTH {
            return Err(format!("yaml: line {line}: exceeded max depth of {MOST_DEPTH}"));
        }
        let before = self.nodes;
        self.count(1, line)?;
        let (value, anchor) = match event {
            Event::Alias(id) => {
                let (value, nodes) = self
                    .anchors
                    .get(&id)
                    .cloned()
                    .ok_or_else(|| format!("yaml: line {line}: unknown anchor"))?;
                self.count(nodes, line)?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix));
                (scalar(&text, style, tag.as_deref(), line)?, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(depth)?, anchor),
            _ => return Err(format!("yaml: line {line}: unexpected content")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - before));
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Json, String> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Json::Array(list)),
                (event, line) => list.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Json, String> {
        let mut own = Map::new();
        let mut merged: Vec<Json> = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = match self.node(event, line, depth + 1)? {
                Json::String(key) => key,
                Json::Null => "null".to_owned(),
                other @ (Json::Bool(_) | Json::Number(_)) => other.to_string(),
                _ => return Err(format!("yaml: line {line}: a key must be a scalar")),
            };
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            if merge {
                match value {
                    Json::Array(list) => merged.extend(list),
                    other => merged.push(other),
                }
            } else if own.insert(key.clone(), value).is_some() {
                return Err(format!("yaml: line {line}: mapping key {key:?} already defined"));
            }
        }
        // What a mapping says itself goes before what it merges, and earlier merges before later ones.
        for source in merged {
            let Json::Object(fields) = source else {
                return Err("yaml: map merge requires map or sequence of maps as the value".into());
            };
            for (key, value) in fields {
                own.entry(key).or_insert(value);
            }
        }
        Ok(Json::Object(own))
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&str>, line: usize) -> Result<Json, String> {
    match tag {
        Some("tag:yaml.org,2002:str") => return Ok(text.into()),
        Some("tag:yaml.org,2002:null") => return Ok(Json::Null),
        None if style != ScalarStyle::Plain => return Ok(text.into()),
        None
        | Some("tag:yaml.org,2002:int" | "tag:yaml.org,2002:float" | "tag:yaml.org,2002:bool") => {}
        Some("!") => return Ok(text.into()),
        Some(tag) => return Err(format!("yaml: line {line}: unknown tag `{tag}`")),
    }
    Ok(plain(text))
}

/// The meaning of a plain scalar.
fn plain(text: &str) -> Json {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Json::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    integer(text).or_else(|| float(text)).unwrap_or_else(|| text.into())
}

/// Integers, in the bases of Go's library: `0x1F`, `0o17`, `017`, `0b11`, `1_000`.
fn integer(text: &str) -> Option<Json> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let (base, digits) = if let Some(hex) = digits.strip_prefix("0x") {
        (16, hex)
    } else if let Some(binary) = digits.strip_prefix("0b") {
        (2, binary)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        (8, octal)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits.as_str())
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let value = sign * i128::from_str_radix(digits, base).ok()?;
    let signed = i64::try_from(value).map(Json::from);
    signed.or_else(|_| u64::try_from(value).map(Json::from)).ok()
}

fn float(text: &str) -> Option<Json> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric = body.starts_with(|c: char| c.is_ascii_digit())
        || body
            .strip_prefix('.')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let shape = body.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
    if !numeric || !shape {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    serde_json::Number::from_f64(value).map(Json::Number)
}

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
    use super::*;
    use serde_json::json;

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let text = "x-base: &base {image: a, tty: true}\nx-more: &more\n  user: u\n  tty: false\n\
                    one:\n  <<: [*base, *more]\n  image: b\ntwo: *base\n";
        let value = parse(text).unwrap();
        assert_eq!(value["one"], json!({"image": "b", "tty": true, "user": "u"}));
        assert_eq!(value["two"], json!({"image": "a", "tty": true}));
    }

    #[test]
    fn scalars_mean_what_they_mean_to_docker() {
        let text = "a: 0440\nb: 0o17\nc: 1.5\nd: yes\ne: ~\nf: \"1\"\ng: 3.8.1\nh: 1_000\ni: 22:22\n\
                    j: !!str 5\nk: |\n  x\n  y\nl:\nm: 0x10\nn: -3\no: 1e3\np: 08\n";
        assert_eq!(
            parse(text).unwrap(),
            json!({"a": 288, "b": 15, "c": 1.5, "d": "yes", "e": null, "f": "1", "g": "3.8.1",
                   "h": 1000, "i": "22:22", "j": "5", "k": "x\ny\n", "l": null, "m": 16, "n": -3,
                   "o": 1000.0, "p": 8.0})
        );
    }

    #[test]
    fn faults_have_a_line() {
        assert_eq!(
            parse("a: 1\nb: 2\na: 3\n").unwrap_err(),
            "yaml: line 3: mapping key \"a\" already defined"
        );
        assert!(parse("a: [1\nb: 2").unwrap_err().starts_with("yaml: line "));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let item = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [item.as_str(); 10].join(",")));
        }
        assert!(parse(&bomb).unwrap_err().ends_with("document contains excessive aliasing"));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let value = json!({"a": ["x", {"b": "1", "c": []}, ["y"]], "d": {"e": "a: b", "f": {}},
                           "g": "yes", "h": "two\nlines", "i": null, "j": 1.5, "k": "- x", "l": ""});
        let text = write(&value);
        assert_eq!(parse(&text).unwrap(), value, "{text}");
    }
}
