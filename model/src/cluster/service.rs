//! Services: what the user declares.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Annotations, ClusterNetworkId, IpPrefix, Meta, ServiceId, TaskSpec, Version, task::NetworkWish,
};
use crate::Timestamp;

/// What the user wants of a service. `None` means "not said": the default is applied where the value is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    /// Name and labels, without Shoal's own (`extensions`).
    pub annotations: Annotations,
    /// What each task runs. Shared by all tasks of this version.
    pub task: Arc<TaskSpec>,
    /// How many, where.
    pub mode: ServiceMode,
    /// `None`: all defaults (parallelism 1).
    pub update: Option<UpdateConfig>,
    /// `None`: all defaults.
    pub rollback: Option<UpdateConfig>,
    /// `None`: VIP, no ports.
    pub endpoint: Option<EndpointSpec>,
    /// Networks of old clients; those of the task go first when both are given.
    pub networks: Vec<NetworkWish>,
    /// What Docker lacks; `io.shoal.*` labels on the wire.
    pub extensions: ServiceExtensions,
}

/// How many tasks, where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in Docker; the fields have their own words")]
pub enum ServiceMode {
    /// So many tasks; `None`: 1.
    Replicated { replicas: Option<u64> },
    /// One on each eligible node.
    Global,
    /// Runs to completion: `None`: 1 each.
    ReplicatedJob { max_concurrent: Option<u64>, total_completions: Option<u64> },
    /// Runs to completion once on each eligible node.
    GlobalJob,
}

impl Default for ServiceMode {
    fn default() -> Self {
        Self::Replicated { replicas: None }
    }
}

impl ServiceMode {
    /// Whether tasks are expected to complete.
    pub const fn is_job(self) -> bool {
        matches!(self, Self::ReplicatedJob { .. } | Self::GlobalJob)
    }
}

/// How an update or a rollback proceeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateConfig {
    /// Slots at once; zero: all.
    pub parallelism: u64,
    /// Between slots of one worker of the updater.
    pub delay: Duration,
    /// What happens when too many fail.
    pub failure_action: FailureAction,
    /// How long a new task is watched; `None` or zero: 5 s.
    pub monitor: Option<Duration>,
    /// 0…1; failures above this share of the dirty slots trigger the action.
    pub max_failure_ratio: f32,
    /// Which goes first.
    pub order: UpdateOrder,
}

impl Eq for UpdateConfig {}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay: Duration::ZERO,
            failure_action: FailureAction::default(),
            monitor: None,
            max_failure_ratio: 0.0,
            order: UpdateOrder::default(),
        }
    }
}

impl UpdateConfig {
    /// How long a new task is watched, defaults applied.
    pub fn monitor(&self) -> Duration {
        self.monitor.filter(|monitor| !monitor.is_zero()).unwrap_or(Duration::from_secs(5))
    }
}

/// What happens when too many tasks of an update fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FailureAction {
    #[default]
    Pause,
    Continue,
    Rollback,
}

/// Which goes first in an update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateOrder {
    /// The old task stops, then the new one starts.
    #[default]
    StopFirst,
    /// The new task runs, then the old one stops.
    StartFirst,
}

/// How a service is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSpec {
    /// How its name resolves.
    pub mode: EndpointMode,
    /// Published ports.
    pub ports: Vec<PortConfig>,
}

/// How the name of a service resolves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointMode {
    /// To one virtual address.
    #[default]
    Vip,
    /// To the addresses of its tasks.
    DnsRoundRobin,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct PortConfig {
    /// Free text.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// In the container.
    pub target: u16,
    /// On the nodes; zero in a spec: chosen (ingress: 30000–32767; host: by the node).
    pub published: u16,
    /// Where it is published.
    pub mode: PublishMode,
}

/// Transport protocol.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Where a port is published.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum PublishMode {
    /// On each node, by the routing mesh.
    #[default]
    Ingress,
    /// On the task's node.
    Host,
}

/// Which tasks get the connections to a port of the routing mesh that come to a node.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum PortPolicy {
    /// Those on all nodes.
    #[default]
    Mesh,
    /// Those on the node itself; where there are none, those on all nodes.
    LocalFirst,
    /// Those on the node itself.
    LocalOnly,
}

/// What Docker's published ports lack.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct PortExtension {
    /// In the container: names the port, together with the protocol.
    pub target: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Which tasks get connections.
    pub policy: PortPolicy,
    /// Only at this address of a node; `None`: at all.
    pub address: Option<IpAddr>,
    /// Only what comes in by this link of a node; empty: by all.
    pub interface: String,
}

