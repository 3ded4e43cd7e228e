//! Picks the node of each pending task, or says why there is none.
//!
//! Pure. [`Scheduler`] keeps an index of nodes and a queue of waiting tasks, built from a state when a
//! manager becomes leader and kept up to date with the store's events; a plan counts its own choices as
//! made, so that the next plan may be computed before they are committed. When a commit fails,
//! [`Scheduler::forget`] reads those tasks from the state again.
//!
//! Tasks of one service and version are decided as a group. A group that cannot be placed is put aside with
//! its verdict until something changed that could help it; groups are taken up in the order of their
//! oldest task, so that none starves.
//!
//! Source: swarmkit `manager/scheduler/scheduler.go`.

mod demand;
mod filter;
mod generic;
mod index;
mod place;
mod queue;
mod spread;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_model::Timestamp;
use shoal_model::cluster::task::{FilterVerdict, TaskStatus};
use shoal_model::cluster::{NodeId, Task, TaskId, TaskState};

pub use filter::explain;

use crate::store::{Change, Event, State};
use demand::Demand;
use filter::{no_suitable_node, verdict};
use generic::Used;
use index::Index;
use place::{Wish, place};
use queue::{Group, Queue};

/// How much one plan may do; what is left over is for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Changes in the plan.
    pub changes: usize,
    /// Groups that no node was found for: each looks at all nodes.
    pub failures: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { changes: 2_000, failures: 200 }
    }
}

/// What is to be committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In one transaction or several.
    pub changes: Vec<Change>,
    /// A limit was reached: plan again after the commit.
    pub more: bool,
}

impl Plan {
    /// The nodes that tasks are given to. What a node may get is decided by what it was: its availability, its labels.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        let given = self.changes.iter().filter_map(|change| match change {
            Change::EditTask(task) => task.node,
            _ => None,
        });
        given.collect()
    }
}

/// The scheduler of a leader.
#[derive(Debug, Clone, Default)]
pub struct Scheduler {
    index: Index,
    queue: Queue,
}

/// Plans for a state that nothing is known of yet: what a new leader would do first.
pub fn plan(state: &State, now: Timestamp) -> Plan {
    let limits = Limits { changes: usize::MAX, failures: usize::MAX };
    Scheduler::new(state).plan(state, now, limits)
}

impl Scheduler {
    /// Reads all nodes and tasks.
    pub fn new(state: &State) -> Self {
        let mut scheduler = Self::default();
        for node in state.nodes() {
            scheduler.index.set_node(node.id, Some(node));
        }
        for task in state.tasks() {
            scheduler.set_task(task.id, Some(task));
        }
        scheduler
    }

    /// Takes note of a change. Returns whether there may be something to plan now.
    pub fn observe(&mut self, event: &Event) -> bool {
        match event {
            Event::Node(diff) => {
                let Some(id) = diff.latest().map(|node| node.id) else { return false };
                self.index.set_node(id, diff.new.as_ref());
            }
            Event::Task(diff) => {
                let Some(id) = diff.latest().map(|task| task.id) else { return false };
                self.set_task(id, diff.new.as_deref());
            }
            Event::Cluster(_)
            | Event::Service(_)
            | Event::Network(_)
            | Event::Secret(_)
            | Event::Config(_) => return false,
        }
        self.queue.wake(&self.index.take_freed());
        self.queue.is_due()
    }

    /// Whether there may be something to plan.
    pub fn is_due(&self) -> bool {
        self.queue.is_due()
    }

    /// Reads the tasks of a plan that was not committed from the state again.
    pub fn forget(&mut self, state: &State, plan: &Plan) {
        for change in &plan.changes {
            let id = match change {
                Change::EditTask(task) => task.id,
                Change::TaskStatus { task, .. } => *task,
                _ => continue,
            };
            // A task that was refused waits for a change; its verdict would never be said.
            self.queue.remove(id);
            self.set_task(id, state.task(id).map(|task| &**task));
        }
        self.queue.wake(&self.index.take_freed());
    }

    fn set_task(&mut self, id: TaskId, task: Option<&Task>) {
        self.index.set_task(id, task);
        match task.filter(|task| is_waiting(task)) {
            Some(task) => self.queue.add(task),
            None => self.queue.remove(id),
        }
    }

    /// Decides the tasks that wait and could find a node. `state` is that of the last observed event or newer.
    /// Applied to the state, the plan changes nothing
    /// that a second plan would change again.
    pub fn plan(&mut self, state: &State, now: Timestamp, limits: Limits) -> Plan {
        self.queue.wake(&self.index.take_freed());
        let mut plan = Plan::default();
        let mut failures = 0;
        while let Some(group) = self.queue.first_due() {
            if plan.changes.len() >= limits.changes || failures >= limits.failures {
                plan.more = true;
                break;
            }
            let room = limits.changes - plan.changes.len();
            if !self.decide(state, group, now, room, &mut plan.changes) {
                failures += 1;
            }
        }
        plan
    }

