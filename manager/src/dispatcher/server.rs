//! The calls of workers, and of other managers.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use shoal_base::tasks::TaskKind;
use shoal_identity::PeerInfo;
use shoal_identity::authorize::caller;
use shoal_manager_core::assignment::{Change, Touched, Tracker};
use shoal_manager_core::liveness::{Event, jittered};
use shoal_manager_core::store::State;
use shoal_model::cluster::node::{NodeCertificate, NodeDescription};
use shoal_model::cluster::{ClusterNetworkId, ClusterSpec, Node, NodeId, SessionId, TaskId};
use shoal_model::error::Chain;
use shoal_proto::codec;
use shoal_proto::dispatcher::assignments_message::Kind as SetKind;
use shoal_proto::dispatcher::dispatcher_server::Dispatcher as Sessions;
use shoal_proto::dispatcher::liveness_server::Liveness;
use shoal_proto::dispatcher::{
    AcknowledgeViewsRequest, AcknowledgeViewsResponse, AppliedView, AssignmentsMessage,
    AssignmentsRequest, AttachRequest, AttachResponse, AwaitViewsRequest, AwaitViewsResponse,
    DetachRequest, DetachResponse, HeartbeatRequest, HeartbeatResponse, Manager, NodeView,
    ReportRequest, ReportResponse, SessionMessage, SessionRequest, UpdateDescriptionRequest,
    UpdateDescriptionResponse, UpdateStatusesRequest, UpdateStatusesResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Dispatcher;
use super::drain::{self, Applied, Held};
use super::encode::Encoder;
use super::hub::Session;
use super::statuses::Update;
use super::views::{Told, with_views};
use crate::ca::issue::trust_bundle;
use crate::store;

/// Changes that come within this time travel together.
const GATHER: Duration = Duration::from_millis(10);
/// Messages to a worker that does not read.
const QUEUE_MAX: usize = 16;

type Stream<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl Sessions for Dispatcher {
    type SessionStream = Stream<SessionMessage>;
    type AssignmentsStream = Stream<AssignmentsMessage>;

    async fn session(
        &self,
        request: Request<SessionRequest>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = caller(request.extensions())?.node;
        if self.cut_off.is_so() {
            return Err(Status::unavailable("this manager is cut off from the cluster"));
        }
        let address = request.extensions().get::<PeerInfo>().map(|peer| peer.address.ip());
        let description = codec::decode("node description", &request.into_inner().description)
            .map_err(bad_input)?;
        // Its complete set must hold all that other managers told it: what a lagging one lacks would be stopped.
        let view = self.store.read().await.map_err(store_failed)?;
        let limit = &self.limit;
        let admitted = limit.lock().unwrap_or_else(PoisonError::into_inner).admit(self.now(), node);
        if let Err(wait) = admitted {
            let text = format!("node `{node}` registers too often: wait {wait:?}");
            return Err(Status::resource_exhausted(text));
        }
        if view.node(node).is_none() {
            let text = format!("node `{node}` is not a member of the cluster");
            return Err(Status::permission_denied(text));
        }
        drop(view);
        self.describe(node, &description, address).await?;
        let mut id = [0; 16];
        self.random.fill(&mut id);
        let mut bits = [0; 4];
        self.random.fill(&mut bits);
        let view = self.store.view();
        let wished = view.cluster().map_or_else(
            || ClusterSpec::default().heartbeat_period,
            |cluster| cluster.spec.heartbeat_period,
        );
        let period = jittered(wished, u32::from_be_bytes(bits));
        let session = Arc::new(Session::new(SessionId::from_bytes(id), node, period));
        self.hub.add(&session);
        self.beats.put(session.id, Event::Registered { node, session: session.id, period });
        tracing::info!(%node, session = %session.id, "session with worker began");
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let dispatcher = self.clone();
        self.tasks.spawn(TaskKind::WorkerSession, async move {
            dispatcher.talk(&session, &sender).await;
            dispatcher.hub.end(session.id);
            tracing::info!(%node, session = %session.id, "session with worker ended");
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn assignments(
        &self,
        request: Request<AssignmentsRequest>,
    ) -> Result<Response<Self::AssignmentsStream>, Status> {
        let node = caller(request.extensions())?.node;
        let session = self.find(node, &request.into_inner().session)?;
        let stream = session.begin_stream();
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let dispatcher = self.clone();
        self.tasks.spawn(TaskKind::WorkerSession, async move {
            let serving = dispatcher.assign(&session, &stream, &sender);
            tokio::select! {
                () = serving => {}
                () = stream.cancelled() => {}
                () = sender.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let node = caller(request.extensions())?.node;
        let request = request.into_inner();
        let session = self.find(node, &request.session)?;
        let (id, period) = (session.id, session.period);
        if request.leaving {
            self.beats.put(id, Event::Left { node, session: id });
            self.hub.end(id);
        } else {
            self.applied(&session, &request.applied)?;
            self.beats.put(id, Event::Heartbeat { node, session: id, period });
        }
        Ok(Response::new(HeartbeatResponse { period_ms: milliseconds(period) }))
    }

    async fn acknowledge_views(
        &self,
        request: Request<AcknowledgeViewsRequest>,
    ) -> Result<Response<AcknowledgeViewsResponse>, Status> {
        let node = caller(request.extensions())?.node;
        let request = request.into_inner();
        let session = self.find(node, &request.session)?;
        self.applied(&session, &request.applied)?;
        Ok(Response::new(AcknowledgeViewsResponse {}))
    }

    async fn attach(
        &self,
        request: Request<AttachRequest>,
    ) -> Result<Response<AttachResponse>, Status> {
        let node = caller(request.extensions())?.node;
        let request = request.into_inner();
        self.find(node, &request.session)?;
        Ok(Response::new(self.attach_container(node, request).await?))
    }

    async fn detach(
        &self,
        request: Request<DetachRequest>,
    ) -> Result<Response<DetachResponse>, Status> {
        let node = caller(request.extensions())?.node;
        let request = request.into_inner();
        self.find(node, &request.session)?;
        let task = codec::id(&request.task).map(TaskId::from_bytes).map_err(bad_input)?;
        self.detach_container(node, task).await?;
        Ok(Response::new(DetachResponse {}))
    }

    async fn update_statuses(
        &self,
        request: Request<UpdateStatusesRequest>,
    ) -> Result<Response<UpdateStatusesResponse>, Status> {
        let node = caller(request.extensions())?.node;
        let request = request.into_inner();
        self.find(node, &request.session)?;
        let mut updates = Vec::with_capacity(request.updates.len());
        for update in request.updates {
            updates.push(Update {
                node,
                task: codec::id(&update.task).map(TaskId::from_bytes).map_err(bad_input)?,
                status: codec::decode("task status", &update.status).map_err(bad_input)?,
                runs: update.runs,
            });
        }
        let committed = self.statuses.commit(updates).await;
        committed.map_err(|error| Status::unavailable(Chain(&error).to_string()))?;
        Ok(Response::new(UpdateStatusesResponse {}))
    }

    async fn update_description(
        &self,
        request: Request<UpdateDescriptionRequest>,
    ) -> Result<Response<UpdateDescriptionResponse>, Status> {
        let node = caller(request.extensions())?.node;
        let address = request.extensions().get::<PeerInfo>().map(|peer| peer.address.ip());
        let request = request.into_inner();
        self.find(node, &request.session)?;
        let description =
            codec::decode("node description", &request.description).map_err(bad_input)?;
        self.describe(node, &description, address).await?;
        Ok(Response::new(UpdateDescriptionResponse {}))
    }
}

/// Where other nodes reach the one that was seen at this address: the worker of a manager comes to its own manager
/// by loopback, which tells them nothing.
pub(super) fn address_for_others(node: &Node, seen: Option<IpAddr>) -> Option<IpAddr> {
    let advertised = node.manager.as_ref().map(|manager| manager.address.ip());
    seen.filter(|address| !address.is_loopback()).or(advertised)
}

#[tonic::async_trait]
impl Liveness for Dispatcher {
    async fn report(
        &self,
        request: Request<ReportRequest>,
    ) -> Result<Response<ReportResponse>, Status> {
        let beats = request.into_inner().beats;
        let events = beats.iter().map(super::liveness::from_beat);
        let events = events.collect::<Result<Vec<_>, _>>().map_err(bad_input)?;
        let ended = self
            .leading
            .step(&events)
            .ok_or_else(|| Status::failed_precondition("this manager does not lead"))?;
        for session in &ended {
            self.hub.end(*session);
        }
        let ended = ended.into_iter().map(|id| id.to_bytes().to_vec().into()).collect();
        Ok(Response::new(ReportResponse { ended }))
    }

    async fn await_views(
        &self,
        request: Request<AwaitViewsRequest>,
    ) -> Result<Response<AwaitViewsResponse>, Status> {
        let request = request.into_inner();
        let networks = request.networks.iter().map(|id| codec::id(id));
        let networks: Result<Vec<_>, _> = networks.collect();
        let networks = networks.map_err(bad_input)?.into_iter().map(ClusterNetworkId::from_bytes);
        let aim: drain::Aim = (request.index, networks.collect());
        let patience = Duration::from_millis(request.patience_ms).min(self.patience());
        let deadline = self.clock.monotonic() + patience;
        // Sessions that look before this manager has come so far would have to look again.
        let came = self.store.consensus().wait_applied(aim.0);
        tokio::select! {
            _ = came => {}
            // There is nobody to look.
            () = self.hub.empty() => {}
            () = self.clock.sleep(patience) => {}
        }
        let left = deadline.saturating_sub(self.clock.monotonic());
        let late = self.hub.reach(&self.clock, &aim, left).await;
        let late = late.into_iter().map(|node| node.to_bytes().to_vec().into()).collect();
        let mut nodes = Vec::new();
        for network in &aim.1 {
            for (node, applied) in self.hub.applied(*network) {
                let Applied { version, digest } = applied;
                let network = network.to_bytes().to_vec().into();
                let applied = Some(AppliedView { network, version, digest });
                nodes.push(NodeView { node: node.to_bytes().to_vec().into(), applied });
            }
        }
        Ok(Response::new(AwaitViewsResponse { late, nodes }))
    }
}

impl Dispatcher {
    fn find(&self, node: NodeId, session: &[u8]) -> Result<Arc<Session>, Status> {
        let id = codec::id(session).map(SessionId::from_bytes).map_err(bad_input)?;
        self.hub.get(id, node).ok_or_else(|| {
            Status::not_found(format!("node `{node}` has no session `{id}` with this manager"))
        })
    }

    /// Writes what a node says of itself, when it differs.
    async fn describe(
        &self,
        id: NodeId,
        description: &NodeDescription,
        address: Option<IpAddr>,
    ) -> Result<(), Status> {
        let written = self.store.update(|txn| {
            let Some(node) = txn.node(id) else { return Ok(()) };
            let address = address_for_others(node, address);
            let same = node.description.as_ref() == Some(description)
                && node.data_path == description.data_path;
            if same && (address.is_none() || node.status.address == address) {
                return Ok(());
            }
            let mut node = Node::clone(node);
            node.description = Some(description.clone());
            node.data_path = description.data_path;
            node.status.address = address.or(node.status.address);
            txn.put_node(node).map_err(store::Error::from)
        });
        written.await.map(|_| ()).map_err(store_failed)
    }

    /// Tells a worker of managers, root and its own node, at first and whenever that changed.
    async fn talk(&self, session: &Session, sender: &mpsc::Sender<Result<SessionMessage, Status>>) {
        let mut told = None;
        loop {
            let message = session_message(&self.store.view(), session);
            if told.as_ref() != Some(&message) {
                told = Some(message.clone());
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = session.refresh.notified() => {}
                () = session.ended.cancelled() => return,
                () = sender.closed() => return,
            }
        }
    }

    /// Serves the assignments of a session. The first change after a quiet time is told at once; those that follow within
    /// [`GATHER`] travel together.
    async fn assign(
        &self,
        session: &Arc<Session>,
        stream: &CancellationToken,
        sender: &mpsc::Sender<Result<AssignmentsMessage, Status>>,
    ) {
        let view = self.store.view();
        let (mut encoder, mut told, mut held) =
            (Encoder::default(), Told::default(), Held::default());
        let all = view.tasks_on_node(session.node).map(|task| Touched::Task(task.id)).collect();
        held.advance(self, &view, session.node, &all);
        let (mut tracker, mut changes) = Tracker::complete(&held.shown(&view), session.node);
        let view = self.hold(session, &mut tracker, &mut changes, &held, view);
        let messages = encoder.messages(SetKind::Complete, &changes);
        let views = told.changed(&self.views, &view, tracker.networks(), None);
        let mut messages = with_views(messages, views);
        self.told(session, &told);
        drop(view);
        loop {
            for message in messages {
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            messages = loop {
                self.clock.sleep(GATHER).await;
                session.changed.notified().await;
                let Some(dirty) = session.take(stream) else {
                    // The call was for the stream that is served now.
                    session.changed.notify_one();
                    return;
                };
                let view = self.store.view();
                let mut touched = dirty.touched;
                if dirty.everything {
                    touched.extend(tracker.everything(&view));
                }
                let freed = held.advance(self, &view, session.node, &touched);
                touched.extend(freed);
                let mut changes = tracker.advance(&held.shown(&view), &touched);
                let view = self.hold(session, &mut tracker, &mut changes, &held, view);
                dirty.differing.into_iter().for_each(|network| told.forget(network));
                let changed = (!dirty.everything).then_some(&dirty.views);
                let views = told.changed(&self.views, &view, tracker.networks(), changed);
                self.told(session, &told);
                if !changes.is_empty() || !views.is_empty() {
                    let messages = encoder.messages(SetKind::Incremental, &changes);
                    break with_views(messages, views);
                }
            };
        }
    }

    fn told(&self, session: &Session, told: &Told) {
        session.progress().told(told.seen());
        self.hub.note_progress();
    }

    /// Takes in which views a node has put into effect.
    fn applied(&self, session: &Session, applied: &[AppliedView]) -> Result<(), Status> {
        let mut versions = Vec::with_capacity(applied.len());
        for view in applied {
            let network =
                ClusterNetworkId::from_bytes(codec::id(&view.network).map_err(bad_input)?);
            if self.views.differs(network, view.version, &view.digest) {
                tracing::warn!(node = %session.node, %network, version = view.version, "a node has another view than it was told: it gets the whole one");
                session.differs(network);
            } else {
                let applied = Applied { version: view.version, digest: view.digest.clone() };
                versions.push((network, applied));
            }
        }
        session.progress().applied(versions.into_iter());
        self.hub.note_progress();
        Ok(())
    }

    /// Has the session follow what its tasks need now. What changed of it meanwhile is in the view that is given back.
    fn hold(
        &self,
        session: &Arc<Session>,
        tracker: &mut Tracker,
        changes: &mut Vec<Change>,
        held: &Held,
        view: State,
    ) -> State {
        let fresh = self.hub.hold(session, tracker.references());
        if fresh.is_empty() {
            return view;
        }
        let view = self.store.view();
        let fresh = fresh.into_iter().map(Touched::from).collect();
        changes.extend(tracker.advance(&held.shown(&view), &fresh));
        view
    }
}

fn session_message(view: &State, session: &Session) -> SessionMessage {
    let managers = view.managers().filter_map(|node| {
        let manager = node.manager.as_ref()?;
        let id = node.id.to_bytes().to_vec().into();
        Some(Manager { node: id, address: manager.address.to_string() })
    });
    let node = view.node(session.node).map(|node| {
        let mut node = Node::clone(node);
        // Of its certificate it is told only whether it is to ask for another.
        let state = node.certificate.state;
        node.certificate = NodeCertificate { state, ..NodeCertificate::default() };
        node.failures.clear();
        // What changes with each registration does not concern the node itself.
        node.meta = shoal_model::cluster::Meta::default();
        node.status = shoal_model::cluster::node::NodeStatus::default();
        codec::encode(&node)
    });
    SessionMessage {
        session: session.id.to_bytes().to_vec().into(),
        managers: managers.collect(),
        root_ca: view
            .cluster()
            .map(|cluster| trust_bundle(&cluster.root).into_bytes().into())
            .unwrap_or_default(),
        node: node.unwrap_or_default(),
        heartbeat_ms: milliseconds(session.period),
    }
}

fn milliseconds(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn bad_input(error: codec::Error) -> Status {
    Status::invalid_argument(Chain(&error).to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn store_failed(error: store::Error) -> Status {
    Status::unavailable(Chain(&error).to_string())
}
