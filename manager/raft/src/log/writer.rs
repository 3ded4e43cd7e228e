//! The thread that writes the log: one at a time, in order, synced in groups. It may block wherever it does not wait for
//! requests; on the [only thread](shoal_base::single) it is a task, whose disk is memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use openraft::storage::IOFlushed;
use shoal_base::SharedDisk;
use tokio::sync::{mpsc, oneshot};

use super::files::SmallFiles;
use super::health::Health;
use super::record::{self, Group};
use super::replay::{Closed, Opened};
use super::segment::{self, Header, Writer};
use super::{Error, Keys};
use crate::Sealer;
use crate::settings::limits;
use crate::types::{Entry, LogId, Types, Vote};

pub(crate) type Done = oneshot::Sender<Result<(), Error>>;

/// What the thread is asked for, in order.
pub(crate) enum Request {
    Append { entries: Vec<Entry>, done: IOFlushed<Types> },
    Vote { vote: Vote, done: Done },
    Truncate { next: u64, done: Done },
    Purge { upto: LogId, done: Done },
    Roll { done: Done },
    Close { done: Done },
}

/// Keys of each segment, shown to others.
pub(crate) type SharedKeys = Arc<Mutex<BTreeMap<u64, Keys>>>;

/// Owner of the files.
pub(crate) struct Thread {
    disk: SharedDisk,
    directory: PathBuf,
    sealer: Arc<dyn Sealer>,
    files: SmallFiles,
    health: Health,
    keys: SharedKeys,
    closed: Vec<Closed>,
    writer: Writer,
    /// Index of the next entry in the file.
    next: u64,
    /// A write failed: what is on disk is not known, so nothing more is written.
    failed: bool,
}

impl Thread {
    /// Takes over what was opened; makes the first segment, or one behind a purge point.
    pub(crate) fn new(
        disk: SharedDisk,
        directory: &Path,
        sealer: Arc<dyn Sealer>,
        health: Health,
        opened: Opened,
    ) -> Result<(Self, SharedKeys), Error> {
        let Opened { memory, next, closed, writer, keys } = opened;
        let keys = Arc::new(Mutex::new(keys));
        let writer = match writer {
            Some(writer) => writer,
            None => {
                let header = Header { sequence: 1, first: memory.next() };
                Writer::create(disk.as_ref(), directory, header)?
            }
        };
        let mut thread = Self {
            files: SmallFiles::new(directory, disk.clone()),
            disk,
            directory: directory.to_owned(),
            sealer,
            health,
            keys: Arc::clone(&keys),
            closed,
            writer,
            next,
            failed: false,
        };
        if thread.next != memory.next() {
            thread.roll(memory.next())?;
        }
        if let Some(purged) = memory.purged() {
            thread.drop_segments(purged)?;
        }
        Ok((thread, keys))
    }

