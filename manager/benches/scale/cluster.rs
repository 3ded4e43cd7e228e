//! Three managers with real consensus, logs on disk and mTLS between them, in one process; nodes that are workers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shoal_base::random::{Random as _, SystemRandom};
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{Clock as _, SystemClock, SystemDisk};
use shoal_identity::files::{DataKey, Stored};
use shoal_identity::keeper::Keeper;
use shoal_identity::request::NodeKey;
use shoal_identity::root::Issue;
use shoal_identity::tls::Expected;
use shoal_identity::{Credentials, NodeFiles, PeerIdentity, connect};
use shoal_manager::assembly::{Manager, Options, Surroundings};
use shoal_manager::ca::configure;
use shoal_manager::ca::signing::local_signer;
use shoal_manager::store;
use shoal_manager_raft::{Begin, RaftId};
use shoal_model::cluster::manager::RaftConfig;
use shoal_model::cluster::node::{
    IssueState, ManagerAddress, NodeCertificate, NodeDescription, NodeResources, NodeRole,
    NodeState,
};
use shoal_model::cluster::{Cluster, ClusterId, Node, NodeId};
use shoal_proto::codec;
use tonic::service::interceptor::InterceptedService;

use crate::worker;

/// Nodes in one transaction.
const NODES_AT_ONCE: usize = 500;

/// How workers reach managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    InProcess,
    MutualTls,
}

pub(crate) struct Lab {
    pub(crate) managers: Vec<Manager>,
    addresses: Vec<SocketAddr>,
    cluster: Cluster,
    pub(crate) workers: Vec<NodeId>,
    pub(crate) tasks: Tasks,
    _directory: tempfile::TempDir,
}

fn id(kind: u8, number: usize) -> NodeId {
    let mut bytes = [0; 16];
    SystemRandom.fill(&mut bytes);
    bytes[0] = kind;
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// A port that is free now.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn sign(cluster: &Cluster, node: NodeId, role: NodeRole) -> Stored {
    let key = NodeKey::generate().unwrap();
    let now = SystemClock.now();
    let identity = PeerIdentity { node, role, cluster: cluster.id };
    let issue = Issue { identity, expiry: cluster.spec.ca.node_cert_expiry, now };
    let signer = local_signer(cluster, now).unwrap();
    let chain = signer.sign(&key.request().unwrap(), issue, &SystemRandom).unwrap();
    let trust = cluster.root.certificate.clone();
    Stored {
        trust,
        chain,
        key,
        data_keys: vec![DataKey { id: 1, key: [1; 32] }],
        unlock_version: 0,
    }
}

fn node(id: NodeId, role: NodeRole) -> Node {
    Node {
        certificate: NodeCertificate { state: IssueState::Issued, role, ..Default::default() },
        ..Node::new(id, role)
    }
}

fn description(number: usize) -> Bytes {
    let resources =
        NodeResources { nano_cpus: 64_000_000_000, memory: 256 << 30, generic: Vec::new() };
    codec::encode(&NodeDescription {
        hostname: format!("n{number}"),
        resources,
        feature_level: shoal_manager::feature::LEVEL,
        ..NodeDescription::default()
    })
}

impl Lab {
    pub(crate) async fn up(nodes: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cluster = Cluster::new(
            ClusterId::from_bytes([1; 16]),
            configure::initial(SystemClock.now(), &SystemRandom).unwrap(),
        );
        let mut lab = Self {
            managers: Vec::new(),
            addresses: Vec::new(),
            cluster,
            workers: Vec::new(),
            tasks: Tasks::new(),
            _directory: directory,
        };
        let mut objects = Vec::new();
        for number in 0..3 {
            objects.push(lab.manager(number).await);
        }
        lab.begin(objects).await;
        lab.join(nodes).await;
        lab
    }

    async fn manager(&mut self, number: usize) -> Node {
        let (node_id, address) = (id(1, number), free());
        let directory = self._directory.path().join(number.to_string());
        let stored = sign(&self.cluster, node_id, NodeRole::Manager);
        let mut object = node(node_id, NodeRole::Manager);
        object.certificate.chain = stored.chain.clone().into_bytes();
        let raft_id = RaftId(number as u64 + 1);
        object.manager = Some(ManagerAddress { raft_id: raft_id.0, address });
        let around = surroundings(&directory, stored);
        let options = Options {
            directory: directory.join("raft"),
            raft_id,
            listen: address,
            advertise: address.to_string(),
            raft: RaftConfig::default(),
            begin: Begin::AsStored,
            ready: true,
            feature_level: shoal_manager::feature::LEVEL,
        };
        self.managers.push(Manager::start(options, around).await.unwrap());
        self.addresses.push(address);
        object
    }

