//! Tasks: one attempt each to run what a service asks for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::node::{GenericResource, Platform};
use super::service::{Endpoint, PortConfig};
use super::{
    Annotations, ClusterNetworkId, ConfigId, IpPrefix, Meta, NodeId, SecretId, ServiceId, TaskId,
    Version,
};
use crate::Timestamp;
use crate::container::{ContainerSpec, LogSpec};

/// What a task runs. Shared by all tasks of one version of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskSpec {
    /// A container, or the attachment of a plain one.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub runtime: TaskRuntime,
    /// The container, in the engine's own words.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub container: ContainerSpec,
    /// Between stop signal and kill; `None`: 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace_period: Option<Duration>,
    /// Security of the container as service specs say it; `None`: not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileges: Option<Privileges>,
    /// Secrets shown to the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretReference>,
    /// Configs shown to the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<ConfigReference>,
    /// `X-Registry-Auth` for pulls by the nodes; empty: none. Never printed by the API.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registry_auth: String,
    /// `None`: no limits, nothing reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// `None`: always, after five seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// `None`: anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Networks, in the user's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkWish>,
    /// `None`: the node's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSpec>,
    /// Grows to make tasks anew although nothing else changed.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub force_update: u64,
}

/// What a task is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskRuntime {
    /// A container.
    #[default]
    Container,
    /// The attachment of a plain container to an attachable network.
    Attachment,
}

/// Security settings of service specs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in Docker")]
pub struct Privileges {
    pub no_new_privileges: bool,
    /// `default`, `unconfined`, `custom`; `None`: not said.
    pub seccomp_mode: Option<String>,
    /// For `custom`.
    #[serde(with = "serde_bytes")]
    pub seccomp_profile: Vec<u8>,
    /// `default`, `disabled`; `None`: not said.
    pub apparmor_mode: Option<String>,
    /// User, role, type, level, and whether it is switched off.
    pub selinux: Option<SelinuxContext>,
}

/// SELinux labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in SELinux")]
pub struct SelinuxContext {
    pub disable: bool,
    pub user: String,
    pub role: String,
    pub kind: String,
    pub level: String,
}

/// A secret as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    /// Id.
    pub id: SecretId,
    /// Name, as the user wrote it.
    pub name: String,
    /// The file; `None`: in no file.
    pub file: Option<FileTarget>,
}

/// A config as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReference {
    /// Id.
    pub id: ConfigId,
    /// Name, as the user wrote it.
    pub name: String,
    /// The file; `None`: for the runtime (credential specs), in no file.
    pub file: Option<FileTarget>,
}

/// A file in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileTarget {
    /// Relative names of secrets are beneath /run/secrets, of configs beneath /.
    pub name: String,
    /// Number or name.
    pub uid: String,
    /// Number or name.
    pub gid: String,
    /// Permission bits.
    pub mode: u32,
}

/// What a task needs and may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceRequirements {
    /// The most it may use.
    pub limits: Option<Limits>,
    /// The least a node must have left.
    pub reservations: Option<Reservations>,
    /// Swap in bytes beside the memory limit; `None`: not said.
    pub swap_bytes: Option<i64>,
    /// 0…100; `None`: not said.
    pub memory_swappiness: Option<i64>,
}

/// Zero: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in Docker")]
pub struct Limits {
    /// CPUs in 1e-9.
    pub nano_cpus: i64,
    /// Bytes.
    pub memory: i64,
    pub pids: i64,
}

/// Zero: nothing reserved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reservations {
    /// CPUs in 1e-9.
    pub nano_cpus: i64,
    /// Bytes.
    pub memory: i64,
    /// Generic resources.
    pub generic: Vec<GenericResource>,
}

/// What follows the end of a task. `None`: the default of the field's use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// `None`: any.
    pub condition: Option<RestartCondition>,
    /// `None`: 5 s. Start of the back-off.
    pub delay: Option<Duration>,
    /// `None` or zero: without end.
    pub max_attempts: Option<u64>,
    /// Time in which attempts count; `None` or zero: for ever.
    pub window: Option<Duration>,
}

/// Which ends are followed by another attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in Docker")]
pub enum RestartCondition {
    None,
    OnFailure,
    #[default]
    Any,
}

/// Where tasks may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Expressions like `node.role==manager`, as the user wrote them.
    pub constraints: Vec<String>,
    /// Spread over the values of these labels, e.g. `node.labels.zone`; the first is the outermost.
    pub spread: Vec<String>,
    /// Zero: as many as fit.
    pub max_replicas: u64,
    /// Platforms of the image; empty: unknown, any.
    pub platforms: Vec<Platform>,
}

/// A network that a task shall join.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkWish {
    /// Name or id, as resolved when the spec was accepted: an id in text form.
    pub target: String,
    /// Further names on it.
    pub aliases: Vec<String>,
    /// Driver options of the endpoint.
    pub driver_opts: BTreeMap<String, String>,
    /// Addresses asked for (attachments of plain containers).
    pub addresses: Vec<String>,
}

