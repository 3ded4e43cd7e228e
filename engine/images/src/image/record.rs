//! One image as it is kept on disk and in memory.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use shoal_model::{Digest, Reference, Timestamp};

use super::Error;
use super::config::ImageConfig;

/// Format of the record files. A higher one was written by a newer release and is refused.
const FORMAT: u32 = 1;

/// An image. Never changed in place: a change makes a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of the config.
    pub id: Digest,
    /// The config as it came, byte for byte.
    pub config_json: String,
    /// What it says.
    pub config: ImageConfig,
    /// Layers from the lowest up.
    pub layers: Vec<LayerBlob>,
    /// Manifests known to name this config, in the content store.
    pub manifests: Vec<Descriptor>,
    /// Tagged names.
    pub references: BTreeSet<Reference>,
    /// `name@digest` of the manifests or indexes it was pulled or pushed by.
    pub repo_digests: BTreeSet<Reference>,
    /// The image it was committed or built from here.
    pub parent: Option<Digest>,
    /// When a name was last given to it here.
    pub last_tagged: Option<Timestamp>,
    /// When it came here.
    pub added: Timestamp,
    /// Bytes of all its files, layers counted once each.
    pub size: u64,
}

/// One layer: the blob and what it unpacks to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// Digest of the blob, usually compressed.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
}

/// A blob that is no layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    id: Digest,
    config: String,
    layers: Vec<LayerBlob>,
    manifests: Vec<Descriptor>,
    references: BTreeSet<Reference>,
    repo_digests: BTreeSet<Reference>,
    parent: Option<Digest>,
    last_tagged: Option<Timestamp>,
    added: Timestamp,
    size: u64,
}

impl Image {
    /// The bytes of its record.
    pub(super) fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            format: FORMAT,
            id: self.id,
            config: self.config_json.clone(),
            layers: self.layers.clone(),
            manifests: self.manifests.clone(),
            references: self.references.clone(),
            repo_digests: self.repo_digests.clone(),
            parent: self.parent,
            last_tagged: self.last_tagged,
            added: self.added,
            size: self.size,
        };
        serde_json::to_vec(&stored).expect("a record is plain data")
    }

    /// Reads the bytes of the record at `path`.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |source| Error::DamagedRecord { path: path.to_owned(), source };
        let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(Error::NewerRecord { path: path.to_owned(), format, known: FORMAT });
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(damaged)?;
        let config = ImageConfig::parse(stored.config.as_bytes())
            .map_err(|source| Error::Config { id: stored.id, source })?;
        Ok(Self {
            id: stored.id,
            config,
            config_json: stored.config,
            layers: stored.layers,
            manifests: stored.manifests,
            references: stored.references,
            repo_digests: stored.repo_digests,
            parent: stored.parent,
            last_tagged: stored.last_tagged,
            added: stored.added,
            size: stored.size,
        })
    }

    /// Digests of all blobs that it needs.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        let manifests = self.manifests.iter().map(|manifest| manifest.digest);
        let layers = self.layers.iter().map(|layer| layer.digest);
        std::iter::once(self.id).chain(manifests).chain(layers)
    }

    /// When its config says it was made; the epoch when it does not say.
    pub fn created(&self) -> Timestamp {
        self.config.created.unwrap_or(Timestamp::from_nanos(0))
    }

    /// Whether no name points at it.
    pub fn is_dangling(&self) -> bool {
        self.references.is_empty() && self.repo_digests.is_empty()
    }
}
