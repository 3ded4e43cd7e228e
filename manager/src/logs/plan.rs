//! Which nodes have which logs. Pure.
//!
//! Source: swarmkit `manager/logbroker/subscription.go match`.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_manager_core::store::State;
use shoal_model::cluster::node::NodeState;
use shoal_model::cluster::{Node, NodeId, ServiceId, Task, TaskId, TaskState};

/// Whose logs are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// All tasks of a service that there still are.
    Service(ServiceId),
    /// One task.
    Task(TaskId),
}

impl Selection {
    /// Whether there is any such object.
    pub(super) fn exists(self, state: &State) -> bool {
        match self {
            Self::Service(id) => state.service(id).is_some(),
            Self::Task(id) => state.task(id).is_some(),
        }
    }

    /// Whether it has this task.
    pub(super) fn contains(self, task: &Task) -> bool {
        match self {
            Self::Service(id) => task.service == Some(id),
            Self::Task(id) => task.id == id,
        }
    }

    /// The tasks, oldest first.
    pub(super) fn tasks(self, state: &State) -> Vec<Arc<Task>> {
        let mut tasks: Vec<_> = match self {
            Self::Service(id) => state.tasks_of_service(id).cloned().collect(),
            Self::Task(id) => state.task(id).cloned().into_iter().collect(),
        };
        tasks.sort_by_key(|task| (task.meta.created, task.id));
        tasks
    }
}

/// What can be read now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// By node: where it serves, and which of its tasks.
    pub(super) nodes: BTreeMap<NodeId, Place>,
    /// Why something is missing.
    pub(super) reasons: Vec<String>,
}

/// Tasks of one node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: String,
    /// Oldest first.
    pub(super) tasks: Vec<TaskId>,
}

/// Where a node serves; `None`: it cannot be reached.
pub(crate) fn address(node: Option<&Arc<Node>>) -> Option<String> {
    let node =
        node.filter(|node| matches!(node.status.state, NodeState::Unknown | NodeState::Ready))?;
    Some(node.description.as_ref()?.api?.to_string())
}

/// What can be read without waiting for anything. Tasks of a service that never ran have no lines.
pub(super) fn plan(state: &State, selection: Selection) -> Plan {
    let mut plan = Plan::default();
    let mut missing = Vec::new();
    for task in selection.tasks(state) {
        let whole_service = matches!(selection, Selection::Service(_));
        if whole_service && task.status.state < TaskState::Running {
            continue;
        }
        let Some(node) = task.node else {
            plan.reasons.push(format!("task {} has not been scheduled", task.id));
            continue;
        };
        match address(state.node(node)) {
            Some(address) => {
                let place = Place { address, tasks: Vec::new() };
                plan.nodes.entry(node).or_insert(place).tasks.push(task.id);
            }
            None if missing.contains(&node) => {}
            None => missing.push(node),
        }
    }
    plan.reasons.extend(missing.into_iter().map(not_available));
    plan
}

pub(super) fn not_available(node: NodeId) -> String {
    format!("node {node} is not available")
}
