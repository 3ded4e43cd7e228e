//! Two managers on one store, the first of which leads, and workers whose identity is that of their port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use shoal_base::random::SystemRandom;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{Clock, SharedClock, SystemClock, SystemDisk};
use shoal_identity::{PeerIdentity, PeerInfo};
use shoal_manager::consensus::memory::Sole;
use shoal_manager::consensus::{self, Consensus, Leader, Leadership, Proposed};
use shoal_manager::dispatcher::Dispatcher;
use shoal_manager::dispatcher::liveness;
use shoal_manager::store::forward::{self, Channels, Remote};
use shoal_manager::store::machine::{Machine, write_snapshot};
use shoal_manager::store::{Error, Objects, Store};
use shoal_manager_core::store::State;
use shoal_model::Timestamp;
use shoal_model::cluster::manager::RootCa;
use shoal_model::cluster::node::{ManagerAddress, NodeRole, NodeState};
use shoal_model::cluster::task::{
    NetworkAttachment, RestartHistory, SecretReference, Slot, TaskSpec, TaskStatus,
};
use shoal_model::cluster::{
    Cluster, ClusterId, ClusterNetwork, ClusterNetworkId, Meta, Node, NodeId, Secret, SecretId,
    SecretSpec, Service, ServiceId, ServiceSpec, Task, TaskId, TaskState, Version,
};
use shoal_model::error::{ErrorKind, Failure};
use shoal_model::network::NetworkSpec;
use shoal_proto::dispatcher::dispatcher_client::DispatcherClient;
use shoal_worker::agent::{Options, Ports, Worker};
use shoal_worker::session::Connector;
use shoal_worker::storage::SecretCache;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint};

use crate::executor::FakeExecutor;

const SPEED: u32 = 10;

#[derive(Debug)]
struct FastClock;

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() * SPEED
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration / SPEED)
    }
}

#[derive(Debug)]
struct Plain;

async fn dial(address: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?.connect().await
}

impl Channels for Plain {
    fn channel(
        &self,
        manager: &Leader,
    ) -> BoxFuture<'static, Result<Channel, Box<dyn std::error::Error + Send + Sync>>> {
        let address = manager.address.clone();
        Box::pin(async move { Ok(dial(&address).await?) })
    }
}

#[async_trait]
impl Connector for Plain {
    async fn connect(&self, address: &str) -> Result<Channel, Failure> {
        let unavailable = |error: tonic::transport::Error| {
            Failure::new(ErrorKind::Unavailable, error.to_string())
        };
        dial(address).await.map_err(unavailable)
    }
}

#[derive(Debug)]
struct Follower(Sole);

impl Follower {
    fn leader(&self) -> consensus::Error {
        let leader = self.0.leadership().borrow().leader.clone();
        consensus::Error::NotLeader { leader }
    }
}

impl Consensus for Follower {
    fn propose(&self, _: Bytes) -> BoxFuture<'static, Result<Proposed, consensus::Error>> {
        let error = self.leader();
        Box::pin(async { Err(error) })
    }
    fn read_index(&self) -> BoxFuture<'static, Result<u64, consensus::Error>> {
        let error = self.leader();
        Box::pin(async { Err(error) })
    }
    fn wait_applied(&self, index: u64) -> BoxFuture<'static, Result<(), consensus::Error>> {
        self.0.wait_applied(index)
    }
    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership()
    }
}

/// A follower whose replica stands still until it catches up.
#[derive(Debug)]
pub(crate) struct Lagging {
    follower: Follower,
    machine: Machine,
    applied: watch::Sender<u64>,
}

impl Lagging {
    /// Has what the others have.
    pub(crate) fn catch_up(&self, state: &State) {
        let mut snapshot = Vec::new();
        write_snapshot(state, &mut snapshot).unwrap();
        self.machine.restore(&mut snapshot.as_slice()).unwrap();
        self.applied.send_replace(state.index());
    }
}

