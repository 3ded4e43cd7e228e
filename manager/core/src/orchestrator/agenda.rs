//! What the leader has to look at, and the transaction that comes of looking.
//!
//! Events only say *what* is to be looked at; the plan is made from the store alone. So a missed event or a lost
//! agenda costs nothing but time: [`Agenda::everything`] finds all of it again. The cost of a round is that of
//! the places that changed, not of the services or nodes that they belong to.
//!
//! Pure: the loop that owns the agenda waits, reads and commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shoal_model::Timestamp;
use shoal_model::cluster::{Node, NodeId, Service, ServiceId, Task, TaskId, TaskState};

use super::{Board, Place, Plan, Scope, needs_whole, plan};
use crate::ids::Ids;
use crate::store::{Diff, Event, ObjectRef, State, Transaction};
use crate::{enforcer, init, reaper, restart};

/// One thing to look at. One transaction each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// Tasks that may not stay, or are given up; wakes the services concerned.
    Node(NodeId),
    /// A service, as far as the agenda says.
    Service(ServiceId),
    /// A task that belongs to no service.
    Stray(TaskId),
}

/// What to look at at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Node(NodeId),
    Service(ServiceId, Option<Place>),
    Stray(TaskId),
}

/// Changes in one transaction; a plan with more becomes several.
pub const CHANGES_MAX: usize = 1_000;

/// What the leader has to look at, now and later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agenda {
    nodes: BTreeSet<NodeId>,
    services: BTreeMap<ServiceId, Scope>,
    strays: BTreeSet<TaskId>,
    wakes: BTreeSet<(Timestamp, Wake)>,
    /// Services that wait for others, by these' names. Kept until those move: what it holds too much costs a look.
    waiting: BTreeMap<String, BTreeSet<ServiceId>>,
}

