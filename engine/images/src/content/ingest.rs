//! Receiving one blob: append, hash, verify, publish by rename.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use shoal_model::Digest;

use super::{ContentStore, Error, Lease, lock};

const KEY_LENGTH_MAX: usize = 128;
const COPY_BYTES: usize = 256 * 1024;

/// What was announced about a blob; checked on commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// `None`: whatever comes.
    pub digest: Option<Digest>,
    /// Bytes. `None`: whatever comes.
    pub size: Option<u64>,
}

/// A blob that has been verified and published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A blob being received. Dropping it keeps the bytes for a later [`ContentStore::ingest`] with the same
/// key, except when it is anonymous.
#[derive(Debug)]
pub struct Ingest {
    store: ContentStore,
    key: String,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    offset: u64,
    resumable: bool,
}

impl Ingest {
    pub(super) fn open(store: &ContentStore, key: &str) -> Result<Self, Error> {
        if !is_key(key) {
            return Err(Error::InvalidKey { key: key.to_owned() });
        }
        Self::new(store, key, true)
    }

    pub(super) fn anonymous(store: &ContentStore) -> Result<Self, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // `~` is in no key of a caller.
        Self::new(store, &format!("~{}-{number}", std::process::id()), false)
    }

    fn new(store: &ContentStore, key: &str, resumable: bool) -> Result<Self, Error> {
        if !lock(&store.inner.writing).insert(key.to_owned()) {
            return Err(Error::Busy { key: key.to_owned() });
        }
        let path = store.inner.root.join("ingest").join(key);
        let opened = open_partial(&path, resumable);
        let (file, hasher, offset) = opened.map_err(|source| {
            lock(&store.inner.writing).remove(key);
            Error::Disk { verb: "open", path: path.clone(), source }
        })?;
        Ok(Self {
            store: store.clone(),
            key: key.to_owned(),
            path,
            file,
            hasher,
            offset,
            resumable,
        })
    }

    /// Bytes received so far; continue from here.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The operating system's, e.g. a full disk.
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.write_all(bytes).map_err(|source| self.failed("write", source))
    }

    /// Appends all that `input` has, hashing on a second thread while this one reads and writes. `seen`
    /// gets the total so far.
    ///
    /// # Errors
    /// Errors of `input` come back unchanged in the inner result's place: see [`CopyError`].
    pub fn copy_from(
        &mut self,
        input: &mut dyn Read,
        seen: &mut dyn FnMut(u64),
    ) -> Result<u64, CopyError> {
        let hasher = std::mem::take(&mut self.hasher);
        let (full, chunks) = std::sync::mpsc::sync_channel::<Vec<u8>>(4);
        let (back, spare) = std::sync::mpsc::channel::<Vec<u8>>();
        let begin = self.offset;
        let (file, offset) = (&mut self.file, &mut self.offset);
        let (copied, hasher) = std::thread::scope(|scope| {
            let hashing = scope.spawn(move || {
                let mut hasher = hasher;
                for chunk in chunks {
                    hasher.update(&chunk);
                    let _ = back.send(chunk); // the reader may have finished
                }
                hasher
            });
            let copied = (|| loop {
                let mut chunk = spare.try_recv().unwrap_or_default();
                chunk.resize(COPY_BYTES, 0);
                let count = read_full(input, &mut chunk).map_err(CopyError::Read)?;
                if count == 0 {
                    return Ok(());
                }
                chunk.truncate(count);
                file.write_all(&chunk).map_err(CopyError::Write)?;
                *offset += count as u64;
                full.send(chunk).expect("the hashing thread takes all chunks");
                seen(*offset);
            })();
            drop(full);
            (copied, hashing.join().expect("hashing does not panic"))
        });
        self.hasher = hasher;
        copied.map(|()| self.offset - begin)
    }

    /// Forgets what was received: the peer cannot resume, or sent garbage.
    ///
    /// # Errors
    /// The operating system's.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.hasher = Sha256::new();
        self.offset = 0;
        let emptied = self.file.set_len(0);
        emptied.map_err(|source| self.failed("truncate", source))
    }

    /// Verifies and publishes the blob, and holds it in `lease`. What does not verify is thrown away.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`], [`Error::DigestMismatch`], or the operating system's.
    pub fn commit(mut self, expected: Expected, lease: &Lease) -> Result<Committed, Error> {
        if let Some(size) = expected.size
            && size != self.offset
        {
            // What is short can be resumed; what is long never becomes right.
            self.resumable &= self.offset < size;
            return Err(Error::SizeMismatch { expected: size, actual: self.offset });
        }
        let actual = Digest::from_sha256(std::mem::take(&mut self.hasher).finalize().into());
        if let Some(digest) = expected.digest
            && digest != actual
        {
            self.resumable = false;
            return Err(Error::DigestMismatch { expected: digest, actual });
        }
        lease.hold(actual);
        let target = self.store.path(actual);
        if self.store.stat(actual)?.is_none_or(|blob| blob.size != self.offset) {
            lock(&self.store.inner.unsealed).insert(actual);
            std::fs::rename(&self.path, &target).map_err(|source| Error::Disk {
                verb: "publish",
                path: target,
                source,
            })?;
        } else {
            self.resumable = false; // it is here already; drop removes our copy
        }
        Ok(Committed { digest: actual, size: self.offset })
    }

    /// Throws away what was received.
    pub fn abort(mut self) {
        self.resumable = false;
    }

    fn failed(&self, verb: &'static str, source: io::Error) -> Error {
        Error::Disk { verb, path: self.path.clone(), source }
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.offset += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.resumable {
            // Published under another name, or not wanted. A leftover is swept at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
        lock(&self.store.inner.writing).remove(&self.key);
    }
}

/// Which side of a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source.
    #[error("failed to read the content being stored")]
    Read(#[source] io::Error),
    /// The store.
    #[error("failed to write to the content store")]
    Write(#[source] io::Error),
}

fn is_key(key: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !key.is_empty() && key.len() <= KEY_LENGTH_MAX && !key.starts_with('.') && key.chars().all(good)
}

fn open_partial(path: &Path, resumable: bool) -> io::Result<(File, Sha256, u64)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    let mut file = options.open(path)?;
    let mut hasher = Sha256::new();
    if !resumable {
        file.set_len(0)?;
        return Ok((file, hasher, 0));
    }
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((file, hasher, offset)),
            count => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
        }
    }
}

/// Reads until `buffer` is full or the input ends.
fn read_full(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
