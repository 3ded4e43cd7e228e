//! Whole lives of workers against a manager over real gRPC.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not test functions")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::executor::FakeExecutor;
use common::manager::FakeManager;
use common::{a_while, start, until};
use shoal_model::cluster::service::OnDisconnect;
use shoal_model::cluster::task::{
    RestartHistory, RestartPolicy, SecretReference, Slot, TaskSpec, TaskStatus,
};
use shoal_model::cluster::{
    AssignedTask, ClusterNetworkId, Meta, NetworkView, NodeId, Secret, SecretId, SecretSpec, Task,
    TaskId, TaskState, Version,
};

fn id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

fn secret() -> Secret {
    let spec = SecretSpec { data: b"hush".to_vec(), ..SecretSpec::default() };
    Secret { id: SecretId::from_bytes([5; 16]), meta: Meta::default(), spec }
}

fn task(number: u8, desired: TaskState) -> AssignedTask {
    let reference = SecretReference { id: secret().id, name: "s".to_owned(), file: None };
    let restart =
        RestartPolicy { delay: Some(Duration::from_millis(1)), ..RestartPolicy::default() };
    let spec = TaskSpec {
        secrets: vec![reference],
        restart: Some(restart),
        stop_grace_period: Some(Duration::from_secs(70)),
        ..TaskSpec::default()
    };
    let task = Task {
        id: id(number),
        meta: Meta::default(),
        spec: Arc::new(spec),
        spec_version: Version(1),
        service: None,
        slot: Slot(1),
        node: Some(NodeId::from_bytes([8; 16])),
        annotations: Arc::default(),
        desired,
        status: TaskStatus::default(),
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    };
    AssignedTask { task: Arc::new(task), on_disconnect: OnDisconnect::Keep }
}

struct Lab {
    directory: tempfile::TempDir,
    executor: Arc<FakeExecutor>,
    manager: FakeManager,
    node: common::Node,
}

impl Lab {
    /// A worker with a manager that has a secret and, if wanted, one running task.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let executor = Arc::new(FakeExecutor::default());
        let manager = FakeManager::start().await;
        manager.name_managers(&[&manager]);
        manager.secret(&secret());
        let node = start(directory.path(), &executor, &[&manager.seed()]).await;
        Self { directory, executor, manager, node }
    }

    async fn running() -> Self {
        let lab = Self::new().await;
        lab.manager.assign(&task(1, TaskState::Running), TaskState::Assigned);
        lab.reaches(1, TaskState::Running).await;
        lab
    }

    async fn reaches(&self, number: u8, state: TaskState) {
        until(state.as_str(), || self.manager.status(id(number)) == Some(state)).await;
    }

    /// As kill -9 does to the daemon: whatever is under way is dropped. Then a new daemon comes up.
    async fn restart(&mut self, seeds: &[&str]) {
        self.node.tasks.shut_down().await;
        // The lock of the database goes with the last handle.
        let old = std::mem::replace(&mut self.node, nothing().await);
        drop(old);
        self.node = start(self.directory.path(), &self.executor, seeds).await;
    }

    async fn end(self) {
        self.node.tasks.shut_down().await;
        self.manager.stop().await;
    }
}

/// A worker that does nothing, to stand in for one that is being replaced.
async fn nothing() -> common::Node {
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path(), &Arc::default(), &[]).await;
    node.tasks.shut_down().await;
    node
}

#[tokio::test]
async fn a_task_lives_from_assigned_to_removed() {
    let lab = Lab::new().await;
    lab.executor.slow.store(true, Ordering::Relaxed);
    lab.manager.assign(&task(1, TaskState::Ready), TaskState::Assigned);
    lab.reaches(1, TaskState::Ready).await;
    assert_eq!(lab.executor.log(), ["prepare 1"]);
    assert_eq!(lab.executor.secrets(), [b"hush".to_vec()]);
    lab.manager.assign(&task(1, TaskState::Running), TaskState::Ready);
    lab.reaches(1, TaskState::Starting).await;
    a_while().await;
    assert_eq!(lab.manager.status(id(1)), Some(TaskState::Starting), "it is not healthy yet");
    lab.executor.heal(id(1));
    lab.reaches(1, TaskState::Running).await;
    lab.manager.assign(&task(1, TaskState::Shutdown), TaskState::Running);
    lab.reaches(1, TaskState::Shutdown).await;
    lab.manager.unassign(id(1));
    until("removal", || lab.executor.count() == 0).await;
    assert_eq!(lab.executor.log(), ["prepare 1", "start 1", "shutdown(70s) 1", "remove 1"]);
    let history = lab.manager.history(id(1));
    assert!(history.is_sorted(), "{history:?}");
    until("heartbeats", || lab.manager.beats() > 2).await;
    lab.end().await;
}

