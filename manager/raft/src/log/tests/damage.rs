//! Truncation and flipped bits at any offset: a good prefix or a clean error, never another log.

use std::path::{Path, PathBuf};

use openraft::storage::{RaftLogReader as _, RaftLogStorage as _, RaftLogStorageExt as _};
use proptest::prelude::*;

use super::{append, entry, id, open};
use crate::log::Error;
use crate::log::store::LogStore;
use crate::types::Vote;

async fn entries(log: &mut LogStore) -> Vec<crate::types::Entry> {
    log.try_get_log_entries(..).await.unwrap()
}

fn segment(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.wal"))
}

/// A log of three segments: 0..4, 4..8 with a conflict that was cut, 7..12.
async fn three_segments(directory: &Path) {
    let mut log = open(directory).unwrap();
    append(&mut log, 0..2).await;
    append(&mut log, 2..4).await;
    log.roll().await.unwrap();
    append(&mut log, 4..8).await;
    log.truncate_after(Some(id(6))).await.unwrap();
    log.roll().await.unwrap();
    append(&mut log, 7..9).await;
    append(&mut log, 9..12).await;
    log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    log.save_committed(Some(id(10))).await.unwrap();
    log.close().await;
}

/// Opens a copy in which `change` was made to one file.
async fn opened(
    original: &Path,
    number: u64,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<Vec<crate::types::Entry>, Error> {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(original).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let path = segment(copy.path(), number);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    let mut log = open(copy.path())?;
    let found = entries(&mut log).await;
    // What is left can be continued, and is read again.
    let next = u64::try_from(found.len()).unwrap();
    append(&mut log, next..next + 1).await;
    log.close().await;
    let mut again = open(copy.path())?;
    let more = entries(&mut again).await;
    assert_eq!(more.len(), found.len() + 1);
    assert_eq!(more[..found.len()], found[..]);
    again.close().await;
    Ok(found)
}

fn is_prefix(found: &[crate::types::Entry]) -> bool {
    found.iter().zip(0..).all(|(found, index)| *found == entry(index)) && found.len() <= 12
}

#[tokio::test]
async fn a_log_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(dir.path()).await;
    let mut log = open(dir.path()).unwrap();
    assert_eq!(entries(&mut log).await, (0..12).map(entry).collect::<Vec<_>>());
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(1, 1)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(10)));
    log.close().await;
}

#[tokio::test]
async fn every_truncation_of_the_last_segment_leaves_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(dir.path()).await;
    let size = std::fs::read(segment(dir.path(), 3)).unwrap().len();
    for length in 0..size {
        let found = opened(dir.path(), 3, |bytes| bytes.truncate(length)).await.unwrap();
        assert!(is_prefix(&found), "length {length}: {found:?}");
        assert!([7, 9].contains(&found.len()), "length {length}: whole records stay");
    }
}

#[tokio::test]
async fn every_truncation_of_an_earlier_segment_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(dir.path()).await;
    for number in [1, 2] {
        let size = std::fs::read(segment(dir.path(), number)).unwrap().len();
        for length in 0..size {
            let error = opened(dir.path(), number, |bytes| bytes.truncate(length)).await;
            let error = error.expect_err("files behind it continue from where it ended");
            assert!(
                matches!(error, Error::Damaged { .. } | Error::Missing { .. }),
                "segment {number}, length {length}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn every_flipped_bit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(dir.path()).await;
    for number in [1, 2, 3] {
        let size = std::fs::read(segment(dir.path(), number)).unwrap().len();
        for at in 0..size {
            let result = opened(dir.path(), number, |bytes| bytes[at] ^= 1 << (at % 8)).await;
            match result {
                // The last record of the last file: it cannot be told from a torn one.
                Ok(found) => {
                    assert_eq!(number, 3, "byte {at}");
                    assert_eq!(found, (0..9).map(entry).collect::<Vec<_>>(), "byte {at}");
                }
                Err(error) => assert!(
                    matches!(error, Error::Damaged { .. } | Error::DamagedBetween { .. }),
                    "segment {number}, byte {at}: {error}"
                ),
            }
        }
    }
}

#[tokio::test]
async fn an_error_names_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(dir.path()).await;
    // The frame of the header has 40 bytes.
    let error = opened(dir.path(), 3, |bytes| bytes[50] ^= 1).await.unwrap_err();
    let Error::DamagedBetween { path, offset, valid } = &error else { panic!("{error}") };
    assert!(path.ends_with("00000000000000000003.wal"));
    assert_eq!(*offset, 40);
    assert!(*valid > 40);
}

#[tokio::test]
async fn a_missing_segment_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(dir.path()).await;
    for number in [1, 2] {
        let path = segment(dir.path(), number);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Missing { .. })), "segment {number}");
        std::fs::write(&path, bytes).unwrap();
    }
}

