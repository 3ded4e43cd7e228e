//! What a manager looks at when it begins to lead.
//!
//! Nothing is repaired here: restart delays, updates and moves are in the store and any plan goes on with them. It
//! is only that nobody knows what happened meanwhile, so everything is looked at once.
//!
//! Pure. Source: swarmkit `manager/orchestrator/taskinit/init.go`.

use std::collections::BTreeSet;

use shoal_model::cluster::{NodeId, ServiceId, TaskId};

use crate::store::State;

/// All that there is to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Everything {
    /// To plan whole, and to reap.
    pub services: BTreeSet<ServiceId>,
    /// To check for misplaced and orphaned tasks; also those that only tasks still name.
    pub nodes: BTreeSet<NodeId>,
    /// Tasks without a service.
    pub strays: BTreeSet<TaskId>,
}

/// Everything in the store.
pub fn everything(state: &State) -> Everything {
    let mut all = Everything {
        services: state.services().map(|service| service.id).collect(),
        nodes: state.nodes().map(|node| node.id).collect(),
        strays: BTreeSet::new(),
    };
    for task in state.tasks() {
        all.nodes.extend(task.node);
        if task.service.is_none_or(|service| state.service(service).is_none()) {
            all.strays.insert(task.id);
        }
    }
    all
}