#[tokio::test]
async fn a_session_moves_to_another_manager_and_no_container_notices() {
    let lab = Lab::running().await;
    let other = FakeManager::start().await;
    let containers = lab.executor.running();
    // What the other manager knows is the same store.
    other.secret(&secret());
    other.assign(&task(1, TaskState::Running), TaskState::Assigned);
    lab.manager.name_managers(&[&lab.manager, &other]);
    other.name_managers(&[&lab.manager, &other]);
    // The list comes with the next session.
    lab.manager.die();
    lab.manager.revive();
    until("a new session", || {
        lab.node
            .worker
            .view()
            .borrow()
            .about
            .as_ref()
            .is_some_and(|about| about.managers.len() == 2)
    })
    .await;
    lab.manager.die();
    until("a report to the other", || other.status(id(1)) == Some(TaskState::Running)).await;
    lab.executor.end(id(1), 4);
    until("a failure", || other.status(id(1)) == Some(TaskState::Failed)).await;
    let (status, runs) = other.full_status(id(1)).unwrap();
    assert_eq!(status.error, "task: non-zero exit (4)");
    assert_eq!(status.container.unwrap().exit_code, 4);
    assert_eq!(runs, 0);
    assert_eq!(containers, ["c1"]);
    assert_eq!(lab.executor.log(), ["prepare 1", "start 1"]);
    other.stop().await;
    lab.end().await;
}

#[tokio::test]
async fn a_digest_that_differs_brings_the_complete_set() {
    let lab = Lab::running().await;
    assert_eq!(lab.manager.streams_opened(), 1);
    lab.manager.lose_a_change();
    until("a new stream", || lab.manager.streams_opened() == 2).await;
    lab.manager.assign(&task(2, TaskState::Running), TaskState::Assigned);
    lab.reaches(2, TaskState::Running).await;
    assert_eq!(lab.executor.log(), ["prepare 1", "start 1", "prepare 2", "start 2"]);
    lab.end().await;
}

#[tokio::test]
async fn a_view_is_put_into_effect_and_said_to_be() {
    let lab = Lab::running().await;
    let view = |version| NetworkView {
        network: ClusterNetworkId::from_bytes([7; 16]),
        version,
        data_path_port: 4789,
        endpoints: Vec::new(),
        services: Vec::new(),
        mesh: None,
    };
    lab.manager.view(&view(5));
    until("a heartbeat that says so", || lab.manager.applied() == [5]).await;
    lab.manager.view(&view(4));
    lab.manager.view(&view(6));
    until("a heartbeat that says so", || lab.manager.applied() == [6]).await;
    lab.manager.view_change(&view(6), &NetworkView { data_path_port: 4790, ..view(8) });
    until("an acknowledgement", || lab.manager.applied() == [8]).await;
    let log = ["prepare 1", "start 1", "network 7 5", "network 7 6", "network 7 8"];
    assert_eq!(lab.executor.log(), log);

    // A change that was lost makes the worker ask for everything again.
    assert_eq!(lab.manager.streams_opened(), 1);
    lab.manager.view_change(&view(9), &NetworkView { data_path_port: 4791, ..view(10) });
    until("a new stream", || lab.manager.streams_opened() == 2).await;
    lab.manager.view(&view(11));
    until("an acknowledgement", || lab.manager.applied() == [11]).await;
    lab.end().await;
}

#[tokio::test]
async fn a_status_is_sent_until_it_is_taken() {
    let lab = Lab::running().await;
    lab.manager.refuse(3);
    lab.executor.end(id(1), 0);
    lab.reaches(1, TaskState::Complete).await;
    lab.end().await;
}

