//! What the daemon says of itself and its host.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::volume::{Volume, VolumeUsage};

/// `GET /version`, the part the API does not know by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionInfo {
    /// Release of Shoal.
    pub version: String,
    /// Commit it was built from; empty: unknown.
    pub git_commit: String,
    /// RFC 3339; empty: unknown.
    pub build_time: String,
    /// Release of the kernel.
    pub kernel: String,
    /// GOARCH.
    pub architecture: String,
    /// Name and version of further parts (shim, runtime).
    pub components: Vec<ComponentInfo>,
}

/// A part of the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComponentInfo {
    /// e.g. `shoal-shim`.
    pub name: String,
    /// Release.
    pub version: String,
    /// More.
    pub details: BTreeMap<String, String>,
}

/// `GET /info`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemInfo {
    /// Id of the daemon, stable over restarts.
    pub id: String,
    /// Host name.
    pub name: String,
    /// Release of Shoal.
    pub version: String,
    /// Containers by phase.
    pub containers: ContainerCounts,
    /// Number of images.
    pub images: u64,
    /// Storage driver: `overlay2`.
    pub storage_driver: String,
    /// Rows about it.
    pub storage_status: Vec<(String, String)>,
    /// Data root.
    pub root_dir: String,
    /// Names of drivers.
    pub volume_drivers: Vec<String>,
    /// Names of drivers.
    pub network_drivers: Vec<String>,
    /// Names of drivers.
    pub log_drivers: Vec<String>,
    /// Default log driver.
    pub log_driver: String,
    /// `cgroupfs`, `systemd`, `none`.
    pub cgroup_driver: String,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// What the kernel can limit.
    pub limits: LimitSupport,
    /// Open files of the daemon.
    pub file_descriptors: u64,
    /// Tasks of the daemon.
    pub tasks: u64,
    /// Clients that follow events.
    pub event_listeners: u64,
    /// Now.
    pub time: Option<Timestamp>,
    /// Release of the kernel.
    pub kernel: String,
    /// e.g. `Debian GNU/Linux 13 (trixie)`.
    pub operating_system: String,
    /// e.g. `13`.
    pub os_version: String,
    /// The kernel's word, e.g. `x86_64`.
    pub architecture: String,
    /// CPUs.
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// Generic resources that tasks of a cluster may reserve here.
    pub generic_resources: Vec<crate::cluster::node::GenericResource>,
    /// Forwards packets.
    pub ipv4_forwarding: bool,
    /// Verbose logs.
    pub debug: bool,
    /// Proxies, without passwords.
    pub http_proxy: String,
    /// Proxies, without passwords.
    pub https_proxy: String,
    /// Hosts without proxy.
    pub no_proxy: String,
    /// Labels of the daemon, `key=value`.
    pub labels: Vec<String>,
    /// Registries.
    pub registries: RegistryInfo,
    /// OCI runtimes: name to path.
    pub runtimes: BTreeMap<String, String>,
    /// Name of the default runtime.
    pub default_runtime: String,
    /// Program for `--init`.
    pub init_binary: String,
    /// `name=seccomp,profile=builtin` and so on.
    pub security_options: Vec<String>,
    /// Pools for networks, as base and prefix length.
    pub address_pools: Vec<(String, u8)>,
    /// Directories with CDI specs.
    pub cdi_dirs: Vec<String>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// Containers by phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ContainerCounts {
    pub running: u64,
    pub paused: u64,
    pub stopped: u64,
}

/// What the kernel can limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LimitSupport {
    pub memory: bool,
    pub swap: bool,
    pub kernel_memory_tcp: bool,
    pub cpu_cfs_period: bool,
    pub cpu_cfs_quota: bool,
    pub cpu_shares: bool,
    pub cpuset: bool,
    pub pids: bool,
    pub oom_kill_disable: bool,
}

/// Registries of the daemon's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryInfo {
    /// CIDRs that may be insecure.
    pub insecure_cidrs: Vec<String>,
    /// Hosts that may be insecure.
    pub insecure_hosts: Vec<String>,
    /// Mirrors of Docker Hub.
    pub mirrors: Vec<String>,
}

/// `GET /system/df`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes of all layers.
    pub layers: u64,
    /// With `shared_size` and `containers`.
    pub images: Option<Vec<ImageSummary>>,
    /// With sizes.
    pub containers: Option<Vec<ContainerSummary>>,
    /// With usage.
    pub volumes: Option<Vec<(Volume, VolumeUsage)>>,
}

/// Which parts of [`DiskUsage`] to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct DiskUsageParts {
    pub images: bool,
    pub containers: bool,
    pub volumes: bool,
}
