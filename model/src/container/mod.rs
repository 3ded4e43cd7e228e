//! Containers: what the user wants ([`ContainerSpec`]), what they are ([`State`], [`ContainerDetails`]), and
//! what the verbs on them take and give.

mod details;
mod host;
mod spec;
mod state;
mod stats;
mod verbs;
pub mod visit;

pub use details::{
    ContainerDetails, ContainerNetwork, ContainerPaths, ContainerSize, ContainerSummary,
    MountPoint, MountPointKind,
};
pub use host::{
    BindMount, BindOptions, BlkioDevice, Device, DeviceRequest, HostSpec, IpcMode, LogSpec, Mount,
    MountKind, NamespaceMode, NetworkMode, PortBinding, Propagation, Resources, RestartPolicy,
    TmpfsOptions, Ulimit, VolumeMountOptions, VolumesFrom,
};
pub use spec::{ContainerSpec, EndpointSpec, Healthcheck};
pub use state::{ExitStatus, HealthProbe, HealthState, HealthStatus, Phase, State};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, InterfaceStats, MemoryStats, PidsStats, StatsSample,
};
pub use verbs::{
    ArchivePutOptions, AttachOptions, CommitRequest, CreateRequest, Created, Input, ListOptions,
    LogOptions, LogRecord, Output, OutputKind, PathChange, PathChangeKind, PathStat, Pruned,
    RemoveOptions, StopOptions, TopResult, UpdateRequest, WaitCondition, WaitOutcome,
};
