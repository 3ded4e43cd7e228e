//! Log options: parsing of sizes, and of what goes into attributes. Pure.

use std::collections::BTreeMap;

use shoal_model::boolean;
use shoal_model::container::ContainerSpec;

use crate::error::Error;

/// Bytes that wait where nobody said how many.
///
/// Source: moby `daemon/logger/ring.go` defaultRingMaxSize.
const BUFFER_BYTES: u64 = 1_000_000;

/// Builds the error of a bad log option.
pub(crate) fn invalid(reason: String) -> Error {
    Error::Logging(reason)
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
        Some(key) if driver == "local" => {
            Err(invalid(format!("unknown log opt '{key}' for log driver {driver}")))
        }
        Some(key) => Err(invalid(format!("unknown log opt '{key}' for {driver} log driver"))),
        None => Ok(()),
    }
}

/// Reads what docker checks for every driver but `none`: how many bytes of records may wait, where the container does not
/// wait for them.
///
/// # Errors
/// Of a mode or size that docker refuses, too.
pub(crate) fn buffer(options: &BTreeMap<String, String>) -> Result<Option<u64>, Error> {
    let mode = options.get("mode").map_or("", String::as_str);
    let size = options.get("max-buffer-size");
    match mode {
        "" | "blocking" if size.is_some() => {
            let only = "max-buffer-size option is only supported with 'mode=non-blocking'";
            Err(invalid(format!("logger: {only}")))
        }
        "" | "blocking" => Ok(None),
        "non-blocking" => {
            let wrong = |size: &String| {
                invalid(format!("error parsing option max-buffer-size: invalid size: '{size}'"))
            };
            let size = size.map(|size| bytes(size).ok_or_else(|| wrong(size))).transpose()?;
            Ok(Some(size.unwrap_or(BUFFER_BYTES)))
        }
        other => Err(invalid(format!("logger: logging mode not supported: {other}"))),
    }
}

/// Reads the `compress` option.
///
/// # Errors
/// When it is no truth value.
pub(crate) fn compress(options: &BTreeMap<String, String>, default: bool) -> Result<bool, Error> {
    let Some(text) = options.get("compress") else { return Ok(default) };
    let wrong = || invalid(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"));
    boolean::parse(text).ok_or_else(wrong)
}

/// Values of the `labels`, `labels-regex`, `env`, `env-regex` and `tag` options.
///
/// # Errors
/// When a regular expression is malformed.
pub(crate) fn attributes(
    options: &BTreeMap<String, String>,
    spec: &ContainerSpec,
    tag: Option<String>,
) -> Result<BTreeMap<String, String>, Error> {
    let labels = Chosen::new(options, "labels", "labels-regex")?;
    let env = Chosen::new(options, "env", "env-regex")?;
    let labelled = spec.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let variables = spec.env.iter().filter_map(|variable| variable.split_once('='));
    let chosen = labelled
        .filter(|(key, _)| labels.has(key))
        .chain(variables.filter(|(key, _)| env.has(key)))
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok(chosen.chain(tag.map(|tag| ("tag".to_owned(), tag))).collect())
}

/// Names given one by one, and by a pattern.
struct Chosen<'a> {
    names: Vec<&'a str>,
    pattern: Option<regex_lite::Regex>,
}

impl<'a> Chosen<'a> {
    fn new(
        options: &'a BTreeMap<String, String>,
        names: &str,
        pattern: &str,
    ) -> Result<Self, Error> {
        let names = options.get(names).map(|list| list.split(',').collect()).unwrap_or_default();
        let compile = |text: &String| {
            regex_lite::Regex::new(text)
                .map_err(|error| invalid(format!("invalid {pattern} '{text}': {error}")))
        };
        let given = options.get(pattern).filter(|text| !text.is_empty());
        Ok(Self { names, pattern: given.map(compile).transpose()? })
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
            || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn attributes_are_chosen_by_name_and_by_pattern() {
        let spec = ContainerSpec {
            labels: options(&[("app", "web"), ("tier.a", "1"), ("other", "x")]),
            env: vec!["HOME=/".to_owned(), "LC_ALL=C".to_owned(), "PATH=/bin".to_owned()],
            ..ContainerSpec::default()
        };
        let chosen = options(&[
            ("labels", "app,none"),
            ("labels-regex", "^tier"),
            ("env", "HOME"),
            ("env-regex", "^LC_"),
        ]);
        assert_eq!(
            attributes(&chosen, &spec, Some("t".to_owned())).unwrap(),
            options(&[
                ("HOME", "/"),
                ("LC_ALL", "C"),
                ("app", "web"),
                ("tag", "t"),
                ("tier.a", "1")
            ])
        );
        assert_eq!(attributes(&options(&[]), &spec, None).unwrap(), options(&[]));
        assert!(attributes(&options(&[("env-regex", "(")]), &spec, None).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mode = |pairs| buffer(&options(pairs)).map_err(|error| error.to_string());
        assert_eq!(mode(&[]), Ok(None));
        assert_eq!(mode(&[("mode", "blocking")]), Ok(None));
        assert_eq!(mode(&[("mode", "non-blocking")]), Ok(Some(1_000_000)));
        let four = [("mode", "non-blocking"), ("max-buffer-size", "4m")];
        assert_eq!(mode(&four), Ok(Some(4 << 20)));
        for (pairs, message) in [
            (&[("mode", "x")][..], "logger: logging mode not supported: x"),
            (
                &[("max-buffer-size", "1m")],
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                &[("max-buffer-size", "x"), ("mode", "non-blocking")],
                "error parsing option max-buffer-size: invalid size: 'x'",
            ),
        ] {
            assert_eq!(mode(pairs), Err(message.to_owned()));
        }
        let compress =
            |text| compress(&options(&[("compress", text)]), true).map_err(|e| e.to_string());
        assert!(super::compress(&options(&[]), true).unwrap());
        assert_eq!(compress("false"), Ok(false));
        assert_eq!(compress("1"), Ok(true));
        let malformed = "strconv.ParseBool: parsing \"x\": invalid syntax".to_owned();
        assert_eq!(compress("x"), Err(malformed));
    }
}
