//! `$NAME` and `${NAME…}` in the values of a Compose file. Pure.

use serde_json::Value as Json;

/// The value of a variable.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces variables in all texts below `path`; what becomes of a number's place is a number.
pub(crate) fn apply(
    value: &mut Json,
    path: &mut Vec<String>,
    lookup: Lookup<'_>,
) -> Result<(), String> {
    match value {
        Json::String(text) => {
            let new = substitute(text, lookup).map_err(|why| fault(path, text, &why))?;
            if new != *text {
                *value = cast(path, new)?;
            }
        }
        Json::Array(list) => {
            for item in list {
                path.push("[]".to_owned());
                apply(item, path, lookup)?;
                path.pop();
            }
        }
        Json::Object(fields) => {
            for (key, value) in fields {
                path.push(key.clone());
                apply(value, path, lookup)?;
                path.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

fn fault(path: &[String], text: &str, why: &Fault) -> String {
    let place = path.join(".");
    match why {
        Fault::Format => {
            format!(
                "invalid interpolation format for {place}: \"{text}\"; you may need to escape any $ with another $"
            )
        }
        Fault::Required(name, message) => {
            format!("required variable {name} is missing a value: {message}")
        }
    }
}

/// Where numbers and switches stand, by the last keys of their path.
fn cast(path: &[String], text: String) -> Result<Json, String> {
    const NUMBERS: &[&[&str]] = &[
        &["mode"],
        &["retries"],
        &["replicas"],
        &["parallelism"],
        &["max_failure_ratio"],
        &["max_attempts"],
        &["max_replicas_per_node"],
        &["target"],
        &["published"],
        &["soft"],
        &["hard"],
        &["pids"],
        &["oom_score_adj"],
        &["value"],
    ];
    const SWITCHES: &[&str] = &[
        "disable",
        "privileged",
        "read_only",
        "stdin_open",
        "tty",
        "nocopy",
        "external",
        "internal",
        "attachable",
        "init",
    ];
    let key = path.last().map_or("", String::as_str);
    let parent = path.len().checked_sub(2).map_or("", |index| path[index].as_str());
    // Names of variables and labels may be any of these words.
    let free = path.iter().any(|part| {
        matches!(part.as_str(), "environment" | "labels" | "driver_opts" | "options" | "sysctls")
    });
    let in_ports = path.iter().any(|part| part == "ports");
    let is_number = parent == "ulimits"
        || (NUMBERS.contains(&[key].as_slice()) && (key != "target" || in_ports))
            && !(key == "mode" && (in_ports || parent == "deploy"));
    if free {
        return Ok(text.into());
    }
    if is_number {
        let parsed = super::yaml::parse(&text).ok().filter(Json::is_number);
        return parsed.ok_or_else(|| format!("{}: invalid number {text:?}", path.join(".")));
    }
    if SWITCHES.contains(&key) {
        return match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" | "on" => Ok(true.into()),
            "n" | "no" | "false" | "off" => Ok(false.into()),
            _ => Err(format!("{}: invalid boolean: {text}", path.join("."))),
        };
    }
    Ok(text.into())
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Format,
    Required(String, String),
}

/// Replaces the variables of one text; `$$` is a dollar sign.
fn substitute(text: &str, lookup: Lookup<'_>) -> Result<String, Fault> {
    let mut out = String::new();
    let mut left = text;
    while let Some(at) = left.find('$') {
        out.push_str(&left[..at]);
        left = &left[at + 1..];
        if let Some(rest) = left.strip_prefix('$') {
            out.push('$');
            left = rest;
        } else if let Some(rest) = left.strip_prefix('{') {
            let end = closing(rest).ok_or(Fault::Format)?;
            out.push_str(&braced(&rest[..end], lookup)?);
            left = &rest[end + 1..];
        } else {
            let end = name_end(left);
            if end == 0 {
                return Err(Fault::Format);
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

fn braced(text: &str, lookup: Lookup<'_>) -> Result<String, Fault> {
    let (name, rest) = text.split_at(name_end(text));
    if name.is_empty() {
        return Err(Fault::Format);
    }
    let value = lookup(name);
    let filled = value.clone().filter(|value| !value.is_empty());
    let (operator, word) = match rest.as_bytes() {
        [] => ("", ""),
        [b':', b'-' | b'?' | b'+', ..] => rest.split_at(2),
        [b'-' | b'?' | b'+', ..] => rest.split_at(1),
        _ => return Err(Fault::Format),
    };
    // What stands behind an operator may have variables itself.
    let word = || substitute(word, lookup);
    match operator {
        ":-" => filled.map_or_else(word, Ok),
        "-" => value.map_or_else(word, Ok),
        ":+" => filled.map_or_else(|| Ok(String::new()), |_| word()),
        "+" => value.map_or_else(|| Ok(String::new()), |_| word()),
        ":?" => filled.map_or_else(|| Err(Fault::Required(name.to_owned(), word()?)), Ok),
        "?" => value.map_or_else(|| Err(Fault::Required(name.to_owned(), word()?)), Ok),
        _ => Ok(value.unwrap_or_default()),
    }
}

/// Reads a file of `NAME=value` lines, with quotes and comments.
pub(crate) fn env_file(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        let quoted =
            |quote: char| value.strip_prefix(quote)?.split_once(quote).map(|(text, _)| text);
        let value = match (quoted('"'), quoted('\'')) {
            (Some(text), _) | (_, Some(text)) => text,
            _ => value.split(" #").next().unwrap_or_default().trim_end(),
        };
        all.push((name.trim().to_owned(), value.to_owned()));
    }
    all
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
            Err(fault) => format!("{fault:?}"),
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
    fn numbers_stay_numbers() {
        let mut value = json!({"web": {"deploy": {"replicas": "$N", "mode": "$M"}, "tty": "$T",
                                       "image": "x:$N", "environment": {"replicas": "$N"}}});
        let lookup = |name: &str| Some(if name == "N" { "3" } else { "yes" }.to_owned());
        apply(&mut value, &mut vec!["services".to_owned()], &lookup).unwrap();
        assert_eq!(
            value["web"],
            json!({"deploy": {"replicas": 3, "mode": "yes"}, "tty": true, "image": "x:3",
                   "environment": {"replicas": "3"}})
        );
        let mut bad = json!({"image": "${"});
        assert_eq!(
            apply(&mut bad, &mut vec!["web".to_owned()], &lookup).unwrap_err(),
            "invalid interpolation format for web.image: \"${\"; you may need to escape any $ with another $"
        );
    }

    #[test]
    fn files_of_variables_have_quotes_and_comments() {
        let text = "# x\nA=1 # one\nexport B=\"two words\"\nC='#'\nD=\nnothing\n";
        let pairs = [("A", "1"), ("B", "two words"), ("C", "#"), ("D", "")];
        assert_eq!(env_file(text), pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
