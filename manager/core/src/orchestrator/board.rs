//! One service and its tasks while a plan is made: read once, changed in memory, written out as changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shoal_model::Timestamp;
use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::service::{Dependency, Endpoint};
use shoal_model::cluster::task::{RestartHistory, TaskStatus};
use shoal_model::cluster::{
    Annotations, Meta, Node, NodeId, Service, Task, TaskId, TaskSpec, TaskState, Version,
};

use super::{Place, gate};
use crate::allocator::{endpoint_is_all, pending};
use crate::ids::Ids;
use crate::store::{Change, State};

/// What was decided for a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be committed in this order.
    pub changes: Vec<Change>,
    /// Where the changes may be cut into several transactions: never between those of one place.
    pub cuts: Vec<usize>,
    /// When to plan again although nothing happens: the whole service (`None`) or a place of it.
    pub wakes: BTreeSet<(Timestamp, Option<Place>)>,
    /// Services whose progress the service waits for, by name.
    pub waits: BTreeSet<String>,
}

impl Plan {
    /// The changes in parts of about `most`, cut where they may be. A service is only removed by a plan of one part: the
    /// store must not hold its tasks any more.
    pub(crate) fn parts(self, most: usize) -> Vec<Vec<Change>> {
        let Self { mut changes, cuts, .. } = self;
        let mut ends = Vec::new();
        for &cut in &cuts {
            if cut.saturating_sub(ends.last().copied().unwrap_or(0)) >= most {
                ends.push(cut);
            }
        }
        let is_cut = !ends.is_empty();
        let mut parts: Vec<_> = ends.iter().rev().map(|&end| changes.split_off(end)).collect();
        parts.push(changes);
        parts.reverse();
        if is_cut {
            parts.iter_mut().for_each(|part| {
                part.retain(|change| !matches!(change, Change::RemoveService(_)));
            });
        }
        parts.retain(|part| !part.is_empty());
        parts
    }
}

/// A new task.
#[derive(Debug, Clone)]
pub struct Creation {
    /// Where.
    pub place: Place,
    /// What it runs; `None`: the service's present spec.
    pub spec: Option<(Arc<TaskSpec>, Version)>,
    /// How far it shall go at first.
    pub desired: TaskState,
    /// What it inherits.
    pub history: RestartHistory,
}

/// A service and its tasks (or those of some of its places) while a plan is made.
pub struct Board<'a> {
    now: Timestamp,
    service: Arc<Service>,
    service_changed: bool,
    service_removed: bool,
    state: &'a State,
    ids: &'a mut dyn Ids,
    annotations: Arc<Annotations>,
    tasks: BTreeMap<TaskId, Arc<Task>>,
    places: BTreeMap<Place, Vec<TaskId>>,
    /// Tasks that change, and whether they are new.
    changed: BTreeMap<TaskId, bool>,
    removed: Vec<TaskId>,
    wakes: BTreeSet<(Timestamp, Option<Place>)>,
    /// What holds new tasks back.
    gate: Vec<Dependency>,
    /// Of new tasks.
    endpoint: Option<Arc<Endpoint>>,
}