impl Consensus for Lagging {
    fn propose(&self, entry: Bytes) -> BoxFuture<'static, Result<Proposed, consensus::Error>> {
        self.follower.propose(entry)
    }
    fn read_index(&self) -> BoxFuture<'static, Result<u64, consensus::Error>> {
        self.follower.read_index()
    }
    fn wait_applied(&self, index: u64) -> BoxFuture<'static, Result<(), consensus::Error>> {
        let mut applied = self.applied.subscribe();
        Box::pin(async move {
            drop(applied.wait_for(|applied| *applied >= index).await.unwrap());
            Ok(())
        })
    }
    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.follower.leadership()
    }
}

struct Manager {
    dispatcher: Dispatcher,
    /// Where other managers reach it.
    internal: SocketAddr,
    /// One listener per node: which one a call comes through says who calls.
    addresses: Vec<SocketAddr>,
}

pub(crate) struct Lab {
    pub(crate) store: Store,
    managers: Vec<Manager>,
    leading: Mutex<Tasks>,
    tasks: Tasks,
    sole: Sole,
    clock: SharedClock,
}

/// A worker and what it runs on.
pub(crate) struct Running {
    pub(crate) executor: Arc<FakeExecutor>,
    pub(crate) worker: Worker,
    pub(crate) tasks: Tasks,
    directory: tempfile::TempDir,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.tasks.shut_down().await;
    }
}

pub(crate) fn id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

pub(crate) fn node_id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn service_id() -> ServiceId {
    ServiceId::from_bytes([9; 16])
}

fn secret() -> Secret {
    let spec = SecretSpec { data: b"hush".to_vec(), ..SecretSpec::default() };
    Secret { id: SecretId::from_bytes([5; 16]), meta: Meta::default(), spec }
}

