//! The small files beside the segments: purged, vote, committed.

use std::path::{Path, PathBuf};

use prost::Message;
use shoal_base::disk::{self, DiskFile};
use shoal_base::{Disk, SharedDisk};
use shoal_proto::raft as pb;

use super::{At, Error, encode_frame, frame_at};
use crate::types::{LogId, Vote};
use crate::wire;

const PURGED: &str = "purged";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
/// Longest payload of these files.
const LIMIT: usize = 256;

/// Vote and purge point, each replaced atomically.
#[derive(Debug, Clone)]
pub(crate) struct SmallFiles {
    directory: PathBuf,
    disk: SharedDisk,
}

impl SmallFiles {
    pub(crate) fn new(directory: &Path, disk: SharedDisk) -> Self {
        Self { directory: directory.to_owned(), disk }
    }

    pub(crate) fn purged(&self) -> Result<Option<LogId>, Error> {
        Ok(self.read::<pb::LogId>(PURGED)?.map(wire::to_log_id))
    }

    pub(crate) fn save_purged(&self, purged: &LogId) -> Result<(), Error> {
        self.write(PURGED, &wire::log_id(purged))
    }

    pub(crate) fn vote(&self) -> Result<Option<Vote>, Error> {
        let path = self.directory.join(VOTE);
        let vote = self.read::<pb::Vote>(VOTE)?.map(|vote| wire::to_vote(Some(vote))).transpose();
        vote.map_err(|error| Error::Record { path, offset: 0, source: error.into() })
    }

    pub(crate) fn save_vote(&self, vote: &Vote) -> Result<(), Error> {
        self.write(VOTE, &wire::vote(vote))
    }

    fn read<M: Message + Default>(&self, name: &str) -> Result<Option<M>, Error> {
        let path = self.directory.join(name);
        let Some(bytes) = self.disk.read(&path).map_err(Error::io("read", &path))? else {
            return Ok(None);
        };
        let At::Frame { payload, .. } = frame_at(&bytes, 0, LIMIT) else {
            return Err(Error::Damaged { path, offset: 0 });
        };
        let message = M::decode(payload);
        message.map(Some).map_err(|error| Error::Record { path, offset: 0, source: error.into() })
    }

    fn write(&self, name: &str, message: &impl Message) -> Result<(), Error> {
        let path = self.directory.join(name);
        let mut bytes = Vec::new();
        encode_frame(&message.encode_to_vec(), &mut bytes);
        self.disk.write_atomic(&path, &bytes).map_err(Error::io("write", &path))
    }
}

/// The last committed entry: two slots written in turn, so that one is always whole.
#[derive(Debug)]
pub(crate) struct CommittedFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    sequence: u64,
    committed: Option<LogId>,
}

/// Size of a slot: a frame of a sequence number and a log id, rounded up.
const SLOT: usize = 64;

impl CommittedFile {
    pub(crate) fn open(disk: &dyn Disk, directory: &Path) -> Result<Self, Error> {
        let path = directory.join(COMMITTED);
        let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
        let file = if bytes.is_some() { disk.open(&path) } else { disk.create(&path) };
        let file = file.map_err(Error::io("open", &path))?;
        let bytes = bytes.unwrap_or_default();
        let newest =
            bytes.chunks(SLOT).take(2).filter_map(slot).max_by_key(|(sequence, _)| *sequence);
        let (sequence, committed) = newest.map_or((0, None), |(at, id)| (at, Some(id)));
        Ok(Self { path, file, sequence, committed })
    }

    pub(crate) const fn committed(&self) -> Option<LogId> {
        self.committed
    }

    /// On a full disk the file stays as it is: it only says what an earlier time has committed.
    pub(crate) fn save(&mut self, committed: LogId) -> Result<(), Error> {
        self.sequence += 1;
        let mut payload = self.sequence.to_le_bytes().to_vec();
        wire::log_id(&committed).encode(&mut payload).expect("vectors grow");
        let mut bytes = Vec::with_capacity(SLOT);
        encode_frame(&payload, &mut bytes);
        bytes.resize(SLOT, 0);
        let offset = (self.sequence % 2) * SLOT as u64;
        self.committed = Some(committed);
        match self.file.write_at(&bytes, offset) {
            Err(error) if disk::is_full(&error) => Ok(()),
            written => written.map_err(Error::io("write", &self.path)),
        }
    }
}

fn slot(bytes: &[u8]) -> Option<(u64, LogId)> {
    let At::Frame { payload, .. } = frame_at(bytes, 0, LIMIT) else { return None };
    let (sequence, id) = payload.split_first_chunk::<8>()?;
    let id = pb::LogId::decode(id).ok()?;
    Some((u64::from_le_bytes(*sequence), wire::to_log_id(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LeaderId;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: u64::MAX, node_id: u64::MAX }, index)
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = CommittedFile::open(&shoal_base::SystemDisk, dir.path()).unwrap();
        assert_eq!(file.committed(), None);
        for index in [7, 8, u64::MAX - 1] {
            file.save(id(index)).unwrap();
        }
        let path = dir.path().join(COMMITTED);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len(), 2 * SLOT);
        assert_eq!(
            CommittedFile::open(&shoal_base::SystemDisk, dir.path()).unwrap().committed(),
            Some(id(u64::MAX - 1))
        );
        let mut torn = whole;
        torn[SLOT + 20] ^= 1;
        std::fs::write(&path, torn).unwrap();
        assert_eq!(
            CommittedFile::open(&shoal_base::SystemDisk, dir.path()).unwrap().committed(),
            Some(id(8))
        );
    }

    #[test]
    fn a_damaged_vote_is_an_error_not_a_forgotten_vote() {
        let dir = tempfile::tempdir().unwrap();
        let files = SmallFiles::new(dir.path(), std::sync::Arc::new(shoal_base::SystemDisk));
        assert_eq!(files.vote().unwrap(), None);
        files.save_vote(&Vote::new(3, 4)).unwrap();
        assert_eq!(files.vote().unwrap(), Some(Vote::new(3, 4)));
        let path = dir.path().join(VOTE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &changed).unwrap();
            assert!(matches!(files.vote(), Err(Error::Damaged { offset: 0, .. })), "bit {bit}");
        }
    }
}
