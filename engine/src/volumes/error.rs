//! What can go wrong with volumes.

use std::io;
use std::path::PathBuf;

use shoal_model::error::{Fact, ObjectKind};
use shoal_model::{Classified, ErrorKind};

/// Why a volume cannot be made, found or removed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("no such volume: `{name}`")]
    NotFound { name: String },
    #[error("volume `{name}` is in use by {} container(s)", containers.len())]
    InUse { name: String, containers: Vec<String> },
    #[error(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    InvalidName { name: String },
    #[error("volume driver {driver:?} is not available: plugins are not supported")]
    UnknownDriver { driver: String },
    #[error("invalid option: {option:?}")]
    UnknownOption { option: String },
    #[error("missing required option: {option:?}")]
    MissingOption { option: &'static str },
    #[error("option `size`: quotas of volumes are not supported")]
    Quota,
    #[error("failed to look up the address of file server `{server}`")]
    Address {
        server: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "error while mounting volume '{}': failed to mount local volume: mount {device}:{}{}",
        .data.display(),
        .data.display(),
        mount_data(.options)
    )]
    Mount {
        device: String,
        data: PathBuf,
        options: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to {doing} `{path}`")]
    Disk {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("record `{path}` is damaged")]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("record `{path}` has format {format}, this program knows up to {known}")]
    NewerFormat { path: PathBuf, format: u32, known: u32 },
}

/// The options as docker shows them behind what was mounted.
fn mount_data(options: &str) -> String {
    if options.is_empty() { String::new() } else { format!(", data: {options}") }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::UnknownDriver { .. } => ErrorKind::NotFound,
            Self::InvalidName { .. } | Self::UnknownOption { .. } | Self::MissingOption { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::Quota => ErrorKind::NotImplemented,
            Self::Address { .. } => ErrorKind::Unavailable,
            Self::Mount { .. } | Self::Disk { .. } | Self::NewerFormat { .. } => {
                ErrorKind::Internal
            }
            Self::Damaged { .. } => ErrorKind::DataLoss,
        }
    }

    fn fact(&self) -> Option<Fact> {
        match self {
            Self::NotFound { name } => {
                Some(Fact::NoSuch { object: ObjectKind::Volume, name: name.clone() })
            }
            Self::InUse { name, containers } => {
                Some(Fact::VolumeInUse { volume: name.clone(), containers: containers.clone() })
            }
            _ => None,
        }
    }
}
