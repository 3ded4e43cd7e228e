//! The readable beginning of a backup, and the key that its passphrase gives.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use shoal_base::random::{Random, SharedRandom};
use shoal_manager_raft::{Key, KeyId, Keyring};
use shoal_model::Timestamp;
use shoal_model::cluster::ClusterId;

use super::Error;

/// Shortest passphrase.
pub const PASSPHRASE_MIN: usize = 8;
const FORMAT: u32 = 1;
const SALT: usize = 16;
/// As RFC 9106 recommends where memory is scarce: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// What a file may ask for: it is not known yet who wrote it.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// The readable part of a backup. It is authenticated with the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Header {
    format: u32,
    /// Which cluster it is of.
    pub cluster: ClusterId,
    /// When it was made.
    pub created: Timestamp,
    /// Release of Shoal that made it.
    pub release: String,
    /// Raft index of the last change in it.
    pub index: u64,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

const KDF: &str = "argon2id";

impl Header {
    /// Of a backup that begins now.
    pub(super) fn new(
        cluster: ClusterId,
        index: u64,
        created: Timestamp,
        random: &dyn Random,
    ) -> Self {
        let mut salt = [0; SALT];
        random.fill(&mut salt);
        Self {
            format: FORMAT,
            cluster,
            created,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            index,
            kdf: KDF.to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: STANDARD.encode(salt),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always have a form in JSON")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(Error::Header)?;
        if head.format > FORMAT {
            return Err(Error::Newer { found: head.format });
        }
        serde_json::from_slice(bytes).map_err(Error::Header)
    }

    /// The key that seals the blocks. Takes a good part of a second: call it where that may be.
    pub(super) fn key(&self, passphrase: &str, random: SharedRandom) -> Result<Keyring, Error> {
        if passphrase.len() < PASSPHRASE_MIN {
            return Err(Error::ShortPassphrase);
        }
        let within = self.memory_kib <= MEMORY_KIB_MAX
            && self.passes <= PASSES_MAX
            && self.lanes <= LANES_MAX;
        if self.kdf != KDF || !within {
            return Err(Error::Work);
        }
        let failed = |error: &dyn std::fmt::Display| Error::Key { reason: error.to_string() };
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|error| failed(&error))?;
        let salt = STANDARD.decode(&self.salt).map_err(|error| failed(&error))?;
        let mut key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut key)
            .map_err(|error| failed(&error))?;
        Ok(Keyring::new(KeyId(1), &Key::from_bytes(key), random))
    }
}