async fn listen() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let clock: SharedClock = Arc::new(FastClock);
        let tasks = Tasks::new();
        let objects = Objects::new();
        let sole = Sole::new(objects.clone());
        let internals = [listen().await, listen().await];
        let leader = Leader { node: node_id(200), address: internals[0].1.to_string() };
        sole.set_leadership(Leadership { term: 1, leader: Some(leader), is_self: true });
        let remote = Arc::new(Remote::new(Arc::new(Plain), clock.clone()));
        let store =
            Store::new(objects.clone(), Arc::new(sole.clone()), remote.clone(), clock.clone());
        let follower = Store::new(objects, Arc::new(Follower(sole.clone())), remote, clock.clone());
        let mut managers = Vec::new();
        let stores = [store.clone(), follower].into_iter().zip(internals);
        for (number, (store, (listener, internal))) in (200..).zip(stores) {
            let dispatcher = dispatcher(number, store, &clock, &tasks);
            let (_, reports) = dispatcher.services();
            let server = tonic::transport::Server::builder()
                .add_service(reports)
                .add_service(forward::Server::service(Arc::new(sole.clone())));
            let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
            tasks.spawn_fallible(TaskKind::ClusterListener, serving);
            let addresses = serve_nodes(&tasks, &dispatcher).await;
            managers.push(Manager { dispatcher, internal, addresses });
        }
        let leading = Mutex::new(Tasks::new());
        let lab = Self { store, managers, leading, tasks, sole, clock };
        lab.lead();
        lab.fill().await;
        lab
    }

    /// Another manager, which has not gone beyond `state`.
    pub(crate) async fn add_lagging(&mut self, state: &State) -> Arc<Lagging> {
        let objects = Objects::new();
        let (follower, machine) = (Follower(self.sole.clone()), Machine::new(objects.clone()));
        let lagging = Lagging { follower, machine, applied: watch::Sender::new(0) };
        lagging.catch_up(state);
        let lagging = Arc::new(lagging);
        let remote = Arc::new(Remote::new(Arc::new(Plain), self.clock.clone()));
        let consensus = Arc::<Lagging>::clone(&lagging);
        let store = Store::new(objects, consensus, remote, self.clock.clone());
        let dispatcher = dispatcher(202, store, &self.clock, &self.tasks);
        let addresses = serve_nodes(&self.tasks, &dispatcher).await;
        let internal = self.managers[1].internal;
        self.managers.push(Manager { dispatcher, internal, addresses });
        lagging
    }

    fn lead(&self) {
        let dispatcher = self.managers[0].dispatcher.clone();
        let leading = self.leading.lock().unwrap();
        leading.spawn(TaskKind::LeaderLoop, async move { dispatcher.lead().await });
    }

    /// The decisions begin anew, as on another leader.
    pub(crate) async fn restart_leading(&self) {
        let before = std::mem::take(&mut *self.leading.lock().unwrap());
        before.shut_down().await;
        self.lead();
    }

    async fn fill(&self) {
        let filled = self.store.update::<_, Error>(|txn| {
            txn.put_node(node(1))?;
            txn.put_node(node(2))?;
            txn.put_secret(secret())?;
            txn.put_service(service())?;
            Ok(())
        });
        filled.await.unwrap();
    }

    /// The cluster waits so long for views of networks, and its managers know of each other. Workers that look for
    /// another manager find none from now on.
    pub(crate) async fn drain_wait(&self, drain_wait: Duration) {
        let filled = self.store.update::<_, Error>(|txn| {
            let mut cluster = Cluster::new(ClusterId::from_bytes([7; 16]), RootCa::default());
            cluster.spec.drain_wait = drain_wait;
            txn.put_cluster(cluster)?;
            for (number, manager) in (200..).zip(&self.managers) {
                let address = ManagerAddress { raft_id: 1, address: manager.internal };
                let (role, manager) = (NodeRole::Manager, Some(address));
                txn.put_node(Node { role, manager, ..node(number) })?;
            }
            txn.put_network(network())?;
            Ok(())
        });
        filled.await.unwrap();
    }

    /// A connection to a manager in the name of a node.
    pub(crate) async fn client(&self, node: usize, manager: usize) -> DispatcherClient<Channel> {
        let address = self.managers[manager].addresses[node - 1];
        DispatcherClient::new(dial(&address.to_string()).await.unwrap())
    }

    /// A worker that knows one manager only.
    pub(crate) async fn worker(&self, node: usize, manager: usize) -> Running {
        let executor = Arc::new(FakeExecutor::default());
        self.begin(node, manager, executor, tempfile::tempdir().unwrap()).await
    }

    /// The daemon of node 1 comes up again.
    pub(crate) async fn again(&self, running: Running, manager: usize) -> Running {
        let Running { executor, directory, worker, .. } = running;
        // The lock of its database goes with the last handle.
        drop(worker);
        self.begin(1, manager, executor, directory).await
    }

    async fn begin(
        &self,
        node: usize,
        manager: usize,
        executor: Arc<FakeExecutor>,
        directory: tempfile::TempDir,
    ) -> Running {
        let tasks = Tasks::new();
        let ports = Ports {
            executor: Arc::<FakeExecutor>::clone(&executor),
            networks: Arc::<FakeExecutor>::clone(&executor),
            connector: Arc::new(Plain),
            clock: Arc::new(FastClock),
            random: Arc::new(SystemRandom),
            disk: Arc::new(SystemDisk),
            tasks: tasks.clone(),
        };
        let options = Options {
            directory: directory.path().to_owned(),
            seeds: vec![self.managers[manager].addresses[node - 1].to_string()],
            secrets: SecretCache::Memory,
        };
        let worker = Worker::start(options, ports).await.unwrap();
        Running { executor, worker, tasks, directory }
    }

    pub(crate) fn node_state(&self, number: u8) -> Option<NodeState> {
        self.store.view().node(node_id(number)).map(|node| node.status.state)
    }

    pub(crate) fn state(&self, number: u8) -> Option<TaskState> {
        self.store.view().task(id(number)).map(|task| task.status.state)
    }

    pub(crate) async fn put_task(&self, number: u8, on: u8, desired: TaskState) {
        let task = task(number, on, desired);
        let put = self.store.update::<_, Error>(|txn| Ok(txn.put_task(task.clone())?));
        put.await.unwrap();
    }

    /// A task that others reach by a network.
    pub(crate) async fn put_attached(&self, number: u8, on: u8) {
        let address = format!("10.0.0.{number}/24").parse().unwrap();
        let attachment = NetworkAttachment {
            network: network().id,
            addresses: vec![address],
            aliases: Vec::new(),
            driver_opts: BTreeMap::new(),
        };
        let task = Task { networks: vec![attachment], ..task(number, on, TaskState::Running) };
        let put = self.store.update::<_, Error>(|txn| Ok(txn.put_task(task.clone())?));
        put.await.unwrap();
    }

    pub(crate) async fn wish(&self, number: u8, desired: TaskState) {
        let put = self.store.update::<_, Error>(|txn| Ok(txn.task_desired(id(number), desired)?));
        put.await.unwrap();
    }

    pub(crate) async fn remove_task(&self, number: u8) {
        let removed = self.store.update::<_, Error>(|txn| Ok(txn.remove_task(id(number))?));
        removed.await.unwrap();
    }

    pub(crate) async fn remove_node(&self, number: u8) {
        let removed = self.store.update::<_, Error>(|txn| Ok(txn.remove_node(node_id(number))?));
        removed.await.unwrap();
    }

    pub(crate) async fn end(self) {
        let leading = std::mem::take(&mut *self.leading.lock().unwrap());
        leading.shut_down().await;
        self.tasks.shut_down().await;
    }
}

