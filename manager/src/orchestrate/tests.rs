//! Tests of the loop, over consensus of one, with a worker that does as it is told. Time is tokio's, paused.

use std::sync::Arc;

use futures_util::FutureExt as _;
use shoal_base::Clock;
use shoal_manager_core::ids::SeededIds;
use shoal_manager_core::store::Change;
use shoal_model::Timestamp;
use shoal_model::cluster::node::{NodeRole, NodeState, NodeStatus};
use shoal_model::cluster::service::ServiceMode;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{
    Annotations, Meta, Node, NodeId, Service, ServiceId, ServiceSpec, Task, TaskState, Version,
};
use tokio::time::Instant;

use super::*;
use crate::consensus::Leadership;
use crate::consensus::memory::{Fault, Sole};
use crate::store::Objects;
use crate::store::forward::Nowhere;

const NODE: NodeId = NodeId::from_bytes([7; 16]);

/// The wall clock follows tokio's.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_parts(1_000_000, 0).after(self.0.elapsed())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        shoal_base::clock::SystemClock.sleep(duration)
    }
}

fn node() -> Node {
    Node {
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        ..Node::new(NODE, NodeRole::Worker)
    }
}

fn service(number: u8, replicas: u64) -> Service {
    let mut bytes = [0; 16];
    bytes[15] = number;
    Service {
        id: ServiceId::from_bytes(bytes),
        meta: Meta::default(),
        spec: ServiceSpec {
            annotations: Annotations { name: format!("s{number}"), ..Annotations::default() },
            mode: ServiceMode::Replicated { replicas: Some(replicas) },
            ..ServiceSpec::default()
        },
        spec_version: Version(0),
        previous: None,
        revisions: Default::default(),
        endpoint: None,
        endpoint_error: String::new(),
        update: None,
        job: None,
        removing: false,
    }
}

async fn put(store: &Store, changes: Vec<Change>) {
    let put = store.update::<_, Error>(|txn| Ok(txn.change_all(changes.clone())?)).await;
    put.unwrap();
}

/// Where a scheduler and a worker bring a task.
fn next(task: &Task) -> Option<TaskState> {
    let state = task.status.state;
    let goal = match task.desired {
        _ if state.is_terminal() => return None,
        desired if desired >= TaskState::Shutdown => TaskState::Shutdown,
        TaskState::Ready => TaskState::Ready,
        _ => TaskState::Running,
    };
    (goal > state).then_some(goal)
}

async fn work(store: Store) {
    let (_, mut changes) = store.watch();
    loop {
        let done = store.update::<_, Error>(|txn| {
            let tasks: Vec<Arc<Task>> = txn.tasks().cloned().collect();
            for task in tasks {
                let Some(state) = next(&task) else { continue };
                let status = TaskStatus { state, at: txn.at(), ..task.status.clone() };
                txn.put_task(Task { node: Some(NODE), status, ..Task::clone(&task) })?;
            }
            Ok(())
        });
        done.await.unwrap();
        changes.next().await.unwrap();
    }
}

fn running(store: &Store) -> usize {
    let view = store.view();
    view.tasks().filter(|task| task.status.state == TaskState::Running).count()
}

/// A cluster of one manager that leads and one worker.
struct Cluster {
    store: Store,
    sole: Sole,
    clock: SharedClock,
}

impl Cluster {
    async fn new() -> Self {
        let objects = Objects::new();
        let sole = Sole::new(objects.clone());
        let clock: SharedClock = Arc::new(PausedClock(Instant::now()));
        let store = Store::new(objects, Arc::new(sole.clone()), Arc::new(Nowhere), clock.clone());
        put(&store, vec![Change::PutNode(Arc::new(node()))]).await;
        Self { store, sole, clock }
    }

