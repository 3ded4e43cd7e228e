//! Plans and progress, over objects of a memory store; and the words at the end.

use std::sync::Arc;

use futures_util::FutureExt as _;
use shoal_manager_core::store::Change;
use shoal_model::Timestamp;
use shoal_model::cluster::logs::LogOrigin;
use shoal_model::cluster::node::{NodeDescription, NodeRole, NodeState, NodeStatus};
use shoal_model::cluster::task::{RestartHistory, Slot, TaskStatus};
use shoal_model::cluster::{
    Annotations, Meta, Node, NodeId, Service, ServiceSpec, Task, TaskId, TaskSpec, TaskState,
    Version,
};

use super::book::{Batch, Book};
use super::plan::Place;
use super::*;
use crate::store;
use crate::store::tests::sole;

fn node_id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn task_id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

const SERVICE: ServiceId = ServiceId::from_bytes([100; 16]);

fn node(number: u8, state: NodeState) -> Change {
    let api = Some(([10, 0, 0, number], 4000).into());
    Change::PutNode(Arc::new(Node {
        description: Some(NodeDescription { api, ..NodeDescription::default() }),
        status: NodeStatus { state, ..NodeStatus::default() },
        ..Node::new(node_id(number), NodeRole::Worker)
    }))
}

fn service() -> Change {
    let annotations = Annotations { name: "web".to_owned(), ..Annotations::default() };
    Change::PutService(Arc::new(Service {
        id: SERVICE,
        meta: Meta::default(),
        spec: ServiceSpec { annotations, ..ServiceSpec::default() },
        spec_version: Version(1),
        previous: None,
        revisions: Default::default(),
        endpoint: None,
        endpoint_error: String::new(),
        update: None,
        job: None,
        removing: false,
    }))
}

fn task(number: u8, node: Option<u8>, state: TaskState) -> Change {
    Change::PutTask(Arc::new(Task {
        id: task_id(number),
        meta: Meta::default(),
        spec: Arc::new(TaskSpec::default()),
        spec_version: Version(1),
        service: Some(SERVICE),
        slot: Slot(number.into()),
        node: node.map(node_id),
        annotations: Arc::new(Annotations::default()),
        desired: TaskState::Running,
        status: TaskStatus { state, ..TaskStatus::default() },
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    }))
}

async fn put(store: &Store, changes: Vec<Change>) -> State {
    store.update::<(), store::Error>(|txn| Ok(txn.change_all(changes.clone())?)).await.unwrap();
    store.view()
}

async fn a_service() -> (Store, State) {
    let (store, _) = sole();
    let changes = vec![
        node(1, NodeState::Ready),
        node(2, NodeState::Down),
        service(),
        task(11, Some(1), TaskState::Running),
        task(12, Some(1), TaskState::Failed),
        task(13, Some(2), TaskState::Running),
        task(14, Some(1), TaskState::Preparing),
        task(15, None, TaskState::Pending),
    ];
    let state = put(&store, changes).await;
    (store, state)
}

#[tokio::test]
async fn a_services_tasks_are_read_where_they_ran_and_nodes_that_are_down_are_named() {
    let (_, state) = a_service().await;
    let place =
        Place { address: "10.0.0.1:4000".to_owned(), tasks: vec![task_id(11), task_id(12)] };
    let expected = Plan {
        nodes: [(node_id(1), place)].into(),
        reasons: vec![format!("node {} is not available", node_id(2))],
    };
    assert_eq!(plan(&state, Selection::Service(SERVICE)), expected);
}

#[tokio::test]
async fn one_task_is_read_in_any_state_and_needs_a_node() {
    let (_, state) = a_service().await;
    let place = Place { address: "10.0.0.1:4000".to_owned(), tasks: vec![task_id(14)] };
    let expected = Plan { nodes: [(node_id(1), place)].into(), reasons: Vec::new() };
    assert_eq!(plan(&state, Selection::Task(task_id(14))), expected);
    let expected = Plan {
        nodes: Default::default(),
        reasons: vec![format!("task {} has not been scheduled", task_id(15))],
    };
    assert_eq!(plan(&state, Selection::Task(task_id(15))), expected);
}

fn batch(tasks: &[u8], since: Option<i64>, tail: Option<u64>) -> Batch {
    Batch {
        node: node_id(1),
        address: "10.0.0.1:4000".to_owned(),
        tasks: tasks.iter().map(|number| task_id(*number)).collect(),
        since: since.map(Timestamp::from_nanos),
        tail,
    }
}

#[tokio::test]
async fn who_follows_reads_each_task_once_and_new_ones_from_their_beginning() {
    let (store, state) = a_service().await;
    let since = Some(Timestamp::from_nanos(3));
    let mut book = Book::new(&state, Selection::Service(SERVICE), since, Some(0));
    assert_eq!(book.open(&state), [batch(&[11, 12], Some(3), Some(0))]);
    assert_eq!(book.open(&state), []);
    book.end(&[task_id(11), task_id(12)]);
    let state = put(&store, vec![task(16, Some(1), TaskState::Running)]).await;
    assert_eq!(book.open(&state), [batch(&[16], Some(3), None)]);
    assert_eq!(book.open(&state), []);
}

#[tokio::test]
async fn who_follows_goes_on_after_a_break_where_it_was() {
    let (_, state) = a_service().await;
    let mut book = Book::new(&state, Selection::Service(SERVICE), None, Some(5));
    assert_eq!(book.open(&state), [batch(&[11, 12], None, Some(5))]);
    book.line(task_id(11), Timestamp::from_nanos(70));
    book.line(task_id(11), Timestamp::from_nanos(60));
    book.pause(&[task_id(11), task_id(12)]);
    book.end(&[task_id(11), task_id(12)]);
    assert_eq!(book.open(&state), [], "after a pause only");
    book.resume();
    let expected = [batch(&[12], None, Some(5)), batch(&[11], Some(71), None)];
    assert_eq!(book.open(&state), expected);
}

#[test]
fn what_is_missing_is_said_once_after_all_lines() {
    let line = LogLine {
        origin: LogOrigin { node: node_id(1), service: Some(SERVICE), task: task_id(1) },
        at: Timestamp::from_nanos(1),
        is_error: false,
        line: b"a\n".to_vec(),
        details: Vec::new(),
    };
    let items = [
        Item::Unreadable("task x: no".to_owned()),
        Item::Line(line.clone()),
        Item::Broken { reason: "node y disconnected unexpectedly".to_owned() },
    ];
    let reasons = vec!["node z is not available".to_owned()];
    let lines = with_reasons(stream::iter(items).boxed(), reasons);
    let heard = lines.map(|line| line.map_err(|failure| failure.to_string()));
    assert_eq!(
        heard.collect::<Vec<_>>().now_or_never().unwrap(),
        [
            Ok(line),
            Err("warning: incomplete log stream. some logs could not be retrieved for the following reasons: node z is not \
                 available, task x: no, node y disconnected unexpectedly"
                .to_owned())
        ]
    );
}
