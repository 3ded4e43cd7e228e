//! JSON whose objects keep the order of their keys, as Go's structs do.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "as in JSON")]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
    /// A nil pointer to this type.
    Nil(String),
    /// What is written in JSON otherwise than it is shown: bytes, times, durations.
    Coded {
        json: Box<Value>,
        shown: String,
        text: String,
    },
}

/// First key of the fields of a struct; its value is the name of the type.
const STRUCT: &str = "\0";

static NULL: Value = Value::Null;

impl Value {
    /// A struct of this type: a field that is not `given` has its zero value, which JSON leaves out.
    pub fn structure(name: &str, fields: impl IntoIterator<Item = Field>) -> Self {
        let head = (STRUCT.to_owned(), Self::from(name));
        let fields = fields.into_iter().map(|field| match field.given {
            true => (field.name, field.value),
            false => (format!("{STRUCT}{}", field.name), field.value),
        });
        Self::Map(std::iter::once(head).chain(fields).collect())
    }

    /// The type of a struct; `None`: it is none.
    pub(crate) fn type_name(&self) -> Option<&str> {
        let (key, name) = self.fields().first()?;
        (key == STRUCT).then(|| name.text())
    }

    /// The value at a key, `Null` when there is none.
    pub fn at(&self, key: &str) -> &Self {
        self.find(key).unwrap_or(&NULL)
    }

    /// The value at a path of keys.
    pub fn path(&self, keys: &str) -> &Self {
        keys.split('.').fold(self, |value, key| value.at(key))
    }

    /// The value at a key.
    pub fn find(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(fields) => {
                let is_absent = |name: &str| {
                    self.type_name().is_some() && name.strip_prefix(STRUCT) == Some(key)
                };
                let found = fields.iter().find(|(name, _)| name == key || is_absent(name));
                found.map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text; empty for anything else.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Coded { text, .. } => text,
            _ => "",
        }
    }

    /// The number; zero for anything else.
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            Self::Float(number) => *number as i64,
            _ => 0,
        }
    }

    /// The number; zero for anything else.
    pub fn float(&self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "sizes for display")]
            Self::Int(number) => *number as f64,
            Self::Float(number) => *number,
            _ => 0.0,
        }
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }

    /// The list; empty for anything else.
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// The fields; none for anything else.
    pub fn fields(&self) -> &[(String, Self)] {
        match self {
            Self::Map(fields) => fields,
            _ => &[],
        }
    }

    /// Texts of a list.
    pub fn texts(&self) -> Vec<String> {
        self.list().iter().map(|value| value.text().to_owned()).collect()
    }

    /// Compact JSON. `escape_html` as Go's default does with `<`, `>` and `&`.
    pub fn json(&self, escape_html: bool) -> String {
        let mut out = String::new();
        self.write_json(escape_html, &mut out);
        out
    }

    fn write_json(&self, escape_html: bool, out: &mut String) {
        match self {
            Self::Null | Self::Nil(_) => out.push_str("null"),
            Self::Coded { json, .. } => json.write_json(escape_html, out),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(number) => out.push_str(&number.to_string()),
            Self::Float(number) => out.push_str(&number.to_string()),
            Self::Text(text) => write_text(text, escape_html, out),
            Self::List(list) => {
                out.push('[');
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    value.write_json(escape_html, out);
                }
                out.push(']');
            }
            Self::Map(fields) => {
                out.push('{');
                let written = fields.iter().filter(|(key, _)| !key.starts_with(STRUCT));
                for (index, (key, value)) in written.enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_text(key, escape_html, out);
                    out.push(':');
                    value.write_json(escape_html, out);
                }
                out.push('}');
            }
        }
    }
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name, which is that of the key in JSON.
    pub name: String,
    /// What it holds.
    pub value: Value,
    /// Whether the object has it; otherwise its value is the zero of its type.
    pub given: bool,
}

fn write_text(text: &str, escape_html: bool, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if escape_html => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)))
            }
            '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter if u32::from(letter) < 0x20 => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

/// Indents JSON by four spaces as Go's `json.Indent` does: nothing but white space changes.
pub fn indent(json: &str, prefix: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut in_text = false;
    let mut escaped = false;
    let mut fresh = false;
    let newline = |depth: usize, out: &mut String| {
        out.push('\n');
        out.push_str(prefix);
        out.push_str(&"    ".repeat(depth));
    };
    for letter in json.chars() {
        if in_text {
            out.push(letter);
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_text = false,
                _ => {}
            }
            continue;
        }
        if letter.is_ascii_whitespace() {
            continue;
        }
        if fresh && letter != '}' && letter != ']' {
            newline(depth, &mut out);
        }
        match letter {
            '{' | '[' => {
                depth += 1;
                out.push(letter);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !fresh {
                    newline(depth, &mut out);
                }
                out.push(letter);
            }
            ',' => {
                out.push(',');
                newline(depth, &mut out);
            }
            ':' => out.push_str(": "),
            '"' => {
                in_text = true;
                out.push(letter);
            }
            other => out.push(other),
        }
        fresh = letter == '{' || letter == '[';
    }
    out
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "only beyond 2^63")]
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = access.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Value::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_html_is_escaped_on_demand() {
        let text = r#"{"b":[1,2.5,null],"a":{"x":"<y>"},"c":{}}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(value.json(false), text);
        assert!(value.json(true).contains(r"\u003cy\u003e"));
        assert_eq!(value.path("a.x").text(), "<y>");
    }

    #[test]
    fn indenting_changes_nothing_but_space() {
        let expected = "{\n    \"b\": [\n        1,\n        \"a,{\"\n    ],\n    \"c\": {},\n    \"d\": []\n}";
        assert_eq!(indent(r#"{"b":[1, "a,{"],"c":{ },"d":[]}"#, ""), expected);
    }
}
