//! The `filters` parameter: both forms of the wire, typed.
//!
//! Source: moby `daemon/internal/filters/parse.go`; accepted keys from the daemon's list of each object.

use std::collections::BTreeMap;

use serde_json::Value;
use shoal_model::container::{HealthStatus, Phase};
use shoal_model::filters::{
    ContainerFilters, EventFilters, ImageFilters, LabelFilter, NetworkFilters, PortFilter,
    PruneFilters, VolumeFilters,
};
use shoal_model::{ErrorKind, EventKind, Fact, Failure, Timestamp};

use super::time;

type Result<T> = std::result::Result<T, Failure>;

/// Key → values.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Raw(BTreeMap<String, Vec<String>>);

/// Parses `{"k":["v"]}` and the old `{"k":{"v":true}}`.
pub(crate) fn raw(text: &str) -> Result<Raw> {
    let wrong =
        || Failure::invalid(format!("invalid filter: filters is not a map of lists: {text}"));
    if text.is_empty() {
        return Ok(Raw::default());
    }
    let members: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|_| wrong())?;
    let values = |value: Value| match value {
        Value::Array(items) => items
            .into_iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<Vec<_>>>(),
        Value::Object(items) => Ok(items
            .into_iter()
            .filter(|(_, set)| set.as_bool() == Some(true))
            .map(|(value, _)| value)
            .collect()),
        _ => Err(wrong()),
    };
    members
        .into_iter()
        .map(|(key, value)| Ok((key, values(value)?)))
        .collect::<Result<_>>()
        .map(Raw)
}

fn invalid(key: &str, value: Option<&str>) -> Failure {
    let fact = Fact::InvalidFilter { key: key.to_owned(), value: value.map(str::to_owned) };
    Failure::of(ErrorKind::InvalidArgument, fact)
}

impl Raw {
    pub(crate) fn check(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(invalid(key, None)),
            None => Ok(()),
        }
    }

    pub(crate) fn all(&self, key: &str) -> Vec<String> {
        self.0.get(key).cloned().unwrap_or_default()
    }

    fn one(&self, key: &str) -> Option<String> {
        self.0.get(key).and_then(|values| values.first().cloned())
    }

    pub(crate) fn labels(&self, key: &str) -> Vec<LabelFilter> {
        self.all(key).iter().map(|text| LabelFilter::parse(text)).collect()
    }

    pub(crate) fn each<T>(&self, key: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
        let values = self.0.get(key).into_iter().flatten();
        values.map(|value| parse(value).ok_or_else(|| invalid(key, Some(value)))).collect()
    }

    /// `None` without the key, or when both values are given.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        let values = self.each(key, |value| match value {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })?;
        let first = values.first().copied();
        Ok(first.filter(|first| values.iter().all(|value| value == first)))
    }

    fn time(&self, key: &str, now: Timestamp) -> Result<Option<Timestamp>> {
        Ok(self.each(key, |value| time::parse(value, now))?.into_iter().next())
    }
}

pub(crate) fn containers(raw: &Raw) -> Result<ContainerFilters> {
    raw.check(&[
        "ancestor",
        "before",
        "exited",
        "id",
        "isolation",
        "label",
        "name",
        "status",
        "health",
        "since",
        "volume",
        "network",
        "is-task",
        "publish",
        "expose",
    ])?;
    Ok(ContainerFilters {
        ids: raw.all("id"),
        names: raw.all("name"),
        labels: raw.labels("label"),
        exited: raw.each("exited", |value| value.parse().ok())?,
        phases: raw.each("status", Phase::parse)?,
        ancestors: raw.all("ancestor"),
        before: raw.one("before"),
        since: raw.one("since"),
        volumes: raw.all("volume"),
        networks: raw.all("network"),
        publish: raw.each("publish", port)?,
        expose: raw.each("expose", port)?,
        health: raw.each("health", health)?,
        is_task: raw.flag("is-task")?,
    })
}

fn health(value: &str) -> Option<Option<HealthStatus>> {
    Some(match value {
        "none" => None,
        "starting" => Some(HealthStatus::Starting),
        "healthy" => Some(HealthStatus::Healthy),
        "unhealthy" => Some(HealthStatus::Unhealthy),
        _ => return None,
    })
}

