//! One file of the log.

use std::path::{Path, PathBuf};

use shoal_base::Disk;
use shoal_base::disk::DiskFile;

use super::{Error, encode_frame};
use crate::Sealer;

/// Begins the payload of a segment's first frame.
const FORMAT: &[u8; 8] = b"shoalwal";
/// Changes when records of old releases are no longer read.
const VERSION: u32 = 1;
const SUFFIX: &str = ".wal";

/// What the first frame of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Number of the file.
    pub(crate) sequence: u64,
    /// Index of the first entry it may hold.
    pub(crate) first: u64,
}

impl Header {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = FORMAT.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(FORMAT)?.strip_prefix(&VERSION.to_le_bytes())?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let header =
            Self { sequence: u64::from_le_bytes(*sequence), first: u64::from_le_bytes(*first) };
        rest.is_empty().then_some(header)
    }
}

pub(crate) fn path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("{sequence:020}{SUFFIX}"))
}

/// Numbers of the segments in a directory, in order.
pub(crate) fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<u64>, Error> {
    let names = disk.list(directory).map_err(Error::io("list", directory))?;
    let number = |name: &String| name.strip_suffix(SUFFIX)?.parse().ok();
    let mut sequences: Vec<u64> = names.iter().filter_map(number).collect();
    sequences.sort_unstable();
    Ok(sequences)
}

/// What a record is bound to: its place in the log.
pub(crate) fn context(sequence: u64, ordinal: u64) -> [u8; 24] {
    let mut context = *b"shoalwal________________";
    context[8..16].copy_from_slice(&sequence.to_le_bytes());
    context[16..].copy_from_slice(&ordinal.to_le_bytes());
    context
}

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: Header,
    /// Records in it; the header does not count.
    records: u64,
    size: u64,
}

impl Writer {
    /// Makes an empty segment, durably.
    pub(crate) fn create(disk: &dyn Disk, directory: &Path, header: Header) -> Result<Self, Error> {
        let path = path(directory, header.sequence);
        let mut bytes = Vec::new();
        encode_frame(&header.encode(), &mut bytes);
        let made = disk.create(&path).and_then(|mut file| {
            file.write_at(&bytes, 0)?;
            file.sync()?;
            disk.sync_directory(directory)?;
            Ok(file)
        });
        let file = made.map_err(Error::io("create", &path))?;
        Ok(Self { path, file, header, records: 0, size: bytes.len() as u64 })
    }

    /// Continues a segment that ends at `size` with so many records. What lies behind is cut.
    pub(crate) fn resume(
        disk: &dyn Disk,
        directory: &Path,
        header: Header,
        records: u64,
        size: u64,
    ) -> Result<Self, Error> {
        let path = path(directory, header.sequence);
        let opened = (|| {
            let mut file = disk.open(&path)?;
            if file.size()? > size {
                file.set_size(size)?;
                file.sync()?;
            }
            Ok(file)
        })();
        let file = opened.map_err(Error::io("open", &path))?;
        Ok(Self { path, file, header, records, size })
    }

    pub(crate) const fn header(&self) -> Header {
        self.header
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Seals, appends and syncs a record. After a failure it may be called again with the same record: what is
    /// there of the first attempt is overwritten.
    pub(crate) fn append(&mut self, sealer: &dyn Sealer, record: &[u8]) -> Result<(), Error> {
        let sealed = sealer.seal(&context(self.header.sequence, self.records), record);
        let mut bytes = Vec::new();
        encode_frame(&sealed, &mut bytes);
        let written = self.file.write_at(&bytes, self.size).and_then(|()| self.file.sync());
        written.map_err(Error::io("append to", &self.path))?;
        self.records += 1;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_others_are_refused() {
        let header = Header { sequence: 3, first: 70 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        assert_eq!(Header::decode(&bytes[..27]), None);
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(Header::decode(&newer), None);
    }
}
