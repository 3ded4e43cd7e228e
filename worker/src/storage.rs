//! What a worker keeps on disk: tasks, what they need, views of networks. All of it can be had again from a manager.
//!
//! sled 0.34.7: small batches, explicit flush; a database that does not open is set aside and a new one
//! begun, a record that cannot be read is skipped. Neither stops a container: only a complete set of a manager does.
//! All of it is sealed with a key derived from the node's key; without one, secrets are not on disk at all.

mod database;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_base::SharedDisk;
use shoal_model::cluster::{AssignedTask, TaskId};
use shoal_model::error::{Classified, ErrorKind, Failure};
use shoal_proto::assignment::Key;
use shoal_proto::codec;
use shoal_proto::dispatcher::assignment_change::Kind;

use crate::lifecycle::Memory;

use database::{Change, Database, File, Table};

/// Seals what is written. The daemon derives the key from the node's key.
pub trait Sealer: Send + Sync + 'static {
    /// Seals.
    fn seal(&self, plain: &[u8]) -> Vec<u8>;
    /// Opens what the same key sealed.
    ///
    /// # Errors
    /// When it was sealed by another key, or is damaged.
    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Failure>;
}

/// Where secrets are kept, and with what the local state is sealed.
#[derive(Clone)]
pub enum SecretCache {
    /// On disk, sealed as everything else: specs of tasks hold secrets too, in environment and credentials.
    Disk(Arc<dyn Sealer>),
    /// In memory only, and nothing is sealed: a node that reboots without managers cannot run tasks that need them.
    Memory,
}

impl fmt::Debug for SecretCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk(_) => "Disk",
            Self::Memory => "Memory",
        })
    }
}

/// Failed to use the local state.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Error {
    #[error("failed to open the worker's state in `{}`", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: sled::Error,
    },
    #[error("failed to set the damaged state in `{}` aside", path.display())]
    SetAside {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to write the worker's state")]
    Write {
        #[source]
        source: sled::Error,
    },
    #[error("failed to keep the worker's state in `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { source, .. } | Self::Write { source } if is_full(source) => {
                ErrorKind::Unavailable
            }
            _ => ErrorKind::Internal,
        }
    }
}

/// Whether the disk has no room.
fn is_full(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if shoal_base::disk::is_full(error))
}

/// A task as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What the manager sent.
    pub assigned: AssignedTask,
    /// What became of it.
    pub memory: Memory,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Tasks.
    pub tasks: Vec<(TaskId, Record)>,
    /// Secrets, configs and networks as they were sent.
    pub references: Vec<(Key, Vec<u8>)>,
}

/// Changes that belong together.
#[derive(Debug, Default)]
pub struct Batch(Vec<Change>);

/// The database.
#[derive(Debug, Clone)]
pub struct Storage {
    database: Database,
    secrets: SecretCache,
}

impl Storage {
    /// Opens the database, setting a damaged one aside. Blocks.
    ///
    /// # Errors
    /// When the disk is full, or not even an empty one can be made.
    pub fn open(path: &Path, secrets: SecretCache, disk: SharedDisk) -> Result<Self, Error> {
        if shoal_base::single::is_on() {
            let database = Database::File(File::open(disk, path)?);
            return Ok(Self { database, secrets });
        }
        match Self::try_open(path, secrets.clone()) {
            Ok(storage) => Ok(storage),
            // Nothing is wrong with what is there.
            Err(source) if is_full(&source) => Err(Error::Open { path: path.to_owned(), source }),
            Err(error) => {
                let aside = set_aside(path)?;
                tracing::error!(%error, aside = %aside.display(), "local state is damaged; set aside");
                Self::try_open(path, secrets)
                    .map_err(|source| Error::Open { path: path.to_owned(), source })
            }
        }
    }

    fn try_open(path: &Path, secrets: SecretCache) -> Result<Self, sled::Error> {
        Ok(Self { database: Database::sled(path)?, secrets })
    }

