//! Opens a backup, in pieces of any size.

use shoal_base::random::SharedRandom;
use shoal_manager_core::store::State;
use shoal_manager_core::store::codec::SnapshotReader;
use shoal_manager_raft::{Keyring, Sealer as _, seal};

use super::{BLOCK, DATA, END, Error, HEADER_MAX, Header, MAGIC, context};

/// A backup that is being opened.
pub struct Opening {
    passphrase: String,
    random: SharedRandom,
    buffer: Vec<u8>,
    begun: Option<Begun>,
    state: SnapshotReader,
    next: u64,
    size: u64,
    ended: bool,
}

struct Begun {
    header: Header,
    bytes: Vec<u8>,
    keys: Keyring,
}

impl std::fmt::Debug for Opening {
    /// Without the passphrase: it must not reach logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Opening {
    /// With the passphrase that it was sealed with.
    pub fn new(passphrase: String, random: SharedRandom) -> Self {
        Self {
            passphrase,
            random,
            buffer: Vec::new(),
            begun: None,
            state: SnapshotReader::new(),
            next: 0,
            size: 0,
            ended: false,
        }
    }

    /// Takes the next bytes. Takes a good part of a second once, for the key.
    ///
    /// # Errors
    /// When they are not those of a backup, or the passphrase is wrong.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some(length) = self.piece(taken)? {
            taken += length;
        }
        self.buffer.drain(..taken);
        Ok(())
    }

    /// Takes the piece that begins at `from`; its length, or `None` when it is not all there yet.
    fn piece(&mut self, from: usize) -> Result<Option<usize>, Error> {
        let rest = &self.buffer[from..];
        if self.begun.is_none() {
            let seen = rest.len().min(MAGIC.len());
            if rest[..seen] != MAGIC[..seen] {
                return Err(Error::NotABackup);
            }
            let Some(header) = framed(&rest[seen..], HEADER_MAX, Error::NotABackup)? else {
                return Ok(None);
            };
            let (bytes, length) = (header.to_vec(), seen + 4 + header.len());
            let header = Header::decode(&bytes)?;
            let keys = header.key(&self.passphrase, self.random.clone())?;
            self.begun = Some(Begun { header, bytes, keys });
            return Ok(Some(length));
        }
        if self.ended {
            return if rest.is_empty() { Ok(None) } else { Err(self.damaged()) };
        }
        let Some(sealed) = framed(rest, BLOCK + seal::OVERHEAD + 1, self.damaged())? else {
            return Ok(None);
        };
        let length = 4 + sealed.len();
        let begun = self.begun.as_ref().expect("looked at above");
        let opened = begun.keys.open(&context(&begun.bytes, self.next), sealed);
        let plain = match opened {
            Ok(plain) => plain,
            // The first block tells whether the passphrase is the right one.
            Err(error) if self.next == 0 => return Err(Error::Passphrase(error)),
            Err(_) => return Err(self.damaged()),
        };
        self.block(&plain)?;
        self.next += 1;
        Ok(Some(length))
    }

    fn block(&mut self, plain: &[u8]) -> Result<(), Error> {
        match plain.split_first() {
            Some((&DATA, state)) => {
                self.size += u64::try_from(state.len()).unwrap_or(u64::MAX);
                self.state.push(state).map_err(Error::State)
            }
            Some((&END, size)) if *size == self.size.to_be_bytes() => {
                self.ended = true;
                Ok(())
            }
            _ => Err(self.damaged()),
        }
    }

    fn damaged(&self) -> Error {
        Error::Damaged { block: self.next }
    }

    /// Header and state, when all of it was read.
    ///
    /// # Errors
    /// When the end is missing.
    pub fn finish(self) -> Result<(Header, State), Error> {
        let Some(begun) = self.begun.filter(|_| self.ended) else { return Err(Error::Truncated) };
        Ok((begun.header, self.state.finish().map_err(Error::State)?))
    }
}

/// The bytes behind a length; `None`: they are not all there.
fn framed(bytes: &[u8], limit: usize, error: Error) -> Result<Option<&[u8]>, Error> {
    let Some((length, body)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(error);
    }
    Ok(body.split_at_checked(length).map(|(piece, _)| piece))
}
