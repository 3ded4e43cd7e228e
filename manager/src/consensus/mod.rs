//! What the store needs of consensus.

pub mod memory;
pub mod overview;
pub mod raft;

use std::fmt::Debug;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shoal_model::cluster::NodeId;
use tokio::sync::watch;

pub use overview::Overview;

/// The manager that leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its node.
    pub node: NodeId,
    /// Where its calls are served: `host:port`.
    pub address: String,
}

/// Who leads, as this manager sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Grows with each election.
    pub term: u64,
    /// `None`: no one, or not known.
    pub leader: Option<Leader>,
    /// Whether it is this manager.
    pub is_self: bool,
}

/// An entry that was committed and applied here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Its index.
    pub index: u64,
    /// What the state machine answered.
    pub response: Bytes,
}

/// Consensus did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    /// Nothing was proposed: ask the leader, when it is known.
    #[error("this manager does not lead")]
    NotLeader { leader: Option<Leader> },
    /// Nothing was proposed: no quorum acknowledges this leader at the moment.
    #[error("the managers have no quorum")]
    NoQuorum,
    /// It was proposed, then leadership changed: it may or may not be committed.
    #[error("leadership changed while the entry was proposed; whether it was committed is unknown")]
    Unknown,
    #[error("entry of {size} bytes is larger than {limit} bytes")]
    TooLarge { size: usize, limit: usize },
    /// Nothing was proposed.
    #[error("the manager that leads cannot write its log: {reason}")]
    DiskFull { reason: String },
    #[error("consensus has stopped: {reason}")]
    Stopped { reason: String },
}

/// A sequence of entries on which the managers agree.
pub trait Consensus: Debug + Send + Sync + 'static {
    /// Proposes an entry. Success: it is committed and applied here. Entries that are proposed concurrently
    /// share disk writes and messages.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the entry is committed.
    fn propose(&self, entry: Bytes) -> BoxFuture<'static, Result<Proposed, Error>>;

    /// An index such that a state that has applied it holds every write acknowledged before. Leader only.
    fn read_index(&self) -> BoxFuture<'static, Result<u64, Error>>;

    /// Completes when the state here has applied `index`.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    fn wait_applied(&self, index: u64) -> BoxFuture<'static, Result<(), Error>>;

    /// Who leads, whenever it changes.
    fn leadership(&self) -> watch::Receiver<Leadership>;
}
