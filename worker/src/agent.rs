//! The agent: owns all tasks of this node and everything that is decided about them.
//!
//! One loop takes in what the session and the executor say, steps the lifecycles, writes what changed to disk, then
//! reports. Dropping it stops nothing that runs: the next start finds the same containers.

mod operation;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_base::random::SharedRandom;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{SharedClock, SharedDisk};
use shoal_model::Timestamp;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{AssignedTask, ClusterNetworkId, SessionId, TaskId, TaskState};
use shoal_model::error::{Chain, Classified, ErrorKind, Failure};
use shoal_proto::assignment::Key;
use shoal_proto::codec;
use shoal_proto::dispatcher::assignment_change::Kind;
use tokio::sync::{mpsc, watch};

use self::operation::{Operations, Outcome};
use crate::assignments::Part;
use crate::attach;
use crate::executor::Executor;
use crate::lifecycle::{Effect, Event, Lifecycle, Memory, Now, Operation, Rules};
use crate::managers::Managers;
use crate::networks::{self, Networks};
use crate::reports::Report;
use crate::session::{About, Client, Connector, Inbound, Shared, Update};
use crate::storage::{self, Record, SecretCache, Storage};

const INBOUND_MAX: usize = 64;
/// Events taken in before what they changed is written.
const ROUND_MAX: usize = 256;
/// Before a failed write, or a failed look for leftovers, is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Containers that start with their host wait so long for the first manager.
///
/// Source: moby `daemon/daemon.go` waitForNetworks.
const FIRST_SESSION: Duration = Duration::from_secs(60);

/// What a worker is told at its start.
#[derive(Debug)]
pub struct Options {
    /// Directory of the local state; exists, and is readable by root only.
    pub directory: PathBuf,
    /// Addresses of managers, `host:port`, for when nothing better is known.
    pub seeds: Vec<String>,
    /// Where secrets are kept.
    pub secrets: SecretCache,
}

/// What a worker needs of its surroundings.
#[derive(Clone)]
#[allow(missing_docs, reason = "the types say it")]
pub struct Ports {
    pub executor: Arc<dyn Executor>,
    pub networks: Arc<dyn Networks>,
    pub connector: Arc<dyn Connector>,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub disk: SharedDisk,
    /// Owns everything that the worker spawns.
    pub tasks: Tasks,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// Failed to start a worker.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Error {
    #[error("failed to use the local state")]
    Storage {
        #[source]
        source: storage::Error,
    },
    #[error("failed to read the local state")]
    Blocking {
        #[source]
        source: shoal_base::blocking::Lost,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Storage { source } => source.kind(),
            Self::Blocking { .. } => ErrorKind::Internal,
        }
    }
}

/// What is known of the session.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// `None`: no manager is reachable.
    pub session: Option<SessionId>,
    /// The last manager that was asked says that this node is no member; `None`: it did not. What follows is the owner's
    /// business: tasks run on.
    pub refused: Option<String>,
    /// What the last manager said; `None`: none yet.
    pub about: Option<Arc<About>>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    view: watch::Receiver<View>,
    shared: Arc<Shared>,
    storage: Storage,
    clock: SharedClock,
}

