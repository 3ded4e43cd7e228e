//! What a task asks of a node, read from its spec once for a whole group.

use shoal_model::cluster::image;
use shoal_model::cluster::node::{GenericResource, Platform};
use shoal_model::cluster::service::{Endpoint, Protocol, PublishMode};
use shoal_model::cluster::{Task, TaskSpec};
use shoal_model::container::MountKind;

use crate::constraint::{self, Constraint, Key};
use crate::platform::normalise;

/// What the tasks of a group ask of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) nano_cpus: i64,
    pub(super) memory: i64,
    pub(super) generic: Vec<GenericResource>,
    /// Kind and name.
    pub(super) plugins: Vec<(&'static str, String)>,
    pub(super) constraints: Vec<Constraint>,
    /// A constraint cannot be read, so no node satisfies it. The API refuses such specs.
    ///
    /// Differs: swarmkit then ignores all constraints.
    pub(super) unreadable: bool,
    /// Normalised; empty: any.
    pub(super) platforms: Vec<Platform>,
    pub(super) ports: Vec<(Protocol, u16)>,
    /// Zero: no limit.
    pub(super) max_replicas: u64,
    pub(super) spread: Vec<Key>,
    /// The image. It only decides between nodes that are otherwise equal; `None`: it has no name.
    pub(super) image: Option<u64>,
}

impl Demand {
    /// Reads a task. `drivers` are those of the networks that it joins.
    pub(super) fn of(task: &Task, drivers: Vec<String>) -> Self {
        let spec = &*task.spec;
        let (nano_cpus, memory) = reserved(spec);
        let reservations = spec.resources.as_ref().and_then(|wish| wish.reservations.as_ref());
        let placement = spec.placement.clone().unwrap_or_default();
        let constraints = constraint::parse_all(&placement.constraints);
        Self {
            nano_cpus,
            memory,
            generic: reservations.map(|wish| wish.generic.clone()).unwrap_or_default(),
            plugins: plugins(spec, drivers),
            unreadable: constraints.is_err(),
            constraints: constraints.unwrap_or_default(),
            platforms: placement.platforms.iter().map(normalise).collect(),
            ports: host_ports(task.endpoint.as_deref()).collect(),
            max_replicas: placement.max_replicas,
            spread: placement.spread.iter().map(|label| Key::parse(label)).collect(),
            image: image::name(&spec.container.image),
        }
    }
}

/// CPUs in 1e-9 and bytes that a task holds on its node.
pub(super) fn reserved(spec: &TaskSpec) -> (i64, i64) {
    spec.resources
        .as_ref()
        .and_then(|wish| wish.reservations.as_ref())
        .map_or((0, 0), |wish| (wish.nano_cpus.max(0), wish.memory.max(0)))
}

/// Ports that a task holds on its node.
pub(super) fn host_ports(endpoint: Option<&Endpoint>) -> impl Iterator<Item = (Protocol, u16)> {
    let ports = endpoint.into_iter().flat_map(|endpoint| &endpoint.ports);
    ports
        .filter(|port| port.mode == PublishMode::Host && port.published != 0)
        .map(|port| (port.protocol, port.published))
}

fn plugins(spec: &TaskSpec, drivers: Vec<String>) -> Vec<(&'static str, String)> {
    let volumes = spec.container.host.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume { options, .. } if !options.driver.is_empty() => {
            Some(("Volume", options.driver.clone()))
        }
        MountKind::Bind { .. }
        | MountKind::Volume { .. }
        | MountKind::Tmpfs(_)
        | MountKind::Image { .. } => None,
    });
    let networks = drivers.into_iter().map(|driver| ("Network", driver));
    let log = spec.log.as_ref().map(|log| log.driver.as_str());
    let log = log.filter(|driver| !driver.is_empty() && *driver != "none");
    let log = log.map(|driver| ("Log", driver.to_owned()));
    let mut plugins: Vec<_> = volumes.chain(networks).chain(log).collect();
    plugins.sort();
    plugins.dedup();
    plugins
}
