//! Tasks whose time is over: those beyond the history of their place, those that were to be removed, and those of nodes
//! that have been gone for too long.
//!
//! Pure. Source: swarmkit `manager/orchestrator/taskreaper/task_reaper.go`, `manager/dispatcher/dispatcher.go
//! moveTasksToOrphaned`, `manager/controlapi/node.go orphanNodeTasks`.

use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{NodeId, Task, TaskState};

use crate::orchestrator::Place;
use crate::orchestrator::board::{Board, is_lost, is_wanted};
use crate::store::{Change, State};

/// A node that has been down for so long is given up: its tasks are orphaned.
pub const ORPHANED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Ended tasks kept where there is no cluster object to say how many.
const DEFAULT_HISTORY: i64 = 5;

/// Deletes tasks of a place: those to be removed that can no longer run, and the oldest that ended until as many are left
/// as the cluster keeps. The youngest task of a place is never history: it says whether the place is finished.
pub fn reap(board: &mut Board<'_>, place: Place) {
    let tasks: Vec<_> = board.tasks_in(place).cloned().collect();
    let (gone, mut left): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|task| is_removable(board.state(), task));
    for task in gone {
        board.remove(task.id);
    }
    let limit = board.state().cluster().map(|cluster| cluster.spec.task_history_limit);
    let Ok(limit) = usize::try_from(limit.unwrap_or(DEFAULT_HISTORY)) else { return };
    let mut excess = left.len().saturating_sub(limit.max(1));
    left.pop();
    for task in left {
        if excess > 0 && is_over(board.state(), &task) {
            board.remove(task.id);
            excess -= 1;
        }
    }
}

/// An attachment of a plain container that is over, or a task whose service does not exist.
pub fn reap_stray(state: &State, task: &Task) -> Option<Change> {
    match task.service {
        Some(service) if state.service(service).is_some() => None,
        Some(_) if task.desired < TaskState::Remove => {
            Some(Change::TaskDesired { task: task.id, desired: TaskState::Remove })
        }
        None if task.status.state.is_terminal() => Some(Change::RemoveTask(task.id)),
        _ => is_removable(state, task).then_some(Change::RemoveTask(task.id)),
    }
}

/// Tasks of a node to be given up, because it was removed or has been down for a day.
pub fn orphan(state: &State, node: NodeId, now: Timestamp) -> Vec<Change> {
    if orphans_due(state, node).is_none_or(|due| due > now) {
        return Vec::new();
    }
    let live = state.tasks_on_node(node).filter(|task| !task.status.state.is_terminal());
    live.map(|task| Change::TaskStatus {
        task: task.id,
        status: TaskStatus {
            state: TaskState::Orphaned,
            at: now,
            message: "orphaned".to_owned(),
            error: "the node has been gone for too long".to_owned(),
            ..task.status.clone()
        },
    })
    .collect()
}

/// When the tasks of a node will be given up; `None`: as things are, never.
pub fn orphans_due(state: &State, node: NodeId) -> Option<Timestamp> {
    match state.node(node) {
        None => Some(Timestamp::default()),
        Some(node) => is_lost(node).then(|| node.status.since.after(ORPHANED_AFTER)),
    }
}

/// Whether a task that is to be removed can no longer run, TASK-7.
fn is_removable(state: &State, task: &Task) -> bool {
    task.desired == TaskState::Remove && has_stopped(state, task)
}

/// Whether a task is history.
fn is_over(state: &State, task: &Task) -> bool {
    (!is_wanted(task) || (task.status.state == TaskState::Complete)) && has_stopped(state, task)
}

fn has_stopped(state: &State, task: &Task) -> bool {
    task.status.state.is_terminal()
        || task.status.state < TaskState::Assigned
        || task.node.is_none_or(|node| state.node(node).is_none())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_model::cluster::node::NodeState;

    use super::*;
    use crate::samples;
    use crate::store::Transaction;

    fn state(changes: Vec<Change>) -> State {
        let mut state = State::default();
        state.apply(1, &Transaction { changes, ..Transaction::default() }).unwrap();
        state
    }

    #[test]
    fn an_attachment_is_deleted_when_it_shall_be_and_has_stopped() {
        let node = samples::node(1);
        let mut task = samples::task(1, 1, 0);
        (task.service, task.node) = (None, Some(node.id));
        let state = state(vec![Change::PutNode(Arc::new(node))]);
        let mut reap = |desired, observed| {
            (task.desired, task.status.state) = (desired, observed);
            reap_stray(&state, &task)
        };
        assert_eq!(reap(TaskState::Running, TaskState::Running), None);
        assert_eq!(reap(TaskState::Remove, TaskState::Running), None);
        let gone = Some(Change::RemoveTask(samples::task(1, 1, 0).id));
        assert_eq!(reap(TaskState::Remove, TaskState::Shutdown), gone);
        assert_eq!(reap(TaskState::Running, TaskState::Complete), gone, "its container ended");
        assert_eq!(reap(TaskState::Remove, TaskState::Pending), gone, "it never had a node");
    }

    #[test]
    fn a_task_without_its_service_goes() {
        let task = samples::task(1, 1, 1);
        let state = state(Vec::new());
        let change = Change::TaskDesired { task: task.id, desired: TaskState::Remove };
        assert_eq!(reap_stray(&state, &task), Some(change));
    }

    #[test]
    fn tasks_are_given_up_a_day_after_their_node() {
        let mut node = samples::node(1);
        let since = Timestamp::from_parts(1_000, 0);
        (node.status.state, node.status.since) = (NodeState::Down, since);
        let mut task = samples::task(1, 1, 1);
        (task.node, task.status.state) = (Some(node.id), TaskState::Running);
        let state = state(vec![
            Change::PutNode(Arc::new(node.clone())),
            Change::PutService(Arc::new(samples::service(1, "web"))),
            Change::PutTask(Arc::new(task)),
        ]);
        let due = since.after(ORPHANED_AFTER);
        assert_eq!(orphans_due(&state, node.id), Some(due));
        assert_eq!(orphan(&state, node.id, Timestamp::from_nanos(due.nanos() - 1)), []);
        assert_eq!(orphan(&state, node.id, due).len(), 1);
    }
}
