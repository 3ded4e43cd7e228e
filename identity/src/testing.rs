//! What tests of this crate share.

use std::time::Duration;

use futures_util::future::BoxFuture;
use rustls_pki_types::CertificateDer;
use shoal_base::Clock;
use shoal_base::random::{Random, SystemRandom};
use shoal_model::Timestamp;
use shoal_model::cluster::node::NodeRole;
use shoal_model::cluster::{ClusterId, NodeId};

use crate::peer::PeerIdentity;
use crate::request::NodeKey;
use crate::root::{Issue, Root, Signer};

/// Randomness that repeats one byte.
#[derive(Debug)]
pub(crate) struct Constant(pub(crate) u8);

impl Random for Constant {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

/// A clock that stands.
#[derive(Debug)]
pub(crate) struct Standing(pub(crate) Timestamp);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// 2026-11-21T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_parts(1_795_219_200, 0);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
pub(crate) const NODE: NodeId = NodeId::from_bytes([2; 16]);

pub(crate) fn root() -> Root {
    Root::generate(NOW, &SystemRandom).unwrap()
}

pub(crate) fn identity(role: NodeRole) -> PeerIdentity {
    PeerIdentity { node: NODE, role, cluster: CLUSTER }
}

/// A chain for `identity`, signed at `now` for 90 days, and its key.
pub(crate) fn node(signer: &Signer, identity: PeerIdentity, now: Timestamp) -> (String, NodeKey) {
    let key = NodeKey::generate().unwrap();
    let issue = Issue { identity, expiry: 90 * DAY, now };
    let chain = signer.sign(&key.request().unwrap(), issue, &SystemRandom).unwrap();
    (chain, key)
}

pub(crate) fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    crate::pem::certificates(pem.as_bytes()).unwrap()
}
