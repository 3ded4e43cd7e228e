//! Tasks that no longer suit their node, after the node or what it says of itself changed.
//!
//! Pure. Source: swarmkit `manager/orchestrator/constraintenforcer/constraint_enforcer.go`. Differs: the worker alone
//! says what a task's observed state is, so that a task is moved, not called rejected; the platform counts too.

use std::sync::Arc;

use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::{Node, NodeId, Task, TaskSpec, TaskState};

use crate::constraint;
use crate::orchestrator::board::is_wanted;
use crate::platform;
use crate::store::State;

/// Whether a node satisfies the constraints and platforms of a spec. Resources are the scheduler's business.
pub fn suits(spec: &TaskSpec, node: &Node) -> bool {
    let Some(placement) = &spec.placement else { return true };
    constraint::parse_all(&placement.constraints)
        .is_ok_and(|constraints| constraint::matches(&constraints, node))
        && platform::runs_one_of(node, &placement.platforms)
}

/// The tasks that must leave a node, in the order of their ids. Nodes that are down, or drained, are the restart
/// supervisor's business.
pub fn misplaced(state: &State, id: NodeId) -> Vec<Arc<Task>> {
    let Some(node) = state.node(id) else { return Vec::new() };
    if node.status.state != NodeState::Ready || node.spec.availability == Availability::Drain {
        return Vec::new();
    }
    let Some(description) = &node.description else { return Vec::new() };
    let mut left =
        Left { nano_cpus: description.resources.nano_cpus, memory: description.resources.memory };
    let tasks = state.tasks_on_node(id).filter(|task| {
        is_wanted(task) && task.service.is_some() && !task.status.state.is_terminal()
    });
    let mut tasks: Vec<_> = tasks.collect();
    // Who came first stays.
    tasks.sort_by_key(|task| (task.meta.created, task.id));
    let mut misplaced: Vec<_> = tasks
        .into_iter()
        .filter(|task| {
            let assigned = task.status.state >= TaskState::Assigned;
            let fits = !assigned || (suits(&task.spec, node) && left.take(&task.spec));
            !fits
        })
        .cloned()
        .collect();
    misplaced.sort_by_key(|task| task.id);
    misplaced
}

/// Resources that a node has left.
struct Left {
    nano_cpus: i64,
    memory: i64,
}

impl Left {
    /// Takes what a task reserves; `false`: there is not enough.
    fn take(&mut self, spec: &TaskSpec) -> bool {
        let wish = spec.resources.as_ref().and_then(|wish| wish.reservations.as_ref());
        let Some(wish) = wish else { return true };
        let (nano_cpus, memory) = (wish.nano_cpus.max(0), wish.memory.max(0));
        let fits = (nano_cpus == 0 || nano_cpus <= self.nano_cpus)
            && (memory == 0 || memory <= self.memory);
        if fits {
            self.nano_cpus -= nano_cpus;
            self.memory -= memory;
        }
        fits
    }
}
