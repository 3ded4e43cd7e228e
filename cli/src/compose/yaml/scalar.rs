//! What scalars mean, as Go's YAML library reads them. Pure.

use saphyr_parser::ScalarStyle;
use serde_json::Value as Json;

/// The meaning of a scalar with its style and tag.
pub(super) fn scalar(text: &str, style: ScalarStyle, tag: Option<&str>) -> Result<Json, String> {
    match tag {
        Some("tag:yaml.org,2002:str") => return Ok(text.into()),
        Some("tag:yaml.org,2002:null") => return Ok(Json::Null),
        None if style != ScalarStyle::Plain => return Ok(text.into()),
        None
        | Some("tag:yaml.org,2002:int" | "tag:yaml.org,2002:float" | "tag:yaml.org,2002:bool") => {}
        Some("!") => return Ok(text.into()),
        Some(tag) => return Err(format!("unknown tag `{tag}`")),
    }
    Ok(plain(text))
}
/// The meaning of a plain scalar.
pub(super) fn plain(text: &str) -> Json {
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
