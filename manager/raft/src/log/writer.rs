//! The thread that writes the log: one at a time, in order, synced in groups.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::files::SmallFiles;
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
    directory: PathBuf,
    sealer: Arc<dyn Sealer>,
    files: SmallFiles,
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
        directory: &Path,
        sealer: Arc<dyn Sealer>,
        files: SmallFiles,
        opened: Opened,
    ) -> Result<(Self, SharedKeys), Error> {
        let Opened { memory, next, closed, writer, keys } = opened;
        let keys = Arc::new(Mutex::new(keys));
        let writer = match writer {
            Some(writer) => writer,
            None => Writer::create(directory, Header { sequence: 1, first: memory.next() })?,
        };
        let mut thread = Self {
            directory: directory.to_owned(),
            sealer,
            files,
            keys: Arc::clone(&keys),
            closed,
            writer,
            next,
            failed: false,
        };
        if thread.next != memory.next() {
            thread.next = memory.next();
            thread.roll()?;
        }
        if let Some(purged) = memory.purged() {
            thread.drop_segments(purged)?;
        }
        Ok((thread, keys))
    }

    /// Serves requests until told to close, or until no one can ask any more.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut waiting = None;
        while let Some(request) = waiting.take().or_else(|| requests.blocking_recv()) {
            match request {
                Request::Append { entries, done } => {
                    waiting = self.append(entries, done, &mut requests);
                }
                Request::Vote { vote, done } => {
                    self.answer(done, |thread| thread.files.save_vote(&vote));
                }
                Request::Truncate { next, done } => {
                    self.answer(done, |thread| thread.truncate(next));
                }
                Request::Purge { upto, done } => self.answer(done, |thread| thread.purge(upto)),
                Request::Roll { done } => self.answer(done, Self::roll),
                Request::Close { done } => {
                    // Whoever closes may have gone.
                    let _ = done.send(Ok(()));
                    return;
                }
            }
        }
    }

    fn answer(&mut self, done: Done, write: impl FnOnce(&mut Self) -> Result<(), Error>) {
        let result = if self.failed { Err(Error::Closed) } else { write(self) };
        if let Err(error) = &result {
            self.fail(error);
        }
        // Whoever asked may have gone.
        let _ = done.send(result);
    }

    fn fail(&mut self, error: &Error) {
        if !self.failed {
            tracing::error!(%error, source = ?std::error::Error::source(error), "the raft log failed");
        }
        self.failed = true;
    }

    /// Writes entries together with those that wait behind them. Gives back the first request that is
    /// something else.
    fn append(
        &mut self,
        entries: Vec<Entry>,
        done: IOFlushed<Types>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Option<Request> {
        let mut batch = Batch::new(self.next);
        let mut result = self.collect(&mut batch, &entries);
        let mut all_done = vec![done];
        let mut other = None;
        while result.is_ok() && batch.group.len() < limits::GROUP_BYTES {
            match requests.try_recv() {
                Ok(Request::Append { entries, done }) => {
                    all_done.push(done);
                    result = self.collect(&mut batch, &entries);
                }
                Ok(request) => {
                    other = Some(request);
                    break;
                }
                Err(_) => break,
            }
        }
        let result = result.and_then(|()| self.flush(&mut batch));
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
    fn collect(&mut self, batch: &mut Batch, entries: &[Entry]) -> Result<(), Error> {
        for entry in entries {
            batch.group.push(entry);
            batch.next = entry.log_id.index() + 1;
            if batch.group.len() >= limits::GROUP_BYTES {
                self.flush(batch)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if batch.next == self.next {
            return Ok(());
        }
        let group = std::mem::replace(&mut batch.group, Group::new());
        self.write(group.bytes())?;
        self.next = batch.next;
        Ok(())
    }

    fn write(&mut self, record: &[u8]) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Closed);
        }
        if self.writer.size() >= limits::SEGMENT_BYTES {
            self.roll()?;
        }
        let key = self.sealer.current();
        self.writer.append(self.sealer.as_ref(), record)?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.entry(self.writer.header().sequence).or_default().insert(key);
        Ok(())
    }

    /// Closes the segment and begins the next.
    fn roll(&mut self) -> Result<(), Error> {
        let sequence = self.writer.header().sequence;
        let header = Header { sequence: sequence + 1, first: self.next };
        self.writer = Writer::create(&self.directory, header)?;
        self.closed.push(Closed { sequence, end: self.next });
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
            self.next = upto.index() + 1;
            self.roll()?;
        }
        self.drop_segments(upto)
    }

    /// Removes closed segments, oldest first, that hold nothing live.
    fn drop_segments(&mut self, purged: LogId) -> Result<(), Error> {
        let live = self.closed.iter().position(|closed| closed.end > purged.index() + 1);
        let dead = live.unwrap_or(self.closed.len());
        for closed in self.closed.drain(..dead) {
            let path = segment::path(&self.directory, closed.sequence);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path)(error));
                }
                _ => {}
            }
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.remove(&closed.sequence);
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
