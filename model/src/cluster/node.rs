//! Nodes: members of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::service::Protocol;
use super::{Annotations, Meta, NodeId, ServiceId, Version, image};
use crate::Timestamp;

/// What the user wants of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Name (mostly empty) and labels.
    pub annotations: Annotations,
    /// The role the node shall have.
    pub role: NodeRole,
    /// Whether tasks may run there.
    pub availability: Availability,
}

/// Role of a node.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[allow(missing_docs, reason = "the names say it")]
pub enum NodeRole {
    #[default]
    Worker,
    Manager,
}

/// Whether tasks may run on a node.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Availability {
    /// New tasks may be placed.
    #[default]
    Active,
    /// No new tasks; those there stay.
    Pause,
    /// No tasks; those there move away.
    Drain,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Id; also the common name of its certificate.
    pub id: NodeId,
    /// System fields.
    pub meta: Meta,
    /// The user's wish.
    pub spec: NodeSpec,
    /// The role it has now: that of its newest certificate. Written by the role manager.
    pub role: NodeRole,
    /// What the node says of itself; `None`: it has not registered yet.
    pub description: Option<NodeDescription>,
    /// Liveness as the dispatcher sees it.
    pub status: NodeStatus,
    /// Certificate and its state.
    pub certificate: NodeCertificate,
    /// Where its raft peer listens; `None`: not a manager.
    pub manager: Option<ManagerAddress>,
    /// Index of this node in the routing mesh, given by the allocator; not reused within an hour.
    pub mesh_index: Option<u16>,
    /// Address for VXLAN traffic; `None`: that of `status`.
    pub data_path: Option<IpAddr>,
    /// Recent failures, for the scheduler's order. Bounded; the oldest go first.
    pub failures: Vec<FailureMark>,
}

impl Node {
    /// One that has not registered yet, and whose role is the wished one.
    pub fn new(id: NodeId, role: NodeRole) -> Self {
        Self {
            id,
            meta: Meta::default(),
            spec: NodeSpec { role, ..NodeSpec::default() },
            role,
            description: None,
            status: NodeStatus::default(),
            certificate: NodeCertificate::default(),
            manager: None,
            mesh_index: None,
            data_path: None,
            failures: Vec::new(),
        }
    }
}

/// One failure of a task on a node. Written when the failed status is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureMark {
    /// Service of the task.
    pub service: ServiceId,
    /// Spec version of the task.
    pub spec_version: Version,
    /// When.
    pub at: Timestamp,
}

/// What a node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeDescription {
    /// Host name.
    pub hostname: String,
    /// Operating system and architecture.
    pub platform: Platform,
    /// What it has to give.
    pub resources: NodeResources,
    /// Release of Shoal.
    pub engine_version: String,
    /// Feature level of the program (ADR: rolling upgrades).
    pub feature_level: u32,
    /// Labels of the daemon's configuration.
    pub engine_labels: BTreeMap<String, String>,
    /// Plugins, e.g. (`Volume`, `local`), (`Network`, `overlay`), (`Log`, `json-file`).
    pub plugins: BTreeSet<(String, String)>,
    /// PEM of the root that the node trusts.
    pub trust_root: String,
    /// DER of the issuer's subject. Like all bytes of a node it is written as an array of numbers, which members of older
    /// releases read, and read as bytes, too, which later ones may write.
    #[serde(deserialize_with = "serde_bytes::deserialize")]
    pub issuer_subject: Vec<u8>,
    /// DER of the issuer's public key.
    #[serde(deserialize_with = "serde_bytes::deserialize")]
    pub issuer_public_key: Vec<u8>,
    /// Where it takes VXLAN, as whoever made it a member said; `None`: where managers see it.
    pub data_path: Option<IpAddr>,
    /// All its addresses that are not containers': a connection from any of them may be the node's own.
    pub addresses: Vec<IpAddr>,
    /// MTU of the underlay; zero: unknown.
    pub underlay_mtu: u32,
    /// Where it serves managers what they ask of its tasks; `None`: nowhere.
    pub api: Option<SocketAddr>,
    /// Names of images that it has.
    pub images: image::Names,
    /// Ports of the routing mesh that another program of the node has: they are not published there.
    pub refused_ports: BTreeSet<(Protocol, u16)>,
}

/// Operating system and architecture, in Go's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// e.g. `x86_64` from a node, `amd64` from an image; compared after normalising.
    pub architecture: String,
    /// `linux`.
    pub os: String,
}

/// Resources of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeResources {
    /// CPUs in 1e-9.
    pub nano_cpus: i64,
    /// Bytes.
    pub memory: i64,
    /// Resources named by the daemon's configuration.
    pub generic: Vec<GenericResource>,
}

/// A resource that only has a name, and an amount or a set of named pieces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum GenericResource {
    /// So many, indistinguishable.
    Discrete { kind: String, value: i64 },
    /// One piece with a name, e.g. the id of a GPU.
    Named { kind: String, value: String },
}

/// Liveness.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// As the dispatcher sees it.
    pub state: NodeState,
    /// Why, when not ready.
    pub message: String,
    /// Address that the dispatcher sees; `None`: never seen.
    pub address: Option<IpAddr>,
    /// When `state` last changed.
    pub since: Timestamp,
}

/// State of a node.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum NodeState {
    /// Not heard of since it joined, or since the leader changed.
    #[default]
    Unknown,
    /// Missed its heartbeats.
    Down,
    /// Has a live session.
    Ready,
    /// Left in good order.
    Disconnected,
}

/// The certificate of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeCertificate {
    /// PEM of the certificate request.
    #[serde(deserialize_with = "serde_bytes::deserialize")]
    pub request: Vec<u8>,
    /// PEM of the chain; empty: not issued yet.
    #[serde(deserialize_with = "serde_bytes::deserialize")]
    pub chain: Vec<u8>,
    /// Where its issue stands.
    pub state: IssueState,
    /// Why it failed.
    pub error: String,
    /// Role in the certificate.
    pub role: NodeRole,
}

impl NodeCertificate {
    /// Whether a request waits for a signature.
    pub fn is_asked_for(&self) -> bool {
        self.state == IssueState::Pending && !self.request.is_empty()
    }
}

/// Where the issue of a certificate stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IssueState {
    /// A request waits for a signature.
    #[default]
    Pending,
    /// To be signed again by the present root.
    Rotate,
    /// Signed.
    Issued,
    /// Refused.
    Failed,
}

/// Where a manager's raft peer listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerAddress {
    /// Number of the raft member: derived from the node at each join, never reused.
    pub raft_id: u64,
    /// Advertised address.
    pub address: SocketAddr,
}
