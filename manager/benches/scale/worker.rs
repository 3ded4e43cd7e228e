//! A worker without containers: what it is assigned runs at once.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use shoal_base::{Clock as _, SystemClock};
use shoal_identity::{PeerIdentity, PeerInfo};
use shoal_model::Timestamp;
use shoal_model::cluster::TaskState;
use shoal_model::cluster::task::{ContainerStatus, TaskStatus};
use shoal_proto::codec;
use shoal_proto::dispatcher::assignment_change::Kind;
use shoal_proto::dispatcher::dispatcher_client::DispatcherClient;
use shoal_proto::dispatcher::{
    AssignmentsMessage, AssignmentsRequest, HeartbeatRequest, SessionRequest, TaskStatusUpdate,
    UpdateStatusesRequest, UpdateStatusesResponse,
};
use tonic::client::GrpcService;
use tonic::codegen::{Body, StdError};
use tonic::{Response, Status};

/// Statuses in one call, as of real workers.
const STATUSES_MAX: usize = 1_000;
/// Before a session that ended is followed by another.
const AGAIN: Duration = Duration::from_millis(500);

/// The way to one manager: over the network, or within the process.
pub(crate) trait Way:
    GrpcService<
        tonic::body::Body,
        ResponseBody: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        Error: Into<StdError>,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> Way for T where
    T: GrpcService<
            tonic::body::Body,
            ResponseBody: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
            Error: Into<StdError>,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// Says who calls, where no certificate does.
pub(crate) fn identify(
    identity: PeerIdentity,
) -> impl Fn(tonic::Request<()>) -> Result<tonic::Request<()>, Status> + Clone + Send + Sync + 'static
{
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    move |mut request| {
        request.extensions_mut().insert(PeerInfo { address, identity: Some(identity) });
        Ok(request)
    }
}

/// Keeps a session for ever, with one of the managers after the other.
pub(crate) async fn run<T: Way>(mut ways: Vec<T>, description: Bytes) {
    loop {
        let way = ways[0].clone();
        let Err(error) = session(DispatcherClient::new(way), description.clone()).await;
        if std::env::var_os("SHOAL_SCALE_TALK").is_some() {
            eprintln!("a session ended: {error}");
        }
        ways.rotate_left(1);
        SystemClock.sleep(AGAIN).await;
    }
}

async fn session<T: Way>(
    mut client: DispatcherClient<T>,
    description: Bytes,
) -> Result<std::convert::Infallible, Status> {
    let request = SessionRequest { description, ..SessionRequest::default() };
    let mut talk = client.session(request).await?.into_inner();
    let ended = || Status::unavailable("the stream ended");
    let first = talk.message().await?.ok_or_else(ended)?;
    let (session, period) = (first.session, Duration::from_millis(first.heartbeat_ms));
    let request = AssignmentsRequest { session: session.clone() };
    let mut assignments = client.assignments(request).await?.into_inner();
    let mut reports = Reports {
        client: client.clone(),
        session: session.clone(),
        waiting: Vec::new(),
        flight: None,
    };
    let mut beat = SystemClock.sleep(period);
    loop {
        reports.depart();
        tokio::select! {
            message = talk.message() => drop(message?.ok_or_else(ended)?),
            message = assignments.message() => reports.take(&message?.ok_or_else(ended)?),
            answer = reports.landed() => drop(answer?),
            () = &mut beat => {
                let request = HeartbeatRequest { session: session.clone(), ..HeartbeatRequest::default() };
                client.heartbeat(request).await?;
                beat = SystemClock.sleep(period);
            }
        }
    }
}

struct Reports<T> {
    client: DispatcherClient<T>,
    session: Bytes,
    waiting: Vec<TaskStatusUpdate>,
    flight: Option<BoxFuture<'static, Result<Response<UpdateStatusesResponse>, Status>>>,
}

impl<T: Way> Reports<T> {
    /// All steps up to running are one report: the newest is all that is ever sent.
    fn take(&mut self, message: &AssignmentsMessage) {
        for change in &message.changes {
            if change.kind() == Kind::Task && !change.object.is_empty() {
                let status = codec::encode(&status(SystemClock.now(), &change.id));
                self.waiting.push(TaskStatusUpdate { task: change.id.clone(), status, runs: 0 });
            }
        }
    }

    fn depart(&mut self) {
        if self.flight.is_some() || self.waiting.is_empty() {
            return;
        }
        let updates = self.waiting.drain(..self.waiting.len().min(STATUSES_MAX)).collect();
        let request = UpdateStatusesRequest { session: self.session.clone(), updates };
        let mut client = self.client.clone();
        self.flight = Some(async move { client.update_statuses(request).await }.boxed());
    }

    async fn landed(&mut self) -> Result<Response<UpdateStatusesResponse>, Status> {
        let Some(flight) = &mut self.flight else { return std::future::pending().await };
        let answer = flight.await;
        self.flight = None;
        answer
    }
}

fn status(at: Timestamp, task: &[u8]) -> TaskStatus {
    let id = task.iter().chain(task).map(|byte| format!("{byte:02x}")).collect();
    TaskStatus {
        state: TaskState::Running,
        at,
        message: "started".to_owned(),
        container: Some(ContainerStatus { id, pid: 1234, exit_code: 0 }),
        ..TaskStatus::default()
    }
}
