//! How many tasks of a service leave drained nodes at once: as many as its updates change at once, where it says so.
//!
//! A place that moves holds a lane from its successor's creation until that runs, or until it does not get on for as long
//! as an update may. What is counted is in the store and on the board, so that any leader counts the same.

use std::collections::BTreeSet;

use shoal_model::Timestamp;
use shoal_model::cluster::node::Availability;
use shoal_model::cluster::{Task, TaskState};

use crate::orchestrator::Place;
use crate::orchestrator::board::{Board, is_wanted};
use crate::update::DEFAULT_DEADLINE;

/// Whether a task may leave its drained node now. Without a policy of updates all go at once, as in Docker; a task that
/// does not run serves nobody and needs no lane.
pub(super) fn may_leave(board: &mut Board<'_>, place: Place, task: &Task) -> bool {
    let lanes = board.service().spec.update.as_ref().map_or(0, |update| update.parallelism);
    if lanes == 0 || task.status.state != TaskState::Running || board.has_successor(place, task.id)
    {
        return true;
    }
    let (taken, next) = lanes_taken(board);
    if u64::try_from(taken.len()).is_ok_and(|taken| taken < lanes) {
        return true;
    }
    // The end of a move wakes the service; a move that does not end must not hold the others for ever.
    if let Some(next) = next {
        board.wake(next, None);
    }
    false
}

/// Whether a place has just given a lane back, which a task in another place may be waiting for.
pub fn frees_lane(board: &Board<'_>, place: Place) -> bool {
    let service = board.service();
    let limited = service.spec.update.as_ref().is_some_and(|update| update.parallelism > 0);
    limited
        && board.tasks_in(place).any(|task| is_wanted(task) && is_running(task))
        && board.tasks_in(place).any(|task| is_on_drained(board, task))
}

/// The places that are moving, and when the first of them will have taken too long.
fn lanes_taken(board: &Board<'_>) -> (BTreeSet<Place>, Option<Timestamp>) {
    let patience = board.service().spec.extensions.update_deadline.unwrap_or(DEFAULT_DEADLINE);
    let on_board: BTreeSet<Place> = board.places().into_iter().collect();
    let elsewhere = board.state().tasks_of_service(board.service().id);
    let elsewhere =
        elsewhere.filter(|task| Place::of(task).is_some_and(|place| !on_board.contains(&place)));
    let here = on_board.iter().flat_map(|&place| board.tasks_in(place));
    let (mut coming, mut leaving) = (BTreeSet::new(), BTreeSet::new());
    let mut next = None::<Timestamp>;
    for task in elsewhere.chain(here) {
        let Some(place) = Place::of(task) else { continue };
        if is_on_drained(board, task) {
            leaving.insert(place);
        } else if is_wanted(task) && task.status.state < TaskState::Running {
            let over = task.meta.created.after(patience);
            if over > board.now() {
                coming.insert(place);
                next = Some(next.map_or(over, |next| next.min(over)));
            }
        }
    }
    (coming.intersection(&leaving).copied().collect(), next)
}

fn is_running(task: &Task) -> bool {
    task.status.state == TaskState::Running
}

fn is_on_drained(board: &Board<'_>, task: &Task) -> bool {
    let node = task.node.and_then(|node| board.node(node));
    node.is_some_and(|node| node.spec.availability == Availability::Drain)
}
