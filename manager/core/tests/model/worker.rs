//! A node as it really is, whatever the managers know of it.

use std::collections::{BTreeMap, BTreeSet};

use shoal_model::Timestamp;
use shoal_model::cluster::service::OnDisconnect;
use shoal_model::cluster::{Task, TaskId, TaskState};

/// What a worker has of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// As the worker knows it; managers may know less.
    pub(crate) state: TaskState,
    /// What managers wanted when they were last heard.
    pub(crate) desired: TaskState,
    pub(crate) on_disconnect: OnDisconnect,
}

/// A worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Worker {
    /// Since when no manager is reachable.
    pub(crate) cut_off: Option<Timestamp>,
    pub(crate) tasks: BTreeMap<TaskId, Held>,
}

impl Worker {
    /// Takes the complete set of assignments.
    pub(crate) fn assign<'a>(&mut self, set: impl Iterator<Item = (&'a Task, OnDisconnect)>) {
        let mut named = BTreeSet::new();
        for (task, on_disconnect) in set {
            named.insert(task.id);
            let state = task.status.state;
            let held = self.tasks.entry(task.id).or_insert(Held {
                state,
                desired: task.desired,
                on_disconnect,
            });
            held.desired = held.desired.max(task.desired);
            held.on_disconnect = on_disconnect;
        }
        self.tasks.retain(|id, _| named.contains(id));
    }

    /// Tasks whose service has them stopped by now, although nobody says so.
    pub(crate) fn give_up(&mut self, now: Timestamp) {
        let Some(since) = self.cut_off else { return };
        for held in self.tasks.values_mut() {
            if let OnDisconnect::Stop(after) = held.on_disconnect
                && now.since(since) >= after
                && !held.state.is_terminal()
            {
                held.state = TaskState::Failed;
            }
        }
    }

    /// Whether a container of the task runs here.
    pub(crate) fn runs(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|held| held.state == TaskState::Running)
    }
}
