//! Opens a log directory: reads the segments, cuts a torn tail, refuses damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shoal_base::Disk;

use super::memory::Memory;
use super::record::{self, Record};
use super::segment::{self, Header, Writer};
use super::{At, Error, Keys, frame_at};
use crate::Sealer;
use crate::seal;
use crate::settings::limits;
use crate::types::LogId;

/// A segment that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) sequence: u64,
    /// Index of the first entry of the segment after it: it holds none from there on that is live.
    pub(crate) end: u64,
}

/// A log as it was found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) memory: Memory,
    /// Index the next entry in the last segment would have.
    pub(crate) next: u64,
    pub(crate) closed: Vec<Closed>,
    /// The last segment; `None`: there is none.
    pub(crate) writer: Option<Writer>,
    pub(crate) keys: BTreeMap<u64, Keys>,
}

/// Reads everything.
pub(crate) fn open(
    disk: &dyn Disk,
    directory: &Path,
    sealer: &dyn Sealer,
    purged: Option<LogId>,
) -> Result<Opened, Error> {
    let sequences = segment::list(disk, directory)?;
    let mut replay = Replay {
        disk,
        directory,
        sealer,
        memory: Memory::new(purged),
        next: None,
        previous: None,
        closed: Vec::new(),
        keys: BTreeMap::new(),
    };
    let mut writer = None;
    for (position, sequence) in sequences.iter().enumerate() {
        let place = if position + 1 == sequences.len() { Place::Last } else { Place::Before };
        writer = replay.segment(*sequence, place)?;
    }
    let next = replay.next.unwrap_or_else(|| replay.memory.next());
    Ok(Opened { memory: replay.memory, next, closed: replay.closed, writer, keys: replay.keys })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Last,
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    sealer: &'a dyn Sealer,
    memory: Memory,
    /// Index the next entry must have; `None` before the first segment.
    next: Option<u64>,
    /// Header of the segment before.
    previous: Option<Header>,
    closed: Vec<Closed>,
    keys: BTreeMap<u64, Keys>,
}

impl Replay<'_> {
    /// Reads one file; gives its writer when it is the last.
    fn segment(&mut self, sequence: u64, place: Place) -> Result<Option<Writer>, Error> {
        let path = segment::path(self.directory, sequence);
        let file = self.disk.read(&path).map_err(Error::io("read", &path))?.unwrap_or_default();
        let (header, mut offset) = match frame_at(&file, 0, limits::RECORD_BYTES) {
            At::Frame { payload, next } => {
                let header = Header::decode(payload).filter(|header| header.sequence == sequence);
                (header.ok_or_else(|| damaged(&path, 0))?, next)
            }
            // Never used: its header is synced before the first record is written.
            At::Torn | At::End if place == Place::Last => {
                self.disk.remove(&path).map_err(Error::io("remove", &path))?;
                return self.reopen_previous();
            }
            At::Torn | At::End => return Err(damaged(&path, 0)),
            At::Damaged { valid } => return Err(damaged_between(&path, 0, valid)),
        };
        self.follows(&path, header)?;
        let mut records = 0;
        let end = loop {
            match frame_at(&file, offset, limits::RECORD_BYTES) {
                At::End => break offset,
                At::Torn if place == Place::Last => {
                    let bytes = file.len() - offset;
                    tracing::warn!(path = %path.display(), offset, bytes, "cut a torn record");
                    break offset;
                }
                At::Torn => return Err(damaged(&path, offset)),
                At::Damaged { valid } => return Err(damaged_between(&path, offset, valid)),
                At::Frame { payload, next } => {
                    self.record(&path, offset, payload, header, records)?;
                    records += 1;
                    offset = next;
                }
            }
        };
        self.previous = Some(header);
        match place {
            Place::Before => Ok(None),
            Place::Last => {
                Writer::resume(self.disk, self.directory, header, records, end as u64).map(Some)
            }
        }
    }

    /// The last file had no header: the one before is the last, and is complete.
    fn reopen_previous(&mut self) -> Result<Option<Writer>, Error> {
        let Some(header) = self.previous.take() else { return Ok(None) };
        // It was closed when the file without header was made; a new one takes its place.
        let next = self.next.unwrap_or(header.first);
        self.closed.push(Closed { sequence: header.sequence, end: next });
        let successor = Header { sequence: header.sequence + 1, first: next };
        Writer::create(self.disk, self.directory, successor).map(Some)
    }

    /// Checks that a segment continues the one before, or that what lacks was purged.
    fn follows(&mut self, path: &Path, header: Header) -> Result<(), Error> {
        let missing =
            |expected| Error::Missing { path: path.to_owned(), found: header.first, expected };
        let purged = self.memory.purged().map_or(0, |purged| purged.index() + 1);
        match (self.previous, self.next) {
            (Some(previous), Some(next)) => {
                let consecutive = previous.sequence + 1 == header.sequence;
                if !(consecutive && header.first == next) && header.first > purged {
                    return Err(missing(next));
                }
                self.closed.push(Closed { sequence: previous.sequence, end: header.first });
            }
            _ if header.first > purged => return Err(missing(purged)),
            _ => {}
        }
        self.next = Some(header.first);
        Ok(())
    }

    fn record(
        &mut self,
        path: &Path,
        offset: usize,
        sealed: &[u8],
        header: Header,
        ordinal: u64,
    ) -> Result<(), Error> {
        let offset = offset as u64;
        let unseal = |source| Error::Sealed { path: path.to_owned(), offset, source };
        let context = segment::context(header.sequence, ordinal);
        let plain = self.sealer.open(&context, sealed).map_err(unseal)?;
        let key = seal::key_of(sealed).map_err(unseal)?;
        self.keys.entry(header.sequence).or_default().insert(key);
        let applied =
            record::decode(plain).map_err(Into::into).and_then(|record| self.apply(record));
        applied.map_err(|source| Error::Record { path: path.to_owned(), offset, source })
    }

    fn apply(&mut self, record: Record) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut next = self.next.unwrap_or(0);
        match record {
            Record::Truncate { next: void } => {
                self.memory.truncate(void);
                next = next.min(void);
            }
            Record::Append(entries) => {
                for entry in entries {
                    let found = entry.log_id.index();
                    if found != next && !self.memory.is_blank() {
                        return Err(super::memory::Gap { found, expected: next }.into());
                    }
                    next = found + 1;
                    if self.memory.purged().is_none_or(|purged| found > purged.index()) {
                        self.memory.push(entry)?;
                    }
                }
            }
        }
        self.next = Some(next);
        Ok(())
    }
}

fn damaged(path: &Path, offset: usize) -> Error {
    Error::Damaged { path: PathBuf::from(path), offset: offset as u64 }
}

fn damaged_between(path: &Path, offset: usize, valid: usize) -> Error {
    Error::DamagedBetween { path: PathBuf::from(path), offset: offset as u64, valid: valid as u64 }
}
