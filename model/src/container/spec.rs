//! What the user asks for when creating a container.
//!
//! Source: moby `api/types/container/config.go`; field meanings as in the Engine API.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::HostSpec;

/// The whole wish. Never modified by the system; image defaults are merged into a copy at creation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Image as the user wrote it: reference, id or id prefix.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Empty: the short container id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// NIS domain name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// `user[:group]`, names or numbers; empty: the image's, then root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Attach flags: kept for inspect only.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub attach_stdin: bool,
    /// Kept for inspect only.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub attach_stdout: bool,
    /// Kept for inspect only.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub attach_stderr: bool,
    /// `port/proto` keys.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub exposed_ports: BTreeSet<String>,
    /// Allocate a terminal.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub tty: bool,
    /// Keep stdin open without a client.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub open_stdin: bool,
    /// Close stdin after the first attached client leaves.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub stdin_once: bool,
    /// `NAME=value`; `NAME` alone unsets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Arguments; `None`: the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// `None`: the image's; `Some([])` or `Some([""])` clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// `None`: the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Paths that get an anonymous volume.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub volumes: BTreeSet<String>,
    /// Empty: the image's, then `/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// No network at all (old clients).
    #[serde(skip_serializing_if = "crate::is_default")]
    pub network_disabled: bool,
    /// Labels.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub labels: BTreeMap<String, String>,
    /// e.g. `SIGTERM`, `15`; `None`: the image's, then SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds before SIGKILL; `None`: 10; negative: wait for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Shell for shell-form instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Build triggers, kept for commit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Everything that depends on the host.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub host: HostSpec,
    /// Networks to join, by name or id, with the settings of each endpoint.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub endpoints: BTreeMap<String, EndpointSpec>,
}

/// How a container's health is probed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// Empty: inherit; `["NONE"]`: none; `["CMD", …]`; `["CMD-SHELL", line]`.
    pub test: Vec<String>,
    /// Between probes; zero: inherit, then 30 s.
    pub interval: Duration,
    /// For one probe; zero: inherit, then 30 s.
    pub timeout: Duration,
    /// Failures before it is unhealthy; zero: inherit, then 3.
    pub retries: u32,
    /// Time to start up in which failures do not count; zero: inherit, then 0.
    pub start_period: Duration,
    /// Between probes in the start period; zero: inherit, then 5 s.
    pub start_interval: Duration,
}

/// Settings of one endpoint: a container on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSpec {
    /// Wanted IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Wanted IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Further link-local addresses.
    pub link_local: Vec<String>,
    /// `container:alias` links.
    pub links: Vec<String>,
    /// Further names on this network.
    pub aliases: Vec<String>,
    /// Wanted MAC address, empty for none.
    pub mac_address: String,
    /// Driver options.
    pub driver_opts: BTreeMap<String, String>,
    /// The network with the highest value gives the default route.
    pub gateway_priority: i64,
}