impl Agenda {
    /// Everything: for a leader that begins, and now and then.
    pub fn everything(state: &State) -> Self {
        let all = init::everything(state);
        Self {
            nodes: all.nodes,
            services: all.services.into_iter().map(|service| (service, Scope::Whole)).collect(),
            strays: all.strays,
            wakes: BTreeSet::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Takes note of a change.
    pub fn note(&mut self, state: &State, event: &Event) {
        match event {
            Event::Task(diff) => self.note_task(state, diff),
            Event::Node(diff) => self.note_node(diff),
            Event::Service(diff) => self.note_service(state, diff),
            Event::Cluster(_) | Event::Network(_) | Event::Secret(_) | Event::Config(_) => {}
        }
    }

    /// Whether there is nothing to look at now.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.services.is_empty() && self.strays.is_empty()
    }

    /// When there will be something to look at although nothing happens.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Puts on the agenda what is due.
    pub fn wake(&mut self, now: Timestamp) {
        while let Some(&(at, wake)) = self.wakes.first().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, wake));
            match wake {
                Wake::Node(node) => {
                    self.nodes.insert(node);
                }
                Wake::Stray(task) => {
                    self.strays.insert(task);
                }
                Wake::Service(service, Some(place)) => self.add_place(service, place),
                Wake::Service(service, None) => {
                    self.services.insert(service, Scope::Whole);
                }
            }
        }
    }

    /// The next thing to look at: nodes first, since they put services on the agenda.
    pub fn first(&self) -> Option<Item> {
        self.first_but(&BTreeSet::new())
    }

    /// The next thing to look at that is not one of these, whose plans are being committed: a plan must see the
    /// one before it.
    pub fn first_but(&self, busy: &BTreeSet<Item>) -> Option<Item> {
        let nodes = self.nodes.iter().map(|node| Item::Node(*node));
        let services = self.services.keys().map(|service| Item::Service(*service));
        let strays = self.strays.iter().map(|task| Item::Stray(*task));
        nodes.chain(services).chain(strays).find(|item| !busy.contains(item))
    }

    /// Looks at one thing and takes it off the agenda. What comes of it must be committed in this order, or the
    /// thing put back. No transaction: there is nothing to do.
    ///
    pub fn look(
        &mut self,
        state: &State,
        item: Item,
        now: Timestamp,
        ids: &mut dyn Ids,
    ) -> Vec<Transaction> {
        match item {
            Item::Node(node) => {
                self.nodes.remove(&node);
                self.look_at_node(state, node, now, ids)
            }
            Item::Service(id) => {
                let scope = self.services.remove(&id).unwrap_or(Scope::Whole);
                let Some(service) = state.service(id) else { return Vec::new() };
                let plan = plan_service(state, service, scope, now, ids);
                self.transactions(state, now, id, plan)
            }
            Item::Stray(task) => {
                self.strays.remove(&task);
                let change = state.task(task).and_then(|task| reaper::reap_stray(state, task));
                change.map(|change| Transaction::on(state, now, vec![change])).into_iter().collect()
            }
        }
    }

    /// Puts a thing back whose plan was not committed. It will be looked at whole.
    pub fn put_back(&mut self, item: Item) {
        match item {
            Item::Node(node) => {
                self.nodes.insert(node);
            }
            Item::Service(service) => {
                self.services.insert(service, Scope::Whole);
            }
            Item::Stray(task) => {
                self.strays.insert(task);
            }
        }
    }

    /// Puts a thing back, to be looked at at some time.
    pub fn put_off(&mut self, item: Item, at: Timestamp) {
        let wake = match item {
            Item::Node(node) => Wake::Node(node),
            Item::Service(service) => Wake::Service(service, None),
            Item::Stray(task) => Wake::Stray(task),
        };
        self.wakes.insert((at, wake));
    }

    fn transactions(
        &mut self,
        state: &State,
        now: Timestamp,
        id: ServiceId,
        plan: Plan,
    ) -> Vec<Transaction> {
        for name in &plan.waits {
            self.waiting.entry(name.clone()).or_default().insert(id);
        }
        let wakes = plan.wakes.iter();
        self.wakes.extend(wakes.map(|(at, place)| (*at, Wake::Service(id, *place))));
        // The plan was made for this spec.
        let service = ObjectRef::Service(id);
        let expected = (service, state.version_of(service));
        let parts = plan.parts(CHANGES_MAX).into_iter();
        let transactions = parts.map(|part| {
            let mut transaction = Transaction::on(state, now, part);
            transaction.expect.push(expected);
            transaction
        });
        transactions.collect()
    }

    /// Gives up or evicts tasks; what else follows from the node's state is the services' business.
    fn look_at_node(
        &mut self,
        state: &State,
        id: NodeId,
        now: Timestamp,
        ids: &mut dyn Ids,
    ) -> Vec<Transaction> {
        for task in state.tasks_on_node(id) {
            match (task.service, Place::of(task)) {
                (Some(service), Some(place)) => self.add_place(service, place),
                _ => {
                    self.strays.insert(task.id);
                }
            }
        }
        for service in state.global_services() {
            self.add_place(service.id, Place::Node(id));
        }
        if let Some(due) = reaper::orphans_due(state, id).filter(|due| *due > now) {
            self.wakes.insert((due, Wake::Node(id)));
        }
        let orphans = reaper::orphan(state, id, now);
        let parts = orphans.chunks(CHANGES_MAX);
        let mut transactions: Vec<_> =
            parts.map(|part| Transaction::on(state, now, part.to_vec())).collect();
        let mut misplaced = BTreeMap::<(ServiceId, Place), Vec<Arc<Task>>>::new();
        for task in enforcer::misplaced(state, id) {
            if let (Some(service), Some(place)) = (task.service, Place::of(&task)) {
                misplaced.entry((service, place)).or_default().push(task);
            }
        }
        for ((service, place), tasks) in misplaced {
            let Some(service) = state.service(service).filter(|service| !service.removing) else {
                continue;
            };
            let members = tasks_at(state, service.id, place);
            let mut board = Board::new(Arc::clone(service), members, state, now, ids);
            for task in tasks {
                restart::evict(&mut board, place, &task);
            }
            transactions.extend(self.transactions(state, now, service.id, board.finish()));
        }
        transactions
    }

    fn note_task(&mut self, state: &State, diff: &Diff<Task>) {
        let Some(task) = diff.latest() else { return };
        self.wake_waiting(&task.annotations.name);
        if let (Some(old), Some(new)) = (&diff.old, &diff.new)
            && old.desired == new.desired
            && !is_turn(old.status.state, new.status.state)
        {
            return;
        }
        match (task.service, Place::of(task)) {
            (Some(service), Some(place)) if state.service(service).is_some() => {
                self.add_place(service, place);
            }
            _ if diff.new.is_some() => {
                self.strays.insert(task.id);
            }
            _ => {}
        }
    }

    fn note_node(&mut self, diff: &Diff<Node>) {
        let Some(node) = diff.latest() else { return };
        let is_same = matches!((&diff.old, &diff.new), (Some(old), Some(new))
            if old.spec == new.spec
                && old.role == new.role
                && old.status == new.status
                && old.description == new.description);
        if !is_same {
            self.nodes.insert(node.id);
        }
    }

    fn note_service(&mut self, state: &State, diff: &Diff<Service>) {
        if let Some(service) = diff.latest() {
            self.wake_waiting(&service.spec.annotations.name);
        }
        let Some(new) = &diff.new else { return };
        let is_same = diff.old.as_ref().is_some_and(|old| {
            old.spec_version == new.spec_version
                && old.update == new.update
                && old.job == new.job
                && old.removing == new.removing
        });
        if !is_same {
            self.services.insert(new.id, Scope::Whole);
        }
        let order = |service: &Arc<Service>| {
            service.spec.update.as_ref().map(|update| update.order).unwrap_or_default()
        };
        if diff.old.as_ref().is_some_and(|old| order(old) != order(new)) {
            // A task that waited for its successor to run may have to leave its node now.
            self.nodes.extend(state.tasks_of_service(new.id).filter_map(|task| task.node));
        }
    }

    /// Something happened to a service that others may wait for.
    fn wake_waiting(&mut self, name: &str) {
        for service in self.waiting.remove(name).unwrap_or_default() {
            self.services.insert(service, Scope::Whole);
        }
    }

    fn add_place(&mut self, service: ServiceId, place: Place) {
        let scope = self.services.entry(service).or_insert(Scope::Places(BTreeSet::new()));
        if let Scope::Places(places) = scope {
            places.insert(place);
        }
    }
}