    /// Everything that can be read. Blocks.
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded::default();
        for (id, bytes) in self.database.read(Table::Tasks) {
            let plain = match self.open_sealed(&bytes) {
                Ok(plain) => plain,
                Err(error) => {
                    tracing::warn!(%error, "a sealed task record cannot be opened; skipped");
                    continue;
                }
            };
            let id = codec::id(&id).map(TaskId::from_bytes);
            match id.and_then(|id| Ok((id, codec::decode::<Record>("task record", &plain)?))) {
                Ok(task) => loaded.tasks.push(task),
                Err(error) => tracing::warn!(%error, "a task record is damaged; skipped"),
            }
        }
        for (key, bytes) in self.database.read(Table::References) {
            let Some(key) = parse_key(&key) else {
                tracing::warn!("a record of the local state has no key; skipped");
                continue;
            };
            if !self.keeps(key) {
                continue;
            }
            match self.open_sealed(&bytes) {
                Ok(plain) => loaded.references.push((key, plain)),
                Err(error) => tracing::warn!(%error, "a sealed object cannot be opened; skipped"),
            }
        }
        loaded
    }

    fn open_sealed(&self, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        match &self.secrets {
            SecretCache::Disk(sealer) => sealer.open(bytes),
            SecretCache::Memory => Ok(bytes.to_vec()),
        }
    }

    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        match &self.secrets {
            SecretCache::Disk(sealer) => sealer.seal(plain),
            SecretCache::Memory => plain.to_vec(),
        }
    }

    /// Whether an object may be on disk.
    fn keeps(&self, key: Key) -> bool {
        matches!(self.secrets, SecretCache::Disk(_)) || key.kind() != Some(Kind::Secret)
    }

    /// A batch to be filled.
    pub fn batch(&self) -> Batch {
        Batch::default()
    }

    /// Keeps a task.
    pub fn put_task(&self, batch: &mut Batch, id: TaskId, record: &Record) {
        batch.change(Table::Tasks, &id.to_bytes(), Some(self.seal(&codec::encode(record))));
    }

    /// Drops a task.
    pub fn remove_task(&self, batch: &mut Batch, id: TaskId) {
        batch.change(Table::Tasks, &id.to_bytes(), None);
    }

    /// Keeps what tasks need; a secret only where it can be sealed.
    pub fn put_reference(&self, batch: &mut Batch, key: Key, object: &[u8]) {
        if self.keeps(key) {
            batch.change(Table::References, &key_bytes(key), Some(self.seal(object)));
        }
    }

    /// Drops what no task needs.
    pub fn remove_reference(&self, batch: &mut Batch, key: Key) {
        batch.change(Table::References, &key_bytes(key), None);
    }

    /// Writes a batch and waits until it is on disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn commit(&self, batch: Batch) -> Result<(), Error> {
        if batch.0.is_empty() { Ok(()) } else { self.database.write(batch.0).await }
    }

    /// Erases everything: the node leaves, or was removed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn erase(&self) -> Result<(), Error> {
        self.database.clear().await
    }
}

impl Batch {
    fn change(&mut self, table: Table, key: &[u8], value: Option<Vec<u8>>) {
        self.0.push(Change { table, key: key.to_vec(), value });
    }
}

fn key_bytes(key: Key) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&key.kind_number().to_be_bytes());
    bytes[4..].copy_from_slice(&key.id());
    bytes
}

fn parse_key(bytes: &[u8]) -> Option<Key> {
    let (kind, id) = bytes.split_first_chunk::<4>()?;
    Some(Key::from_wire(i32::from_be_bytes(*kind), id.try_into().ok()?))
}

/// Moves a damaged database to the first free name beside it.
fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let mut number = 0;
    let aside = loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let aside = PathBuf::from(name);
        if !aside.exists() {
            break aside;
        }
        number += 1;
    };
    std::fs::rename(path, &aside)
        .map_err(|source| Error::SetAside { path: path.to_owned(), source })?;
    Ok(aside)
}

#[cfg(test)]
mod tests;
