//! The worker of this node: what it needs of the host.

use std::sync::Arc;

use async_trait::async_trait;
use shoal_base::random::SharedRandom;
use shoal_identity::tls::Expected;
use shoal_identity::{Credentials, Keeper, connect};
use shoal_manager_raft::{Key, KeyId, Keyring, Sealer as _};
use shoal_model::error::{ErrorKind, Failure};
use shoal_worker::session::Connector;
use shoal_worker::storage::{Sealer, SecretCache};
use tonic::transport::Channel;

/// Connects with the node's credentials.
pub(super) struct Dial(pub(super) Credentials);

#[async_trait]
impl Connector for Dial {
    async fn connect(&self, address: &str) -> Result<Channel, Failure> {
        Ok(connect::channel(&self.0, address, Expected::Manager)?)
    }
}

/// Seals secrets on disk with the node's data key, which is locked with the rest under autolock.
struct DataKeySealer(Keyring);

/// What is sealed opens only for this purpose.
const PURPOSE: &[u8] = b"worker secrets";

impl Sealer for DataKeySealer {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        self.0.seal(PURPOSE, plain)
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Failure> {
        let damaged = |error| {
            Failure::new(ErrorKind::DataLoss, format!("cannot open a sealed secret: {error}"))
        };
        self.0.open(PURPOSE, sealed).map_err(damaged)
    }
}

/// Where the worker keeps secrets: sealed on disk, or in memory while there is no key to seal with.
pub(super) fn secrets(keeper: &Keeper, random: &SharedRandom) -> SecretCache {
    let mut keys = keeper.data_keys();
    keys.sort_by_key(|key| key.id);
    let Some(newest) = keys.pop() else { return SecretCache::Memory };
    let ring = Keyring::new(KeyId(newest.id), &Key::from_bytes(newest.key), random.clone());
    for key in keys {
        ring.add(KeyId(key.id), &Key::from_bytes(key.key));
    }
    SecretCache::Disk(Arc::new(DataKeySealer(ring)))
}
