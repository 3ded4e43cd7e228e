//! Tasks.

use super::service::{GenericResource, PortConfig, TaskSpec};
use super::{Driver, Labels, Meta, Version};
use crate::network::IpamConfig;

wire! {
    struct Task {
        #[serde(rename = "ID")]
        all id: String,
        #[serde(flatten)]
        all meta: Meta,
        opt name: String,
        all labels: Labels,
        all spec: TaskSpec,
        #[serde(rename = "ServiceID")]
        opt service_id: String,
        opt slot: u64,
        #[serde(rename = "NodeID")]
        opt node_id: String,
        all status: TaskStatus,
        opt desired_state: String,
        opt networks_attachments: Option<Vec<NetworkAttachment>>,
        opt generic_resources: Option<Vec<GenericResource>>,
        opt job_iteration: Option<Version>,
        /// Volumes of the cluster, which Shoal does not have yet.
        all volumes: Option<Vec<serde_json::Value>>,
    }

    struct TaskStatus {
        all timestamp: String,
        opt state: String,
        opt message: String,
        opt err: String,
        opt container_status: Option<ContainerStatus>,
        all port_status: PortStatus,
    }

    struct ContainerStatus {
        #[serde(rename = "ContainerID")]
        all container_id: String,
        #[serde(rename = "PID")]
        all pid: u32,
        all exit_code: i32,
    }

    struct PortStatus {
        opt ports: Option<Vec<PortConfig>>,
    }

    struct NetworkAttachment {
        all network: Network,
        opt addresses: Option<Vec<String>>,
    }

    struct Network {
        #[serde(rename = "ID")]
        all id: String,
        #[serde(flatten)]
        all meta: Meta,
        all spec: NetworkSpec,
        all driver_state: Driver,
        #[serde(rename = "IPAMOptions")]
        opt ipam_options: Option<IpamOptions>,
    }

    struct NetworkSpec {
        opt name: String,
        all labels: Labels,
        opt driver_configuration: Option<Driver>,
        #[serde(rename = "IPv6Enabled")]
        opt ipv6_enabled: bool,
        opt internal: bool,
        opt attachable: bool,
        opt ingress: bool,
        #[serde(rename = "IPAMOptions")]
        opt ipam_options: Option<IpamOptions>,
        opt scope: String,
    }

    struct IpamOptions {
        all driver: Driver,
        opt configs: Option<Vec<IpamConfig>>,
    }
}
