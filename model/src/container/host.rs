//! The part of a container's spec that depends on the host.
//!
//! Source: moby `api/types/container/hostconfig.go`, `api/types/mount/mount.go`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Everything of docker's `HostConfig` that Linux has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSpec {
    /// Limits that can be updated on a running container, and the rest of the resources.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub resources: Resources,
    /// `-v` mounts, in the user's order.
    pub binds: Vec<BindMount>,
    /// `--mount` mounts, in the user's order.
    pub mounts: Vec<Mount>,
    /// `--tmpfs`: path to option string.
    pub tmpfs: BTreeMap<String, String>,
    /// `--volumes-from`.
    pub volumes_from: Vec<VolumesFrom>,
    /// Driver for volumes created by `-v`; empty: `local`.
    pub volume_driver: String,
    /// File to which the client wrote the id; kept for inspect.
    pub container_id_file: String,
    /// Log driver and options; `None`: the daemon's default.
    pub log: Option<LogSpec>,
    /// Main network.
    pub network_mode: NetworkMode,
    /// `port/proto` → bindings on the host.
    pub port_bindings: BTreeMap<String, Vec<PortBinding>>,
    /// `-P`.
    pub publish_all_ports: bool,
    /// What happens on exit.
    pub restart_policy: RestartPolicy,
    /// Remove on exit.
    pub auto_remove: bool,
    /// Kept for inspect and resize: rows and columns.
    pub console_size: Option<(u32, u32)>,
    /// OCI annotations.
    pub annotations: BTreeMap<String, String>,
    /// Capabilities to add, `ALL` included.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, `ALL` included.
    pub cap_drop: Vec<String>,
    /// Cgroup namespace.
    pub cgroupns_mode: NamespaceMode,
    /// Name servers.
    pub dns: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// `host:address` lines for /etc/hosts; `host-gateway` allowed.
    pub extra_hosts: Vec<String>,
    /// Additional groups by name or number.
    pub group_add: Vec<String>,
    /// IPC namespace.
    pub ipc_mode: IpcMode,
    /// Old `Cgroup` field, kept for inspect.
    pub cgroup: String,
    /// Legacy links `container:alias`.
    pub links: Vec<String>,
    /// −1000…1000.
    pub oom_score_adj: i32,
    /// PID namespace.
    pub pid_mode: NamespaceMode,
    /// All capabilities, all devices, no confinement.
    pub privileged: bool,
    /// Root file system read-only.
    pub readonly_rootfs: bool,
    /// `no-new-privileges`, `seccomp=…`, `apparmor=…`, `label=…`, `systempaths=unconfined`, in wire form.
    pub security_opt: Vec<String>,
    /// Options of the storage driver, `size`.
    pub storage_opt: BTreeMap<String, String>,
    /// UTS namespace.
    pub uts_mode: NamespaceMode,
    /// User namespace.
    pub userns_mode: NamespaceMode,
    /// Bytes of /dev/shm; zero: 64 MiB.
    pub shm_size: i64,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Name of an OCI runtime; empty: the default.
    pub runtime: String,
    /// `--init`; `None`: the daemon's default.
    pub init: Option<bool>,
    /// `None`: docker's default list.
    pub masked_paths: Option<Vec<String>>,
    /// `None`: docker's default list.
    pub readonly_paths: Option<Vec<String>>,
    /// `default` or empty on Linux.
    pub isolation: String,
}

/// Cgroup limits, devices and ulimits. Zero means "not set" unless the field says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative weight, 2…262144.
    pub cpu_shares: i64,
    /// Bytes.
    pub memory: i64,
    /// Parent cgroup; empty: the daemon's.
    pub cgroup_parent: String,
    /// 10…1000.
    pub blkio_weight: u16,
    /// Per-device weights.
    pub blkio_weight_device: Vec<BlkioDevice>,
    /// Bytes per second.
    pub blkio_read_bps: Vec<BlkioDevice>,
    /// Bytes per second.
    pub blkio_write_bps: Vec<BlkioDevice>,
    /// Operations per second.
    pub blkio_read_iops: Vec<BlkioDevice>,
    /// Operations per second.
    pub blkio_write_iops: Vec<BlkioDevice>,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds per period.
    pub cpu_quota: i64,
    /// Microseconds.
    pub cpu_rt_period: i64,
    /// Microseconds.
    pub cpu_rt_runtime: i64,
    /// CPUs in 1e-9.
    pub nano_cpus: i64,
    /// List like `0-3,5`.
    pub cpuset_cpus: String,
    /// List of memory nodes.
    pub cpuset_mems: String,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Cgroup rules like `c 1:3 rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// Requests to device drivers (GPUs, CDI).
    pub device_requests: Vec<DeviceRequest>,
    /// Kernel TCP memory, bytes (old clients).
    pub kernel_memory_tcp: i64,
    /// Soft limit, bytes.
    pub memory_reservation: i64,
    /// Memory plus swap, bytes; −1: unlimited swap.
    pub memory_swap: i64,
    /// 0…100; `None` or −1: the kernel's default.
    pub memory_swappiness: Option<i64>,
    /// cgroup v1 only.
    pub oom_kill_disable: Option<bool>,
    /// `None` or zero: unset; −1: unlimited.
    pub pids_limit: Option<i64>,
    /// Resource limits of the init process.
    pub ulimits: Vec<Ulimit>,
}

/// A limit or weight for one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioDevice {
    /// Path of the device on the host.
    pub path: String,
    /// Weight or rate.
    pub value: u64,
}

/// A device node of the host inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host; a directory means all devices beneath.
    pub path_on_host: String,
    /// Path in the container.
    pub path_in_container: String,
    /// Some of `rwm`.
    pub permissions: String,
}

/// A request to a device driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// `nvidia`, `cdi`.
    pub driver: String,
    /// −1: all.
    pub count: i64,
    /// Ids instead of a count.
    pub device_ids: Vec<String>,
    /// OR of ANDs.
    pub capabilities: Vec<Vec<String>>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

/// A resource limit of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// e.g. `nofile`.
    pub name: String,
    /// −1: unlimited.
    pub soft: i64,
    /// −1: unlimited.
    pub hard: i64,
}

/// A log driver with options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// `json-file`, `local`, `none`, `syslog`, `journald`.
    pub driver: String,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

/// `-v source:target[:options]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// Absolute host path, or a volume name; `None` is not possible here (anonymous volumes are in
    /// `ContainerSpec::volumes`).
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Options in the user's order: `ro`, `rw`, `z`, `Z`, `nocopy`, `rshared`, ….
    pub options: Vec<String>,
}

