//! Containers: what the user wants ([`ContainerSpec`]) and what they are ([`State`]).

mod host;
mod spec;
mod state;

pub use host::{
    BindMount, BindOptions, BlkioDevice, Device, DeviceRequest, HostSpec, IpcMode, LogSpec, Mount,
    MountKind, NamespaceMode, NetworkMode, PortBinding, Propagation, Resources, RestartPolicy,
    TmpfsOptions, Ulimit, VolumeMountOptions, VolumesFrom,
};
pub use spec::{ContainerSpec, EndpointSpec, Healthcheck};
pub use state::{ExitStatus, HealthProbe, HealthState, HealthStatus, Phase, State};