#[tokio::test]
async fn a_restarted_daemon_finds_its_containers() {
    let mut lab = Lab::running().await;
    let containers = lab.executor.running();
    // Without any manager: the known ones are dead, and no seed is given.
    lab.manager.die();
    lab.restart(&[]).await;
    a_while().await;
    assert_eq!(lab.executor.running(), containers);
    lab.manager.revive();
    // The address comes from the disk. Another task shows that the set has come: what ends before that is run again.
    lab.manager.assign(&task(2, TaskState::Running), TaskState::Assigned);
    lab.reaches(2, TaskState::Running).await;
    lab.executor.end(id(1), 1);
    lab.reaches(1, TaskState::Failed).await;
    assert_eq!(lab.executor.log(), ["prepare 1", "start 1", "prepare 2", "start 2"]);
    lab.end().await;
}

#[tokio::test]
async fn lost_local_state_stops_nothing_that_a_complete_set_holds() {
    let mut lab = Lab::running().await;
    lab.manager.assign(&task(2, TaskState::Running), TaskState::Assigned);
    lab.reaches(2, TaskState::Running).await;
    let containers = lab.executor.running();
    lab.manager.die();
    lab.node.tasks.shut_down().await;
    lab.node = nothing().await;
    for entry in std::fs::read_dir(lab.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    let seed = lab.manager.seed();
    lab.node = start(lab.directory.path(), &lab.executor, &[&seed]).await;
    a_while().await;
    assert_eq!(lab.executor.running(), containers, "no manager has spoken yet");
    // Meanwhile the second task left the store.
    lab.manager.unassign(id(2));
    lab.manager.assign(&task(1, TaskState::Running), TaskState::Running);
    lab.manager.revive();
    until("the leftover's removal", || lab.executor.count() == 1).await;
    assert_eq!(lab.executor.running(), containers[..1]);
    assert!(lab.executor.log().contains(&"shutdown(10s) 2".to_owned()), "{:?}", lab.executor.log());
    let started: Vec<_> =
        lab.executor.log().into_iter().filter(|l| l.starts_with("start")).collect();
    assert_eq!(started, ["start 1", "start 2"]);
    lab.end().await;
}

#[tokio::test]
async fn without_managers_a_task_runs_again_and_says_so_later() {
    let lab = Lab::running().await;
    lab.manager.die();
    until("the loss", || lab.node.worker.view().borrow().session.is_none()).await;
    lab.executor.end(id(1), 1);
    until("a second run", || lab.executor.running() == ["c4"]).await;
    lab.manager.revive();
    until("a report", || lab.manager.full_status(id(1)).is_some_and(|(_, runs)| runs == 1)).await;
    assert_eq!(lab.manager.status(id(1)), Some(TaskState::Running));
    assert_eq!(lab.executor.log(), ["prepare 1", "start 1", "remove 1", "prepare 1", "start 1"]);
    assert_eq!(lab.executor.secrets().len(), 2, "from memory");
    lab.end().await;
}

#[tokio::test]
async fn a_rebooted_node_without_managers_runs_its_tasks_with_sealed_secrets() {
    let mut lab = Lab::running().await;
    lab.manager.die();
    lab.node.tasks.shut_down().await;
    lab.executor.end(id(1), 137);
    lab.restart(&[]).await;
    until("a second run", || !lab.executor.running().is_empty()).await;
    assert_eq!(lab.executor.secrets(), [b"hush".to_vec(), b"hush".to_vec()]);
    lab.end().await;
}

#[tokio::test]
async fn a_cut_off_node_stops_what_shall_not_run_on() {
    let lab = Lab::new().await;
    let on_disconnect = OnDisconnect::Stop(Duration::from_secs(5));
    let assigned = AssignedTask { on_disconnect, ..task(1, TaskState::Running) };
    lab.manager.assign(&assigned, TaskState::Assigned);
    lab.reaches(1, TaskState::Running).await;
    lab.manager.die();
    until("the stop", || lab.executor.running().is_empty()).await;
    lab.manager.revive();
    lab.reaches(1, TaskState::Failed).await;
    let (status, _) = lab.manager.full_status(id(1)).unwrap();
    assert_eq!(status.error, "stopped by its node, which reached no manager for 5s");
    lab.end().await;
}
