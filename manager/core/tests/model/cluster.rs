//! The cluster of the model: store, one leader at a time, workers, and a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shoal_manager_core::allocator::{self, Allocator};
use shoal_manager_core::ids::{Ids, SeededIds};
use shoal_manager_core::orchestrator::Agenda;
use shoal_manager_core::scheduler::{Limits, Scheduler};
use shoal_manager_core::store::{Change, Diff, Event, State, Transaction};
use shoal_model::Timestamp;
use shoal_model::cluster::node::NodeState;
use shoal_model::cluster::service::UpdateOrder;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{
    ClusterNetwork, ClusterNetworkId, Node, NodeId, ServiceId, Task, TaskId, TaskState,
};

use crate::invariants::{self, Broken};
use crate::objects;
use crate::planted::Bug;
use crate::worker::Worker;

/// A node that says nothing for so long is down.
pub(crate) const GRACE: Duration = Duration::from_secs(15);
/// Turns after which a cluster that should be at rest is taken for one that never will be.
const TURNS_MAX: usize = 600;

/// Who commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    User,
    Orchestrator,
    Allocator,
    Scheduler,
    /// A worker's report, as the dispatcher writes it.
    Worker,
    /// The dispatcher, on the state of nodes.
    Liveness,
}

/// What a leader has in memory, and loses.
struct Leader {
    agenda: Agenda,
    allocator: Allocator,
    scheduler: Scheduler,
}

pub(crate) struct Model {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) ids: SeededIds,
    leader: Leader,
    pub(crate) workers: BTreeMap<NodeId, Worker>,
    pub(crate) network: ClusterNetworkId,
    pub(crate) services: Vec<ServiceId>,
    /// Services of which two tasks may run in a place: they once had the order that starts first.
    pub(crate) overlapping: BTreeSet<ServiceId>,
    /// Parallelism of updates, as users asked for it.
    pub(crate) lanes: BTreeMap<ServiceId, u64>,
    /// Tasks that failed while they were wanted.
    pub(crate) failed: BTreeSet<TaskId>,
    /// Tasks that were made because such a one had failed.
    pub(crate) followers: BTreeSet<TaskId>,
    /// Nodes that were taken for down once: what they ran may have run all the time.
    pub(crate) suspect: BTreeSet<NodeId>,
    pub(crate) trace: Vec<String>,
    pub(crate) planted: Option<Bug>,
    broken: Option<Broken>,
    index: u64,
}

impl Model {
    pub(crate) fn new(seed: u64, planted: Option<Bug>) -> Self {
        let state = State::default();
        let mut ids = SeededIds::new(seed);
        let (cluster, network) = (ids.cluster(), ids.network());
        let leader = Leader::new(&state);
        let mut model = Self {
            state,
            now: Timestamp::from_parts(1_000_000, 0),
            ids,
            leader,
            workers: BTreeMap::new(),
            network,
            services: Vec::new(),
            overlapping: BTreeSet::new(),
            lanes: BTreeMap::new(),
            failed: BTreeSet::new(),
            followers: BTreeSet::new(),
            suspect: BTreeSet::new(),
            trace: Vec::new(),
            planted,
            broken: None,
            index: 0,
        };
        let object = ClusterNetwork::new(
            network,
            shoal_model::network::NetworkSpec {
                name: "net".to_owned(),
                driver: "overlay".to_owned(),
                scope: "swarm".to_owned(),
                ..Default::default()
            },
        );
        let ingress = ClusterNetwork {
            id: model.ids.network(),
            spec: allocator::ingress_network(),
            ..object.clone()
        };
        let networks = [object, ingress].map(|network| Change::PutNetwork(Arc::new(network)));
        let cluster = Change::PutCluster(Arc::new(objects::cluster(cluster)));
        let changes = std::iter::once(cluster).chain(networks).collect();
        model.commit(Author::User, changes);
        for _ in 0..4 {
            model.add_node();
        }
        model
    }

