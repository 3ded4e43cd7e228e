//! Functions of templates: Go's built-in ones and docker's.

use std::cmp::Ordering;

use crate::text::{query, quote, significant};
use crate::value::Value;

const NAMES: &[&str] = &[
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print",
    "println", "printf", "html", "js", "urlquery", "json", "split", "join", "title", "lower",
    "upper", "pad", "truncate", "table",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Is a value true in the sense of `if`: not zero, not empty?
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null | Value::Nil(_) => false,
        Value::Coded { json, .. } => truth(json),
        Value::Bool(value) => *value,
        Value::Int(number) => *number != 0,
        Value::Float(number) => *number != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::List(list) => !list.is_empty(),
        Value::Map(fields) => !fields.is_empty(),
    }
}

/// A value as Go's `%v` prints it.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null | Value::Nil(_) => "<nil>".to_owned(),
        Value::Coded { shown, .. } => shown.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::List(list) => {
            format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        Value::Map(fields) if value.type_name().is_some() => {
            let fields = fields.iter().skip(1).map(|(_, value)| show(value));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(" "))
        }
        Value::Map(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .filter(|(key, _)| !key.starts_with('\0'))
                .map(|(key, value)| format!("{key}:{}", show(value)))
                .collect();
            fields.sort_unstable();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// Calls a function.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let text = |index: usize| args.get(index).map(show).unwrap_or_default();
    let least = match name {
        "print" | "println" | "printf" | "html" | "js" | "urlquery" => 0,
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "split" | "join" | "truncate" => 2,
        "pad" => 3,
        _ => 1,
    };
    if args.len() < least {
        return Err(format!(
            "wrong number of args for {name}: want at least {least} got {}",
            args.len()
        ));
    }
    Ok(match name {
        "and" | "or" => args.last().cloned().unwrap_or_default(),
        "not" => Value::Bool(!truth(&args[0])),
        "eq" => Value::Bool(args[1..].iter().any(|other| equal(&args[0], other))),
        "ne" => Value::Bool(!equal(&args[0], &args[1])),
        "lt" => Value::Bool(compare(&args[0], &args[1])? == Ordering::Less),
        "le" => Value::Bool(compare(&args[0], &args[1])? != Ordering::Greater),
        "gt" => Value::Bool(compare(&args[0], &args[1])? == Ordering::Greater),
        "ge" => Value::Bool(compare(&args[0], &args[1])? != Ordering::Less),
        "len" => length(&args[0])?,
        "index" => index(args)?,
        "slice" => slice(args)?,
        "print" => Value::Text(print(args)),
        "println" => Value::Text(args.iter().map(show).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => Value::Text(printf(args)),
        "html" => Value::Text(html(&print(args))),
        "js" => {
            Value::Text(print(args).replace('\\', "\\\\").replace('\'', "\\'").replace('"', "\\\""))
        }
        "urlquery" => Value::Text(query(&print(args))),
        "json" => Value::Text(args[0].json(false)),
        "split" => Value::List(text(0).split(text(1).as_str()).map(Value::from).collect()),
        "join" => {
            let parts: Vec<String> = args[0].list().iter().map(show).collect();
            Value::Text(parts.join(&text(1)))
        }
        "title" => Value::Text(title(&text(0))),
        "lower" => Value::Text(text(0).to_lowercase()),
        "upper" => Value::Text(text(0).to_uppercase()),
        "pad" => {
            let blanks = |index: usize| " ".repeat(usize::try_from(args[index].int()).unwrap_or(0));
            let inner = text(0);
            Value::Text(if inner.is_empty() {
                inner
            } else {
                format!("{}{inner}{}", blanks(1), blanks(2))
            })
        }
        "truncate" => {
            let width = usize::try_from(args[1].int()).unwrap_or(0);
            Value::Text(text(0).chars().take(width).collect())
        }
        _ => args[0].clone(),
    })
}

fn html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&#34;").replace('\'', "&#39;")
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|letter| {
            let shown = if start { letter.to_ascii_uppercase() } else { letter };
            start = letter.is_whitespace();
            shown
        })
        .collect()
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Coded { json, .. }, other) | (other, Value::Coded { json, .. }) => {
            equal(json, other)
        }
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => {
            (left.float() - right.float()).abs() < f64::EPSILON
        }
        _ => left == right,
    }
}

