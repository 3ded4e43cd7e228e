use std::sync::Arc;
use std::time::Duration;

use shoal_manager_core::store::{State, Txn};
use shoal_model::Timestamp;
use shoal_model::cluster::node::{ManagerAddress, NodeState, NodeStatus};
use shoal_model::cluster::task::{RestartHistory, Slot, TaskSpec, TaskStatus};
use shoal_model::cluster::{
    Meta, Node, NodeId, Service, ServiceId, ServiceSpec, Task, TaskId, TaskState, Version,
};

use super::server::address_for_others;
use super::statuses::{FAILURES_MAX, Update, apply};

fn id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

fn node_id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn service_id() -> ServiceId {
    ServiceId::from_bytes([9; 16])
}

fn node(number: u8) -> Node {
    Node {
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        ..Node::new(node_id(number), shoal_model::cluster::node::NodeRole::Worker)
    }
}

fn service() -> Service {
    Service {
        id: service_id(),
        meta: Meta::default(),
        spec: ServiceSpec::default(),
        spec_version: Version(1),
        previous: None,
        revisions: Default::default(),
        endpoint: None,
        endpoint_error: String::new(),
        update: None,
        job: None,
        removing: false,
    }
}

fn task(number: u8, state: TaskState) -> Task {
    Task {
        id: id(number),
        meta: Meta::default(),
        spec: Arc::new(TaskSpec::default()),
        spec_version: Version(3),
        service: Some(service_id()),
        slot: Slot(1),
        node: Some(node_id(1)),
        annotations: Arc::default(),
        desired: TaskState::Running,
        status: status(state),
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    }
}

fn status(state: TaskState) -> TaskStatus {
    TaskStatus { state, ..TaskStatus::default() }
}

fn update(node: u8, task: u8, state: TaskState, runs: u32) -> Update {
    Update { node: node_id(node), task: id(task), status: status(state), runs }
}

fn world() -> State {
    let mut state = State::default();
    let mut txn = Txn::new(&state, Timestamp::from_parts(1, 0));
    txn.put_node(node(1)).unwrap();
    txn.put_service(service()).unwrap();
    txn.put_task(task(1, TaskState::Running)).unwrap();
    txn.put_task(task(2, TaskState::Assigned)).unwrap();
    txn.put_task(task(3, TaskState::Failed)).unwrap();
    state.apply(1, &txn.finish()).unwrap();
    state
}

/// What a batch leaves in the store: state and runs of the three tasks, marks of the node, number of changes.
fn run(updates: &[Update]) -> (Vec<(TaskState, u32)>, usize, usize) {
    let mut state = world();
    let mut txn = Txn::new(&state, Timestamp::from_parts(2, 0));
    apply(&mut txn, updates).unwrap();
    let changes = txn.changes().len();
    let transaction = txn.finish();
    state.apply(2, &transaction).unwrap();
    let tasks = (1..=3).map(|number| {
        let task = state.task(id(number)).unwrap();
        (task.status.state, task.runs)
    });
    (tasks.collect(), state.node(node_id(1)).unwrap().failures.len(), changes)
}

#[test]
fn news_is_taken_and_all_else_is_not() {
    use TaskState::{Assigned, Failed, Running};
    let before = vec![(Running, 0), (Assigned, 0), (Failed, 0)];
    let same = (before, 0, 0);
    assert_eq!(run(&[update(1, 1, TaskState::Ready, 0)]), same, "backwards");
    assert_eq!(run(&[update(1, 1, TaskState::Running, 0)]), same, "known");
    assert_eq!(run(&[update(1, 3, TaskState::Rejected, 0)]), same, "of an ended task");
    assert_eq!(run(&[update(2, 2, TaskState::Running, 0)]), same, "of another node's task");
    assert_eq!(run(&[update(1, 8, TaskState::Running, 0)]), same, "of no task");
    assert_eq!(run(&[update(1, 2, TaskState::Orphaned, 0)]), same, "not a worker's to say");
    assert_eq!(run(&[update(1, 2, TaskState::Assigned, 0)]), same, "not a worker's to say");
    let both = [update(1, 2, TaskState::Starting, 0), update(1, 1, TaskState::Complete, 0)];
    let tasks = vec![(TaskState::Complete, 0), (TaskState::Starting, 0), (Failed, 0)];
    assert_eq!(run(&both), (tasks, 0, 2));
}

#[test]
fn a_failure_marks_its_node_in_the_same_transaction() {
    use TaskState::{Assigned, Failed, Rejected, Running};
    let both = [update(1, 1, Failed, 0), update(1, 2, Rejected, 0)];
    assert_eq!(run(&both), (vec![(Failed, 0), (Rejected, 0), (Failed, 0)], 2, 3));
    let runs = [update(1, 1, Running, 4)];
    assert_eq!(run(&runs), (vec![(Running, 4), (Assigned, 0), (Failed, 0)], 0, 1));
}

#[test]
fn marks_are_bounded_and_the_oldest_go() {
    let mut state = world();
    for index in 0..70u8 {
        let number = 100 + index;
        let mut txn = Txn::new(&state, Timestamp::from_parts(i64::from(index), 0));
        txn.put_task(task(number, TaskState::Running)).unwrap();
        apply(&mut txn, &[update(1, number, TaskState::Failed, 0)]).unwrap();
        state.apply(u64::from(index) + 2, &txn.finish()).unwrap();
    }
    let marks = &state.node(node_id(1)).unwrap().failures;
    assert_eq!(marks.len(), FAILURES_MAX);
    assert_eq!(marks[0].at.since(Timestamp::default()), Duration::from_secs(6));
    assert_eq!((marks[0].service, marks[0].spec_version), (service_id(), Version(3)));
}

#[test]
fn a_node_that_is_seen_by_loopback_is_reached_where_it_advertises() {
    let seen = Some([127, 0, 0, 1].into());
    let (worker, mut manager) = (node(1), node(2));
    assert_eq!(address_for_others(&worker, seen), None);
    let address = ([10, 0, 0, 7], 2377).into();
    manager.manager = Some(ManagerAddress { raft_id: 1, address });
    assert_eq!(address_for_others(&manager, seen), Some([10, 0, 0, 7].into()));
    let other = Some([10, 0, 0, 8].into());
    assert_eq!(address_for_others(&manager, other), other);
}
