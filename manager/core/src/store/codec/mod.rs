//! Frames: transactions, outcomes and snapshots as bytes.
//!
//! A frame is a format number and MessagePack of records with named fields; absent fields take their default,
//! unknown ones are skipped, a newer format is refused. Specs, annotations and endpoints that several objects
//! share are written once per frame and shared again after decoding.
//!
//! Source: ADR 0004.

mod outcome;
mod record;
mod shared;
mod snapshot;
mod transaction;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_model::ErrorKind;
use shoal_model::error::Classified;

pub use outcome::{Accepted, Outcome, decode_outcome, encode_outcome};
pub use snapshot::{SnapshotReader, SnapshotWriter};
pub use transaction::{decode_transaction, encode_transaction};

/// Format that this program writes, and the newest that it reads.
pub const FORMAT: u8 = 1;

/// Why bytes could not be read, or objects not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{frame} has format {found}, this program knows formats up to {FORMAT}")]
    Newer { frame: &'static str, found: u8 },
    #[error("{frame} is empty")]
    Empty { frame: &'static str },
    #[error("{frame} is not well-formed")]
    Decode { frame: &'static str, source: rmp_serde::decode::Error },
    #[error("{frame} cannot be encoded")]
    Encode { frame: &'static str, source: rmp_serde::encode::Error },
    #[error("{frame} refers to {what} number {number}, which it lacks")]
    Dangling { frame: &'static str, what: &'static str, number: u32 },
    #[error("snapshot ends after {found} objects, {expected} were written")]
    Truncated { found: u64, expected: u64 },
    #[error("snapshot ends within a block")]
    TornBlock,
    #[error("snapshot has a block of {length} bytes, the limit is {limit}")]
    BlockTooLong { length: u64, limit: u64 },
    #[error("snapshot goes on after its end")]
    Trailing,
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Newer { .. } => ErrorKind::NotImplemented,
            Self::Encode { .. } => ErrorKind::Internal,
            _ => ErrorKind::DataLoss,
        }
    }
}

/// Appends MessagePack with named fields.
fn pack<T: Serialize>(out: &mut Vec<u8>, value: &T, frame: &'static str) -> Result<(), Error> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(&mut serializer).map_err(|source| Error::Encode { frame, source })
}

fn unpack<T: DeserializeOwned>(bytes: &[u8], frame: &'static str) -> Result<T, Error> {
    rmp_serde::from_slice(bytes).map_err(|source| Error::Decode { frame, source })
}

/// Takes the format number off the front.
fn body<'a>(bytes: &'a [u8], frame: &'static str) -> Result<&'a [u8], Error> {
    match bytes.split_first() {
        None => Err(Error::Empty { frame }),
        Some((&found, _)) if found > FORMAT => Err(Error::Newer { frame, found }),
        Some((_, body)) => Ok(body),
    }
}
