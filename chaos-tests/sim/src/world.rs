//! The cluster of a run: three managers, three workers, and what happens to their processes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_base::Clock as _;
use shoal_base::random::{Numbers, SeededRandom};
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_identity::PeerIdentity;
use shoal_identity::files::{DataKey, Stored};
use shoal_identity::request::NodeKey;
use shoal_identity::root::Issue;
use shoal_manager::assembly::Manager;
use shoal_manager::ca::configure;
use shoal_manager::ca::signing::local_signer;
use shoal_manager::store;
use shoal_manager_core::allocator;
use shoal_model::cluster::manager::RaftConfig;
use shoal_model::cluster::node::{
    Availability, IssueState, ManagerAddress, NodeCertificate, NodeRole,
};
use shoal_model::cluster::{
    Cluster, ClusterId, ClusterNetwork, ClusterNetworkId, ClusterSpec, NodeId, NodeSpec,
};
use shoal_model::error::Chain;
use shoal_worker::agent::Worker;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::checks::Checks;
use crate::executor::Machine;
use crate::machines::{self, Death, Life, Making, Node, PORT};
use crate::net::Network;
use crate::note;
use crate::planted::Planted;
use crate::settings::Settings;
use crate::time::{NodeClock, pass};
use crate::trace::Trace;

/// Managers have the numbers from 1, workers those behind.
pub const MANAGERS: u8 = 3;
/// Nodes that only work.
pub const WORKERS: u8 = 3;
/// Before a process that did not start is started again.
const AGAIN: Duration = Duration::from_secs(1);
/// Of a node's certificates as text.
const PEM_BYTES: usize = 2_048;

/// A process that may be dead.
#[derive(Debug)]
struct Slot<P> {
    life: Mutex<Option<Arc<Life<P>>>>,
    /// One change at a time: what dies is dead before it is started again.
    change: Semaphore,
}

impl<P> Slot<P> {
    const fn empty() -> Self {
        Self { life: Mutex::new(None), change: Semaphore::const_new(1) }
    }

    fn get(&self) -> Option<Arc<Life<P>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, life: Arc<Life<P>>) {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = Some(life);
    }

    fn take(&self) -> Option<Arc<Life<P>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn changing(&self) -> SemaphorePermit<'_> {
        self.change.acquire().await.expect("it is never closed")
    }
}

/// A node that manages.
#[derive(Debug)]
pub struct ManagerNode {
    /// The node.
    pub node: Node,
    life: Slot<Manager>,
}

impl ManagerNode {
    /// The manager, while it lives.
    pub fn life(&self) -> Option<Arc<Life<Manager>>> {
        self.life.get()
    }
}

/// A node that works.
#[derive(Debug)]
pub struct WorkerNode {
    /// The node.
    pub node: Node,
    /// Its containers.
    pub machine: Arc<Machine>,
    life: Slot<(Worker, Tasks)>,
}

impl WorkerNode {
    /// Whether its worker lives.
    pub fn is_alive(&self) -> bool {
        self.life.get().is_some()
    }
}

/// All of it.
#[derive(Debug)]
pub struct World {
    /// Those that manage.
    pub managers: Vec<ManagerNode>,
    /// Those that work.
    pub workers: Vec<WorkerNode>,
    /// Between them.
    pub network: Network,
    /// What happened.
    pub trace: Trace,
    /// What must hold.
    pub checks: Checks,
    /// The run's bug.
    pub planted: Planted,
    /// Of the run.
    pub settings: Settings,
    /// Owner of the harness's own tasks.
    pub tasks: Tasks,
    /// Owner of the one that delivers what is sent.
    post: Tasks,
    /// The network of the cluster that services join.
    pub overlay: ClusterNetworkId,
}

/// How a world is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// All randomness.
    pub seed: u64,
    /// Whether to print the trace.
    pub print: bool,
    /// The bug.
    pub planted: Planted,
    /// Of the run.
    pub settings: Settings,
}

fn id(numbers: &mut Numbers) -> [u8; 16] {
    u128::from(numbers.next()).to_be_bytes()
}

fn cluster(
    id: ClusterId,
    raft: RaftConfig,
    clock: &NodeClock,
    random: &SeededRandom,
) -> anyhow::Result<Cluster> {
    let mut root = configure::initial(clock.now(), random)?;
    root.certificate = evened(root.certificate)?;
    let spec = ClusterSpec { raft, ..ClusterSpec::default() };
    Ok(Cluster { spec, ..Cluster::new(id, root) })
}

