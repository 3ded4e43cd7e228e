//! Snapshot files: whole or refused.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use shoal_base::SystemDisk;

use super::Error;
use super::store::{SnapshotFile, SnapshotStore};
use crate::log::tests::keyring;
use crate::types::{LeaderId, LogId, SnapshotMeta};
use crate::{SnapshotView, StateMachine};

/// A state machine that lists its entries.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct List(pub(crate) Vec<u8>, u64);

impl List {
    pub(crate) fn of(entries: Vec<u8>, applied: u64) -> Self {
        Self(entries, applied)
    }
}

impl SnapshotView for List {
    fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(&self.1.to_le_bytes())?;
        writer.write_all(&self.0)
    }
}

impl StateMachine for List {
    fn apply(&mut self, index: u64, entry: &Bytes) -> Bytes {
        self.0.extend_from_slice(entry);
        self.1 = index;
        Bytes::new()
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        Box::new(self.clone())
    }

    fn restore(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        let mut index = [0; 8];
        reader.read_exact(&mut index)?;
        let mut list = Vec::new();
        reader.read_to_end(&mut list)?;
        *self = Self(list, u64::from_le_bytes(index));
        Ok(())
    }

    fn applied(&self) -> u64 {
        self.1
    }
}

pub(crate) fn meta(index: u64) -> SnapshotMeta {
    let last_log_id = Some(LogId::new(LeaderId { term: 1, node_id: 1 }, index));
    SnapshotMeta { last_log_id, ..SnapshotMeta::default() }
}

fn open(directory: &std::path::Path, purged: Option<u64>) -> Result<SnapshotStore, Error> {
    SnapshotStore::open(directory, keyring(), Arc::new(SystemDisk), purged)
}

fn restored(store: &SnapshotStore, file: &SnapshotFile) -> List {
    let mut list = List::default();
    store.restore(file, &mut list).unwrap();
    list
}

#[test]
fn a_state_of_many_blocks_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None).unwrap();
    assert!(store.current().is_none());
    for size in [0, 1, (256 << 10) - 8, 256 << 10, 1_000_003] {
        let list = List((0..size).map(|at| u8::try_from(at % 251).unwrap()).collect(), 5);
        let file = store.write(&meta(5), &list).unwrap();
        assert_eq!(restored(&store, &file), list);
        let reopened = open(dir.path(), Some(5)).unwrap();
        assert_eq!(restored(&reopened, &reopened.current().unwrap()), list);
        let bytes = std::fs::read(&file.path).unwrap();
        assert!(size < 100 || !bytes.windows(20).any(|at| at == &list.0[..20]), "it is sealed");
    }
}

#[test]
fn old_snapshots_are_kept_as_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None).unwrap();
    store.keep_old(2);
    for index in 1..=5 {
        store.write(&meta(index), &List(vec![1], index)).unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    store.keep_old(0);
    store.write(&meta(6), &List(vec![1], 6)).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn every_truncation_and_flipped_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None).unwrap();
    let file = store.write(&meta(5), &List(vec![9; 50], 5)).unwrap();
    let whole = std::fs::read(&file.path).unwrap();
    let damaged = |bytes: &[u8]| {
        std::fs::write(&file.path, bytes).unwrap();
        open(dir.path(), Some(5)).expect_err("the log was purged up to it").kind()
    };
    for length in 0..whole.len() {
        assert_eq!(damaged(&whole[..length]), shoal_model::error::ErrorKind::DataLoss, "{length}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert_eq!(damaged(&changed), shoal_model::error::ErrorKind::DataLoss, "byte {at}");
    }
    std::fs::write(&file.path, &whole).unwrap();
    assert!(open(dir.path(), Some(5)).unwrap().current().is_some());
    assert!(matches!(open(dir.path(), Some(6)), Err(Error::Missing { purged: 6 })));
}

#[test]
fn an_older_snapshot_serves_when_the_log_still_reaches_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), None).unwrap();
    store.keep_old(1);
    store.write(&meta(5), &List(vec![5], 5)).unwrap();
    let newest = store.write(&meta(9), &List(vec![9], 9)).unwrap();
    let mut bytes = std::fs::read(&newest.path).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&newest.path, bytes).unwrap();
    assert_eq!(
        open(dir.path(), Some(7)).unwrap_err().kind(),
        shoal_model::error::ErrorKind::DataLoss
    );
    let store = open(dir.path(), Some(4)).unwrap();
    assert_eq!(restored(&store, &store.current().unwrap()), List(vec![5], 5));
    assert!(!newest.path.exists(), "set aside");
}
