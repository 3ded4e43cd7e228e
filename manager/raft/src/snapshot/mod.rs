//! Raft snapshots: the state in a sealed file, so that older entries can go.

pub(crate) mod file;
pub(crate) mod machine;
pub(crate) mod store;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::path::{Path, PathBuf};

use shoal_model::error::ErrorKind;

use crate::seal::OpenError;

/// A raft snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to {action} `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("raft snapshot `{path}` is damaged at offset {offset}")]
    Damaged { path: PathBuf, offset: u64 },
    #[error("failed to unseal raft snapshot `{path}` at offset {offset}")]
    Sealed {
        path: PathBuf,
        offset: u64,
        #[source]
        source: OpenError,
    },
    #[error("no raft snapshot reaches entry {purged}, up to which the log was purged")]
    Missing { purged: u64 },
}

impl Error {
    /// Whether it may pass when there is room.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if shoal_base::disk::is_full(source))
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Internal,
            Self::Damaged { .. } | Self::Missing { .. } => ErrorKind::DataLoss,
            Self::Sealed { source: OpenError::UnknownKey { .. }, .. } => ErrorKind::Unauthorized,
            Self::Sealed { .. } => ErrorKind::DataLoss,
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
