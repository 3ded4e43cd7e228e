//! Where in a service a task belongs.

use std::fmt;

use shoal_model::cluster::task::Slot;
use shoal_model::cluster::{NodeId, Task};

/// What tasks of a service succeed each other in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A replica, from 1.
    Slot(Slot),
    /// The node of a global service's task.
    Node(NodeId),
}

impl Place {
    /// The place of a task; `None`: the attachment of a plain container, which has none.
    pub fn of(task: &Task) -> Option<Self> {
        match (task.slot, task.node) {
            (Slot(0), node) => node.map(Self::Node),
            (slot, _) => Some(Self::Slot(slot)),
        }
    }

    /// Slot and node of a new task here.
    pub const fn coordinates(self) -> (Slot, Option<NodeId>) {
        match self {
            Self::Slot(slot) => (slot, None),
            Self::Node(node) => (Slot(0), Some(node)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(Slot(slot)) => write!(f, "{slot}"),
            Self::Node(node) => write!(f, "{node}"),
        }
    }
}
