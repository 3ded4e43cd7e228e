//! Log options: parsing of sizes, and of what goes into attributes. Pure.

use std::collections::BTreeMap;

use shoal_model::container::ContainerSpec;

use crate::error::Error;

/// Builds the error of a bad log option.
pub(crate) fn invalid(reason: String) -> Error {
    Error::Invalid { field: "LogConfig", reason }
}

/// Parses `10m`, `1g`, `512k`, `100`: binary units, as docker's `units.RAMInBytes`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &lower[number.len()..];
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    number.trim().parse::<u64>().ok()?.checked_shl(shift)
}

/// Checks that every option is one that the driver knows.
pub(crate) fn only_known(
    driver: &str,
    options: &BTreeMap<String, String>,
    known: &[&str],
) -> Result<(), Error> {
    match options.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(invalid(format!("unknown log opt '{key}' for {driver} log driver"))),
        None => Ok(()),
    }
}

/// Values of the `labels`, `env` and `tag` options.
pub(crate) fn attributes(
    options: &BTreeMap<String, String>,
    spec: &ContainerSpec,
    tag: Option<String>,
) -> BTreeMap<String, String> {
    let names = |option: &str| -> Vec<&str> {
        options.get(option).map(|list| list.split(',').collect()).unwrap_or_default()
    };
    let mut attributes = BTreeMap::new();
    for name in names("labels") {
        if let Some(value) = spec.labels.get(name) {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    for name in names("env") {
        for variable in &spec.env {
            if let Some((key, value)) = variable.split_once('=')
                && key == name
            {
                attributes.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    attributes.extend(tag.map(|tag| ("tag".to_owned(), tag)));
    attributes
}

/// What a tag template may name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TagFacts<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub image: &'a str,
    pub image_id: &'a str,
    pub daemon: &'a str,
}

/// Fills the fields of a tag such as `{{.Name}}/{{.ID}}`.
pub(crate) fn tag(template: &str, facts: TagFacts<'_>) -> Result<String, Error> {
    let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (field, after) = after
            .split_once("}}")
            .ok_or_else(|| invalid(format!("tag `{template}` has an open `{{{{`")))?;
        text.push_str(before);
        let value = match field.trim() {
            ".ID" => short(facts.id),
            ".FullID" => facts.id.to_owned(),
            ".Name" => facts.name.to_owned(),
            ".ImageName" => facts.image.to_owned(),
            ".ImageID" => short(facts.image_id),
            ".ImageFullID" => facts.image_id.to_owned(),
            ".DaemonName" => facts.daemon.to_owned(),
            other => {
                return Err(invalid(format!("tag `{template}` names unknown field `{other}`")));
            }
        };
        text.push_str(&value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}
