use std::fmt::Write as _;
use std::sync::Arc;

use expect_test::{Expect, expect};
use shoal_model::cluster::service::{Endpoint, PortConfig, Protocol, UpdateState, UpdateStatus};
use shoal_model::cluster::task::{FilterVerdict, TaskStatus};

use super::*;
use crate::samples;
use crate::store::{Change, Transaction};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_parts(seconds, 0)
}

fn state(service: &Service, tasks: Vec<Task>, node: Node) -> State {
    let mut state = State::default();
    let mut changes =
        vec![Change::PutNode(Arc::new(node)), Change::PutService(Arc::new(service.clone()))];
    changes.extend(tasks.into_iter().map(|task| Change::PutTask(Arc::new(task))));
    state.apply(1, &Transaction { changes, ..Transaction::default() }).unwrap();
    state
}

fn task(slot: u64, state: TaskState, error: &str) -> Task {
    let mut task = samples::task(slot, 1, slot);
    task.status =
        TaskStatus { state, at: at(10), error: error.to_owned(), ..TaskStatus::default() };
    task.node = (state >= TaskState::Assigned).then(|| samples::node(1).id);
    task
}

/// A report in words, one line for each thing that it says.
#[track_caller]
fn check(state: &State, service: &Service, expected: Expect) {
    let report = explain(state, service.id, at(70)).unwrap();
    let mut text = format!("{}: {} settled\n", report.service, report.settled);
    let parts = [
        ("endpoint", &report.endpoint_error),
        ("placement", &report.placement),
        ("update", &report.update),
    ];
    for (what, said) in parts {
        if !said.is_empty() {
            writeln!(text, "{what}: {said}").unwrap();
        }
    }
    for finding in &report.findings {
        let (observed, desired) = (finding.observed.as_str(), finding.desired.as_str());
        let (name, node, since) = (&finding.name, &finding.node, finding.since.as_secs());
        let reason = &finding.reason;
        writeln!(text, "{name}: {observed} not {desired} on [{node}] for {since} s: {reason}")
            .unwrap();
        for verdict in &finding.verdict {
            writeln!(text, "    {:?} {}", verdict.filter, verdict.nodes).unwrap();
        }
        for advice in &finding.advice {
            writeln!(text, "    {advice}").unwrap();
        }
    }
    expected.assert_eq(&text);
}

