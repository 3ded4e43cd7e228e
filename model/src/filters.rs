//! The filters of list, prune and event requests, parsed.
//!
//! Pure. The API turns the wire's map of texts into these; whoever owns the objects applies them.
//! Several values of one key mean *any of them*, except labels, which must *all* match.

use std::collections::BTreeMap;

use crate::container::{HealthStatus, Phase};
use crate::{Event, EventKind, Timestamp};

/// `key` or `key=value`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelFilter {
    /// The label's name.
    pub key: String,
    /// `None`: the label only has to exist.
    pub value: Option<String>,
}

impl LabelFilter {
    /// Splits at the first `=`.
    pub fn parse(text: &str) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self { key: key.to_owned(), value: Some(value.to_owned()) },
            None => Self { key: text.to_owned(), value: None },
        }
    }

    /// Whether `labels` satisfy it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        labels
            .get(&self.key)
            .is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found))
    }
}

/// Whether `labels` satisfy all of `filters`.
pub fn all_labels(filters: &[LabelFilter], labels: &BTreeMap<String, String>) -> bool {
    filters.iter().all(|filter| filter.matches(labels))
}

/// A range of ports with a protocol, from `publish` and `expose`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFilter {
    /// First port.
    pub first: u16,
    /// Last port, included.
    pub last: u16,
    /// `tcp`, `udp`, `sctp`.
    pub protocol: String,
}

impl PortFilter {
    /// Whether it holds this port.
    pub fn matches(&self, port: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol == protocol
    }
}

/// Filters of `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerFilters {
    /// Prefixes of ids, or whole ids.
    pub ids: Vec<String>,
    /// Parts of names (docker: regular expressions over `/name`; a leading `/` or `^` anchors).
    pub names: Vec<String>,
    /// All must match.
    pub labels: Vec<LabelFilter>,
    /// Exit codes; only exited containers match.
    pub exited: Vec<i32>,
    /// Phases; not empty implies `all`.
    pub phases: Vec<Phase>,
    /// Images (reference, id) that it was made from, or whose layers it builds on.
    pub ancestors: Vec<String>,
    /// Only those created before this container (name or id).
    pub before: Option<String>,
    /// Only those created after this container (name or id).
    pub since: Option<String>,
    /// Names of volumes or destinations of mounts.
    pub volumes: Vec<String>,
    /// Names or ids of networks.
    pub networks: Vec<String>,
    /// Published ports.
    pub publish: Vec<PortFilter>,
    /// Exposed ports.
    pub expose: Vec<PortFilter>,
    /// Health; the `none` of docker is the `None` here.
    pub health: Vec<Option<HealthStatus>>,
    /// Only tasks, or only those that are none.
    pub is_task: Option<bool>,
}

/// Filters of `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFilters {
    /// Only images without, or only with, a tag.
    pub dangling: Option<bool>,
    /// All must match.
    pub labels: Vec<LabelFilter>,
    /// Only those created before this image.
    pub before: Option<String>,
    /// Only those created after this image.
    pub since: Option<String>,
    /// Glob patterns over familiar references, as Go's `path.Match`.
    pub references: Vec<String>,
    /// Only those created before this time.
    pub until: Option<Timestamp>,
}

/// Filters of `GET /volumes`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeFilters {
    /// Only volumes that no, or that some container refers to.
    pub dangling: Option<bool>,
    /// Names of drivers.
    pub drivers: Vec<String>,
    /// All must match.
    pub labels: Vec<LabelFilter>,
    /// Parts of names.
    pub names: Vec<String>,
}

/// Filters of `GET /networks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFilters {
    /// Prefixes of ids.
    pub ids: Vec<String>,
    /// Parts of names.
    pub names: Vec<String>,
    /// Names of drivers.
    pub drivers: Vec<String>,
    /// All must match.
    pub labels: Vec<LabelFilter>,
    /// `local`, `swarm`, `global`.
    pub scopes: Vec<String>,
    /// True: only the user's own networks; false: only the predefined.
    pub custom: Option<bool>,
    /// Only networks that no, or that some container uses.
    pub dangling: Option<bool>,
}

/// Filters of the prune endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilters {
    /// Only objects created before this time.
    pub until: Option<Timestamp>,
    /// All must match.
    pub labels: Vec<LabelFilter>,
    /// None may match.
    pub without_labels: Vec<LabelFilter>,
    /// Images: also tagged ones that no container uses. Volumes: also named ones.
    pub all: bool,
}

impl PruneFilters {
    /// Whether an object of this age with these labels may go.
    pub fn matches(&self, created: Timestamp, labels: &BTreeMap<String, String>) -> bool {
        self.until.is_none_or(|until| created < until)
            && all_labels(&self.labels, labels)
            && !self.without_labels.iter().any(|filter| filter.matches(labels))
    }
}

