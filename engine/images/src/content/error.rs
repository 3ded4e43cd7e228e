//! What can go wrong with blobs.

use std::io;
use std::path::PathBuf;

use shoal_model::{Classified, Digest, ErrorKind};

/// A failure of the content store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {verb} `{}`", path.display())]
    Disk {
        /// What was being done.
        verb: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The blob is not here.
    #[error("no blob `{digest}` in the content store")]
    NotFound {
        /// Which.
        digest: Digest,
    },
    /// A blob that should be small is not.
    #[error("blob `{digest}` has more than the {limit} bytes allowed here")]
    TooLarge {
        /// Which.
        digest: Digest,
        /// The limit, bytes.
        limit: u64,
    },
    /// The bytes received are not what was announced.
    #[error("received content with digest `{actual}`, expected `{expected}`")]
    DigestMismatch {
        /// What was announced.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Fewer or more bytes than announced.
    #[error("received {actual} bytes, expected {expected}")]
    SizeMismatch {
        /// What was announced, bytes.
        expected: u64,
        /// What came, bytes.
        actual: u64,
    },
    /// Someone in this process is already receiving under this key.
    #[error("ingest `{key}` is already being written")]
    Busy {
        /// The key.
        key: String,
    },
    /// The key cannot be a file name.
    #[error("invalid ingest key `{key}`: letters, digits, `-`, `_` and `.` only, 128 at most")]
    InvalidKey {
        /// The key.
        key: String,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk { .. } => ErrorKind::Internal,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::TooLarge { .. } | Self::InvalidKey { .. } => ErrorKind::InvalidArgument,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => ErrorKind::DataLoss,
            Self::Busy { .. } => ErrorKind::Conflict,
        }
    }
}
