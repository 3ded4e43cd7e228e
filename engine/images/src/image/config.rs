//! The image config: parsed for use, kept verbatim for its digest.
//!
//! Source: OCI image-spec `config.md`; moby `image/spec/specs-go/v1/image.go` for docker's extensions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use shoal_model::container::Healthcheck;
use shoal_model::image::{ImageDefaults, Platform};
use shoal_model::{Digest, Timestamp};

/// What an image config says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// When it was made; `None` when it does not say.
    pub created: Option<Timestamp>,
    /// The same as its author wrote it.
    pub created_text: Option<String>,
    /// Author; empty for none.
    pub author: String,
    /// Comment of a commit or import; empty for none.
    pub comment: String,
    /// What it runs on.
    pub platform: Platform,
    /// `os.version`; empty for none.
    pub os_version: String,
    /// How its containers run.
    pub defaults: ImageDefaults,
    /// Layers from the lowest up.
    pub diff_ids: Vec<Digest>,
    /// How it came to be, oldest first.
    pub history: Vec<HistoryEntry>,
}

/// One step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Author.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Comment.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Made no layer.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// A config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// Not the JSON it should be.
    #[error("image config is not valid")]
    Json(#[from] serde_json::Error),
    /// Without layers' ids nothing can be verified.
    #[error("image config has no `rootfs.diff_ids` of type `layers`")]
    NoRootfs,
}

impl ImageConfig {
    /// Parses a config.
    ///
    /// # Errors
    /// When it is not an image config.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidConfig> {
        let raw: RawImage = serde_json::from_slice(json)?;
        let rootfs = raw.rootfs.filter(|rootfs| rootfs.kind == "layers");
        let rootfs = rootfs.ok_or(InvalidConfig::NoRootfs)?;
        let host = Platform::host();
        let or = |text: String, default: String| if text.is_empty() { default } else { text };
        Ok(Self {
            created: raw.created.as_deref().and_then(timestamp),
            created_text: raw.created,
            author: raw.author,
            comment: raw.comment,
            platform: Platform {
                os: or(raw.os, host.os),
                architecture: or(raw.architecture, host.architecture),
                variant: raw.variant,
            },
            os_version: raw.os_version,
            defaults: raw.config.unwrap_or_default().into(),
            diff_ids: rootfs.diff_ids,
            history: raw.history,
        })
    }
}

/// Parses RFC 3339.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    let parsed: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(parsed.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

/// Writes RFC 3339 with nanoseconds, in UTC.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.nanos()))
        .expect("64 bits of nanoseconds are within jiff's range")
        .to_string()
}

#[derive(Deserialize)]
struct RawImage {
    #[serde(default)]
    created: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    author: String,
    #[serde(default, deserialize_with = "or_default")]
    comment: String,
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    variant: String,
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default, rename = "os.version", deserialize_with = "or_default")]
    os_version: String,
    #[serde(default)]
    config: Option<RawDefaults>,
    #[serde(default)]
    rootfs: Option<RawRootfs>,
    #[serde(default, deserialize_with = "or_default")]
    history: Vec<HistoryEntry>,
}

#[derive(Deserialize)]
struct RawRootfs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

/// The `config` object, in docker's spelling.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawDefaults {
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Empty>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    working_dir: String,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<RawHealthcheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<Vec<String>>,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    on_build: Vec<String>,
}

/// Go's `struct{}`: an object whose members do not matter.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Empty {}

/// Durations are nanoseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawHealthcheck {
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    timeout: i64,
    #[serde(skip_serializing_if = "is_zero")]
    retries: i64,
    #[serde(skip_serializing_if = "is_zero")]
    start_period: i64,
    #[serde(skip_serializing_if = "is_zero")]
    start_interval: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl From<RawDefaults> for ImageDefaults {
    fn from(raw: RawDefaults) -> Self {
        Self {
            user: raw.user,
            exposed_ports: raw.exposed_ports.into_keys().collect(),
            env: raw.env,
            entrypoint: raw.entrypoint,
            command: raw.cmd,
            volumes: raw.volumes.into_keys().collect(),
            working_dir: raw.working_dir,
            labels: raw.labels,
            stop_signal: raw.stop_signal.filter(|signal| !signal.is_empty()),
            healthcheck: raw.healthcheck.map(Healthcheck::from),
            shell: raw.shell,
            on_build: raw.on_build,
        }
    }
}

