//! What can go wrong with a transfer.

use std::sync::Arc;

use shoal_base::blocking::Lost;
use shoal_engine_registry::{self as registry, Code, InvalidManifest};
use shoal_model::image::Platform;
use shoal_model::{Classified, Digest, ErrorKind, Fact, Reference};

use crate::image::config::InvalidConfig;
use crate::{content, image};

/// A failed pull, push or inspection.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error("failed to pull `{reference}`")]
    Pull {
        reference: Reference,
        #[source]
        source: Box<registry::Error>,
    },
    #[error("failed to push `{reference}`")]
    Push {
        reference: Reference,
        #[source]
        source: Box<registry::Error>,
    },
    #[error("failed to inspect `{reference}` at its registry")]
    Inspect {
        reference: Reference,
        #[source]
        source: Box<registry::Error>,
    },
    #[error("no manifest of `{reference}` is for {}", shown(.platform))]
    NoPlatform { reference: Reference, platform: Box<Platform> },
    #[error("`{reference}` has an index inside an index")]
    NestedIndex { reference: Reference },
    #[error("the config of `{reference}` is not usable")]
    Config {
        reference: Reference,
        #[source]
        source: InvalidConfig,
    },
    #[error("the manifest of `{reference}` has {layers} layers, its config {diff_ids}")]
    LayerCount { reference: Box<Reference>, layers: usize, diff_ids: usize },
    #[error("failed to transfer layer `{digest}`")]
    Layer {
        digest: Digest,
        #[source]
        source: Arc<Error>,
    },
    #[error("the transfer of layer `{digest}` was stopped")]
    Stopped { digest: Digest },
    #[error("no image has the tag `{reference}`")]
    NoSuchTag { reference: Reference },
    #[error("no image has a tag of `{repository}`")]
    NoTags { repository: Reference },
    #[error("a push needs a tag, not the digest of `{reference}`")]
    PushByDigest { reference: Reference },
    #[error("failed to read the stored manifest `{digest}`")]
    StoredManifest {
        digest: Digest,
        #[source]
        source: InvalidManifest,
    },
    #[error("failed to compress layer `{diff_id}`")]
    Compress {
        diff_id: Digest,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Content(#[from] content::Error),
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Lost(#[from] Lost),
}

fn shown(platform: &Platform) -> String {
    let Platform { os, architecture, variant } = platform;
    let parts = [os.as_str(), architecture, variant];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            // Docker does not tell a stranger whether a repository exists.
            Self::Pull { source, .. } => match source.refusal().map(|refusal| &refusal.code) {
                Some(Code::Denied) => ErrorKind::NotFound,
                _ => source.kind(),
            },
            Self::Push { source, .. } | Self::Inspect { source, .. } => source.kind(),
            Self::NoPlatform { .. } | Self::NoSuchTag { .. } | Self::NoTags { .. } => {
                ErrorKind::NotFound
            }
            Self::NestedIndex { .. }
            | Self::Config { .. }
            | Self::LayerCount { .. }
            | Self::PushByDigest { .. } => ErrorKind::InvalidArgument,
            Self::Layer { source, .. } => source.kind(),
            Self::Stopped { .. } => ErrorKind::Cancelled,
            Self::StoredManifest { source, .. } => source.kind(),
            Self::Compress { .. } | Self::Lost(_) => ErrorKind::Internal,
            Self::Content(source) => source.kind(),
            Self::Image(source) => source.kind(),
        }
    }

    fn fact(&self) -> Option<Fact> {
        match self {
            Self::Pull { reference, source } => {
                let Some(refusal) = source.refusal() else { return source.fact() };
                let (cause, repository) = (refusal.to_string(), reference.familiar_name());
                match refusal.code {
                    Code::Denied => Some(Fact::PullDenied { repository, cause }),
                    Code::ManifestUnknown => {
                        Some(Fact::ManifestUnknown { reference: reference.familiar(), cause })
                    }
                    Code::NameUnknown => Some(Fact::RepositoryUnknown { repository, cause }),
                    _ => source.fact(),
                }
            }
            Self::Push { source, .. } | Self::Inspect { source, .. } => source.fact(),
            Self::NoPlatform { platform, .. } => {
                Some(Fact::NoMatchingPlatform { platform: shown(platform) })
            }
            Self::NoSuchTag { reference } => {
                Some(Fact::NoSuchTag { reference: reference.familiar() })
            }
            Self::NoTags { repository } => {
                Some(Fact::NoLocalTags { repository: repository.familiar_name() })
            }
            Self::Layer { source, .. } => source.fact(),
            Self::Content(source) => source.fact(),
            Self::Image(source) => source.fact(),
            _ => None,
        }
    }
}