/// Certificates with empty lines behind them: keys and signatures are not of the seed, and a signature may be a byte longer
/// than another. What is on disks, of which power failures keep sectors, must not differ for that.
fn evened(mut pem: String) -> anyhow::Result<String> {
    let missing = PEM_BYTES.checked_sub(pem.len());
    let missing = missing.ok_or_else(|| anyhow::anyhow!("certificates of {} bytes", pem.len()))?;
    pem.extend(std::iter::repeat_n('\n', missing));
    Ok(pem)
}

fn sign(
    cluster: &Cluster,
    node: NodeId,
    role: NodeRole,
    clock: &NodeClock,
    random: &SeededRandom,
) -> anyhow::Result<Stored> {
    let key = NodeKey::generate()?;
    let now = clock.now();
    let identity = PeerIdentity { node, role, cluster: cluster.id };
    let issue = Issue { identity, expiry: cluster.spec.ca.node_cert_expiry, now };
    let chain = evened(local_signer(cluster, now)?.sign(&key.request()?, issue, random)?)?;
    Ok(Stored {
        trust: cluster.root.certificate.clone(),
        chain,
        key,
        data_keys: vec![DataKey { id: 1, key: [1; 32] }],
        unlock_version: 0,
    })
}

fn object(id: NodeId, role: NodeRole, chain: &str) -> shoal_model::cluster::Node {
    let certificate = NodeCertificate {
        state: IssueState::Issued,
        role,
        chain: chain.as_bytes().to_vec(),
        ..NodeCertificate::default()
    };
    // Managers only manage: no worker runs there.
    let availability = match role {
        NodeRole::Manager => Availability::Drain,
        NodeRole::Worker => Availability::Active,
    };
    shoal_model::cluster::Node {
        spec: NodeSpec { role, availability, ..NodeSpec::default() },
        certificate,
        ..shoal_model::cluster::Node::new(id, role)
    }
}

fn networks(numbers: &mut Numbers) -> (ClusterNetworkId, [ClusterNetwork; 2]) {
    let overlay = ClusterNetwork::new(
        ClusterNetworkId::from_bytes(id(numbers)),
        shoal_model::network::NetworkSpec {
            name: "net".to_owned(),
            driver: "overlay".to_owned(),
            scope: "swarm".to_owned(),
            ..Default::default()
        },
    );
    let ingress = ClusterNetwork {
        id: ClusterNetworkId::from_bytes(id(numbers)),
        spec: allocator::ingress_network(),
        ..overlay.clone()
    };
    (overlay.id, [overlay, ingress])
}

impl World {
    /// Starts all nodes and makes them one cluster.
    ///
    /// # Errors
    /// When that fails, which without faults it must not.
    pub async fn begin(plan: &Plan) -> anyhow::Result<Arc<Self>> {
        let mut numbers = Numbers::new(plan.seed);
        let (clock, random) = (NodeClock::new(), SeededRandom::new(numbers.next()));
        let network = Network::new(numbers.next());
        let raft = plan.settings.raft();
        let cluster = cluster(ClusterId::from_bytes(id(&mut numbers)), raft, &clock, &random)?;
        let trace = Trace::new(plan.print);
        let (mut managers, mut workers, mut objects) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=MANAGERS + WORKERS {
            let role = if number <= MANAGERS { NodeRole::Manager } else { NodeRole::Worker };
            let node_id = NodeId::from_bytes(id(&mut numbers));
            let stored = sign(&cluster, node_id, role, &clock, &random)?;
            let mut object = object(node_id, role, &stored.chain);
            let making = Making {
                number,
                id: node_id,
                stored,
                seed: plan.seed,
                clock: &clock,
                network: &network,
                planted: plan.planted,
                settings: plan.settings,
            };
            let node = Node::new(making)?;
            if role == NodeRole::Manager {
                let address = SocketAddr::new(node.host, PORT);
                object.manager = Some(ManagerAddress { raft_id: number.into(), address });
                managers.push(ManagerNode { node, life: Slot::empty() });
            } else {
                let machine = Machine::new(&format!("w{number}"), numbers.next(), plan.planted);
                workers.push(WorkerNode { node, machine, life: Slot::empty() });
            }
            objects.push(object);
        }
        let (overlay, networks) = networks(&mut numbers);
        let world = Arc::new(Self {
            managers,
            workers,
            network,
            checks: Checks::new(trace.clone()),
            trace,
            planted: plan.planted,
            settings: plan.settings,
            tasks: Tasks::new(),
            post: Tasks::new(),
            overlay,
        });
        let network = world.network.clone();
        world.post.spawn(TaskKind::Request, async move { network.deliver().await });
        world.bootstrap(&cluster, &objects, &networks).await?;
        Ok(world)
    }

