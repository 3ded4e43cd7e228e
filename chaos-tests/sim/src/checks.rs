//! What must hold at each step, and the first thing that did not.
//!
//! The managers apply the same log: the first that applies an entry has it checked against a state that is kept here,
//! the others must apply the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_base::tasks::{TaskKind, Tasks};
use shoal_manager::assembly::Manager;
use shoal_manager_core::invariants::Broken;
use shoal_manager_core::store::watch::Batch;
use shoal_manager_core::store::{Change, Event, State, Transaction};
use shoal_model::Timestamp;
use tokio::sync::watch;

use crate::invariants::{self, Invariant, Step, agreement::Agreement, election::Election};
use crate::machines::Life;
use crate::note;
use crate::trace::Trace;

/// The checks of a run. Clones are the same.
#[derive(Debug, Clone)]
pub struct Checks {
    shared: Arc<Mutex<Shared>>,
    trace: Trace,
    broken: Arc<watch::Sender<Option<Broken>>>,
}

#[derive(Debug)]
struct Shared {
    state: State,
    agreement: Agreement,
    election: Election,
    steps: u64,
    invariants: Vec<Box<dyn Invariant>>,
}

impl Checks {
    /// All invariants.
    pub fn new(trace: Trace) -> Self {
        let shared = Shared {
            state: State::default(),
            agreement: Agreement::default(),
            election: Election::default(),
            steps: 0,
            invariants: invariants::all(),
        };
        let broken = Arc::new(watch::Sender::new(None));
        Self { shared: Arc::new(Mutex::new(shared)), trace, broken }
    }

    /// What was broken first.
    pub fn broken(&self) -> Option<Broken> {
        self.broken.borrow().clone()
    }

    /// Returns once something is broken.
    pub async fn wait_broken(&self) {
        let mut broken = self.broken.subscribe();
        // The sender lives here.
        let _ = broken.wait_for(Option::is_some).await;
    }

    /// Something does not hold.
    pub fn found(&self, id: &'static str, what: String) {
        self.verdict(Err(Broken { id, what }));
    }

    /// Takes a verdict of anything.
    pub fn verdict(&self, verdict: Result<(), Broken>) {
        let Err(broken) = verdict else { return };
        note!(self.trace, "BROKEN {broken}");
        self.broken.send_if_modified(|first| {
            let news = first.is_none();
            first.get_or_insert(broken);
            news
        });
    }

    /// Entries that were checked.
    pub fn steps(&self) -> u64 {
        self.shared().steps
    }

    /// Names a spec that a user asks for.
    pub fn asked(&self, spec: &shoal_model::cluster::ServiceSpec) {
        self.shared().invariants.iter_mut().for_each(|invariant| invariant.asked(spec));
    }

    /// Follows what a manager applies, and whether it leads, until it dies.
    pub fn follow(&self, tasks: &Tasks, number: u8, life: &Arc<Life<Manager>>) {
        let (checks, followed) = (self.clone(), Arc::clone(life));
        tasks.spawn(TaskKind::Request, async move {
            let died = followed.died.clone();
            died.run_until_cancelled(checks.follow_store(number, &followed.process)).await;
        });
        let (checks, followed) = (self.clone(), Arc::clone(life));
        tasks.spawn(TaskKind::Request, async move {
            let died = followed.died.clone();
            died.run_until_cancelled(checks.follow_leader(number, &followed.process)).await;
        });
    }

    async fn follow_store(&self, number: u8, manager: &Manager) {
        loop {
            let (view, mut subscription) = manager.store.watch();
            self.jumped(number, view);
            while let Ok(batches) = subscription.next().await {
                for batch in batches {
                    self.batch(number, &batch);
                }
            }
        }
    }