#[test]
fn each_task_says_why_and_what_helps() {
    let mut refused = task(2, TaskState::Pending, "no suitable node (…)");
    refused.status.verdict = vec![
        FilterVerdict { filter: Filter::Resources, nodes: 2 },
        FilterVerdict { filter: Filter::Constraints, nodes: 1 },
    ];
    let mut replaced = task(4, TaskState::Failed, "task: non-zero exit (1)");
    replaced.desired = TaskState::Shutdown;
    let mut held = task(5, TaskState::Ready, "");
    held.slot = replaced.slot;
    held.desired = TaskState::Ready;
    held.meta.created = at(9);
    held.history.not_before = Some(at(75));
    held.history.predecessor = Some(replaced.id);
    let tasks = vec![
        task(1, TaskState::Running, ""),
        refused,
        task(3, TaskState::New, "network `net` has no free address left in `10.0.1.0/24`"),
        replaced,
        held,
        task(6, TaskState::Starting, ""),
    ];
    let mut service = samples::service(1, "web");
    service.endpoint_error = "port '80' is already in use".to_owned();
    let state = state(&service, tasks, samples::node(1));
    check(
        &state,
        &service,
        expect![[r#"
        web: 1 settled
        endpoint: port '80' is already in use
        web.2: pending not running on [] for 60 s: no suitable node (…)
            Resources 2
            Constraints 1
            reserve less, end other tasks, or add nodes
            label more nodes, or ask for less with constraints
        web.3: new not running on [] for 60 s: network `net` has no free address left in `10.0.1.0/24`
            free what is in use, or widen it: the task is tried again when something was freed
        web.4: ready not running on [n1] for 60 s: waits for its restart delay, 5 s more; the attempt before it: task: non-zero exit (1)
            read the service's logs
        web.6: starting not running on [n1] for 60 s: starts, or is not healthy yet
            if it has a health check: read its logs
    "#]],
    );
}

#[test]
fn ports_that_another_program_has_are_told() {
    let mut service = samples::service(1, "web");
    let port = |protocol, published| PortConfig { protocol, published, ..PortConfig::default() };
    let ports = vec![port(Protocol::Tcp, 80), port(Protocol::Udp, 80), port(Protocol::Tcp, 81)];
    service.endpoint = Some(Endpoint { ports, ..Endpoint::default() });
    let mut node = samples::node(1);
    let about = node.description.get_or_insert_default();
    about.refused_ports = [(Protocol::Tcp, 80), (Protocol::Tcp, 82)].into();
    let state = state(&service, vec![task(1, TaskState::Running, "")], node);
    check(
        &state,
        &service,
        expect![[r#"
        web: 1 settled
        endpoint: another program of node n1 has port 80/tcp
    "#]],
    );
}

#[test]
fn constraints_on_what_no_node_has_are_told_without_any_task() {
    let mut service = samples::service(1, "web");
    service.spec.mode = ServiceMode::Global;
    let constraints = vec!["node.labls.zone==a".to_owned(), "node.role==worker".to_owned()];
    let placement = shoal_model::cluster::task::Placement { constraints, ..Default::default() };
    Arc::make_mut(&mut service.spec.task).placement = Some(placement);
    check(
        &state(&service, Vec::new(), samples::node(1)),
        &service,
        expect![[r#"
        web: 0 settled
        placement: no node has a `node.labls.zone`, did you mean `node.labels.zone`?
    "#]],
    );
}

#[test]
fn what_is_over_for_good_and_why_an_update_halted_are_told() {
    let mut over = task(1, TaskState::Failed, "task: non-zero exit (3)");
    over.desired = TaskState::Shutdown;
    let policy = shoal_model::cluster::task::RestartPolicy {
        condition: Some(shoal_model::cluster::task::RestartCondition::None),
        ..Default::default()
    };
    Arc::make_mut(&mut over.spec).restart = Some(policy);
    let mut service = samples::service(1, "web");
    service.update = Some(UpdateStatus {
        state: UpdateState::Paused,
        started: at(1),
        completed: None,
        message: "update paused due to no progress of task x for 600 s".to_owned(),
        total: 1,
        failed: 1,
        progressed: at(1),
    });
    let state = state(&service, vec![over], samples::node(1));
    check(
        &state,
        &service,
        expect![[r#"
        web: 0 settled
        update: update paused due to no progress of task x for 600 s
        web.1: failed not running on [n1] for 60 s: task: non-zero exit (3); its restart policy allows no further attempt
            read the service's logs
    "#]],
    );
}

#[test]
fn what_runs_on_a_node_that_is_gone_or_drained_is_told() {
    let service = samples::service(1, "web");
    for (node_state, availability, expected) in [
        (
            NodeState::Ready,
            Availability::Pause,
            expect![[r#"
            web: 1 settled
        "#]],
        ),
        (
            NodeState::Ready,
            Availability::Drain,
            expect![[r#"
            web: 0 settled
            web.1: running not running on [n1] for 60 s: runs on a node that is being drained, until it is its turn and its successor runs
                if it stays so: see why its successor does not run
        "#]],
        ),
        (
            NodeState::Down,
            Availability::Active,
            expect![[r#"
            web: 0 settled
            web.1: running not running on [n1] for 60 s: its node does not answer
                bring the node back, or remove it
        "#]],
        ),
    ] {
        let mut node = samples::node(1);
        node.status.state = node_state;
        node.spec.availability = availability;
        check(&state(&service, vec![task(1, TaskState::Running, "")], node), &service, expected);
    }
}

#[test]
fn a_job_that_is_done_needs_no_words() {
    let mut service = samples::service(1, "job");
    service.spec.mode =
        ServiceMode::ReplicatedJob { max_concurrent: None, total_completions: None };
    let mut done = task(1, TaskState::Complete, "");
    done.desired = TaskState::Complete;
    done.job_iteration = Some(service.job.unwrap_or_default().iteration);
    let state = state(&service, vec![done], samples::node(1));
    check(
        &state,
        &service,
        expect![[r#"
        job: 1 settled
    "#]],
    );
    assert_eq!(explain(&state, ServiceId::from_bytes([9; 16]), Timestamp::default()), None);
}