#[tokio::test]
async fn another_key_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(dir.path()).await;
    let random = std::sync::Arc::new(shoal_base::random::SystemRandom);
    let disk = std::sync::Arc::new(shoal_base::SystemDisk);
    let other = crate::Keyring::new(crate::KeyId(2), &crate::Key::from_bytes([2; 32]), random);
    let error = LogStore::open(dir.path(), std::sync::Arc::new(other), disk).unwrap_err();
    assert_eq!(error.kind(), shoal_model::error::ErrorKind::Unauthorized);
    let mut log = open(dir.path()).unwrap();
    assert_eq!(entries(&mut log).await.len(), 12, "the attempt changed nothing");
    log.close().await;
}

#[tokio::test]
async fn purging_removes_files_and_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(dir.path()).await;
    let mut log = open(dir.path()).unwrap();
    log.purge(id(5)).await.unwrap();
    assert!(!segment(dir.path(), 1).exists() && segment(dir.path(), 2).exists());
    log.close().await;
    let mut log = open(dir.path()).unwrap();
    assert_eq!(entries(&mut log).await, (6..12).map(entry).collect::<Vec<_>>());
    log.purge(id(30)).await.unwrap();
    assert_eq!(super::super::segment::list(&shoal_base::SystemDisk, dir.path()).unwrap(), [4]);
    append(&mut log, 31..33).await;
    log.close().await;
    let mut log = open(dir.path()).unwrap();
    assert_eq!(entries(&mut log).await, (31..33).map(entry).collect::<Vec<_>>());
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(id(30)));
    log.close().await;
}

#[tokio::test]
async fn a_purge_that_was_interrupted_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    three_segments(dir.path()).await;
    // Only the purge point was written, behind the end of the log.
    let files =
        crate::log::files::SmallFiles::new(dir.path(), std::sync::Arc::new(shoal_base::SystemDisk));
    files.save_purged(&id(40)).unwrap();
    let mut log = open(dir.path()).unwrap();
    append(&mut log, 41..42).await;
    log.close().await;
    assert_eq!(super::super::segment::list(&shoal_base::SystemDisk, dir.path()).unwrap(), [4]);
    let mut log = open(dir.path()).unwrap();
    assert_eq!(entries(&mut log).await, [entry(41)]);
    log.close().await;
}

#[tokio::test]
async fn after_a_failed_write_nothing_more_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    append(&mut log, 0..2).await;
    let away = dir.path().with_extension("away");
    std::fs::rename(dir.path(), &away).unwrap();
    assert!(matches!(log.roll().await, Err(Error::Io { .. })), "the directory is gone");
    std::fs::rename(&away, dir.path()).unwrap();
    assert!(log.blocking_append([entry(2)]).await.is_err());
    assert!(log.save_vote(&Vote::new(2, 2)).await.is_err());
    log.close().await;
    let mut log = open(dir.path()).unwrap();
    assert_eq!(entries(&mut log).await, (0..2).map(entry).collect::<Vec<_>>());
    assert_eq!(log.read_vote().await.unwrap(), None);
    log.close().await;
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Truncate(u64),
    Purge(u64),
    Roll,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..6u64).prop_map(Step::Append),
        1 => (0..4u64).prop_map(Step::Truncate),
        1 => (0..12u64).prop_map(Step::Purge),
        1 => Just(Step::Roll),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_reopened_at_any_time_is_the_same(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut log = open(dir.path()).unwrap();
            let (mut first, mut next) = (0, 0);
            for step in steps {
                match step {
                    Step::Append(count) => {
                        append(&mut log, next..next + count).await;
                        next += count;
                    }
                    Step::Truncate(back) => {
                        next = next.saturating_sub(back).max(first);
                        let last = next.checked_sub(1).map(id);
                        log.truncate_after(last).await.unwrap();
                    }
                    Step::Purge(ahead) => {
                        let upto = first + ahead;
                        log.purge(id(upto)).await.unwrap();
                        first = upto + 1;
                        next = next.max(first);
                    }
                    Step::Roll => log.roll().await.unwrap(),
                    Step::Reopen => {
                        log.close().await;
                        log = open(dir.path()).unwrap();
                    }
                }
                assert_eq!(entries(&mut log).await, (first..next).map(entry).collect::<Vec<_>>());
            }
            log.close().await;
            let mut log = open(dir.path()).unwrap();
            assert_eq!(entries(&mut log).await, (first..next).map(entry).collect::<Vec<_>>());
            log.close().await;
        });
    }
}
