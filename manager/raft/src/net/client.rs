//! The calling side: what openraft sends to one other member.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use openraft::RaftNetworkFactory;
use openraft::async_runtime::WatchReceiver as _;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use shoal_proto::raft as pb;
use shoal_proto::raft::raft_client::RaftClient;
use shoal_proto::raft::snapshot_part::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::handle::Core;
use crate::settings::{self, limits};
use crate::snapshot::file::Reader;
use crate::snapshot::machine::Snapshot;
use crate::snapshot::store::{SnapshotFile, SnapshotStore};
use crate::types::{Place, Types, Vote};
use crate::{Connector, Member, RaftId, wire};

/// Connections of one member are apart by purpose, so that a snapshot does not delay a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Log,
    Heartbeat,
    Snapshot,
}

type Channels = Arc<Mutex<BTreeMap<(u64, Purpose), (String, Channel)>>>;

/// Where members are now. openraft keeps a calling side for as long as its member stays, with the place it
/// had when it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressBook {
    places: Arc<Mutex<BTreeMap<u64, Place>>>,
}

impl AddressBook {
    fn set(&self, target: u64, place: &Place) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(target, place.clone());
    }

    fn member(&self, target: u64) -> Option<Member> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(&target).map(|place| place.member(target))
    }

    /// Keeps the book equal to the membership, from the raft threads.
    pub(crate) fn follow(&self, core: &Core) {
        let (book, mut metrics) = (self.clone(), core.server_metrics());
        settings::spawn(async move {
            while metrics.changed().await.is_ok() {
                let membership = Arc::clone(&metrics.borrow_watched().membership_config);
                let places = membership.nodes().map(|(id, place)| (*id, place.clone())).collect();
                *book.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
            }
        });
    }
}

/// Makes the calling side of each member.
#[derive(Clone)]
pub(crate) struct Peers {
    connector: Arc<dyn Connector>,
    book: AddressBook,
    snapshots: SnapshotStore,
    channels: Channels,
}

impl Peers {
    pub(crate) fn new(
        connector: Arc<dyn Connector>,
        book: AddressBook,
        snapshots: SnapshotStore,
    ) -> Self {
        Self { connector, book, snapshots, channels: Channels::default() }
    }

    fn peer(&self, target: u64, place: &Place, purpose: Purpose) -> Peer {
        self.book.set(target, place);
        Peer {
            member: place.member(target),
            book: self.book.clone(),
            purpose,
            connector: Arc::clone(&self.connector),
            snapshots: self.snapshots.clone(),
            channels: Arc::clone(&self.channels),
            appending: None,
        }
    }
}

impl Peers {
    /// The calling side for a question.
    pub(crate) fn heartbeats(&self, target: u64, place: &Place) -> Peer {
        self.peer(target, place, Purpose::Heartbeat)
    }
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, place: &Place) -> Peer {
        self.peer(target, place, Purpose::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, place: &Place) -> Peer {
        self.peer(target, place, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, place: &Place) -> Peer {
        self.peer(target, place, Purpose::Snapshot)
    }
}

/// The calling side of one member.
pub(crate) struct Peer {
    /// As it was when this was made; the book knows where it is now.
    member: Member,
    book: AddressBook,
    purpose: Purpose,
    connector: Arc<dyn Connector>,
    snapshots: SnapshotStore,
    channels: Channels,
    /// Kept from one heartbeat to the next: a call of its own for each costs several times as much.
    appending: Option<Appending>,
}

/// Requests that a member that is slow has not answered: more would not make it faster.
const DUE_MAX: usize = 8;

/// A stream of single appends.
struct Appending {
    /// Where it leads.
    address: String,
    requests: mpsc::Sender<pb::AppendRequest>,
    answers: tonic::Streaming<pb::AppendResponse>,
    /// Requests without an answer yet.
    due: usize,
}

impl Appending {
    /// The answer; `None`: the other side has ended the stream, maybe long ago.
    ///
    /// May be dropped: an answer that is due then is passed over by whoever asks next.
    async fn ask(
        &mut self,
        request: pb::AppendRequest,
    ) -> Result<Option<StreamAppendResult<Types>>, RPCError<Types>> {
        while self.due >= DUE_MAX {
            if self.next().await?.is_none() {
                return Ok(None);
            }
        }
        let Ok(place) = self.requests.reserve().await else { return Ok(None) };
        place.send(request);
        self.due += 1;
        self.last().await
    }

    /// The answer to the last request.
    async fn last(&mut self) -> Result<Option<StreamAppendResult<Types>>, RPCError<Types>> {
        loop {
            let Some(answer) = self.next().await? else { return Ok(None) };
            if self.due == 0 {
                let answer = wire::to_append_result(answer);
                return answer.map(Some).map_err(|error| malformed(&error));
            }
        }
    }

    /// The next answer that is due.
    async fn next(&mut self) -> Result<Option<pb::AppendResponse>, RPCError<Types>> {
        let answer = within(self.answers.message()).await?.map_err(|status| refused(&status))?;
        self.due -= usize::from(answer.is_some());
        Ok(answer)
    }
}

impl Peer {
    fn to(&self) -> u64 {
        self.member.id.0
    }

    /// The member where it is now.
    fn current(&self) -> Member {
        self.book.member(self.to()).unwrap_or_else(|| self.member.clone())
    }

    /// A stream that begins with a request, so that a member which is slow to answer has heard it.
    async fn appending(&self, first: pb::AppendRequest) -> Result<Appending, RPCError<Types>> {
        let address = self.current().address;
        let mut client = self.client().await?;
        let (requests, receiver) = mpsc::channel(1);
        requests.try_send(first).map_err(|error| NetworkError::new(&error))?;
        let answers = self.call(client.append(ReceiverStream::new(receiver))).await?;
        Ok(Appending { address, requests, answers, due: 1 })
    }

    async fn client(&self) -> Result<RaftClient<Channel>, Unreachable<Types>> {
        let key = (self.to(), self.purpose);
        let member = self.current();
        let known = {
            let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
            channels.get(&key).filter(|(address, _)| *address == member.address).cloned()
        };
        let channel = match known {
            Some((_, channel)) => channel,
            None => {
                let connecting = within(self.connector.connect(&member)).await?;
                let channel = connecting.map_err(|error| Unreachable::new(&error))?;
                let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
                // Members that were removed leave no connection behind.
                channels.retain(|(id, _), _| self.book.member(*id).is_some());
                channels.insert(key, (member.address, channel.clone()));
                channel
            }
        };
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES))
    }

    /// What another member would answer to a candidate.
    pub(crate) async fn ask(
        &mut self,
        request: VoteRequest<Types>,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let mut client = self.client().await?;
        let request = wire::vote_request(self.to(), &request);
        let response = self.call(client.pre_vote(request)).await?;
        wire::to_vote_response(response).map_err(|error| malformed(&error))
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RPCError<Types>> {
        match within(call).await? {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(refused(&status)),
        }
    }
}

