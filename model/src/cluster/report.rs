//! What a cluster says of its own work beyond docker's API: why tasks are not where they should be, how far a drain has
//! come.

use std::time::Duration;

use super::task::FilterVerdict;
use super::{NodeId, TaskId, TaskState};
use crate::Timestamp;

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceReport {
    /// Its name.
    pub service: String,
    /// Why its endpoint is not as wished; empty: it is.
    pub endpoint_error: String,
    /// Why its constraints suit no node at all; empty: they may suit some.
    pub placement: String,
    /// Why its last update was halted or turned back; empty: it was not.
    pub update: String,
    /// Tasks that are where they should be.
    pub settled: usize,
    /// The others, in the order of their slots.
    pub findings: Vec<Finding>,
}

/// A task that is not where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Task.
    pub task: TaskId,
    /// `name.slot`, or `name.node`.
    pub name: String,
    /// What is.
    pub observed: TaskState,
    /// What a manager wants.
    pub desired: TaskState,
    /// Since when it has been so.
    pub at: Timestamp,
    /// How long that is.
    pub since: Duration,
    /// Its node, as users know it; empty: none yet.
    pub node: String,
    /// Why.
    pub reason: String,
    /// How many nodes each filter turned away.
    pub verdict: Vec<FilterVerdict>,
    /// What would help.
    pub advice: Vec<String>,
}

/// What a node that is being drained still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainReport {
    /// The node.
    pub node: NodeId,
    /// Its host name.
    pub hostname: String,
    /// Whether it is to be drained at all.
    pub draining: bool,
    /// Names of tasks that run on until their successors run elsewhere, or until it is their turn.
    pub waiting: Vec<String>,
    /// Names of tasks that were told to stop and have not stopped yet.
    pub stopping: Vec<String>,
}

impl DrainReport {
    /// Whether the node is empty.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.stopping.is_empty()
    }
}
