//! What can be wrong with mounts.

use std::io;
use std::path::PathBuf;

use shoal_model::{Classified, ErrorKind};

/// Why a container's mounts cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("Duplicate mount point: {target}")]
    Duplicate { target: String },
    #[error("invalid mount config for type {kind:?}: {problem}")]
    Config { kind: &'static str, problem: String },
    #[error("invalid volume specification: '{spec}': {problem}")]
    Bind { spec: String, problem: String },
    #[error("invalid mount path: '{target}' mount path must be absolute")]
    NotAbsolute { target: String },
    #[error("invalid mode: {mode}")]
    Mode { mode: String },
    #[error("image `{reference}` of a mount was not looked up")]
    ImageNotGathered { reference: String },
    #[error("mount `{target}`: a path inside an image of several layers cannot be mounted")]
    ImageSubpath { target: String },
    #[error("error while creating mount source path '{path}'")]
    CreateSource {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to access mount source `{path}`")]
    Source {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("path {path} is mounted on {mounted_on} but it is not a {wanted} mount")]
    Propagation { path: PathBuf, mounted_on: String, wanted: &'static str },
    #[error("failed to read mount table")]
    MountTable(#[source] io::Error),
    #[error("cannot access path {subpath:?} in volume `{volume}`")]
    Subpath {
        volume: String,
        subpath: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to copy the image's `{path}` into volume `{volume}`")]
    CopyUp {
        path: String,
        volume: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to mount or unmount shared memory at `{path}`")]
    SharedMemory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot mount volume over existing file, file exists {path}")]
    OverFile { path: String },
    #[error(transparent)]
    Volume(#[from] crate::volumes::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::CreateSource { .. }
            | Self::Source { .. }
            | Self::MountTable(_)
            | Self::CopyUp { .. }
            | Self::SharedMemory { .. }
            | Self::ImageNotGathered { .. } => ErrorKind::Internal,
            Self::ImageSubpath { .. } => ErrorKind::NotImplemented,
            Self::Volume(error) => error.kind(),
            _ => ErrorKind::InvalidArgument,
        }
    }

    fn fact(&self) -> Option<shoal_model::Fact> {
        match self {
            Self::Volume(error) => error.fact(),
            _ => None,
        }
    }
}
