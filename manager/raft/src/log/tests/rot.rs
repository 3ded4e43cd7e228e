//! Any file of a member damaged anywhere: an error that names it, or a good prefix; never another state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::{RaftLogReader as _, RaftLogStorage as _, RaftLogStorageExt as _};
use proptest::prelude::*;
use shoal_base::Disk as _;
use shoal_base::disk::MemoryDisk;

use super::{entry, id, keyring};
use crate::log::store::LogStore;
use crate::snapshot::store::SnapshotStore;
use crate::snapshot::tests::{List, meta};
use crate::types::{Entry, Vote};

const LOG: &str = "/raft/log";
const SNAPSHOTS: &str = "/raft/snapshots";
/// The snapshot reaches this entry, and the log was purged up to it.
const SNAPSHOT: u64 = 9;
const LAST: u64 = 29;

/// A member with a vote, entries in three segments behind a purge point, a committed entry and a snapshot.
async fn member() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut log = LogStore::open(Path::new(LOG), keyring(), Arc::new(disk.clone())).unwrap();
    let snapshots = snapshots(&disk, None).unwrap();
    for (from, to) in [(0, 12), (12, 20), (20, 25), (25, LAST + 1)] {
        log.blocking_append((from..to).map(entry)).await.unwrap();
        log.roll().await.unwrap();
    }
    snapshots.write(&meta(SNAPSHOT), &List::of(vec![9; 700], SNAPSHOT)).unwrap();
    log.save_vote(&Vote::new(3, 2)).await.unwrap();
    log.purge(id(SNAPSHOT)).await.unwrap();
    log.save_committed(Some(id(LAST - 2))).await.unwrap();
    log.close().await;
    disk
}

fn snapshots(
    disk: &MemoryDisk,
    purged: Option<u64>,
) -> Result<SnapshotStore, crate::SnapshotError> {
    SnapshotStore::open(Path::new(SNAPSHOTS), keyring(), Arc::new(disk.clone()), purged)
}

/// Opens the member as a start does; a text when it is refused.
async fn open(disk: &MemoryDisk) -> Result<(Option<Vote>, Vec<Entry>, List), String> {
    let log = LogStore::open(Path::new(LOG), keyring(), Arc::new(disk.clone()));
    let mut log = log.map_err(|error| error.to_string())?;
    let entries = log.try_get_log_entries(..).await.unwrap();
    let vote = log.read_vote().await.unwrap();
    let committed = log.read_committed().await.unwrap();
    let last = log.get_log_state().await.unwrap().last_log_id;
    assert!(committed <= last && committed <= Some(id(LAST - 2)), "{committed:?}");
    let purged = log.purged_index();
    log.close().await;
    let snapshots = snapshots(disk, purged).map_err(|error| error.to_string())?;
    let mut list = List::default();
    if let Some(file) = snapshots.current() {
        snapshots.restore(&file, &mut list).map_err(|error| error.to_string())?;
    }
    Ok((vote, entries, list))
}

fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let inside = |directory: &'static str| {
        let names = disk.list(Path::new(directory)).unwrap();
        names.into_iter().map(move |name| Path::new(directory).join(name))
    };
    inside(LOG).chain(inside(SNAPSHOTS)).collect()
}

/// What is done to a file.
#[derive(Debug, Clone)]
enum Rot {
    Flip { at: prop::sample::Index, bit: u8 },
    Truncate { to: prop::sample::Index },
    Zero { at: prop::sample::Index, count: usize },
    Repeat { at: prop::sample::Index, count: usize },
}

fn rot() -> impl Strategy<Value = Rot> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), 0..8u8).prop_map(|(at, bit)| Rot::Flip { at, bit }),
        2 => index().prop_map(|to| Rot::Truncate { to }),
        1 => (index(), 1..600usize).prop_map(|(at, count)| Rot::Zero { at, count }),
        1 => (index(), 1..200usize).prop_map(|(at, count)| Rot::Repeat { at, count }),
    ]
}

fn damage(bytes: &mut Vec<u8>, rot: &Rot) {
    if bytes.is_empty() {
        return;
    }
    match rot {
        Rot::Flip { at, bit } => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Rot::Truncate { to } => bytes.truncate(to.index(bytes.len())),
        Rot::Zero { at, count } => {
            let from = at.index(bytes.len());
            let to = (from + count).min(bytes.len());
            bytes[from..to].fill(0);
        }
        Rot::Repeat { at, count } => {
            let from = at.index(bytes.len());
            let again = bytes[from..(from + count).min(bytes.len())].to_vec();
            bytes.extend(again);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_damaged_file_is_an_error_or_leaves_a_good_prefix(
        file in any::<prop::sample::Index>(),
        rots in proptest::collection::vec(rot(), 1..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let disk = member().await;
            let files = files(&disk);
            let path = file.get(&files);
            disk.corrupt(path, |bytes| rots.iter().for_each(|rot| damage(bytes, rot)));
            // A start that is refused changes nothing for the next.
            for _ in 0..2 {
                match open(&disk).await {
                    Err(text) => assert!(text.contains("/raft/") || text.contains("purged"), "{text}"),
                    Ok((vote, entries, list)) => {
                        assert_eq!(vote, Some(Vote::new(3, 2)), "{path:?}");
                        assert_eq!(list, List::of(vec![9; 700], SNAPSHOT), "{path:?}");
                        let prefix = (SNAPSHOT + 1..=LAST).map(entry);
                        assert!(entries.len() as u64 <= LAST - SNAPSHOT);
                        assert!(entries.iter().cloned().eq(prefix.take(entries.len())), "{path:?}");
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn the_member_opens_as_it_was() {
    let (vote, entries, list) = open(&member().await).await.unwrap();
    assert_eq!(vote, Some(Vote::new(3, 2)));
    assert_eq!(entries, (SNAPSHOT + 1..=LAST).map(entry).collect::<Vec<_>>());
    assert_eq!(list, List::of(vec![9; 700], SNAPSHOT));
}

/// Entries come and go, snapshots too: what is on disk stays within what is live and one segment more.
#[tokio::test]
async fn a_log_that_is_purged_does_not_grow() {
    let disk = MemoryDisk::new();
    let mut log = LogStore::open(Path::new(LOG), keyring(), Arc::new(disk.clone())).unwrap();
    let limit = crate::settings::limits::SEGMENT_BYTES + (1 << 20);
    let big = |index: u64| {
        let mut entry = entry(index);
        entry.payload = crate::types::Payload::Normal(crate::types::Command(vec![7; 4000].into()));
        entry
    };
    let mut most = 0;
    for round in 0..60u64 {
        let from = round * 200;
        log.blocking_append((from..from + 200).map(big)).await.unwrap();
        log.purge(id(from + 150)).await.unwrap();
        most = most.max(disk.used());
    }
    assert!(most < 2 * limit, "{most} bytes");
    assert!(files_of_log(&disk) <= 5, "two segments and the small files");
    log.close().await;
}

fn files_of_log(disk: &MemoryDisk) -> usize {
    disk.list(Path::new(LOG)).unwrap().len()
}