impl Worker {
    /// Takes up the tasks that are on disk and looks for a manager. Ends with `ports.tasks`; containers run on.
    ///
    /// # Errors
    /// When the local state can be neither read nor begun anew.
    pub async fn start(options: Options, ports: Ports) -> Result<Self, Error> {
        let path = options.directory.join("worker");
        let secrets = options.secrets;
        let disk = ports.disk.clone();
        let opened = shoal_base::blocking::run("open worker state", move || {
            Storage::open(&path, secrets, disk).map(|storage| {
                let loaded = storage.load();
                (storage, loaded)
            })
        });
        let opened = opened.await.map_err(|source| Error::Blocking { source })?;
        let (storage, loaded) = opened.map_err(|source| Error::Storage { source })?;
        let shared = Arc::new(Shared::default());
        let (inbound_sender, inbound) = mpsc::channel(INBOUND_MAX);
        let (view_sender, view) = watch::channel(View::default());
        let managers_file = options.directory.join("managers.json");
        let client = Client {
            connector: Arc::clone(&ports.connector),
            executor: Arc::clone(&ports.executor),
            clock: ports.clock.clone(),
            random: ports.random.clone(),
            managers: Managers::load(&*ports.disk, &managers_file, options.seeds),
            disk: ports.disk.clone(),
            managers_file,
            shared: Arc::clone(&shared),
            inbound: inbound_sender,
        };
        let mut agent = Agent {
            clock: ports.clock.clone(),
            storage: storage.clone(),
            shared: Arc::clone(&shared),
            operations: Operations::new(ports.executor, ports.tasks.clone(), ports.clock.clone()),
            lives: BTreeMap::new(),
            references: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            dirty_tasks: BTreeSet::new(),
            dirty_references: BTreeSet::new(),
            write_again: None,
            to_report: BTreeSet::new(),
            connected: false,
            view: view_sender,
        };
        agent.resume(loaded);
        ports.tasks.spawn(TaskKind::WorkerSession, agent.run(inbound));
        ports.tasks.spawn(TaskKind::WorkerSession, client.run());
        let applying = networks::run(Viewed(shared.clone()), ports.networks, ports.clock.clone());
        ports.tasks.spawn(TaskKind::WorkerSession, applying);
        Ok(Self { view, shared, storage, clock: ports.clock })
    }

    /// The session, and what managers say.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Says goodbye, so that the node counts as down at once. Without a session there is nobody to tell. Tasks are
    /// the caller's business.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the goodbye was heard.
    pub async fn leave(&self) {
        if self.view.borrow().session.is_some() {
            self.shared.leave();
            self.shared.left().await;
        }
    }

    /// Gives a plain container of this node its addresses on a network of the cluster. Where no manager was heard of
    /// since the start, one is waited for.
    ///
    /// # Errors
    /// What the manager says, or that none is reachable.
    pub async fn attach(&self, wish: &attach::Wish) -> Result<attach::Given, Failure> {
        let mut view = self.view.clone();
        let heard = view.wait_for(|view| view.about.is_some() || view.refused.is_some());
        tokio::select! {
            heard = heard => drop(heard),
            () = self.clock.sleep(FIRST_SESSION) => {}
        }
        attach::attach(&self.shared, wish).await
    }

    /// Takes an attachment back that nobody uses.
    ///
    /// # Errors
    /// As [`Worker::attach`].
    pub async fn detach(&self, task: TaskId) -> Result<(), Failure> {
        attach::detach(&self.shared, task).await
    }

    /// Erases tasks and secrets from disk. Call it after the owner of `ports.tasks` has shut down.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn erase(&self) -> Result<(), storage::Error> {
        self.storage.erase().await
    }
}

struct Viewed(Arc<Shared>);

impl AsRef<networks::Views> for Viewed {
    fn as_ref(&self) -> &networks::Views {
        self.0.views()
    }
}

struct Life {
    lifecycle: Lifecycle,
    /// `None`: a leftover that no manager assigned; it is only cleared away.
    assigned: Option<AssignedTask>,
}

struct Agent {
    clock: SharedClock,
    storage: Storage,
    shared: Arc<Shared>,
    operations: Operations,
    lives: BTreeMap<TaskId, Life>,
    /// Secrets, configs and networks as they were sent.
    references: BTreeMap<Key, Bytes>,
    deadlines: BTreeSet<(Timestamp, TaskId)>,
    dirty_tasks: BTreeSet<TaskId>,
    dirty_references: BTreeSet<Key>,
    /// A write failed: not before this.
    write_again: Option<Timestamp>,
    to_report: BTreeSet<TaskId>,
    connected: bool,
    view: watch::Sender<View>,
}

impl Agent {
    /// Takes up what is on disk. No manager is reachable yet.
    fn resume(&mut self, loaded: storage::Loaded) {
        self.references =
            loaded.references.into_iter().map(|(key, object)| (key, object.into())).collect();
        for (id, record) in loaded.tasks {
            self.begin(id, record.assigned, record.memory);
        }
    }

