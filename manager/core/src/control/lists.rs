//! Lists with filters, and counts.
//!
//! Source: swarmkit `manager/controlapi` `List…`, moby `daemon/cluster/filters.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shoal_model::cluster::filters::{NodeFilters, ObjectFilters, ServiceFilters, TaskFilters};
use shoal_model::cluster::request::ServiceCounts;
use shoal_model::cluster::service::ServiceMode;
use shoal_model::cluster::task::Slot;
use shoal_model::cluster::{
    Annotations, Config, Node, NodeId, Secret, Service, ServiceId, Task, TaskState,
};
use shoal_model::filters::all_labels;

use super::{Result, find};
use crate::orchestrator::Place;
use crate::store::State;
use crate::update;

fn any_prefix(prefixes: &[String], of: &str) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| of.starts_with(prefix.as_str()))
}

fn any<T: PartialEq>(wanted: &[T], one: &T) -> bool {
    wanted.is_empty() || wanted.contains(one)
}

fn named(filters: &ObjectFilters, id: &impl ToString, annotations: &Annotations) -> bool {
    any_prefix(&filters.ids, &id.to_string())
        && any_prefix(&filters.names, &annotations.name)
        && all_labels(&filters.labels, &annotations.labels)
}

/// The secrets that fit.
pub fn secrets(state: &State, filters: &ObjectFilters) -> Vec<Arc<Secret>> {
    let fits = |secret: &&Arc<Secret>| named(filters, &secret.id, &secret.spec.annotations);
    state.secrets().filter(fits).cloned().collect()
}

/// The configs that fit.
pub fn configs(state: &State, filters: &ObjectFilters) -> Vec<Arc<Config>> {
    let fits = |config: &&Arc<Config>| named(filters, &config.id, &config.spec.annotations);
    state.configs().filter(fits).cloned().collect()
}

/// The nodes that fit.
pub fn nodes(state: &State, filters: &NodeFilters) -> Vec<Arc<Node>> {
    let nothing = BTreeMap::new();
    let fits = |node: &&Arc<Node>| {
        let description = node.description.as_ref();
        let hostname = description.map_or("", |description| description.hostname.as_str());
        let engine = description.map_or(&nothing, |description| &description.engine_labels);
        any_prefix(&filters.ids, &node.id.to_string())
            && any_prefix(&filters.names, hostname)
            && all_labels(&filters.labels, engine)
            && all_labels(&filters.node_labels, &node.spec.annotations.labels)
            // Whoever is in the store has been accepted.
            && any(&filters.memberships, &"accepted".to_owned())
            && any(&filters.roles, &node.role)
    };
    state.nodes().filter(fits).cloned().collect()
}

const fn mode_word(mode: ServiceMode) -> &'static str {
    match mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
        ServiceMode::ReplicatedJob { .. } => "replicated-job",
        ServiceMode::GlobalJob => "global-job",
    }
}

/// The services that fit and are not being removed.
pub fn services(state: &State, filters: &ServiceFilters) -> Vec<Arc<Service>> {
    let fits = |service: &&Arc<Service>| {
        let annotations = &service.spec.annotations;
        !service.removing
            && any_prefix(&filters.ids, &service.id.to_string())
            && any_prefix(&filters.names, &annotations.name)
            && all_labels(&filters.labels, &annotations.labels)
            && any(&filters.modes, &mode_word(service.spec.mode).to_owned())
            && any(&filters.runtimes, &"container".to_owned())
    };
    state.services().filter(fits).cloned().collect()
}

/// How many tasks a service has and shall have.
pub fn counts(state: &State, service: &Service) -> ServiceCounts {
    let mut counts = ServiceCounts::default();
    let iteration = service.job.map(|job| job.iteration);
    let is_global = matches!(service.spec.mode, ServiceMode::Global | ServiceMode::GlobalJob);
    // One that was replaced as its node was away may come to its end beside the other.
    let mut done = BTreeSet::new();
    for task in state.tasks_of_service(service.id) {
        if iteration.is_some() && task.job_iteration != iteration {
            continue;
        }
        let completed = task.status.state == TaskState::Complete;
        if completed && iteration.is_some() {
            done.extend(Place::of(task));
        }
        counts.running += u64::from(task.status.state == TaskState::Running);
        let wanted =
            task.desired == TaskState::Running || task.desired == TaskState::Complete && !completed;
        counts.desired += u64::from(is_global && wanted);
    }
    match service.spec.mode {
        ServiceMode::Replicated { replicas } => counts.desired = replicas.unwrap_or(1),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            counts.desired = max_concurrent.or(total_completions).unwrap_or(1);
        }
        ServiceMode::Global | ServiceMode::GlobalJob => {}
    }
    counts.completed = done.len() as u64;
    counts
}

/// `<service>.<slot or node>.<task>`.
pub fn task_name(task: &Task) -> String {
    let place = match (task.slot, task.node) {
        (Slot(0), Some(node)) => node.to_string(),
        (Slot(slot), _) => slot.to_string(),
    };
    format!("{}.{place}.{}", task.annotations.name, task.id)
}

/// The tasks that fit.
///
/// # Errors
/// When a filter names a service or a node that is none, or several.
pub fn tasks(state: &State, filters: &TaskFilters) -> Result<Vec<Arc<Task>>> {
    let of_services = filters.services.iter().map(|name| Ok(find::service(state, name)?.id));
    let of_services: BTreeSet<ServiceId> = of_services.collect::<Result<_>>()?;
    let on_nodes = filters.nodes.iter().map(|name| Ok(find::node(state, name)?.id));
    let on_nodes: BTreeSet<NodeId> = on_nodes.collect::<Result<_>>()?;
    let fits = |task: &&Arc<Task>| {
        any_prefix(&filters.ids, &task.id.to_string())
            && (filters.names.is_empty() || any_prefix(&filters.names, &task_name(task)))
            && all_labels(&filters.labels, &task.spec.container.labels)
            && (on_nodes.is_empty() || task.node.is_some_and(|node| on_nodes.contains(&node)))
            && any(&filters.desired, &task.desired)
            && any(&filters.runtimes, &"container".to_owned())
            && filters.up_to_date.is_none_or(|wanted| wanted == is_up_to_date(state, task))
    };
    if of_services.is_empty() {
        return Ok(state.tasks().filter(fits).cloned().collect());
    }
    let tasks = of_services.into_iter().flat_map(|service| state.tasks_of_service(service));
    Ok(tasks.filter(fits).cloned().collect())
}

/// Whether a task is as its service wishes now.
fn is_up_to_date(state: &State, task: &Task) -> bool {
    let Some(service) = task.service.and_then(|id| state.service(id)) else { return false };
    if task.job_iteration != service.job.map(|job| job.iteration) {
        return false;
    }
    let node = task.node.and_then(|node| state.node(node));
    !update::differs(service, task, node.map(AsRef::as_ref))
}