/// State of a task: both the observed one and the wished one only move forward in this order.
///
/// Source: swarmkit `api/types.proto TaskState` (numbers kept, they leave room in between).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[repr(u16)]
pub enum TaskState {
    /// Created by an orchestrator.
    #[default]
    New = 0,
    /// Has its addresses and ports; waits for a node.
    Pending = 64,
    /// Has a node.
    Assigned = 192,
    /// The node knows of it.
    Accepted = 256,
    /// Image and mounts are being made ready.
    Preparing = 320,
    /// Could start at once.
    Ready = 384,
    /// Starting, or not healthy yet.
    Starting = 448,
    /// Running, and healthy where it has a check.
    Running = 512,
    /// Ended with success.
    Complete = 576,
    /// Was stopped on demand.
    Shutdown = 640,
    /// Ended with failure.
    Failed = 704,
    /// Could not be started.
    Rejected = 768,
    /// To be removed. Desired only.
    Remove = 800,
    /// Its node was gone for too long.
    Orphaned = 832,
}

impl TaskState {
    /// Whether nothing runs any more.
    pub fn is_terminal(self) -> bool {
        self > Self::Running
    }

    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Remove => "remove",
            Self::Orphaned => "orphaned",
        }
    }
}

/// Number of a replica, from 1. Zero: tasks of global services, which have a node instead.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Slot(pub u64);

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Id.
    pub id: TaskId,
    /// System fields.
    pub meta: Meta,
    /// What it runs; the service's at `spec_version`.
    pub spec: Arc<TaskSpec>,
    /// The service's `spec_version` that it was made from.
    pub spec_version: Version,
    /// `None`: an attachment of a plain container.
    pub service: Option<ServiceId>,
    /// Replica, or zero.
    pub slot: Slot,
    /// `None`: not placed yet. Set at creation for global services.
    pub node: Option<NodeId>,
    /// Name and labels of the service when it was made.
    pub annotations: Arc<Annotations>,
    /// What a manager wants. Written by managers only; moves forward only.
    pub desired: TaskState,
    /// What is. Moves forward only.
    pub status: TaskStatus,
    /// Addresses on each network.
    pub networks: Vec<NetworkAttachment>,
    /// The service's endpoint when it was allocated.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Generic resources given by the scheduler.
    pub generic: Vec<GenericResource>,
    /// Iteration of the job it belongs to.
    pub job_iteration: Option<Version>,
    /// Attempts before this one in its slot.
    pub history: RestartHistory,
    /// How often its own worker ran it again while no manager was reachable.
    pub runs: u32,
}

impl Task {
    /// The slot that users see: that of a replicated job counts from zero, as Docker's does.
    pub fn shown_slot(&self) -> u64 {
        self.slot.0.saturating_sub(u64::from(self.job_iteration.is_some()))
    }
}

/// What is known of a task. What is empty is not written: every release reads it as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskStatus {
    /// Observed state.
    pub state: TaskState,
    /// When it was reached, by the reporter's clock.
    pub at: Timestamp,
    /// When the task was first seen running, by the same clock; `None`: never. The store fills it in where a reporter
    /// does not, and never loses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Timestamp>,
    /// What is going on, in docker's words ("started", "preparing", …).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Why it is not where it should be; empty: no trouble.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Why it could not be placed; empty: it was, or has not been tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verdict: Vec<FilterVerdict>,
    /// The container, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerStatus>,
    /// Ports in host mode, with the numbers the node chose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortConfig>,
}

impl TaskStatus {
    /// This report, with what the earlier one knew and this one does not say.
    pub fn following(mut self, earlier: &Self) -> Self {
        let running = (self.state == TaskState::Running).then_some(self.at);
        self.running_since = earlier.running_since.or(self.running_since).or(running);
        self
    }

    /// How long the task had been running when this state was reached; `None`: it never ran.
    pub fn ran_for(&self) -> Option<Duration> {
        self.running_since.map(|since| self.at.since(since))
    }
}

/// The container of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// The engine's id; empty: none yet.
    pub id: String,
    /// Pid on the node; zero: not running.
    pub pid: u32,
    /// Meaningful once it has ended.
    pub exit_code: i32,
}

/// How many nodes a filter of the scheduler turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FilterVerdict {
    /// Filter.
    pub filter: Filter,
    /// Nodes that passed all filters before and failed at this one.
    pub nodes: u32,
}

/// The filters of the scheduler, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Filter {
    Ready,
    Resources,
    Plugins,
    Constraints,
    Platform,
    HostPorts,
    MaxReplicas,
    Volumes,
}

/// Addresses of a task on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    /// Network.
    pub network: ClusterNetworkId,
    /// At most one per family.
    pub addresses: Vec<IpPrefix>,
    /// Further names on it.
    pub aliases: Vec<String>,
    /// Driver options of the endpoint.
    pub driver_opts: BTreeMap<String, String>,
}

/// What the restart supervisor must remember; handed from each task to its successor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartHistory {
    /// Attempts that count: since the spec version was new, within the window.
    pub attempts: Vec<Timestamp>,
    /// Failures in a row, for the back-off.
    pub consecutive: u32,
    /// Not to be moved to running before this; `None`: at once.
    pub not_before: Option<Timestamp>,
    /// The task that this one replaces.
    pub predecessor: Option<TaskId>,
}
