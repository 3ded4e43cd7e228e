//! Statuses of tasks on their way into the store: batched, one transaction per batch.
//!
//! The decision is pure: [`apply`] takes from a batch what is news. A status never moves a task back (the store checks it
//! again when it applies the transaction); a task that failed leaves a mark on its node in the same transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Fuse, FusedFuture as _, FutureExt as _};
use shoal_base::SharedClock;
use shoal_manager_core::store::{Rejected, Txn};
use shoal_model::cluster::node::FailureMark;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{Node, NodeId, Task, TaskId, TaskState};
use shoal_model::error::Chain;
use tokio::sync::{mpsc, oneshot};

use crate::store::{self, Store};

/// A batch that is this large does not wait.
pub const BATCH_MAX: usize = 10_000;
/// The shortest that a batch is gathered.
const GATHER: Duration = Duration::from_millis(2);
/// Marks that a node keeps.
pub const FAILURES_MAX: usize = 64;
/// Calls of workers that wait.
const CALLS_MAX: usize = 1024;

/// What a worker says of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Update {
    pub node: NodeId,
    pub task: TaskId,
    pub status: TaskStatus,
    /// How often the worker ran it again by itself.
    pub runs: u32,
}

/// Puts what is news into a transaction.
///
/// # Errors
/// When a rule of the store is broken.
pub fn apply(txn: &mut Txn, updates: &[Update]) -> Result<(), Rejected> {
    let mut marks = BTreeMap::<NodeId, Vec<FailureMark>>::new();
    for update in updates {
        let Some(task) = txn.task(update.task).cloned() else { continue };
        if task.node != Some(update.node) || !is_news(&task, update) {
            continue;
        }
        let status = &update.status;
        if task.runs == update.runs {
            // Each task is in a batch once.
            txn.note_status(task.id, status.clone());
        } else {
            let changed = Task { status: status.clone(), runs: update.runs, ..Task::clone(&task) };
            txn.put_task(changed)?;
        }
        let failed = matches!(status.state, TaskState::Failed | TaskState::Rejected);
        if let (Some(service), true) = (task.service, failed && !task.status.state.is_terminal()) {
            let spec_version = task.spec_version;
            let mark = FailureMark { service, spec_version, at: txn.at() };
            marks.entry(update.node).or_default().push(mark);
        }
    }
    for (id, marks) in marks {
        let Some(node) = txn.node(id) else { continue };
        let mut node = Node::clone(node);
        node.failures.extend(marks);
        let excess = node.failures.len().saturating_sub(FAILURES_MAX);
        node.failures.drain(..excess);
        txn.put_node(node)?;
    }
    Ok(())
}

/// Ended tasks take no news, and only managers make orphans.
fn is_news(task: &Task, update: &Update) -> bool {
    let (old, new) = (&task.status, &update.status);
    // What the store knows beyond the report is no difference.
    let is_same = || new == old || new.clone().following(old) == *old;
    let forward = new.state > old.state
        || (new.state == old.state && (update.runs > task.runs || !is_same()));
    let by_worker = new.state >= TaskState::Accepted
        && !matches!(new.state, TaskState::Remove | TaskState::Orphaned);
    forward && by_worker && !old.state.is_terminal() && task.runs <= update.runs
}

type Call = (Vec<Update>, oneshot::Sender<Result<(), Arc<store::Error>>>);

/// Takes statuses in. Clones feed the same batches.
#[derive(Debug, Clone)]
pub struct Statuses(mpsc::Sender<Call>);

/// Why statuses are not in the store.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to commit statuses")]
    Commit {
        #[source]
        source: Arc<store::Error>,
    },
    #[error("the manager is stopping")]
    Stopping,
}

impl Statuses {
    /// Waits until the updates, as far as they are news, are committed.
    ///
    /// # Errors
    /// When they are not; the worker sends them again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether they are committed.
    pub async fn commit(&self, updates: Vec<Update>) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.0.send((updates, answer)).await.map_err(|_| Error::Stopping)?;
        let result = answered.await.map_err(|_| Error::Stopping)?;
        result.map_err(|source| Error::Commit { source })
    }
}

/// The entry, and the loop behind it.
pub fn start(
    store: Store,
    clock: SharedClock,
) -> (Statuses, impl Future<Output = ()> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(CALLS_MAX);
    (Statuses(sender), run(store, clock, receiver))
}

/// Calls whose updates are committed together.
#[derive(Default)]
struct Batch {
    updates: Vec<Update>,
    answers: Vec<oneshot::Sender<Result<(), Arc<store::Error>>>>,
}

impl Batch {
    fn add(&mut self, (updates, answer): Call) {
        self.updates.extend(updates);
        self.answers.push(answer);
    }

    async fn commit(self, store: Store) {
        let result = commit(&store, &newest(self.updates)).await.map_err(Arc::new);
        if let Err(error) = &result {
            tracing::warn!(error = %Chain(error), "statuses are not committed");
        }
        for answer in self.answers {
            // A worker that went away sends them again.
            let _ = answer.send(result.clone());
        }
    }
}

/// A batch is gathered while the one before is committed, and [`GATHER`] at least: a quiet cluster answers at once, a busy one
/// commits few large batches.
async fn run(store: Store, clock: SharedClock, mut calls: mpsc::Receiver<Call>) {
    let mut batch = Batch::default();
    let mut flight = pin!(Fuse::terminated());
    let mut gathered = pin!(Fuse::terminated());
    loop {
        tokio::select! {
            () = &mut flight => {}
            () = &mut gathered => {}
            call = calls.recv(), if batch.updates.len() < BATCH_MAX => {
                let Some(call) = call else { break };
                if batch.answers.is_empty() {
                    gathered.set(clock.sleep(GATHER).fuse());
                }
                batch.add(call);
            }
        }
        let is_full = batch.updates.len() >= BATCH_MAX;
        let is_due = !batch.answers.is_empty() && (is_full || gathered.is_terminated());
        if is_due && flight.is_terminated() {
            flight.set(std::mem::take(&mut batch).commit(store.clone()).fuse());
        }
    }
    if !flight.is_terminated() {
        flight.await;
    }
    if !batch.answers.is_empty() {
        batch.commit(store).await;
    }
}

/// The last update of each task.
fn newest(mut updates: Vec<Update>) -> Vec<Update> {
    let mut seen = BTreeSet::new();
    updates.reverse();
    updates.retain(|update| seen.insert((update.task, update.node)));
    updates.reverse();
    updates
}

/// Commits in one transaction, or in halves when one would be too large.
async fn commit(store: &Store, updates: &[Update]) -> Result<(), store::Error> {
    let mut parts = vec![updates];
    while let Some(part) = parts.pop() {
        let committed = store.update(|txn| apply(txn, part).map_err(store::Error::from)).await;
        match committed {
            Ok(_) => {}
            Err(store::Error::TooLarge { .. }) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
