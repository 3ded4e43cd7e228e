//! Tasks that are to stop leave load balancing first.
//!
//! Whoever serves the node of such a task holds the wish back until every live session, of this manager and of the
//! others, has put into effect that the task gets no connections any more; or until the time that the
//! cluster gives them is over. A node
//! without a session is not waited for. Nothing of it goes through consensus: another manager that takes the session
//! over finds the same wish in the store and waits anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use shoal_base::tasks::TaskKind;
use shoal_manager_core::assignment::{Source, Touched};
use shoal_manager_core::store::State;
use shoal_model::cluster::node::NodeState;
use shoal_model::cluster::service::OnDisconnect;
use shoal_model::cluster::{
    ClusterNetwork, ClusterNetworkId, ClusterSpec, Config, ConfigId, NodeId, Secret, SecretId,
    ServiceId, Task, TaskId, TaskState,
};
use shoal_model::error::Failure;
use shoal_proto::codec;
use shoal_proto::dispatcher::{AwaitViewsRequest, AwaitViewsResponse};
use tokio_util::sync::CancellationToken;

use super::Dispatcher;
use super::views::Seen;
use crate::consensus::Leader;

/// What is waited for: the networks as they are at an index.
pub(super) type Aim = (u64, BTreeSet<ClusterNetworkId>);

/// Waits that are under way, so that the tasks of one commit share one.
#[derive(Debug, Default)]
pub(super) struct Waits {
    open: Mutex<BTreeMap<Aim, CancellationToken>>,
}

/// The tasks of one session whose wish is held back.
#[derive(Debug, Default)]
pub(super) struct Held {
    waiting: BTreeMap<TaskId, CancellationToken>,
    /// Of those the node is told; it is not held back again.
    released: BTreeSet<TaskId>,
}

impl Held {
    /// Begins to hold back what `touched` newly wants to stop. Answers what is no longer held back.
    pub(super) fn advance(
        &mut self,
        dispatcher: &Dispatcher,
        state: &State,
        node: NodeId,
        touched: &BTreeSet<Touched>,
    ) -> BTreeSet<Touched> {
        let over = |id: &TaskId| state.task(*id).is_none_or(|task| !drains(task, node));
        let (waiting, free): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(id, done)| !done.is_cancelled() && !over(id));
        self.waiting = waiting;
        self.released.extend(free.keys());
        self.released.retain(|id| !over(id));
        let mut starting = BTreeMap::<BTreeSet<ClusterNetworkId>, Vec<TaskId>>::new();
        for touched in touched {
            let Touched::Task(id) = touched else { continue };
            let known = self.waiting.contains_key(id) || self.released.contains(id);
            let task = state.task(*id).filter(|task| !known && drains(task, node));
            if let Some(task) = task {
                starting.entry(networks(task)).or_default().push(*id);
            }
        }
        for (networks, tasks) in starting {
            let done = dispatcher.wait_for((state.index(), networks));
            self.waiting.extend(tasks.into_iter().map(|id| (id, done.clone())));
        }
        free.into_keys().map(Touched::Task).collect()
    }

    /// The store as the node is told of it.
    pub(super) fn shown<'a>(&'a self, state: &'a State) -> Shown<'a> {
        Shown { state, held: self }
    }
}

/// Runs, is to stop, and may have connections.
fn drains(task: &Task, node: NodeId) -> bool {
    task.node == Some(node)
        && task.status.state == TaskState::Running
        && task.desired > TaskState::Running
        && !networks(task).is_empty()
}

/// Those on which others reach it.
fn networks(task: &Task) -> BTreeSet<ClusterNetworkId> {
    let attached = task.networks.iter().filter(|attachment| !attachment.addresses.is_empty());
    attached.map(|attachment| attachment.network).collect()
}

/// The store, where held back tasks still are to run.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    state: &'a State,
    held: &'a Held,
}

impl Shown<'_> {
    fn show(&self, task: &Arc<Task>) -> Arc<Task> {
        if self.held.waiting.contains_key(&task.id) {
            Arc::new(Task { desired: TaskState::Running, ..Task::clone(task) })
        } else {
            Arc::clone(task)
        }
    }
}