    /// The first manager begins, and takes the others in.
    async fn begin(&self, objects: Vec<Node>) {
        let first = &self.managers[0];
        first.raft.bootstrap().await.unwrap();
        let cluster = self.cluster.clone();
        let filled = first.store.update::<_, store::Error>(|txn| {
            txn.put_cluster(cluster.clone())?;
            objects.iter().try_for_each(|node| Ok(txn.put_node(node.clone())?))
        });
        filled.await.unwrap();
        let mut status = first.raft.watch();
        let voters = |status: &shoal_manager_raft::Status| {
            status.members.values().filter(|member| member.voter).count()
        };
        status.wait_for(|status| voters(status) == 3).await.unwrap();
    }

    async fn join(&mut self, nodes: usize) {
        self.workers = (0..nodes).map(|number| id(2, number)).collect();
        for part in self.workers.chunks(NODES_AT_ONCE) {
            let joined = self.managers[0].store.update::<_, store::Error>(|txn| {
                part.iter().try_for_each(|id| Ok(txn.put_node(node(*id, NodeRole::Worker))?))
            });
            joined.await.unwrap();
        }
    }

    /// Begins all sessions; returns when all nodes are ready.
    pub(crate) async fn connect(&self, sessions: Sessions) {
        for (number, worker) in self.workers.iter().enumerate() {
            let description = description(number);
            match sessions {
                Sessions::InProcess => {
                    let identity = PeerIdentity {
                        node: *worker,
                        role: NodeRole::Worker,
                        cluster: self.cluster.id,
                    };
                    let way = |manager: &Manager| {
                        let (sessions, _) = manager.dispatcher.services();
                        InterceptedService::new(sessions, worker::identify(identity))
                    };
                    let mut ways: Vec<_> = self.managers.iter().map(way).collect();
                    ways.rotate_left(number % 3);
                    self.tasks.spawn(TaskKind::WorkerSession, worker::run(ways, description));
                }
                Sessions::MutualTls => {
                    let mut ways = self.channels(*worker);
                    ways.rotate_left(number % 3);
                    self.tasks.spawn(TaskKind::WorkerSession, worker::run(ways, description));
                }
            }
        }
        while self.ready() < self.workers.len() {
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
    }

    fn channels(&self, worker: NodeId) -> Vec<tonic::transport::Channel> {
        let stored = sign(&self.cluster, worker, NodeRole::Worker);
        let credentials = Credentials::new(&stored, Arc::new(SystemClock)).unwrap();
        let channel = |(manager, address): (&Manager, &SocketAddr)| {
            let expected = Expected::Node(manager.raft.member().node);
            connect::channel(&credentials, &address.to_string(), expected).unwrap()
        };
        self.managers.iter().zip(&self.addresses).map(channel).collect()
    }

    fn ready(&self) -> usize {
        let view = self.managers[0].store.view();
        view.nodes().filter(|node| node.status.state == NodeState::Ready).count()
    }

    pub(crate) fn leader(&self) -> &Manager {
        self.managers
            .iter()
            .find(|manager| manager.raft.status().leads())
            .unwrap_or(&self.managers[0])
    }

    pub(crate) async fn down(self) {
        self.tasks.shut_down().await;
        for manager in &self.managers {
            manager.shut_down().await;
        }
    }
}

fn surroundings(directory: &Path, stored: Stored) -> Surroundings {
    let (disk, random) = (Arc::new(SystemDisk), Arc::new(SystemRandom));
    let files =
        NodeFiles::open(&directory.join("certificates"), disk.clone(), random.clone()).unwrap();
    files.save(&stored, None).unwrap();
    let keeper = Keeper::new(files, stored, None, Arc::new(SystemClock)).unwrap();
    Surroundings { keeper, clock: Arc::new(SystemClock), random, disk }
}
