//! Events: what happened to an object, and when.

use std::collections::BTreeMap;

use crate::Timestamp;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// What sort of object.
    pub kind: EventKind,
    /// Docker's word, e.g. `start`, `die`, `exec_create: sh -c true`, `health_status: healthy`.
    pub action: String,
    /// Id of the object; for images the id or reference, for volumes the name.
    pub actor: String,
    /// `name`, `image`, the labels, `exitCode`, `signal`, ….
    pub attributes: BTreeMap<String, String>,
    /// Where it is known.
    pub scope: EventScope,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "docker's words")]
pub enum EventKind {
    Builder,
    Config,
    Container,
    Daemon,
    Image,
    Network,
    Node,
    Plugin,
    Secret,
    Service,
    Volume,
}

impl EventKind {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Builder => "builder",
            Self::Config => "config",
            Self::Container => "container",
            Self::Daemon => "daemon",
            Self::Image => "image",
            Self::Network => "network",
            Self::Node => "node",
            Self::Plugin => "plugin",
            Self::Secret => "secret",
            Self::Service => "service",
            Self::Volume => "volume",
        }
    }

    /// From docker's word.
    pub fn parse(word: &str) -> Option<Self> {
        use EventKind::*;
        [Builder, Config, Container, Daemon, Image, Network, Node, Plugin, Secret, Service, Volume]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// Who sees an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "docker's words")]
pub enum EventScope {
    Local,
    Swarm,
}

impl EventScope {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Swarm => "swarm",
        }
    }
}

/// Which events a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Also past events from here on, oldest first; `None`: none of the past.
    pub since: Option<Timestamp>,
    /// The stream ends here; `None`: never.
    pub until: Option<Timestamp>,
    /// Only these.
    pub filters: crate::filters::EventFilters,
}