fn compare(left: &Value, right: &Value) -> Result<Ordering, String> {
    match (left, right) {
        (Value::Coded { json, .. }, other) => compare(json, other),
        (other, Value::Coded { json, .. }) => compare(other, json),
        (Value::Text(left), Value::Text(right)) => Ok(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) => Ok(left.cmp(right)),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            Ok(left.float().total_cmp(&right.float()))
        }
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::Text(text) | Value::Coded { text, .. } => text.len(),
        Value::List(list) => list.len(),
        Value::Map(fields) => fields.len(),
        Value::Null => 0,
        _ => return Err("len of type that has no length".to_owned()),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(args: &[Value]) -> Result<Value, String> {
    let mut value = &args[0];
    for key in &args[1..] {
        value = match (value, key) {
            (Value::List(list), Value::Int(number)) => usize::try_from(*number)
                .ok()
                .and_then(|number| list.get(number))
                .ok_or_else(|| format!("index out of range: {number}"))?,
            (Value::Map(_), Value::Text(key)) => value.at(key),
            (Value::Null, _) => return Err("index of untyped nil".to_owned()),
            _ => return Err("cannot index this with that key".to_owned()),
        };
    }
    Ok(value.clone())
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let bounds = |length: usize| {
        let at = |index: usize, or: usize| match args.get(index) {
            Some(value) => usize::try_from(value.int()).unwrap_or(usize::MAX),
            None => or,
        };
        let (from, to) = (at(1, 0), at(2, length));
        if to > length || from > to {
            return Err(format!("index out of range: {}", from.max(to)));
        }
        Ok(from..to)
    };
    match &args[0] {
        Value::Text(text) => {
            let range = bounds(text.len())?;
            let part = text.get(range).ok_or("slice splits a character")?;
            Ok(Value::from(part))
        }
        Value::List(list) => Ok(Value::List(list[bounds(list.len())?].to_vec())),
        _ => Err("can't slice this item".to_owned()),
    }
}

/// Go's `Sprint`: a blank between operands when neither is a string.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (index, value) in args.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if index > 0 && !is_text(value) && !is_text(&args[index - 1]) {
            out.push(' ');
        }
        out.push_str(&show(value));
    }
    out
}

fn printf(args: &[Value]) -> String {
    let Some(format) = args.first().map(show) else { return String::new() };
    let mut values = args[1..].iter();
    let mut out = String::new();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut spec = String::new();
        while let Some(next) = letters.next_if(|c| c.is_ascii_digit() || "+-# .".contains(*c)) {
            spec.push(next);
        }
        match letters.next() {
            Some('%') => out.push('%'),
            Some(verb) => match values.next() {
                Some(value) => out.push_str(&verb_text(verb, &spec, value)),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
            None => out.push_str("%!(NOVERB)"),
        }
    }
    out
}

fn verb_text(verb: char, spec: &str, value: &Value) -> String {
    let (flags, precision) = match spec.split_once('.') {
        Some((flags, precision)) => (flags, Some(precision.parse::<usize>().unwrap_or(0))),
        None => (spec, None),
    };
    let text = match (verb, value) {
        ('q', Value::Coded { text, .. }) => quote(text),
        ('s', Value::Coded { text, .. }) => text.clone(),
        ('d', Value::Coded { json, .. }) => show(json),
        ('q', value) => quote(&show(value)),
        ('f', value) => format!("{:.*}", precision.unwrap_or(6), value.float()),
        ('g', value) if precision.is_some() => significant(value.float(), precision.unwrap_or(6)),
        ('x', Value::Int(number)) => format!("{number:x}"),
        ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('d' | 'v' | 's' | 't' | 'g' | 'T', value) => match precision {
            Some(precision) => show(value).chars().take(precision).collect(),
            None => show(value),
        },
        (verb, value) => format!("%!{verb}({})", show(value)),
    };
    let digits = flags.trim_start_matches(['+', '-', '#', ' ']);
    let width: usize = digits.parse().unwrap_or(0);
    let zero = digits.starts_with('0') && matches!(verb, 'd' | 'f' | 'x');
    if flags.contains('-') {
        format!("{text:<width$}")
    } else if zero {
        format!("{text:0>width$}")
    } else {
        format!("{text:>width$}")
    }
}
