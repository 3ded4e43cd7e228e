//! Unlock keys: `SWMKEY-1-<32 bytes in base 64>`.
//!
//! Pure. Source: swarmkit `manager/encryption/encryption.go` `HumanReadableKey`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use shoal_base::random::{Random, bytes32};
use shoal_model::error::{Classified, ErrorKind};
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "SWMKEY-1-";

/// A text is no unlock key. The words are docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid key string")]
pub struct Invalid;

impl Classified for Invalid {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unauthorized
    }
}

/// The key that unlocks managers.
#[derive(Clone)]
pub struct UnlockKey([u8; 32]);

impl UnlockKey {
    /// A new key.
    pub fn generate(random: &dyn Random) -> Self {
        Self(bytes32(random))
    }

    /// The key as the store holds it; `None` when it has not 32 bytes, as when managers are not locked.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads what a user typed. White space around it is ignored.
    ///
    /// # Errors
    /// When it is no unlock key.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(Invalid)?;
        let bytes = STANDARD_NO_PAD.decode(digits).map_err(|_| Invalid)?;
        Self::from_bytes(&bytes).ok_or(Invalid)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for UnlockKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for UnlockKey {}

impl fmt::Display for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for UnlockKey {
    /// Without the key: it must not reach logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_key_comes_back() {
        let key = UnlockKey([0xfb; 32]);
        let text = "SWMKEY-1-+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s";
        assert_eq!(key.to_string(), text);
        assert_eq!(UnlockKey::parse(&format!(" {text}\n")).unwrap(), key);
        assert_eq!(format!("{key:?}"), "SWMKEY-1-…");
    }

    #[test]
    fn anything_else_is_refused_in_dockers_words() {
        for bad in ["", "SWMKEY-1-", "SWMKEY-1-+/v7", "SWMKEY-2-AAAA", "SWMKEY-1-????", "hello"] {
            assert_eq!(
                UnlockKey::parse(bad).unwrap_err().to_string(),
                "invalid key string",
                "{bad}"
            );
        }
    }
}
