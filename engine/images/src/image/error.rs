//! What can go wrong with images.

use std::io;
use std::path::PathBuf;

use shoal_model::{Classified, Digest, ErrorKind, Fact, ObjectKind, Reference};

use super::config::InvalidConfig;
use crate::{content, snapshot};

/// A failure of the image store.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages name the fields")]
pub enum Error {
    #[error("no such image: `{name}`")]
    NotFound { name: String },
    #[error("image id prefix `{prefix}` fits several images")]
    Ambiguous { prefix: String },
    #[error("failed to {verb} image record `{}`", path.display())]
    Disk {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("image record `{}` is damaged", path.display())]
    DamagedRecord {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("image record `{}` has format {format}, this release knows up to {known}", path.display())]
    NewerRecord { path: PathBuf, format: u32, known: u32 },
    #[error("image `{id}` has an unusable config")]
    Config {
        id: Digest,
        #[source]
        source: InvalidConfig,
    },
    #[error("image `{id}` has {layers} layers, its config names {diff_ids}")]
    LayerCount { id: Digest, layers: usize, diff_ids: usize },
    #[error("layer {index} of image `{id}` is `{actual}`, its config names `{expected}`")]
    LayerOrder { id: Digest, index: usize, actual: Digest, expected: Digest },
    #[error("reference `{reference}` needs a tag and no digest")]
    NotATag { reference: Reference },
    #[error("reference `{reference}` needs a digest")]
    NotADigest { reference: Reference },
    #[error("image `{image}` is in use: {why}")]
    InUse { image: String, why: String, must_force: bool },
    #[error("invalid filter `{key}`{}", value.as_ref().map(|v| format!(" with value `{v}`")).unwrap_or_default())]
    InvalidFilter { key: String, value: Option<String> },
    #[error(transparent)]
    Content(#[from] content::Error),
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. }
            | Self::NotATag { .. }
            | Self::NotADigest { .. }
            | Self::InvalidFilter { .. }
            | Self::Config { .. }
            | Self::LayerCount { .. }
            | Self::LayerOrder { .. } => ErrorKind::InvalidArgument,
            Self::Disk { .. } | Self::NewerRecord { .. } => ErrorKind::Internal,
            Self::DamagedRecord { .. } => ErrorKind::DataLoss,
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::Content(source) => source.kind(),
            Self::Snapshot(source) => source.kind(),
        }
    }

    fn fact(&self) -> Option<Fact> {
        match self {
            Self::NotFound { name } => {
                Some(Fact::NoSuch { object: ObjectKind::Image, name: name.clone() })
            }
            Self::Ambiguous { prefix } => {
                Some(Fact::Ambiguous { object: ObjectKind::Image, prefix: prefix.clone() })
            }
            Self::InUse { image, why, must_force } => Some(Fact::ImageInUse {
                image: image.clone(),
                why: why.clone(),
                must_force: *must_force,
            }),
            Self::InvalidFilter { key, value } => {
                Some(Fact::InvalidFilter { key: key.clone(), value: value.clone() })
            }
            _ => None,
        }
    }
}
