//! Signs what waits for a signature. Runs on the leader.
//!
//! Requests wait in the store, so that a new leader goes on where the old one stopped.

use std::sync::Arc;
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_base::random::SharedRandom;
use shoal_identity::root::{self, Issue, Signer};
use shoal_identity::{Credentials, PeerIdentity, Root};
use shoal_model::Timestamp;
use shoal_model::cluster::{Cluster, Node};
use shoal_model::error::{Chain, Classified, ErrorKind};

use super::external::{self, External};
use super::{CaStore, Change, configure, issue};

/// Signed in one transaction, at most: a hundred signatures cost 50 ms.
const BATCH_MAX: usize = 100;
/// Wait after a failure that may pass.
const RETRY: Duration = Duration::from_secs(2);

/// No certificate was made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to sign with the cluster's root")]
    Local(#[source] root::Error),
    #[error("failed to have it signed outside the cluster")]
    External(#[source] external::Error),
    #[error("certificate request is damaged")]
    Request,
}

impl Error {
    /// Whether the node is told, and has to ask again; else it waits until it is signed.
    fn is_final(&self) -> bool {
        match self {
            Self::Request => true,
            Self::Local(source) => source.kind() == ErrorKind::InvalidArgument,
            Self::External(source) => source.kind() == ErrorKind::InvalidArgument,
        }
    }
}

/// The leader's signing.
#[derive(Debug)]
pub struct Signing {
    /// Where requests wait.
    pub store: Arc<dyn CaStore>,
    /// Shown to signers outside the cluster.
    pub credentials: Credentials,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub random: SharedRandom,
}

impl Signing {
    /// Runs until it is dropped, which is when leadership ends.
    ///
    /// # Cancel safety
    /// Dropping the future loses signatures at most: the requests are still in the store.
    pub async fn run(self) {
        let mut follow = self.store.follow();
        loop {
            follow.borrow_and_update();
            match self.round().await {
                Ok(true) => continue,
                Ok(false) => {
                    if follow.changed().await.is_err() {
                        return;
                    }
                }
                Err(()) => self.clock.sleep(RETRY).await,
            }
        }
    }

    /// Signs for one batch of nodes. `Ok(false)`: nobody waits. `Err`: something that may pass is in the way.
    async fn round(&self) -> Result<bool, ()> {
        let Some(cluster) = self.store.cluster() else { return Ok(false) };
        let mut due = self.store.nodes_that_ask();
        due.truncate(BATCH_MAX);
        if due.is_empty() {
            return Ok(false);
        }
        let mut changes = Vec::new();
        for node in &due {
            match self.sign(&cluster, node).await {
                Ok(chain) => changes.push(change(node, Ok(chain))),
                Err(error) => {
                    let text = Chain(&error).to_string();
                    tracing::warn!(node = %node.id, error = %text, "failed to sign a certificate");
                    if error.is_final() {
                        changes.push(change(node, Err(text)));
                    }
                }
            }
        }
        if changes.is_empty() {
            return Err(());
        }
        match self.store.commit(changes).await {
            Ok(()) => Ok(true),
            // A node has changed meanwhile: look again.
            Err(failure) if failure.kind() == ErrorKind::Conflict => Ok(true),
            Err(failure) => {
                tracing::warn!(error = %failure, "failed to store certificates");
                Err(())
            }
        }
    }

    async fn sign(&self, cluster: &Cluster, node: &Node) -> Result<String, Error> {
        let request = std::str::from_utf8(&node.certificate.request).map_err(|_| Error::Request)?;
        let identity = PeerIdentity { node: node.id, role: node.role, cluster: cluster.id };
        let now = self.clock.now();
        match External::of(cluster, &self.credentials).map_err(Error::External)? {
            Some(external) => external.sign(request, identity).await.map_err(Error::External),
            None => {
                let expiry = cluster.spec.ca.node_cert_expiry;
                local_signer(cluster, now)
                    .and_then(|signer| {
                        let issue = Issue { identity, expiry, now };
                        signer.sign(request, issue, self.random.as_ref())
                    })
                    .map_err(Error::Local)
            }
        }
    }
}

fn change(node: &Node, answer: Result<String, String>) -> Change {
    Change::Node(Arc::new(issue::answered(node, answer)))
}

/// The cluster's own signer: of the new root during a turn.
///
/// # Errors
/// When the key is not in the cluster, or the stored root is of no use now.
pub fn local_signer(cluster: &Cluster, now: Timestamp) -> Result<Signer, root::Error> {
    match &cluster.root.rotation {
        Some(rotation) => {
            let root = Root::load(&rotation.certificate, &rotation.key, now)?;
            Signer::new(root, rotation.cross_signed.clone())
        }
        None => {
            let root = Root::load(&cluster.root.certificate, &cluster.root.key, now)?;
            Signer::new(root, String::new())
        }
    }
}

/// Where signers outside the cluster listen for the root that signs now, with PEM of that root and of what goes
/// into chains.
pub(crate) fn external_urls(cluster: &Cluster) -> (Vec<String>, &str, &str) {
    let root = &cluster.root;
    let (wanted, intermediates) = match &root.rotation {
        Some(rotation) => (rotation.certificate.as_str(), rotation.cross_signed.as_str()),
        None => (root.certificate.as_str(), ""),
    };
    (configure::urls(&cluster.spec.ca, root, wanted), wanted, intermediates)
}
