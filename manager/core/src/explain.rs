//! Why the tasks of a service are not where they should be, and what would help.
//!
//! Pure. Serves `shoal service explain`: everything comes from the store, so that any manager can tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::report::{Finding, ServiceReport};
use shoal_model::cluster::service::{PublishMode, ServiceMode, UpdateState};
use shoal_model::cluster::task::{Filter, Slot};
use shoal_model::cluster::{Node, NodeId, Service, ServiceId, Task, TaskState};

use crate::constraint;
use crate::orchestrator::board::is_wanted;
use crate::orchestrator::{Place, gate};
use crate::restart;
use crate::store::State;

/// Looks at all tasks of a service. `None`: there is no such service.
pub fn explain(state: &State, service: ServiceId, now: Timestamp) -> Option<ServiceReport> {
    let object = state.service(service)?;
    let mut places = BTreeMap::<_, Vec<&Task>>::new();
    for task in state.tasks_of_service(service) {
        places.entry(Place::of(task)).or_default().push(task);
    }
    let (mut settled, mut findings) = (0, Vec::new());
    for mut tasks in places.into_values() {
        tasks.sort_by_key(|task| (task.meta.created, task.id));
        for task in telling(&tasks, object) {
            match judge(state, task, now) {
                None => settled += 1,
                Some(judgement) => findings.push(finding(state, object, task, judgement, now)),
            }
        }
    }
    Some(ServiceReport {
        service: object.spec.annotations.name.clone(),
        endpoint_error: unpublished(state, object),
        placement: unplaceable(object),
        update: halted(object),
        settled,
        findings,
    })
}

/// The tasks of a place that say how it is: those that are wanted; else the last one, where it failed for good. Other
/// tasks were replaced, or are going.
fn telling<'a>(tasks: &[&'a Task], service: &Service) -> Vec<&'a Task> {
    let iteration = service.job.unwrap_or_default().iteration;
    let is_present = |task: &Task| task.job_iteration.is_none_or(|own| own == iteration);
    let wanted = tasks.iter().copied().filter(|task| is_wanted(task) && is_present(task));
    let wanted: Vec<_> = wanted.collect();
    if !wanted.is_empty() {
        return wanted;
    }
    let failed = |task: &&Task| {
        let failed = matches!(task.status.state, TaskState::Failed | TaskState::Rejected);
        failed && task.desired < TaskState::Remove && !restart::allows_another(task)
    };
    tasks.last().copied().filter(failed).into_iter().collect()
}

/// Why the service's last update was halted or turned back; empty: it was not.
fn halted(service: &Service) -> String {
    let Some(update) = &service.update else { return String::new() };
    match update.state {
        UpdateState::Paused | UpdateState::RollbackPaused | UpdateState::RollbackStarted => {
            update.message.clone()
        }
        UpdateState::Updating | UpdateState::Completed | UpdateState::RollbackCompleted => {
            String::new()
        }
    }
}

/// Which of its constraints ask for what no node has; empty: none. A global service has no task that could tell.
fn unplaceable(service: &Service) -> String {
    let placement = service.spec.task.placement.as_ref();
    let constraints = placement.and_then(|wish| constraint::parse_all(&wish.constraints).ok());
    constraints.and_then(|all| constraint::unknown_keys(&all)).unwrap_or_default()
}

/// Why its ports are not published everywhere; empty: they are.
fn unpublished(state: &State, service: &Service) -> String {
    let ports = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let ports = ports.filter(|port| port.mode == PublishMode::Ingress);
    let refused = ports.flat_map(|port| {
        let named = (port.protocol, port.published);
        let has_other = move |node: &&Arc<Node>| {
            let about = node.description.as_ref();
            about.is_some_and(|about| about.refused_ports.contains(&named))
        };
        state.nodes().filter(has_other).map(move |node| {
            let (node, protocol) = (node_name(state, node.id), port.protocol.as_str());
            format!("another program of node {node} has port {}/{protocol}", port.published)
        })
    });
    let all: Vec<String> = Some(&service.endpoint_error)
        .filter(|error| !error.is_empty())
        .cloned()
        .into_iter()
        .chain(refused)
        .collect();
    all.join("; ")
}

