//! Updates and rollbacks of services.
//!
//! [`revise`] and [`roll_back`] are what a user does to a spec; [`step`] is what the leader does about it. A step looks at the store
//! alone and begins what may begin now, so that it goes on under any leader, from any state.
//!
//! Source: swarmkit `manager/orchestrator/update/updater.go`, `manager/controlapi/service.go UpdateService`,
//! `manager/orchestrator/task.go IsTaskDirty`. Differs: a change that changes nothing is none, progress is in the
//! store, an update that does not get on has failed, the old task may take all of its grace period.

mod assess;
mod spec;
mod step;

pub use spec::{NoPreviousSpec, revise, roll_back, roll_back_to};
pub use step::{DEFAULT_DEADLINE, is_due, step};

use shoal_model::cluster::{Node, Service, Task};

use crate::enforcer;
use crate::orchestrator::Board;

/// Whether a task runs something else than its service's spec asks for now.
pub fn is_dirty(board: &Board<'_>, task: &Task) -> bool {
    differs(board.service(), task, task.node.and_then(|node| board.node(node)))
}

/// As [`is_dirty`], of a task that is on this node.
pub(crate) fn differs(service: &Service, task: &Task, node: Option<&Node>) -> bool {
    if task.spec_version == service.spec_version {
        return false;
    }
    let wanted = service.spec.endpoint.as_ref();
    let endpoint_differs = task.endpoint.as_ref().is_some_and(|endpoint| match wanted {
        Some(wanted) => endpoint.spec != *wanted,
        None => endpoint.spec != Default::default(),
    });
    if endpoint_differs {
        return true;
    }
    if task.spec == service.spec.task {
        return false;
    }
    // Other credentials of the registry are for what is pulled from now on, and restart nothing.
    let mut spec = (*task.spec).clone();
    spec.registry_auth.clone_from(&service.spec.task.registry_auth);
    if spec == *service.spec.task {
        return false;
    }
    if spec.placement == service.spec.task.placement {
        return true;
    }
    // Where only the placement differs a task may stay where it is, if it might be placed there now.
    spec.placement.clone_from(&service.spec.task.placement);
    spec != *service.spec.task || !node.is_some_and(|node| enforcer::suits(&spec, node))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_model::cluster::{TaskSpec, Version};

    use super::differs;
    use crate::samples;

    #[test]
    fn credentials_restart_nothing_beside_a_change_that_restarts_nothing() {
        let mut service = samples::service(1, "web");
        let task = samples::task(1, 1, 1);
        service.spec_version = Version(2);
        let spec = TaskSpec { registry_auth: "other".to_owned(), ..TaskSpec::default() };
        service.spec.task = Arc::new(spec.clone());
        assert!(!differs(&service, &task, None));
        service.spec.task = Arc::new(TaskSpec { force_update: 1, ..spec });
        assert!(differs(&service, &task, None));
    }
}
