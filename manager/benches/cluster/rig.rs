//! Whole managers in one process: mTLS over loopback, logs on disk, the store's own state machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shoal_base::random::SystemRandom;
use shoal_base::{Clock as _, SystemClock, SystemDisk};
use shoal_identity::files::{DataKey, Stored};
use shoal_identity::keeper::Keeper;
use shoal_identity::request::NodeKey;
use shoal_identity::root::Issue;
use shoal_identity::{NodeFiles, PeerIdentity};
use shoal_manager::assembly::{Manager, Options, Surroundings};
use shoal_manager::ca::configure;
use shoal_manager::ca::signing::local_signer;
use shoal_manager_core::store::Txn;
use shoal_manager_raft::{Begin, Member, RaftId};
use shoal_model::cluster::manager::RaftConfig;
use shoal_model::cluster::node::{IssueState, ManagerAddress, NodeCertificate, NodeRole};
use shoal_model::cluster::{Cluster, ClusterId, ClusterSpec, Node, NodeId};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Managers and where they live.
pub(crate) struct Rig {
    pub(crate) managers: Vec<Manager>,
    directory: tempfile::TempDir,
    cluster: Cluster,
    addresses: Vec<SocketAddr>,
    config: RaftConfig,
}

/// What runs beside the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duties {
    /// The leader plans, as in a daemon.
    On,
    /// The objects are only there to be many: no one looks after them.
    Off,
}

impl Rig {
    /// So many managers, all of them voters; the first leads.
    pub(crate) async fn start(count: u8, config: RaftConfig, duties: Duties) -> Self {
        let cluster = Cluster {
            spec: ClusterSpec { raft: config.clone(), ..ClusterSpec::default() },
            ..Cluster::new(
                ClusterId::from_bytes([1; 16]),
                configure::initial(SystemClock.now(), &SystemRandom).unwrap(),
            )
        };
        let addresses = (0..count).map(|_| free_address()).collect();
        let directory = tempfile::tempdir().unwrap();
        let mut rig = Self { managers: Vec::new(), directory, cluster, addresses, config };
        for number in 1..=count {
            let manager = rig.manager(number, duties).await;
            if number == 1 {
                manager.raft.bootstrap().await.unwrap();
                let mut status = manager.raft.watch();
                status.wait_for(|status| status.leads()).await.unwrap();
                rig.initialise(&manager).await;
            }
            rig.managers.push(manager);
            rig.admit(number).await;
        }
        rig
    }

    pub(crate) fn leader(&self) -> &Manager {
        &self.managers[0]
    }

    pub(crate) fn path(&self, number: u8) -> PathBuf {
        self.directory.path().join(number.to_string())
    }

    /// Starts a manager on what is in its directory.
    pub(crate) async fn manager(&self, number: u8, duties: Duties) -> Manager {
        let files = files(&self.path(number).join("identity"));
        let stored = sign(&self.cluster, id(number));
        files.save(&stored, None).unwrap();
        let clock = Arc::new(SystemClock);
        let keeper = Keeper::new(files, stored, None, clock.clone()).unwrap();
        let address = self.addresses[usize::from(number - 1)];
        let options = Options {
            directory: self.path(number).join("raft"),
            raft_id: RaftId(u64::from(number)),
            listen: address,
            advertise: address.to_string(),
            raft: self.config.clone(),
            begin: Begin::AsStored,
            ready: duties == Duties::On,
            feature_level: shoal_manager::feature::LEVEL,
        };
        let (random, disk) = (Arc::new(SystemRandom), Arc::new(SystemDisk));
        Manager::start(options, Surroundings { keeper, clock, random, disk }).await.unwrap()
    }

    async fn initialise(&self, manager: &Manager) {
        let written = manager.store.update(|txn: &mut Txn| {
            txn.put_cluster(self.cluster.clone())?;
            for (number, address) in (1..).zip(&self.addresses) {
                txn.put_node(node(number, *address))?;
            }
            Ok::<_, shoal_manager::store::Error>(())
        });
        written.await.unwrap();
    }

    /// Makes a manager a voter; the leader's duties may have done so before.
    async fn admit(&self, number: u8) {
        let member = Member {
            id: RaftId(u64::from(number)),
            node: id(number),
            address: self.addresses[usize::from(number - 1)].to_string(),
        };
        if number > 1 {
            self.leader().raft.add_voter(&member, PATIENCE).await.unwrap();
        }
    }

    pub(crate) async fn stop(self) {
        // The leader last: it has no one to hand over to, and nobody is elected meanwhile.
        for manager in self.managers.iter().rev() {
            manager.shut_down().await;
        }
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn files(directory: &Path) -> NodeFiles {
    NodeFiles::open(directory, Arc::new(SystemDisk), Arc::new(SystemRandom)).unwrap()
}

fn node(number: u8, address: SocketAddr) -> Node {
    let role = NodeRole::Manager;
    Node {
        certificate: NodeCertificate { state: IssueState::Issued, role, ..Default::default() },
        manager: Some(ManagerAddress { raft_id: u64::from(number), address }),
        ..Node::new(id(number), role)
    }
}

/// Key and certificate of a manager.
fn sign(cluster: &Cluster, node: NodeId) -> Stored {
    let now = SystemClock.now();
    let key = NodeKey::generate().unwrap();
    let identity = PeerIdentity { node, role: NodeRole::Manager, cluster: cluster.id };
    let issue = Issue { identity, expiry: cluster.spec.ca.node_cert_expiry, now };
    let signer = local_signer(cluster, now).unwrap();
    let chain = signer.sign(&key.request().unwrap(), issue, &SystemRandom).unwrap();
    let data_keys = vec![DataKey { id: 1, key: [1; 32] }];
    let trust = cluster.root.certificate.clone();
    Stored { trust, chain, key, data_keys, unlock_version: 0 }
}
