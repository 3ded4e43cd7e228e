//! A cluster of one manager over real sockets, with a store in memory and a clock that tests set.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use shoal_base::random::{SharedRandom, SystemRandom};
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{Clock, SharedClock, SystemDisk};
use shoal_identity::files::{DataKey, Stored};
use shoal_identity::keeper::Keeper;
use shoal_identity::request::NodeKey;
use shoal_identity::root::Issue;
use shoal_identity::{NodeFiles, PeerIdentity, chain, join, listen, pem};
use shoal_manager::ca::signing::{Signing, local_signer};
use shoal_manager::ca::turn::Turn;
use shoal_manager::ca::{CaServer, CaStore, Change, StoredCa, configure, follow, issue};
use shoal_manager::consensus::memory::Sole;
use shoal_manager::store::forward::Nowhere;
use shoal_manager::store::{self, Objects, Store};
use shoal_model::Timestamp;
use shoal_model::cluster::manager::CaConfig;
use shoal_model::cluster::node::{
    Availability, IssueState, NodeCertificate, NodeDescription, NodeRole,
};
use shoal_model::cluster::{Cluster, ClusterId, Node, NodeId};
use shoal_proto::ca::ca_server::CaServer as CaService;
use tokio::net::TcpListener;

/// A clock that tests move. Its short waits are shorter, its long ones are deadlines and stay.
#[derive(Debug)]
pub(crate) struct Moving(AtomicI64);

impl Moving {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Moving {
    fn now(&self) -> Timestamp {
        let system = shoal_base::SystemClock.now().nanos();
        Timestamp::from_nanos(system + self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        shoal_base::SystemClock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let short = duration < Duration::from_secs(5);
        let duration = if short { duration.min(Duration::from_millis(20)) } else { duration };
        shoal_base::SystemClock.sleep(duration)
    }
}

pub(crate) struct Rig {
    pub(crate) ca: Arc<StoredCa>,
    pub(crate) store: Store,
    pub(crate) clock: Arc<Moving>,
    pub(crate) random: SharedRandom,
    pub(crate) keeper: Keeper,
    pub(crate) address: String,
    pub(crate) tasks: Tasks,
    directory: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let clock = Arc::new(Moving(AtomicI64::new(0)));
        let random: SharedRandom = Arc::new(SystemRandom);
        let now = clock.now();
        let cluster = Cluster::new(
            ClusterId::from_bytes([1; 16]),
            configure::initial(now, &SystemRandom).unwrap(),
        );
        let directory = tempfile::tempdir().unwrap();
        let id = NodeId::from_bytes([9; 16]);
        let stored = sign(&cluster, id, NodeRole::Manager, now);
        let mut manager = node(id, NodeRole::Manager);
        manager.certificate.chain = stored.chain.clone().into_bytes();
        let objects = Objects::new();
        let sole = Arc::new(Sole::new(objects.clone()));
        let store = Store::new(objects, sole, Arc::new(Nowhere), clock.clone());
        let ca = Arc::new(StoredCa::new(store.clone(), clock.clone()));
        let changes = vec![Change::Cluster(Arc::new(cluster)), Change::Node(Arc::new(manager))];
        ca.commit(changes).await.unwrap();
        let files = files(&directory.path().join("manager"));
        files.save(&stored, None).unwrap();
        let keeper = Keeper::new(files, stored, None, clock.clone()).unwrap();
        let (tasks, listener) = (Tasks::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap().to_string();
        let mut rig = Self { ca, store, clock, random, keeper, address, tasks, directory };
        rig.serve(listener);
        rig
    }