    pub(crate) fn add_node(&mut self) {
        let id = self.ids.node();
        let number = self.workers.len() + 1;
        let mut node = objects::node(id, &format!("n{number}"), self.now);
        let zone = if number.is_multiple_of(2) { "a" } else { "b" };
        node.spec.annotations.labels.insert("zone".to_owned(), zone.to_owned());
        let gpu = shoal_model::cluster::node::GenericResource::Named {
            kind: "gpu".to_owned(),
            value: format!("g{number}"),
        };
        let about = node.description.as_mut().expect("described");
        about.resources.generic = vec![gpu];
        about.plugins.insert(("Network".to_owned(), "overlay".to_owned()));
        self.workers.insert(id, Worker::default());
        self.commit(Author::User, vec![Change::PutNode(Arc::new(node))]);
    }

    /// What was broken first.
    pub(crate) fn verdict(&mut self) -> Result<(), Broken> {
        self.broken.take().map_or(Ok(()), Err)
    }

    pub(crate) fn break_with(&mut self, broken: Result<(), Broken>) {
        if let (None, Err(mut broken)) = (&self.broken, broken) {
            let from = self.trace.len().saturating_sub(40);
            broken.trace = self.trace[from..].to_vec();
            self.broken = Some(broken);
        }
    }

    pub(crate) fn commit(&mut self, author: Author, changes: Vec<Change>) {
        let changes = match self.planted {
            Some(bug) => bug.in_changes(self, author, changes),
            None => changes,
        };
        if changes.is_empty() {
            return;
        }
        let transaction = Transaction { at: self.now, expect: Vec::new(), changes };
        self.index += 1;
        let before = self.state.clone();
        let mut applied = self.state.apply(self.index, &transaction).expect("the store takes it");
        for event in &applied.events {
            self.note(author, event);
        }
        if let Some(bug) = self.planted {
            bug.in_events(author, &mut applied.events);
        }
        self.trace.extend(applied.events.iter().filter_map(|event| describe(author, event)));
        let broken = invariants::check(self, &before, author, &applied.events);
        self.break_with(broken);
    }

    fn note(&mut self, author: Author, event: &Event) {
        let is_missed = self.planted.is_some_and(|bug| bug == Bug::MissedWake)
            && matches!(event, Event::Task(Diff { old: Some(_), .. }));
        if !is_missed {
            self.leader.agenda.note(&self.state, event);
        }
        self.leader.allocator.observe(event);
        self.leader.scheduler.observe(event);
        if let Event::Node(Diff { new: Some(node), .. }) = event
            && node.status.state != NodeState::Ready
        {
            self.suspect.insert(node.id);
        }
        if let Event::Task(Diff { old: Some(old), new: Some(new) }) = event
            && matches!(new.status.state, TaskState::Failed | TaskState::Rejected)
            && !old.status.state.is_terminal()
            && new.desired <= TaskState::Complete
        {
            self.failed.insert(new.id);
        }
        if let Event::Task(Diff { old: None, new: Some(new) }) = event
            && new.history.predecessor.is_some_and(|id| self.failed.contains(&id))
        {
            self.followers.insert(new.id);
        }
        if let Event::Service(Diff { old: Some(old), new: Some(service) }) = event
            && author == Author::Orchestrator
            && old.spec != service.spec
        {
            let lanes = service.spec.update.as_ref().map_or(1, |config| config.parallelism);
            self.lanes.insert(service.id, lanes);
        }
        if let Event::Service(Diff { new: Some(service), .. }) = event {
            let configs = [&service.spec.update, &service.spec.rollback];
            if configs.into_iter().flatten().any(|config| config.order == UpdateOrder::StartFirst) {
                self.overlapping.insert(service.id);
            }
        }
    }

    /// Another manager leads: it knows the store, and nothing else.
    pub(crate) fn change_leader(&mut self) {
        self.trace.push("another manager leads".to_owned());
        self.leader = Leader::new(&self.state);
    }

