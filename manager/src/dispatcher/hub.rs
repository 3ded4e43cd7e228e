//! The sessions of this manager, and which of them a change of the store concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_manager_core::assignment::{Key, Touched, concerns_node};
use shoal_manager_core::control::networks::ingress;
use shoal_manager_core::liveness;
use shoal_manager_core::mesh;
use shoal_manager_core::store::{Event, State};
use shoal_manager_core::view::data_path;
use shoal_model::cluster::{Cluster, ClusterNetworkId, Node, NodeId, SessionId};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::drain::{Aim, Applied, Progress};
use super::liveness::Leading;
use crate::ca::issue::trust_bundle;
use crate::store::Store;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) node: NodeId,
    /// The period that the node was told.
    pub(super) period: Duration,
    inbox: Mutex<Inbox>,
    progress: Mutex<Progress>,
    /// Something is dirty.
    pub(super) changed: Notify,
    /// What the session says of managers, root or node may differ.
    pub(super) refresh: Notify,
    /// It is over.
    pub(super) ended: CancellationToken,
}

#[derive(Debug)]
struct Inbox {
    dirty: Dirty,
    /// Of the stream of assignments that is served.
    stream: CancellationToken,
}

/// What may have changed for a session.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) touched: BTreeSet<Touched>,
    /// Views of these networks may have changed.
    pub(super) views: BTreeSet<ClusterNetworkId>,
    /// The node has something else than it was told of these networks.
    pub(super) differing: BTreeSet<ClusterNetworkId>,
    /// Changes were missed: everything may have.
    pub(super) everything: bool,
}