    /// Lets a leader and the worker work until so many tasks run; how long it took.
    async fn until_running(&self, count: usize, seed: u64) -> Duration {
        let begin = self.clock.monotonic();
        let (_, mut changes) = self.store.watch();
        let reached = async {
            while running(&self.store) != count {
                changes.next().await.unwrap();
            }
        };
        let limit = self.clock.sleep(Duration::from_secs(100));
        let mut ids = SeededIds::new(seed);
        tokio::select! {
            never = run(self.store.clone(), self.clock.clone(), &mut ids) => match never {},
            () = work(self.store.clone()) => unreachable!("the worker works for ever"),
            () = reached => {}
            () = limit => panic!("{} of {count} tasks run", running(&self.store)),
        }
        self.clock.monotonic() - begin
    }

    async fn fail_one(&self) {
        let task = self.store.view().tasks().next().unwrap().clone();
        let status =
            TaskStatus { state: TaskState::Failed, at: self.clock.now(), ..task.status.clone() };
        put(&self.store, vec![Change::TaskStatus { task: task.id, status }]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_followed_after_its_delay() {
    let cluster = Cluster::new().await;
    put(&cluster.store, vec![Change::PutService(Arc::new(service(1, 3)))]).await;
    assert!(cluster.until_running(3, 1).await < Duration::from_secs(1));
    cluster.fail_one().await;
    let took = cluster.until_running(3, 2).await;
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_keeps_a_delay_that_runs() {
    let cluster = Cluster::new().await;
    put(&cluster.store, vec![Change::PutService(Arc::new(service(1, 1)))]).await;
    cluster.until_running(1, 1).await;
    cluster.fail_one().await;
    let mut ids = SeededIds::new(2);
    let first = run(cluster.store.clone(), cluster.clock.clone(), &mut ids);
    let elapsed = cluster.clock.sleep(Duration::from_secs(3));
    tokio::select! {
        never = first => match never {},
        () = elapsed => {}
    }
    let took = cluster.until_running(1, 3).await;
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(cluster.store.view().tasks().count(), 2, "one attempt, one successor");
}

#[tokio::test(start_paused = true)]
async fn many_services_are_begun_side_by_side() {
    let cluster = Cluster::new().await;
    let services = (1..=200).map(|number| Change::PutService(Arc::new(service(number, 2))));
    put(&cluster.store, services.collect()).await;
    assert!(cluster.until_running(400, 1).await < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_large_plan_is_cut() {
    let cluster = Cluster::new().await;
    put(&cluster.store, vec![Change::PutService(Arc::new(service(1, 2_500)))]).await;
    let before = cluster.store.view().index();
    let mut ids = SeededIds::new(1);
    let mut leader = Box::pin(run(cluster.store.clone(), cluster.clock.clone(), &mut ids));
    while cluster.store.view().tasks().count() < 2_500 {
        assert!((&mut leader).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(cluster.store.view().index() - before, 3);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_nobody_knows_of_makes_no_second_task() {
    for fault in [Fault::Lost, Fault::Dropped] {
        let cluster = Cluster::new().await;
        put(&cluster.store, vec![Change::PutService(Arc::new(service(1, 3)))]).await;
        cluster.sole.fail_next(fault);
        let mut ids = SeededIds::new(1);
        let pause = cluster.clock.sleep(Duration::from_secs(10));
        tokio::select! {
            never = run(cluster.store.clone(), cluster.clock.clone(), &mut ids) => match never {},
            () = pause => {}
        }
        assert_eq!(cluster.store.view().tasks().count(), 3, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_leader_plans() {
    let cluster = Cluster::new().await;
    put(&cluster.store, vec![Change::PutService(Arc::new(service(1, 2)))]).await;
    let leads = |is_self| Leadership { is_self, term: 2, ..Leadership::default() };
    cluster.sole.set_leadership(leads(false));
    let mut loop_ = Box::pin(lead(cluster.store.clone(), cluster.clock.clone(), SeededIds::new(1)));
    let pause = cluster.clock.sleep(Duration::from_secs(60));
    tokio::select! {
        never = &mut loop_ => match never {},
        () = pause => {}
    }
    assert_eq!(cluster.store.view().tasks().count(), 0);
    cluster.sole.set_leadership(leads(true));
    let pause = cluster.clock.sleep(Duration::from_secs(1));
    tokio::select! {
        never = &mut loop_ => match never {},
        () = pause => {}
    }
    assert_eq!(cluster.store.view().tasks().count(), 2);
}
