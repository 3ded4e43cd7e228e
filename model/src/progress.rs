//! Progress of pull, push, load and import. The API has docker's words for each step.

use crate::{Digest, Reference};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A pull begins. `repository` is familiar, `tag` a tag or digest.
    PullingFrom {
        /// Familiar path, e.g. `library/busybox`.
        repository: String,
        /// Tag or digest.
        tag: String,
    },
    /// A step of one layer; `id` is the short digest the CLI shows in front of its bar.
    Layer {
        /// Twelve hex digits.
        id: String,
        /// What is being done to it.
        step: LayerStep,
    },
    /// The digest of what was pulled.
    Digest(Digest),
    /// A pull ended. `newer`: something was downloaded.
    Pulled {
        /// What was asked for.
        reference: Reference,
        /// Whether the image or its tag changed.
        newer: bool,
    },
    /// A push begins.
    PushingTo {
        /// The repository.
        repository: Reference,
    },
    /// A push of one tag ended.
    Pushed {
        /// The tag.
        tag: String,
        /// Digest of the manifest.
        digest: Digest,
        /// Size of the manifest in bytes.
        size: u64,
    },
    /// An archive held this image. Without a reference only its id is known.
    Loaded {
        /// Its name.
        reference: Option<Reference>,
        /// Its id.
        id: Digest,
    },
    /// An import made this image.
    Imported {
        /// Its id.
        id: Digest,
    },
    /// A remark for the user, a line of its own.
    Note(String),
}

/// A step of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "docker's words; sizes are bytes, a total of zero is unknown")]
pub enum LayerStep {
    PullingFsLayer,
    Waiting,
    Downloading { current: u64, total: u64 },
    Verifying,
    DownloadComplete,
    Extracting { current: u64, total: u64 },
    PullComplete,
    AlreadyExists,
    Retrying { seconds: u64 },
    Preparing,
    Pushing { current: u64, total: u64 },
    Pushed,
    LayerExists,
    MountedFrom { repository: String },
    Loading { current: u64, total: u64 },
}
