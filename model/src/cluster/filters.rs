//! The filters of cluster lists, parsed. As in [`crate::filters`]: several values of one key mean any of
//! them, except labels, which must all match. Texts name objects by id, id prefix or name.

use super::node::NodeRole;
use super::task::TaskState;
use crate::filters::LabelFilter;

/// Filters of `GET /services`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceFilters {
    /// Prefixes of ids.
    pub ids: Vec<String>,
    /// Prefixes of names.
    pub names: Vec<String>,
    /// Of the service.
    pub labels: Vec<LabelFilter>,
    /// `replicated`, `global`, `replicated-job`, `global-job`.
    pub modes: Vec<String>,
    /// `container`, `plugin`.
    pub runtimes: Vec<String>,
}

/// Filters of `GET /tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilters {
    /// Prefixes of ids.
    pub ids: Vec<String>,
    /// Prefixes of names.
    pub names: Vec<String>,
    /// Of the service's container.
    pub labels: Vec<LabelFilter>,
    /// Names or ids of services.
    pub services: Vec<String>,
    /// Names or ids of nodes.
    pub nodes: Vec<String>,
    /// Desired states.
    pub desired: Vec<TaskState>,
    /// Only tasks made from the service's present spec, or only others. Private to docker's CLI.
    pub up_to_date: Option<bool>,
    /// `container`, `plugin`.
    pub runtimes: Vec<String>,
}

/// Filters of `GET /nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFilters {
    /// Prefixes of ids.
    pub ids: Vec<String>,
    /// Prefixes of host names.
    pub names: Vec<String>,
    /// Of the engine.
    pub labels: Vec<LabelFilter>,
    /// Of the node.
    pub node_labels: Vec<LabelFilter>,
    /// `accepted`, `pending`.
    pub memberships: Vec<String>,
    /// Roles.
    pub roles: Vec<NodeRole>,
}

/// Filters of `GET /secrets` and `GET /configs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectFilters {
    /// Prefixes of ids.
    pub ids: Vec<String>,
    /// Prefixes of names.
    pub names: Vec<String>,
    /// All must match.
    pub labels: Vec<LabelFilter>,
}