    /// Serves requests until told to close, or until no one can ask any more.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut waiting = None;
        loop {
            let request = match waiting.take() {
                Some(request) => request,
                None => match requests.recv().await {
                    Some(request) => request,
                    None => return,
                },
            };
            match request {
                Request::Append { entries, done } => {
                    waiting = self.append(entries, done, &mut requests).await;
                }
                Request::Vote { vote, done } => {
                    self.answer(done, |thread| thread.files.save_vote(&vote)).await;
                }
                Request::Truncate { next, done } => {
                    self.answer(done, |thread| thread.truncate(next)).await;
                }
                Request::Purge { upto, done } => {
                    self.answer(done, |thread| thread.purge(upto)).await;
                }
                Request::Roll { done } => {
                    self.answer(done, |thread| thread.roll(thread.next)).await;
                }
                Request::Close { done } => {
                    // Whoever closes may have gone.
                    let _ = done.send(Ok(()));
                    return;
                }
            }
        }
    }

    async fn answer(&mut self, done: Done, write: impl Fn(&mut Self) -> Result<(), Error>) {
        let result = if self.failed { Err(Error::Closed) } else { self.with_room(write).await };
        if let Err(error) = &result {
            self.fail(error);
        }
        // Whoever asked may have gone.
        let _ = done.send(result);
    }

    /// Makes a write; while the disk is full, again and again. Each may be repeated after it failed.
    async fn with_room(
        &mut self,
        write: impl Fn(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            match write(self) {
                Err(error) if error.is_full() => {
                    self.health.set_full(&error);
                    self.health.wait().await.map_err(|_| error)?;
                }
                written => {
                    self.health.set_well();
                    return written;
                }
            }
        }
    }

    fn fail(&mut self, error: &Error) {
        if !self.failed {
            tracing::error!(%error, source = ?std::error::Error::source(error), "the raft log failed");
        }
        self.failed = true;
    }

    /// Writes entries together with those that wait behind them. Gives back the first request that is
    /// something else.
    async fn append(
        &mut self,
        entries: Vec<Entry>,
        done: IOFlushed<Types>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Option<Request> {
        let mut batch = Batch::new(self.next);
        let mut result = self.collect(&mut batch, &entries).await;
        let mut all_done = vec![done];
        let mut other = None;
        while result.is_ok() && batch.group.len() < limits::GROUP_BYTES {
            match requests.try_recv() {
                Ok(Request::Append { entries, done }) => {
                    all_done.push(done);
                    result = self.collect(&mut batch, &entries).await;
                }
                Ok(request) => {
                    other = Some(request);
                    break;
                }
                Err(_) => break,
            }
        }
        let result = match result {
            Ok(()) => self.flush(&mut batch).await,
            failed => failed,
        };
        if let Err(error) = &result {
            self.fail(error);
        }
        for done in all_done {
            done.io_completed(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::other(error.to_string())),
            });
        }
        other
    }

    /// Adds entries to a batch; a full one is written.
    async fn collect(&mut self, batch: &mut Batch, entries: &[Entry]) -> Result<(), Error> {
        for entry in entries {
            batch.group.push(entry);
            batch.next = entry.log_id.index() + 1;
            if batch.group.len() >= limits::GROUP_BYTES {
                self.flush(batch).await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if batch.next == self.next {
            return Ok(());
        }
        let group = std::mem::replace(&mut batch.group, Group::new());
        self.with_room(|thread| thread.write(group.bytes())).await?;
        self.next = batch.next;
        Ok(())
    }

    fn write(&mut self, record: &[u8]) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Closed);
        }
        if self.writer.size() >= limits::SEGMENT_BYTES {
            self.roll(self.next)?;
        }
        let key = self.sealer.current();
        self.writer.append(self.sealer.as_ref(), record)?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.entry(self.writer.header().sequence).or_default().insert(key);
        Ok(())
    }

    /// Closes the segment and begins one whose first entry is `next`.
    fn roll(&mut self, next: u64) -> Result<(), Error> {
        let sequence = self.writer.header().sequence;
        let header = Header { sequence: sequence + 1, first: next };
        self.writer = Writer::create(self.disk.as_ref(), &self.directory, header)?;
        self.closed.push(Closed { sequence, end: next });
        self.next = next;
        Ok(())
    }

    fn truncate(&mut self, next: u64) -> Result<(), Error> {
        self.write(&record::truncate(next))?;
        self.next = self.next.min(next);
        Ok(())
    }

    fn purge(&mut self, upto: LogId) -> Result<(), Error> {
        self.files.save_purged(&upto)?;
        if upto.index() >= self.next {
            self.roll(upto.index() + 1)?;
        }
        self.drop_segments(upto)
    }

    /// Removes closed segments, oldest first, that hold nothing live.
    fn drop_segments(&mut self, purged: LogId) -> Result<(), Error> {
        while let Some(closed) = self.closed.first().filter(|at| at.end <= purged.index() + 1) {
            let path = segment::path(&self.directory, closed.sequence);
            self.disk.remove(&path).map_err(Error::io("remove", &path))?;
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.remove(&closed.sequence);
            drop(keys);
            self.closed.remove(0);
        }
        Ok(())
    }
}

/// Entries on their way to one record.
struct Batch {
    group: Group,
    /// Index behind the last entry in it.
    next: u64,
}

impl Batch {
    fn new(next: u64) -> Self {
        Self { group: Group::new(), next }
    }
}