/// What Docker's specs lack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceExtensions {
    /// An update without progress for so long has failed; `None`: ten minutes.
    pub update_deadline: Option<Duration>,
    /// What happens to tasks on a node that is cut off; `None`: keep.
    pub on_disconnect: Option<OnDisconnect>,
    /// How many earlier wishes are kept, to go back to; `None`: [`REVISIONS_KEPT`].
    pub revisions: Option<u32>,
    /// What a new spec waits for before it starts.
    pub depends_on: Vec<Dependency>,
    /// Of ports of the routing mesh, by target and protocol, each once.
    pub ports: Vec<PortExtension>,
}

/// A service that another one waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    /// Its name.
    pub service: String,
    /// How far it must have come.
    pub condition: Condition,
    /// Whether it must exist.
    pub required: bool,
}

/// How far a service must have come, with all its tasks, before another one starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Condition {
    /// Its containers were started.
    Started,
    /// They run, and are healthy where they have a check.
    Healthy,
    /// They ended with success.
    Completed,
}

/// Earlier wishes of a service that are kept where it does not say otherwise.
pub const REVISIONS_KEPT: u32 = 10;
/// The most that a service may ask for: they are part of the service in the store.
pub const REVISIONS_MAX: u32 = 100;

/// What a worker does with a service's tasks when no manager is reachable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDisconnect {
    /// They run on.
    #[default]
    Keep,
    /// They are stopped after this time.
    Stop(Duration),
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Id.
    pub id: ServiceId,
    /// System fields.
    pub meta: Meta,
    /// The user's wish.
    pub spec: ServiceSpec,
    /// Version of the object when `spec` was last changed in earnest; tasks carry it.
    pub spec_version: Version,
    /// The wish before the last change in earnest.
    pub previous: Option<Box<PreviousSpec>>,
    /// All wishes that are kept, by number.
    pub revisions: Revisions,
    /// What the allocator gave.
    pub endpoint: Option<Endpoint>,
    /// Why the endpoint could not be given as wished; empty: it could.
    pub endpoint_error: String,
    /// The last update; `None`: never updated.
    pub update: Option<UpdateStatus>,
    /// Jobs only.
    pub job: Option<JobStatus>,
    /// Removed by the user, tasks are still being stopped.
    pub removing: bool,
}

/// The wishes that a service had, for `rollback --to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revisions {
    /// Number of the present wish, from 1.
    pub present: u64,
    /// Since when it has been the wish; `None`: since the service was created.
    pub since: Option<Timestamp>,
    /// The wishes before it, oldest first, no more than the service keeps.
    pub earlier: Vec<Revision>,
}

impl Default for Revisions {
    fn default() -> Self {
        Self { present: 1, since: None, earlier: Vec::new() }
    }
}

/// A wish that a service had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Counts the changes in earnest.
    pub number: u64,
    /// Since when it was the wish; `None`: since the service was created.
    pub since: Option<Timestamp>,
    /// The wish.
    pub spec: ServiceSpec,
}

/// The wish before the last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSpec {
    /// The wish.
    pub spec: ServiceSpec,
    /// Its version.
    pub spec_version: Version,
}

/// How a service is reached, in effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// The wish that it was made from.
    pub spec: EndpointSpec,
    /// Ports with their numbers.
    pub ports: Vec<PortConfig>,
    /// One per network in VIP mode.
    pub virtual_ips: Vec<VirtualIp>,
}

/// Address of a service on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VirtualIp {
    /// Network.
    pub network: ClusterNetworkId,
    /// IPv4 with the subnet's prefix; `None`: the network has no IPv4.
    pub ipv4: Option<IpPrefix>,
    /// IPv6 with the subnet's prefix; `None`: the network has no IPv6.
    pub ipv6: Option<IpPrefix>,
}

impl VirtualIp {
    /// All addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.into_iter().chain(self.ipv6).map(|prefix| prefix.address)
    }
}

/// Progress of an update, kept in the store so that the next leader goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Where it stands.
    pub state: UpdateState,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// What `inspect` shows.
    pub message: String,
    /// Dirty slots when it began: the divisor of the failure ratio.
    pub total: u32,
    /// Slots (or nodes) whose new task failed; each counts once.
    pub failed: u32,
    /// When a slot last advanced, for the deadline.
    pub progressed: Timestamp,
}

/// Where an update stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in Docker")]
pub enum UpdateState {
    Updating,
    Paused,
    Completed,
    RollbackStarted,
    RollbackPaused,
    RollbackCompleted,
}

/// Iteration of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Counts the runs: grows with each change in earnest.
    pub iteration: Version,
    /// When this run began.
    pub last_execution: Timestamp,
}
