//! A manager that hands out what the test puts into it, over real gRPC.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::Stream;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{
    AssignedTask, NetworkView, NodeId, Secret, SessionId, TaskId, TaskState,
};
use shoal_proto::assignment::{Key, SetDigest, part_hash};
use shoal_proto::codec;
use shoal_proto::dispatcher::assignment_change::Kind;
use shoal_proto::dispatcher::assignments_message::Kind as SetKind;
use shoal_proto::dispatcher::dispatcher_server::{Dispatcher, DispatcherServer};
use shoal_proto::dispatcher::{
    AcknowledgeViewsRequest, AcknowledgeViewsResponse, AssignmentChange, AssignmentsMessage,
    AssignmentsRequest, AttachRequest, AttachResponse, DetachRequest, DetachResponse,
    HeartbeatRequest, HeartbeatResponse, Manager, NetworkView as Encoded, SessionMessage,
    SessionRequest, UpdateDescriptionRequest, UpdateDescriptionResponse, UpdateStatusesRequest,
    UpdateStatusesResponse,
};
use shoal_proto::view::Tallied;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status};

/// By the worker's clock, which is fast: a session must not end because the machine is busy for a moment.
const HEARTBEAT_MS: u64 = 20_000;

type Sender<T> = mpsc::Sender<Result<T, Status>>;

#[derive(Default)]
struct State {
    dead: bool,
    parts: BTreeMap<Key, (Bytes, Bytes)>,
    statuses: BTreeMap<TaskId, (TaskStatus, u32)>,
    history: Vec<(TaskId, TaskState)>,
    sessions: Vec<Sender<SessionMessage>>,
    streams: Vec<(Sender<AssignmentsMessage>, u64)>,
    streams_opened: usize,
    beats: usize,
    applied: Vec<u64>,
    refused: usize,
    managers: Vec<Manager>,
}

/// Clones are the same manager.
#[derive(Clone)]
pub(crate) struct FakeManager {
    state: Arc<Mutex<State>>,
    pub(crate) address: SocketAddr,
    tasks: Tasks,
}

impl FakeManager {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manager = Self { state: Arc::default(), address, tasks: Tasks::new() };
        let service = DispatcherServer::new(manager.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
        manager.tasks.spawn_fallible(TaskKind::ClusterListener, serving);
        manager
    }

    pub(crate) fn seed(&self) -> String {
        self.address.to_string()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Ends all sessions and answers nobody any more.
    pub(crate) fn die(&self) {
        let mut state = self.state();
        state.dead = true;
        state.sessions.clear();
        state.streams.clear();
    }

    pub(crate) fn revive(&self) {
        self.state().dead = false;
    }

    pub(crate) fn name_managers(&self, all: &[&Self]) {
        let manager = |(number, manager): (u8, &&Self)| Manager {
            node: NodeId::from_bytes([number; 16]).to_bytes().to_vec().into(),
            address: manager.seed(),
        };
        self.state().managers = (1..).zip(all).map(manager).collect();
    }

    pub(crate) fn assign(&self, assigned: &AssignedTask, status: TaskState) {
        let status = TaskStatus { state: status, ..TaskStatus::default() };
        let key = Key::new(Kind::Task, assigned.task.id.to_bytes());
        self.put(key, codec::encode(assigned), codec::encode(&status));
    }

    pub(crate) fn secret(&self, secret: &Secret) {
        let key = Key::new(Kind::Secret, secret.id.to_bytes());
        self.put(key, codec::encode(secret), Bytes::new());
    }

    pub(crate) fn unassign(&self, task: TaskId) {
        self.put(Key::new(Kind::Task, task.to_bytes()), Bytes::new(), Bytes::new());
    }

    fn put(&self, key: Key, object: Bytes, status: Bytes) {
        let mut state = self.state();
        if object.is_empty() {
            state.parts.remove(&key);
        } else {
            state.parts.insert(key, (object.clone(), status.clone()));
        }
        let digest = state.digest();
        let changes = vec![change(key, object, status)];
        state.send(changes, digest);
    }

    /// Sends the view of a network with nothing changed of the assignments.
    pub(crate) fn view(&self, view: &NetworkView) {
        let mut state = self.state();
        let digest = state.digest();
        let (_, whole) = Tallied::new(view.clone());
        state.send_with(Vec::new(), digest, vec![whole]);
    }

    /// Sends what leads from one view to another.
    pub(crate) fn view_change(&self, from: &NetworkView, to: &NetworkView) {
        let mut state = self.state();
        let digest = state.digest();
        let change = Tallied::new(from.clone()).0.advance(to.clone()).unwrap();
        state.send_with(Vec::new(), digest, vec![change]);
    }

    /// The views that were last said to be in effect.
    pub(crate) fn applied(&self) -> Vec<u64> {
        self.state().applied.clone()
    }

    /// Sends a change whose digest is wrong, as if an earlier one had been lost.
    pub(crate) fn lose_a_change(&self) {
        self.state().send(Vec::new(), vec![0; 24].into());
    }

    pub(crate) fn status(&self, task: TaskId) -> Option<TaskState> {
        self.state().statuses.get(&task).map(|(status, _)| status.state)
    }

    pub(crate) fn full_status(&self, task: TaskId) -> Option<(TaskStatus, u32)> {
        self.state().statuses.get(&task).cloned()
    }

    /// All states that were reported of a task.
    pub(crate) fn history(&self, task: TaskId) -> Vec<TaskState> {
        let state = self.state();
        state.history.iter().filter(|(of, _)| *of == task).map(|(_, state)| *state).collect()
    }

    pub(crate) fn streams_opened(&self) -> usize {
        self.state().streams_opened
    }

    pub(crate) fn beats(&self) -> usize {
        self.state().beats
    }

    /// Refuses so many batches of statuses.
    pub(crate) fn refuse(&self, batches: usize) {
        self.state().refused = batches;
    }

    pub(crate) async fn stop(self) {
        self.die();
        self.tasks.shut_down().await;
    }
}

impl State {
    fn digest(&self) -> Bytes {
        let mut digest = SetDigest::default();
        for (key, (object, _)) in &self.parts {
            digest.add(part_hash(*key, object));
        }
        digest.to_bytes().to_vec().into()
    }

