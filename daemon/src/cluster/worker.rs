//! The worker of this node: what it needs of the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use shoal_base::random::SharedRandom;
use shoal_identity::tls::Expected;
use shoal_identity::{Credentials, Keeper, chain, connect, pem};
use shoal_manager_raft::{Key, KeyId, Keyring, Sealer as _};
use shoal_model::cluster::node::NodeDescription;
use shoal_model::error::{ErrorKind, Failure};
use shoal_worker::session::Connector;
use shoal_worker::storage::{Sealer, SecretCache};
use tonic::transport::Channel;

/// Connects with the node's credentials.
pub(super) struct Dial {
    pub(super) credentials: Credentials,
    /// What is told to others, and where this node's own manager listens: the advertised address may be one that
    /// only others reach.
    pub(super) own: (SocketAddr, SocketAddr),
}

impl Dial {
    fn reached(&self, address: &str) -> String {
        let (advertised, listening) = self.own;
        if address.parse() == Ok(advertised) {
            here(listening).to_string()
        } else {
            address.to_owned()
        }
    }
}

/// An address at which the host itself reaches what listens at `listening`.
fn here(listening: SocketAddr) -> SocketAddr {
    let address = match listening.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listening.port())
}

#[async_trait]
impl Connector for Dial {
    async fn connect(&self, address: &str) -> Result<Channel, Failure> {
        Ok(connect::channel(&self.credentials, &self.reached(address), Expected::Manager)?)
    }

    fn identify(&self, description: &mut NodeDescription) {
        let current = self.credentials.current();
        let bundle = &current.trust.bundle;
        let issuer = pem::certificates(current.chain.as_bytes())
            .ok()
            .and_then(|certificates| chain::issuer(&certificates, bundle));
        description.trust_root.clone_from(bundle);
        (description.issuer_subject, description.issuer_public_key) = issuer.unwrap_or_default();
    }

    async fn identity_changed(&self, told: &NodeDescription) {
        let mut changes = self.credentials.follow();
        loop {
            changes.mark_unchanged();
            let mut now = told.clone();
            self.identify(&mut now);
            if now != *told {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_manager_is_reached_without_the_advertised_address() {
        let seen = |listening: &str| here(listening.parse().unwrap()).to_string();
        assert_eq!(seen("0.0.0.0:2377"), "127.0.0.1:2377");
        assert_eq!(seen("[::]:4000"), "[::1]:4000");
        assert_eq!(seen("10.0.0.5:2377"), "10.0.0.5:2377");
    }
}
