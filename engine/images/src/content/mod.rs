//! Blobs by digest: `blobs/sha256/<hex>`, and what is still being received in `ingest/`.
//!
//! Blocking; call it under `shoal_base::blocking::run` unless the call says that it is cheap.
//!
//! # Durability
//! A blob is visible once its bytes have been hashed and match their digest. It is *sealed* (mode 0400)
//! once the disk has it too: [`ContentStore::seal`] syncs the file system once for all blobs received
//! since, then changes their modes, so that no command waits for the disk. Page cache survives a kill of
//! the daemon, hence an unsealed blob is doubtful only if the machine itself went down: [`ContentStore::open`]
//! then verifies each unsealed blob again ([`Boot::New`]) and drops those that are damaged.

mod error;
mod ingest;
mod lease;
mod recover;

use std::collections::HashSet;
use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_model::Digest;

use crate::boot::Boot;

pub use error::Error;
pub use ingest::{Committed, CopyError, Expected, Ingest};
pub use lease::{Lease, Leases, Sweep};

/// Mode of a blob that the disk has for sure.
const SEALED_MODE: u32 = 0o400;

/// What is known about a stored blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Bytes.
    pub size: u64,
    /// Whether the disk has it for sure.
    pub sealed: bool,
}

/// The store. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct ContentStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    leases: Leases,
    /// Keys of ingests that are being written by this process.
    writing: Mutex<HashSet<String>>,
    /// Blobs committed since the last seal.
    unsealed: Mutex<HashSet<Digest>>,
}

impl ContentStore {
    /// Opens the store below `root` (made when absent), repairing what a crash left.
    ///
    /// # Errors
    /// When directories cannot be made or read.
    pub fn open(root: &Path, leases: Leases, boot: Boot) -> Result<Self, Error> {
        for directory in ["blobs/sha256", "ingest"] {
            let path = root.join(directory);
            std::fs::create_dir_all(&path).map_err(|source| Error::Disk {
                verb: "create",
                path,
                source,
            })?;
        }
        let store = Self {
            inner: Arc::new(Inner {
                root: root.to_owned(),
                leases,
                writing: Mutex::default(),
                unsealed: Mutex::default(),
            }),
        };
        let unsealed = recover::unsealed_blobs(&store, boot)?;
        recover::drop_stale_partials(&store)?;
        *lock(&store.inner.unsealed) = unsealed;
        Ok(store)
    }

    /// The leases that protect blobs and layers from a sweep.
    pub fn leases(&self) -> &Leases {
        &self.inner.leases
    }

    /// A new lease: whatever it holds stays until it is dropped.
    pub fn lease(&self) -> Lease {
        self.inner.leases.lease()
    }