/// `port[-port][/protocol]`.
fn port(value: &str) -> Option<PortFilter> {
    let (range, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then(|| PortFilter { first, last, protocol: protocol.to_lowercase() })
}

pub(crate) fn images(raw: &Raw, now: Timestamp) -> Result<ImageFilters> {
    raw.check(&["dangling", "label", "label!", "before", "since", "reference", "until"])?;
    Ok(ImageFilters {
        dangling: raw.flag("dangling")?,
        labels: raw.labels("label"),
        before: raw.one("before"),
        since: raw.one("since"),
        references: raw.all("reference"),
        until: raw.time("until", now)?,
    })
}

pub(crate) fn volumes(raw: &Raw) -> Result<VolumeFilters> {
    raw.check(&["dangling", "driver", "label", "name"])?;
    Ok(VolumeFilters {
        dangling: raw.flag("dangling")?,
        drivers: raw.all("driver"),
        labels: raw.labels("label"),
        names: raw.all("name"),
    })
}

pub(crate) fn networks(raw: &Raw) -> Result<NetworkFilters> {
    raw.check(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let custom = raw.each("type", |value| match value {
        "custom" => Some(true),
        "builtin" => Some(false),
        _ => None,
    })?;
    Ok(NetworkFilters {
        ids: raw.all("id"),
        names: raw.all("name"),
        drivers: raw.all("driver"),
        labels: raw.labels("label"),
        scopes: raw.all("scope"),
        custom: custom.first().copied(),
        dangling: raw.flag("dangling")?,
    })
}

/// `extra`: the key besides time and labels (`dangling` of images, `all` of volumes).
pub(crate) fn prune(raw: &Raw, extra: Option<&str>, now: Timestamp) -> Result<PruneFilters> {
    let mut known = vec!["until", "label", "label!"];
    known.extend(extra);
    raw.check(&known)?;
    let all = match extra {
        Some("dangling") => raw.flag("dangling")? == Some(false),
        Some(key) => raw.flag(key)?.unwrap_or(false),
        None => false,
    };
    Ok(PruneFilters {
        until: raw.time("until", now)?,
        labels: raw.labels("label"),
        without_labels: raw.labels("label!"),
        all,
    })
}

pub(crate) fn events(raw: &Raw) -> Result<EventFilters> {
    raw.check(&[
        "config",
        "container",
        "daemon",
        "event",
        "image",
        "label",
        "network",
        "node",
        "plugin",
        "scope",
        "secret",
        "service",
        "type",
        "volume",
    ])?;
    Ok(EventFilters {
        kinds: raw.each("type", EventKind::parse)?,
        actions: raw.all("event"),
        labels: raw.labels("label"),
        containers: raw.all("container"),
        images: raw.all("image"),
        volumes: raw.all("volume"),
        networks: raw.all("network"),
        daemons: raw.all("daemon"),
        plugins: raw.all("plugin"),
        nodes: raw.all("node"),
        services: raw.all("service"),
        secrets: raw.all("secret"),
        configs: raw.all("config"),
        scopes: raw.all("scope"),
    })
}

/// Search: `is-automated`, `is-official`, `stars`.
pub(crate) fn search(raw: &Raw) -> Result<(Option<bool>, Option<bool>, u64)> {
    raw.check(&["is-automated", "is-official", "stars"])?;
    let stars = raw.each("stars", |value| value.parse().ok())?;
    Ok((raw.flag("is-automated")?, raw.flag("is-official")?, stars.into_iter().max().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Verb, message};

    #[test]
    fn reads_both_forms() {
        let new = raw(r#"{"label":["a=1","b"]}"#).unwrap();
        let old = raw(r#"{"label":{"a=1":true,"b":true,"c":false}}"#).unwrap();
        assert_eq!(new, old);
        let labels = containers(&new).unwrap().labels;
        assert_eq!(labels, [LabelFilter::parse("a=1"), LabelFilter::parse("b")]);
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let failure = raw(text).and_then(|raw| containers(&raw)).unwrap_err();
        assert_eq!(message(&failure, Verb::Other), expected);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        refused(r#"{"foo":["x"]}"#, "invalid filter 'foo'");
        refused(r#"{"status":["x"]}"#, "invalid filter 'status=[x]'");
        refused(r#"{"publish":["x"]}"#, "invalid filter 'publish=[x]'");
        refused("[]", "invalid filter: filters is not a map of lists: []");
    }

    #[test]
    fn prune_of_images_takes_all_when_not_only_dangling() {
        let now = Timestamp::from_parts(100, 0);
        let all = |text: &str| prune(&raw(text).unwrap(), Some("dangling"), now).unwrap();
        assert!(all(r#"{"dangling":{"false":true}}"#).all);
        assert!(!all("").all);
        let until = all(r#"{"until":["10s"]}"#).until;
        assert_eq!(until, Some(Timestamp::from_parts(90, 0)));
    }
}