impl Session {
    pub(super) fn new(id: SessionId, node: NodeId, period: Duration) -> Self {
        let ended = CancellationToken::new();
        let inbox = Inbox { dirty: Dirty::default(), stream: ended.child_token() };
        Self {
            id,
            node,
            period,
            inbox: Mutex::new(inbox),
            progress: Mutex::default(),
            changed: Notify::new(),
            refresh: Notify::new(),
            ended,
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a stream of assignments: that before it is over. What is dirty now is part of any view that is taken after.
    pub(super) fn begin_stream(&self) -> CancellationToken {
        let stream = self.ended.child_token();
        let mut inbox = self.inbox();
        std::mem::replace(&mut inbox.stream, stream.clone()).cancel();
        inbox.dirty = Dirty::default();
        stream
    }

    /// What may have changed since the last call. `None`: the stream is over, and it is another's to know.
    pub(super) fn take(&self, stream: &CancellationToken) -> Option<Dirty> {
        // A newer stream ends the older one under this lock.
        let mut inbox = self.inbox();
        (!stream.is_cancelled()).then(|| std::mem::take(&mut inbox.dirty))
    }

    /// How far the node is with views.
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node has something else than it was told of a network.
    pub(super) fn differs(&self, network: ClusterNetworkId) {
        let mut inbox = self.inbox();
        inbox.dirty.differing.insert(network);
        inbox.dirty.views.insert(network);
        drop(inbox);
        self.changed.notify_one();
    }

    fn touch(&self, touched: Touched) {
        self.inbox().dirty.touched.insert(touched);
        self.changed.notify_one();
    }

    fn touch_view(&self, network: ClusterNetworkId) {
        self.inbox().dirty.views.insert(network);
        self.changed.notify_one();
    }

    fn touch_everything(&self) {
        self.inbox().dirty.everything = true;
        self.changed.notify_one();
        self.refresh.notify_one();
    }
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: BTreeMap<SessionId, Arc<Session>>,
    by_node: BTreeMap<NodeId, Arc<Session>>,
    /// Sessions whose tasks need an object.
    holders: BTreeMap<Key, BTreeMap<SessionId, Arc<Session>>>,
    /// The same by session.
    held: BTreeMap<SessionId, BTreeSet<Key>>,
}

impl Sessions {
    fn remove(&mut self, id: SessionId) -> Option<Arc<Session>> {
        for key in self.held.remove(&id).unwrap_or_default() {
            self.release(key, id);
        }
        self.by_id.remove(&id)
    }

    fn release(&mut self, key: Key, id: SessionId) {
        if let Some(holders) = self.holders.get_mut(&key) {
            holders.remove(&id);
            if holders.is_empty() {
                self.holders.remove(&key);
            }
        }
    }
}

/// All sessions of this manager.
#[derive(Debug, Default)]
pub(super) struct Hub {
    sessions: Mutex<Sessions>,
    /// Changes whenever a session got further with views, or ended.
    moved: watch::Sender<()>,
}

impl Hub {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.sessions().by_id.len()
    }

    /// Takes a session in; the one that its node had here is over.
    pub(super) fn add(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions();
        if let Some(before) = sessions.by_node.insert(session.node, Arc::clone(session)) {
            sessions.remove(before.id);
            before.ended.cancel();
        }
        sessions.by_id.insert(session.id, Arc::clone(session));
    }

    /// Whether the session is served here.
    pub(super) fn has(&self, id: SessionId) -> bool {
        self.sessions().by_id.contains_key(&id)
    }

    /// The session of a node; `None`: there is none with that id, or it is another node's.
    pub(super) fn get(&self, id: SessionId, node: NodeId) -> Option<Arc<Session>> {
        self.sessions().by_id.get(&id).filter(|session| session.node == node).cloned()
    }

    /// Ends a session, if it is here.
    pub(super) fn end(&self, id: SessionId) {
        let mut sessions = self.sessions();
        if let Some(session) = sessions.remove(id) {
            if sessions.by_node.get(&session.node).is_some_and(|current| current.id == id) {
                sessions.by_node.remove(&session.node);
            }
            session.ended.cancel();
        }
        drop(sessions);
        self.note_progress();
    }

    /// A session got further with views, or is over.
    pub(super) fn note_progress(&self) {
        self.moved.send_replace(());
    }

    /// Has all sessions look whether something changed for them.
    pub(super) fn wake_all(&self) {
        for session in self.all() {
            session.changed.notify_one();
        }
    }

    /// What nodes have of a network.
    pub(super) fn applied(&self, network: ClusterNetworkId) -> Vec<(NodeId, Applied)> {
        let all = self.all();
        let of = |session: &Arc<Session>| {
            session.progress().of(network).map(|applied| (session.node, applied.clone()))
        };
        all.iter().filter_map(of).collect()
    }

    /// Waits until all sessions have put networks into effect as they were at an index; the nodes that have not when
    /// the patience is over.
    pub(super) async fn reach(
        &self,
        clock: &SharedClock,
        aim: &Aim,
        patience: Duration,
    ) -> BTreeSet<NodeId> {
        let mut moved = self.moved.subscribe();
        let deadline = clock.sleep(patience);
        tokio::pin!(deadline);
        loop {
            moved.mark_unchanged();
            let mut behind = BTreeSet::new();
            for session in self.all() {
                let progress = session.progress();
                if progress.reaches(aim) {
                    continue;
                }
                behind.insert(session.node);
                let unseen: Vec<_> = progress.unseen(aim).collect();
                drop(progress);
                // Whoever holds a network is woken by its changes, but not by what came after and counts in the aim, too.
                unseen.into_iter().for_each(|network| session.touch_view(network));
            }
            if behind.is_empty() {
                return behind;
            }
            tokio::select! {
                changed = moved.changed() => if changed.is_err() { return behind },
                () = &mut deadline => return behind,
            }
        }
    }

    /// Waits until there is no session.
    pub(super) async fn empty(&self) {
        let mut moved = self.moved.subscribe();
        while self.count() > 0 && moved.changed().await.is_ok() {}
    }

    /// Ends all sessions.
    pub(super) fn end_all(&self) {
        for session in self.all() {
            self.end(session.id);
        }
    }

    /// Changes of these objects are told to the session from now on, and of no others. Gives those that are new: what
    /// changed of them before went unnoticed. A session that is over holds nothing.
    pub(super) fn hold(
        &self,
        session: &Arc<Session>,
        keys: impl Iterator<Item = Key>,
    ) -> BTreeSet<Key> {
        let keys: BTreeSet<Key> = keys.collect();
        let mut sessions = self.sessions();
        if !sessions.by_id.contains_key(&session.id) {
            return BTreeSet::new();
        }
        let before = sessions.held.remove(&session.id).unwrap_or_default();
        let fresh: BTreeSet<Key> = keys.difference(&before).copied().collect();
        for key in before.difference(&keys) {
            sessions.release(*key, session.id);
        }
        for key in &fresh {
            sessions.holders.entry(*key).or_default().insert(session.id, Arc::clone(session));
        }
        if !keys.is_empty() {
            sessions.held.insert(session.id, keys);
        }
        fresh
    }

    /// The sessions whose tasks need an object.
    fn holding(&self, key: Key) -> Vec<Arc<Session>> {
        let sessions = self.sessions();
        sessions.holders.get(&key).map(|it| it.values().cloned().collect()).unwrap_or_default()
    }

    fn of_node(&self, node: NodeId) -> Option<Arc<Session>> {
        self.sessions().by_node.get(&node).cloned()
    }

    fn all(&self) -> Vec<Arc<Session>> {
        self.sessions().by_id.values().cloned().collect()
    }
}

/// Follows the store's changes and wakes the sessions that they concern.
pub(super) async fn follow(store: Store, hub: Arc<Hub>, leading: Arc<Leading>) {
    loop {
        let (_, mut subscription) = store.watch();
        for session in hub.all() {
            session.touch_everything();
        }
        loop {
            let Ok(batches) = subscription.next().await else {
                tracing::warn!("changes of the store were missed; looking at all sessions");
                break;
            };
            let view = store.view();
            let mut networks = BTreeSet::new();
            for event in batches.iter().flat_map(|batch| &batch.events) {
                route(&view, &hub, &leading, event);
                networks_of(&view, event, &mut networks);
            }
            for network in networks {
                for session in hub.holding(Key::Network(network)) {
                    session.touch_view(network);
                }
            }
        }
    }
}

fn route(view: &State, hub: &Hub, leading: &Leading, event: &Event) {
    match event {
        Event::Task(diff) if !concerns_node(diff) => {}
        Event::Task(diff) => {
            let tasks = diff.old.iter().chain(&diff.new);
            for (node, id) in tasks.filter_map(|task| Some((task.node?, task.id))) {
                if let Some(session) = hub.of_node(node) {
                    session.touch(Touched::Task(id));
                }
            }
        }
        Event::Service(diff) => {
            let policy = |service: &Option<Arc<shoal_model::cluster::Service>>| {
                service.as_ref().and_then(|service| service.spec.extensions.on_disconnect)
            };
            if let (Some(_), Some(new)) = (&diff.old, &diff.new)
                && policy(&diff.old) != policy(&diff.new)
            {
                let nodes: BTreeSet<_> =
                    view.tasks_of_service(new.id).filter_map(|task| task.node).collect();
                for session in nodes.into_iter().filter_map(|node| hub.of_node(node)) {
                    session.touch(Touched::Service(new.id));
                }
            }
        }
        Event::Secret(diff) => touch_holders(hub, diff.latest().map(|it| Key::Secret(it.id))),
        Event::Config(diff) => touch_holders(hub, diff.latest().map(|it| Key::Config(it.id))),
        // Every node needs that of the routing mesh, also one that is new.
        Event::Network(diff) if diff.latest().is_some_and(|network| network.spec.ingress) => {
            if let Some(network) = diff.latest() {
                hub.all().iter().for_each(|session| session.touch(Touched::Network(network.id)));
            }
        }
        Event::Network(diff) => touch_holders(hub, diff.latest().map(|it| Key::Network(it.id))),
        Event::Node(diff) => node(hub, leading, diff.old.as_deref(), diff.new.as_deref()),
        Event::Cluster(diff) => {
            let says = |cluster: &Option<Arc<Cluster>>| {
                cluster.as_ref().map(|it| (trust_bundle(&it.root), it.spec.heartbeat_period))
            };
            if says(&diff.old) != says(&diff.new) {
                refresh_all(hub);
            }
        }
    }
}

/// The networks whose view an event may change.
fn networks_of(view: &State, event: &Event, networks: &mut BTreeSet<ClusterNetworkId>) {
    match event {
        Event::Task(diff) => {
            let tasks = diff.old.iter().chain(&diff.new);
            networks.extend(tasks.flat_map(|task| &task.networks).map(|one| one.network));
        }
        Event::Service(diff) => {
            let endpoints = diff.old.iter().chain(&diff.new).filter_map(|it| it.endpoint.as_ref());
            networks.extend(endpoints.flat_map(|one| &one.virtual_ips).map(|vip| vip.network));
        }
        Event::Node(diff) => {
            let path = |node: &Option<Arc<Node>>| node.as_deref().and_then(data_path);
            let state = |node: &Option<Arc<Node>>| node.as_deref().map(|node| node.status.state);
            if mesh::concerns(diff.old.as_deref(), diff.new.as_deref()) {
                networks.extend(ingress(view).map(|network| network.id));
            }
            if path(&diff.old) != path(&diff.new) || state(&diff.old) != state(&diff.new) {
                let node = diff.old.iter().chain(&diff.new).next().map(|node| node.id);
                let tasks = node.into_iter().flat_map(|node| view.tasks_on_node(node));
                networks.extend(tasks.flat_map(|task| &task.networks).map(|one| one.network));
            }
        }
        Event::Network(diff) => {
            let known = diff.latest().filter(|network| network.spec.ingress);
            networks.extend(known.map(|network| network.id));
        }
        Event::Cluster(_) | Event::Secret(_) | Event::Config(_) => {}
    }
}

fn touch_holders(hub: &Hub, key: Option<Key>) {
    let Some(key) = key else { return };
    for session in hub.holding(key) {
        session.touch(key.into());
    }
}

fn refresh_all(hub: &Hub) {
    for session in hub.all() {
        session.refresh.notify_one();
    }
}

fn node(hub: &Hub, leading: &Leading, old: Option<&Node>, new: Option<&Node>) {
    let manager = |node: Option<&Node>| node.and_then(|node| node.manager.clone());
    if manager(old) != manager(new) {
        refresh_all(hub);
    }
    match (old, new) {
        (Some(old), None) => {
            leading.step(&[liveness::Event::Removed { node: old.id }]);
            if let Some(session) = hub.of_node(old.id) {
                hub.end(session.id);
            }
        }
        (Some(old), Some(new))
            if old.spec != new.spec
                || old.role != new.role
                || old.certificate.state != new.certificate.state =>
        {
            if let Some(session) = hub.of_node(new.id) {
                session.refresh.notify_one();
            }
        }
        _ => {}
    }
}
