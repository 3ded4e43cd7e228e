//! Signs of life: gathered by every manager, sent to the leader, decided there by the pure
//! [`shoal_manager_core::liveness::Liveness`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use shoal_base::SharedClock;
use shoal_manager_core::liveness::{Effect, Event, Known, Liveness};
use shoal_manager_core::store::{Rejected, State, Txn};
use shoal_model::cluster::node::NodeState;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{ClusterSpec, Node, NodeId, SessionId, TaskState};
use shoal_model::error::{Chain, ErrorKind, Failure};
use shoal_proto::codec;
use shoal_proto::dispatcher::beat::Kind;
use shoal_proto::dispatcher::liveness_client::LivenessClient;
use shoal_proto::dispatcher::{
    AwaitViewsRequest, AwaitViewsResponse, Beat, ReportRequest, ReportResponse,
};
use tokio::sync::Notify;
use tonic::transport::Channel;

use super::hub::Hub;
use super::monotonic;
use crate::consensus::Leader;
use crate::store::forward::{CALL_TIMEOUT, Channels};
use crate::store::{self, Store};

/// Beats that come within this time travel together.
const PERIOD: Duration = Duration::from_millis(100);
/// Before a commit that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Calls other managers.
pub trait ReachManagers: Debug + Send + Sync + 'static {
    /// Sends a report to the leader.
    fn report(
        &self,
        leader: &Leader,
        request: ReportRequest,
    ) -> BoxFuture<'static, Result<ReportResponse, Failure>>;

    /// Waits for the sessions of a manager, for the patience that the request grants them.
    fn await_views(
        &self,
        manager: &Leader,
        request: AwaitViewsRequest,
    ) -> BoxFuture<'static, Result<AwaitViewsResponse, Failure>>;
}

/// Reaches managers by gRPC.
#[derive(Debug, Clone)]
pub struct Remote {
    channels: Arc<dyn Channels>,
    clock: SharedClock,
}

impl Remote {
    /// Over connections of `channels`.
    pub fn new(channels: Arc<dyn Channels>, clock: SharedClock) -> Self {
        Self { channels, clock }
    }
}

impl ReachManagers for Remote {
    fn report(
        &self,
        leader: &Leader,
        request: ReportRequest,
    ) -> BoxFuture<'static, Result<ReportResponse, Failure>> {
        self.call(leader, CALL_TIMEOUT, |mut client| async move { client.report(request).await })
    }

    fn await_views(
        &self,
        manager: &Leader,
        request: AwaitViewsRequest,
    ) -> BoxFuture<'static, Result<AwaitViewsResponse, Failure>> {
        let patience = Duration::from_millis(request.patience_ms).saturating_add(CALL_TIMEOUT);
        self.call(manager, patience, |mut client| async move { client.await_views(request).await })
    }
}

