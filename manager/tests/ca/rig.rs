//! A cluster of one manager over real sockets, with a store in memory and a clock that tests set.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
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
use shoal_manager::ca::{CaServer, CaStore, Change, configure, follow, issue};
use shoal_model::Timestamp;
use shoal_model::cluster::manager::CaConfig;
use shoal_model::cluster::node::{
    Availability, IssueState, NodeCertificate, NodeDescription, NodeRole, NodeStatus,
};
use shoal_model::cluster::{
    Cluster, ClusterId, ClusterSpec, Meta, Node, NodeId, NodeSpec, Version,
};
use shoal_model::error::{ErrorKind, Failure};
use shoal_proto::ca::ca_server::CaServer as CaService;
use tokio::net::TcpListener;
use tokio::sync::watch;

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

#[derive(Debug, Default)]
struct Objects {
    cluster: Option<Arc<Cluster>>,
    nodes: BTreeMap<NodeId, Arc<Node>>,
    index: u64,
}

/// A store in memory that checks versions as the real one does.
#[derive(Debug)]
pub(crate) struct Memory {
    objects: Mutex<Objects>,
    changed: watch::Sender<u64>,
}

impl Memory {
    fn apply(&self, changes: Vec<Change>) -> Result<(), Failure> {
        let mut objects = self.objects.lock().unwrap();
        let conflict = || Failure::new(ErrorKind::Conflict, "update out of sequence");
        for change in &changes {
            let (present, made_from) = match change {
                Change::Cluster(new) => {
                    (objects.cluster.as_ref().map(|old| old.meta.version), new.meta.version)
                }
                Change::Node(new) => {
                    (objects.nodes.get(&new.id).map(|old| old.meta.version), new.meta.version)
                }
            };
            if present.unwrap_or_default() != made_from {
                return Err(conflict());
            }
        }
        objects.index += 1;
        let meta = Meta { version: Version(objects.index), ..Meta::default() };
        for change in changes {
            match change {
                Change::Cluster(new) => {
                    objects.cluster = Some(Arc::new(Cluster { meta, ..Cluster::clone(&new) }));
                }
                Change::Node(new) => {
                    objects.nodes.insert(new.id, Arc::new(Node { meta, ..Node::clone(&new) }));
                }
            }
        }
        self.changed.send_replace(objects.index);
        Ok(())
    }

    pub(crate) fn remove(&self, node: NodeId) {
        let mut objects = self.objects.lock().unwrap();
        objects.nodes.remove(&node).unwrap();
        objects.index += 1;
        self.changed.send_replace(objects.index);
    }
}

impl CaStore for Memory {
    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.objects.lock().unwrap().cluster.clone()
    }

    fn node(&self, id: NodeId) -> Option<Arc<Node>> {
        self.objects.lock().unwrap().nodes.get(&id).cloned()
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        self.objects.lock().unwrap().nodes.values().cloned().collect()
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(std::future::ready(self.apply(changes)))
    }
}

pub(crate) struct Rig {
    pub(crate) store: Arc<Memory>,
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
        let cluster = Cluster {
            id: ClusterId::from_bytes([1; 16]),
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            root: configure::initial(now, &SystemRandom).unwrap(),
            default_address_pool: Vec::new(),
            subnet_size: 24,
            data_path_port: 4789,
            unlock_key: Vec::new(),
            unlock_key_version: 0,
            revoked: Vec::new(),
            feature_level: 1,
        };
        let directory = tempfile::tempdir().unwrap();
        let id = NodeId::from_bytes([9; 16]);
        let stored = sign(&cluster, id, NodeRole::Manager, now);
        let mut manager = node(id, NodeRole::Manager);
        manager.certificate.chain = stored.chain.clone().into_bytes();
        let store = Arc::new(Memory { objects: Mutex::default(), changed: watch::Sender::new(0) });
        store
            .apply(vec![Change::Cluster(Arc::new(cluster)), Change::Node(Arc::new(manager))])
            .unwrap();
        let files = files(&directory.path().join("manager"));
        files.save(&stored, None).unwrap();
        let keeper = Keeper::new(files, stored, None, clock.clone()).unwrap();
        let (tasks, listener) = (Tasks::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap().to_string();
        let mut rig = Self { store, clock, random, keeper, address, tasks, directory };
        rig.serve(listener);
        rig
    }

    /// Serves with `self.keeper`, and runs what a leader runs.
    fn serve(&mut self, listener: TcpListener) {
        let credentials = self.keeper.credentials();
        let service = CaServer::new(self.store.clone(), self.clock.clone(), self.random.clone());
        let incoming = listen::accept(listener, credentials, &self.tasks);
        let serving = listen::server(credentials).add_service(CaService::new(service));
        self.tasks.spawn_fallible(TaskKind::ClusterListener, serving.serve_with_incoming(incoming));
        let signing = Signing {
            store: self.store.clone(),
            credentials: credentials.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        self.tasks.spawn(TaskKind::LeaderLoop, signing.run());
        let turn = Turn {
            store: self.store.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        self.tasks.spawn(TaskKind::LeaderLoop, turn.run());
        let following = follow::run(self.store.clone(), self.keeper.clone());
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
        self.store.cluster().unwrap()
    }

    pub(crate) fn change_cluster(&self, change: impl FnOnce(&mut Cluster)) {
        let mut cluster = Cluster::clone(&self.cluster());
        change(&mut cluster);
        self.store.apply(vec![Change::Cluster(Arc::new(cluster))]).unwrap();
    }

    /// As `swarm update` and `swarm ca --rotate` would.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut CaConfig)) {
        let now = self.clock.now();
        self.change_cluster(|cluster| {
            change(&mut cluster.spec.ca);
            let plan = configure::configure(cluster, now, &SystemRandom).unwrap();
            cluster.root = plan.root;
        });
    }

    pub(crate) fn change_node(&self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let mut node = Node::clone(&self.store.node(id).unwrap());
        change(&mut node);
        self.store.apply(vec![Change::Node(Arc::new(node))]).unwrap();
    }

    /// What a session does for a node: gives it the roots, and stores what it says of itself.
    pub(crate) fn report(&self, keeper: &Keeper) {
        keeper.trust(&issue::trust_bundle(&self.cluster().root)).unwrap();
        let current = keeper.credentials().current();
        let certificates = pem::certificates(current.chain.as_bytes()).unwrap();
        let (issuer_subject, issuer_public_key) =
            chain::issuer(&certificates, &current.trust.bundle).unwrap();
        let trust_root = current.trust.bundle.clone();
        self.change_node(current.identity.node, |node| {
            node.description = Some(NodeDescription {
                trust_root,
                issuer_subject,
                issuer_public_key,
                ..NodeDescription::default()
            });
        });
    }

    pub(crate) fn store_node(&self, id: NodeId) -> Node {
        Node::clone(&self.store.node(id).unwrap())
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
        let mut follow = self.store.follow();
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
        id,
        meta: Meta::default(),
        spec: NodeSpec { role, ..NodeSpec::default() },
        role,
        description: None,
        status: NodeStatus::default(),
        certificate: NodeCertificate { state: IssueState::Issued, role, ..Default::default() },
        manager: None,
        mesh_index: None,
        data_path: None,
        failures: Vec::new(),
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
