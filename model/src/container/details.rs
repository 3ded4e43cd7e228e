//! Containers as they are: for list and inspect.

use std::collections::BTreeMap;

use crate::image::GraphDriver;
use crate::network::{Endpoint, PublishedPort};
use crate::{ContainerId, Digest, ExecId, Timestamp};

use super::{ContainerSpec, NetworkMode, Propagation, State};

/// One row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Id.
    pub id: ContainerId,
    /// Without the leading slash.
    pub name: String,
    /// Aliases that legacy links gave it, `other/alias`.
    pub link_names: Vec<String>,
    /// The image as the user wrote it; its id when that name now means another image.
    pub image: String,
    /// Id of the image.
    pub image_id: Option<Digest>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// When it was created.
    pub created: Timestamp,
    /// What it does.
    pub state: State,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Exposed and published ports.
    pub ports: Vec<PublishedPort>,
    /// Main network.
    pub network_mode: NetworkMode,
    /// OCI annotations.
    pub annotations: BTreeMap<String, String>,
    /// By name of the network.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Mounts.
    pub mounts: Vec<MountPoint>,
    /// Only when sizes were asked for.
    pub size: Option<ContainerSize>,
}

/// Everything about one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerDetails {
    /// Id.
    pub id: ContainerId,
    /// Without the leading slash.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// The wish with image defaults and daemon defaults merged in (log driver, shm size, runtime, IPC mode,
    /// cgroup namespace, masked paths).
    pub spec: ContainerSpec,
    /// Id of the image.
    pub image_id: Option<Digest>,
    /// Program of the init process.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it does.
    pub state: State,
    /// Restarts by its policy.
    pub restart_count: u32,
    /// Files on the host.
    pub paths: ContainerPaths,
    /// Storage.
    pub graph: GraphDriver,
    /// `linux`.
    pub platform: String,
    /// SELinux label of mounts, empty.
    pub mount_label: String,
    /// SELinux label of the process, empty.
    pub process_label: String,
    /// AppArmor profile, empty when unused.
    pub apparmor_profile: String,
    /// Execs that are running or not yet collected.
    pub execs: Vec<ExecId>,
    /// Resolved mounts.
    pub mounts: Vec<MountPoint>,
    /// Network stack.
    pub network: ContainerNetwork,
    /// Only when asked for.
    pub size: Option<ContainerSize>,
}

/// The network stack of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerNetwork {
    /// Id of the sandbox; empty while not running.
    pub sandbox_id: String,
    /// Path of the network namespace; empty while not running.
    pub sandbox_key: String,
    /// By name of the network.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Exposed and published ports; empty while not running.
    pub ports: Vec<PublishedPort>,
}

/// Files of a container on the host; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerPaths {
    /// /etc/resolv.conf of the container.
    pub resolv_conf: String,
    /// /etc/hostname of the container.
    pub hostname: String,
    /// /etc/hosts of the container.
    pub hosts: String,
    /// The log, where the driver writes a file.
    pub log: String,
}

/// Bytes of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerSize {
    /// Its own layer.
    pub writable: u64,
    /// With the image's.
    pub total: u64,
}

/// One mount of a container, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// Kind.
    pub kind: MountPointKind,
    /// Name of the volume; empty for others.
    pub name: String,
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Driver of the volume; empty for others.
    pub driver: String,
    /// Options as the user gave them, `z` and so on.
    pub mode: String,
    /// Writable.
    pub writable: bool,
    /// `None` for volumes without.
    pub propagation: Option<Propagation>,
}

/// Kinds of mounts as docker lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum MountPointKind {
    Bind,
    Volume,
    Tmpfs,
    Image,
}

impl MountPointKind {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
        }
    }
}
