//! Encryption of what is written to disk.
//!
//! A sealed block is: key id (4 bytes, little endian), nonce (24), ciphertext with tag. Changing the key
//! seals what is written from then on; old blocks keep their key until their segment or snapshot goes,
//! which [`crate::Raft::reseal`] hastens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use shoal_base::random::SharedRandom;

/// Encrypts and authenticates blocks.
pub trait Sealer: fmt::Debug + Send + Sync + 'static {
    /// Seals `plain` with the newest key. `context` is authenticated, not stored: a block opens only
    /// where it was written.
    fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8>;

    /// Opens a block.
    ///
    /// # Errors
    /// When its key is not known, or when block or context are not what was sealed.
    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError>;

    /// The key that seals now.
    fn current(&self) -> KeyId;
}

/// Names a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A block was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error("sealed block of {size} bytes is too short")]
    TooShort { size: usize },
    #[error("sealed with key `{key}`, which is not known")]
    UnknownKey { key: KeyId },
    #[error("block sealed with key `{key}` is not authentic: another key, or changed")]
    NotAuthentic { key: KeyId },
}

/// A secret key. Neither printed nor compared.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// From 32 secret bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// XChaCha20-Poly1305 with any number of keys, the newest of which seals.
pub struct Keyring {
    keys: RwLock<Keys>,
    random: SharedRandom,
}

struct Keys {
    current: KeyId,
    ciphers: BTreeMap<KeyId, XChaCha20Poly1305>,
}

const KEY_ID_SIZE: usize = 4;
const NONCE_SIZE: usize = 24;
const TAG_SIZE: usize = 16;

/// Bytes a sealed block is longer than its content.
pub const OVERHEAD: usize = KEY_ID_SIZE + NONCE_SIZE + TAG_SIZE;

impl Keyring {
    /// With one key.
    pub fn new(id: KeyId, key: &Key, random: SharedRandom) -> Self {
        let ciphers = BTreeMap::from([(id, cipher(key))]);
        Self { keys: RwLock::new(Keys { current: id, ciphers }), random }
    }

    /// Adds a key that opens blocks; it does not seal.
    pub fn add(&self, id: KeyId, key: &Key) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.ciphers.insert(id, cipher(key));
    }

    /// Adds a key and seals with it from now on.
    pub fn rotate(&self, id: KeyId, key: &Key) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.ciphers.insert(id, cipher(key));
        keys.current = id;
    }

    /// Forgets a key, once nothing on disk needs it. The current one stays.
    pub fn forget(&self, id: KeyId) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.current != id {
            keys.ciphers.remove(&id);
        }
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&key.0).into())
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("current", &self.current()).finish_non_exhaustive()
    }
}

impl Sealer for Keyring {
    fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_SIZE];
        self.random.fill(&mut nonce);
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let cipher = keys.ciphers.get(&keys.current).expect("the current key is never forgotten");
        let sealed = cipher
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: plain, aad: context })
            .expect("blocks are far below the cipher's limit of 256 GiB");
        let mut block = Vec::with_capacity(plain.len() + OVERHEAD);
        block.extend_from_slice(&keys.current.0.to_le_bytes());
        block.extend_from_slice(&nonce);
        block.extend_from_slice(&sealed);
        block
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let key = key_of(sealed)?;
        let (nonce, rest) = sealed[KEY_ID_SIZE..].split_at(NONCE_SIZE);
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let cipher = keys.ciphers.get(&key).ok_or(OpenError::UnknownKey { key })?;
        cipher
            .decrypt(XNonce::from_slice(nonce), Payload { msg: rest, aad: context })
            .map_err(|_| OpenError::NotAuthentic { key })
    }

    fn current(&self) -> KeyId {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).current
    }
}

/// The key a block was sealed with.
///
/// # Errors
/// When it is too short to be a block.
pub fn key_of(sealed: &[u8]) -> Result<KeyId, OpenError> {
    let head = sealed.first_chunk::<KEY_ID_SIZE>().filter(|_| sealed.len() >= OVERHEAD);
    let head = head.ok_or(OpenError::TooShort { size: sealed.len() })?;
    Ok(KeyId(u32::from_le_bytes(*head)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_base::random::SystemRandom;

    use super::*;

    fn keyring() -> Keyring {
        Keyring::new(KeyId(1), &Key::from_bytes([1; 32]), Arc::new(SystemRandom))
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_that_was_changed() {
        let keyring = keyring();
        let sealed = keyring.seal(b"here", b"content");
        assert_eq!(sealed.len(), b"content".len() + OVERHEAD);
        assert_eq!(keyring.open(b"here", &sealed).unwrap(), b"content");
        let refused = Err(OpenError::NotAuthentic { key: KeyId(1) });
        assert_eq!(keyring.open(b"elsewhere", &sealed), refused);
        for at in KEY_ID_SIZE..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(keyring.open(b"here", &changed), refused, "byte {at}");
        }
        assert_eq!(keyring.open(b"here", &sealed[..43]), Err(OpenError::TooShort { size: 43 }));
    }

    #[test]
    fn an_old_key_opens_until_it_is_forgotten() {
        let keyring = keyring();
        let old = keyring.seal(b"", b"old");
        keyring.rotate(KeyId(2), &Key::from_bytes([2; 32]));
        let new = keyring.seal(b"", b"new");
        assert_eq!((key_of(&old), key_of(&new)), (Ok(KeyId(1)), Ok(KeyId(2))));
        assert_eq!(keyring.open(b"", &old).unwrap(), b"old");
        keyring.forget(KeyId(1));
        keyring.forget(KeyId(2));
        assert_eq!(keyring.open(b"", &old), Err(OpenError::UnknownKey { key: KeyId(1) }));
        assert_eq!(keyring.open(b"", &new).unwrap(), b"new");
    }
}
