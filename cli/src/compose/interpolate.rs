//! `$NAME` and `${NAME…}` in the values of a Compose file. Pure.

use serde_json::Value as Json;

use super::place::Fault;

/// The value of a variable.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces variables in all texts below `path`.
///
/// # Errors
/// Of the first text that is no template, or that asks for a variable that is not there.
pub(crate) fn apply(value: &mut Json, path: &mut String, lookup: Lookup<'_>) -> Result<(), Fault> {
    match value {
        Json::String(text) => {
            *text = substitute(text, lookup).map_err(|why| fault(path, text, &why))?;
        }
        Json::Array(list) => {
            for (index, item) in list.iter_mut().enumerate() {
                beneath(item, &index.to_string(), path, lookup)?;
            }
        }
        Json::Object(fields) => {
            for (key, value) in fields {
                beneath(value, key, path, lookup)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn beneath(
    value: &mut Json,
    key: &str,
    path: &mut String,
    lookup: Lookup<'_>,
) -> Result<(), Fault> {
    let end = path.len();
    path.push('.');
    path.push_str(key);
    apply(value, path, lookup)?;
    path.truncate(end);
    Ok(())
}

fn fault(path: &str, text: &str, why: &Wrong) -> Fault {
    let message = match why {
        Wrong::Format => {
            format!(
                "invalid interpolation format {text:?}; you may need to escape any $ with another $"
            )
        }
        Wrong::Required(name, message) if message.is_empty() => {
            format!("required variable {name} is missing a value")
        }
        Wrong::Required(name, message) => {
            format!("required variable {name} is missing a value: {message}")
        }
    };
    Fault::at(path, message)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Format,
    Required(String, String),
}

/// Replaces the variables of one text; `$$` is a dollar sign.
pub(super) fn substitute(text: &str, lookup: Lookup<'_>) -> Result<String, Wrong> {
    let mut out = String::new();
    let mut left = text;
    while let Some(at) = left.find('$') {
        out.push_str(&left[..at]);
        left = &left[at + 1..];
        if let Some(rest) = left.strip_prefix('$') {
            out.push('$');
            left = rest;
        } else if let Some(rest) = left.strip_prefix('{') {
            let end = closing(rest).ok_or(Wrong::Format)?;
            out.push_str(&braced(&rest[..end], lookup)?);
            left = &rest[end + 1..];
        } else {
            let end = name_end(left);
            if end == 0 {
                return Err(Wrong::Format);
            }
            out.push_str(&lookup(&left[..end]).unwrap_or_default());
            left = &left[end..];
        }
    }
    out.push_str(left);
    Ok(out)
}

/// Where the brace that is open ends.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn name_end(text: &str) -> usize {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !text.starts_with(first) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn braced(text: &str, lookup: Lookup<'_>) -> Result<String, Wrong> {
    let (name, rest) = text.split_at(name_end(text));
    if name.is_empty() {
        return Err(Wrong::Format);
    }
    let value = lookup(name);
    let filled = value.clone().filter(|value| !value.is_empty());
    let (operator, word) = match rest.as_bytes() {
        [] => ("", ""),
        [b':', b'-' | b'?' | b'+', ..] => rest.split_at(2),
        [b'-' | b'?' | b'+', ..] => rest.split_at(1),
        _ => return Err(Wrong::Format),
    };
    // What stands behind an operator may have variables itself.
    let word = || substitute(word, lookup);
    match operator {
        ":-" => filled.map_or_else(word, Ok),
        "-" => value.map_or_else(word, Ok),
        ":+" => filled.map_or_else(|| Ok(String::new()), |_| word()),
        "+" => value.map_or_else(|| Ok(String::new()), |_| word()),
        ":?" => filled.map_or_else(|| Err(Wrong::Required(name.to_owned(), word()?)), Ok),
        "?" => value.map_or_else(|| Err(Wrong::Required(name.to_owned(), word()?)), Ok),
        _ => Ok(value.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(text: &str) -> String {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        match substitute(text, &lookup) {
            Ok(text) => text,
            Err(wrong) => format!("{wrong:?}"),
        }
    }

    #[test]
    fn all_operators_work() {
        for (text, expected) in [
            ("$A-${A}", "1-1"),
            ("$$A", "$A"),
            ("${B:-x}${B-y}${EMPTY:-z}${EMPTY-w}", "xyz"),
            ("${A:+p}${B:+q}${EMPTY:+r}${EMPTY+s}", "ps"),
            ("${B:-${A}}", "1"),
            ("${B:-a:b}", "a:b"),
            ("$B.", "."),
            ("${A:?no}", "1"),
            ("${B:?no}", "Required(\"B\", \"no\")"),
            ("${EMPTY?no}", ""),
            ("${B?no}", "Required(\"B\", \"no\")"),
            ("${", "Format"),
            ("$1", "Format"),
            ("${A!}", "Format"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn faults_name_the_value() {
        let mut value = json!({"web": {"image": "x:$A", "command": ["${"]}});
        let lookup = |_: &str| Some("1".to_owned());
        assert_eq!(
            apply(&mut value, &mut "services".to_owned(), &lookup).unwrap_err().to_string(),
            "services.web.command.0: invalid interpolation format \"${\"; you may need to escape any \
             $ with another $"
        );
    }
}
