//! Rules that `apply` enforces, whoever proposed the transaction.

use std::fmt;

use serde::{Deserialize, Serialize};
use shoal_model::ErrorKind;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{ServiceId, Task, TaskId, TaskState, Version};
use shoal_model::error::Classified;

use super::watch::Diff;
use super::{Event, ObjectRef, State};

/// Which of the two states of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Axis {
    /// Reported by the worker.
    Observed,
    /// Wanted by a manager.
    Desired,
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observed => "observed",
            Self::Desired => "desired",
        })
    }
}

/// Why a transaction was not applied. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Rejected {
    /// Another transaction changed the object since this one was computed. `Version(0)`: it does not exist.
    #[error("update out of sequence")]
    OutOfSequence { object: ObjectRef, expected: Version, actual: Version },
    #[error("name `{name}` of {object} is taken by {by}")]
    NameTaken { name: String, object: ObjectRef, by: ObjectRef },
    #[error("{object} does not exist")]
    Missing { object: ObjectRef },
    /// `by` names at most [`USERS_NAMED`] of them.
    #[error("{object} is in use by {}", list(by))]
    InUse { object: ObjectRef, by: Vec<ObjectRef> },
    #[error("{axis} state of task `{task}` would go back from {} to {}", from.as_str(), to.as_str())]
    MovedBack { task: TaskId, axis: Axis, from: TaskState, to: TaskState },
    #[error("task `{task}` would have `{}` as its {axis} state", state.as_str())]
    NoSuchState { task: TaskId, axis: Axis, state: TaskState },
    #[error("task `{task}` would change its node or its service")]
    TaskMoved { task: TaskId },
    #[error("the store holds another cluster")]
    OtherCluster,
}

/// Users of an object that a refusal to remove it names.
pub(super) const USERS_NAMED: usize = 16;

fn list(objects: &[ObjectRef]) -> String {
    objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Rejected {
    /// Whether the same change, computed anew from a fresh view, may pass.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::OutOfSequence { .. })
    }
}

impl Classified for Rejected {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfSequence { .. } | Self::NameTaken { .. } | Self::InUse { .. } => {
                ErrorKind::Conflict
            }
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::MovedBack { .. }
            | Self::NoSuchState { .. }
            | Self::TaskMoved { .. }
            | Self::OtherCluster => ErrorKind::Internal,
        }
    }
}

/// Checks one change against the state before it.
pub(super) fn check(state: &State, event: &Event) -> Result<(), Rejected> {
    match event {
        Event::Cluster(diff) => match (&diff.old, &diff.new) {
            (Some(old), Some(new)) if old.id != new.id => Err(Rejected::OtherCluster),
            _ => Ok(()),
        },
        Event::Node(_) => Ok(()),
        Event::Task(diff) => task(state, diff),
        Event::Service(diff) => match (&diff.old, &diff.new) {
            (_, Some(new)) if !new.removing => {
                let name = &new.spec.annotations.name;
                let by = state.service_by_name(name).map(|by| ObjectRef::Service(by.id));
                name_is_free(name, ObjectRef::Service(new.id), by)
            }
            (Some(old), None) => {
                let tasks = state.tasks_of_service(old.id).map(|task| ObjectRef::Task(task.id));
                unused(ObjectRef::Service(old.id), tasks)
            }
            _ => Ok(()),
        },
        Event::Network(diff) => match (&diff.old, &diff.new) {
            (_, Some(new)) => {
                let by = state.network_by_name(&new.spec.name).map(|by| ObjectRef::Network(by.id));
                name_is_free(&new.spec.name, ObjectRef::Network(new.id), by)
            }
            (Some(old), None) => {
                let services = state.services_on_network(old.id);
                let services = services.map(|service| ObjectRef::Service(service.id));
                let tasks = state.tasks_on_network(old.id);
                let tasks = tasks.filter(|task| {
                    holds_networks(task, |id| state.service(id).is_some_and(|one| !one.removing))
                });
                let tasks = tasks.map(|task| ObjectRef::Task(task.id));
                unused(ObjectRef::Network(old.id), services.chain(tasks))
            }
            _ => Ok(()),
        },
        Event::Secret(diff) => match (&diff.old, &diff.new) {
            (_, Some(new)) => {
                let name = &new.spec.annotations.name;
                let by = state.secret_by_name(name).map(|by| ObjectRef::Secret(by.id));
                name_is_free(name, ObjectRef::Secret(new.id), by)
            }
            (Some(old), None) => {
                let users = state.services_with_secret(old.id);
                unused(ObjectRef::Secret(old.id), users.map(|user| ObjectRef::Service(user.id)))
            }
            _ => Ok(()),
        },
        Event::Config(diff) => match (&diff.old, &diff.new) {
            (_, Some(new)) => {
                let name = &new.spec.annotations.name;
                let by = state.config_by_name(name).map(|by| ObjectRef::Config(by.id));
                name_is_free(name, ObjectRef::Config(new.id), by)
            }
            (Some(old), None) => {
                let users = state.services_with_config(old.id);
                unused(ObjectRef::Config(old.id), users.map(|user| ObjectRef::Service(user.id)))
            }
            _ => Ok(()),
        },
    }
}

/// Whether the networks of a task must stay. The tasks of a service that was removed are told to end in a moment.
pub(crate) fn holds_networks(task: &Task, stays: impl FnOnce(ServiceId) -> bool) -> bool {
    task.desired <= TaskState::Running
        && task.status.state <= TaskState::Running
        && task.service.is_none_or(stays)
}

fn name_is_free(name: &str, object: ObjectRef, by: Option<ObjectRef>) -> Result<(), Rejected> {
    match by {
        Some(by) if by != object => Err(Rejected::NameTaken { name: name.to_owned(), object, by }),
        _ => Ok(()),
    }
}

fn unused(object: ObjectRef, users: impl Iterator<Item = ObjectRef>) -> Result<(), Rejected> {
    let by: Vec<_> = users.take(USERS_NAMED).collect();
    if by.is_empty() { Ok(()) } else { Err(Rejected::InUse { object, by }) }
}

/// TASK-1, TASK-4, TASK-5, TASK-6 of docs/INVARIANTS.md.
fn task(state: &State, diff: &Diff<Task>) -> Result<(), Rejected> {
    let Some(new) = &diff.new else { return Ok(()) };
    if new.status.state == TaskState::Remove {
        let (axis, state) = (Axis::Observed, TaskState::Remove);
        return Err(Rejected::NoSuchState { task: new.id, axis, state });
    }
    let Some(old) = &diff.old else {
        return match new.service {
            Some(service) if state.service(service).is_none() => {
                Err(Rejected::Missing { object: ObjectRef::Service(service) })
            }
            _ => Ok(()),
        };
    };
    forward(new.id, Axis::Observed, old.status.state, new.status.state)?;
    forward(new.id, Axis::Desired, old.desired, new.desired)?;
    let moved = old.node.is_some() && old.node != new.node;
    if moved || old.service != new.service || old.slot != new.slot {
        return Err(Rejected::TaskMoved { task: new.id });
    }
    Ok(())
}

fn forward(task: TaskId, axis: Axis, from: TaskState, to: TaskState) -> Result<(), Rejected> {
    if to < from { Err(Rejected::MovedBack { task, axis, from, to }) } else { Ok(()) }
}

/// Whether a report comes too late: the task is further already.
pub(super) fn is_late(task: &Task, report: &TaskStatus) -> bool {
    report.state < task.status.state
}
