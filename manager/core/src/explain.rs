//! Why the tasks of a service are not where they should be, and what would help.
//!
//! Pure. Serves `shoal service explain`: everything comes from the store, so that any manager can tell.

use std::fmt::Write as _;
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::service::ServiceMode;
use shoal_model::cluster::task::{Filter, FilterVerdict, Slot};
use shoal_model::cluster::{NodeId, ServiceId, Task, TaskId, TaskState};

use crate::store::State;

/// What is to be said of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub service: String,
    /// Why its endpoint is not as wished; empty: it is.
    pub endpoint_error: String,
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
    /// How long it has been so.
    pub since: Duration,
    /// Its node, as users know it; empty: none yet.
    pub node: String,
    /// Why.
    pub reason: String,
    /// How many nodes each filter turned away.
    pub verdict: Vec<FilterVerdict>,
    /// What would help.
    pub advice: Vec<&'static str>,
}

/// Looks at all tasks of a service. `None`: there is no such service.
pub fn explain(state: &State, service: ServiceId, now: Timestamp) -> Option<Report> {
    let object = state.service(service)?;
    let name = &object.spec.annotations.name;
    let is_job = object.spec.mode.is_job();
    let mut tasks: Vec<_> =
        state.tasks_of_service(service).filter(|task| is_wanted(task, is_job)).collect();
    tasks.sort_by_key(|task| (task.slot, task.node, task.id));
    let findings: Vec<_> = tasks
        .iter()
        .filter(|task| task.status.state < task.desired || task.status.state.is_terminal())
        .filter(|task| !(is_job && task.status.state == TaskState::Complete))
        .map(|task| finding(state, name, object.spec.mode, task, now))
        .collect();
    Some(Report {
        service: name.clone(),
        endpoint_error: object.endpoint_error.clone(),
        settled: tasks.len() - findings.len(),
        findings,
    })
}

/// Tasks that were replaced or are going say nothing of how the service is.
fn is_wanted(task: &Task, is_job: bool) -> bool {
    task.desired <= TaskState::Running || (is_job && task.desired == TaskState::Complete)
}

fn finding(
    state: &State,
    service: &str,
    mode: ServiceMode,
    task: &Task,
    now: Timestamp,
) -> Finding {
    let name = match (mode, task.node) {
        (ServiceMode::Global | ServiceMode::GlobalJob, Some(node)) => format!("{service}.{node}"),
        (_, _) if task.slot == Slot(0) => format!("{service}.{}", task.id),
        (_, _) => format!("{service}.{}", task.slot.0),
    };
    let status = &task.status;
    let (reason, advice) = judge(state, task, now);
    Finding {
        task: task.id,
        name,
        observed: status.state,
        desired: task.desired,
        since: now.since(status.at.max(task.meta.created)),
        node: task.node.map(|node| node_name(state, node)).unwrap_or_default(),
        reason,
        verdict: status.verdict.clone(),
        advice,
    }
}

fn node_name(state: &State, node: NodeId) -> String {
    let about = state.node(node).and_then(|node| node.description.as_ref());
    let hostname = about.map(|about| about.hostname.clone());
    hostname.filter(|hostname| !hostname.is_empty()).unwrap_or_else(|| node.to_string())
}

/// The reason in the task's own words where it has some, else that of its state.
fn judge(state: &State, task: &Task, now: Timestamp) -> (String, Vec<&'static str>) {
    let status = &task.status;
    let mut advice: Vec<_> = status.verdict.iter().map(|verdict| remedy(verdict.filter)).collect();
    if !status.error.is_empty() {
        match status.state {
            TaskState::New => advice.push(
                "free what is in use, or widen it: the task is tried again when something was freed",
            ),
            TaskState::Failed => advice.push("read the service's logs"),
            TaskState::Rejected => {
                advice.push("check image, credentials, mounts and networks of the spec");
            }
            _ => {}
        }
        return (status.error.clone(), advice);
    }
    let held_until = task.history.not_before.filter(|until| *until > now);
    let reason = match (status.state, held_until) {
        (TaskState::New, _) => "waits for its networks and ports".to_owned(),
        (TaskState::Pending, _) => "waits for a node".to_owned(),
        (TaskState::Assigned, _) => {
            let node = task.node.and_then(|node| state.node(node));
            match node {
                Some(node) if node.status.state != shoal_model::cluster::node::NodeState::Ready => {
                    advice.push("bring the node back, or remove it");
                    "its node is not ready".to_owned()
                }
                _ => "waits for its node to take it".to_owned(),
            }
        }
        (TaskState::Ready, Some(until)) => {
            format!("waits for its restart delay, {} more", seconds(until.since(now)))
        }
        (TaskState::Ready, None) => "ready, waits for its start".to_owned(),
        (TaskState::Accepted | TaskState::Preparing, _) => {
            "its node makes image, mounts and networks ready".to_owned()
        }
        (TaskState::Starting, _) => {
            advice.push("if it has a health check: read its logs");
            "starts, or is not healthy yet".to_owned()
        }
        (TaskState::Complete | TaskState::Shutdown, _) => "ended, and was not replaced".to_owned(),
        (TaskState::Failed, _) => {
            advice.push("read the service's logs");
            "failed, and was not replaced".to_owned()
        }
        (TaskState::Rejected, _) => "was refused by its node".to_owned(),
        (TaskState::Orphaned, _) => "its node was gone for too long".to_owned(),
        (TaskState::Running | TaskState::Remove, _) => "is about to change".to_owned(),
    };
    (reason, advice)
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

impl Report {
    /// What `shoal service explain` prints.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {} tasks are where they should be", self.service, self.settled);
        let _ = match self.findings.len() {
            0 => writeln!(text, "."),
            count => writeln!(text, ", {count} are not."),
        };
        if !self.endpoint_error.is_empty() {
            let _ = writeln!(text, "endpoint: {}", self.endpoint_error);
        }
        for finding in &self.findings {
            let node = match finding.node.as_str() {
                "" => String::new(),
                node => format!(" on {node}"),
            };
            let _ = writeln!(
                text,
                "{}: {} instead of {}{node} for {}: {}",
                finding.name,
                finding.observed.as_str(),
                finding.desired.as_str(),
                seconds(finding.since),
                finding.reason,
            );
            for verdict in &finding.verdict {
                let filter = filter_word(verdict.filter);
                let _ = writeln!(text, "    {filter}: {} turned away", nodes(verdict.nodes));
            }
            for advice in &finding.advice {
                let _ = writeln!(text, "    try: {advice}");
            }
        }
        text
    }
}

