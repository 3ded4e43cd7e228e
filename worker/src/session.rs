//! The session with a manager: connects, registers, beats, follows assignments, hands statuses over. Any end of it is
//! followed by another attempt, at any known manager.
//!
//! It decides nothing about tasks: what comes in goes to the agent, what goes out is taken from [`Shared`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use shoal_base::random::SharedRandom;
use shoal_base::{SharedClock, SharedDisk};
use shoal_model::cluster::node::NodeDescription;
use shoal_model::cluster::{Node, NodeId, SessionId};
use shoal_model::error::{Chain, Failure};
use shoal_proto::codec;
use shoal_proto::dispatcher::dispatcher_client::DispatcherClient;
use shoal_proto::dispatcher::{
    AcknowledgeViewsRequest, AppliedView, AssignmentsRequest, HeartbeatRequest, SessionMessage,
    SessionRequest, TaskStatusUpdate, UpdateDescriptionRequest, UpdateStatusesRequest,
};
use shoal_proto::view;
use tokio::sync::{Notify, mpsc};
use tonic::Code;
use tonic::transport::Channel;

use crate::assignments::{self, Delta, Part, Set};
use crate::executor::Executor;
use crate::known_views::KnownViews;
use crate::managers::Managers;
use crate::networks::{ToldView, Views};
use crate::reports::{Batch, Reports, Urgency};
use shoal_proto::assignment::Key;

/// A call must be answered within this time.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The description is made anew in this period.
const DESCRIBE_PERIOD: Duration = Duration::from_secs(20);
/// Statuses that come within this time travel together.
const REPORT_DELAY: Duration = Duration::from_millis(2);
/// So long steps of tasks wait for the states that they lead to.
const STEP_DELAY: Duration = Duration::from_millis(200);
/// Before statuses that were not taken are sent again.
const REPORT_AGAIN: Duration = Duration::from_millis(500);
/// Before assignments that did not fit are asked for again.
const AGAIN_DELAY: Duration = Duration::from_millis(200);
/// Of one message; managers split at a fraction of it.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Opens authenticated connections to managers.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Connects to `host:port`.
    async fn connect(&self, address: &str) -> Result<Channel, Failure>;

    /// Adds to the node's description what it authenticates with. Nothing without certificates.
    fn identify(&self, _description: &mut NodeDescription) {}

    /// Returns once [`Connector::identify`] says something else than `told`.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    async fn identity_changed(&self, _told: &NodeDescription) {
        std::future::pending().await
    }
}

/// What a session tells the agent.
#[derive(Debug)]
pub enum Inbound {
    /// The session began, or something in it changed.
    Session(SessionId, Box<About>),
    /// Assignments changed.
    Assignments(Update),
    /// Views of networks changed. They come after the assignments that need them.
    Views(Vec<ToldView>),
    /// The session is over, or could not begin.
    Lost {
        /// The manager says that this node is no member; `None`: anything else.
        refused: Option<String>,
    },
}

/// What a manager says of itself and this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// All managers.
    pub managers: BTreeMap<NodeId, String>,
    /// PEM.
    pub root_ca: Vec<u8>,
    /// This node; `None`: the manager's release writes it in a way that this one cannot read.
    pub node: Option<Node>,
}

/// A change of assignments.
#[derive(Debug)]
pub struct Update {
    /// Whether it is the whole set.
    pub complete: bool,
    /// New or different.
    pub put: Vec<(Key, Part)>,
    /// Gone.
    pub removed: Vec<Key>,
}

/// A session that others may use for calls.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) client: DispatcherClient<Channel>,
    pub(crate) session: SessionId,
}

/// What agent and session share.
#[derive(Debug, Default)]
pub struct Shared {
    /// The session, while there is one.
    live: Mutex<Option<Live>>,
    reports: Mutex<Reports>,
    views: Views,
    reported: Notify,
    leaving: Notify,
    /// The goodbye was answered.
    left: Notify,
}

impl Shared {
    /// Changes the waiting reports and wakes the session.
    pub fn report(&self, change: impl FnOnce(&mut Reports)) {
        change(&mut self.reports());
        self.reported.notify_one();
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the session say goodbye.
    pub fn leave(&self) {
        self.leaving.notify_one();
    }

    /// The session; `None`: no manager is reachable.
    pub(crate) fn live(&self) -> Option<Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_live(&self, live: Option<Live>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = live;
    }

    pub(crate) fn views(&self) -> &Views {
        &self.views
    }

    /// Returns once a manager has taken the goodbye.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn left(&self) {
        self.left.notified().await;
    }