impl std::fmt::Debug for Board<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board")
            .field("service", &self.service.id)
            .field("tasks", &self.tasks.len())
            .field("changed", &self.changed.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Board<'a> {
    /// Lays out a service with its tasks: all of them, or all of each place that will be planned.
    pub fn new(
        service: Arc<Service>,
        tasks: impl IntoIterator<Item = Arc<Task>>,
        state: &'a State,
        now: Timestamp,
        ids: &'a mut dyn Ids,
    ) -> Self {
        let tasks: BTreeMap<_, _> = tasks.into_iter().map(|task| (task.id, task)).collect();
        let mut places = BTreeMap::<Place, Vec<TaskId>>::new();
        for task in tasks.values() {
            if let Some(place) = Place::of(task) {
                places.entry(place).or_default().push(task.id);
            }
        }
        for members in places.values_mut() {
            members.sort_by_cached_key(|id| (tasks[id].meta.created, ancestors(&tasks, *id), *id));
        }
        let annotations = tasks
            .values()
            .rev()
            .find(|task| *task.annotations == service.spec.annotations)
            .map_or_else(
                || Arc::new(service.spec.annotations.clone()),
                |task| Arc::clone(&task.annotations),
            );
        let endpoint = tasks.values().rev().find_map(|task| task.endpoint.clone());
        let gate = gate::waits(state, &service);
        Self {
            now,
            service,
            service_changed: false,
            service_removed: false,
            state,
            ids,
            annotations,
            tasks,
            places,
            changed: BTreeMap::new(),
            removed: Vec::new(),
            wakes: BTreeSet::new(),
            gate,
            endpoint,
        }
    }

    /// What holds back tasks of the present spec; empty: they may start.
    pub fn gate(&self) -> &[Dependency] {
        &self.gate
    }

    /// The time of the plan.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The view that the board was laid out from.
    pub fn state(&self) -> &'a State {
        self.state
    }

    /// The service, as changed so far.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// A node; `None`: it was removed.
    pub fn node(&self, id: NodeId) -> Option<&'a Node> {
        self.state.node(id).map(AsRef::as_ref)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &'a Node> + use<'a> {
        self.state.nodes().map(AsRef::as_ref)
    }

    /// Whether no task is left.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The places that have tasks, in order.
    pub fn places(&self) -> Vec<Place> {
        self.places.keys().copied().collect()
    }

    /// The tasks of a place, oldest first.
    pub fn tasks_in(&self, place: Place) -> impl DoubleEndedIterator<Item = &Arc<Task>> {
        self.places.get(&place).into_iter().flatten().map(|id| &self.tasks[id])
    }

    /// The tasks of a place that shall run or complete, oldest first.
    pub fn wanted_in(&self, place: Place) -> Vec<Arc<Task>> {
        self.tasks_in(place).filter(|task| is_wanted(task)).cloned().collect()
    }

    /// The youngest task of a place that is not to be removed.
    pub fn newest(&self, place: Place) -> Option<&Arc<Task>> {
        self.tasks_in(place).rev().find(|task| task.desired != TaskState::Remove)
    }

    /// Whether nothing of a task can be running: it ended, never had a node, or its node is gone or down.
    pub fn is_stopped(&self, task: &Task) -> bool {
        task.status.state.is_terminal()
            || task.status.state < TaskState::Assigned
            || task.node.and_then(|node| self.node(node)).is_none_or(is_lost)
    }

    /// Whether tasks of a place that were told to stop have not stopped yet.
    pub fn is_stopping(&self, place: Place) -> bool {
        self.tasks_in(place).any(|task| !is_wanted(task) && !self.is_stopped(task))
    }

    /// Whether a task of the place shall run in this one's stead.
    pub fn has_successor(&self, place: Place, task: TaskId) -> bool {
        self.tasks_in(place)
            .any(|other| is_wanted(other) && other.history.predecessor == Some(task))
    }

    /// Moves a task's desired state forward. Backward is no change.
    pub fn set_desired(&mut self, task: TaskId, desired: TaskState) {
        if let Some(task) = self.tasks.get_mut(&task)
            && task.desired < desired
        {
            let now = self.now;
            let task = Arc::make_mut(task);
            // As the store will write it: an advance of the task starts its deadlines anew.
            (task.desired, task.meta.updated) = (desired, now);
            self.changed.entry(task.id).or_insert(false);
        }
    }

    /// Tells all tasks of a place to stop or to go.
    pub fn retire_place(&mut self, place: Place, desired: TaskState) {
        for task in self.places.get(&place).cloned().unwrap_or_default() {
            self.set_desired(task, desired);
        }
    }

    /// Iteration of a job; `None`: the service is none.
    pub fn iteration(&self) -> Option<Version> {
        let job = self.service.job.unwrap_or_default();
        self.service.spec.mode.is_job().then_some(job.iteration)
    }

    /// Makes a task.
    pub fn create(&mut self, creation: Creation) -> TaskId {
        let (slot, node) = creation.place.coordinates();
        let (spec, spec_version) = creation
            .spec
            .unwrap_or_else(|| (Arc::clone(&self.service.spec.task), self.service.spec_version));
        let is_held = !self.gate.is_empty() && spec_version == self.service.spec_version;
        let desired =
            if is_held { creation.desired.min(TaskState::Ready) } else { creation.desired };
        let endpoint = self.endpoint_of(&spec);
        let id = self.ids.task();
        let task = Task {
            id,
            meta: Meta { version: Version(0), created: self.now, updated: self.now },
            spec,
            spec_version,
            service: Some(self.service.id),
            slot,
            node,
            annotations: Arc::clone(&self.annotations),
            desired,
            status: if endpoint.is_some() { pending(self.now) } else { created(self.now) },
            networks: Vec::new(),
            endpoint,
            generic: Vec::new(),
            job_iteration: self.iteration(),
            history: creation.history,
            runs: 0,
        };
        self.tasks.insert(id, Arc::new(task));
        self.places.entry(creation.place).or_default().push(id);
        self.changed.insert(id, true);
        id
    }

    /// The endpoint of a task that the allocator has nothing else to give to; one for all of the plan.
    fn endpoint_of(&mut self, spec: &TaskSpec) -> Option<Arc<Endpoint>> {
        let all = endpoint_is_all(&self.service, spec)?;
        let shared = self.endpoint.get_or_insert_with(|| Arc::new(all.clone()));
        if **shared != *all {
            *shared = Arc::new(all.clone());
        }
        Some(Arc::clone(shared))
    }

    /// Deletes a task.
    pub fn remove(&mut self, id: TaskId) {
        let Some(task) = self.tasks.remove(&id) else { return };
        let place = Place::of(&task);
        if let Some((place, members)) = place.and_then(|at| Some((at, self.places.get_mut(&at)?))) {
            members.retain(|member| *member != id);
            if members.is_empty() {
                self.places.remove(&place);
            }
        }
        // What the store has not seen need not be deleted there.
        if self.changed.remove(&id) != Some(true) {
            self.removed.push(id);
        }
    }

    /// Changes the service.
    pub fn change_service(&mut self, change: impl FnOnce(&mut Service)) {
        let before = Arc::clone(&self.service);
        change(Arc::make_mut(&mut self.service));
        self.service_changed |= before != self.service;
    }

    /// Removes the service itself.
    pub fn remove_service(&mut self) {
        self.service_removed = true;
    }

    /// Asks for another plan at a time: of one place, or of all.
    pub fn wake(&mut self, at: Timestamp, place: Option<Place>) {
        self.wakes.insert((at, place));
    }

    /// What was decided: the service first, what is deleted, then tasks by place and age. A service is
    /// removed last.
    pub fn finish(self) -> Plan {
        let mut changes = Vec::with_capacity(self.changed.len() + 1);
        let id = self.service.id;
        if self.service_changed && !self.service_removed {
            changes.push(Change::PutService(self.service));
        }
        let mut cuts = Vec::new();
        for id in self.removed {
            cuts.push(changes.len());
            changes.push(Change::RemoveTask(id));
        }
        for members in self.places.values() {
            cuts.push(changes.len());
            for id in members {
                let task = &self.tasks[id];
                match self.changed.get(id) {
                    Some(true) => changes.push(Change::PutTask(Arc::clone(task))),
                    Some(false) => {
                        changes.push(Change::TaskDesired { task: *id, desired: task.desired });
                    }
                    None => {}
                }
            }
        }
        cuts.dedup();
        if self.service_removed {
            changes.push(Change::RemoveService(id));
        }
        let waits = self.gate.into_iter().map(|dependency| dependency.service).collect();
        Plan { changes, cuts, wakes: self.wakes, waits }
    }
}

/// How many tasks of the board a task descends from; breaks ties of tasks made at the same time.
fn ancestors(tasks: &BTreeMap<TaskId, Arc<Task>>, id: TaskId) -> usize {
    let parents = std::iter::successors(Some(id), |id| tasks.get(id)?.history.predecessor);
    parents.take_while(|id| tasks.contains_key(id)).take(tasks.len()).count()
}

/// Of a task that the allocator has to give something to.
fn created(now: Timestamp) -> TaskStatus {
    TaskStatus { at: now, message: "created".to_owned(), ..TaskStatus::default() }
}

/// Whether a task shall run or complete.
pub fn is_wanted(task: &Task) -> bool {
    task.desired <= TaskState::Complete
}

/// Whether tasks on a node must be taken for dead.
pub fn is_lost(node: &Node) -> bool {
    matches!(node.status.state, NodeState::Down | NodeState::Disconnected)
}

/// Whether a node takes new tasks.
pub fn is_open(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}
