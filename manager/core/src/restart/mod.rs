//! The restart supervisor: what follows a task that ended or lost its node.
//!
//! A task never runs again; another takes its place. The end of a task is followed under the user's policy, after a
//! delay that grows. A task that must leave its node is followed at once, whatever the policy says: leaving is no end
//! of its own. All that must be remembered is in [`RestartHistory`], handed from each task to the next.
//!
//! Source: swarmkit `manager/orchestrator/restart/restart.go`. Differs: the delay grows, history is in the store, a
//! successor waits for the whole stop of the task before it, and the update's order and parallelism hold for moves too.

mod moves;
mod policy;

use std::sync::Arc;

use shoal_model::cluster::node::Availability;
use shoal_model::cluster::service::{UpdateOrder, UpdateState};
use shoal_model::cluster::task::RestartHistory;
use shoal_model::cluster::{Task, TaskState};

pub use moves::frees_lane;
pub use policy::{DELAY_MAX, HEALTHY_AFTER, allows_another, back_off};

use crate::orchestrator::Place;
use crate::orchestrator::board::{Board, Creation, is_lost, is_wanted};
use crate::update;

/// Why a task must be followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It ended.
    Ended,
    /// Its node is down or gone: it is taken for stopped.
    Lost,
    /// Its node wants to be rid of it, but it may run until its successor does.
    Unwanted,
}

/// Sees to one place of a replicated service or job: follows what ended or lost its node, starts what may start.
pub fn supervise(board: &mut Board<'_>, place: Place) {
    retire_superfluous(board, place);
    for task in board.wanted_in(place) {
        match cause(board, &task) {
            Some(Cause::Ended) => follow_end(board, place, &task),
            Some(Cause::Lost) => replace_now(board, place, &task),
            Some(Cause::Unwanted) if moves::may_leave(board, place, &task) => {
                move_away(board, place, &task);
            }
            Some(Cause::Unwanted) | None => {}
        }
    }
    settle(board, place);
}

/// Starts what may start, and stops what a running successor has made superfluous.
pub fn settle(board: &mut Board<'_>, place: Place) {
    retire_superfluous(board, place);
    promote(board, place);
}

/// Follows the end of a task under its policy. For tasks that may be replaced where they are.
///
/// One that ended while its own delay ran, because it could not even be prepared, is followed when that is over: else a
/// missing image would be asked for without any pause.
pub fn follow_end(board: &mut Board<'_>, place: Place, task: &Task) {
    if let Some(at) = task.history.not_before.filter(|at| *at > board.now()) {
        board.wake(at, Some(place));
        return;
    }
    board.set_desired(task.id, TaskState::Shutdown);
    if board.has_successor(place, task.id) || !allows_another(task) {
        return;
    }
    let history = policy::next_history(task, board.now());
    succeed(board, place, task, TaskState::Ready, history);
}

/// Moves a task off a node that no longer suits it, by the service's order.
pub fn evict(board: &mut Board<'_>, place: Place, task: &Task) {
    retire_superfluous(board, place);
    let is_wanted = |task: &Task| board.wanted_in(place).iter().any(|other| other.id == task.id);
    if is_wanted(task) && !task.status.state.is_terminal() {
        match place {
            Place::Slot(_) => move_away(board, place, task),
            // Nobody else can take the place; the orchestrator fills it when the node suits again.
            Place::Node(_) => board.set_desired(task.id, TaskState::Shutdown),
        }
        settle(board, place);
    }
}

/// Whether a place counts as filled: a task of it shall run, or its last task ended for good.
pub fn is_held(board: &Board<'_>, place: Place) -> bool {
    board.tasks_in(place).any(|task| is_wanted(task)) || is_finished(board, place)
}

/// Whether the last task of a place ended by itself and its policy forbids another.
pub fn is_finished(board: &Board<'_>, place: Place) -> bool {
    board.newest(place).is_some_and(|task| has_ended_itself(task) && !allows_another(task))
}

/// Whether a task ended by itself, not because it was told to.
pub(crate) fn has_ended_itself(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Complete | TaskState::Failed | TaskState::Rejected)
}

fn cause(board: &Board<'_>, task: &Task) -> Option<Cause> {
    match task.status.state {
        TaskState::Complete if task.job_iteration.is_some() => return None,
        TaskState::Orphaned => return Some(Cause::Lost),
        state if state.is_terminal() => return Some(Cause::Ended),
        _ => {}
    }
    match board.node(task.node?) {
        None => Some(Cause::Lost),
        Some(node) if is_lost(node) => Some(Cause::Lost),
        Some(node) => (node.spec.availability == Availability::Drain).then_some(Cause::Unwanted),
    }
}

fn move_away(board: &mut Board<'_>, place: Place, task: &Task) {
    let update = board.service().spec.update.as_ref();
    let order = update.map(|update| update.order).unwrap_or_default();
    if order == UpdateOrder::StartFirst && task.status.state == TaskState::Running {
        if !board.has_successor(place, task.id) {
            // Starts at once unless a third one is still stopping.
            succeed(board, place, task, TaskState::Ready, moved_history(task));
        }
    } else {
        replace_now(board, place, task);
    }
}