impl Source for Shown<'_> {
    fn task(&self, id: TaskId) -> Option<Arc<Task>> {
        self.state.task(id).map(|task| self.show(task))
    }

    fn tasks_on_node(&self, node: NodeId) -> Vec<Arc<Task>> {
        self.state.tasks_on_node(node).map(|task| self.show(task)).collect()
    }

    fn secret(&self, id: SecretId) -> Option<Arc<Secret>> {
        Source::secret(self.state, id)
    }

    fn config(&self, id: ConfigId) -> Option<Arc<Config>> {
        Source::config(self.state, id)
    }

    fn network(&self, id: ClusterNetworkId) -> Option<Arc<ClusterNetwork>> {
        Source::network(self.state, id)
    }

    fn ingress(&self) -> Option<ClusterNetworkId> {
        Source::ingress(self.state)
    }

    fn on_disconnect(&self, service: ServiceId) -> OnDisconnect {
        Source::on_disconnect(self.state, service)
    }
}

impl Dispatcher {
    /// Longest wait for nodes that are slow to put a view into effect.
    pub(super) fn patience(&self) -> Duration {
        let view = self.store.view();
        view.cluster()
            .map_or_else(|| ClusterSpec::default().drain_wait, |cluster| cluster.spec.drain_wait)
    }

    /// Cancelled once the aim is reached, or given up.
    fn wait_for(&self, aim: Aim) -> CancellationToken {
        let mut open = self.waits.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = open.get(&aim) {
            return done.clone();
        }
        let done = CancellationToken::new();
        open.insert(aim.clone(), done.clone());
        drop(open);
        let (dispatcher, cancel) = (self.clone(), done.clone());
        self.tasks.spawn(TaskKind::WorkerSession, async move {
            let late = dispatcher.reach(&aim).await;
            if !late.is_empty() {
                let nodes: Vec<String> = late.iter().map(ToString::to_string).collect();
                tracing::warn!(
                    nodes = nodes.join(" "),
                    "tasks are stopped although nodes may still send connections to them"
                );
            }
            let waits = &dispatcher.waits;
            waits.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&aim);
            cancel.cancel();
            dispatcher.hub.wake_all();
        });
        done
    }

    fn other_managers(&self) -> Vec<Leader> {
        let view = self.store.view();
        let managers = view.managers().filter(|node| node.id != self.own);
        let managers = managers.filter(|node| node.status.state != NodeState::Down);
        let reached = managers.filter_map(|node| {
            let address = node.manager.as_ref()?.address.to_string();
            Some(Leader { node: node.id, address })
        });
        reached.collect()
    }

    /// Waits for the sessions of all managers; the nodes that did not answer in time.
    async fn reach(&self, aim: &Aim) -> BTreeSet<NodeId> {
        let managers = self.other_managers();
        let others = managers.iter().map(|manager| self.ask(manager, aim));
        let (mut late, others) = futures_util::join!(
            self.hub.reach(&self.clock, aim, self.patience()),
            join_all(others)
        );
        for (manager, answer) in managers.iter().zip(others) {
            match answer {
                Ok(nodes) => late.extend(nodes),
                // Its nodes find another manager.
                Err(error) => {
                    let manager = manager.node;
                    tracing::info!(%manager, %error, "not waiting for the nodes of a manager");
                }
            }
        }
        late
    }

    /// What all nodes have of a network, as far as their managers answer.
    pub async fn applied_views(&self, network: ClusterNetworkId) -> BTreeMap<NodeId, (u64, Bytes)> {
        let mut all: BTreeMap<_, _> = self
            .hub
            .applied(network)
            .into_iter()
            .map(|(node, applied)| (node, (applied.version, applied.digest)))
            .collect();
        let (managers, aim) = (self.other_managers(), (0, BTreeSet::from([network])));
        for answer in join_all(managers.iter().map(|manager| self.call(manager, &aim))).await {
            let nodes = answer.map(|answer| answer.nodes).unwrap_or_default();
            for shown in nodes {
                let Some(applied) = shown.applied else { continue };
                if let Ok(id) = codec::id(&shown.node) {
                    all.insert(NodeId::from_bytes(id), (applied.version, applied.digest));
                }
            }
        }
        all
    }

    async fn ask(&self, manager: &Leader, aim: &Aim) -> Result<Vec<NodeId>, Failure> {
        let answer = self.call(manager, aim).await?;
        let nodes = answer.late.iter().filter_map(|id| codec::id(id).ok());
        Ok(nodes.map(NodeId::from_bytes).collect())
    }

    async fn call(
        &self,
        manager: &Leader,
        (index, networks): &Aim,
    ) -> Result<AwaitViewsResponse, Failure> {
        let patience = self.patience();
        // A little less, so that its answer, which names the nodes that are late, comes in time.
        let granted = patience - patience / 10;
        let request = AwaitViewsRequest {
            networks: networks.iter().map(|id| id.to_bytes().to_vec().into()).collect(),
            index: *index,
            patience_ms: u64::try_from(granted.as_millis()).unwrap_or(u64::MAX),
        };
        let call = self.managers.await_views(manager, request);
        tokio::select! {
            answer = call => answer,
            () = self.clock.sleep(patience) => {
                let text = format!("manager `{}` did not answer", manager.address);
                Err(Failure::new(shoal_model::ErrorKind::Unavailable, text))
            }
        }
    }
}

