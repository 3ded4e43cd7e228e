//! CONV-1, SLOT-2: in the end what runs is what the specs ask for, in the store of every manager and on the nodes.

use std::collections::BTreeSet;

use shoal_manager_core::invariants::{self, Broken, Verdict, require};
use shoal_manager_core::store::State;
use shoal_model::cluster::TaskState;

use crate::world::World;

/// Looks at everything once.
///
/// # Errors
/// Says what is not yet, or never will be, as it should.
pub fn check(world: &World) -> Verdict {
    let mut states = Vec::new();
    for manager in &world.managers {
        let number = manager.node.number;
        let life = manager.life().ok_or_else(|| Broken {
            id: "CONV-1",
            what: format!("manager {number} does not live"),
        })?;
        states.push((number, life.process.store.view()));
    }
    let (first, state) = &states[0];
    for (number, other) in &states[1..] {
        same(*first, state, *number, other)?;
    }
    state.services().try_for_each(|service| invariants::converged(state, service))?;
    for worker in &world.workers {
        let running = state.tasks_on_node(worker.node.id);
        let store: BTreeSet<_> = running
            .filter(|task| task.status.state == TaskState::Running)
            .map(|task| task.id)
            .collect();
        let containers = worker.machine.containers();
        let real: BTreeSet<_> =
            containers.keys().copied().filter(|task| worker.machine.runs(*task)).collect();
        let number = worker.node.number;
        require(store == real, "CONV-1", || {
            format!("worker {number} runs {real:?}, not {store:?}")
        })?;
    }
    super::views::check(world, state)
}

/// The managers have the same objects.
fn same(first: u8, one: &State, second: u8, other: &State) -> Verdict {
    let broken = |what: String| Err(Broken { id: "RAFT-1", what });
    if one.index() != other.index() {
        return broken(format!(
            "manager {first} is at {}, manager {second} at {}",
            one.index(),
            other.index()
        ));
    }
    let equal = one.tasks().eq(other.tasks())
        && one.services().eq(other.services())
        && one.nodes().eq(other.nodes())
        && one.secrets().eq(other.secrets())
        && one.networks().eq(other.networks());
    if equal { Ok(()) } else { broken(format!("managers {first} and {second} differ")) }
}
