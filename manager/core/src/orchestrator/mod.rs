//! Services: which tasks there shall be.
//!
//! Pure: no clock, no I/O, no randomness but the ids that are handed in. One service is planned at a time, on a [`Board`]: its
//! tasks as read from one view of the store. The caller commits the plan in a transaction that expects the versions
//! read, so a plan is never applied to a store that it was not made from.
//!
//! Nothing here remembers anything: back-off, attempts and the progress of an update are fields of tasks and services.
//! Deadlines come out of the plan as [`Plan::wakes`]; a wake that is lost costs nothing but time, since a whole plan finds
//! it again.
//!
//! Source: swarmkit `design/orchestrators.md`, `design/task_model.md`.

pub mod agenda;
pub mod board;
pub mod gate;
pub mod global;
pub mod place;
pub mod replicated;
pub mod replicated_job;

use std::collections::BTreeSet;

use shoal_model::cluster::service::{ServiceMode, UpdateState};
use shoal_model::cluster::{Service, TaskState};

pub use agenda::Agenda;
pub use board::{Board, Plan};
pub use place::Place;

use crate::{reaper, restart, update};

/// How much of a service is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of it: its spec changed, or nobody knows what did.
    Whole,
    /// Only these places: something happened to their tasks or nodes. The board needs hold no others.
    Places(BTreeSet<Place>),
}

/// Whether a change of one place of the service can concern others, so that only a whole plan will do: a free lane of
/// an update goes to another place, and so does a free turn of a job.
pub fn needs_whole(service: &Service) -> bool {
    service.removing
        || service.spec.mode.is_job()
        || service.update.as_ref().is_some_and(|update| {
            matches!(update.state, UpdateState::Updating | UpdateState::RollbackStarted)
        })
}

/// Decides the next changes of a service.
///
/// Invariants: SLOT-1, no slot number is handed out twice; CONV-1, the plan of a converged service is empty.
pub fn plan(board: &mut Board<'_>, scope: &Scope) {
    let mode = board.service().spec.mode;
    if board.service().removing {
        remove_all(board);
        return;
    }
    match scope {
        Scope::Places(places) => {
            for &place in places {
                attend(board, mode, place);
                reaper::reap(board, place);
            }
            // An old task on a node that takes tasks again: the updater looks at all places.
            // And a task that has moved makes room for the next.
            let calls = |place| update::is_due(board, place) || restart::frees_lane(board, place);
            if places.iter().any(|&place| calls(place)) {
                board.wake(board.now(), None);
            }
        }
        Scope::Whole => {
            retire_earlier_iterations(board);
            for place in board.places() {
                attend(board, mode, place);
            }
            match mode {
                ServiceMode::Replicated { .. } => replicated::scale(board),
                ServiceMode::Global | ServiceMode::GlobalJob => global::fill(board),
                ServiceMode::ReplicatedJob { .. } => replicated_job::advance(board),
            }
            update::step(board);
            for place in board.places() {
                reaper::reap(board, place);
            }
        }
    }
}

/// Sees to one place: what ended or lost its node is replaced, what may start starts.
fn attend(board: &mut Board<'_>, mode: ServiceMode, place: Place) {
    match (mode, place) {
        (ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. }, Place::Slot(_)) => {
            restart::supervise(board, place);
        }
        (ServiceMode::Global | ServiceMode::GlobalJob, Place::Node(node)) => {
            global::attend(board, node);
        }
        // The mode of a service never changes; tasks of another mode are none of its tasks.
        (ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. }, Place::Node(_))
        | (ServiceMode::Global | ServiceMode::GlobalJob, Place::Slot(_)) => {
            board.retire_place(place, TaskState::Remove);
        }
    }
}

/// Removes the tasks of earlier iterations of a job.
fn retire_earlier_iterations(board: &mut Board<'_>) {
    let iteration = board.iteration();
    for place in board.places() {
        let tasks = board.tasks_in(place).filter(|task| task.job_iteration != iteration);
        for task in tasks.map(|task| task.id).collect::<Vec<_>>() {
            board.set_desired(task, TaskState::Remove);
        }
    }
}

/// A removed service: all tasks go, then the service does.
fn remove_all(board: &mut Board<'_>) {
    for place in board.places() {
        board.retire_place(place, TaskState::Remove);
        reaper::reap(board, place);
    }
    if board.is_empty() {
        board.remove_service();
    }
}
