//! What can go wrong with archives of images.

use std::io;

use shoal_model::{Classified, Digest, ErrorKind};

use crate::{content, image, snapshot, unpack};

/// A failure of load, save, import, commit or export.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages name the fields")]
pub enum Error {
    #[error("failed to read the archive")]
    Archive(#[source] unpack::Error),
    #[error("failed to store `{path}` of the archive")]
    Store {
        path: String,
        #[source]
        source: content::CopyError,
    },
    #[error("the archive has neither `manifest.json` nor `index.json`: it is no image archive")]
    NoManifest,
    #[error("`{path}` of the archive is not valid")]
    Json {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the archive has no `{path}`, which its manifest names")]
    Missing { path: String },
    #[error("`{path}` of the archive has more than {limit} bytes")]
    TooLarge { path: String, limit: u64 },
    #[error("`{path}` of the archive has digest `{actual}`")]
    DigestMismatch { path: String, actual: Digest },
    #[error("the archive has no image for platform `{wanted}`")]
    NoPlatform { wanted: String },
    #[error("the archive's index is nested too deeply")]
    Nesting,
    #[error("`{name}` is not a usable image name")]
    Name {
        name: String,
        #[source]
        source: shoal_model::reference::InvalidReference,
    },
    #[error("failed to write the archive")]
    Write(#[source] io::Error),
    #[error("failed to read `{path}`")]
    Files {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("invalid change `{line}`: {reason}")]
    Change { line: String, reason: String },
    #[error(transparent)]
    Content(#[from] content::Error),
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Archive(source) => source.kind(),
            Self::Store { source: content::CopyError::Read(_), .. }
            | Self::NoManifest
            | Self::Json { .. }
            | Self::Missing { .. }
            | Self::TooLarge { .. }
            | Self::Nesting
            | Self::Name { .. }
            | Self::Change { .. } => ErrorKind::InvalidArgument,
            Self::DigestMismatch { .. } => ErrorKind::DataLoss,
            Self::NoPlatform { .. } => ErrorKind::NotFound,
            Self::Store { .. } | Self::Write(_) | Self::Files { .. } => ErrorKind::Internal,
            Self::Content(source) => source.kind(),
            Self::Image(source) => source.kind(),
            Self::Snapshot(source) => source.kind(),
        }
    }

    fn fact(&self) -> Option<shoal_model::Fact> {
        match self {
            Self::Image(source) => source.fact(),
            _ => None,
        }
    }
}

impl From<unpack::entry::Error> for Error {
    fn from(error: unpack::entry::Error) -> Self {
        Self::Archive(error.into())
    }
}
