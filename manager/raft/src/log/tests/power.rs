//! Power that fails at every write of a scripted run, with several outcomes each.

use std::path::Path;
use std::sync::Arc;

use openraft::storage::{RaftLogReader as _, RaftLogStorage as _, RaftLogStorageExt as _};
use shoal_base::disk::MemoryDisk;

use super::{entry, id, keyring};
use crate::log::Error;
use crate::log::store::LogStore;
use crate::types::{Entry, Vote};

const DIRECTORY: &str = "/log";
/// Outcomes of one failure that are tried.
const SEEDS: u64 = 6;

/// What a log holds.
#[derive(Debug, Clone, PartialEq)]
struct Content {
    vote: Option<Vote>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Append(u64, u64),
    Truncate(u64),
    Purge(u64),
    Roll,
    Vote(u64),
}

use Step::{Append, Purge, Roll, Truncate, Vote as Give};

const SCRIPT: [Step; 17] = [
    Give(1),
    Append(0, 3),
    Append(3, 40),
    Roll,
    Append(40, 44),
    Truncate(42),
    Append(42, 60),
    Give(2),
    Purge(20),
    Roll,
    Append(60, 61),
    Purge(58),
    Give(3),
    Roll,
    Append(61, 70),
    Purge(80),
    Append(81, 84),
];

fn open(disk: &MemoryDisk) -> Result<LogStore, Error> {
    LogStore::open(Path::new(DIRECTORY), keyring(), Arc::new(disk.clone()))
}

async fn make(log: &mut LogStore, step: Step) -> Result<(), std::io::Error> {
    match step {
        Append(from, to) => {
            let appended = log.blocking_append((from..to).map(entry)).await;
            appended.map_err(std::io::Error::other)
        }
        Truncate(next) => log.truncate_after(next.checked_sub(1).map(id)).await,
        Purge(upto) => log.purge(id(upto)).await,
        Roll => log.roll().await.map_err(std::io::Error::other),
        Give(term) => log.save_vote(&Vote::new(term, 1)).await,
    }
}

/// The contents before the first step and after each.
fn expected() -> Vec<Content> {
    let mut content = Content { vote: None, entries: Vec::new() };
    let mut all = vec![content.clone()];
    for step in SCRIPT {
        match step {
            Append(from, to) => content.entries.extend((from..to).map(entry)),
            Truncate(next) => content.entries.retain(|entry| entry.log_id.index() < next),
            Purge(upto) => content.entries.retain(|entry| entry.log_id.index() > upto),
            Roll => {}
            Give(term) => content.vote = Some(Vote::new(term, 1)),
        }
        all.push(content.clone());
    }
    all
}

async fn found(log: &mut LogStore) -> Content {
    let entries = log.try_get_log_entries(..).await.unwrap();
    Content { vote: log.read_vote().await.unwrap(), entries }
}

/// Runs the script until it fails; gives the number of steps that were acknowledged.
async fn run(disk: &MemoryDisk) -> usize {
    let Ok(mut log) = open(disk) else { return 0 };
    let mut done = 0;
    for step in SCRIPT {
        if make(&mut log, step).await.is_err() {
            break;
        }
        done += 1;
    }
    log.close().await;
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_failure_at_any_write_the_log_is_as_acknowledged() {
    let disk = MemoryDisk::new();
    assert_eq!(run(&disk).await, SCRIPT.len());
    let (steps, expected) = (disk.steps(), expected());
    for (step, seed) in (0..=steps).flat_map(|step| (0..SEEDS).map(move |seed| (step, seed))) {
        let disk = MemoryDisk::new();
        disk.die_at(step);
        let done = run(&disk).await;
        disk.cut_power(step * SEEDS + seed);
        let mut log = open(&disk).unwrap_or_else(|error| panic!("step {step} {seed}: {error}"));
        let content = found(&mut log).await;
        // The step under way may have happened.
        let may = &expected[done..SCRIPT.len().min(done + 1) + 1];
        assert!(may.contains(&content), "step {step} {seed}, done {done}: {content:?}");
        // It goes on from there, and a second failure changes nothing of that.
        let next = log.get_log_state().await.unwrap().last_log_id.map_or(0, |id| id.index() + 1);
        log.blocking_append([entry(next)]).await.unwrap();
        let content = found(&mut log).await;
        log.close().await;
        disk.cut_power(seed);
        let mut log = open(&disk).unwrap();
        assert_eq!(found(&mut log).await, content, "step {step} {seed}");
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_room_for_any_number_of_bytes_the_log_waits_and_goes_on() {
    let disk = MemoryDisk::new();
    assert_eq!(run(&disk).await, SCRIPT.len());
    let (all, expected) = (disk.used(), expected());
    for room in (0..all).step_by(37) {
        let disk = MemoryDisk::new();
        disk.set_capacity(Some(room));
        let opened = open(&disk);
        let mut log = match opened {
            Ok(log) => log,
            // Not even the first file had room.
            Err(error) => {
                assert!(error.is_full(), "{error}");
                disk.set_capacity(None);
                open(&disk).unwrap()
            }
        };
        let mut full = log.health().watch();
        let mender = disk.clone();
        let script = async {
            for step in SCRIPT {
                make(&mut log, step).await.unwrap();
            }
            log
        };
        let mend = async {
            // Until it is said that there is no room, nobody makes any.
            if full.wait_for(Option::is_some).await.is_ok() {
                mender.set_capacity(None);
            }
            std::future::pending::<()>().await
        };
        let mut log = tokio::select! {
            log = script => log,
            () = mend => unreachable!("it waits for the script"),
        };
        assert_eq!(found(&mut log).await, expected[SCRIPT.len()], "room {room}");
        log.close().await;
        let mut log = open(&disk).unwrap();
        assert_eq!(found(&mut log).await, expected[SCRIPT.len()], "room {room}, reopened");
        log.close().await;
    }
}
