//! The log on disk: segments of sealed records, appended to and synced in groups.
//!
//! Files of a log directory:
//! - `NNNNNNNNNNNNNNNNNNNN.wal`: segments; the frames of `frame`, the first of which is a header, the others
//!   sealed records of `record`. Only the last one is written to.
//! - `purged`, `vote`: one frame each, replaced atomically.
//! - `committed`: two slots written in turn without a sync: it only spares work after a restart.
//!
//! What a crash may leave: an invalid frame at the very end (cut when opened), a segment without a valid
//! header (made anew), segments that were purged (removed). Anything else is an error that names file and
//! offset: entries that were acknowledged are never dropped silently.

pub(crate) mod alone;
mod files;
mod frame;
pub(crate) mod health;
mod memory;
mod record;
mod replay;
mod segment;
pub(crate) mod store;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use shoal_base::Disk;
use shoal_model::error::ErrorKind;

use crate::error::StartError;
use crate::seal::OpenError;
use crate::{KeyId, RaftId};

pub(crate) use frame::{At, HEADER as FRAME_HEADER, at as frame_at, encode as encode_frame};

/// The log cannot be read or written.
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
    #[error("log file `{path}` is damaged at offset {offset}")]
    Damaged { path: PathBuf, offset: u64 },
    #[error("log file `{path}` is damaged at offset {offset}, valid records follow at {valid}")]
    DamagedBetween { path: PathBuf, offset: u64, valid: u64 },
    #[error("failed to unseal log file `{path}` at offset {offset}")]
    Sealed {
        path: PathBuf,
        offset: u64,
        #[source]
        source: OpenError,
    },
    #[error("log file `{path}` has an invalid record at offset {offset}")]
    Record {
        path: PathBuf,
        offset: u64,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "log file `{path}` begins with entry {found}, but {expected} is next: files are missing"
    )]
    Missing { path: PathBuf, found: u64, expected: u64 },
    #[error("the log was closed, or an earlier write failed")]
    Closed,
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
            Self::Damaged { .. }
            | Self::DamagedBetween { .. }
            | Self::Record { .. }
            | Self::Missing { .. } => ErrorKind::DataLoss,
            Self::Sealed { source: OpenError::UnknownKey { .. }, .. } => ErrorKind::Unauthorized,
            Self::Sealed { .. } => ErrorKind::DataLoss,
            Self::Closed => ErrorKind::Unavailable,
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Keys a file is sealed with.
pub(crate) type Keys = std::collections::BTreeSet<KeyId>;

/// File that says whose directory it is.
const IDENTITY: &str = "identity";

/// Makes the directory, or checks that it is this member's.
pub(crate) fn claim(directory: &Path, id: RaftId, disk: &dyn Disk) -> Result<(), StartError> {
    let failed = |source| StartError::CreateDirectory { path: directory.to_owned(), source };
    disk.create_directory(directory).map_err(failed)?;
    let file = directory.join(IDENTITY);
    match disk.read(&file).map_err(failed)? {
        None => disk.write_atomic(&file, id.to_string().as_bytes()).map_err(failed),
        Some(found) if found == id.to_string().as_bytes() => Ok(()),
        Some(found) => Err(StartError::OtherMember {
            path: directory.to_owned(),
            found: String::from_utf8_lossy(&found).into_owned(),
            expected: id,
        }),
    }
}