    /// Decides up to `room` tasks of a group. Returns whether all that were looked at got a node.
    fn decide(
        &mut self,
        state: &State,
        group: Group,
        now: Timestamp,
        room: usize,
        changes: &mut Vec<Change>,
    ) -> bool {
        let mut tasks = Vec::new();
        for id in self.queue.next_of(group, room) {
            // The state may be newer than the events that were observed.
            match state.task(id).filter(|task| is_waiting(task)) {
                Some(task) => tasks.push(task),
                None => self.queue.remove(id),
            }
        }
        let (Some(first), Some(last)) = (tasks.first(), tasks.last()) else {
            self.queue.finish(group);
            return true;
        };
        let last = last.id;
        let demand = demand_of(state, first);
        let wish = Wish { service: group.service, version: group.version, demand: &demand, now };
        if let Some(node) = group.node {
            return self.decide_preset(wish, group, node, &tasks, changes);
        }
        let mut waiting = tasks.into_iter();
        let queue = &mut self.queue;
        place(&mut self.index, wish, waiting.len(), &mut |index, node| {
            let Some(task) = waiting.next() else { return };
            let task = assigned(index, task, node, &demand, now);
            index.set_task(task.id, Some(&task));
            queue.remove(task.id);
            changes.push(Change::EditTask(Arc::new(task)));
        });
        if waiting.as_slice().is_empty() {
            return true;
        }
        let verdict = wish.verdict(&self.index);
        let error = no_suitable_node(&verdict, &demand);
        changes.extend(waiting.filter_map(|task| refused(task, &error, &verdict, now)));
        self.queue.refused(group, last, &verdict);
        false
    }

    /// Tasks of global services: their node is checked, no other is looked for.
    fn decide_preset(
        &mut self,
        wish: Wish<'_>,
        group: Group,
        node: NodeId,
        tasks: &[&Arc<Task>],
        changes: &mut Vec<Change>,
    ) -> bool {
        for (position, task) in tasks.iter().enumerate() {
            // Tasks of a node that is gone are the orchestrator's.
            let verdict = match self.index.entry_of(node) {
                Some(entry) if entry.node.is_some() => {
                    verdict(wish.check(&self.index, entry).err().into_iter())
                }
                _ => {
                    self.queue.refused(group, task.id, &[]);
                    return true;
                }
            };
            if !verdict.is_empty() {
                let error = explain(&verdict);
                let rest = &tasks[position..];
                changes.extend(
                    rest.iter().filter_map(|task| refused(task, &error, &verdict, wish.now)),
                );
                for task in rest {
                    self.queue.refused(group, task.id, &verdict);
                }
                return false;
            }
            let task = assigned(&self.index, task, node, wish.demand, wish.now);
            self.index.set_task(task.id, Some(&task));
            self.queue.remove(task.id);
            changes.push(Change::EditTask(Arc::new(task)));
        }
        true
    }
}

/// Pending, and wanted to run.
fn is_waiting(task: &Task) -> bool {
    task.status.state == TaskState::Pending && task.desired < TaskState::Shutdown
}

fn demand_of(state: &State, task: &Task) -> Demand {
    let networks = task.networks.iter().filter_map(|network| state.network(network.network));
    let drivers = networks.map(|network| match &network.allocation {
        Some(allocation) => allocation.driver.clone(),
        None => network.spec.driver.clone(),
    });
    Demand::of(task, drivers.filter(|driver| !driver.is_empty()).collect())
}

fn assigned(index: &Index, task: &Task, node: NodeId, demand: &Demand, now: Timestamp) -> Task {
    let entry = index.entry_of(node);
    let declared = entry.and_then(|entry| entry.node.as_ref()?.description.as_ref());
    let declared = declared.map(|about| about.resources.generic.as_slice()).unwrap_or_default();
    let nothing = Used::default();
    let used = entry.map_or(&nothing, |entry| &entry.generic);
    let generic = used.claim(declared, &demand.generic);
    let message = if task.node.is_some() {
        "scheduler confirmed task can run on preassigned node"
    } else {
        "scheduler assigned task to node"
    };
    Task {
        node: Some(node),
        generic: generic.expect("the filter for resources has checked that they fit"),
        status: TaskStatus {
            state: TaskState::Assigned,
            at: now,
            message: message.to_owned(),
            ..TaskStatus::default()
        },
        ..task.clone()
    }
}

/// `None`: the task says so already.
fn refused(task: &Task, error: &str, verdict: &[FilterVerdict], now: Timestamp) -> Option<Change> {
    let said = &task.status;
    (said.error != error || said.verdict != verdict).then(|| Change::TaskStatus {
        task: task.id,
        status: TaskStatus {
            at: now,
            error: error.to_owned(),
            verdict: verdict.to_vec(),
            ..said.clone()
        },
    })
}
