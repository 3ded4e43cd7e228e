//! The store of the cluster: views, linearizable reads, transactions from any manager, changes.
//!
//! The objects themselves and the rules are `manager/core`'s; consensus puts the entries in order; this module
//! brings transactions to the leader, tries again what met a conflict, and makes a writer see its own write.
//!
//! Concurrent transactions are not merged into one entry: consensus writes and sends the entries that wait in
//! one go (measured: 27,900 single writes/s from 256 clients, `reference/raft.md` §1).

mod error;
pub mod forward;
pub mod machine;
mod proposals;
mod reads;
mod settle;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_base::SharedClock;
use shoal_manager_core::store::codec::{Accepted, Outcome, decode_outcome, encode_transaction};
use shoal_manager_core::store::watch::Batch;
use shoal_manager_core::store::{State, Transaction, Txn};
use tokio::sync::watch;

use crate::consensus::{self, Consensus, Leadership};
use crate::watch::{Lagged, Subscription};

pub use error::Error;
pub use forward::{Forward, ForwardError};
pub use machine::Objects;
use proposals::Kept;
use reads::{Failed, Reads};
use settle::Fate;

/// How long a call waits for a leader: some elections.
pub const LEADER_WAIT: Duration = Duration::from_secs(5);
/// Between attempts while no one leads.
const RETRY_PERIOD: Duration = Duration::from_millis(50);
/// How often a transaction is computed anew because others were faster.
const CONFLICTS_MAX: u32 = 32;

/// The store as one manager has it. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    objects: Objects,
    consensus: Arc<dyn Consensus>,
    leaders: Arc<dyn Forward>,
    clock: SharedClock,
    reads: Arc<Reads>,
}

/// What a committed transaction gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed<T> {
    /// What the closure returned.
    pub value: T,
    /// Version of all that was put; the views of this store contain it. Zero: nothing was changed.
    pub version: u64,
}

impl Store {
    /// A store that reads `objects`, which `consensus` writes, and reaches leaders through `leaders`.
    pub fn new(
        objects: Objects,
        consensus: Arc<dyn Consensus>,
        leaders: Arc<dyn Forward>,
        clock: SharedClock,
    ) -> Self {
        let reads = Arc::default();
        Self { inner: Arc::new(Inner { objects, consensus, leaders, clock, reads }) }
    }

    /// The objects as this manager has them now; may be behind the leader.
    pub fn view(&self) -> State {
        self.inner.objects.view()
    }