    async fn bootstrap(
        self: &Arc<Self>,
        cluster: &Cluster,
        objects: &[shoal_model::cluster::Node],
        networks: &[ClusterNetwork],
    ) -> anyhow::Result<()> {
        for number in 0..self.managers.len() {
            self.try_start_manager(number).await?;
        }
        let first = self.managers[0].life().ok_or_else(|| anyhow::anyhow!("no first manager"))?;
        first.process.raft.bootstrap().await?;
        let filled = first.process.store.update::<_, store::Error>(|txn| {
            txn.put_cluster(cluster.clone())?;
            networks.iter().try_for_each(|it| txn.put_network(it.clone()).map(drop))?;
            objects.iter().try_for_each(|it| txn.put_node(it.clone()).map(drop))?;
            Ok(())
        });
        filled.await?;
        let mut status = first.process.raft.watch();
        let all = usize::from(MANAGERS);
        let voters =
            status.wait_for(|status| status.members.values().filter(|it| it.voter).count() == all);
        drop(voters.await?);
        for number in 0..self.workers.len() {
            self.start_worker(number).await;
        }
        note!(self.trace, "the cluster is there");
        Ok(())
    }

    async fn try_start_manager(self: &Arc<Self>, index: usize) -> anyhow::Result<()> {
        let manager = &self.managers[index];
        machines::revive(&manager.node);
        let process = manager.node.start_manager().await?;
        let life = Arc::new(Life::new(process));
        self.checks.follow(&self.tasks, manager.node.number, &life);
        manager.life.set(life);
        Ok(())
    }

    /// Starts a manager, again and again until it does.
    pub async fn start_manager(self: &Arc<Self>, index: usize) {
        let _changing = self.managers[index].life.changing().await;
        if self.managers[index].life().is_some() {
            return;
        }
        let number = self.managers[index].node.number;
        loop {
            match self.try_start_manager(index).await {
                Ok(()) => {
                    note!(self.trace, "manager {number} starts");
                    return;
                }
                Err(error) => {
                    note!(self.trace, "manager {number} does not start: {error:#}");
                    self.checks
                        .found("LOG-1", format!("manager {number} does not start: {error:#}"));
                    pass(AGAIN).await;
                }
            }
        }
    }

    /// Kills a manager, if it lives.
    pub async fn kill_manager(&self, index: usize, death: Death) {
        let manager = &self.managers[index];
        let _changing = manager.life.changing().await;
        let Some(life) = manager.life.take() else { return };
        note!(self.trace, "manager {} dies: {death:?}", manager.node.number);
        machines::die(&manager.node, &life.died, death, life.process.drop_out()).await;
    }

    /// Starts a worker.
    pub async fn start_worker(&self, index: usize) {
        let worker = &self.workers[index];
        let _changing = worker.life.changing().await;
        if worker.is_alive() {
            return;
        }
        machines::revive(&worker.node);
        let managers: Vec<_> = self.managers.iter().map(|manager| manager.node.host).collect();
        loop {
            match worker.node.start_worker(&worker.machine, &managers).await {
                Ok(process) => {
                    worker.life.set(Arc::new(Life::new(process)));
                    note!(self.trace, "worker {} starts", worker.node.number);
                    return;
                }
                Err(error) => {
                    let number = worker.node.number;
                    note!(self.trace, "worker {number} does not start: {error:#}");
                    pass(AGAIN).await;
                }
            }
        }
    }

    /// Kills a worker, if it lives; its containers only go when the machine loses its power.
    pub async fn kill_worker(&self, index: usize, death: Death) {
        let worker = &self.workers[index];
        let _changing = worker.life.changing().await;
        let Some(life) = worker.life.take() else { return };
        note!(self.trace, "worker {} dies: {death:?}", worker.node.number);
        let stop = async {
            life.process.1.shut_down().await;
        };
        machines::die(&worker.node, &life.died, death, stop).await;
        if death != Death::Killed {
            worker.machine.lose_power();
        }
    }

    /// Index of the manager that leads, as far as it knows itself.
    pub fn leader(&self) -> Option<usize> {
        let leads = |manager: &ManagerNode| {
            manager.life().is_some_and(|life| life.process.raft.status().leads())
        };
        self.managers.iter().position(leads)
    }

    /// Ends all nodes.
    pub async fn end(&self) {
        self.tasks.shut_down().await;
        for index in 0..self.workers.len() {
            self.kill_worker(index, Death::Killed).await;
        }
        for index in 0..self.managers.len() {
            self.kill_manager(index, Death::Killed).await;
        }
        self.post.shut_down().await;
    }

    /// Does something in the background until the run is over.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(TaskKind::Request, work);
    }
}

/// An error with its causes.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    Chain(error).to_string()
}
