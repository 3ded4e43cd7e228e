//! The small files that say what a directory of the snapshot store is.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_model::Digest;

use super::Error;

/// Format of the records. A higher one was written by a newer release and is refused.
const FORMAT: u32 = 1;

/// An unpacked layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Digest of its uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size: u64,
}

/// A container's writable layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Writable {
    /// Layers below it, from the lowest up.
    pub(super) diff_ids: Vec<Digest>,
    /// Whether a layer of mount points lies between.
    #[serde(default)]
    pub(super) init: bool,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    #[serde(flatten)]
    record: T,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

pub(super) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { format: FORMAT, record }).expect("a record is plain data")
}

/// Reads a record; `None` when there is none.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => {
            other.map_err(|source| Error::Disk { verb: "read", path: path.to_owned(), source })?
        }
    };
    let damaged = |source| Error::DamagedRecord { path: path.to_owned(), source };
    let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format > FORMAT {
        return Err(Error::NewerRecord { path: path.to_owned(), format, known: FORMAT });
    }
    let versioned: Versioned<T> = serde_json::from_slice(&bytes).map_err(damaged)?;
    Ok(Some(versioned.record))
}