/// Whether a step of a task's observed state can lead to a decision: it began to run, ended, or got a node (whose
/// state counts from then on).
fn is_turn(old: TaskState, new: TaskState) -> bool {
    let stage = |state: TaskState| {
        (state >= TaskState::Assigned, state >= TaskState::Running, state.is_terminal())
    };
    stage(old) != stage(new) || (new.is_terminal() && old != new)
}

fn tasks_at(state: &State, service: ServiceId, place: Place) -> Vec<Arc<Task>> {
    match place {
        Place::Slot(slot) => state.tasks_in_slot(service, slot).cloned().collect(),
        Place::Node(node) => state
            .tasks_on_node(node)
            .filter(|task| task.service == Some(service) && Place::of(task) == Some(place))
            .cloned()
            .collect(),
    }
}

/// Plans a service, or as much of it as the scope says where that is enough.
pub fn plan_service(
    state: &State,
    service: &Arc<Service>,
    scope: Scope,
    now: Timestamp,
    ids: &mut dyn Ids,
) -> Plan {
    let scope = if needs_whole(service) { Scope::Whole } else { scope };
    let tasks: Vec<Arc<Task>> = match &scope {
        Scope::Whole => state.tasks_of_service(service.id).cloned().collect(),
        Scope::Places(places) => {
            places.iter().flat_map(|place| tasks_at(state, service.id, *place)).collect()
        }
    };
    let mut board = Board::new(Arc::clone(service), tasks, state, now, ids);
    plan(&mut board, &scope);
    board.finish()
}