    fn send(&mut self, changes: Vec<AssignmentChange>, digest: Bytes) {
        self.send_with(changes, digest, Vec::new());
    }

    fn send_with(&mut self, changes: Vec<AssignmentChange>, digest: Bytes, views: Vec<Encoded>) {
        for (stream, sequence) in &mut self.streams {
            *sequence += 1;
            let message = AssignmentsMessage {
                kind: SetKind::Incremental.into(),
                sequence: *sequence,
                changes: changes.clone(),
                digest: digest.clone(),
                views: views.clone(),
                ..AssignmentsMessage::default()
            };
            let _ = stream.try_send(Ok(message));
        }
    }

    fn alive(&self) -> Result<(), Status> {
        if self.dead { Err(Status::unavailable("dead")) } else { Ok(()) }
    }
}

fn change(key: Key, object: Bytes, status: Bytes) -> AssignmentChange {
    AssignmentChange { kind: key.kind_number(), id: key.id().to_vec().into(), object, status }
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Dispatcher for FakeManager {
    type SessionStream = Boxed<SessionMessage>;
    type AssignmentsStream = Boxed<AssignmentsMessage>;

    async fn session(
        &self,
        _: Request<SessionRequest>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut state = self.state();
        state.alive()?;
        let (sender, receiver) = mpsc::channel(16);
        let number = u8::try_from(state.sessions.len() + 1).unwrap();
        let message = SessionMessage {
            session: SessionId::from_bytes([number; 16]).to_bytes().to_vec().into(),
            managers: state.managers.clone(),
            heartbeat_ms: HEARTBEAT_MS,
            ..SessionMessage::default()
        };
        sender.try_send(Ok(message)).unwrap();
        state.sessions.push(sender);
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn assignments(
        &self,
        _: Request<AssignmentsRequest>,
    ) -> Result<Response<Self::AssignmentsStream>, Status> {
        let mut state = self.state();
        state.alive()?;
        let (sender, receiver) = mpsc::channel(64);
        let parts = state.parts.iter();
        let changes =
            parts.map(|(key, (object, status))| change(*key, object.clone(), status.clone()));
        let message = AssignmentsMessage {
            kind: SetKind::Complete.into(),
            sequence: 1,
            changes: changes.collect(),
            digest: state.digest(),
            ..AssignmentsMessage::default()
        };
        sender.try_send(Ok(message)).unwrap();
        state.streams_opened += 1;
        state.streams.push((sender, 1));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let mut state = self.state();
        state.alive()?;
        state.beats += 1;
        state.applied = request.into_inner().applied.iter().map(|view| view.version).collect();
        Ok(Response::new(HeartbeatResponse { period_ms: HEARTBEAT_MS }))
    }

    async fn acknowledge_views(
        &self,
        request: Request<AcknowledgeViewsRequest>,
    ) -> Result<Response<AcknowledgeViewsResponse>, Status> {
        let mut state = self.state();
        state.alive()?;
        state.applied = request.into_inner().applied.iter().map(|view| view.version).collect();
        Ok(Response::new(AcknowledgeViewsResponse {}))
    }

    async fn attach(&self, _: Request<AttachRequest>) -> Result<Response<AttachResponse>, Status> {
        Err(Status::unimplemented("this manager has no networks"))
    }

    async fn detach(&self, _: Request<DetachRequest>) -> Result<Response<DetachResponse>, Status> {
        Err(Status::unimplemented("this manager has no networks"))
    }

    async fn update_statuses(
        &self,
        request: Request<UpdateStatusesRequest>,
    ) -> Result<Response<UpdateStatusesResponse>, Status> {
        let mut state = self.state();
        state.alive()?;
        if state.refused > 0 {
            state.refused -= 1;
            return Err(Status::unavailable("no leader"));
        }
        for update in request.into_inner().updates {
            let task = TaskId::from_bytes(codec::id(&update.task).unwrap());
            let status: TaskStatus = codec::decode("status", &update.status).unwrap();
            state.history.push((task, status.state));
            state.statuses.insert(task, (status, update.runs));
        }
        Ok(Response::new(UpdateStatusesResponse {}))
    }

    async fn update_description(
        &self,
        _: Request<UpdateDescriptionRequest>,
    ) -> Result<Response<UpdateDescriptionResponse>, Status> {
        self.state().alive()?;
        Ok(Response::new(UpdateDescriptionResponse {}))
    }
}
