//! Real workers with a fake executor against real dispatchers, over gRPC on loopback.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not test functions")]

#[allow(dead_code, unreachable_pub, reason = "shared with the worker's own tests")]
#[path = "../../../worker/tests/common/executor.rs"]
mod executor;
mod lab;

use std::time::Duration;

use lab::{Lab, id, node_id, until};
use shoal_model::cluster::TaskState;
use shoal_model::cluster::node::NodeState;
use shoal_proto::codec;
use shoal_proto::dispatcher::{AssignmentsRequest, HeartbeatRequest, SessionRequest};

#[tokio::test]
async fn a_task_runs_and_ends_as_the_store_says() {
    let lab = Lab::new().await;
    let node = lab.worker(1, 0).await;
    until("ready", || lab.node_state(1) == Some(NodeState::Ready)).await;
    lab.put_task(1, 1, TaskState::Ready).await;
    until("ready", || lab.state(1) == Some(TaskState::Ready)).await;
    assert_eq!(node.executor.secrets(), [b"hush".to_vec()]);
    lab.wish(1, TaskState::Running).await;
    until("running", || lab.state(1) == Some(TaskState::Running)).await;
    node.executor.end(id(1), 3);
    until("failed", || lab.state(1) == Some(TaskState::Failed)).await;
    let view = lab.store.view();
    assert_eq!(view.node(node_id(1)).unwrap().failures.len(), 1);
    assert_eq!(view.task(id(1)).unwrap().status.error, "task: non-zero exit (3)");
    lab.remove_task(1).await;
    until("removal", || node.executor.count() == 0).await;
    node.stop().await;
    lab.end().await;
}

#[tokio::test]
async fn a_silent_node_is_down_and_comes_back_with_its_containers() {
    let lab = Lab::new().await;
    let mut node = lab.worker(1, 0).await;
    lab.put_task(1, 1, TaskState::Running).await;
    until("running", || lab.state(1) == Some(TaskState::Running)).await;
    let described = lab.store.view().node(node_id(1)).unwrap().meta.version;
    node.tasks.shut_down().await;
    until("down", || lab.node_state(1) == Some(NodeState::Down)).await;
    let view = lab.store.view();
    assert_eq!(view.node(node_id(1)).unwrap().status.message, "heartbeat failure");
    assert_eq!(lab.state(1), Some(TaskState::Running), "only managers move tasks of a down node");
    let before = view.index();
    node = lab.again(node, 0).await;
    until("ready", || lab.node_state(1) == Some(NodeState::Ready)).await;
    assert_eq!(node.executor.log(), ["prepare 1", "start 1"]);
    // One write for Ready; the same description and the same statuses are no news.
    lab::a_while().await;
    let view = lab.store.view();
    assert_eq!(view.index(), before + 1);
    assert!(view.node(node_id(1)).unwrap().meta.version > described);
    node.stop().await;
    lab.end().await;
}

#[tokio::test]
async fn a_session_on_a_follower_outlives_a_change_of_the_leader() {
    let lab = Lab::new().await;
    let node = lab.worker(1, 1).await;
    lab.put_task(1, 1, TaskState::Running).await;
    until("running", || lab.state(1) == Some(TaskState::Running)).await;
    until("ready", || lab.node_state(1) == Some(NodeState::Ready)).await;
    let session = node.worker.view().borrow().session;
    let version = lab.store.view().node(node_id(1)).unwrap().meta.version;
    lab.restart_leading().await;
    // Longer than three periods: were the session not known to the new leader, the node would be down.
    lab::sleep(Duration::from_millis(2000)).await;
    assert_eq!(node.worker.view().borrow().session, session);
    let view = lab.store.view();
    assert_eq!(view.node(node_id(1)).unwrap().meta.version, version, "nothing was written");
    node.executor.end(id(1), 0);
    until("complete", || lab.state(1) == Some(TaskState::Complete)).await;
    node.stop().await;
    lab.end().await;
}