    async fn follow_leader(&self, number: u8, manager: &Manager) {
        let mut status = manager.raft.watch();
        let mut led = None;
        loop {
            let (leads, has_leader, term) = {
                let status = status.borrow_and_update();
                (status.leads(), status.leader.is_some(), status.term)
            };
            if leads && led != Some(term) {
                led = Some(term);
                note!(self.trace, "manager {number} leads in term {term}");
                let verdict = self.shared().election.leads(number, term);
                self.verdict(verdict);
            } else if has_leader {
                let verdict = self.shared().election.knows_a_leader(number, term);
                self.verdict(verdict);
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    }

    /// A manager has a state that it did not get entry by entry.
    fn jumped(&self, number: u8, view: State) {
        let mut shared = self.shared();
        if view.index() > shared.state.index() {
            note!(self.trace, "manager {number} is the first with the state at {}", view.index());
            shared.state = view;
        }
    }

    fn batch(&self, number: u8, batch: &Batch) {
        let verdict = {
            let mut shared = self.shared();
            let version = batch.version.0;
            match shared.agreement.applied(number, batch) {
                Err(broken) => Err(broken),
                Ok(()) if version <= shared.state.index() => Ok(()),
                Ok(()) => {
                    for event in &batch.events {
                        if let Some(line) = invariants::line(event) {
                            note!(self.trace, "{version} {line}");
                        }
                    }
                    shared.step(batch)
                }
            }
        };
        self.verdict(verdict);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn step(&mut self, batch: &Batch) -> Result<(), Broken> {
        self.steps += 1;
        let before = self.state.clone();
        let at = batch.events.iter().filter_map(updated).max().unwrap_or_default();
        let changes = batch.events.iter().filter_map(change).collect();
        let transaction = Transaction { at, expect: Vec::new(), changes };
        let applied = self.state.apply(batch.version.0, &transaction);
        let rejected = |rejected| Broken {
            id: "RAFT-1",
            what: format!("{batch:?} does not follow: {rejected}"),
        };
        applied.map_err(rejected)?;
        let step = Step { before: &before, state: &self.state, events: &batch.events };
        self.invariants.iter_mut().try_for_each(|invariant| invariant.check(&step))
    }
}

fn updated(event: &Event) -> Option<Timestamp> {
    match event {
        Event::Cluster(diff) => diff.new.as_ref().map(|it| it.meta.updated),
        Event::Node(diff) => diff.new.as_ref().map(|it| it.meta.updated),
        Event::Service(diff) => diff.new.as_ref().map(|it| it.meta.updated),
        Event::Task(diff) => diff.new.as_ref().map(|it| it.meta.updated),
        Event::Network(diff) => diff.new.as_ref().map(|it| it.meta.updated),
        Event::Secret(diff) => diff.new.as_ref().map(|it| it.meta.updated),
        Event::Config(diff) => diff.new.as_ref().map(|it| it.meta.updated),
    }
}

/// The change that makes what the event tells.
fn change(event: &Event) -> Option<Change> {
    Some(match event {
        Event::Cluster(diff) => Change::PutCluster(diff.new.clone()?),
        Event::Node(diff) => match &diff.new {
            Some(new) => Change::PutNode(new.clone()),
            None => Change::RemoveNode(diff.old.as_ref()?.id),
        },
        Event::Service(diff) => match &diff.new {
            Some(new) => Change::PutService(new.clone()),
            None => Change::RemoveService(diff.old.as_ref()?.id),
        },
        Event::Task(diff) => match &diff.new {
            Some(new) => Change::PutTask(new.clone()),
            None => Change::RemoveTask(diff.old.as_ref()?.id),
        },
        Event::Network(diff) => match &diff.new {
            Some(new) => Change::PutNetwork(new.clone()),
            None => Change::RemoveNetwork(diff.old.as_ref()?.id),
        },
        Event::Secret(diff) => match &diff.new {
            Some(new) => Change::PutSecret(new.clone()),
            None => Change::RemoveSecret(diff.old.as_ref()?.id),
        },
        Event::Config(diff) => match &diff.new {
            Some(new) => Change::PutConfig(new.clone()),
            None => Change::RemoveConfig(diff.old.as_ref()?.id),
        },
    })
}