impl Remote {
    /// A manager that died without a word is noticed by its connection's keep-alive, should that be sooner.
    fn call<T, F>(
        &self,
        manager: &Leader,
        patience: Duration,
        call: impl FnOnce(LivenessClient<Channel>) -> F + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Failure>>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>> + Send,
    {
        let (channels, manager) = (Arc::clone(&self.channels), manager.clone());
        let timeout = self.clock.sleep(patience);
        let unavailable = |message: String| Failure::new(ErrorKind::Unavailable, message);
        Box::pin(async move {
            let called = async {
                let channel = channels.channel(&manager).await.map_err(|source| {
                    unavailable(format!("failed to reach `{}`: {source}", manager.address))
                })?;
                let answer = call(LivenessClient::new(channel)).await;
                answer.map(tonic::Response::into_inner).map_err(|status| {
                    let text = format!("`{}` refused: {}", manager.address, status.message());
                    unavailable(text)
                })
            };
            tokio::select! {
                answer = called => answer,
                () = timeout => Err(unavailable(format!("`{}` did not answer", manager.address))),
            }
        })
    }
}

/// Beats that wait for the leader: one per session, registrations before heartbeats.
#[derive(Debug, Default)]
pub(super) struct Beats {
    waiting: Mutex<BTreeMap<SessionId, Event>>,
    arrived: Notify,
}

impl Beats {
    /// Takes a beat in. A heartbeat does not replace a registration: that one says more.
    pub(super) fn put(&self, session: SessionId, event: Event) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let registered = matches!(waiting.get(&session), Some(Event::Registered { .. }));
        if !(registered && matches!(event, Event::Heartbeat { .. })) {
            waiting.insert(session, event);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    fn take(&self) -> BTreeMap<SessionId, Event> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those that did not reach the leader, unless newer ones have come.
    fn put_back(&self, events: BTreeMap<SessionId, Event>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (session, event) in events {
            waiting.entry(session).or_insert(event);
        }
    }
}

/// What the leader decides with; nothing on other managers.
#[derive(Debug)]
pub(super) struct Leading {
    clock: SharedClock,
    state: Mutex<Option<Deciding>>,
    changed: Notify,
}

#[derive(Debug)]
struct Deciding {
    liveness: Liveness,
    effects: Vec<Effect>,
    /// Of these it is not known what becomes of a write: it may be committed yet, so that what the store says is not what
    /// it will say.
    uncertain: BTreeSet<NodeId>,
}

impl Deciding {
    const fn new(liveness: Liveness) -> Self {
        Self { liveness, effects: Vec::new(), uncertain: BTreeSet::new() }
    }
}

impl Leading {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, state: Mutex::new(None), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, Option<Deciding>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events in; the sessions that are over. `None`: this manager does not lead.
    pub(super) fn step(&self, events: &[Event]) -> Option<Vec<SessionId>> {
        let now = monotonic(&self.clock);
        let mut state = self.state();
        let deciding = state.as_mut()?;
        let mut effects = Vec::new();
        for event in events {
            deciding.liveness.step(now, *event, &mut effects);
        }
        let ended = effects.iter().filter_map(|effect| match effect {
            Effect::End { session } => Some(*session),
            Effect::Ready { .. } | Effect::Down { .. } | Effect::Orphan { .. } => None,
        });
        let ended = ended.collect();
        effects.retain(|effect| !matches!(effect, Effect::End { .. }));
        let changed = !effects.is_empty() || !events.is_empty();
        deciding.effects.append(&mut effects);
        drop(state);
        if changed {
            self.changed.notify_one();
        }
        Some(ended)
    }

    /// How long there is nothing to decide and nothing to write.
    fn rest(&self) -> Duration {
        let now = monotonic(&self.clock);
        let state = self.state();
        let idle = state.as_ref().filter(|deciding| deciding.effects.is_empty());
        idle.map_or(Duration::ZERO, |deciding| deciding.liveness.next_deadline().since(now))
    }

    /// What must be written now. Of what could not be written before, that which still must.
    fn due(&self) -> Vec<Effect> {
        let now = monotonic(&self.clock);
        let mut state = self.state();
        let Some(Deciding { liveness, effects, .. }) = state.as_mut() else { return Vec::new() };
        liveness.step(now, Event::Tick, effects);
        effects.retain(|effect| !matches!(effect, Effect::End { .. }) && liveness.still(effect));
        effects.clone()
    }

    /// Nodes whose state must be written even where the store has it already.
    fn uncertain(&self) -> BTreeSet<NodeId> {
        self.state().as_ref().map(|deciding| deciding.uncertain.clone()).unwrap_or_default()
    }

