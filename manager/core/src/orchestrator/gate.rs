//! Services that wait for others: a new spec of a service starts only when what it depends on has come far enough.
//!
//! Until then its new tasks are prepared (images are pulled) but not started, and an update leaves the old tasks alone. Once
//! one task of a spec was let go, the gate of that spec stays open: a dependency that fails later stops nothing and holds up
//! no restart. All of it is read from the store; nothing is remembered.
//!
//! Source: the Compose specification, `depends_on`. Differs: managers decide, and it holds for updates too.

use std::collections::BTreeMap;
use std::fmt;

use shoal_model::cluster::service::{Condition, Dependency, ServiceMode};
use shoal_model::cluster::{Service, Task, TaskState};

use super::Place;
use super::board::is_wanted;
use crate::store::State;
use crate::update;

/// The dependencies that hold a service back; none: it may start.
pub fn waits(state: &State, service: &Service) -> Vec<Dependency> {
    let wanted = &service.spec.extensions.depends_on;
    if wanted.is_empty() || was_opened(state, service) {
        return Vec::new();
    }
    wanted.iter().filter(|dependency| !is_met(state, dependency)).cloned().collect()
}

/// What is waited for, in words.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a>(pub &'a [Dependency]);

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("waits for ")?;
        for (index, Dependency { service, condition, .. }) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let wish = match condition {
                Condition::Started => "start",
                Condition::Healthy => "be running and healthy",
                Condition::Completed => "complete",
            };
            write!(f, "{comma}service {service} to {wish}")?;
        }
        Ok(())
    }
}

/// Whether a task of the present spec was let go: it shall run, or it has run.
fn was_opened(state: &State, service: &Service) -> bool {
    let iteration = service.spec.mode.is_job().then(|| service.job.unwrap_or_default().iteration);
    state.tasks_of_service(service.id).any(|task| {
        let let_go = matches!(task.desired, TaskState::Running | TaskState::Complete)
            || task.status.ran_for().is_some();
        let_go && task.job_iteration == iteration && is_current(state, service, task)
    })
}

fn is_current(state: &State, service: &Service, task: &Task) -> bool {
    let node = task.node.and_then(|node| state.node(node)).map(AsRef::as_ref);
    !update::differs(service, task, node)
}

fn is_met(state: &State, dependency: &Dependency) -> bool {
    let found = state.service_by_name(&dependency.service).filter(|service| !service.removing);
    let Some(service) = found else { return !dependency.required };
    let iteration = service.spec.mode.is_job().then(|| service.job.unwrap_or_default().iteration);
    let mut places = BTreeMap::<Place, bool>::new();
    for task in state.tasks_of_service(service.id) {
        let Some(place) = Place::of(task) else { continue };
        let is_there = task.job_iteration == iteration
            && is_current(state, service, task)
            && has_come_far_enough(task, dependency.condition);
        // A place of a global service counts while it has a task that shall run.
        if is_there || is_wanted(task) {
            *places.entry(place).or_default() |= is_there;
        }
    }
    let there = places.values().filter(|is_there| **is_there).count();
    let there = u64::try_from(there).unwrap_or(u64::MAX);
    match service.spec.mode {
        ServiceMode::Replicated { replicas } => there >= replicas.unwrap_or(1),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            let most = max_concurrent.unwrap_or(1);
            let all = total_completions.unwrap_or(most);
            there >= if dependency.condition == Condition::Completed { all } else { most.min(all) }
        }
        ServiceMode::Global | ServiceMode::GlobalJob => {
            there > 0 && places.values().all(|is_there| *is_there)
        }
    }
}

fn has_come_far_enough(task: &Task, condition: Condition) -> bool {
    let state = task.status.state;
    match condition {
        // A task with a health check is `Starting` until it is healthy.
        Condition::Started => {
            state == TaskState::Complete
                || (is_wanted(task) && matches!(state, TaskState::Starting | TaskState::Running))
        }
        Condition::Healthy => is_wanted(task) && state == TaskState::Running,
        Condition::Completed => state == TaskState::Complete,
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
