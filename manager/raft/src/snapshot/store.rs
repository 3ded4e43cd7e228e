//! The directory of raft snapshots: the newest, older ones that are kept, those that arrive.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shoal_base::{Disk, SharedDisk};

use super::Error;
use super::file::{Content, Reader, Writer};
use crate::seal::OpenError;
use crate::types::SnapshotMeta;
use crate::{KeyId, Sealer, SnapshotView, StateMachine};

const SUFFIX: &str = ".snapshot";
const TEMPORARY: &str = ".tmp";
const SET_ASIDE: &str = ".damaged";

/// A complete snapshot file.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
    pub(crate) meta: SnapshotMeta,
    key: KeyId,
    /// Bytes of the state in it; zero while it is being written.
    pub(crate) size: u64,
}

/// The directory. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    disk: SharedDisk,
    directory: PathBuf,
    sealer: Arc<dyn Sealer>,
    current: Mutex<Option<SnapshotFile>>,
    keep_old: AtomicU64,
    temporaries: AtomicU64,
}

impl SnapshotStore {
    /// Opens a directory, made when absent: finds the newest snapshot that is whole. One is needed when
    /// the log was purged. Blocks while it reads.
    ///
    /// # Errors
    /// When none fits, or the key of the newest is not known.
    pub(crate) fn open(
        directory: &Path,
        sealer: Arc<dyn Sealer>,
        disk: SharedDisk,
        purged: Option<u64>,
    ) -> Result<Self, Error> {
        disk.create_directory(directory).map_err(Error::io("create", directory))?;
        remove_temporaries(disk.as_ref(), directory)?;
        let current = newest(disk.as_ref(), directory, &sealer, purged)?;
        Ok(Self {
            shared: Arc::new(Shared {
                disk,
                directory: directory.to_owned(),
                sealer,
                current: Mutex::new(current),
                keep_old: AtomicU64::new(0),
                temporaries: AtomicU64::new(0),
            }),
        })
    }

    /// How many snapshots are kept besides the newest.
    pub(crate) fn keep_old(&self, count: u64) {
        self.shared.keep_old.store(count, Ordering::Relaxed);
    }

    pub(crate) fn current(&self) -> Option<SnapshotFile> {
        self.shared.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of the state in the newest snapshot; zero: there is none.
    pub(crate) fn size(&self) -> u64 {
        let current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map_or(0, |file| file.size)
    }

    /// The key of the newest snapshot. Older ones are not read again, except when that one is damaged.
    pub(crate) fn keys_in_use(&self) -> BTreeSet<KeyId> {
        self.current().into_iter().map(|file| file.key).collect()
    }

    /// Writes a state and makes it the newest snapshot. Blocks.
    pub(crate) fn write(
        &self,
        meta: &SnapshotMeta,
        view: &dyn SnapshotView,
    ) -> Result<SnapshotFile, Error> {
        let (mut writer, mut file) = self.temporary(meta)?;
        let written = view
            .write(&mut writer)
            .map_err(Error::io("write the state to", &file.path))
            .and_then(|()| writer.finish());
        file.size = written.inspect_err(|_| self.discard(&file.path))?;
        self.adopt(&file)
    }

    /// Begins a file for blocks that arrive. Blocks.
    pub(crate) fn incoming(&self, meta: &SnapshotMeta) -> Result<Incoming, Error> {
        let (writer, file) = self.temporary(meta)?;
        Ok(Incoming { store: self.clone(), writer: Some(writer), file, size: 0 })
    }

    fn temporary(&self, meta: &SnapshotMeta) -> Result<(Writer, SnapshotFile), Error> {
        let shared = &self.shared;
        let number = shared.temporaries.fetch_add(1, Ordering::Relaxed);
        let path = shared.directory.join(format!("{number}{TEMPORARY}"));
        let key = shared.sealer.current();
        let begun = Writer::create(shared.disk.as_ref(), &path, Arc::clone(&shared.sealer), meta);
        let writer = begun.inspect_err(|_| self.discard(&path))?;
        Ok((writer, SnapshotFile { path, meta: meta.clone(), key, size: 0 }))
    }

    /// Gives a file its name and makes it the newest; older ones go.
    pub(crate) fn adopt(&self, file: &SnapshotFile) -> Result<SnapshotFile, Error> {
        let (disk, directory) = (self.shared.disk.as_ref(), &self.shared.directory);
        let path = directory.join(name(&file.meta));
        if path != file.path {
            disk.rename(&file.path, &path).map_err(Error::io("rename", &file.path))?;
            disk.sync_directory(directory).map_err(Error::io("sync", directory))?;
        }
        let adopted = SnapshotFile { path, ..file.clone() };
        {
            let mut current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
            let newer = current.as_ref().is_none_or(|old| {
                old.meta.last_log_id.map(|id| id.index())
                    <= file.meta.last_log_id.map(|id| id.index())
            });
            if newer {
                *current = Some(adopted.clone());
            }
        }
        self.prune(self.shared.keep_old.load(Ordering::Relaxed))?;
        Ok(adopted)
    }

    /// Removes all but the newest.
    pub(crate) fn discard_old(&self) {
        if let Err(error) = self.prune(0) {
            tracing::warn!(%error, "failed to remove old raft snapshots");
        }
    }

    fn prune(&self, keep_old: u64) -> Result<(), Error> {
        let keep = usize::try_from(keep_old.saturating_add(1)).unwrap_or(usize::MAX);
        let found = list(self.shared.disk.as_ref(), &self.shared.directory)?;
        for path in found.into_iter().rev().skip(keep) {
            self.discard(&path);
        }
        Ok(())
    }

    /// Removes a file that is no longer needed; the next start tries again.
    pub(crate) fn discard(&self, path: &Path) {
        discard(self.shared.disk.as_ref(), path);
    }

    /// Reads a file block by block. Blocks, as the reader does.
    pub(crate) fn reader(&self, file: &SnapshotFile) -> Result<Reader, Error> {
        Reader::open(self.shared.disk.as_ref(), &file.path, Arc::clone(&self.shared.sealer))
    }

    /// Brings a machine to a snapshot's state. Blocks.
    pub(crate) fn restore(
        &self,
        file: &SnapshotFile,
        machine: &mut dyn StateMachine,
    ) -> Result<(), Error> {
        let mut reader = self.reader(file)?;
        let mut content = Content::new(&mut reader);
        let restored = machine.restore(&mut content).and_then(|()| {
            // The end of the file says whether all of it was there.
            std::io::copy(&mut content, &mut std::io::sink()).map(drop)
        });
        restored.map_err(Error::io("restore the state from", &file.path))
    }
}

/// A snapshot that arrives; removed when it is dropped before its end.
pub(crate) struct Incoming {
    store: SnapshotStore,
    writer: Option<Writer>,
    file: SnapshotFile,
    size: u64,
}

impl Incoming {
    /// Takes a block. Blocks.
    pub(crate) fn write(&mut self, block: &[u8]) -> Result<(), Error> {
        let writer = self.writer.as_mut().expect("it is dropped with its end");
        self.size += block.len() as u64;
        std::io::Write::write_all(writer, block).map_err(Error::io("write", &self.file.path))
    }