/// What a session was told of views, and what its node has put into effect.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// `None`: nothing yet.
    told: Option<BTreeMap<ClusterNetworkId, Seen>>,
    applied: BTreeMap<ClusterNetworkId, Applied>,
}

/// A view that a node has put into effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) version: u64,
    pub(super) digest: Bytes,
}

impl Progress {
    /// The session was told these views.
    pub(super) fn told(&mut self, seen: &BTreeMap<ClusterNetworkId, Seen>) {
        self.told = Some(seen.clone());
        self.applied.retain(|network, _| seen.contains_key(network));
    }

    /// The node has put views into effect.
    pub(super) fn applied(&mut self, views: impl Iterator<Item = (ClusterNetworkId, Applied)>) {
        self.applied.extend(views);
    }

    /// What the node has of a network; `None`: nothing.
    pub(super) fn of(&self, network: ClusterNetworkId) -> Option<&Applied> {
        self.applied.get(&network)
    }

    /// Whether the networks are in effect as they were at an index, or later.
    pub(super) fn reaches(&self, (index, networks): &Aim) -> bool {
        let Some(told) = &self.told else { return false };
        networks.iter().all(|network| {
            let applied = self.applied.get(network).map(|applied| applied.version);
            match told.get(network) {
                _ if applied.is_some_and(|applied| applied >= *index) => true,
                Some(seen) => seen.index >= *index && applied >= Some(seen.version),
                // The node does not hold the network, so that nobody wakes its session because of it.
                None => true,
            }
        })
    }

    /// Those of the networks that were not looked at since an index.
    pub(super) fn unseen<'a>(
        &'a self,
        (index, networks): &'a Aim,
    ) -> impl Iterator<Item = ClusterNetworkId> + 'a {
        let held = self.told.iter().flatten();
        let old = held.filter(move |(_, seen)| seen.index < *index);
        old.map(|(network, _)| *network).filter(move |network| networks.contains(network))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use shoal_model::cluster::SessionId;

    use super::super::hub::{Hub, Session};
    use super::*;

    fn net(number: u8) -> ClusterNetworkId {
        ClusterNetworkId::from_bytes([number; 16])
    }

    #[test]
    fn a_view_is_in_effect_when_the_node_has_the_last_one_that_it_was_told() {
        let mut progress = Progress::default();
        let aim = |index| (index, BTreeSet::from([net(1)]));
        let applied = |version| [(net(1), Applied { version, ..Applied::default() })].into_iter();
        let told = |version, index| BTreeMap::from([(net(1), Seen { version, index })]);
        assert!(!progress.reaches(&aim(5)), "a session that was told nothing yet");
        progress.told(&told(3, 4));
        progress.applied(applied(3));
        assert!(progress.reaches(&aim(3)) && progress.reaches(&aim(4)));
        assert!(!progress.reaches(&aim(5)), "it has not been told of that");
        assert_eq!(progress.unseen(&aim(5)).collect::<Vec<_>>(), [net(1)]);
        progress.told(&told(3, 5));
        assert!(progress.reaches(&aim(5)), "the network was the same");
        assert_eq!(progress.unseen(&aim(5)).count(), 0);
        progress.told(&told(7, 7));
        assert!(!progress.reaches(&aim(7)));
        progress.applied(applied(7));
        assert!(progress.reaches(&aim(7)));
        progress.told(&told(9, 9));
        assert!(progress.reaches(&aim(6)), "what came after does not matter");
        progress.told(&BTreeMap::new());
        assert!(progress.reaches(&aim(10)), "it left the network");
        assert_eq!(progress.unseen(&aim(10)).count(), 0);
    }

    #[tokio::test]
    async fn without_sessions_there_is_nobody_to_wait_for() {
        let (hub, id) = (Hub::default(), SessionId::from_bytes([1; 16]));
        let session = Session::new(id, NodeId::from_bytes([2; 16]), Duration::from_secs(5));
        hub.add(&Arc::new(session));
        let mut empty = Box::pin(hub.empty());
        assert!(empty.as_mut().now_or_never().is_none());
        hub.end(id);
        empty.await;
    }
}
