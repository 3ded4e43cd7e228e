//! What the authority needs of the store.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use shoal_model::cluster::{Cluster, Node, NodeId};
use shoal_model::error::Failure;
use tokio::sync::watch;

/// One object with its new content. It was made from the version in its `meta`; version 0: it must not exist.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    Cluster(Arc<Cluster>),
    Node(Arc<Node>),
}

/// The store, as the authority sees it. Reads are those of the local replica.
pub trait CaStore: Debug + Send + Sync + 'static {
    /// The cluster; `None`: not yet replicated.
    fn cluster(&self) -> Option<Arc<Cluster>>;

    /// A node.
    fn node(&self, id: NodeId) -> Option<Arc<Node>>;

    /// All nodes, in the order of their ids.
    fn nodes(&self) -> Vec<Arc<Node>>;

    /// The nodes whose request for a certificate waits for a signature.
    fn nodes_that_ask(&self) -> Vec<Arc<Node>>;

    /// Wakes after each change of cluster or nodes; spurious wakes are fine.
    fn follow(&self) -> watch::Receiver<u64>;

    /// Brings the local replica up to what was committed before the call.
    ///
    /// # Errors
    /// When there is no leader.
    fn refresh(&self) -> BoxFuture<'_, Result<(), Failure>>;

    /// Commits all changes or none, on whichever manager leads; then they are readable here.
    ///
    /// # Errors
    /// `Conflict` when an object has changed since; `Unavailable` when there is no leader.
    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Failure>>;
}