    /// These, the first of what was due, are written, or it is not known whether they are.
    fn tried(&self, effects: &[Effect], is_written: bool) {
        let mut state = self.state();
        let Some(deciding) = state.as_mut() else { return };
        let nodes = effects.iter().filter_map(Effect::node);
        if is_written {
            deciding.uncertain = &deciding.uncertain - &nodes.collect();
            deciding.effects.drain(..effects.len());
        } else {
            deciding.uncertain.extend(nodes);
        }
    }
}

/// Decides until it is dropped.
pub(super) async fn lead(store: &Store, clock: &SharedClock, leading: &Leading) {
    struct Clear<'a>(&'a Leading);
    impl Drop for Clear<'_> {
        fn drop(&mut self) {
            *self.0.state() = None;
        }
    }
    let view = store.view();
    let liveness = begin(&view, clock);
    *leading.state() = Some(Deciding::new(liveness));
    let _clear = Clear(leading);
    loop {
        let rest = leading.rest();
        if rest.is_zero() {
            // Without a quorum no session can begin, so that silence says nothing of nodes. What is decided after such a
            // time is decided late, which the clocks notice.
            let decided = match store.read().await {
                Ok(_) => decide(store, leading).await,
                Err(error) => Err(error),
            };
            if let Err(error) = decided {
                tracing::info!(error = %Chain(&error), "liveness of nodes is not decided");
                clock.sleep(AGAIN).await;
            }
            continue;
        }
        tokio::select! {
            () = leading.changed.notified() => {}
            () = clock.sleep(rest) => {}
        }
    }
}

/// Decides what is due and commits it.
async fn decide(store: &Store, leading: &Leading) -> Result<(), store::Error> {
    let effects = leading.due();
    if effects.is_empty() {
        return Ok(());
    }
    let uncertain = leading.uncertain();
    let written =
        store.update(|txn| apply(txn, &effects, &uncertain).map_err(store::Error::from)).await;
    leading.tried(&effects, written.is_ok());
    for turned in written?.value {
        turned.log();
    }
    Ok(())
}

/// Clocks of a leader that begins.
fn begin(view: &State, clock: &SharedClock) -> Liveness {
    let period = view.cluster().map_or_else(
        || ClusterSpec::default().heartbeat_period,
        |cluster| cluster.spec.heartbeat_period,
    );
    let now = clock.now();
    let known = view.nodes().filter(|node| node.status.state != NodeState::Unknown).map(|node| {
        let away = matches!(node.status.state, NodeState::Down | NodeState::Disconnected);
        Known {
            node: node.id,
            away: away.then(|| now.since(node.status.since)),
            ready: node.status.state == NodeState::Ready,
        }
    });
    Liveness::new(monotonic(clock), period, known)
}

/// A node whose state is another from now on.
#[derive(Debug)]
struct Turned {
    node: NodeId,
    hostname: String,
    state: NodeState,
    message: &'static str,
}

impl Turned {
    fn log(&self) {
        let Self { node, hostname, state, message } = self;
        if *state == NodeState::Down {
            tracing::warn!(%node, hostname, reason = message, "a node is down");
        } else {
            tracing::info!(%node, hostname, ?state, "a node has another state");
        }
    }
}

/// Puts decisions into a transaction. Nodes that are gone are skipped; of `uncertain` ones the state is written even where
/// the store has it: what was not known to be written, and says otherwise, cannot be committed after that.
fn apply(
    txn: &mut Txn,
    effects: &[Effect],
    uncertain: &BTreeSet<NodeId>,
) -> Result<Vec<Turned>, Rejected> {
    let mut turned = Vec::new();
    for effect in effects {
        let again = effect.node().is_some_and(|node| uncertain.contains(&node));
        match *effect {
            Effect::Ready { node } => turned.extend(set(txn, node, NodeState::Ready, "", again)?),
            Effect::Down { node } => {
                turned.extend(set(txn, node, NodeState::Down, "heartbeat failure", again)?);
            }
            Effect::Orphan { node } => orphan(txn, node)?,
            Effect::End { .. } => {}
        }
    }
    Ok(turned)
}

/// `None`: it was so before, or there is no such node.
fn set(
    txn: &mut Txn,
    id: NodeId,
    state: NodeState,
    message: &'static str,
    again: bool,
) -> Result<Option<Turned>, Rejected> {
    let Some(node) = txn.node(id).filter(|node| again || node.status.state != state) else {
        return Ok(None);
    };
    let mut node = Node::clone(node);
    let is_other = node.status.state != state;
    if is_other {
        node.status.state = state;
        message.clone_into(&mut node.status.message);
        node.status.since = txn.at();
    }
    let hostname = node.description.as_ref().map(|it| it.hostname.clone()).unwrap_or_default();
    txn.put_node(node)?;
    Ok(is_other.then_some(Turned { node: id, hostname, state, message }))
}

