//! A cluster of fakes around the real planners and the real store: a scheduler that counts tasks, workers that obey.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod invariants;
pub(crate) mod objects;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shoal_manager_core::ids::{Ids, SeededIds};
use shoal_manager_core::orchestrator::{Agenda, Place};
use shoal_manager_core::store::{Change, Diff, Event, State, Transaction};
use shoal_manager_core::{enforcer, update};
use shoal_model::Timestamp;
use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::service::UpdateOrder;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{Node, NodeId, Service, ServiceId, Task, TaskId, TaskState};

/// Rounds after which a cluster that should have come to rest is taken for one that never will.
const ROUNDS_MAX: usize = 500;

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) ids: SeededIds,
    pub(crate) agenda: Agenda,
    pub(crate) log: Vec<String>,
    /// How the log calls objects.
    pub(crate) names: BTreeMap<String, String>,
    /// Nodes that do nothing and hear nothing.
    pub(crate) dead: BTreeSet<NodeId>,
    /// Services of which two tasks may run in a place: they once had the order that starts first.
    pub(crate) overlapping: BTreeSet<ServiceId>,
    /// Nodes that were down once: what they ran may have been running all the time.
    pub(crate) suspect: BTreeSet<NodeId>,
    /// Attempts made in each place, for names.
    attempts: BTreeMap<(ServiceId, Place), usize>,
    index: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self {
            state: State::default(),
            now: Timestamp::from_parts(1_000_000, 0),
            ids: SeededIds::new(seed),
            agenda: Agenda::default(),
            log: Vec::new(),
            names: BTreeMap::new(),
            dead: BTreeSet::new(),
            overlapping: BTreeSet::new(),
            suspect: BTreeSet::new(),
            attempts: BTreeMap::new(),
            index: 0,
        };
        let cluster = world.ids.cluster();
        world.commit(vec![Change::PutCluster(Arc::new(objects::cluster(cluster)))]);
        world
    }

    /// Applies changes that expect nothing.
    pub(crate) fn commit(&mut self, changes: Vec<Change>) {
        self.apply(Transaction { at: self.now, expect: Vec::new(), changes });
    }

    fn apply(&mut self, transaction: Transaction) {
        if transaction.changes.is_empty() {
            return;
        }
        self.index += 1;
        let applied = self.state.apply(self.index, &transaction).expect("the store refused");
        for event in &applied.events {
            self.agenda.note(&self.state, event);
            self.name(event);
            self.mark(event);
            let line = words::of(self, event);
            self.log.extend(line);
        }
        invariants::check(self);
    }

    fn mark(&mut self, event: &Event) {
        if let Event::Node(Diff { new: Some(node), .. }) = event
            && node.status.state != NodeState::Ready
        {
            self.suspect.insert(node.id);
        }
        if let Event::Service(Diff { new: Some(service), .. }) = event {
            let configs = [&service.spec.update, &service.spec.rollback];
            if configs.into_iter().flatten().any(|config| config.order == UpdateOrder::StartFirst) {
                self.overlapping.insert(service.id);
            }
        }
    }

    fn name(&mut self, event: &Event) {
        let Event::Task(diff) = event else { return };
        let (None, Some(task)) = (&diff.old, &diff.new) else { return };
        let (Some(service), Some(place)) = (task.service, Place::of(task)) else { return };
        let attempt = self.attempts.entry((service, place)).or_default();
        *attempt += 1;
        let place = match place {
            Place::Slot(slot) => slot.0.to_string(),
            Place::Node(node) => self.names[&node.to_string()].clone(),
        };
        let name = format!("{}.{place}#{attempt}", self.names[&service.to_string()]);
        self.names.insert(task.id.to_string(), name);
    }

    /// Plans until nothing is on the agenda. Whether anything was changed.
    pub(crate) fn plan(&mut self) -> bool {
        let before = self.index;
        loop {
            self.agenda.wake(self.now);
            let Some(item) = self.agenda.first() else { break };
            for transaction in self.agenda.look(&self.state, item, self.now, &mut self.ids) {
                self.apply(transaction);
            }
            assert!(
                self.index - before < 10_000,
                "the planners never come to rest: {:?}",
                self.log
            );
        }
        invariants::planned(self);
        self.index > before
    }

    /// One turn of planners, scheduler and workers. Whether anything was changed.
    pub(crate) fn step(&mut self) -> bool {
        let before = self.index;
        self.plan();
        self.schedule();
        self.work();
        self.index > before
    }

    /// Turns until nothing changes.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if !self.step() {
                return;
            }
        }
        panic!("no rest after {ROUNDS_MAX} rounds: {:#?}", &self.log[self.log.len() - 50..]);
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        self.settle();
        while let Some(at) = self.agenda.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Another manager leads: it knows nothing but the store.
    pub(crate) fn change_leader(&mut self) {
        self.agenda = Agenda::everything(&self.state);
    }

    fn schedule(&mut self) {
        let waiting: Vec<Arc<Task>> = self
            .state
            .tasks()
            .filter(|task| {
                task.status.state < TaskState::Assigned && task.desired <= TaskState::Complete
            })
            .cloned()
            .collect();
        for task in waiting {
            let Some(node) = self.pick(&task) else { continue };
            let mut placed = Task::clone(&task);
            placed.node = Some(node);
            placed.status =
                TaskStatus { state: TaskState::Assigned, at: self.now, ..task.status.clone() };
            self.commit(vec![Change::PutTask(Arc::new(placed))]);
        }
    }

    fn pick(&self, task: &Task) -> Option<NodeId> {
        let open = self.state.nodes().filter(|node| {
            node.status.state == NodeState::Ready
                && node.spec.availability == Availability::Active
                && task.node.is_none_or(|wanted| wanted == node.id)
                && enforcer::suits(&task.spec, node)
        });
        open.map(|node| node.id).min_by_key(|&node| {
            let live = |other: &&Arc<Task>| !other.status.state.is_terminal();
            let here: Vec<_> = self.state.tasks_on_node(node).filter(live).collect();
            (here.iter().filter(|other| other.service == task.service).count(), here.len(), node)
        })
    }

    /// Workers bring each of their tasks as far as they shall and can.
    fn work(&mut self) {
        let tasks: Vec<Arc<Task>> = self.state.tasks().cloned().collect();
        for task in tasks {
            let Some(node) = task.node.filter(|node| !self.dead.contains(node)) else { continue };
            let known = task.status.state >= TaskState::Assigned;
            if known
                && self.state.node(node).is_some_and(|node| node.status.state == NodeState::Ready)
                && let Some(state) = objects::next_state(&task)
            {
                self.report(task.id, state);
            }
        }
    }

    /// A worker's report.
    pub(crate) fn report(&mut self, task: TaskId, state: TaskState) {
        let Some(old) = self.state.task(task) else { return };
        let status = TaskStatus { state, at: self.now, running_since: None, ..old.status.clone() };
        self.commit(vec![Change::TaskStatus { task, status }]);
    }

    /// Changes a node.
    pub(crate) fn node(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let mut node = Node::clone(self.state.node(id).expect("a node of the test"));
        change(&mut node);
        self.commit(vec![Change::PutNode(Arc::new(node))]);
    }

    /// Changes what a user may change of a service.
    pub(crate) fn revise(&mut self, id: ServiceId, change: impl FnOnce(&mut Service)) {
        let service = Arc::clone(self.state.service(id).expect("a service of the test"));
        let mut wish = Service::clone(&service);
        change(&mut wish);
        match update::revise(&service, wish.spec, self.now) {
            Some(revised) => self.commit(vec![Change::PutService(Arc::new(revised))]),
            None => self.log.push("no change".to_owned()),
        }
    }

    /// Rolls a service back.
    pub(crate) fn roll_back(&mut self, id: ServiceId) {
        let service = Arc::clone(self.state.service(id).expect("a service of the test"));
        match update::roll_back(&service, "manually requested rollback", self.now) {
            Ok(revised) => self.commit(vec![Change::PutService(Arc::new(revised))]),
            Err(error) => self.log.push(error.to_string()),
        }
    }
}