    /// The objects, with every write that was acknowledged anywhere before this call. Calls that wait share a round of
    /// consensus.
    ///
    /// # Errors
    /// When no leader with a quorum answers within [`LEADER_WAIT`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn read(&self) -> Result<State, Error> {
        let deadline = self.deadline();
        loop {
            let (consensus, leaders) =
                (Arc::clone(&self.inner.consensus), Arc::clone(&self.inner.leaders));
            let ask = async move {
                match consensus.read_index().await {
                    Err(consensus::Error::NotLeader { leader: Some(leader) }) => {
                        leaders.read_index(&leader).await.map_err(Failed::There)
                    }
                    index => index.map_err(Failed::Here),
                }
            };
            let index = self.inner.reads.join(&self.inner.clock, ask).await;
            match index.map_err(Error::from) {
                Ok(index) => {
                    self.catch_up(index).await?;
                    return Ok(self.view());
                }
                // A read whose answer was lost did nothing.
                Err(error) if error.passes() || matches!(error, Error::Unknown) => {
                    self.pause(deadline, error).await?
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The objects now, and all changes after.
    pub fn watch(&self) -> (State, Subscription) {
        self.inner.objects.watch()
    }

    /// The objects now, and all changes up to them that a subscription has not seen.
    ///
    /// # Errors
    /// When the subscription missed changes.
    pub fn follow(&self, changes: &mut Subscription) -> Result<(State, Vec<Arc<Batch>>), Lagged> {
        self.inner.objects.follow(changes)
    }

    /// The changes after `version`.
    ///
    /// # Errors
    /// When they are not held any more.
    pub fn watch_from(&self, version: u64) -> Result<Subscription, Lagged> {
        self.inner.objects.ring().subscribe(version)
    }

    /// The time that transactions are stamped with.
    pub fn now(&self) -> shoal_model::Timestamp {
        self.inner.clock.now()
    }

    /// Who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.consensus.leadership()
    }

    /// Consensus, for the server of forwarded calls.
    pub fn consensus(&self) -> &Arc<dyn Consensus> {
        &self.inner.consensus
    }

    /// Computes a transaction from a view and commits it; computes it anew from a fresh view when others
    /// changed the same objects meanwhile. When it returns, the views of this store contain it.
    ///
    /// # Errors
    /// Those of `change`, which is then not committed; those of consensus; a broken rule of the store.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the transaction is committed.
    pub async fn update<T, E: From<Error>>(
        &self,
        mut change: impl FnMut(&mut Txn) -> Result<T, E>,
    ) -> Result<Committed<T>, E> {
        let mut conflicts = 0;
        loop {
            let mut txn = Txn::new(&self.view(), self.inner.clock.now());
            let value = change(&mut txn)?;
            if txn.is_empty() {
                return Ok(Committed { value, version: 0 });
            }
            match self.commit(&txn.finish()).await {
                Ok(accepted) => return Ok(Committed { value, version: accepted.version.0 }),
                // The view allowed it, so the view was old: a fresh one gives a new transaction, or the
                // closure's own refusal.
                Err(Error::Rejected(_)) if conflicts < CONFLICTS_MAX => conflicts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Commits a finished transaction, on whatever manager leads.
    ///
    /// # Errors
    /// When it breaks a rule, or no leader with a quorum answers within [`LEADER_WAIT`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the transaction is committed.
    pub async fn commit(&self, transaction: &Transaction) -> Result<Accepted, Error> {
        let entry = Bytes::from(encode_transaction(transaction)?);
        let leads = self.inner.consensus.leadership().borrow().is_self;
        let _kept = leads.then(|| self.keep(&entry, transaction.clone()));
        let deadline = self.deadline();
        // An earlier attempt may be committed yet: then it is the reason why a later one is rejected.
        let mut uncertain = false;
        loop {
            let error = match self.propose(entry.clone()).await {
                Ok((index, outcome)) => {
                    self.catch_up(index).await?;
                    return match outcome {
                        Ok(accepted) => Ok(accepted),
                        Err(rejected) if !uncertain => Err(Error::Rejected(rejected)),
                        Err(_) => match settle::fate(&self.view(), transaction) {
                            Fate::Committed(version) => Ok(Accepted { version, late: Vec::new() }),
                            Fate::NotCommitted | Fate::Unclear => Err(Error::Unknown),
                        },
                    };
                }
                Err(error) => error,
            };
            if matches!(error, Error::Unknown) {
                uncertain = true;
                match settle::fate(&self.read().await?, transaction) {
                    Fate::Committed(version) => {
                        return Ok(Accepted { version, late: Vec::new() });
                    }
                    Fate::Unclear => return Err(error),
                    Fate::NotCommitted => {}
                }
            } else if !error.passes() {
                return Err(error);
            }
            self.pause(deadline, error).await?;
        }
    }

    /// Commits a transaction here, if this manager leads in `term`. For plans that are right only while no other
    /// leader plans: they are never forwarded, and never tried again.
    ///
    /// # Errors
    /// [`Error::NoLeader`] when another term began; when it breaks a rule, or has no quorum.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the transaction is committed.
    pub async fn commit_leading(
        &self,
        term: u64,
        transaction: Transaction,
    ) -> Result<Accepted, Error> {
        let leads = {
            let leadership = self.leadership();
            let leadership = leadership.borrow();
            leadership.is_self && leadership.term == term
        };
        if !leads {
            return Err(Error::NoLeader);
        }
        self.commit_here(transaction).await
    }

    /// Commits a transaction here or not at all. For plans of a leader: one that was replaced must not reach its successor,
    /// which has made its own.
    ///
    /// # Errors
    /// When this manager does not lead; when it breaks a rule, or has no quorum.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the transaction is committed.
    pub(crate) async fn commit_here(&self, transaction: Transaction) -> Result<Accepted, Error> {
        let entry = Bytes::from(encode_transaction(&transaction)?);
        let _kept = self.keep(&entry, transaction);
        let proposed = self.inner.consensus.propose(entry.clone()).await?;
        decode_outcome(&proposed.response)?.map_err(Error::Rejected)
    }

    fn keep(&self, entry: &Bytes, transaction: Transaction) -> Kept {
        self.inner.objects.proposals().keep(entry, transaction)
    }

    /// Proposes an entry here or, when this manager does not lead, to the leader.
    async fn propose(&self, entry: Bytes) -> Result<(u64, Outcome), Error> {
        // A leader that is cut off waits for its followers for as long as that lasts.
        let here = self.inner.consensus.propose(entry.clone());
        let here = tokio::select! {
            proposed = here => proposed,
            () = self.inner.clock.sleep(forward::CALL_TIMEOUT) => Err(consensus::Error::Unknown),
        };
        let proposed = match here {
            Err(consensus::Error::NotLeader { leader: Some(leader) }) => {
                self.inner.leaders.propose(&leader, entry).await?
            }
            other => other?,
        };
        let outcome = decode_outcome(&proposed.response)?;
        Ok((proposed.index, outcome))
    }

    async fn catch_up(&self, index: u64) -> Result<(), Error> {
        let reached = self.inner.consensus.wait_applied(index);
        tokio::select! {
            reached = reached => Ok(reached?),
            () = self.inner.clock.sleep(LEADER_WAIT) => Err(Error::Behind { index }),
        }
    }

    fn deadline(&self) -> Duration {
        self.inner.clock.monotonic() + LEADER_WAIT
    }

    /// Waits for another leader, or a little; the error when the deadline has passed.
    async fn pause(&self, deadline: Duration, error: Error) -> Result<(), Error> {
        if self.inner.clock.monotonic() >= deadline {
            return Err(error);
        }
        let mut leadership = self.leadership();
        leadership.mark_unchanged();
        // Consensus that has ended tells of no leader any more.
        tokio::select! {
            Ok(()) = leadership.changed() => {}
            () = self.inner.clock.sleep(RETRY_PERIOD) => {}
        }
        Ok(())
    }
}
