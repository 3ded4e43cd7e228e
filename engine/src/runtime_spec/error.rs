//! What can be wrong with a spec.

use shoal_model::{Classified, ErrorKind};

/// Why a runtime spec cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("no command specified")]
    NoCommand,
    #[error("invalid capability: {name:?}")]
    UnknownCapability { name: String },
    #[error("invalid ulimit type: {name}")]
    UnknownUlimit { name: String },
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    UlimitOrder { soft: i64, hard: i64 },
    #[error("invalid value: {value}, valid memory swappiness range is 0-100")]
    Swappiness { value: i64 },
    #[error("range of blkio weight is from 10 to 1000, not {value}")]
    BlkioWeight { value: u64 },
    #[error("invalid value {value} for {field}: must not be negative")]
    Negative { field: &'static str, value: i64 },
    #[error("invalid value {value}, range for oom score adj is [-1000, 1000]")]
    OomScore { value: i32 },
    #[error("error gathering device information while adding custom device {path:?}")]
    Device {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("device `{path}` of a block i/o limit was not looked up")]
    DeviceNotGathered { path: String },
    #[error("invalid device cgroup rule format: '{rule}'")]
    DeviceRule { rule: String },
    #[error("could not select device driver {driver:?} with capabilities: {capabilities}")]
    DeviceRequest { driver: String, capabilities: String },
    #[error("invalid --security-opt: {option:?}")]
    SecurityOption { option: String },
    #[error("sysctl {name:?} is not in a separate kernel namespace of this container")]
    Sysctl { name: String },
    #[error("invalid tmpfs option {option:?}")]
    TmpfsOption { option: String },
    #[error("mount `{target}`: this kernel or runtime cannot make mounts beneath it read-only")]
    RecursiveReadOnly { target: String },
    #[error("{namespace} namespace of container `{container}` was not looked up")]
    NamespaceNotGathered { namespace: &'static str, container: String },
    #[error("{namespace} namespace cannot be shared with container `{container}`")]
    NamespaceNotShareable { namespace: &'static str, container: String },
    #[error("user namespaces are not available: the only user namespace mode is `host`")]
    UserNamespace,
    #[error(transparent)]
    Seccomp(#[from] crate::seccomp::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UserNamespace => ErrorKind::NotImplemented,
            Self::DeviceNotGathered { .. } | Self::NamespaceNotGathered { .. } => {
                ErrorKind::Internal
            }
            Self::DeviceRequest { .. } => ErrorKind::Internal, // as docker: the host lacks the driver
            Self::Seccomp(error) => error.kind(),
            _ => ErrorKind::InvalidArgument,
        }
    }
}