    /// The leader dies between plan and commit.
    pub(crate) fn lose_plans(&mut self) {
        if let Some(item) = self.leader.agenda.first() {
            drop(self.leader.agenda.look(&self.state, item, self.now, &mut self.ids));
        }
        self.leader.allocator.plan(&self.state, self.now, 3);
        self.leader.scheduler.plan(&self.state, self.now, Limits::default());
        self.change_leader();
    }

    /// One turn of everything. Whether anything was changed.
    pub(crate) fn step(&mut self) -> bool {
        let before = self.index;
        self.orchestrate();
        if self.leader.allocator.is_due() {
            let plan = self.leader.allocator.plan(&self.state, self.now, 7);
            self.commit(Author::Allocator, plan.changes);
        }
        if self.leader.scheduler.is_due() {
            let limits = Limits { changes: 5, failures: 3 };
            let plan = self.leader.scheduler.plan(&self.state, self.now, limits);
            self.commit(Author::Scheduler, plan.changes);
        }
        self.work();
        self.index > before || self.leader.allocator.is_due() || self.leader.scheduler.is_due()
    }

    pub(crate) fn orchestrate(&mut self) -> bool {
        let before = self.index;
        loop {
            self.leader.agenda.wake(self.now);
            let Some(item) = self.leader.agenda.first() else { break };
            let plan = self.leader.agenda.look(&self.state, item, self.now, &mut self.ids);
            for transaction in plan {
                self.commit(Author::Orchestrator, transaction.changes);
            }
            assert!(self.index - before < 10_000, "planners never rest: {:#?}", self.trace);
        }
        self.index > before
    }

    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if !self.step() {
                return self.rests();
            }
        }
        let rest = Err(Broken::new("CONV-1", "the cluster never comes to rest".to_owned()));
        self.break_with(rest);
    }

    /// WAKE-1: another leader, which looks at everything, finds nothing more to do.
    fn rests(&mut self) {
        let before = self.index;
        let kept = std::mem::replace(&mut self.leader, Leader::new(&self.state));
        self.orchestrate();
        if self.index > before {
            let what = "a leader that looks at everything finds more to do".to_owned();
            self.break_with(Err(Broken::new("WAKE-1", what)));
        } else {
            self.leader = kept;
        }
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        self.settle();
        while let Some(at) = self.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.judge();
            self.settle();
            if self.broken.is_some() {
                return;
            }
        }
        self.now = end;
        self.judge();
        self.settle();
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let silent = self.silent().map(|(_, at)| at);
        self.leader.agenda.next_deadline().into_iter().chain(silent).min()
    }

    /// Nodes that will count as down, and when.
    fn silent(&self) -> impl Iterator<Item = (NodeId, Timestamp)> {
        self.workers.iter().filter_map(|(id, worker)| {
            let node = self.state.node(*id)?;
            let since = worker.cut_off.filter(|_| node.status.state == NodeState::Ready)?;
            Some((*id, since.after(GRACE)))
        })
    }

    /// Takes silent nodes for down.
    fn judge(&mut self) {
        let due: Vec<_> = self.silent().filter(|(_, at)| *at <= self.now).collect();
        for (id, _) in due {
            let now = self.now;
            self.change_node(Author::Liveness, id, |node| {
                (node.status.state, node.status.since) = (NodeState::Down, now);
            });
        }
    }

    pub(crate) fn change_node(
        &mut self,
        author: Author,
        id: NodeId,
        change: impl FnOnce(&mut Node),
    ) {
        let Some(node) = self.state.node(id) else { return };
        let mut node = Node::clone(node);
        change(&mut node);
        self.commit(author, vec![Change::PutNode(Arc::new(node))]);
    }

    /// Workers in reach hear what is wanted, do it, and report.
    fn work(&mut self) {
        let now = self.now;
        let ids: Vec<NodeId> = self.workers.keys().copied().collect();
        for id in ids {
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            worker.give_up(now);
            let is_ready =
                self.state.node(id).is_some_and(|node| node.status.state == NodeState::Ready);
            if worker.cut_off.is_some() || !is_ready {
                continue;
            }
            let state = &self.state;
            let set = state.tasks_on_node(id).filter(|task| {
                task.status.state >= TaskState::Assigned && task.status.state != TaskState::Orphaned
            });
            let set = set.map(|task| {
                let service = task.service.and_then(|service| state.service(service));
                let policy = service.and_then(|it| it.spec.extensions.on_disconnect);
                (&**task, policy.unwrap_or_default())
            });
            worker.assign(set);
            let tasks: Vec<Arc<Task>> = state.tasks_on_node(id).cloned().collect();
            for task in tasks {
                self.advance(id, &task);
            }
        }
    }

    fn advance(&mut self, node: NodeId, task: &Task) {
        let Some(held) = self.workers.get_mut(&node).and_then(|it| it.tasks.get_mut(&task.id))
        else {
            return;
        };
        let known = Task {
            desired: held.desired,
            status: TaskStatus { state: held.state, ..task.status.clone() },
            ..task.clone()
        };
        if let Some(next) = objects::next_state(&known) {
            held.state = next;
        }
        let state = held.state;
        if state > task.status.state {
            self.report(task.id, state);
        }
    }

    fn report(&mut self, task: TaskId, state: TaskState) {
        let Some(old) = self.state.task(task) else { return };
        let status = TaskStatus { state, at: self.now, running_since: None, ..old.status.clone() };
        self.commit(Author::Worker, vec![Change::TaskStatus { task, status }]);
    }

    /// A container ends.
    pub(crate) fn end(&mut self, task: &Task, state: TaskState) {
        let Some(worker) = task.node.and_then(|node| self.workers.get_mut(&node)) else { return };
        let Some(held) = worker.tasks.get_mut(&task.id) else { return };
        if held.state == TaskState::Running {
            held.state = state;
        }
    }

    pub(crate) fn running(&self) -> Vec<Arc<Task>> {
        let tasks = self.state.tasks();
        tasks.filter(|task| task.status.state == TaskState::Running).cloned().collect()
    }
}