fn nodes(count: u32) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

const fn filter_word(filter: Filter) -> &'static str {
    match filter {
        Filter::Ready => "readiness",
        Filter::Resources => "resources",
        Filter::Plugins => "plugins",
        Filter::Constraints => "constraints",
        Filter::Platform => "platform",
        Filter::HostPorts => "host ports",
        Filter::MaxReplicas => "replicas per node",
        Filter::Volumes => "volumes",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::expect;
    use shoal_model::cluster::Service;
    use shoal_model::cluster::task::TaskStatus;

    use super::*;
    use crate::samples;
    use crate::store::{Change, Transaction};

    fn state(service: Service, tasks: Vec<Task>) -> State {
        let mut state = State::default();
        let mut changes = vec![
            Change::PutNode(Arc::new(samples::node(1))),
            Change::PutService(Arc::new(service)),
        ];
        changes.extend(tasks.into_iter().map(|task| Change::PutTask(Arc::new(task))));
        state.apply(1, &Transaction { changes, ..Transaction::default() }).unwrap();
        state
    }

    fn task(slot: u64, state: TaskState, error: &str) -> Task {
        let mut task = samples::task(slot, 1, slot);
        let at = Timestamp::from_parts(10, 0);
        task.status = TaskStatus { state, at, error: error.to_owned(), ..TaskStatus::default() };
        task.node = (state >= TaskState::Assigned).then(|| samples::node(1).id);
        task
    }

    #[test]
    fn each_task_says_why_and_what_helps() {
        let mut refused = task(2, TaskState::Pending, "no suitable node (…)");
        refused.status.verdict = vec![
            FilterVerdict { filter: Filter::Resources, nodes: 2 },
            FilterVerdict { filter: Filter::Constraints, nodes: 1 },
        ];
        let mut held = task(4, TaskState::Ready, "");
        held.history.not_before = Some(Timestamp::from_parts(75, 0));
        let mut replaced = task(5, TaskState::Failed, "task: non-zero exit (1)");
        replaced.desired = TaskState::Shutdown;
        let tasks = vec![
            task(1, TaskState::Running, ""),
            refused,
            task(3, TaskState::New, "network `net` has no free address left in `10.0.1.0/24`"),
            held,
            replaced,
            task(6, TaskState::Starting, ""),
        ];
        let mut service = samples::service(1, "web");
        service.endpoint_error = "port '80' is already in use".to_owned();
        let id = service.id;
        let state = state(service, tasks);
        let report = explain(&state, id, Timestamp::from_parts(70, 0)).unwrap();
        expect![[r#"
            web: 1 tasks are where they should be, 4 are not.
            endpoint: port '80' is already in use
            web.2: pending instead of running for 60 s: no suitable node (…)
                resources: 2 nodes turned away
                constraints: 1 node turned away
                try: reserve less, end other tasks, or add nodes
                try: label more nodes, or ask for less with constraints
            web.3: new instead of running for 60 s: network `net` has no free address left in `10.0.1.0/24`
                try: free what is in use, or widen it: the task is tried again when something was freed
            web.4: ready instead of running on n1 for 60 s: waits for its restart delay, 5 s more
            web.6: starting instead of running on n1 for 60 s: starts, or is not healthy yet
                try: if it has a health check: read its logs
        "#]]
        .assert_eq(&report.text());
    }

    #[test]
    fn a_job_that_is_done_needs_no_words() {
        let mut service = samples::service(1, "job");
        service.spec.mode =
            ServiceMode::ReplicatedJob { max_concurrent: None, total_completions: None };
        let mut done = task(1, TaskState::Complete, "");
        done.desired = TaskState::Complete;
        let id = service.id;
        let state = state(service, vec![done]);
        let report = explain(&state, id, Timestamp::from_parts(70, 0)).unwrap();
        expect![[r#"
            job: 1 tasks are where they should be.
        "#]]
        .assert_eq(&report.text());
        assert_eq!(explain(&state, ServiceId::from_bytes([9; 16]), Timestamp::default()), None);
    }
}