    /// Serves with `self.keeper`, and runs what a leader runs.
    fn serve(&mut self, listener: TcpListener) {
        self.tasks.spawn(TaskKind::Certificates, self.ca.clone().run());
        let credentials = self.keeper.credentials();
        let service = CaServer::new(self.ca.clone(), self.clock.clone(), self.random.clone());
        let incoming = listen::accept(listener, credentials, &self.tasks);
        let serving = listen::server(credentials).add_service(CaService::new(service));
        self.tasks.spawn_fallible(TaskKind::ClusterListener, serving.serve_with_incoming(incoming));
        let signing = Signing {
            store: self.ca.clone(),
            credentials: credentials.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        self.tasks.spawn(TaskKind::LeaderLoop, signing.run());
        let turn =
            Turn { store: self.ca.clone(), clock: self.clock.clone(), random: self.random.clone() };
        self.tasks.spawn(TaskKind::LeaderLoop, turn.run());
        let following = follow::run(self.ca.clone(), self.keeper.clone());
        self.tasks.spawn(TaskKind::Certificates, following);
    }

    /// The host was off: the manager comes back with another identity, on another port.
    pub(crate) async fn restart(&mut self, stored: Stored) {
        self.tasks.shut_down().await;
        self.tasks = Tasks::new();
        let files = files(&self.directory.path().join("manager"));
        files.save(&stored, None).unwrap();
        self.keeper = Keeper::new(files, stored, None, self.clock.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        self.serve(listener);
    }

    pub(crate) fn shared_clock(&self) -> SharedClock {
        self.clock.clone()
    }

    pub(crate) fn managers(&self) -> Vec<String> {
        vec![self.address.clone()]
    }

    pub(crate) fn files(&self, name: &str) -> NodeFiles {
        files(&self.directory.path().join(name))
    }

    pub(crate) fn token(&self, role: NodeRole) -> String {
        let tokens = self.cluster().root.join_tokens.clone();
        if role == NodeRole::Manager { tokens.manager } else { tokens.worker }
    }

    pub(crate) async fn join(&self, name: &str, token: &str) -> Result<Keeper, join::Error> {
        let files = self.files(name);
        join::join(&join::Join {
            managers: &self.managers(),
            token,
            availability: Availability::Active,
            files: &files,
            clock: self.shared_clock(),
            random: self.random.clone(),
        })
        .await
    }

    pub(crate) async fn member(&self, name: &str, role: NodeRole) -> Keeper {
        self.join(name, &self.token(role)).await.unwrap()
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        self.ca.cluster().unwrap()
    }

    pub(crate) async fn change_cluster(&self, change: impl Fn(&mut Cluster)) {
        let changed = self.store.update(|txn| {
            let mut cluster = Cluster::clone(txn.cluster().unwrap());
            change(&mut cluster);
            txn.put_cluster(Arc::new(cluster)).map_err(store::Error::from)
        });
        changed.await.unwrap();
    }

    /// As `swarm update` and `swarm ca --rotate` would.
    pub(crate) async fn configure(&self, change: impl Fn(&mut CaConfig)) {
        let now = self.clock.now();
        self.change_cluster(|cluster| {
            change(&mut cluster.spec.ca);
            let plan = configure::configure(cluster, now, &SystemRandom).unwrap();
            cluster.root = plan.root;
        })
        .await;
    }

    pub(crate) async fn change_node(&self, id: NodeId, change: impl Fn(&mut Node)) {
        let changed = self.store.update(|txn| {
            let mut node = Node::clone(txn.node(id).unwrap());
            change(&mut node);
            txn.put_node(Arc::new(node)).map_err(store::Error::from)
        });
        changed.await.unwrap();
    }

    /// What a session does for a node: gives it the roots, and stores what it says of itself.
    pub(crate) async fn report(&self, keeper: &Keeper) {
        keeper.trust(&issue::trust_bundle(&self.cluster().root)).unwrap();
        let current = keeper.credentials().current();
        let certificates = pem::certificates(current.chain.as_bytes()).unwrap();
        let (issuer_subject, issuer_public_key) =
            chain::issuer(&certificates, &current.trust.bundle).unwrap();
        let trust_root = current.trust.bundle.clone();
        self.change_node(current.identity.node, |node| {
            node.description = Some(NodeDescription {
                trust_root: trust_root.clone(),
                issuer_subject: issuer_subject.clone(),
                issuer_public_key: issuer_public_key.clone(),
                ..NodeDescription::default()
            });
        })
        .await;
    }

    pub(crate) async fn remove(&self, id: NodeId) {
        let removed = self.store.update(|txn| txn.remove_node(id).map_err(store::Error::from));
        removed.await.unwrap();
    }

    pub(crate) fn store_node(&self, id: NodeId) -> Node {
        Node::clone(&self.ca.node(id).unwrap())
    }

    /// Waits for what happens shortly after a change of the store.
    pub(crate) async fn until_applied(&self, mut wish: impl FnMut() -> bool) {
        for _ in 0..500 {
            if wish() {
                return;
            }
            self.clock.sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came");
    }

    /// Waits until the store is as wished.
    pub(crate) async fn until(&self, what: &str, mut wish: impl FnMut() -> bool) {
        let mut follow = self.ca.follow();
        let waiting = async {
            while !wish() {
                follow.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "{what}");
    }
}

fn files(directory: &std::path::Path) -> NodeFiles {
    NodeFiles::open(directory, Arc::new(SystemDisk), Arc::new(SystemRandom)).unwrap()
}

pub(crate) fn node(id: NodeId, role: NodeRole) -> Node {
    Node {
        certificate: NodeCertificate { state: IssueState::Issued, role, ..Default::default() },
        ..Node::new(id, role)
    }
}

/// What a node would have stored with a certificate of `cluster`'s present signer.
pub(crate) fn sign(cluster: &Cluster, node: NodeId, role: NodeRole, now: Timestamp) -> Stored {
    let key = NodeKey::generate().unwrap();
    let identity = PeerIdentity { node, role, cluster: cluster.id };
    let issue = Issue { identity, expiry: cluster.spec.ca.node_cert_expiry, now };
    let signer = local_signer(cluster, now).unwrap();
    let chain = signer.sign(&key.request().unwrap(), issue, &SystemRandom).unwrap();
    let data_keys = vec![DataKey { id: 1, key: [1; 32] }];
    let trust = cluster.root.certificate.clone();
    Stored { trust, chain, key, data_keys, unlock_version: 0 }
}

/// A port of this host that nobody listens on.
pub(crate) async fn dead_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
