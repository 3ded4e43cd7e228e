//! Nodes.

use std::collections::BTreeMap;

use super::cluster::TlsInfo;
use super::service::GenericResource;
use super::{Labels, Meta};

wire! {
    struct Node {
        #[serde(rename = "ID")]
        all id: String,
        #[serde(flatten)]
        all meta: Meta,
        all spec: NodeSpec,
        all description: NodeDescription,
        all status: NodeStatus,
        opt manager_status: Option<ManagerStatus>,
    }

    struct NodeSpec {
        opt name: String,
        all labels: Labels,
        opt role: String,
        opt availability: String,
    }

    struct NodeDescription {
        opt hostname: String,
        all platform: Platform,
        all resources: Resources,
        all engine: EngineDescription,
        #[serde(rename = "TLSInfo")]
        all tls_info: TlsInfo,
    }

    struct Platform {
        opt architecture: String,
        #[serde(rename = "OS")]
        opt os: String,
    }

    struct Resources {
        #[serde(rename = "NanoCPUs")]
        opt nano_cpus: i64,
        opt memory_bytes: i64,
        opt generic_resources: Option<Vec<GenericResource>>,
    }

    struct EngineDescription {
        opt engine_version: String,
        opt labels: Option<BTreeMap<String, String>>,
        opt plugins: Option<Vec<PluginDescription>>,
    }

    struct PluginDescription {
        opt r#type: String,
        opt name: String,
    }

    struct NodeStatus {
        opt state: String,
        opt message: String,
        opt addr: String,
    }

    struct ManagerStatus {
        opt leader: bool,
        opt reachability: String,
        opt addr: String,
    }
}
