//! Global services and global jobs: one task on each node that suits, also on nodes that come later.
//!
//! A drained node loses its task, one that is down or unheard of keeps it (nobody else could take it over, and it may well
//! be running), one that is paused is left alone altogether.
//!
//! Source: swarmkit `manager/orchestrator/global/global.go`, `manager/orchestrator/jobs/global/reconciler.go`. Differs: tasks of nodes that are down stay, platforms are
//! checked when a task is made.

use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::task::RestartHistory;
use shoal_model::cluster::{Node, NodeId, Task, TaskState};

use super::Place;
use super::board::{Board, Creation, is_open};
use crate::{enforcer, restart};

/// What a node means for a global service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suitability {
    /// A task shall run there.
    Runs,
    /// What is there stays as it is; nothing new.
    Untouched,
    /// No task may run there.
    Unfit,
    /// The node is no member any more.
    Gone,
}

/// What a node means for the service.
pub fn suitability(board: &Board<'_>, node: Option<&Node>) -> Suitability {
    let Some(node) = node else { return Suitability::Gone };
    match node.spec.availability {
        Availability::Drain => Suitability::Unfit,
        Availability::Pause => Suitability::Untouched,
        Availability::Active if node.status.state != NodeState::Ready => Suitability::Untouched,
        Availability::Active if enforcer::suits(&board.service().spec.task, node) => {
            Suitability::Runs
        }
        Availability::Active => Suitability::Unfit,
    }
}

/// Sees to the tasks of one node: follows what ended, makes what is missing, retires what may not be there.
pub fn attend(board: &mut Board<'_>, id: NodeId) {
    let place = Place::Node(id);
    match suitability(board, board.node(id)) {
        Suitability::Untouched => {}
        Suitability::Gone => board.retire_place(place, TaskState::Remove),
        Suitability::Unfit => board.retire_place(place, TaskState::Shutdown),
        Suitability::Runs => {
            for task in board.wanted_in(place) {
                if task.status.state.is_terminal() && !is_done(&task) {
                    restart::follow_end(board, place, &task);
                }
            }
            fill_node(board, place);
            restart::settle(board, place);
        }
    }
}

/// Makes the tasks of nodes that suit and have none.
pub fn fill(board: &mut Board<'_>) {
    let open = board.nodes().filter(|node| is_open(node)).map(|node| node.id);
    for id in open.collect::<Vec<_>>() {
        if board.tasks_in(Place::Node(id)).next().is_none() {
            attend(board, id);
        }
    }
}

fn fill_node(board: &mut Board<'_>, place: Place) {
    let is_job = board.service().spec.mode.is_job();
    let done = board.tasks_in(place).any(|task| is_done(task));
    if (is_job && done) || restart::is_held(board, place) {
        return;
    }
    let goal = if is_job { TaskState::Complete } else { TaskState::Running };
    let desired = if board.is_stopping(place) { TaskState::Ready } else { goal };
    let history = RestartHistory::default();
    board.create(Creation { place, spec: None, desired, history });
}

/// Whether a job's task has done its work.
fn is_done(task: &Task) -> bool {
    task.job_iteration.is_some()
        && task.status.state == TaskState::Complete
        && task.desired != TaskState::Remove
}
