//! What can be wrong with a container's files.

use std::io;
use std::path::PathBuf;

use shoal_model::{Classified, ErrorKind};

/// Why a file cannot be made or a user not be found.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to write `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("bad format for add-host: {text:?}")]
    ExtraHost { text: String },
    #[error("invalid IP address in add-host: {address:?}")]
    ExtraHostAddress { address: String },
    #[error("unable to derive the IP value for host-gateway")]
    NoHostGateway,
    #[error("invalid number for ndots option: {text:?}")]
    Ndots { text: String },
    #[error("invalid DNS server address: {text:?}")]
    Server { text: String },
    #[error("unable to find user {name}: no matching entries in passwd file")]
    NoUser { name: String },
    #[error("unable to find group {name}: no matching entries in group file")]
    NoGroup { name: String },
    #[error("uids and gids must be in range 0-2147483647, not {id}")]
    IdRange { id: String },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Write { .. } | Self::Read { .. } => ErrorKind::Internal,
            _ => ErrorKind::InvalidArgument,
        }
    }
}
