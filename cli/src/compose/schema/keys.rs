//! The keys of each section of a Compose file, and the shapes of their values.
//!
//! Source: the Compose specification; `cgroupns_mode` and `volume_driver` are from older versions of the format.

use super::Shape::{self, *};

/// Keys with the shapes of their values.
pub(super) type Keys = &'static [(&'static str, Shape)];

pub(super) const ROOT: Keys = &[
    ("version", NumberOrText),
    ("name", Text),
    ("include", ListOf(INCLUDE)),
    ("services", Named(&Map(SERVICE))),
    ("models", Any),
    ("networks", Named(&Map(NETWORK))),
    ("volumes", Named(&Map(VOLUME))),
    ("secrets", Named(&Map(SECRET))),
    ("configs", Named(&Map(CONFIG))),
];
const INCLUDE: Keys =
    &[("path", TextOrList), ("env_file", TextOrList), ("project_directory", Text)];
const UPDATE: Keys = &[
    ("parallelism", Int),
    ("delay", Text),
    ("failure_action", Text),
    ("monitor", Text),
    ("max_failure_ratio", Number),
    ("order", Text),
];
const DISCRETE: Keys = &[("kind", Text), ("value", Number)];
const DEVICE_REQUEST: Keys = &[
    ("capabilities", List),
    ("count", NumberOrText),
    ("device_ids", List),
    ("driver", Text),
    ("options", ListOrMap),
];
const LIMITS: Keys = &[("cpus", NumberOrText), ("memory", NumberOrText), ("pids", Int)];
const RESERVATIONS: Keys = &[
    ("cpus", NumberOrText),
    ("memory", NumberOrText),
    ("generic_resources", ListOf(&[("discrete_resource_spec", Map(DISCRETE))])),
    ("devices", ListOf(DEVICE_REQUEST)),
];
const DEPLOY: Keys = &[
    ("mode", Text),
    ("endpoint_mode", Text),
    ("replicas", Int),
    ("labels", ListOrMap),
    ("update_config", Map(UPDATE)),
    ("rollback_config", Map(UPDATE)),
    ("resources", Map(&[("limits", Map(LIMITS)), ("reservations", Map(RESERVATIONS))])),
    (
        "restart_policy",
        Map(&[("condition", Text), ("delay", Text), ("max_attempts", Int), ("window", Text)]),
    ),
    (
        "placement",
        Map(&[
            ("constraints", List),
            ("preferences", ListOf(&[("spread", Text)])),
            ("max_replicas_per_node", Int),
        ]),
    ),
];
const PORT: Keys = &[
    ("name", Text),
    ("mode", Text),
    ("target", Int),
    ("published", NumberOrText),
    ("host_ip", Text),
    ("protocol", Text),
    ("app_protocol", Text),
];
const MOUNT: Keys = &[
    ("type", Text),
    ("source", Text),
    ("target", Text),
    ("read_only", Switch),
    ("consistency", Text),
    (
        "bind",
        Map(&[
            ("propagation", Text),
            ("create_host_path", Switch),
            ("recursive", Text),
            ("selinux", Text),
        ]),
    ),
    ("volume", Map(&[("nocopy", Switch), ("subpath", Text), ("labels", ListOrMap)])),
    ("tmpfs", Map(&[("size", NumberOrText), ("mode", NumberOrText)])),
    ("image", Map(&[("subpath", Text)])),
    ("cluster", Any),
];
const FILE: Keys = &[
    ("source", Text),
    ("target", Text),
    ("uid", NumberOrText),
    ("gid", NumberOrText),
    ("mode", NumberOrText),
];
const HEALTH: Keys = &[
    ("disable", Switch),
    ("interval", Text),
    ("retries", Number),
    ("start_interval", Text),
    ("start_period", Text),
    ("test", TextOrList),
    ("timeout", Text),
];
const RATE: Keys = &[("path", Text), ("rate", NumberOrText)];
const BLOCK_IO: Keys = &[
    ("weight", Int),
    ("weight_device", ListOf(&[("path", Text), ("weight", Int)])),
    ("device_read_bps", ListOf(RATE)),
    ("device_read_iops", ListOf(RATE)),
    ("device_write_bps", ListOf(RATE)),
    ("device_write_iops", ListOf(RATE)),
];
const DEPENDENCY: Keys = &[("condition", Text), ("required", Switch), ("restart", Switch)];
const ATTACHMENT: Keys = &[
    ("aliases", List),
    ("driver_opts", ListOrMap),
    ("gw_priority", Number),
    ("interface_name", Text),
    ("ipv4_address", Text),
    ("ipv6_address", Text),
    ("link_local_ips", List),
    ("mac_address", Text),
    ("priority", Number),
];
const SERVICE: Keys = &[
    ("annotations", ListOrMap),
    ("attach", Switch),
    ("blkio_config", Map(BLOCK_IO)),
    ("build", Any),
    ("cap_add", List),
    ("cap_drop", List),
    ("cgroup", Text),
    ("cgroup_parent", Text),
    ("cgroupns_mode", Text),
    ("command", TextOrList),
    ("configs", ListOf(FILE)),
    ("container_name", Text),
    ("cpu_count", NumberOrText),
    ("cpu_percent", NumberOrText),
    ("cpu_period", NumberOrText),
    ("cpu_quota", NumberOrText),
    ("cpu_rt_period", NumberOrText),
    ("cpu_rt_runtime", NumberOrText),
    ("cpu_shares", NumberOrText),
    ("cpus", NumberOrText),
    ("cpuset", NumberOrText),
    ("credential_spec", Map(&[("config", Text), ("file", Text), ("registry", Text)])),
    ("depends_on", NamesOr(&Map(DEPENDENCY))),
    ("deploy", Map(DEPLOY)),
    ("develop", Any),
    ("device_cgroup_rules", List),
    ("devices", ListOf(&[("source", Text), ("target", Text), ("permissions", Text)])),
    ("dns", TextOrList),
    ("dns_opt", List),
    ("dns_search", TextOrList),
    ("domainname", Text),
    ("entrypoint", TextOrList),
    ("env_file", TextOrListOf(&[("path", Text), ("required", Switch), ("format", Text)])),
    ("environment", ListOrMap),
    ("expose", List),
    ("extends", TextOr(&Map(&[("service", Text), ("file", Text)]))),
    ("external_links", List),
    ("extra_hosts", Hosts),
    ("gpus", Any),
    ("group_add", List),
    ("healthcheck", Map(HEALTH)),
    ("hostname", Text),
    ("image", Text),
    ("init", Switch),
    ("ipc", Text),
    ("isolation", Text),
    ("label_file", TextOrList),
    ("labels", ListOrMap),
    ("links", List),
    ("logging", Map(&[("driver", Text), ("options", ListOrMap)])),
    ("mac_address", Text),
    ("mem_limit", NumberOrText),
    ("mem_reservation", NumberOrText),
    ("mem_swappiness", Int),
    ("memswap_limit", NumberOrText),
    ("models", Any),
    ("network_mode", Text),
    ("networks", NamesOr(&Map(ATTACHMENT))),
    ("oom_kill_disable", Switch),
    ("oom_score_adj", Int),
    ("pid", Text),
    ("pids_limit", Int),
    ("platform", Text),
    ("ports", ListOf(PORT)),
    ("post_start", Any),
    ("pre_stop", Any),
    ("privileged", Switch),
    ("profiles", List),
    ("provider", Any),
    ("pull_policy", Text),
    ("pull_refresh_after", Text),
    ("read_only", Switch),
    ("restart", Text),
    ("runtime", Text),
    ("scale", Int),
    ("secrets", ListOf(FILE)),
    ("security_opt", List),
    ("shm_size", NumberOrText),
    ("stdin_open", Switch),
    ("stop_grace_period", Text),
    ("stop_signal", Text),
    ("storage_opt", ListOrMap),
    ("sysctls", ListOrMap),
    ("tmpfs", TextOrList),
    ("tty", Switch),
    ("ulimits", Named(&IntOr(&Map(&[("hard", Int), ("soft", Int)])))),
    ("use_api_socket", Switch),
    ("user", Text),
    ("userns_mode", Text),
    ("uts", Text),
    ("volume_driver", Text),
    ("volumes", ListOf(MOUNT)),
    ("volumes_from", List),
    ("working_dir", Text),
];
const EXTERNAL: Shape = SwitchOr(&Map(&[("name", Text)]));
const POOL: Keys =
    &[("subnet", Text), ("ip_range", Text), ("gateway", Text), ("aux_addresses", ListOrMap)];
const NETWORK: Keys = &[
    ("name", Text),
    ("driver", Text),
    ("driver_opts", ListOrMap),
    ("ipam", Map(&[("driver", Text), ("config", ListOf(POOL)), ("options", ListOrMap)])),
    ("external", EXTERNAL),
    ("internal", Switch),
    ("attachable", Switch),
    ("enable_ipv4", Switch),
    ("enable_ipv6", Switch),
    ("labels", ListOrMap),
];
const VOLUME: Keys = &[
    ("name", Text),
    ("driver", Text),
    ("driver_opts", ListOrMap),
    ("external", EXTERNAL),
    ("labels", ListOrMap),
];
const SECRET: Keys = &[
    ("name", Text),
    ("file", Text),
    ("environment", Text),
    ("content", Text),
    ("external", EXTERNAL),
    ("labels", ListOrMap),
    ("driver", Text),
    ("driver_opts", ListOrMap),
    ("template_driver", Text),
];
const CONFIG: Keys = &[
    ("name", Text),
    ("file", Text),
    ("environment", Text),
    ("content", Text),
    ("external", EXTERNAL),
    ("labels", ListOrMap),
    ("template_driver", Text),
];
