//! What can go wrong with layers.

use std::io;
use std::path::PathBuf;

use shoal_model::{Classified, ContainerId, Digest, ErrorKind};

use crate::unpack;

/// A failure of the snapshot store.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages name the fields")]
pub enum Error {
    #[error("failed to {verb} `{}`", path.display())]
    Disk {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("layer `{diff_id}` is not unpacked here")]
    NoLayer { diff_id: Digest },
    #[error("failed to unpack layer `{diff_id}`")]
    Unpack {
        diff_id: Digest,
        #[source]
        source: unpack::Error,
    },
    #[error("layer unpacks to `{actual}`, expected diff id `{expected}`")]
    DiffIdMismatch { expected: Digest, actual: Digest },
    #[error("layers `{one}` and `{other}` have the same short name")]
    ShortNameTaken { one: Digest, other: Digest },
    #[error("container `{container}` has a writable layer already")]
    Exists { container: ContainerId },
    #[error("container `{container}` has no writable layer")]
    NoContainer { container: ContainerId },
    #[error("record `{}` is damaged", path.display())]
    DamagedRecord {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("record `{}` has format {format}, this release knows up to {known}", path.display())]
    NewerRecord { path: PathBuf, format: u32, known: u32 },
    #[error("failed to {step} a view of layers")]
    View {
        step: &'static str,
        #[source]
        source: io::Error,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk { .. } | Self::NewerRecord { .. } | Self::View { .. } => ErrorKind::Internal,
            Self::NoLayer { .. } | Self::NoContainer { .. } => ErrorKind::NotFound,
            Self::Unpack { source, .. } => source.kind(),
            Self::DiffIdMismatch { .. } | Self::DamagedRecord { .. } => ErrorKind::DataLoss,
            Self::ShortNameTaken { .. } | Self::Exists { .. } => ErrorKind::Conflict,
        }
    }
}