/// Gives up after [`limits::RPC_TIMEOUT`].
async fn within<T>(call: impl Future<Output = T>) -> Result<T, Unreachable<Types>> {
    let timed = tokio::time::timeout(limits::RPC_TIMEOUT, call).await;
    timed.map_err(|elapsed| Unreachable::new(&elapsed))
}

/// Whether it is worth to try again at once.
fn refused(status: &Status) -> RPCError<Types> {
    match status.code() {
        tonic::Code::Internal | tonic::Code::Cancelled | tonic::Code::Aborted => {
            NetworkError::new(status).into()
        }
        _ => Unreachable::new(status).into(),
    }
}

fn malformed(error: &wire::Malformed) -> RPCError<Types> {
    NetworkError::new(error).into()
}

/// Answers of an append stream: in order, with a bound on the time one that is due may take.
async fn next_answer(
    answers: &mut tonic::Streaming<pb::AppendResponse>,
    sent: &AtomicU64,
    received: u64,
) -> Option<Result<StreamAppendResult<Types>, RPCError<Types>>> {
    loop {
        let due = sent.load(Ordering::Acquire) > received;
        match tokio::time::timeout(limits::RPC_TIMEOUT, answers.message()).await {
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(answer))) => {
                return Some(wire::to_append_result(answer).map_err(|error| malformed(&error)));
            }
            Ok(Err(status)) => return Some(Err(refused(&status))),
            Err(elapsed) if due => return Some(Err(Unreachable::new(&elapsed).into())),
            // Nothing was asked; the stream may idle.
            Err(_) => {}
        }
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotFile;

    /// A call that fails or is refused ends the stream that it used. One that is dropped leaves it as it is: resetting
    /// streams of a member that is slow would end its connection.
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let request = wire::append_request(self.to(), &request);
        let address = self.current().address;
        if self.appending.as_ref().is_some_and(|kept| kept.address != address) {
            self.appending = None;
        }
        // What was kept may have ended meanwhile: only what a new stream says counts.
        let mut answer = None;
        if let Some(kept) = &mut self.appending {
            match kept.ask(request.clone()).await {
                Ok(answered) => answer = answered,
                Err(error @ RPCError::Unreachable(_)) => {
                    self.appending = None;
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        let answer = match answer {
            Some(answer) => answer,
            None => {
                self.appending = None;
                let opened = self.appending(request).await?;
                let answer = self.appending.insert(opened).last().await;
                let ended = || NetworkError::from_string("the append stream ended early").into();
                answer
                    .and_then(|answer| answer.ok_or_else(ended))
                    .inspect_err(|_| self.appending = None)?
            }
        };
        match answer {
            Ok(matched) if matched == last => Ok(AppendEntriesResponse::Success),
            Ok(matched) => Ok(AppendEntriesResponse::PartialSuccess(matched)),
            refusal @ Err(_) => {
                self.appending = None;
                Ok(refusal.into())
            }
        }
    }

    /// Of entries a stream of its own, until it fails. Heartbeats, of which each is one such call, share one.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        if self.purpose == Purpose::Heartbeat {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let mut client = self.client().await?;
            let (to, sent) = (self.to(), Arc::new(AtomicU64::new(0)));
            let counter = Arc::clone(&sent);
            let requests = input.map(move |request| {
                counter.fetch_add(1, Ordering::AcqRel);
                wire::append_request(to, &request)
            });
            let answers = self.call(client.append(requests)).await?;
            let answers = stream::unfold(Some((answers, 0)), move |state| {
                let sent = Arc::clone(&sent);
                async move {
                    let (mut answers, received) = state?;
                    let answer = next_answer(&mut answers, &sent, received).await?;
                    let goes_on = matches!(answer, Ok(Ok(_))).then_some((answers, received + 1));
                    Some((answer, goes_on))
                }
            });
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let mut client = self.client().await?;
        let request = wire::vote_request(self.to(), &request);
        let response = self.call(client.vote(request)).await?;
        wire::to_vote_response(response).map_err(|error| malformed(&error))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(request).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let mut client = self.client().await?;
        let header = pb::SnapshotHeader {
            to: self.to(),
            vote: Some(wire::vote(&vote)),
            meta: Some(wire::snapshot_meta(&snapshot.meta)),
        };
        // A snapshot that cannot be read ends the stream without its last part: the other refuses.
        let failure = Arc::new(OnceLock::new());
        let parts = parts(self.snapshots.clone(), snapshot.snapshot, header, Arc::clone(&failure));
        let sending =
            tokio::time::timeout(limits::SNAPSHOT_TIMEOUT, client.install_snapshot(parts));
        let sent = async {
            let sent = sending.await;
            if let Some(error) = failure.get() {
                return Err(StreamingError::Network(NetworkError::new(error)));
            }
            sent.map_err(|elapsed| StreamingError::Unreachable(Unreachable::new(&elapsed)))?
                .map_err(|status| refused(&status).into())
        };
        let response = tokio::select! {
            closed = cancel => return Err(closed.into()),
            sent = sent => sent?,
        };
        let vote = wire::to_vote(response.into_inner().vote);
        Ok(SnapshotResponse::new(vote.map_err(|error| malformed(&error))?))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let mut client = self.client().await?;
        let request = pb::TransferLeaderRequest {
            to: self.to(),
            from: Some(wire::vote(request.from_leader())),
            last: request.last_log_id().map(wire::log_id),
            successor: *request.to_node_id(),
        };
        let response = self.call(client.transfer_leader(request)).await?;
        match response.refusal.as_str() {
            "" => Ok(Ok(())),
            refusal => Err(NetworkError::from_string(refusal).into()),
        }
    }
}

