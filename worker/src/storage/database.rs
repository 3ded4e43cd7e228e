//! Where the records are: in sled; or, where sled's threads would not be the [only one](shoal_base::single), in one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};
use shoal_base::SharedDisk;
use shoal_proto::codec;

use super::Error;

/// Page cache; the data of a node are some megabytes at most.
const CACHE_BYTES: u64 = 8 << 20;

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Table {
    /// What tasks need; written before them.
    References,
    Tasks,
}

const TABLES: [Table; 2] = [Table::References, Table::Tasks];

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::References => "references",
            Self::Tasks => "tasks",
        }
    }
}

/// A record that is put, or removed.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// Clones are the same one.
#[derive(Debug, Clone)]
pub(super) enum Database {
    Sled(sled::Db),
    File(File),
}

impl Database {
    pub(super) fn sled(path: &Path) -> Result<Self, sled::Error> {
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES);
        Ok(Self::Sled(config.flush_every_ms(None).open()?))
    }

    /// All records of a table that can be read.
    pub(super) fn read(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        match self {
            Self::Sled(db) => match db.open_tree(table.name()) {
                Ok(tree) => tree.iter().filter_map(readable).collect(),
                Err(error) => {
                    tracing::warn!(%error, "local state cannot be read");
                    Vec::new()
                }
            },
            Self::File(file) => file.read(table),
        }
    }

    /// Makes changes, durably.
    pub(super) async fn write(&self, changes: Vec<Change>) -> Result<(), Error> {
        match self {
            Self::Sled(db) => {
                write_sled(db, changes).await.map_err(|source| Error::Write { source })
            }
            Self::File(file) => file.write(changes),
        }
    }

    /// Removes all records, durably.
    pub(super) async fn clear(&self) -> Result<(), Error> {
        match self {
            Self::Sled(db) => clear_sled(db).await.map_err(|source| Error::Write { source }),
            Self::File(file) => file.clear(),
        }
    }
}

type Record = (Vec<u8>, Vec<u8>);

fn readable(entry: sled::Result<(sled::IVec, sled::IVec)>) -> Option<Record> {
    let entry =
        entry.inspect_err(|error| tracing::warn!(%error, "local state cannot be read; skipped"));
    entry.ok().map(|(key, value)| (key.to_vec(), value.to_vec()))
}

async fn write_sled(db: &sled::Db, changes: Vec<Change>) -> Result<(), sled::Error> {
    let mut batches = BTreeMap::<Table, sled::Batch>::new();
    for Change { table, key, value } in changes {
        let batch = batches.entry(table).or_default();
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
    }
    for (table, batch) in batches {
        db.open_tree(table.name())?.apply_batch(batch)?;
    }
    db.flush_async().await.map(drop)
}

async fn clear_sled(db: &sled::Db) -> Result<(), sled::Error> {
    for table in TABLES {
        db.open_tree(table.name())?.clear()?;
    }
    db.flush_async().await.map(drop)
}

type Records = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// All records in one file, which is replaced.
#[derive(Debug, Clone)]
pub(super) struct File {
    disk: SharedDisk,
    path: PathBuf,
    records: Arc<Mutex<Records>>,
}

impl File {
    /// Reads it; one that is damaged counts as empty.
    pub(super) fn open(disk: SharedDisk, path: &Path) -> Result<Self, Error> {
        let io = |source| Error::File { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            disk.create_directory(directory).map_err(io)?;
        }
        let records = disk.read(path).map_err(io)?.and_then(|bytes| {
            let read = codec::decode::<Vec<(Table, ByteBuf, ByteBuf)>>("local state", &bytes);
            read.inspect_err(|error| tracing::warn!(%error, "local state is damaged")).ok()
        });
        let records = records.unwrap_or_default().into_iter();
        let records = records
            .map(|(table, key, value)| ((table, key.into_vec()), value.into_vec()))
            .collect();
        Ok(Self { disk, path: path.to_owned(), records: Arc::new(Mutex::new(records)) })
    }

    fn read(&self, table: Table) -> Vec<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let of_table = records.iter().filter(|((of, _), _)| *of == table);
        of_table.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), Error> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for Change { table, key, value } in changes {
            match value {
                Some(value) => records.insert((table, key), value),
                None => records.remove(&(table, key)),
            };
        }
        self.save(&records)
    }

    fn clear(&self) -> Result<(), Error> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.clear();
        self.save(&records)
    }

    fn save(&self, records: &Records) -> Result<(), Error> {
        let all: Vec<_> = records
            .iter()
            .map(|((table, key), value)| (table, Bytes::new(key), Bytes::new(value)))
            .collect();
        let written = self.disk.write_atomic(&self.path, &codec::encode(&all));
        written.map_err(|source| Error::File { path: self.path.clone(), source })
    }
}
