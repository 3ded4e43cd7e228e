//! Backups of a cluster: all objects, the authority's key among them, sealed with a passphrase.
//!
//! A file is: [`MAGIC`]; four bytes of length (big-endian) and that many of JSON, the [`Header`]; then blocks, each
//! four bytes of length and a block as `manager/raft` seals it. Each block is bound to header and place, so that
//! none can be changed, left out, doubled or moved; the last one says how many bytes of state there are. The state
//! is that of a raft snapshot (ADR 4). Addresses of managers in it are not used when it is restored.

mod header;
mod reader;
mod writer;

use shoal_manager_core::store::codec;
use shoal_manager_raft::seal::OpenError;
use shoal_model::error::{Classified, ErrorKind};

pub use header::{Header, PASSPHRASE_MIN};
pub use reader::Opening;
pub use writer::Sealing;

/// The first bytes of a backup.
pub const MAGIC: &[u8; 8] = b"SHOALBK1";
/// Longest header.
const HEADER_MAX: usize = 64 * 1024;
/// Bytes of state per block.
const BLOCK: usize = 256 * 1024;
const DATA: u8 = 1;
const END: u8 = 2;

/// A backup cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("passphrase is too short: it needs at least {PASSPHRASE_MIN} bytes")]
    ShortPassphrase,
    #[error("this is no backup of a cluster")]
    NotABackup,
    #[error("failed to read the header of the backup")]
    Header(#[source] serde_json::Error),
    #[error("backup has format {found}: it was written by a newer release of Shoal")]
    Newer { found: u32 },
    #[error("backup asks for more work on its passphrase than is permitted")]
    Work,
    #[error("failed to derive the key of the backup: {reason}")]
    Key { reason: String },
    #[error("backup cannot be opened: the passphrase is wrong, or the file is damaged")]
    Passphrase(#[source] OpenError),
    #[error("backup is damaged in block {block}")]
    Damaged { block: u64 },
    #[error("backup ends before its end: it is truncated")]
    Truncated,
    #[error("failed to encode the state")]
    Encode(#[source] codec::Error),
    #[error("failed to read the state in the backup")]
    State(#[source] codec::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Key { .. } | Self::Encode(_) => ErrorKind::Internal,
            Self::Passphrase(_) => ErrorKind::Forbidden,
            _ => ErrorKind::InvalidArgument,
        }
    }
}

/// What a block is bound to.
fn context(header: &[u8], block: u64) -> Vec<u8> {
    let mut context = b"shoal backup block".to_vec();
    context.extend_from_slice(header);
    context.extend_from_slice(&block.to_be_bytes());
    context
}

#[cfg(test)]
mod tests;