    /// Where a blob lies.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.inner.root.join("blobs/sha256").join(digest.hex())
    }

    /// What is known about a blob; `None` when it is not here. Cheap. Hold the digest in a lease first if
    /// the answer must stay true.
    ///
    /// # Errors
    /// The operating system's.
    pub fn stat(&self, digest: Digest) -> Result<Option<BlobInfo>, Error> {
        let path = self.path(digest);
        match std::fs::metadata(&path) {
            Ok(meta) => {
                Ok(Some(BlobInfo { size: meta.len(), sealed: meta.mode() & 0o777 == SEALED_MODE }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Disk { verb: "inspect", path, source }),
        }
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not here.
    pub fn open_blob(&self, digest: Digest) -> Result<File, Error> {
        let path = self.path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { digest },
            _ => Error::Disk { verb: "open", path, source },
        })
    }

    /// Reads a small blob (a manifest, a config) whole.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when it has more than `limit` bytes.
    pub fn read(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, Error> {
        let file = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| Error::Disk {
            verb: "read",
            path: self.path(digest),
            source,
        })?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { digest, limit });
        }
        Ok(bytes)
    }

    /// Stores a small blob whole and holds it in `lease`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn put(&self, bytes: &[u8], lease: &Lease) -> Result<Digest, Error> {
        let mut ingest = self.ingest_anonymous()?;
        ingest.write_bytes(bytes)?;
        Ok(ingest.commit(Expected::default(), lease)?.digest)
    }

    /// Starts or resumes receiving a blob under `key` (letters, digits, `-`, `_`, `.`; a digest's hex is a
    /// good key). [`Ingest::offset`] says how much is there already.
    ///
    /// # Errors
    /// [`Error::Busy`] when this process is already writing under that key.
    pub fn ingest(&self, key: &str) -> Result<Ingest, Error> {
        Ingest::open(self, key)
    }

    /// Starts receiving a blob that nobody can resume.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ingest_anonymous(&self) -> Result<Ingest, Error> {
        Ingest::anonymous(self)
    }

    /// Makes every blob committed so far survive a power failure: one `syncfs`, then the modes. Slow;
    /// meant for a background thread.
    ///
    /// # Errors
    /// The operating system's; the blobs then stay unsealed.
    pub fn seal(&self) -> Result<(), Error> {
        let batch = lock(&self.inner.unsealed).clone();
        if batch.is_empty() {
            return Ok(());
        }
        self.sync_file_system()?;
        self.mark_sealed(&batch)
    }

    /// Blobs that wait for [`Self::mark_sealed`]; take them before syncing the file system.
    pub(crate) fn unsealed(&self) -> HashSet<Digest> {
        lock(&self.inner.unsealed).clone()
    }

    pub(crate) fn sync_file_system(&self) -> Result<(), Error> {
        let fail = |source| Error::Disk { verb: "sync", path: self.inner.root.clone(), source };
        let directory = File::open(&self.inner.root).map_err(fail)?;
        rustix::fs::syncfs(&directory).map_err(|errno| fail(errno.into()))
    }

    pub(crate) fn mark_sealed(&self, batch: &HashSet<Digest>) -> Result<(), Error> {
        for digest in batch {
            let path = self.path(*digest);
            match std::fs::set_permissions(&path, Permissions::from_mode(SEALED_MODE)) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Disk { verb: "seal", path, source });
                }
                _ => lock(&self.inner.unsealed).remove(digest),
            };
        }
        Ok(())
    }

    /// Removes every blob that is neither in `keep` nor held by a lease, and every ingest nobody writes.
    /// Returns the bytes freed. `sweep` must have been begun before `keep` was computed.
    ///
    /// # Errors
    /// The operating system's; all blobs are attempted.
    pub fn sweep(&self, sweep: &Sweep, keep: &HashSet<Digest>) -> Result<u64, Error> {
        let directory = self.inner.root.join("blobs/sha256");
        let fail = |verb, path: &Path, source| Error::Disk { verb, path: path.to_owned(), source };
        let entries = std::fs::read_dir(&directory).map_err(|e| fail("list", &directory, e))?;
        let mut freed = 0;
        let mut failed = None;
        for entry in entries {
            let entry = entry.map_err(|e| fail("list", &directory, e))?;
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|hex| Digest::from_hex(hex).ok()) else {
                tracing::warn!(?name, "a file among the blobs is none of ours; it stays");
                continue;
            };
            if keep.contains(&digest) {
                continue;
            }
            let size = entry.metadata().map_or(0, |meta| meta.len());
            match sweep.remove_unheld(digest, || std::fs::remove_file(entry.path())) {
                Ok(true) => {
                    lock(&self.inner.unsealed).remove(&digest);
                    freed += size;
                }
                Ok(false) => {}
                Err(source) => failed = Some(fail("remove", &entry.path(), source)),
            }
        }
        failed.map_or(Ok(freed), Err)
    }

    /// Removes partial ingests that nobody writes, when space is wanted. Returns the bytes freed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn drop_partial(&self) -> Result<u64, Error> {
        let directory = self.inner.root.join("ingest");
        let fail = |verb, path: &Path, source| Error::Disk { verb, path: path.to_owned(), source };
        let writing = lock(&self.inner.writing);
        let mut freed = 0;
        let entries = std::fs::read_dir(&directory).map_err(|e| fail("list", &directory, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| fail("list", &directory, e))?;
            if entry.file_name().to_str().is_some_and(|name| writing.contains(name)) {
                continue;
            }
            freed += entry.metadata().map_or(0, |meta| meta.len());
            std::fs::remove_file(entry.path()).map_err(|e| fail("remove", &entry.path(), e))?;
        }
        Ok(freed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
