//! Operations of the executor under way: at most one per task; a new one waits until the one before is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use shoal_base::SharedClock;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_model::cluster::{AssignedTask, TaskId};
use shoal_model::error::{Chain, ErrorKind, Failure};
use shoal_proto::assignment::Key;
use shoal_proto::codec;
use shoal_proto::dispatcher::assignment_change::Kind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::executor::{Executor, Found, Work};
use crate::lifecycle::{Event, Operation, Trouble};
use crate::template;

const OUTCOMES_MAX: usize = 256;
/// Before leftovers are looked for again.
const AGAIN: Duration = Duration::from_secs(5);

/// What came of an operation.
#[derive(Debug)]
pub(super) enum Outcome {
    Task(TaskId, Event),
    /// All tasks of which the executor knows.
    Leftovers(Vec<TaskId>),
}

#[derive(Debug, Default)]
struct Running {
    number: u64,
    cancel: CancellationToken,
    done: CancellationToken,
}

/// All operations.
pub(super) struct Operations {
    executor: Arc<dyn Executor>,
    tasks: Tasks,
    clock: SharedClock,
    running: BTreeMap<TaskId, Running>,
    next: u64,
    sender: mpsc::Sender<(u64, Outcome)>,
    receiver: mpsc::Receiver<(u64, Outcome)>,
}

impl Operations {
    pub(super) fn new(executor: Arc<dyn Executor>, tasks: Tasks, clock: SharedClock) -> Self {
        let (sender, receiver) = mpsc::channel(OUTCOMES_MAX);
        Self { executor, tasks, clock, running: BTreeMap::new(), next: 0, sender, receiver }
    }

    /// Begins an operation and cancels the one before. `work` is that of [`Operation::Prepare`].
    pub(super) fn run(
        &mut self,
        id: TaskId,
        operation: Operation,
        work: Option<Result<Work, Trouble>>,
    ) {
        self.next += 1;
        let number = self.next;
        let running = Running { number, ..Running::default() };
        let (cancel, done) = (running.cancel.clone(), running.done.clone());
        let before = self.running.insert(id, running);
        let (executor, sender) = (Arc::clone(&self.executor), self.sender.clone());
        self.tasks.spawn(TaskKind::WorkerTask, async move {
            let _done = done.drop_guard();
            if let Some(before) = before {
                before.cancel.cancel();
                before.done.cancelled().await;
            }
            let performed = cancel.run_until_cancelled(perform(&*executor, id, operation, work));
            if let Some(event) = performed.await {
                // Without a receiver the agent has stopped.
                let _ = sender.send((number, Outcome::Task(id, event))).await;
            }
        });
    }

    /// A task is gone.
    pub(super) fn forget(&mut self, id: TaskId) {
        if let Some(running) = self.running.remove(&id) {
            running.cancel.cancel();
        }
    }

    /// Lists what the executor has, until that succeeds.
    pub(super) fn look_for_leftovers(&self) {
        let (executor, sender) = (Arc::clone(&self.executor), self.sender.clone());
        let clock = self.clock.clone();
        self.tasks.spawn(TaskKind::WorkerTask, async move {
            loop {
                match executor.list().await {
                    Ok(found) => {
                        let _ = sender.send((0, Outcome::Leftovers(found))).await;
                        return;
                    }
                    Err(error) => tracing::warn!(%error, "failed to look for leftovers"),
                }
                clock.sleep(AGAIN).await;
            }
        });
    }

    /// The next outcome of an operation that was not replaced.
    ///
    /// # Cancel safety
    /// Loses nothing.
    pub(super) async fn next(&mut self) -> Outcome {
        loop {
            match self.receiver.recv().await {
                Some((number, outcome)) if self.is_current(number, &outcome) => return outcome,
                Some(_) => {}
                // Unreachable: a sender is kept here.
                None => std::future::pending().await,
            }
        }
    }

    /// An outcome that is there already.
    pub(super) fn try_next(&mut self) -> Option<Outcome> {
        loop {
            let (number, outcome) = self.receiver.try_recv().ok()?;
            if self.is_current(number, &outcome) {
                return Some(outcome);
            }
        }
    }

    fn is_current(&self, number: u64, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Task(id, _) => {
                self.running.get(id).is_some_and(|running| running.number == number)
            }
            Outcome::Leftovers(_) => true,
        }
    }
}

async fn perform(
    executor: &dyn Executor,
    id: TaskId,
    operation: Operation,
    work: Option<Result<Work, Trouble>>,
) -> Event {
    match operation {
        Operation::Find => Event::Found(executor.find(id).await.map_err(trouble)),
        Operation::Prepare => Event::Prepared(match work {
            Some(Ok(work)) => prepare(executor, work).await.map_err(trouble),
            Some(Err(trouble)) => Err(trouble),
            None => Err(Trouble {
                message: "no manager has assigned the task".to_owned(),
                transient: false,
            }),
        }),
        Operation::Start => Event::Started(executor.start(id).await.map_err(trouble)),
        Operation::Settle => Event::Settled(executor.settle(id).await.map_err(trouble)),
        Operation::Wait => Event::Waited(executor.wait(id).await.map_err(trouble)),
        Operation::Shutdown { grace } => {
            Event::Stopped(executor.shutdown(id, grace).await.map_err(trouble))
        }
        Operation::Remove => Event::Removed(executor.remove(id).await.map_err(trouble)),
    }
}

async fn prepare(executor: &dyn Executor, work: Work) -> Result<Found, Failure> {
    let node = executor.describe().await?;
    executor.prepare(template::expand(work, &node)?).await
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn trouble(failure: Failure) -> Trouble {
    Trouble { message: failure.chain(), transient: failure.kind() == ErrorKind::Unavailable }
}

/// Gathers what a task needs.
pub(super) fn work(
    assigned: &AssignedTask,
    references: &BTreeMap<Key, Bytes>,
) -> Result<Work, Trouble> {
    let task = &assigned.task;
    let mut work = Work {
        task: Arc::clone(task),
        secrets: Vec::new(),
        configs: Vec::new(),
        sensitive_configs: Vec::new(),
        networks: Vec::new(),
    };
    for reference in &task.spec.secrets {
        let key = Key::new(Kind::Secret, reference.id.to_bytes());
        work.secrets.push((reference.clone(), find(references, key, "secret", &reference.name)?));
    }
    for reference in &task.spec.configs {
        let key = Key::new(Kind::Config, reference.id.to_bytes());
        work.configs.push((reference.clone(), find(references, key, "config", &reference.name)?));
    }
    for attachment in &task.networks {
        let key = Key::new(Kind::Network, attachment.network.to_bytes());
        let name = attachment.network.to_string();
        work.networks.push(find(references, key, "network", &name)?);
    }
    Ok(work)
}

fn find<T: DeserializeOwned>(
    references: &BTreeMap<Key, Bytes>,
    key: Key,
    kind: &'static str,
    name: &str,
) -> Result<Arc<T>, Trouble> {
    let Some(bytes) = references.get(&key) else {
        let message = format!("{kind} `{name}` has not come from a manager");
        return Err(Trouble { message, transient: true });
    };
    codec::decode(kind, bytes).map(Arc::new).map_err(|error| Trouble {
        message: format!("{kind} `{name}` cannot be read: {}", Chain(&error)),
        transient: false,
    })
}