    /// The next batch, once it is time to send it.
    async fn batch(&self, clock: &SharedClock) -> Batch {
        let mut lazy_until = None;
        loop {
            let urgency = self.reports().urgency();
            match urgency {
                Urgency::Idle => self.reported.notified().await,
                Urgency::Lazy => {
                    let until = *lazy_until.get_or_insert_with(|| clock.monotonic() + STEP_DELAY);
                    let left = until.saturating_sub(clock.monotonic());
                    if left.is_zero() {
                        return self.reports().batch();
                    }
                    tokio::select! {
                        () = self.reported.notified() => {}
                        () = clock.sleep(left) => {}
                    }
                }
                Urgency::Urgent => {
                    clock.sleep(REPORT_DELAY).await;
                    return self.reports().batch();
                }
            }
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to connect to manager `{address}`")]
    Connect {
        address: String,
        #[source]
        source: Box<ConnectError>,
    },
    #[error("the call `{call}` failed")]
    Call {
        call: &'static str,
        #[source]
        source: Box<tonic::Status>,
    },
    #[error("the call `{call}` was not answered within {patience:?}")]
    Timeout { call: &'static str, patience: Duration },
    #[error("the manager ended the stream `{call}`")]
    Ended { call: &'static str },
    #[error("failed to read what the manager sent")]
    Read {
        #[source]
        source: codec::Error,
    },
    #[error("failed to describe this node: {message}")]
    Describe { message: String },
    #[error("the agent has stopped")]
    Stopped,
}

impl Error {
    fn refusal(&self) -> Option<String> {
        match self {
            Self::Call { source, .. } if source.code() == Code::PermissionDenied => {
                Some(source.message().to_owned())
            }
            Self::Call { source, .. } if shoal_identity::tls::is_revoked(source.as_ref()) => {
                Some("a manager refuses this node's certificate as revoked".to_owned())
            }
            Self::Call { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Ended { .. }
            | Self::Read { .. }
            | Self::Describe { .. }
            | Self::Stopped => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ConnectError(Failure);

/// Everything that a session needs.
pub(crate) struct Client {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) disk: SharedDisk,
    pub(crate) managers_file: PathBuf,
    pub(crate) managers: Managers,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbound: mpsc::Sender<Inbound>,
}

impl Client {
    /// Keeps a session, for ever.
    ///
    /// # Cancel safety
    /// Loses nothing but the session: statuses stay in [`Shared`].
    pub(crate) async fn run(mut self) {
        let mut previous = None;
        loop {
            let Some(address) = self.managers.pick(&*self.random) else {
                tracing::warn!("no manager is known");
                let wait = self.managers.failed(&*self.random);
                self.clock.sleep(wait).await;
                continue;
            };
            let Err(error) = Box::pin(self.one(&address, &mut previous)).await;
            let lost = Inbound::Lost { refused: error.refusal() };
            if matches!(error, Error::Stopped) || self.inbound.send(lost).await.is_err() {
                return;
            }
            let wait = self.managers.failed(&*self.random);
            tracing::info!(%address, error = %Chain(&error), ?wait, "session with manager ended");
            self.clock.sleep(wait).await;
        }
    }

    async fn one(
        &mut self,
        address: &str,
        previous: &mut Option<SessionId>,
    ) -> Result<std::convert::Infallible, Error> {
        let describe = |failure: Failure| Error::Describe { message: failure.chain() };
        let mut description = self.executor.describe().await.map_err(describe)?;
        self.connector.identify(&mut description);
        let connecting = self.connector.connect(address);
        let channel = self.timed("connect", connecting).await?.map_err(|failure| {
            Error::Connect { address: address.to_owned(), source: Box::new(ConnectError(failure)) }
        })?;
        let mut client =
            DispatcherClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = SessionRequest {
            description: codec::encode(&description),
            previous: previous.map(|id| id.to_bytes().to_vec()).unwrap_or_default().into(),
        };
        let mut stream = self.call("Session", client.session(request)).await?;
        let first = self.timed("Session", stream.message()).await?.map_err(failed("Session"))?;
        let first = first.ok_or(Error::Ended { call: "Session" })?;
        let period = Duration::from_millis(first.heartbeat_ms);
        let session = codec::id(&first.session).map_err(read).map(SessionId::from_bytes)?;
        self.accept(session, first).await?;
        *previous = Some(session);
        self.managers.succeeded();
        tracing::info!(%address, %session, "session with manager began");
        let live = Live { client: client.clone(), session };
        self.shared.set_live(Some(live));
        let talk = Talk {
            client,
            session,
            clock: self.clock.clone(),
            shared: Arc::clone(&self.shared),
            executor: Arc::clone(&self.executor),
            connector: Arc::clone(&self.connector),
            inbound: self.inbound.clone(),
        };
        let result = tokio::select! {
            result = self.follow(session, &mut stream) => result,
            result = talk.assignments() => result,
            result = talk.heartbeats(period) => result,
            result = talk.acknowledgements() => result,
            result = talk.reports() => result,
            result = talk.descriptions(description) => result,
        };
        self.shared.set_live(None);
        result
    }

    /// Takes in what managers say of themselves and of this node.
    async fn follow(
        &mut self,
        session: SessionId,
        stream: &mut tonic::Streaming<SessionMessage>,
    ) -> Result<std::convert::Infallible, Error> {
        loop {
            let message = stream.message().await.map_err(failed("Session"))?;
            self.accept(session, message.ok_or(Error::Ended { call: "Session" })?).await?;
        }
    }

    async fn accept(&mut self, session: SessionId, message: SessionMessage) -> Result<(), Error> {
        let mut managers = BTreeMap::new();
        for manager in message.managers {
            let node = codec::id(&manager.node).map_err(read)?;
            managers.insert(NodeId::from_bytes(node), manager.address);
        }
        if self.managers.set(managers.clone())
            && let Err(error) = self.managers.save(&*self.disk, &self.managers_file)
        {
            tracing::error!(error = %Chain(&error), "the managers are known until the next restart only");
        }
        let node = codec::decode("node", &message.node)
            .inspect_err(|error| tracing::warn!(error = %Chain(error), "own node is not readable"))
            .ok();
        let about = About { managers, root_ca: message.root_ca.to_vec(), node };
        let inbound = Inbound::Session(session, Box::new(about));
        self.inbound.send(inbound).await.map_err(|_| Error::Stopped)
    }

    async fn timed<T>(
        &self,
        call: &'static str,
        future: impl Future<Output = T>,
    ) -> Result<T, Error> {
        timed(&self.clock, call, future).await
    }

    async fn call<T>(
        &self,
        call: &'static str,
        future: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        let answer = self.timed(call, future).await?;
        answer.map(tonic::Response::into_inner).map_err(failed(call))
    }
}

/// One session that has begun.
struct Talk {
    client: DispatcherClient<Channel>,
    session: SessionId,
    clock: SharedClock,
    shared: Arc<Shared>,
    executor: Arc<dyn Executor>,
    connector: Arc<dyn Connector>,
    inbound: mpsc::Sender<Inbound>,
}

impl Talk {
    fn id(&self) -> bytes::Bytes {
        self.session.to_bytes().to_vec().into()
    }

    /// Follows assignments; asks for the complete set again when a message does not fit.
    async fn assignments(&self) -> Result<std::convert::Infallible, Error> {
        const CALL: &str = "Assignments";
        loop {
            let mut client = self.client.clone();
            let request = AssignmentsRequest { session: self.id() };
            let opening = timed(&self.clock, CALL, client.assignments(request)).await?;
            let mut stream = opening.map_err(failed(CALL))?.into_inner();
            let (mut set, mut known) = (Set::default(), KnownViews::default());
            let error: Refused = loop {
                let message = stream.message().await.map_err(failed(CALL))?;
                let mut message = message.ok_or(Error::Ended { call: CALL })?;
                let views = std::mem::take(&mut message.views);
                match set.receive(message) {
                    Ok(None) => {}
                    Ok(Some(delta)) => {
                        let update = Inbound::Assignments(update(&set, delta));
                        self.inbound.send(update).await.map_err(|_| Error::Stopped)?;
                    }
                    Err(error) => break Refused::Set(error),
                }
                match known.receive(&views) {
                    Ok(views) if views.is_empty() => {}
                    Ok(views) => {
                        let views = Inbound::Views(views);
                        self.inbound.send(views).await.map_err(|_| Error::Stopped)?;
                    }
                    Err(error) => break Refused::View(error),
                }
            };
            tracing::warn!(error = %Chain(&error), "asking for the complete assignments again");
            drop(stream);
            self.clock.sleep(AGAIN_DELAY).await;
        }
    }

    async fn heartbeats(&self, period: Duration) -> Result<std::convert::Infallible, Error> {
        const CALL: &str = "Heartbeat";
        let mut period = period;
        loop {
            let leaving = tokio::select! {
                () = self.clock.sleep(period) => false,
                () = self.shared.leaving.notified() => true,
            };
            let applied = self.applied();
            let request = HeartbeatRequest { session: self.id(), applied, leaving };
            let mut client = self.client.clone();
            // A connection that is dead without saying so is noticed before the node counts as down.
            let patience = period.min(CALL_TIMEOUT);
            let answer = within(&self.clock, patience, CALL, client.heartbeat(request)).await?;
            let answer = answer.map_err(failed(CALL))?.into_inner();
            if leaving {
                self.shared.left.notify_one();
                // The end of everything comes next; another session would undo the goodbye.
                return Err(Error::Stopped);
            }
            period = Duration::from_millis(answer.period_ms.max(1));
        }
    }

    fn applied(&self) -> Vec<AppliedView> {
        let applied = self.shared.views.applied().into_iter().map(|(network, applied)| {
            let network = network.to_bytes().to_vec().into();
            AppliedView { network, version: applied.version, digest: applied.digest }
        });
        applied.collect()
    }

    /// Says at once what is in effect: tasks elsewhere may wait for it before they are stopped.
    async fn acknowledgements(&self) -> Result<std::convert::Infallible, Error> {
        const CALL: &str = "AcknowledgeViews";
        loop {
            self.shared.views.progress().await;
            let request = AcknowledgeViewsRequest { session: self.id(), applied: self.applied() };
            let mut client = self.client.clone();
            let answer = timed(&self.clock, CALL, client.acknowledge_views(request)).await?;
            answer.map_err(failed(CALL))?;
        }
    }

    async fn reports(&self) -> Result<std::convert::Infallible, Error> {
        const CALL: &str = "UpdateStatuses";
        loop {
            let batch = self.shared.batch(&self.clock).await;
            if batch.reports.is_empty() {
                // What waited was forgotten meanwhile.
                continue;
            }
            let updates = batch.reports.iter().map(|(task, _, report)| TaskStatusUpdate {
                task: task.to_bytes().to_vec().into(),
                status: codec::encode(&report.status),
                runs: report.runs,
            });
            let request = UpdateStatusesRequest { session: self.id(), updates: updates.collect() };
            let mut client = self.client.clone();
            let answer = timed(&self.clock, CALL, client.update_statuses(request)).await?;
            match answer {
                Ok(_) => {}
                // No leader at the moment; were the manager gone, the heartbeat would notice.
                Err(status) if status.code() == Code::Unavailable => {
                    tracing::debug!(
                        error = status.message(),
                        "statuses are not taken; trying again"
                    );
                    self.clock.sleep(REPORT_AGAIN).await;
                    continue;
                }
                Err(status) => return Err(failed(CALL)(status)),
            }
            self.shared.reports().acknowledge(&batch);
        }
    }

    async fn descriptions(
        &self,
        mut told: NodeDescription,
    ) -> Result<std::convert::Infallible, Error> {
        const CALL: &str = "UpdateDescription";
        loop {
            tokio::select! {
                () = self.clock.sleep(DESCRIBE_PERIOD) => {}
                () = self.connector.identity_changed(&told) => {}
                () = self.executor.description_changed(&told) => {}
            }
            let description = match self.executor.describe().await {
                Ok(mut description) => {
                    self.connector.identify(&mut description);
                    if description == told {
                        continue;
                    }
                    description
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to describe this node");
                    continue;
                }
            };
            let request = UpdateDescriptionRequest {
                session: self.id(),
                description: codec::encode(&description),
            };
            let mut client = self.client.clone();
            let answer = timed(&self.clock, CALL, client.update_description(request)).await?;
            answer.map_err(failed(CALL))?;
            told = description;
        }
    }
}

/// Why the complete set is asked for again.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Set(assignments::Error),
    #[error(transparent)]
    View(view::Error),
}

fn update(set: &Set, delta: Delta) -> Update {
    let part = |key: &Key| set.parts().get(key).map(|part| (*key, part.clone()));
    Update {
        complete: delta.complete,
        put: delta.put.iter().filter_map(part).collect(),
        removed: delta.removed.into_iter().collect(),
    }
}

async fn timed<T>(
    clock: &SharedClock,
    call: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, Error> {
    within(clock, CALL_TIMEOUT, call, future).await
}

async fn within<T>(
    clock: &SharedClock,
    patience: Duration,
    call: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        answer = future => Ok(answer),
        () = clock.sleep(patience) => Err(Error::Timeout { call, patience }),
    }
}

fn failed(call: &'static str) -> impl FnOnce(tonic::Status) -> Error {
    move |status| Error::Call { call, source: Box::new(status) }
}

fn read(source: codec::Error) -> Error {
    Error::Read { source }
}

/// Names the reason for asking again.
pub use assignments::Error as AssignmentsError;
