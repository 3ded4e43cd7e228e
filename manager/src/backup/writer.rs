//! Makes a backup, piece by piece, from an immutable state.

use shoal_base::random::SharedRandom;
use shoal_manager_core::store::State;
use shoal_manager_core::store::codec::SnapshotWriter;
use shoal_manager_raft::{Keyring, Sealer as _};
use shoal_model::Timestamp;
use shoal_model::cluster::ClusterId;

use super::{BLOCK, DATA, END, Error, Header, MAGIC, context};

/// A backup in the making: gives its bytes.
#[derive(Debug)]
pub struct Sealing {
    header: Vec<u8>,
    keys: Keyring,
    state: SnapshotWriter,
    waiting: Vec<u8>,
    /// Number of the next block; `None`: the header is next.
    next: Option<u64>,
    size: u64,
    done: bool,
}

impl Sealing {
    /// Of `state`, sealed with `passphrase`. Takes a good part of a second: call it where that may be.
    ///
    /// # Errors
    /// When the passphrase is too short.
    pub fn new(
        state: State,
        cluster: ClusterId,
        passphrase: &str,
        now: Timestamp,
        random: &SharedRandom,
    ) -> Result<Self, Error> {
        let header = Header::new(cluster, state.index(), now, random.as_ref());
        let keys = header.key(passphrase, random.clone())?;
        Ok(Self {
            header: header.encode(),
            keys,
            state: SnapshotWriter::new(state),
            waiting: Vec::new(),
            next: None,
            size: 0,
            done: false,
        })
    }

    fn piece(&mut self) -> Result<Vec<u8>, Error> {
        let Some(number) = self.next else {
            self.next = Some(0);
            return Ok([&MAGIC[..], &prefixed(&self.header)].concat());
        };
        self.next = Some(number + 1);
        while self.waiting.len() < BLOCK {
            match self.state.next() {
                Some(part) => self.waiting.extend(part.map_err(Error::Encode)?),
                None => break,
            }
        }
        if self.waiting.is_empty() {
            self.done = true;
            return Ok(self.sealed(number, END, &self.size.to_be_bytes()));
        }
        let rest = self.waiting.split_off(self.waiting.len().min(BLOCK));
        let block = std::mem::replace(&mut self.waiting, rest);
        self.size += u64::try_from(block.len()).unwrap_or(u64::MAX);
        Ok(self.sealed(number, DATA, &block))
    }

    fn sealed(&self, number: u64, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(content.len() + 1);
        plain.push(kind);
        plain.extend_from_slice(content);
        prefixed(&self.keys.seal(&context(&self.header, number), &plain))
    }
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("headers and blocks are small");
    [&length.to_be_bytes(), bytes].concat()
}

impl Iterator for Sealing {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let piece = self.piece();
        self.done |= piece.is_err();
        Some(piece)
    }
}
