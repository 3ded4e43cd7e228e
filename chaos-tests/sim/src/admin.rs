//! An administrator: drains nodes and makes them active again.

use std::sync::Arc;
use std::time::Duration;

use shoal_base::random::Numbers;
use shoal_model::cluster::node::Availability;

use crate::note;
use crate::time::pass;
use crate::world::{WORKERS, World, told};

/// A call that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Works until a time; then all nodes are active.
pub async fn run(world: Arc<World>, seed: u64, until: Duration) {
    let mut numbers = Numbers::new(seed);
    while world.trace.now() < until {
        pass(Duration::from_millis(8_000 + numbers.below(20_000))).await;
        let worker = usize::try_from(numbers.below(u64::from(WORKERS))).unwrap_or(0);
        let manager = usize::try_from(numbers.below(world.managers.len() as u64)).unwrap_or(0);
        set(&world, manager, worker, Availability::Drain).await;
        pass(Duration::from_millis(5_000 + numbers.below(10_000))).await;
        let mut manager = manager;
        while !set(&world, manager, worker, Availability::Active).await {
            pass(Duration::from_secs(1)).await;
            manager = (manager + 1) % world.managers.len();
        }
    }
}

/// Whether it was done.
async fn set(world: &World, manager: usize, worker: usize, availability: Availability) -> bool {
    let Some(life) = world.managers[manager].life() else { return false };
    let control = &life.process.control;
    let id = world.workers[worker].node.id.to_string();
    let change = async {
        let node = control.node(&id).await?.node;
        let mut spec = node.spec.clone();
        spec.availability = availability;
        control.update_node(&id, node.meta.version, spec).await
    };
    let done = tokio::select! {
        biased;
        () = life.died.cancelled() => return false,
        done = change => done,
        () = pass(PATIENCE) => return false,
    };
    let number = world.workers[worker].node.number;
    match done {
        Ok(()) => {
            note!(world.trace, "node {number} is {availability:?}");
            true
        }
        Err(error) => {
            note!(world.trace, "node {number} is not {availability:?}: {}", told(&error));
            false
        }
    }
}