fn replace_now(board: &mut Board<'_>, place: Place, task: &Task) {
    board.set_desired(task.id, TaskState::Shutdown);
    if !board.has_successor(place, task.id) {
        succeed(board, place, task, TaskState::Ready, moved_history(task));
    }
}

/// A move is no failure: what was counted stays, and a delay that runs goes on.
fn moved_history(task: &Task) -> RestartHistory {
    task.history.clone()
}

/// Makes the task that follows another. While an update is under way or halted only the updater brings the new
/// spec: until then a place keeps what it has. Nor does what failed to take over bring another spec to a place that
/// still runs: that is an update, which has its parallelism.
fn succeed(
    board: &mut Board<'_>,
    place: Place,
    task: &Task,
    desired: TaskState,
    history: RestartHistory,
) {
    let rolling = board.service().update.as_ref().is_some_and(|update| match update.state {
        UpdateState::Updating
        | UpdateState::Paused
        | UpdateState::RollbackStarted
        | UpdateState::RollbackPaused => true,
        UpdateState::Completed | UpdateState::RollbackCompleted => false,
    });
    // While what this task was to replace still runs, its successor replaces that as well.
    let replaced = task
        .history
        .predecessor
        .filter(|&id| board.tasks_in(place).any(|other| other.id == id && is_wanted(other)));
    let dirty = update::is_dirty(board, task);
    if dirty && !rolling && replaced.is_some() {
        return;
    }
    let history = RestartHistory { predecessor: replaced.or(Some(task.id)), ..history };
    let spec = (rolling && dirty).then(|| (Arc::clone(&task.spec), task.spec_version));
    // Another spec has not failed yet.
    let history = if dirty && spec.is_none() {
        RestartHistory { predecessor: history.predecessor, ..RestartHistory::default() }
    } else {
        history
    };
    board.create(Creation { place, spec, desired, history });
}

/// Of several tasks in a place one stays: one of the present spec before others, then the youngest. Once it runs,
/// the others go; until then they stay (start-first updates and moves, and what a new leader finds of them).
fn retire_superfluous(board: &mut Board<'_>, place: Place) {
    let wanted = board.wanted_in(place);
    if wanted.len() < 2 {
        return;
    }
    retire_overtaken(board, &wanted);
    let stays = wanted.iter().enumerate().max_by_key(|(age, task)| {
        (!update::is_dirty(board, task) && !task.status.state.is_terminal(), *age)
    });
    let Some((_, stays)) = stays else { return };
    if stays.status.state != TaskState::Running {
        return;
    }
    for task in wanted.iter().filter(|task| task.id != stays.id) {
        board.set_desired(task.id, TaskState::Shutdown);
    }
}

/// An update that another one overtook: what it was bringing, and does not run yet, is in the way of what is wanted now. The
/// task before it serves on until its turn comes.
fn retire_overtaken(board: &mut Board<'_>, wanted: &[Arc<Task>]) {
    if wanted.iter().any(|task| !update::is_dirty(board, task)) {
        return;
    }
    let is_running = |task: &&Arc<Task>| task.status.state == TaskState::Running;
    let Some(serving) = wanted.iter().rev().find(is_running) else { return };
    // One of the same spec is a move.
    let overtaken =
        wanted.iter().filter(|task| !is_running(task) && task.spec_version != serving.spec_version);
    for task in overtaken {
        board.set_desired(task.id, TaskState::Shutdown);
    }
}

/// Lets prepared tasks start: when their delay is over and every earlier task of the place has stopped, however
/// long its grace period is.
fn promote(board: &mut Board<'_>, place: Place) {
    for task in board.wanted_in(place) {
        if task.desired > TaskState::Ready || task.status.state.is_terminal() {
            continue;
        }
        match task.history.not_before {
            _ if is_done(board, place, &task) => board.set_desired(task.id, TaskState::Remove),
            Some(at) if at > board.now() => board.wake(at, Some(place)),
            _ if board.is_stopping(place) => {}
            _ if !board.gate().is_empty() && !update::is_dirty(board, &task) => {}
            _ => board.set_desired(task.id, goal(&task)),
        }
    }
}

/// Whether what a task of a job was made for is done: one that was told to stop came to its end all the same.
fn is_done(board: &Board<'_>, place: Place, task: &Task) -> bool {
    let is_same = |other: &&Arc<Task>| other.job_iteration == task.job_iteration;
    task.job_iteration.is_some()
        && board
            .tasks_in(place)
            .filter(is_same)
            .any(|other| other.status.state == TaskState::Complete)
}

/// How far a task shall go in the end.
fn goal(task: &Task) -> TaskState {
    if task.job_iteration.is_some() { TaskState::Complete } else { TaskState::Running }
}
