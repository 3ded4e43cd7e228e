//! The cluster, its specs and the requests that change membership.

use std::collections::BTreeMap;

use super::{Driver, Labels, Meta};

wire! {
    struct Spec {
        opt name: String,
        all labels: Labels,
        all orchestration: Orchestration,
        all raft: Raft,
        all dispatcher: Dispatcher,
        #[serde(rename = "CAConfig")]
        all ca_config: CaConfig,
        all task_defaults: TaskDefaults,
        all encryption_config: EncryptionConfig,
    }

    struct Orchestration {
        opt task_history_retention_limit: Option<i64>,
    }

    struct Raft {
        opt snapshot_interval: u64,
        opt keep_old_snapshots: Option<u64>,
        opt log_entries_for_slow_followers: u64,
        all election_tick: u32,
        all heartbeat_tick: u32,
    }

    struct Dispatcher {
        /// Nanoseconds.
        opt heartbeat_period: i64,
    }

    struct CaConfig {
        /// Nanoseconds.
        opt node_cert_expiry: i64,
        #[serde(rename = "ExternalCAs")]
        opt external_cas: Option<Vec<ExternalCa>>,
        #[serde(rename = "SigningCACert")]
        opt signing_ca_cert: String,
        #[serde(rename = "SigningCAKey")]
        opt signing_ca_key: String,
        opt force_rotate: u64,
    }

    struct ExternalCa {
        all protocol: String,
        #[serde(rename = "URL")]
        all url: String,
        opt options: Option<BTreeMap<String, String>>,
        #[serde(rename = "CACert")]
        all ca_cert: String,
    }

    struct TaskDefaults {
        opt log_driver: Option<Driver>,
    }

    struct EncryptionConfig {
        all auto_lock_managers: bool,
    }

    struct TlsInfo {
        opt trust_root: String,
        /// Base64.
        opt cert_issuer_subject: String,
        /// Base64.
        opt cert_issuer_public_key: String,
    }

    /// As part of `GET /info`.
    struct ClusterInfo {
        #[serde(rename = "ID")]
        all id: String,
        #[serde(flatten)]
        all meta: Meta,
        all spec: Spec,
        #[serde(rename = "TLSInfo")]
        all tls_info: TlsInfo,
        all root_rotation_in_progress: bool,
        all default_addr_pool: Option<Vec<String>>,
        all subnet_size: u32,
        all data_path_port: u32,
    }

    /// `GET /swarm`.
    struct Swarm {
        #[serde(flatten)]
        all info: ClusterInfo,
        all join_tokens: JoinTokens,
    }

    struct JoinTokens {
        all worker: String,
        all manager: String,
    }

    struct InitRequest {
        all listen_addr: String,
        all advertise_addr: String,
        all data_path_addr: String,
        all data_path_port: u32,
        all force_new_cluster: bool,
        all spec: Spec,
        all auto_lock_managers: bool,
        all availability: String,
        all default_addr_pool: Option<Vec<String>>,
        all subnet_size: u32,
    }

    struct JoinRequest {
        all listen_addr: String,
        all advertise_addr: String,
        all data_path_addr: String,
        all remote_addrs: Option<Vec<String>>,
        all join_token: String,
        all availability: String,
    }

    struct UnlockRequest {
        all unlock_key: String,
    }

    struct UnlockKeyResponse {
        all unlock_key: String,
    }

    /// `Swarm` of `GET /info`.
    struct SwarmInfo {
        #[serde(rename = "NodeID")]
        all node_id: String,
        all node_addr: String,
        all local_node_state: String,
        all control_available: bool,
        all error: String,
        all remote_managers: Option<Vec<Peer>>,
        opt nodes: u64,
        opt managers: u64,
        opt cluster: Option<ClusterInfo>,
    }

    struct Peer {
        #[serde(rename = "NodeID")]
        all node_id: String,
        all addr: String,
    }
}
