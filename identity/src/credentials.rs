//! What a node shows and believes now: replaced while listeners and connections live.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rustls::sign::CertifiedKey;
use shoal_base::SharedClock;
use shoal_model::cluster::NodeId;
use shoal_model::error::{Classified, ErrorKind};
use tokio::sync::watch;

use crate::chain::{self, Trust};
use crate::files::Stored;
use crate::peer::{Facts, PeerIdentity};
use crate::request::NodeKey;
use crate::wire::SharedWire;
use crate::{pem, tls};

/// A certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to read the node's certificate")]
    Pem(#[source] pem::Error),
    #[error(transparent)]
    Chain(#[from] chain::Error),
    #[error(transparent)]
    Trust(#[from] chain::TrustError),
    #[error("key is not that of the certificate")]
    KeyOfAnother,
    #[error("failed to prepare the node's key")]
    Key(#[source] rustls::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Chain(source) => source.kind(),
            _ => ErrorKind::DataLoss,
        }
    }
}

/// One state of a node's credentials.
#[derive(Debug)]
pub struct Current {
    /// Who the node is.
    pub identity: PeerIdentity,
    /// What its certificate says.
    pub facts: Facts,
    /// PEM of its chain.
    pub chain: String,
    /// What it believes.
    pub trust: Trust,
    pub(crate) certified: Arc<CertifiedKey>,
}

impl Current {
    fn new(chain: &str, key: &NodeKey, trust: Trust, clock: &SharedClock) -> Result<Self, Error> {
        let certificates = pem::certificates(chain.as_bytes()).map_err(Error::Pem)?;
        let facts = chain::verify(&certificates, &trust.roots, None, clock.now())?;
        if facts.public_key != key.public() {
            return Err(Error::KeyOfAnother);
        }
        let signer =
            tls::provider().key_provider.load_private_key(key.private_der()).map_err(Error::Key)?;
        let certified = Arc::new(CertifiedKey::new(certificates, signer));
        Ok(Self { identity: facts.identity, facts, chain: chain.to_owned(), trust, certified })
    }
}

/// A node's credentials, shared by all its listeners and connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Credentials(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    current: watch::Sender<Arc<Current>>,
    revoked: RwLock<BTreeSet<NodeId>>,
    clock: SharedClock,
    wire: OnceLock<SharedWire>,
}

impl Credentials {
    /// From what the node keeps on disk.
    ///
    /// # Errors
    /// When the certificate is expired, not yet valid, or not of these roots; when the key is another's.
    pub fn new(stored: &Stored, clock: SharedClock) -> Result<Self, Error> {
        let trust = Trust::new(&stored.trust)?;
        let current = Arc::new(Current::new(&stored.chain, &stored.key, trust, &clock)?);
        let revoked = RwLock::default();
        let (current, wire) = (watch::Sender::new(current), OnceLock::new());
        Ok(Self(Arc::new(Inner { current, revoked, clock, wire })))
    }

    /// What holds now.
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.current.borrow())
    }

    /// Who the node is now.
    pub fn identity(&self) -> PeerIdentity {
        self.current().identity
    }

    /// Follows renewals: a change of role, of certificate, of trust.
    pub fn follow(&self) -> watch::Receiver<Arc<Current>> {
        self.0.current.subscribe()
    }

    /// Takes a new certificate. Connections that exist go on; new ones use it.
    ///
    /// # Errors
    /// As [`Credentials::new`]; then nothing changes.
    pub fn replace(&self, stored: &Stored) -> Result<(), Error> {
        let trust = Trust::new(&stored.trust)?;
        let current = Current::new(&stored.chain, &stored.key, trust, &self.0.clock)?;
        self.0.current.send_replace(Arc::new(current));
        Ok(())
    }

    /// Believes other roots, with the same certificate. The same roots again change nothing.
    ///
    /// # Errors
    /// When there is no root in `bundle` (PEM), or the node's own certificate is not of them; then nothing changes.
    pub fn trust(&self, bundle: &str) -> Result<(), Error> {
        let trust = Trust::new(bundle)?;
        let before = self.current();
        if before.trust.bundle == bundle {
            return Ok(());
        }
        let now = self.0.clock.now();
        chain::verify(&before.certified.cert, &trust.roots, None, now)?;
        let Current { identity, facts, chain, certified, .. } = &*before;
        self.0.current.send_replace(Arc::new(Current {
            identity: *identity,
            facts: facts.clone(),
            chain: chain.clone(),
            trust,
            certified: Arc::clone(certified),
        }));
        Ok(())
    }

    /// Replaces the set of nodes that are refused although their certificates are good.
    pub fn revoke(&self, nodes: BTreeSet<NodeId>) {
        *self.0.revoked.write().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// Whether a node is refused.
    pub fn is_revoked(&self, node: NodeId) -> bool {
        self.0.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(&node)
    }

    /// Connects and listens by other means than TCP from now on. Only the first call counts.
    pub fn set_wire(&self, wire: SharedWire) {
        let _ = self.0.wire.set(wire);
    }

    pub(crate) fn wire(&self) -> Option<SharedWire> {
        self.0.wire.get().cloned()
    }

    /// The clock by which certificates are judged.
    pub fn clock(&self) -> SharedClock {
        Arc::clone(&self.0.clock)
    }
}
