//! From a layer's tar stream to a directory that overlayfs can stack.
//!
//! Blocking. Decoding and hashing run on a thread of their own beside the making of files.

pub(crate) mod entry;
mod limits;
pub(crate) mod pax;
pub(crate) mod stream;
pub(crate) mod tree;

use std::io::{self, BufReader, Read};
use std::path::Path;

use rustix::io::Errno;
use shoal_model::{Classified, Digest, ErrorKind};

use entry::TarReader;
pub use limits::{Exceeded, Limits};
pub use stream::Compression;
use stream::DecodedStream;
use tree::Tree;

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages name the fields")]
pub enum Error {
    #[error(transparent)]
    Format(#[from] stream::Error),
    #[error(transparent)]
    Archive(#[from] entry::Error),
    #[error("failed to {verb} `{path}` of the archive")]
    Disk {
        verb: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` of the archive leads out of its root")]
    Escapes { path: String },
    #[error("`{path}` of the archive is not a possible name")]
    Name { path: String },
    #[error("`{path}` of the archive is the root, but not a directory")]
    NotADirectory { path: String },
    #[error("failed to link `{path}` of the archive to `{target}`")]
    Link {
        path: String,
        target: String,
        #[source]
        source: io::Error,
    },
}

impl Error {
    fn at(verb: &'static str, path: &[u8], errno: Errno) -> Self {
        Self::io(verb, path, errno.into())
    }

    fn io(verb: &'static str, path: &[u8], source: io::Error) -> Self {
        Self::Disk { verb, path: tree::display(path), source }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Format(stream::Error::Unsupported(_)) => ErrorKind::NotImplemented,
            Self::Disk { source, .. } if source.raw_os_error().is_some_and(is_ours) => {
                ErrorKind::Internal
            }
            Self::Format(_)
            | Self::Archive(_)
            | Self::Disk { .. }
            | Self::Escapes { .. }
            | Self::Name { .. }
            | Self::NotADirectory { .. }
            | Self::Link { .. } => ErrorKind::InvalidArgument,
        }
    }
}

/// Whether the machine is at fault rather than the archive.
fn is_ours(errno: i32) -> bool {
    let ours = [Errno::NOSPC, Errno::IO, Errno::DQUOT, Errno::ROFS, Errno::MFILE, Errno::NFILE];
    ours.iter().any(|ours| ours.raw_os_error() == errno)
}

/// What an archive made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the uncompressed stream.
    pub diff_id: Digest,
    /// Bytes of all files.
    pub size: u64,
}

/// Unpacks `input` (plain, gzip or zstd) into the empty directory `root`.
///
/// `known` is the digest of a plain stream that has been verified already; hashing is then left out.
///
/// # Errors
/// When the archive is damaged, unsafe or too big, or the disk fails. What was made so far is left: the
/// caller owns `root` and removes it.
pub fn unpack(
    root: &Path,
    input: Box<dyn Read + Send>,
    known: Option<Digest>,
    limits: &Limits,
) -> Result<Unpacked, Error> {
    if let Some(diff_id) = known {
        let (size, _) = apply(root, BufReader::with_capacity(64 * 1024, input), limits)?;
        return Ok(Unpacked { diff_id, size });
    }
    let stream = DecodedStream::start(input, *limits)?;
    let (size, stream) = apply(root, stream, limits)?;
    let decoded = stream.finish().map_err(entry::Error::Read)?;
    Ok(Unpacked { diff_id: decoded.digest, size })
}

fn apply<R: Read>(root: &Path, input: R, limits: &Limits) -> Result<(u64, R), Error> {
    let mut tree = Tree::open(root)?;
    let mut reader = TarReader::new(input, *limits);
    while let Some(entry) = reader.next_entry()? {
        tree.apply(&entry, &mut reader)?;
    }
    Ok((tree.finish()?, reader.into_inner()))
}
