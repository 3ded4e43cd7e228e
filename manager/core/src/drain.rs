//! How far a node that is being drained has come.
//!
//! Pure. The moving itself is the restart supervisor's: it keeps the update order of each service.

use std::sync::Arc;

use shoal_model::cluster::{NodeId, Task, TaskState};

use crate::orchestrator::board::is_wanted;
use crate::store::State;

/// What is left on a node that is being drained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Run on until their successors run elsewhere.
    pub waiting: Vec<Arc<Task>>,
    /// Were told to stop and have not stopped yet.
    pub stopping: Vec<Arc<Task>>,
}

impl Progress {
    /// Whether the node is empty.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.stopping.is_empty()
    }
}

/// The tasks that a node still holds. Attachments of plain containers are not the cluster's to move.
pub fn progress(state: &State, node: NodeId) -> Progress {
    let mut progress = Progress::default();
    for task in state.tasks_on_node(node) {
        let holds = task.status.state >= TaskState::Assigned && !task.status.state.is_terminal();
        if task.service.is_none() || !holds {
            continue;
        }
        if is_wanted(task) {
            progress.waiting.push(Arc::clone(task));
        } else {
            progress.stopping.push(Arc::clone(task));
        }
    }
    progress
}