/// Why a snapshot was not read to its end.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Snapshot(#[from] crate::SnapshotError),
    #[error(transparent)]
    Lost(#[from] shoal_base::blocking::Lost),
}

/// Where in a snapshot its sender is.
enum Sending {
    Header(SnapshotStore, SnapshotFile, pb::SnapshotHeader),
    Begin(SnapshotStore, SnapshotFile),
    Blocks(Reader, u64),
    Over,
}

/// A file's parts, each read when the one before it was taken.
fn parts(
    store: SnapshotStore,
    file: SnapshotFile,
    header: pb::SnapshotHeader,
    failure: Arc<OnceLock<Unread>>,
) -> impl Stream<Item = pb::SnapshotPart> + Send + 'static {
    stream::unfold(Sending::Header(store, file, header), move |sending| {
        let failure = Arc::clone(&failure);
        async move {
            let next = next_part(sending).await;
            let (part, then) = next.map_err(|error| failure.set(error)).ok()??;
            Some((pb::SnapshotPart { part: Some(part) }, then))
        }
    })
}

async fn next_part(sending: Sending) -> Result<Option<(Part, Sending)>, Unread> {
    let (reader, size) = match sending {
        Sending::Header(store, file, header) => {
            return Ok(Some((Part::Header(header), Sending::Begin(store, file))));
        }
        Sending::Begin(store, file) => (
            shoal_base::blocking::run("open raft snapshot", move || store.reader(&file)).await??,
            0,
        ),
        Sending::Blocks(reader, size) => (reader, size),
        Sending::Over => return Ok(None),
    };
    let read = shoal_base::blocking::run("read raft snapshot", move || {
        let mut reader = reader;
        reader.block().map(|block| (block, reader))
    });
    let (block, reader) = read.await??;
    Ok(Some(match block {
        Some(block) => {
            let size = size + block.len() as u64;
            (Part::Data(block.into()), Sending::Blocks(reader, size))
        }
        None => (Part::End(pb::SnapshotEnd { size }), Sending::Over),
    }))
}

/// For messages about the id of a member.
pub(crate) fn wrong_target(wanted: u64, here: RaftId) -> Status {
    Status::failed_precondition(format!(
        "this is raft member `{here}`, the call is for `{}`",
        RaftId(wanted)
    ))
}