/// `--mount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Kind with its options.
    pub kind: MountKind,
    /// Path in the container.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
    /// Kept for inspect.
    pub consistency: String,
}

/// The kinds of mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum MountKind {
    Bind {
        source: String,
        options: BindOptions,
    },
    /// An empty source makes an anonymous volume.
    Volume {
        source: String,
        options: VolumeMountOptions,
    },
    Tmpfs(TmpfsOptions),
    Image {
        source: String,
        subpath: String,
    },
}

/// Options of bind mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindOptions {
    /// `None`: rprivate.
    pub propagation: Option<Propagation>,
    /// Do not bind submounts.
    pub non_recursive: bool,
    /// Create the source directory when it is missing.
    pub create_mountpoint: bool,
    /// Leave submounts writable on a read-only mount.
    pub read_only_non_recursive: bool,
    /// Fail when submounts cannot be made read-only.
    pub read_only_force_recursive: bool,
}

/// Mount propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Propagation {
    Private,
    RPrivate,
    Shared,
    RShared,
    Slave,
    RSlave,
}

impl Propagation {
    /// The kernel's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Shared => "shared",
            Self::RShared => "rshared",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
        }
    }

    /// From the kernel's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Private, Self::RPrivate, Self::Shared, Self::RShared, Self::Slave, Self::RSlave]
            .into_iter()
            .find(|propagation| propagation.as_str() == word)
    }
}

/// Options of volume mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeMountOptions {
    /// Do not copy the image's content into an empty volume.
    pub no_copy: bool,
    /// Labels of a volume that is created.
    pub labels: BTreeMap<String, String>,
    /// Driver of a volume that is created; empty: `local`.
    pub driver: String,
    /// Driver options of a volume that is created.
    pub driver_options: BTreeMap<String, String>,
    /// Path inside the volume, must exist.
    pub subpath: String,
}

/// Options of tmpfs mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TmpfsOptions {
    /// Bytes; zero: unlimited.
    pub size_bytes: i64,
    /// Permission bits; zero: 1777.
    pub mode: u32,
    /// Further options, each a flag or a pair.
    pub options: Vec<Vec<String>>,
}

/// `--volumes-from container[:mode]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Name or id.
    pub container: String,
    /// `ro`, `rw`, `z`, or empty.
    pub mode: String,
}

/// A port on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    /// `None`: all addresses.
    pub host_ip: Option<IpAddr>,
    /// Port, range `from-to`, or empty for a random one.
    pub host_port: String,
}

/// The main network of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Not given: the default bridge.
    #[default]
    Default,
    /// `bridge`.
    Bridge,
    /// The host's network.
    Host,
    /// Loopback only.
    None,
    /// Another container's.
    Container(String),
    /// A named network.
    Named(String),
}

/// A namespace that can be the daemon's default, the container's own, the host's or another container's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum NamespaceMode {
    #[default]
    Default,
    Private,
    Host,
    Container(String),
}

/// IPC namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docker's words")]
pub enum IpcMode {
    /// The daemon's default: private.
    #[default]
    Default,
    None,
    Private,
    Shareable,
    Host,
    Container(String),
}

/// What happens when a container exits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// Restart, also after a restart of the daemon.
    Always,
    /// As `Always`, unless the user stopped it.
    UnlessStopped,
    /// Restart on a non-zero code, at most `max_retries` times (zero: no limit).
    OnFailure {
        /// Zero: no limit.
        max_retries: u32,
    },
}