    /// Ends the file, durably; it is temporary until it is adopted. Gives the size. Blocks.
    pub(crate) fn finish(mut self) -> Result<(SnapshotFile, u64), Error> {
        let writer = self.writer.take().expect("it is dropped with its end");
        writer.finish().inspect_err(|_| self.store.discard(&self.file.path))?;
        self.file.size = self.size;
        Ok((self.file.clone(), self.size))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            self.store.discard(&self.file.path);
        }
    }
}

fn discard(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove(path) {
        tracing::warn!(path = %path.display(), %error, "failed to remove a raft snapshot");
    }
}

/// Sorts by index.
fn name(meta: &SnapshotMeta) -> String {
    let (index, term, leader) = meta.last_log_id.map_or((0, 0, 0), |id| {
        let leader = id.committed_leader_id();
        (id.index(), leader.term, leader.node_id)
    });
    format!("{index:020}-{term}-{leader:016x}{SUFFIX}")
}

/// Snapshots of a directory, oldest first.
fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut names = disk.list(directory).map_err(Error::io("list", directory))?;
    names.retain(|name| name.ends_with(SUFFIX));
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

fn remove_temporaries(disk: &dyn Disk, directory: &Path) -> Result<(), Error> {
    for name in disk.list(directory).map_err(Error::io("list", directory))? {
        if name.ends_with(TEMPORARY) {
            discard(disk, &directory.join(name));
        }
    }
    Ok(())
}

/// The newest whole snapshot. Damaged ones are set aside once a whole one is found that will do.
fn newest(
    disk: &dyn Disk,
    directory: &Path,
    sealer: &Arc<dyn Sealer>,
    purged: Option<u64>,
) -> Result<Option<SnapshotFile>, Error> {
    let mut damaged = Vec::new();
    for path in list(disk, directory)?.into_iter().rev() {
        match check(disk, &path, sealer) {
            Ok(file) if file.meta.last_log_id.map(|id| id.index()) >= purged => {
                set_aside(disk, &damaged);
                return Ok(Some(file));
            }
            Ok(_) => break,
            Err(error @ (Error::Damaged { .. } | Error::Sealed { .. })) => {
                if let Error::Sealed { source: OpenError::UnknownKey { .. }, .. } = &error {
                    return Err(error);
                }
                damaged.push((path, error));
            }
            Err(error) => return Err(error),
        }
    }
    match (purged, damaged.is_empty()) {
        (None, _) => {
            // The log begins at its beginning: nothing is lost.
            set_aside(disk, &damaged);
            Ok(None)
        }
        (Some(purged), true) => Err(Error::Missing { purged }),
        (Some(_), false) => Err(damaged.swap_remove(0).1),
    }
}

fn set_aside(disk: &dyn Disk, damaged: &[(PathBuf, Error)]) {
    for (path, error) in damaged {
        let mut aside = path.clone().into_os_string();
        aside.push(SET_ASIDE);
        let renamed = disk.rename(path, Path::new(&aside));
        tracing::error!(path = %path.display(), %error, ?renamed, "set a damaged raft snapshot aside");
    }
}

/// Reads a whole file.
fn check(disk: &dyn Disk, path: &Path, sealer: &Arc<dyn Sealer>) -> Result<SnapshotFile, Error> {
    let mut reader = Reader::open(disk, path, Arc::clone(sealer))?;
    let (key, meta) = (reader.key(), reader.meta().clone());
    let mut size = 0;
    while let Some(block) = reader.block()? {
        size += block.len() as u64;
    }
    Ok(SnapshotFile { path: path.to_owned(), meta, key, size })
}
