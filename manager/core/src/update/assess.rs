//! Where each place of a service stands in an update.

use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::service::{UpdateConfig, UpdateStatus};
use shoal_model::cluster::task::RestartCondition;
use shoal_model::cluster::{Task, TaskId, TaskState};

use super::is_dirty;
use crate::orchestrator::Place;
use crate::orchestrator::board::{Board, is_wanted};
use crate::orchestrator::global::{Suitability, suitability};
use crate::restart;

/// Docker's default for the time between signal and kill.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// Where a place stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Runs the present spec, or is none of the update's business.
    Settled,
    /// Runs an older spec; whether it runs.
    Old { running: bool },
    /// Holds a lane: its new task is not running yet. It has failed if this is still so at `deadline`.
    Busy { deadline: Timestamp },
    /// Its new task runs. It holds its lane until `free` and is watched until `proven`.
    Advanced { at: Timestamp, free: Timestamp, proven: Timestamp },
    /// Its new task failed, or does not get on. It holds its lane until `free`.
    Failed { task: TaskId, stuck: bool, free: Timestamp },
}

/// How an update is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<'a> {
    pub(super) update: &'a UpdateStatus,
    pub(super) config: &'a UpdateConfig,
    /// Time without progress after which a place has failed.
    pub(super) deadline: Duration,
}

/// Whether a place runs an older spec. Places of nodes that take nothing now are left alone.
pub(super) fn is_old(board: &Board<'_>, place: Place) -> bool {
    if let Place::Node(id) = place
        && suitability(board, board.node(id)) != Suitability::Runs
    {
        return false;
    }
    let mut wanted = board.tasks_in(place).filter(|task| is_wanted(task)).peekable();
    if wanted.peek().is_some() {
        return wanted.all(|task| is_dirty(board, task));
    }
    restart::is_finished(board, place)
        && board.newest(place).is_some_and(|task| is_dirty(board, task))
}

/// Where a place stands.
pub(super) fn assess(board: &Board<'_>, place: Place, rule: Rule<'_>) -> Standing {
    let now = board.now();
    let new = board.wanted_in(place).into_iter().rev().find(|task| !is_dirty(board, task));
    if let Some(failed) = first_failure(board, place, rule) {
        let free = failed.meta.updated.after(rule.config.delay);
        return Standing::Failed { task: failed.id, stuck: false, free };
    }
    let Some(new) = new else {
        let running = |task: &Task| task.status.state == TaskState::Running;
        return match is_old(board, place) {
            true => Standing::Old { running: board.wanted_in(place).iter().any(|t| running(t)) },
            false => Standing::Settled,
        };
    };
    let is_alone = board.tasks_in(place).filter(|task| is_wanted(task)).count() < 2;
    if is_alone && !is_of_update(board, &new, rule) {
        return Standing::Settled;
    }
    if new.status.state == TaskState::Running {
        let at = new.meta.updated;
        let proven = at.after(rule.config.monitor());
        return Standing::Advanced { at, free: at.after(rule.config.delay), proven };
    }
    let deadline = deadline(board, place, &new, rule.deadline);
    if deadline <= now {
        return Standing::Failed { task: new.id, stuck: true, free: now };
    }
    Standing::Busy { deadline }
}

/// The first task of the update in this place that failed before it had run for the time of the watch.
fn first_failure<'a>(board: &'a Board<'_>, place: Place, rule: Rule<'_>) -> Option<&'a Task> {
    let monitor = rule.config.monitor();
    board.tasks_in(place).map(AsRef::as_ref).find(|task| {
        is_of_update(board, task, rule)
            && is_failure(task)
            && task.status.ran_for().is_none_or(|ran| ran <= monitor)
    })
}

/// Whether a task was made because of this update: it took another's place at the present spec.
fn is_of_update(board: &Board<'_>, task: &Task, rule: Rule<'_>) -> bool {
    task.spec_version == board.service().spec_version
        && task.history.predecessor.is_some()
        && task.meta.created >= rule.update.started
}

/// Whether the end of a task says that its spec is no good. Success is a failure where the task shall run for ever.
fn is_failure(task: &Task) -> bool {
    let policy = task.spec.restart.as_ref();
    let condition = policy.and_then(|policy| policy.condition).unwrap_or_default();
    restart::has_ended_itself(task)
        && (task.status.state != TaskState::Complete || condition == RestartCondition::Any)
}

/// When a new task that does not run has failed: some time after its last advance, not counting the grace period that
/// its predecessors may still use. What waits for a node does not advance by being tried again.
fn deadline(board: &Board<'_>, place: Place, new: &Task, patience: Duration) -> Timestamp {
    let waits = new.status.state < TaskState::Assigned;
    let advanced = if waits { new.meta.created } else { new.meta.updated };
    let stopping = board.tasks_in(place).filter(|task| !is_wanted(task) && !board.is_stopped(task));
    let grace = stopping.map(|task| task.spec.stop_grace_period.unwrap_or(DEFAULT_GRACE)).max();
    advanced.after(grace.unwrap_or_default()).after(patience)
}
