//! The cluster itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Annotations, ClusterId, Meta, NodeId};
use crate::Timestamp;
use crate::container::LogSpec;

/// What the user wants of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterSpec {
    /// `default`, and labels.
    pub annotations: Annotations,
    /// Ended tasks kept per slot; negative: all.
    pub task_history_limit: i64,
    /// Raft.
    pub raft: RaftConfig,
    /// Period of workers' heartbeats.
    pub heartbeat_period: Duration,
    /// Certificates.
    pub ca: CaConfig,
    /// Whether managers are locked when they start.
    pub autolock: bool,
    /// Log driver of tasks that name none; `None`: the node's.
    pub log: Option<LogSpec>,
    /// So long a task that is to stop waits for nodes that may still send connections to it.
    pub drain_wait: Duration,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            annotations: Annotations { name: "default".to_owned(), ..Annotations::default() },
            task_history_limit: 5,
            raft: RaftConfig::default(),
            heartbeat_period: Duration::from_secs(5),
            ca: CaConfig::default(),
            autolock: false,
            log: None,
            drain_wait: Duration::from_secs(5),
        }
    }
}

/// Raft. One tick is 100 ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RaftConfig {
    /// Entries between raft snapshots.
    pub snapshot_interval: u64,
    /// Older raft snapshots kept; `None`: not said, zero.
    pub keep_old_snapshots: Option<u64>,
    /// Entries kept for slow followers after a raft snapshot.
    pub entries_for_slow_followers: u64,
    /// Ticks between heartbeats.
    pub heartbeat_tick: u32,
    /// Ticks of the longest election timeout.
    pub election_tick: u32,
}

impl Default for RaftConfig {
    fn default() -> Self {
        Self {
            snapshot_interval: 10_000,
            keep_old_snapshots: None,
            entries_for_slow_followers: 500,
            heartbeat_tick: 1,
            election_tick: 6,
        }
    }
}

/// Certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaConfig {
    /// Life of node certificates, at least an hour.
    pub node_cert_expiry: Duration,
    /// Signers outside the cluster.
    pub external: Vec<ExternalCa>,
    /// PEM of a root that the user gave; empty: the cluster's own.
    pub signing_cert: String,
    /// PEM of its key. Never printed by the API.
    pub signing_key: String,
    /// Grows to make the cluster turn to a new root.
    pub force_rotate: u64,
}

impl Default for CaConfig {
    fn default() -> Self {
        Self {
            node_cert_expiry: Duration::from_secs(90 * 24 * 3600),
            external: Vec::new(),
            signing_cert: String::new(),
            signing_key: String::new(),
            force_rotate: 0,
        }
    }
}

/// A signer outside the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalCa {
    /// `cfssl`.
    pub protocol: String,
    /// Where it listens.
    pub url: String,
    /// Further options.
    pub options: std::collections::BTreeMap<String, String>,
    /// PEM of its root; empty: the cluster's.
    pub ca_cert: String,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Id; also the organisation of all certificates.
    pub id: ClusterId,
    /// System fields.
    pub meta: Meta,
    /// The user's wish.
    pub spec: ClusterSpec,
    /// Root and tokens.
    pub root: RootCa,
    /// Subnets of networks are taken from these, CIDR. Fixed at init.
    pub default_address_pool: Vec<String>,
    /// Prefix length of such subnets. Fixed at init.
    pub subnet_size: u32,
    /// UDP port of VXLAN; fixed at init; 4789 by default.
    pub data_path_port: u16,
    /// Key that unlocks managers; empty: not locked.
    #[serde(with = "serde_bytes")]
    pub unlock_key: Vec<u8>,
    /// Grows with each change of the unlock key.
    pub unlock_key_version: u64,
    /// Certificates that are no longer accepted, with the end of their life.
    pub revoked: Vec<(NodeId, Timestamp)>,
    /// Lowest feature level among managers; gates new fields.
    pub feature_level: u32,
    /// Mesh index given last; the next node gets the one behind it, so that none is used again soon.
    #[serde(default)]
    pub mesh_cursor: u16,
}

impl Cluster {
    /// As founded without a wish.
    pub fn new(id: ClusterId, root: RootCa) -> Self {
        Self {
            id,
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            root,
            default_address_pool: vec!["10.0.0.0/8".to_owned()],
            subnet_size: 24,
            data_path_port: 4789,
            unlock_key: Vec::new(),
            unlock_key_version: 0,
            revoked: Vec::new(),
            feature_level: 1,
            mesh_cursor: 0,
        }
    }
}

/// The root of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootCa {
    /// PEM of what nodes trust: the root, during a rotation both.
    pub certificate: String,
    /// PEM of the key; empty with external signers only.
    pub key: String,
    /// DER of the subject of the root that signs: in a rotation the new one.
    #[serde(with = "serde_bytes")]
    pub issuer_subject: Vec<u8>,
    /// DER of the public key of the root that signs.
    #[serde(with = "serde_bytes")]
    pub issuer_public_key: Vec<u8>,
    /// `sha256:…` of the root, part of join tokens.
    pub digest: String,
    /// Tokens.
    pub join_tokens: JoinTokens,
    /// The root to which the cluster is turning; `None`: no rotation.
    pub rotation: Option<RootRotation>,
    /// Grows when nodes shall renew.
    pub last_forced_rotation: u64,
}

/// Tokens that let nodes in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct JoinTokens {
    pub worker: String,
    pub manager: String,
}

/// A root to which the cluster is turning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootRotation {
    /// PEM of the new root.
    pub certificate: String,
    /// PEM of its key; empty with external signers only.
    pub key: String,
    /// The new root signed by the old one.
    pub cross_signed: String,
}
