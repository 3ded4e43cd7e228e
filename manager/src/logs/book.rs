//! What a client that follows has read of each task. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shoal_manager_core::store::State;
use shoal_model::Timestamp;
use shoal_model::cluster::{NodeId, TaskId, TaskState};

use super::plan::{Selection, address};

/// Reads that begin now: tasks of one node that are read from the same point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) node: NodeId,
    pub(super) address: String,
    pub(super) tasks: Vec<TaskId>,
    pub(super) since: Option<Timestamp>,
    pub(super) tail: Option<u64>,
}

/// Where reading a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// Broke off; goes on after a pause.
    Paused,
    /// To go on.
    Due,
    Over,
}

/// Tasks and how far they are read.
#[derive(Debug)]
pub(super) struct Book {
    selection: Selection,
    since: Option<Timestamp>,
    tail: Option<u64>,
    /// Tasks that were there when it began: the tail is counted in these. All of the later ones is new.
    initial: BTreeSet<TaskId>,
    tasks: BTreeMap<TaskId, (Reading, Option<Timestamp>)>,
}

impl Book {
    pub(super) fn new(
        state: &State,
        selection: Selection,
        since: Option<Timestamp>,
        tail: Option<u64>,
    ) -> Self {
        let initial = selection.tasks(state).iter().map(|task| task.id).collect();
        Self { selection, since, tail, initial, tasks: BTreeMap::new() }
    }

    /// What is to be read now, and is not: of tasks that run or ran, on nodes that can be reached.
    pub(super) fn open(&mut self, state: &State) -> Vec<Batch> {
        let mut batches: BTreeMap<_, Batch> = BTreeMap::new();
        self.tasks
            .retain(|task, (reading, _)| *reading == Reading::Open || state.task(*task).is_some());
        for task in self.selection.tasks(state) {
            let read = self.tasks.get(&task.id).copied();
            let began = task.status.state >= TaskState::Running;
            if !began || read.is_some_and(|(reading, _)| reading != Reading::Due) {
                continue;
            }
            let Some(node) = task.node else { continue };
            let Some(address) = address(state.node(node)) else { continue };
            let last = read.and_then(|(_, last)| last);
            let (since, tail) = match last {
                // A line that was written in the same nanosecond as the last one is lost.
                Some(last) => (Some(last.after(Duration::from_nanos(1))), None),
                None if self.initial.contains(&task.id) => (self.since, self.tail),
                None => (self.since, None),
            };
            let blank = Batch { node, address, tasks: Vec::new(), since, tail };
            batches.entry((node, since, tail)).or_insert(blank).tasks.push(task.id);
            self.tasks.insert(task.id, (Reading::Open, last));
        }
        batches.into_values().collect()
    }

    /// A line came.
    pub(super) fn line(&mut self, task: TaskId, at: Timestamp) {
        if let Some((_, last)) = self.tasks.get_mut(&task) {
            *last = (*last).max(Some(at));
        }
    }

    /// The connection broke.
    pub(super) fn pause(&mut self, tasks: &[TaskId]) {
        self.turn(tasks, Reading::Open, Reading::Paused);
    }

    /// The logs ended.
    pub(super) fn end(&mut self, tasks: &[TaskId]) {
        self.turn(tasks, Reading::Open, Reading::Over);
    }

    /// The pause is over.
    pub(super) fn resume(&mut self) {
        let all: Vec<TaskId> = self.tasks.keys().copied().collect();
        self.turn(&all, Reading::Paused, Reading::Due);
    }

    fn turn(&mut self, tasks: &[TaskId], from: Reading, to: Reading) {
        for task in tasks {
            if let Some((reading, _)) = self.tasks.get_mut(task)
                && *reading == from
            {
                *reading = to;
            }
        }
    }
}