impl Leader {
    fn new(state: &State) -> Self {
        Self {
            agenda: Agenda::everything(state),
            allocator: Allocator::new(state),
            scheduler: Scheduler::new(state),
        }
    }
}

fn describe(author: Author, event: &Event) -> Option<String> {
    match event {
        Event::Task(Diff { old, new }) => {
            let id = old.iter().chain(new).next()?.id.to_string();
            let show = |task: &Option<Arc<Task>>| {
                task.as_ref().map_or_else(
                    || "none".to_owned(),
                    |task| {
                        let node = task.node.map(|node| node.to_string()[..4].to_owned());
                        let (slot, image) = (task.slot.0, &task.spec.container.image);
                        format!(
                            "{}/{} slot {slot} {image} on {node:?}",
                            task.status.state.as_str(),
                            task.desired.as_str()
                        )
                    },
                )
            };
            Some(format!("{author:?}: task {} {} -> {}", &id[..6], show(old), show(new)))
        }
        Event::Service(Diff { new: Some(new), .. }) => Some(format!(
            "{author:?}: service {} {:?} update {:?} removing {}",
            new.spec.annotations.name,
            new.spec.mode,
            new.update.as_ref().map(|update| update.state),
            new.removing
        )),
        Event::Node(Diff { new: Some(new), .. }) => Some(format!(
            "{author:?}: node {} {:?} {:?}",
            &new.id.to_string()[..4],
            new.status.state,
            new.spec.availability
        )),
        Event::Node(Diff { old: Some(old), .. }) => {
            Some(format!("{author:?}: node {} removed", &old.id.to_string()[..4]))
        }
        _ => None,
    }
}