impl From<&ImageDefaults> for RawDefaults {
    fn from(defaults: &ImageDefaults) -> Self {
        let keys = |set: &std::collections::BTreeSet<String>| {
            set.iter().map(|key| (key.clone(), Empty {})).collect()
        };
        Self {
            user: defaults.user.clone(),
            exposed_ports: keys(&defaults.exposed_ports),
            env: defaults.env.clone(),
            entrypoint: defaults.entrypoint.clone(),
            cmd: defaults.command.clone(),
            volumes: keys(&defaults.volumes),
            working_dir: defaults.working_dir.clone(),
            labels: defaults.labels.clone(),
            stop_signal: defaults.stop_signal.clone(),
            healthcheck: defaults.healthcheck.as_ref().map(RawHealthcheck::from),
            shell: defaults.shell.clone(),
            on_build: defaults.on_build.clone(),
        }
    }
}

/// The `config` object of an image config that says `defaults`.
pub(crate) fn defaults_json(defaults: &ImageDefaults) -> serde_json::Value {
    serde_json::to_value(RawDefaults::from(defaults)).expect("plain strings are JSON")
}

impl From<RawHealthcheck> for Healthcheck {
    fn from(raw: RawHealthcheck) -> Self {
        let duration = |nanos: i64| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        Self {
            test: raw.test,
            interval: duration(raw.interval),
            timeout: duration(raw.timeout),
            retries: u32::try_from(raw.retries.max(0)).unwrap_or(u32::MAX),
            start_period: duration(raw.start_period),
            start_interval: duration(raw.start_interval),
        }
    }
}

impl From<&Healthcheck> for RawHealthcheck {
    fn from(check: &Healthcheck) -> Self {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        Self {
            test: check.test.clone(),
            interval: nanos(check.interval),
            timeout: nanos(check.timeout),
            retries: i64::from(check.retries),
            start_period: nanos(check.start_period),
            start_interval: nanos(check.start_interval),
        }
    }
}

/// Go writes absent strings and maps as `null` now and then.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dockers_config_with_nulls() {
        let config = ImageConfig::parse(
            br#"{"architecture":"amd64","os":"linux","created":"2024-01-02T03:04:05.000000006Z",
            "config":{"Env":null,"Cmd":["sh"],"Volumes":null,"ExposedPorts":{"80/tcp":{}},
              "Entrypoint":null,"OnBuild":null,"Labels":{"a":"b"},"Image":"x","Hostname":"",
              "Healthcheck":{"Test":["CMD","x"],"Interval":1000000000}},
            "rootfs":{"type":"layers","diff_ids":null},"history":null,"docker_version":"1"}"#,
        )
        .unwrap();
        assert_eq!(config.created, Some(Timestamp::from_parts(1_704_164_645, 6)));
        assert_eq!(config.defaults.command, Some(vec!["sh".to_owned()]));
        assert_eq!(config.defaults.entrypoint, None);
        assert_eq!(config.defaults.exposed_ports.first().unwrap(), "80/tcp");
        let check = config.defaults.healthcheck.clone().unwrap();
        assert_eq!(check.interval, Duration::from_secs(1));
        let json = defaults_json(&config.defaults);
        let back: RawDefaults = serde_json::from_value(json).unwrap();
        assert_eq!(ImageDefaults::from(back), config.defaults);
    }

    #[test]
    fn refuses_configs_without_layers() {
        let error = ImageConfig::parse(b"{}").unwrap_err();
        assert_eq!(error.to_string(), "image config has no `rootfs.diff_ids` of type `layers`");
        assert!(ImageConfig::parse(b"[").is_err());
    }

    #[test]
    fn writes_time_as_go_does() {
        assert_eq!(rfc3339(Timestamp::from_parts(1_704_164_645, 0)), "2024-01-02T03:04:05Z");
    }
}
