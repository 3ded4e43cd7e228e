//! Images: the config that an image carries, and the platform it is for.
//!
//! Source: OCI image-spec `config.md`; docker's extensions (`Healthcheck`, `Shell`, `OnBuild`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::container::Healthcheck;

/// A platform: operating system, architecture, variant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// e.g. `linux`.
    pub os: String,
    /// GOARCH, e.g. `amd64`.
    pub architecture: String,
    /// e.g. `v8`; empty when there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The platform this program runs on.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// Parses `os[/arch[/variant]]`; a missing architecture is the host's. `None` when malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let os = parts.next().filter(|os| !os.is_empty())?.to_lowercase();
        let host = Self::host();
        let (architecture, variant) = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => (host.architecture, host.variant),
            (Some(""), ..) | (_, _, Some(_)) => return None,
            (Some(arch), variant, None) => normalise(arch, variant.unwrap_or_default()),
        };
        Some(Self { os, architecture, variant })
    }
}

fn normalise(arch: &str, variant: &str) -> (String, String) {
    let (arch, variant) = match (arch, variant) {
        ("x86_64" | "x86-64", v) => ("amd64", v),
        ("aarch64", v) => ("arm64", v),
        ("armhf", "") => ("arm", "v7"),
        ("armel", "") => ("arm", "v6"),
        other => other,
    };
    (arch.to_owned(), variant.to_owned())
}

/// How containers of an image run unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDefaults {
    /// `user[:group]`.
    pub user: String,
    /// `port/proto` keys.
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    pub command: Option<Vec<String>>,
    /// Paths that get an anonymous volume.
    pub volumes: BTreeSet<String>,
    /// Working directory.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Signal that stops it.
    pub stop_signal: Option<String>,
    /// Health check.
    pub healthcheck: Option<Healthcheck>,
    /// Shell for shell-form instructions.
    pub shell: Option<Vec<String>>,
    /// Build triggers.
    pub on_build: Vec<String>,
}