/// Filters of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilters {
    /// Kinds of objects.
    pub kinds: Vec<EventKind>,
    /// Actions; `exec_start` also means `exec_start: cmd`, `health_status` any health.
    pub actions: Vec<String>,
    /// All must match the actor's attributes.
    pub labels: Vec<LabelFilter>,
    /// Containers by name or id (prefixes allowed).
    pub containers: Vec<String>,
    /// Images by reference or id.
    pub images: Vec<String>,
    /// Volumes by name.
    pub volumes: Vec<String>,
    /// Networks by name or id.
    pub networks: Vec<String>,
    /// Daemons by name or id.
    pub daemons: Vec<String>,
    /// Plugins by name or id.
    pub plugins: Vec<String>,
    /// Nodes by name or id.
    pub nodes: Vec<String>,
    /// Services by name or id.
    pub services: Vec<String>,
    /// Secrets by name or id.
    pub secrets: Vec<String>,
    /// Configs by name or id.
    pub configs: Vec<String>,
    /// `local`, `swarm`.
    pub scopes: Vec<String>,
}

impl EventFilters {
    /// Whether an event passes.
    ///
    /// Source: moby `daemon/events/filter.go`.
    pub fn matches(&self, event: &Event) -> bool {
        let any = |values: &[String], test: &dyn Fn(&str) -> bool| {
            values.is_empty() || values.iter().any(|value| test(value))
        };
        let named = |values: &[String], kind: EventKind| {
            any(values, &|value| {
                event.kind == kind
                    && (event.actor.starts_with(value)
                        || event.attributes.get("name").is_some_and(|name| name == value))
            })
        };
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && any(&self.actions, &|action| {
                event.action == action
                    || event.action.strip_prefix(action).is_some_and(|rest| rest.starts_with(": "))
            })
            && all_labels(&self.labels, &event.attributes)
            && any(&self.scopes, &|scope| scope == event.scope.as_str())
            && named(&self.containers, EventKind::Container)
            && named(&self.volumes, EventKind::Volume)
            && named(&self.networks, EventKind::Network)
            && named(&self.daemons, EventKind::Daemon)
            && named(&self.plugins, EventKind::Plugin)
            && named(&self.nodes, EventKind::Node)
            && named(&self.services, EventKind::Service)
            && named(&self.secrets, EventKind::Secret)
            && named(&self.configs, EventKind::Config)
            && any(&self.images, &|image| event_names_image(event, image))
    }
}

/// The event of an image itself, or of a container made from it; a tag in the event may be left out.
fn event_names_image(event: &Event, image: &str) -> bool {
    let name = match event.kind {
        EventKind::Image => event.attributes.get("name"),
        EventKind::Container => event.attributes.get("image"),
        _ => return false,
    };
    let untagged = |name: &str| match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository.to_owned(),
        _ => name.to_owned(),
    };
    (event.kind == EventKind::Image && (event.actor == image || untagged(&event.actor) == image))
        || name.is_some_and(|name| name == image || untagged(name) == image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventScope;

    fn event(kind: EventKind, action: &str, actor: &str, attributes: &[(&str, &str)]) -> Event {
        Event {
            at: Timestamp::from_nanos(0),
            kind,
            action: action.to_owned(),
            actor: actor.to_owned(),
            attributes: attributes
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            scope: EventScope::Local,
        }
    }

    #[test]
    fn events_pass_their_filters() {
        let started = event(
            EventKind::Container,
            "exec_start: sh -c true",
            "abcdef",
            &[("name", "web"), ("image", "nginx:1"), ("tier", "front")],
        );
        let all = EventFilters::default();
        let of = |change: &dyn Fn(&mut EventFilters)| {
            let mut filters = all.clone();
            change(&mut filters);
            filters.matches(&started)
        };
        assert!(all.matches(&started));
        assert!(of(&|f| f.actions = vec!["exec_start".into()]));
        assert!(!of(&|f| f.actions = vec!["exec".into()]));
        assert!(of(&|f| f.containers = vec!["other".into(), "web".into()]));
        assert!(of(&|f| f.containers = vec!["abc".into()]));
        assert!(!of(&|f| f.containers = vec!["we".into()]));
        assert!(!of(&|f| f.volumes = vec!["web".into()]));
        assert!(of(&|f| f.images = vec!["nginx".into()]));
        assert!(!of(&|f| f.images = vec!["nginx:2".into()]));
        assert!(of(&|f| f.labels = vec![LabelFilter::parse("tier=front")]));
        assert!(!of(&|f| {
            f.labels = vec![LabelFilter::parse("tier"), LabelFilter::parse("none")];
        }));
        assert!(!of(&|f| f.kinds = vec![EventKind::Image]));
        assert!(!of(&|f| f.scopes = vec!["swarm".into()]));
    }

    #[test]
    fn prune_spares_the_young_and_the_excepted() {
        let labels = BTreeMap::from([("keep".to_owned(), String::new())]);
        let filters = PruneFilters {
            until: Some(Timestamp::from_nanos(10)),
            without_labels: vec![LabelFilter::parse("keep")],
            ..PruneFilters::default()
        };
        assert!(filters.matches(Timestamp::from_nanos(9), &BTreeMap::new()));
        assert!(!filters.matches(Timestamp::from_nanos(10), &BTreeMap::new()));
        assert!(!filters.matches(Timestamp::from_nanos(9), &labels));
    }
}