    async fn run(mut self, mut inbound: mpsc::Receiver<Inbound>) {
        loop {
            let wait = self.until_deadline();
            tokio::select! {
                message = inbound.recv() => match message {
                    Some(message) => self.inbound(message),
                    None => return,
                },
                outcome = self.operations.next() => self.outcome(outcome),
                () = wait => {}
            }
            for _ in 0..ROUND_MAX {
                let Some(outcome) = self.operations.try_next() else { break };
                self.outcome(outcome);
            }
            self.tick();
            self.settle().await;
        }
    }

    fn now(&self) -> Now {
        let monotonic = i64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(i64::MAX);
        Now { monotonic: Timestamp::from_nanos(monotonic), wall: self.clock.now() }
    }

    fn until_deadline(&self) -> impl Future<Output = ()> + 'static {
        let next =
            self.deadlines.first().map(|(at, _)| *at).into_iter().chain(self.write_again).min();
        let wait = next.map(|at| self.clock.sleep(at.since(self.now().monotonic)));
        async move {
            match wait {
                Some(wait) => wait.await,
                None => std::future::pending().await,
            }
        }
    }

    fn inbound(&mut self, message: Inbound) {
        match message {
            Inbound::Session(session, about) => {
                let is_new = self.view.borrow().session != Some(session);
                self.view.send_replace(View {
                    session: Some(session),
                    refused: None,
                    about: Some(Arc::from(about)),
                });
                if is_new {
                    self.to_report.extend(self.lives.keys());
                }
            }
            Inbound::Assignments(update) => self.update(update),
            Inbound::Views(views) => {
                views.into_iter().for_each(|told| self.shared.views().put(told));
            }
            Inbound::Lost { refused } => {
                self.view.send_modify(|view| {
                    view.session = None;
                    view.refused = refused;
                });
                self.connected = false;
                self.step_all(&Event::CutOff);
            }
        }
    }

    fn update(&mut self, update: Update) {
        let put: BTreeSet<Key> = update.put.iter().map(|(key, _)| *key).collect();
        let mut removed = update.removed;
        if update.complete {
            let held = self.lives.keys().map(|id| Key::new(Kind::Task, id.to_bytes()));
            removed = held.chain(self.references.keys().copied()).collect();
            removed.retain(|key| !put.contains(key));
        }
        let (tasks, references): (Vec<_>, Vec<_>) =
            update.put.into_iter().partition(|(key, _)| key.kind() == Some(Kind::Task));
        for (key, part) in references {
            self.dirty_references.insert(key);
            self.references.insert(key, part.object);
        }
        for (key, part) in tasks {
            self.put_task(TaskId::from_bytes(key.id()), &part);
        }
        for key in removed {
            if key.kind() == Some(Kind::Task) {
                self.step(TaskId::from_bytes(key.id()), Event::Unassigned);
            } else {
                self.dirty_references.insert(key);
                self.references.remove(&key);
                if key.kind() == Some(Kind::Network) {
                    self.shared.views().leave(ClusterNetworkId::from_bytes(key.id()));
                }
            }
        }
        if update.complete {
            self.connected = true;
            self.step_all(&Event::Connected);
            self.operations.look_for_leftovers();
        }
    }

    fn put_task(&mut self, id: TaskId, part: &Part) {
        let assigned: AssignedTask = match codec::decode("assigned task", &part.object) {
            Ok(assigned) => assigned,
            Err(error) => {
                let error = Chain(&error);
                tracing::error!(task = %id, %error, "an assignment cannot be read; left as it is");
                return;
            }
        };
        self.dirty_tasks.insert(id);
        let desired = assigned.task.desired;
        if let Some(life) = self.lives.get_mut(&id) {
            let rules = Rules::of(&assigned);
            life.assigned = Some(assigned);
            return self.step(id, Event::Wish { desired, rules });
        }
        let status: TaskStatus = codec::decode("task status", &part.status).unwrap_or_default();
        self.begin(id, assigned, Memory { status, ..Memory::default() });
    }

    fn begin(&mut self, id: TaskId, assigned: AssignedTask, memory: Memory) {
        let lifecycle = Lifecycle::new(memory, assigned.task.desired, Rules::of(&assigned));
        self.lives.insert(id, Life { lifecycle, assigned: Some(assigned) });
        if !self.connected {
            self.step(id, Event::CutOff);
        }
        self.step(id, Event::Resume);
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Task(id, event) => self.step(id, event),
            // Only what the complete set does not know; nothing is removed on the word of local state.
            Outcome::Leftovers(found) if self.connected => {
                for id in found {
                    self.clear_leftover(id);
                }
            }
            Outcome::Leftovers(_) => {}
        }
    }

    fn clear_leftover(&mut self, id: TaskId) {
        let Entry::Vacant(place) = self.lives.entry(id) else { return };
        tracing::info!(task = %id, "clearing away what no manager assigned");
        let status = TaskStatus { state: TaskState::Starting, ..TaskStatus::default() };
        let memory = Memory { status, ..Memory::default() };
        let lifecycle = Lifecycle::new(memory, TaskState::Remove, Rules::default());
        place.insert(Life { lifecycle, assigned: None });
        self.step(id, Event::Unassigned);
    }

    fn tick(&mut self) {
        let now = self.now().monotonic;
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.step(id, Event::Tick);
        }
    }

    fn step_all(&mut self, event: &Event) {
        let ids: Vec<_> = self.lives.keys().copied().collect();
        for id in ids {
            self.step(id, event.clone());
        }
    }

    fn step(&mut self, id: TaskId, event: Event) {
        let now = self.now();
        let Some(life) = self.lives.get_mut(&id) else { return };
        if let Some(at) = life.lifecycle.next_deadline() {
            self.deadlines.remove(&(at, id));
        }
        let mut effects = Vec::new();
        life.lifecycle.step(now, event, &mut effects);
        if let Some(at) = life.lifecycle.next_deadline() {
            self.deadlines.insert((at, id));
        }
        for effect in effects {
            self.effect(id, effect);
        }
    }

    fn effect(&mut self, id: TaskId, effect: Effect) {
        match effect {
            Effect::Run(operation) => {
                let assigned = self.lives.get(&id).and_then(|life| life.assigned.as_ref());
                let work = match (operation, assigned) {
                    (Operation::Prepare, Some(assigned)) => {
                        Some(operation::work(assigned, &self.references))
                    }
                    _ => None,
                };
                self.operations.run(id, operation, work);
            }
            Effect::Report => {
                self.dirty_tasks.insert(id);
                self.to_report.insert(id);
            }
            Effect::Forget => {
                self.lives.remove(&id);
                self.operations.forget(id);
                self.dirty_tasks.insert(id);
                self.to_report.insert(id);
            }
        }
    }

    /// Writes what changed, then reports it: nothing is reported that a restart would not know.
    async fn settle(&mut self) {
        let now = self.now().monotonic;
        if self.write_again.is_none_or(|at| at <= now) {
            self.write_again = None;
            if let Err(error) = self.storage.commit(self.batch()).await {
                tracing::error!(error = %Chain(&error), "local state is not written; trying again");
                self.write_again = Some(self.now().monotonic.after(AGAIN));
            } else {
                self.dirty_tasks.clear();
                self.dirty_references.clear();
            }
        }
        let ids = std::mem::take(&mut self.to_report);
        if ids.is_empty() {
            return;
        }
        self.shared.report(|reports| {
            for id in ids {
                match self.lives.get(&id) {
                    Some(Life { lifecycle, assigned: Some(_) }) => {
                        let Memory { status, runs, .. } = lifecycle.memory().clone();
                        reports.put(id, Report { status, runs });
                    }
                    _ => reports.forget(id),
                }
            }
        });
    }

    fn batch(&self) -> storage::Batch {
        let mut batch = self.storage.batch();
        for &id in &self.dirty_tasks {
            match self.lives.get(&id) {
                Some(Life { lifecycle, assigned: Some(assigned) }) => {
                    let record =
                        Record { assigned: assigned.clone(), memory: lifecycle.memory().clone() };
                    self.storage.put_task(&mut batch, id, &record);
                }
                _ => self.storage.remove_task(&mut batch, id),
            }
        }
        for &key in &self.dirty_references {
            match self.references.get(&key) {
                Some(object) => self.storage.put_reference(&mut batch, key, object),
                None => self.storage.remove_reference(&mut batch, key),
            }
        }
        batch
    }
}
