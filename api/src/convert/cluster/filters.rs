//! The `filters` parameter of cluster lists.
//!
//! Source of the keys: moby `daemon/cluster/filters.go`.

use shoal_model::cluster::filters::{NodeFilters, ObjectFilters, ServiceFilters, TaskFilters};
use shoal_model::cluster::task::TaskState;

use super::{Result, node};
use crate::convert::filters::Raw;

pub(crate) fn services(raw: &Raw) -> Result<ServiceFilters> {
    raw.check(&["name", "id", "label", "mode", "runtime"])?;
    let mode = |value: &str| {
        matches!(value, "replicated" | "global" | "replicated-job" | "global-job")
            .then(|| value.to_owned())
    };
    Ok(ServiceFilters {
        ids: raw.all("id"),
        names: raw.all("name"),
        labels: raw.labels("label"),
        modes: raw.each("mode", mode)?,
        runtimes: raw.all("runtime"),
    })
}

pub(crate) fn tasks(raw: &Raw) -> Result<TaskFilters> {
    raw.check(&[
        "name",
        "id",
        "label",
        "service",
        "node",
        "desired-state",
        "_up-to-date",
        "runtime",
    ])?;
    Ok(TaskFilters {
        ids: raw.all("id"),
        names: raw.all("name"),
        labels: raw.labels("label"),
        services: raw.all("service"),
        nodes: raw.all("node"),
        desired: raw.each("desired-state", state)?,
        up_to_date: raw.flag("_up-to-date")?,
        runtimes: raw.all("runtime"),
    })
}

/// Any state, as in swarmkit; what `--filter desired-state` documents is a part of them.
fn state(value: &str) -> Option<TaskState> {
    const STATES: [TaskState; 14] = [
        TaskState::New,
        TaskState::Pending,
        TaskState::Assigned,
        TaskState::Accepted,
        TaskState::Preparing,
        TaskState::Ready,
        TaskState::Starting,
        TaskState::Running,
        TaskState::Complete,
        TaskState::Shutdown,
        TaskState::Failed,
        TaskState::Rejected,
        TaskState::Remove,
        TaskState::Orphaned,
    ];
    STATES.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(value))
}

pub(crate) fn nodes(raw: &Raw) -> Result<NodeFilters> {
    raw.check(&["name", "id", "label", "node.label", "role", "membership"])?;
    Ok(NodeFilters {
        ids: raw.all("id"),
        names: raw.all("name"),
        labels: raw.labels("label"),
        node_labels: raw.labels("node.label"),
        memberships: raw.each("membership", |value| {
            matches!(value, "accepted" | "pending").then(|| value.to_owned())
        })?,
        roles: raw.each("role", |value| node::role(value).ok())?,
    })
}

pub(crate) fn objects(raw: &Raw) -> Result<ObjectFilters> {
    raw.check(&["name", "names", "id", "label"])?;
    let mut names = raw.all("name");
    names.extend(raw.all("names"));
    Ok(ObjectFilters { ids: raw.all("id"), names, labels: raw.labels("label") })
}
