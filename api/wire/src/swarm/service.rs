//! Services and the specs of their tasks.

use std::collections::BTreeMap;

use super::node::Platform;
use super::{Driver, Labels, Meta, Version};
use crate::container::HealthConfig;
use crate::host_config::{Mount, Ulimit};
use crate::shape::Empty;

wire! {
    struct Service {
        #[serde(rename = "ID")]
        all id: String,
        #[serde(flatten)]
        all meta: Meta,
        all spec: ServiceSpec,
        opt previous_spec: Option<ServiceSpec>,
        all endpoint: Endpoint,
        opt update_status: Option<UpdateStatus>,
        opt service_status: Option<ServiceStatus>,
        opt job_status: Option<JobStatus>,
    }

    struct ServiceSpec {
        opt name: String,
        all labels: Labels,
        all task_template: TaskSpec,
        all mode: ServiceMode,
        opt update_config: Option<UpdateConfig>,
        opt rollback_config: Option<UpdateConfig>,
        opt networks: Option<Vec<NetworkAttachmentConfig>>,
        opt endpoint_spec: Option<EndpointSpec>,
    }

    struct ServiceMode {
        // docker-py writes these two in lower case, and Go does not mind.
        #[serde(alias = "replicated")]
        opt replicated: Option<ReplicatedService>,
        #[serde(alias = "global")]
        opt global: Option<Empty>,
        opt replicated_job: Option<ReplicatedJob>,
        opt global_job: Option<Empty>,
    }

    struct ReplicatedService {
        opt replicas: Option<u64>,
    }

    struct ReplicatedJob {
        opt max_concurrent: Option<u64>,
        opt total_completions: Option<u64>,
    }

    struct UpdateConfig {
        all parallelism: u64,
        /// Nanoseconds.
        opt delay: i64,
        opt failure_action: String,
        /// Nanoseconds.
        opt monitor: i64,
        all max_failure_ratio: f32,
        all order: String,
    }

    struct UpdateStatus {
        opt state: String,
        opt started_at: Option<String>,
        opt completed_at: Option<String>,
        opt message: String,
    }

    struct ServiceStatus {
        all running_tasks: u64,
        all desired_tasks: u64,
        all completed_tasks: u64,
    }

    struct JobStatus {
        all job_iteration: Version,
        all last_execution: String,
    }

    struct Endpoint {
        all spec: EndpointSpec,
        opt ports: Option<Vec<PortConfig>>,
        #[serde(rename = "VirtualIPs")]
        opt virtual_ips: Option<Vec<VirtualIp>>,
    }

    struct EndpointSpec {
        opt mode: String,
        opt ports: Option<Vec<PortConfig>>,
    }

    struct PortConfig {
        opt name: String,
        opt protocol: String,
        opt target_port: u32,
        opt published_port: u32,
        opt publish_mode: String,
    }

    struct VirtualIp {
        #[serde(rename = "NetworkID")]
        opt network_id: String,
        opt addr: String,
    }

    struct TaskSpec {
        opt container_spec: Option<ContainerSpec>,
        opt plugin_spec: Option<serde_json::Value>,
        opt network_attachment_spec: Option<NetworkAttachmentSpec>,
        opt resources: Option<ResourceRequirements>,
        opt restart_policy: Option<RestartPolicy>,
        opt placement: Option<Placement>,
        opt networks: Option<Vec<NetworkAttachmentConfig>>,
        opt log_driver: Option<Driver>,
        all force_update: u64,
        opt runtime: String,
    }

    struct NetworkAttachmentSpec {
        #[serde(rename = "ContainerID")]
        all container_id: String,
    }

    struct NetworkAttachmentConfig {
        opt target: String,
        opt aliases: Option<Vec<String>>,
        opt driver_opts: Option<BTreeMap<String, String>>,
    }

    struct ContainerSpec {
        opt image: String,
        opt labels: Labels,
        opt command: Option<Vec<String>>,
        opt args: Option<Vec<String>>,
        opt hostname: String,
        opt env: Option<Vec<String>>,
        opt dir: String,
        opt user: String,
        opt groups: Option<Vec<String>>,
        opt privileges: Option<Privileges>,
        opt init: Option<bool>,
        opt stop_signal: String,
        #[serde(rename = "TTY")]
        opt tty: bool,
        opt open_stdin: bool,
        opt read_only: bool,
        opt mounts: Option<Vec<Mount>>,
        /// Nanoseconds.
        opt stop_grace_period: Option<i64>,
        opt healthcheck: Option<HealthConfig>,
        /// Lines of /etc/hosts: address, then names.
        opt hosts: Option<Vec<String>>,
        #[serde(rename = "DNSConfig")]
        opt dns_config: Option<DnsConfig>,
        opt secrets: Option<Vec<SecretReference>>,
        opt configs: Option<Vec<ConfigReference>>,
        opt isolation: String,
        opt sysctls: Option<BTreeMap<String, String>>,
        opt capability_add: Option<Vec<String>>,
        opt capability_drop: Option<Vec<String>>,
        opt ulimits: Option<Vec<Ulimit>>,
        opt oom_score_adj: i64,
    }

    struct DnsConfig {
        opt nameservers: Option<Vec<String>>,
        opt search: Option<Vec<String>>,
        opt options: Option<Vec<String>>,
    }

    struct SecretReference {
        all file: Option<FileTarget>,
        #[serde(rename = "SecretID")]
        all secret_id: String,
        all secret_name: String,
    }

    struct ConfigReference {
        opt file: Option<FileTarget>,
        opt runtime: Option<Empty>,
        #[serde(rename = "ConfigID")]
        all config_id: String,
        all config_name: String,
    }

    struct FileTarget {
        all name: String,
        #[serde(rename = "UID")]
        all uid: String,
        #[serde(rename = "GID")]
        all gid: String,
        all mode: u32,
    }

    struct Privileges {
        all credential_spec: Option<serde_json::Value>,
        #[serde(rename = "SELinuxContext")]
        all se_linux_context: Option<SeLinuxContext>,
        opt seccomp: Option<SeccompOpts>,
        opt app_armor: Option<AppArmorOpts>,
        all no_new_privileges: bool,
    }

    struct SeLinuxContext {
        all disable: bool,
        all user: String,
        all role: String,
        all r#type: String,
        all level: String,
    }

    struct SeccompOpts {
        opt mode: String,
        /// Base64.
        opt profile: String,
    }

    struct AppArmorOpts {
        opt mode: String,
    }

    struct ResourceRequirements {
        opt limits: Option<Limit>,
        opt reservations: Option<super::node::Resources>,
        opt swap_bytes: Option<i64>,
        opt memory_swappiness: Option<i64>,
    }

    struct Limit {
        #[serde(rename = "NanoCPUs")]
        opt nano_cpus: i64,
        opt memory_bytes: i64,
        opt pids: i64,
    }

    struct GenericResource {
        opt named_resource_spec: Option<NamedResource>,
        opt discrete_resource_spec: Option<DiscreteResource>,
    }

    struct NamedResource {
        opt kind: String,
        opt value: String,
    }

    struct DiscreteResource {
        opt kind: String,
        opt value: i64,
    }

    struct RestartPolicy {
        opt condition: String,
        /// Nanoseconds.
        opt delay: Option<i64>,
        opt max_attempts: Option<u64>,
        /// Nanoseconds.
        opt window: Option<i64>,
    }

    struct Placement {
        opt constraints: Option<Vec<String>>,
        opt preferences: Option<Vec<PlacementPreference>>,
        opt max_replicas: u64,
        opt platforms: Option<Vec<Platform>>,
    }

    struct PlacementPreference {
        all spread: Option<SpreadOver>,
    }

    struct SpreadOver {
        all spread_descriptor: String,
    }

    struct UpdateResponse {
        all warnings: Option<Vec<String>>,
    }

    struct CreateResponse {
        #[serde(rename = "ID")]
        opt id: String,
        opt warnings: Option<Vec<String>>,
    }
}
