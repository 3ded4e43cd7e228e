//! What a Compose file may say: checks the shapes of values, and makes numbers and switches of texts. Pure.

mod keys;

use serde_json::Value as Json;

use super::place::Fault;
use keys::{Keys, ROOT};

/// The shape of a value.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Any,
    Text,
    /// Also as a text: what stands for a variable is one.
    Int,
    /// A number or a text, as for sizes and versions.
    NumberOrText,
    /// Also as a text.
    Number,
    /// Also as a text.
    Switch,
    /// Texts and numbers.
    List,
    TextOrList,
    /// `k=v` texts or an object of scalars.
    ListOrMap,
    /// As `ListOrMap`, with several values of one key.
    Hosts,
    /// A list of single texts, or of objects with these keys.
    ListOf(Keys),
    /// As `ListOf`, or one text.
    TextOrListOf(Keys),
    Map(Keys),
    /// An object whose keys are names.
    Named(&'static Shape),
    /// An integer or an object.
    IntOr(&'static Shape),
    TextOr(&'static Shape),
    /// An object or nothing, or a list of names.
    NamesOr(&'static Shape),
    /// A switch or an object.
    SwitchOr(&'static Shape),
}

use Shape::*;

type Done = Result<(), Fault>;

/// Checks a file, and brings its scalars to their types.
///
/// # Errors
/// The first value that has a wrong shape.
pub(super) fn check(file: &mut Json) -> Done {
    match file {
        Json::Object(_) => shape(file, Map(ROOT), ""),
        Json::Null => Err(Fault::at("", "empty compose file")),
        _ => Err(Fault::at("", "top-level object must be a mapping")),
    }
}

fn refuse<T>(path: &str, what: &str) -> Result<T, Fault> {
    Err(Fault::at(path, format!("must be {what}")))
}

fn is_text_list(value: &Json) -> bool {
    let is_word = |item: &Json| item.is_string() || item.is_number() || item.is_boolean();
    value.as_array().is_some_and(|list| list.iter().all(is_word))
}

fn shape(value: &mut Json, wanted: Shape, path: &str) -> Done {
    if value.is_null() && !matches!(wanted, List) {
        return Ok(());
    }
    match wanted {
        Any => Ok(()),
        Text => text(value, path),
        Int => integer(value, path),
        Number => number(value, path),
        NumberOrText if value.is_number() || value.is_string() => Ok(()),
        NumberOrText => refuse(path, "a number or a string"),
        Switch => switch(value, path),
        List if is_text_list(value) => Ok(()),
        List => refuse(path, "a list of strings"),
        TextOrList if value.is_string() || is_text_list(value) => Ok(()),
        TextOrList => refuse(path, "a string or a list of strings"),
        ListOrMap | Hosts => pairs(value, matches!(wanted, Hosts), path),
        ListOf(keys) => items(value, keys, path),
        TextOrListOf(_) if value.is_string() => Ok(()),
        TextOrListOf(keys) => items(value, keys, path),
        Map(keys) => map(value, keys, path),
        Named(inner) => named(value, *inner, path),
        IntOr(_) if value.is_number() || value.is_string() => integer(value, path),
        TextOr(_) if value.is_string() => Ok(()),
        NamesOr(_) if is_text_list(value) => Ok(()),
        NamesOr(inner) => named(value, *inner, path),
        SwitchOr(_) if value.is_boolean() || value.is_string() => switch(value, path),
        IntOr(inner) | TextOr(inner) | SwitchOr(inner) => shape(value, *inner, path),
    }
}

fn text(value: &Json, path: &str) -> Done {
    if value.is_string() {
        return Ok(());
    }
    let hint =
        if value.is_object() || value.is_array() { "a string" } else { "a string: quote it" };
    refuse(path, hint)
}

fn integer(value: &mut Json, path: &str) -> Done {
    if let Some(given) = value.as_str() {
        match given.trim().parse::<i64>() {
            Ok(number) => *value = number.into(),
            Err(_) => return refuse(path, &format!("an integer, not {given:?}")),
        }
    }
    // What `docker compose config` prints of a ratio may be `1.0`.
    if let Some(number) = value.as_f64().filter(|number| !value.is_i64() && number.fract() == 0.0) {
        #[allow(clippy::cast_possible_truncation, reason = "compared right behind")]
        let whole = number as i64;
        #[allow(clippy::cast_precision_loss, reason = "a number that is not exact is refused")]
        if whole as f64 == number {
            *value = whole.into();
        }
    }
    if value.is_i64() { Ok(()) } else { refuse(path, "an integer") }
}

fn number(value: &mut Json, path: &str) -> Done {
    if let Some(given) = value.as_str() {
        let parsed = given.trim().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
        match parsed {
            Some(number) => *value = Json::Number(number),
            None => return refuse(path, &format!("a number, not {given:?}")),
        }
    }
    if value.is_number() { Ok(()) } else { refuse(path, "a number") }
}

fn switch(value: &mut Json, path: &str) -> Done {
    if let Some(given) = value.as_str() {
        *value = match given.trim().to_ascii_lowercase().as_str() {
            "1" | "t" | "y" | "yes" | "true" | "on" => true.into(),
            "0" | "f" | "n" | "no" | "false" | "off" => false.into(),
            _ => return refuse(path, &format!("a boolean, not {given:?}")),
        };
    }
    if value.is_boolean() { Ok(()) } else { refuse(path, "a boolean") }
}

fn pairs(value: &Json, lists: bool, path: &str) -> Done {
    let is_plain = |value: &Json| !value.is_object() && (lists || !value.is_array());
    match value {
        Json::Object(fields) => match fields.iter().find(|(_, value)| !is_plain(value)) {
            Some((key, _)) => refuse(&format!("{path}.{key}"), "a string, a number or nothing"),
            None => Ok(()),
        },
        Json::Array(_) if is_text_list(value) => Ok(()),
        _ => refuse(path, "a mapping or a list of strings"),
    }
}

fn items(value: &mut Json, keys: Keys, path: &str) -> Done {
    let Some(list) = value.as_array_mut() else { return refuse(path, "a list") };
    for (index, item) in list.iter_mut().enumerate() {
        let path = format!("{path}.{index}");
        match item {
            Json::Object(_) => shape(item, Map(keys), &path)?,
            Json::String(_) | Json::Number(_) => {}
            _ => return refuse(&path, "a string or a mapping"),
        }
    }
    Ok(())
}

fn named(value: &mut Json, inner: Shape, path: &str) -> Done {
    let Some(fields) = value.as_object_mut() else { return refuse(path, "a mapping") };
    for (key, value) in fields.iter_mut().filter(|(key, _)| !key.starts_with("x-")) {
        let path = format!("{path}.{key}");
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if key.is_empty() || !key.chars().all(good) {
            return Err(Fault::at(
                path,
                "names have letters, digits, dots, dashes and underscores",
            ));
        }
        shape(value, inner, &path)?;
    }
    Ok(())
}

fn map(value: &mut Json, keys: Keys, path: &str) -> Done {
    let Some(fields) = value.as_object_mut() else { return refuse(path, "a mapping") };
    for (key, value) in fields {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match keys.iter().find(|(known, _)| known == key) {
            Some((_, wanted)) => shape(value, *wanted, &inner)?,
            None if key.starts_with("x-") => {}
            None => return Err(Fault::at(inner, unknown(key, keys))),
        }
    }
    Ok(())
}

/// What is said of a key that does not exist.
fn unknown(key: &str, keys: Keys) -> String {
    let near = keys.iter().map(|(known, _)| (distance(key, known), *known)).min();
    match near {
        Some((far, known)) if far <= 2 && far < known.len() => {
            format!("unknown key; did you mean `{known}`?")
        }
        _ => "unknown key".to_owned(),
    }
}

/// How many letters must change, come or go.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let change = before + usize::from(a != b);
            before = row[j + 1];
            row[j + 1] = change.min(before + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn checked(text: &str, expected: &str) {
        let mut file = super::super::yaml::parse("", text).unwrap().value;
        let shown = check(&mut file).err().map(|fault| fault.to_string()).unwrap_or_default();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn good_files_pass_and_bad_ones_are_named() {
        checked("services: {web: {image: x, x-foo: 1, deploy: {replicas: 2}}}\nx-a: [1]", "");
        checked("services: {web: {networks: [a], ulimits: {nofile: 5}}}\nvolumes: {v: }", "");
        checked("name: x\nservices: {web: {gpus: all, depends_on: {a: {condition: b}}}}", "");
        checked(
            "services: {web: {imge: x}}",
            "services.web.imge: unknown key; did you mean `image`?",
        );
        checked("services: {web: {foobar: x}}", "services.web.foobar: unknown key");
        checked("services: {web: {expose: 1}}", "services.web.expose: must be a list of strings");
        checked(
            "services: {web: {ports: [{target: http}]}}",
            "services.web.ports.0.target: must be an integer, not \"http\"",
        );
        checked("services: {web: {tty: 1}}", "services.web.tty: must be a boolean");
        checked("services: {web: {user: 1}}", "services.web.user: must be a string: quote it");
        checked(
            "services: {'a b': {}}",
            "services.a b: names have letters, digits, dots, dashes and underscores",
        );
        checked("", "empty compose file");
    }

    #[test]
    fn texts_become_what_they_stand_for() {
        let mut file = json!({"services": {"a": {"tty": "yes", "pids_limit": "5", "scale": 2.0,
            "deploy": {"update_config": {"max_failure_ratio": "0.5"}},
            "environment": {"TTY": "yes", "N": "5"}, "ulimits": {"nofile": "10"}}}});
        check(&mut file).unwrap();
        assert_eq!(
            file["services"]["a"],
            json!({"tty": true, "pids_limit": 5, "scale": 2,
                "deploy": {"update_config": {"max_failure_ratio": 0.5}},
                "environment": {"TTY": "yes", "N": "5"}, "ulimits": {"nofile": 10}})
        );
    }
}
