//! NET-8, at the end: nodes have in effect what the store says of networks.

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_manager_core::invariants::{Broken, Verdict};
use shoal_manager_core::store::State;
use shoal_model::cluster::{Task, TaskId, TaskState};

use crate::world::World;

/// Each node that has tasks on the network knows all tasks that run there, and no others.
///
/// # Errors
/// Names a node and what it knows.
pub fn check(world: &World, state: &State) -> Verdict {
    let on_network = |task: &&Arc<Task>| {
        task.status.state == TaskState::Running
            && task.networks.iter().any(|one| one.network == world.overlay)
    };
    let running: Vec<_> = state.tasks().filter(on_network).collect();
    let wanted: BTreeSet<TaskId> = running.iter().map(|task| task.id).collect();
    for worker in &world.workers {
        if !running.iter().any(|task| task.node == Some(worker.node.id)) {
            continue;
        }
        let views = worker.machine.views();
        let view = views.get(&world.overlay);
        let has: BTreeSet<TaskId> =
            view.iter().flat_map(|view| &view.endpoints).map(|one| one.task).collect();
        if has != wanted {
            let number = worker.node.number;
            let what = format!("worker {number} knows {has:?} instead of {wanted:?}");
            return Err(Broken { id: "NET-8", what });
        }
    }
    Ok(())
}
