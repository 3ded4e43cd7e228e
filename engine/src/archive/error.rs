//! What can go wrong with copies.

use std::io;

use shoal_model::{Classified, ErrorKind};

/// Why files cannot be copied.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("could not find the file {path} in the container")]
    NotFound { path: String },
    #[error("failed to access {path} in the container")]
    Access {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("extraction point is not a directory")]
    NotADirectory,
    #[error("container rootfs is marked read-only")]
    RootReadOnly,
    #[error("mounted volume is marked read-only")]
    VolumeReadOnly,
    #[error("cannot overwrite directory {path:?} with non-directory")]
    DirectoryByFile { path: String },
    #[error("cannot overwrite non-directory {path:?} with directory")]
    FileByDirectory { path: String },
    #[error("archive entry {name:?} is outside of the extraction point")]
    Breakout { name: String },
    #[error("archive entry {name:?} has type {kind}, which is not supported")]
    EntryType { name: String, kind: char },
    #[error("archives compressed with {compression} are not supported")]
    Compression { compression: &'static str },
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    #[error("failed to extract {name:?}")]
    Extract {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to send the archive")]
    Send(#[source] io::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::RootReadOnly | Self::VolumeReadOnly => ErrorKind::Forbidden,
            Self::Compression { .. } => ErrorKind::NotImplemented,
            Self::Access { .. } | Self::Extract { .. } | Self::Send(_) => ErrorKind::Internal,
            _ => ErrorKind::InvalidArgument,
        }
    }
}

impl Error {
    pub(super) fn access(path: &str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Self::NotFound { path: path.to_owned() }
            }
            _ => Self::Access { path: path.to_owned(), source },
        }
    }
}
