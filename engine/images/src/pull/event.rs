//! What a transfer tells the client while it runs. The words and the JSON are the API's.

use shoal_model::Digest;
use shoal_model::image::Platform;
use tokio::sync::mpsc;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// "Pulling from `<repository>`" with the tag or digest as id.
    PullingFrom {
        /// Path without the registry, e.g. `library/busybox`.
        repository: String,
        /// Tag or digest.
        target: String,
    },
    /// A layer of a pull. `id` is the short digest of its blob.
    Pull {
        /// Twelve hex digits.
        id: String,
        /// How far it is.
        step: PullStep,
    },
    /// "Digest: …" after the layers of one reference.
    Digest(Digest),
    /// "Status: Downloaded newer image for …".
    Downloaded {
        /// Familiar reference.
        reference: String,
    },
    /// "Status: Image is up to date for …".
    UpToDate {
        /// Familiar reference.
        reference: String,
    },
    /// The image is for another platform than the one asked for; docker warns.
    PlatformDiffers {
        /// Familiar reference.
        reference: String,
        /// Asked for.
        wanted: Platform,
        /// What it is for.
        actual: Platform,
    },
    /// "The push refers to repository […]".
    PushTo {
        /// Whole name with the registry.
        repository: String,
    },
    /// A layer of a push. `id` is its short diff id.
    Push {
        /// Twelve hex digits.
        id: String,
        /// How far it is.
        step: PushStep,
    },
    /// "`<tag>`: digest: … size: …", and the same as `aux`.
    Pushed {
        /// The tag.
        tag: String,
        /// Digest of the manifest.
        digest: Digest,
        /// Bytes of the manifest.
        size: u64,
    },
}

/// How far a layer of a pull is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "docker's words; sizes are bytes of the blob")]
pub enum PullStep {
    PullingFsLayer,
    Waiting,
    Downloading { current: u64, total: u64 },
    Retrying { seconds: u64 },
    VerifyingChecksum,
    DownloadComplete,
    Extracting { current: u64, total: u64 },
    PullComplete,
    AlreadyExists,
}

/// How far a layer of a push is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "docker's words; sizes are bytes of the blob")]
pub enum PushStep {
    Preparing,
    Waiting,
    Pushing { current: u64, total: u64 },
    Pushed,
    LayerAlreadyExists,
    MountedFrom { repository: String },
    SkippedForeign,
}

/// Where events go. A client that has left is not an error: whoever serves it drops the transfer.
pub type Events = mpsc::Sender<Event>;

/// Sends an event, waiting while the client is slow.
pub(crate) async fn emit(events: &Events, event: Event) {
    let _ = events.send(event).await;
}
