//! openraft's view of the log.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use shoal_base::SharedDisk;
use tokio::sync::{mpsc, oneshot};

use super::files::{CommittedFile, SmallFiles};
use super::health::Health;
use super::memory::Memory;
use super::writer::{Done, Request, SharedKeys, Thread};
use super::{Error, Keys, replay};
use crate::Sealer;
use crate::settings::limits;
use crate::types::{Entry, LogId, Types, Vote};

/// The log. Clones are the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    memory: RwLock<Memory>,
    vote: RwLock<Option<Vote>>,
    committed: Mutex<CommittedFile>,
    keys: SharedKeys,
    health: Health,
    requests: mpsc::Sender<Request>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.health.end();
    }
}

impl Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").field("last", &self.memory().last()).finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens a directory, made when absent. Blocks while it reads.
    ///
    /// # Errors
    /// When it is damaged, or sealed with an unknown key.
    pub(crate) fn open(
        directory: &Path,
        sealer: Arc<dyn Sealer>,
        disk: SharedDisk,
    ) -> Result<Self, Error> {
        disk.create_directory(directory).map_err(Error::io("create", directory))?;
        let files = SmallFiles::new(directory, disk.clone());
        let (purged, vote) = (files.purged()?, files.vote()?);
        let committed = CommittedFile::open(disk.as_ref(), directory)?;
        let opened = replay::open(disk.as_ref(), directory, sealer.as_ref(), purged)?;
        let memory = opened.memory.clone();
        let health = Health::new();
        let (thread, keys) = Thread::new(disk, directory, sealer, health.clone(), opened)?;
        let (requests, receiver) = mpsc::channel(limits::LOG_QUEUE);
        start(thread, receiver).map_err(Error::io("start the writer of", directory))?;
        Ok(Self {
            shared: Arc::new(Shared {
                memory: RwLock::new(memory),
                vote: RwLock::new(vote),
                committed: Mutex::new(committed),
                keys,
                health,
                requests,
            }),
        })
    }

    /// Index of the last purged entry.
    pub(crate) fn purged_index(&self) -> Option<u64> {
        self.memory().purged().map(|purged| purged.index())
    }

    /// Bytes of the entries of a range, as far as they are here.
    pub(crate) fn bytes(&self, range: impl RangeBounds<u64>) -> u64 {
        self.memory().bytes(&range)
    }

    /// See [`Memory::first_within`].
    pub(crate) fn first_within(&self, next: u64, bytes: u64) -> u64 {
        self.memory().first_within(next, bytes)
    }

    /// Keys the segments are sealed with.
    pub(crate) fn keys_in_use(&self) -> Keys {
        let keys = self.shared.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.values().flatten().copied().collect()
    }

    /// Begins a new segment.
    pub(crate) async fn roll(&self) -> Result<(), Error> {
        self.ask(|done| Request::Roll { done }).await
    }

    /// Whether the disk has room.
    pub(crate) fn health(&self) -> &Health {
        &self.shared.health
    }

    /// Ends the writer once what was asked before is done. Later writes fail, and so do those that wait for room.
    pub(crate) async fn close(&self) {
        self.shared.health.end();
        // Closed before: that is what was wanted.
        let _ = self.ask(|done| Request::Close { done }).await;
    }

    fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.shared.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.shared.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, request: impl FnOnce(Done) -> Request) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.shared.requests.send(request(done)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

/// Runs the writer on a thread of its own, or as a task of the only one.
fn start(thread: Thread, requests: mpsc::Receiver<Request>) -> io::Result<()> {
    if shoal_base::single::is_on() {
        crate::settings::spawn(thread.run(requests));
        return Ok(());
    }
    let waits = tokio::runtime::Builder::new_current_thread().build()?;
    let named = std::thread::Builder::new().name("raft-log".to_owned());
    let started = named.spawn(move || {
        crate::settings::prefer();
        waits.block_on(thread.run(requests));
    });
    started.map(drop)
}

fn io_error(error: Error) -> io::Error {
    io::Error::other(error)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.memory().range(&range))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.memory().limited(&(start..end), limits::APPEND_BYTES))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(*self.shared.vote.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let memory = self.memory();
        Ok(LogState { last_purged_log_id: memory.purged(), last_log_id: memory.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        self.ask(|done| Request::Vote { vote, done }).await.map_err(io_error)?;
        *self.shared.vote.write().unwrap_or_else(PoisonError::into_inner) = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(committed) = committed else { return Ok(()) };
        let mut file = self.shared.committed.lock().unwrap_or_else(PoisonError::into_inner);
        file.save(committed).map_err(io_error)
    }

    /// Never beyond the last entry: the log may have lost a torn tail that this file outlived.
    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let file = self.shared.committed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.committed().min(self.memory().last()))
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut memory = self.memory_mut();
            for entry in &entries {
                memory.push(entry.clone()).map_err(io::Error::other)?;
            }
        }
        let sent = self.shared.requests.send(Request::Append { entries, done }).await;
        sent.map_err(|_| io_error(Error::Closed))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let next = last.map_or(0, |last| last.index() + 1);
        self.memory_mut().truncate(next);
        self.ask(|done| Request::Truncate { next, done }).await.map_err(io_error)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.memory_mut().purge(upto);
        self.ask(|done| Request::Purge { upto, done }).await.map_err(io_error)
    }
}