fn finding(
    state: &State,
    service: &Service,
    task: &Task,
    judgement: (String, Vec<&'static str>),
    now: Timestamp,
) -> Finding {
    let status = &task.status;
    let at = status.at.max(task.meta.created);
    let (reason, advice) = judgement;
    Finding {
        task: task.id,
        name: task_name(service, task),
        observed: status.state,
        desired: goal(task),
        at,
        since: now.since(at),
        node: task.node.map(|node| node_name(state, node)).unwrap_or_default(),
        reason,
        verdict: status.verdict.clone(),
        advice: advice.into_iter().map(str::to_owned).collect(),
    }
}

/// A task as users know it: `name.slot`, or `name.node` where a service has one on each node.
pub fn task_name(service: &Service, task: &Task) -> String {
    let name = &service.spec.annotations.name;
    match (service.spec.mode, task.node) {
        (ServiceMode::Global | ServiceMode::GlobalJob, Some(node)) => format!("{name}.{node}"),
        (_, _) if task.slot == Slot(0) => format!("{name}.{}", task.id),
        (_, _) => format!("{name}.{}", task.shown_slot()),
    }
}

/// A node as users know it.
pub fn node_name(state: &State, node: NodeId) -> String {
    let about = state.node(node).and_then(|node| node.description.as_ref());
    let hostname = about.map(|about| about.hostname.clone());
    hostname.filter(|hostname| !hostname.is_empty()).unwrap_or_else(|| node.to_string())
}

/// Where a task shall be in the end, whatever it waits for now.
fn goal(task: &Task) -> TaskState {
    match task.job_iteration {
        Some(_) => TaskState::Complete,
        None => TaskState::Running,
    }
}

/// Why a task is not where it should be, and what would help; `None`: it is.
fn judge(state: &State, task: &Task, now: Timestamp) -> Option<(String, Vec<&'static str>)> {
    let status = &task.status;
    if status.state == TaskState::Complete && task.job_iteration.is_some() {
        return None;
    }
    let node = task.node.and_then(|node| state.node(node));
    if status.state == TaskState::Running {
        return judge_running(node?);
    }
    let mut advice: Vec<_> = status.verdict.iter().map(|verdict| remedy(verdict.filter)).collect();
    if !status.error.is_empty() {
        let reason = if status.state.is_terminal() && !restart::allows_another(task) {
            format!("{}; its restart policy allows no further attempt", status.error)
        } else {
            status.error.clone()
        };
        advice.extend(remedy_of_error(status.state));
        return Some((reason, advice));
    }
    let reason = match status.state {
        TaskState::New => "waits for its networks and ports".to_owned(),
        TaskState::Pending => "waits for a node".to_owned(),
        TaskState::Assigned => match node {
            Some(node) if node.status.state != NodeState::Ready => {
                advice.push("bring the node back, or remove it");
                "its node is not ready".to_owned()
            }
            _ => "waits for its node to take it".to_owned(),
        },
        TaskState::Ready => waits(state, task, now, &mut advice),
        TaskState::Accepted | TaskState::Preparing => {
            "its node makes image, mounts and networks ready".to_owned()
        }
        TaskState::Starting => {
            advice.push("if it has a health check: read its logs");
            "starts, or is not healthy yet".to_owned()
        }
        TaskState::Complete | TaskState::Shutdown => "ended, and was not replaced".to_owned(),
        TaskState::Failed => {
            advice.push("read the service's logs");
            "failed, and was not replaced".to_owned()
        }
        TaskState::Rejected => "was refused by its node".to_owned(),
        TaskState::Orphaned => "its node was gone for too long".to_owned(),
        TaskState::Running | TaskState::Remove => "is about to change".to_owned(),
    };
    Some((reason, advice))
}

/// A task that was last seen running is where it should be, unless its node is not.
fn judge_running(node: &Node) -> Option<(String, Vec<&'static str>)> {
    let said = |reason: &str, advice| Some((reason.to_owned(), vec![advice]));
    match (node.status.state, node.spec.availability) {
        (NodeState::Ready, Availability::Active | Availability::Pause) => None,
        (NodeState::Ready, Availability::Drain) => said(
            "runs on a node that is being drained, until it is its turn and its successor runs",
            "if it stays so: see why its successor does not run",
        ),
        (NodeState::Down | NodeState::Unknown | NodeState::Disconnected, _) => {
            said("its node does not answer", "bring the node back, or remove it")
        }
    }
}

/// What a prepared task waits for, and why it came to that.
fn waits(state: &State, task: &Task, now: Timestamp, advice: &mut Vec<&'static str>) -> String {
    let before = task.history.predecessor.and_then(|before| state.task(before));
    let failed = before.filter(|before| !before.status.error.is_empty());
    let reason = match task.history.not_before.filter(|until| *until > now) {
        Some(until) => format!("waits for its restart delay, {} more", seconds(until.since(now))),
        None if before.is_some_and(|before| !before.status.state.is_terminal()) => {
            "ready, waits until the task before it has stopped".to_owned()
        }
        None => held_back(state, task).unwrap_or_else(|| "ready, waits for its start".to_owned()),
    };
    match failed {
        None => reason,
        Some(before) => {
            advice.extend(remedy_of_error(before.status.state));
            format!("{reason}; the attempt before it: {}", before.status.error)
        }
    }
}

/// The services that a prepared task waits for, in words; `None`: it waits for none.
fn held_back(state: &State, task: &Task) -> Option<String> {
    let service = task.service.and_then(|service| state.service(service))?;
    let waits = gate::waits(state, service);
    (!waits.is_empty()).then(|| gate::Waiting(&waits).to_string())
}

/// What would help against the error of a task in a state.
const fn remedy_of_error(state: TaskState) -> Option<&'static str> {
    match state {
        TaskState::New => Some(
            "free what is in use, or widen it: the task is tried again when something was freed",
        ),
        TaskState::Failed => Some("read the service's logs"),
        TaskState::Rejected => Some("check image, credentials, mounts and networks of the spec"),
        TaskState::Preparing => Some("check that the node reaches the image's registry"),
        TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Ready
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Remove
        | TaskState::Orphaned => None,
    }
}

/// What would help against a filter.
const fn remedy(filter: Filter) -> &'static str {
    match filter {
        Filter::Ready => "bring nodes back, or make drained and paused ones active",
        Filter::Resources => "reserve less, end other tasks, or add nodes",
        Filter::Plugins => "install the missing driver on more nodes",
        Filter::Constraints => "label more nodes, or ask for less with constraints",
        Filter::Platform => {
            "add nodes of the image's platform, or build the image for more platforms"
        }
        Filter::HostPorts => "publish another port in host mode, or have fewer replicas than nodes",
        Filter::MaxReplicas => "raise the limit of replicas per node, or add nodes",
        Filter::Volumes => "make the volumes available on more nodes",
    }
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;