#[tokio::test]
async fn a_newer_session_ends_the_older_one_on_whatever_manager() {
    let lab = Lab::new().await;
    let request = || SessionRequest {
        description: codec::encode(&shoal_model::cluster::node::NodeDescription::default()),
        ..SessionRequest::default()
    };
    let mut first = lab.client(1, 1).await;
    let mut second = lab.client(1, 0).await;
    let mut older = first.session(request()).await.unwrap().into_inner();
    let told = older.message().await.unwrap().unwrap();
    until("ready", || lab.node_state(1) == Some(NodeState::Ready)).await;
    let beat = || HeartbeatRequest { session: told.session.clone(), ..HeartbeatRequest::default() };
    assert!(first.heartbeat(beat()).await.unwrap().into_inner().period_ms >= 4500);
    let mut newer = second.session(request()).await.unwrap().into_inner();
    assert_ne!(newer.message().await.unwrap().unwrap().session, told.session);
    lab::a_while().await;
    // The follower has learnt it with a beat of the older one, or does so now.
    let _ = first.heartbeat(beat()).await;
    assert_eq!(older.message().await.unwrap(), None);
    let refused = first.heartbeat(beat()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    lab.end().await;
}

#[tokio::test]
async fn strangers_and_removed_nodes_have_no_session() {
    let lab = Lab::new().await;
    let request = || SessionRequest {
        description: codec::encode(&shoal_model::cluster::node::NodeDescription::default()),
        ..SessionRequest::default()
    };
    let mut client = lab.client(1, 0).await;
    let mut stream = client.session(request()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    lab.remove_node(1).await;
    assert_eq!(stream.message().await.unwrap(), None);
    let refused = client.session(request()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    client.session(request()).await.unwrap_err();
    let refused = client.session(request()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
    let damaged = SessionRequest { description: vec![0xc1].into(), ..SessionRequest::default() };
    let refused = client.session(damaged).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    lab.end().await;
}

#[tokio::test]
async fn a_removed_node_learns_it_and_stops_nothing() {
    let lab = Lab::new().await;
    let node = lab.worker(2, 1).await;
    lab.put_task(1, 2, TaskState::Running).await;
    until("running", || lab.state(1) == Some(TaskState::Running)).await;
    lab.remove_node(2).await;
    until("the refusal", || node.worker.view().borrow().refused.is_some()).await;
    let refused = node.worker.view().borrow().refused.clone();
    let expected = format!("node `{}` is not a member of the cluster", node_id(2));
    assert_eq!(refused, Some(expected));
    assert_eq!(node.executor.running().len(), 1, "that is for its owner to decide");
    node.stop().await;
    lab.end().await;
}

#[tokio::test]
async fn a_task_waits_for_the_views_of_nodes_at_other_managers_as_long_as_the_cluster_grants() {
    let lab = Lab::new().await;
    // Without a release nothing ends the wait while this test lives.
    lab.drain_wait(Duration::from_secs(3600)).await;
    let near = lab.worker(1, 0).await;
    let far = lab.worker(2, 1).await;
    lab.put_attached(1, 1).await;
    lab.put_attached(2, 2).await;
    until("running", || lab.state(1) == Some(TaskState::Running)).await;
    until("running", || lab.state(2) == Some(TaskState::Running)).await;
    far.executor.holds_views.send_replace(true);
    lab.wish(1, TaskState::Shutdown).await;
    // More than a call between managers otherwise has.
    lab::sleep(Duration::from_secs(1)).await;
    let stopped = || near.executor.log().iter().any(|line| line.starts_with("shutdown"));
    assert!(!stopped(), "node 2 still sends connections to the task");
    far.executor.holds_views.send_replace(false);
    until("the stop", stopped).await;
    near.stop().await;
    far.stop().await;
    lab.end().await;
}

#[tokio::test]
async fn a_manager_that_lags_begins_no_session_before_it_knows_what_others_told() {
    let mut lab = Lab::new().await;
    let node = lab.worker(1, 0).await;
    until("ready", || lab.node_state(1) == Some(NodeState::Ready)).await;
    let before = lab.store.view();
    lab.put_task(1, 1, TaskState::Running).await;
    until("running", || lab.state(1) == Some(TaskState::Running)).await;
    node.tasks.shut_down().await;
    let lagging = lab.add_lagging(&before).await;
    let node = lab.again(node, 2).await;
    lab::a_while().await;
    assert_eq!(node.executor.log(), ["prepare 1", "start 1"]);
    assert_eq!(node.worker.view().borrow().session, None);
    lagging.catch_up(&lab.store.view());
    until("the session", || node.worker.view().borrow().session.is_some()).await;
    lab::a_while().await;
    assert_eq!(node.executor.log(), ["prepare 1", "start 1"]);
    node.stop().await;
    lab.end().await;
}

#[tokio::test]
async fn a_newer_stream_of_assignments_gets_what_changes() {
    let lab = Lab::new().await;
    let mut client = lab.client(1, 0).await;
    let request = SessionRequest {
        description: codec::encode(&shoal_model::cluster::node::NodeDescription::default()),
        ..SessionRequest::default()
    };
    let mut session = client.session(request).await.unwrap().into_inner();
    let id = session.message().await.unwrap().unwrap().session;
    let request = || AssignmentsRequest { session: id.clone() };
    let mut older = client.assignments(request()).await.unwrap().into_inner();
    assert!(older.message().await.unwrap().unwrap().changes.is_empty());
    // It waits for changes by now.
    lab::a_while().await;
    let mut newer = client.assignments(request()).await.unwrap().into_inner();
    assert!(newer.message().await.unwrap().unwrap().changes.is_empty());
    lab::a_while().await;
    lab.put_task(1, 1, TaskState::Ready).await;
    let changed = tokio::select! {
        message = newer.message() => message.unwrap().unwrap(),
        () = lab::sleep(Duration::from_secs(10)) => panic!("the change is told to nobody"),
    };
    assert!(!changed.changes.is_empty());
    assert_eq!(older.message().await.unwrap(), None);
    lab.end().await;
}