fn orphan(txn: &mut Txn, node: NodeId) -> Result<(), Rejected> {
    let running = TaskState::Assigned..=TaskState::Running;
    let tasks: Vec<_> = txn
        .tasks_on_node(node)
        .filter(|task| running.contains(&task.status.state))
        .map(|task| (task.id, task.status.clone()))
        .collect();
    for (id, status) in tasks {
        let status = TaskStatus {
            state: TaskState::Orphaned,
            at: txn.at(),
            message: "the node of the task was down for too long".to_owned(),
            ..status
        };
        txn.task_status(id, status)?;
    }
    Ok(())
}

/// Brings the beats of this manager's sessions to the leader.
pub(super) struct Reporter {
    pub(super) store: Store,
    pub(super) leader: Arc<dyn ReachManagers>,
    pub(super) clock: SharedClock,
    pub(super) hub: Arc<Hub>,
    pub(super) beats: Arc<Beats>,
    pub(super) leading: Arc<Leading>,
}

impl Reporter {
    pub(super) async fn run(self) {
        loop {
            self.beats.arrived.notified().await;
            self.clock.sleep(PERIOD).await;
            let mut events = self.beats.take();
            events.retain(|session, event| is_current(&self.hub, *session, event));
            if events.is_empty() {
                continue;
            }
            if let Err(error) = self.report(&events).await {
                tracing::debug!(%error, "signs of life did not reach the leader");
                self.beats.put_back(events);
                self.beats.arrived.notify_one();
            }
        }
    }

    async fn report(&self, events: &BTreeMap<SessionId, Event>) -> Result<(), Failure> {
        let list: Vec<_> = events.values().copied().collect();
        let ended = match self.leading.step(&list) {
            Some(ended) => ended,
            None => self.tell_leader(&list).await?,
        };
        for session in ended {
            self.hub.end(session);
        }
        Ok(())
    }

    async fn tell_leader(&self, events: &[Event]) -> Result<Vec<SessionId>, Failure> {
        let leader = self.store.leadership().borrow().leader.clone();
        let leader =
            leader.ok_or_else(|| Failure::new(ErrorKind::Unavailable, "no manager leads"))?;
        let request = ReportRequest {
            beats: events.iter().filter_map(to_beat).collect(),
            statuses: Vec::new(),
        };
        let response = self.leader.report(&leader, request).await?;
        let ids = response.ended.iter().filter_map(|id| codec::id(id).ok());
        Ok(ids.map(SessionId::from_bytes).collect())
    }
}

/// Whether a beat still says something: after a time without a leader its session may be over, and its node be served by
/// another manager, or be gone.
fn is_current(hub: &Hub, session: SessionId, event: &Event) -> bool {
    matches!(event, Event::Left { .. }) || hub.has(session)
}

fn to_beat(event: &Event) -> Option<Beat> {
    let (kind, node, session, period) = match *event {
        Event::Registered { node, session, period } => (Kind::Registered, node, session, period),
        Event::Heartbeat { node, session, period } => (Kind::Heartbeat, node, session, period),
        Event::Left { node, session } => (Kind::Left, node, session, Duration::ZERO),
        Event::Removed { .. } | Event::Tick => return None,
    };
    Some(Beat {
        node: node.to_bytes().to_vec().into(),
        session: session.to_bytes().to_vec().into(),
        kind: kind.into(),
        period_ms: u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
        ..Beat::default()
    })
}

/// Reads a beat of another manager.
pub(super) fn from_beat(beat: &Beat) -> Result<Event, codec::Error> {
    let node = NodeId::from_bytes(codec::id(&beat.node)?);
    let session = SessionId::from_bytes(codec::id(&beat.session)?);
    let period = Duration::from_millis(beat.period_ms);
    Ok(match beat.kind() {
        Kind::Registered => Event::Registered { node, session, period },
        Kind::Heartbeat => Event::Heartbeat { node, session, period },
        Kind::Left => Event::Left { node, session },
    })
}

#[cfg(test)]
mod tests;
