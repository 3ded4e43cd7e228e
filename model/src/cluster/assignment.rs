//! What a worker is told about one of its tasks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Task;
use super::service::OnDisconnect;

/// A task as its worker gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedTask {
    /// The task. Status, meta, history and runs are blank: they change without the worker's concern.
    pub task: Arc<Task>,
    /// What happens to it when no manager is reachable; from the service.
    #[serde(default)]
    pub on_disconnect: OnDisconnect,
}
