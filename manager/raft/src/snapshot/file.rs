//! A snapshot file: frames as in the log, each a sealed block. The first says what the snapshot is, the
//! last how long; those between are the state.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use shoal_base::Disk;
use shoal_base::disk::{Appended, Sequential};
use shoal_proto::raft as pb;

use super::Error;
use crate::log::{At, FRAME_HEADER, encode_frame, frame_at};
use crate::settings::limits;
use crate::types::SnapshotMeta;
use crate::{KeyId, Sealer, seal, wire};

const META: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;

/// Longest payload of a frame.
const LIMIT: usize = limits::SNAPSHOT_BLOCK_BYTES + seal::OVERHEAD + 1;

/// What a block is bound to: its place in one snapshot.
fn context(salt: &[u8; 16], ordinal: u64) -> [u8; 32] {
    let mut context = *b"shoalsnp________________________";
    context[8..24].copy_from_slice(salt);
    context[24..].copy_from_slice(&ordinal.to_le_bytes());
    context
}

/// Writes a snapshot; bytes written to it are the state.
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<Appended>,
    sealer: Arc<dyn Sealer>,
    salt: [u8; 16],
    ordinal: u64,
    size: u64,
    block: Vec<u8>,
    /// Bytes since the last sync.
    unsynced: usize,
}

impl Writer {
    /// Begins a file. `meta` may be longer than a block: many members.
    pub(crate) fn create(
        disk: &dyn Disk,
        path: &Path,
        sealer: Arc<dyn Sealer>,
        meta: &SnapshotMeta,
    ) -> Result<Self, Error> {
        let file = disk.create(path).map_err(Error::io("create", path))?;
        // What the sealer draws for its nonces is as unique as anything.
        let salt = salt_of(&sealer.seal(b"salt", b""));
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(Appended::new(file)),
            sealer,
            salt,
            ordinal: 0,
            size: 0,
            block: Vec::new(),
            unsynced: 0,
        };
        let begun = writer
            .file
            .write_all(&salt)
            .and_then(|()| writer.frame(META, &wire::snapshot_meta(meta).encode_to_vec()));
        begun.map_err(Error::io("write", path))?;
        Ok(writer)
    }

    /// Ends the file, durably. Gives the key it is sealed with.
    pub(crate) fn finish(mut self) -> Result<u64, Error> {
        let size = self.size;
        let ended = self
            .flush_block()
            .and_then(|()| self.frame(END, &size.to_le_bytes()))
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_mut().sync());
        ended.map_err(Error::io("write", &self.path))?;
        Ok(size)
    }

    fn flush_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        self.frame(DATA, &block)?;
        self.block = block;
        self.block.clear();
        Ok(())
    }

    fn frame(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let mut plain = Vec::with_capacity(content.len() + 1);
        plain.push(kind);
        plain.extend_from_slice(content);
        let sealed = self.sealer.seal(&context(&self.salt, self.ordinal), &plain);
        self.ordinal += 1;
        let mut frame = Vec::new();
        encode_frame(&sealed, &mut frame);
        self.file.write_all(&frame)?;
        self.unsynced += frame.len();
        if self.unsynced >= limits::SNAPSHOT_SYNC_BYTES {
            self.file.flush()?;
            self.file.get_mut().sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

/// Part of the nonce, which is random.
fn salt_of(sealed: &[u8]) -> [u8; 16] {
    let mut salt = [0; 16];
    let tail = sealed.len().saturating_sub(16);
    salt.copy_from_slice(&sealed[tail..]);
    salt
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = limits::SNAPSHOT_BLOCK_BYTES - self.block.len();
        let taken = bytes.len().min(room);
        self.block.extend_from_slice(&bytes[..taken]);
        self.size += taken as u64;
        if self.block.len() == limits::SNAPSHOT_BLOCK_BYTES {
            self.flush_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a snapshot, block by block.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<Sequential>,
    sealer: Arc<dyn Sealer>,
    salt: [u8; 16],
    ordinal: u64,
    offset: u64,
    key: KeyId,
    meta: SnapshotMeta,
    seen: u64,
    ended: bool,
}

impl Reader {
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        sealer: Arc<dyn Sealer>,
    ) -> Result<Self, Error> {
        let file = disk.open(path).map_err(Error::io("open", path))?;
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::new(Sequential::new(file)),
            sealer,
            salt: [0; 16],
            ordinal: 0,
            offset: 0,
            key: KeyId(0),
            meta: SnapshotMeta::default(),
            seen: 0,
            ended: false,
        };
        let mut salt = [0; 16];
        reader.exactly(&mut salt)?;
        reader.salt = salt;
        let (kind, meta) = reader.frame()?;
        let meta = pb::SnapshotMeta::decode(meta.as_slice()).ok().filter(|_| kind == META);
        let meta = meta.and_then(|meta| wire::to_snapshot_meta(meta).ok());
        reader.meta = meta.ok_or_else(|| reader.damaged())?;
        Ok(reader)
    }

    pub(crate) const fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Key of the first block.
    pub(crate) const fn key(&self) -> KeyId {
        self.key
    }

    /// The next block of the state; `None` at the end, once that was found whole.
    pub(crate) fn block(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let (kind, content) = self.frame()?;
        match kind {
            DATA => {
                self.seen += content.len() as u64;
                Ok(Some(content))
            }
            END if content == self.seen.to_le_bytes() => {
                self.ended = true;
                Ok(None)
            }
            _ => Err(self.damaged()),
        }
    }

    fn damaged(&self) -> Error {
        Error::Damaged { path: self.path.clone(), offset: self.offset }
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        match self.file.read_exact(bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged()),
            other => other.map_err(Error::io("read", &self.path)),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), Error> {
        let mut frame = vec![0; FRAME_HEADER];
        self.exactly(&mut frame)?;
        let length = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]);
        let length =
            usize::try_from(length).ok().filter(|length| *length <= Self::limit(self.ordinal));
        let length = length.ok_or_else(|| self.damaged())?;
        frame.resize(FRAME_HEADER + length, 0);
        let mut payload = vec![0; length];
        self.exactly(&mut payload)?;
        frame[FRAME_HEADER..].copy_from_slice(&payload);
        let At::Frame { payload, next } = frame_at(&frame, 0, length) else {
            return Err(self.damaged());
        };
        let unseal =
            |source| Error::Sealed { path: self.path.clone(), offset: self.offset, source };
        self.key = seal::key_of(payload).map_err(unseal)?;
        let plain =
            self.sealer.open(&context(&self.salt, self.ordinal), payload).map_err(unseal)?;
        let (kind, content) = plain.split_first().ok_or_else(|| self.damaged())?;
        let result = (*kind, content.to_vec());
        self.ordinal += 1;
        self.offset += next as u64;
        Ok(result)
    }

    /// The first frame may be longer: it names all members.
    const fn limit(ordinal: u64) -> usize {
        if ordinal == 0 { limits::RECORD_BYTES } else { LIMIT }
    }
}

/// The state as one stream of bytes.
pub(crate) struct Content<'r> {
    reader: &'r mut Reader,
    block: io::Cursor<Vec<u8>>,
}

impl<'r> Content<'r> {
    pub(crate) fn new(reader: &'r mut Reader) -> Self {
        Self { reader, block: io::Cursor::new(Vec::new()) }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.block.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.reader.block().map_err(io::Error::other)? {
                Some(block) => self.block = io::Cursor::new(block),
                None => return Ok(0),
            }
        }
    }
}