fn dispatcher(number: u8, store: Store, clock: &SharedClock, tasks: &Tasks) -> Dispatcher {
    let reach = Arc::new(liveness::Remote::new(Arc::new(Plain), clock.clone()));
    let (own, random) = (node_id(number), Arc::new(SystemRandom));
    Dispatcher::new(own, store, reach, clock.clone(), random, tasks.clone())
}

/// A listener for each node.
async fn serve_nodes(tasks: &Tasks, dispatcher: &Dispatcher) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for number in 1..=2 {
        let (listener, address) = listen().await;
        serve(tasks, listener, dispatcher, number);
        addresses.push(address);
    }
    addresses
}

fn serve(tasks: &Tasks, listener: tokio::net::TcpListener, dispatcher: &Dispatcher, number: u8) {
    let (sessions, _) = dispatcher.services();
    let identity = PeerIdentity {
        node: node_id(number),
        role: NodeRole::Worker,
        cluster: ClusterId::from_bytes([7; 16]),
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let identify = move |mut request: tonic::Request<()>| {
        request.extensions_mut().insert(PeerInfo { address, identity: Some(identity) });
        Ok(request)
    };
    let service = tonic::service::interceptor::InterceptedService::new(sessions, identify);
    let server = tonic::transport::Server::builder().add_service(service);
    let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
    tasks.spawn_fallible(TaskKind::ClusterListener, serving);
}

fn node(number: u8) -> Node {
    Node::new(node_id(number), NodeRole::Worker)
}

fn network() -> ClusterNetwork {
    ClusterNetwork::new(
        ClusterNetworkId::from_bytes([3; 16]),
        NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() },
    )
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

fn task(number: u8, on: u8, desired: TaskState) -> Task {
    let reference = SecretReference { id: secret().id, name: "s".to_owned(), file: None };
    Task {
        id: id(number),
        meta: Meta::default(),
        spec: Arc::new(TaskSpec { secrets: vec![reference], ..TaskSpec::default() }),
        spec_version: Version(1),
        service: Some(service_id()),
        slot: Slot(1),
        node: Some(node_id(on)),
        annotations: Arc::default(),
        desired,
        status: TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() },
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    }
}

/// Waits until a condition holds, or fails after ten seconds.
#[track_caller]
pub(crate) fn until<'a>(
    what: &'a str,
    condition: impl Fn() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let place = std::panic::Location::caller();
    async move {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not happen ({place})");
    }
}

/// Lets time pass in which something must not happen.
pub(crate) async fn a_while() {
    SystemClock.sleep(Duration::from_millis(300)).await;
}

pub(crate) async fn sleep(duration: Duration) {
    SystemClock.sleep(duration).await;
}
