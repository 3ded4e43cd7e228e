//! Transactions and read indexes of managers that do not lead: sent to the leader.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shoal_base::SharedClock;
use shoal_manager_core::store::codec::decode_transaction;
use shoal_model::error::Chain;
use shoal_proto::store::store_client::StoreClient;
use shoal_proto::store::store_server;
use shoal_proto::store::{ProposeRequest, ProposeResponse, ReadIndexRequest, ReadIndexResponse};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::consensus::{self, Consensus, Leader, Proposed};

/// Time that the leader has for a call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Entries and outcomes are smaller.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The leader did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ForwardError {
    /// Nothing was proposed.
    #[error("failed to reach the leader at `{address}`")]
    Unreachable {
        address: String,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing was proposed.
    #[error("manager at `{address}` does not lead")]
    NotLeader { address: String },
    /// Nothing was proposed.
    #[error("the managers have no quorum")]
    NoQuorum,
    #[error("the answer of the leader was lost")]
    Unknown,
    #[error("entry of {size} bytes is larger than {limit} bytes")]
    Refused { size: usize, limit: usize },
    /// Nothing was proposed.
    #[error("the leader cannot write its log: {reason}")]
    DiskFull { reason: String },
    #[error("consensus of the leader has stopped: {reason}")]
    Stopped { reason: String },
}

/// Reaches the leader.
pub trait Forward: Debug + Send + Sync + 'static {
    /// As [`Consensus::propose`], there.
    fn propose(
        &self,
        leader: &Leader,
        entry: Bytes,
    ) -> BoxFuture<'static, Result<Proposed, ForwardError>>;

    /// As [`Consensus::read_index`], there.
    fn read_index(&self, leader: &Leader) -> BoxFuture<'static, Result<u64, ForwardError>>;
}

/// Gives connections to managers. The composition root puts mTLS and reuse of connections here.
pub trait Channels: Debug + Send + Sync + 'static {
    /// A connection to a manager.
    fn channel(
        &self,
        manager: &Leader,
    ) -> BoxFuture<'static, Result<Channel, Box<dyn std::error::Error + Send + Sync>>>;
}

/// Reaches the leader by gRPC.
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

    async fn client(&self, leader: &Leader) -> Result<StoreClient<Channel>, ForwardError> {
        let channel = tokio::select! {
            channel = self.channels.channel(leader) => channel,
            () = self.clock.sleep(CALL_TIMEOUT) => Err("timed out".into()),
        };
        let channel = channel.map_err(|source| ForwardError::Unreachable {
            address: leader.address.clone(),
            source: source.into(),
        })?;
        let client = StoreClient::new(channel);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES))
    }

    /// The answer of a call; a lost one when it took too long.
    async fn answer<T>(
        &self,
        leader: &Leader,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ForwardError> {
        tokio::select! {
            answer = call => answer.map(Response::into_inner).map_err(|status| failed(leader, status)),
            () = self.clock.sleep(CALL_TIMEOUT) => Err(ForwardError::Unknown),
        }
    }
}

/// Metadata key of the reason; see [`status`].
const REASON: &str = "shoal-reason";

/// What the status of a call means. Anything that did not come from our server leaves it open.
fn failed(leader: &Leader, status: Status) -> ForwardError {
    let address = leader.address.clone();
    let reason = status.metadata().get(REASON).and_then(|reason| reason.to_str().ok());
    let number = |key: &str| {
        let value = status.metadata().get(key).and_then(|value| value.to_str().ok());
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    match reason {
        Some("not-leader") => ForwardError::NotLeader { address },
        Some("no-quorum") => ForwardError::NoQuorum,
        Some("disk-full") => ForwardError::DiskFull { reason: status.message().to_owned() },
        Some("stopped") => ForwardError::Stopped { reason: status.message().to_owned() },
        Some("too-large") => {
            ForwardError::Refused { size: number("shoal-size"), limit: number("shoal-limit") }
        }
        _ if status.code() == Code::PermissionDenied || status.code() == Code::Unauthenticated => {
            ForwardError::Unreachable { address, source: Arc::new(status) }
        }
        _ => ForwardError::Unknown,
    }
}

impl Forward for Remote {
    fn propose(
        &self,
        leader: &Leader,
        entry: Bytes,
    ) -> BoxFuture<'static, Result<Proposed, ForwardError>> {
        let (this, leader) = (self.clone(), leader.clone());
        Box::pin(async move {
            let mut client = this.client(&leader).await?;
            let call = client.propose(ProposeRequest { transaction: entry });
            let ProposeResponse { index, outcome } = this.answer(&leader, call).await?;
            Ok(Proposed { index, response: outcome })
        })
    }

    fn read_index(&self, leader: &Leader) -> BoxFuture<'static, Result<u64, ForwardError>> {
        let (this, leader) = (self.clone(), leader.clone());
        Box::pin(async move {
            let mut client = this.client(&leader).await?;
            let call = client.read_index(ReadIndexRequest {});
            Ok(this.answer(&leader, call).await?.index)
        })
    }
}

/// No way to other managers: for a cluster of one and for tests.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

impl Nowhere {
    fn error(leader: &Leader) -> ForwardError {
        let source =
            Box::<dyn std::error::Error + Send + Sync>::from("there is no way to other managers");
        ForwardError::Unreachable { address: leader.address.clone(), source: source.into() }
    }
}

impl Forward for Nowhere {
    fn propose(
        &self,
        leader: &Leader,
        _entry: Bytes,
    ) -> BoxFuture<'static, Result<Proposed, ForwardError>> {
        Box::pin(std::future::ready(Err(Self::error(leader))))
    }

    fn read_index(&self, leader: &Leader) -> BoxFuture<'static, Result<u64, ForwardError>> {
        Box::pin(std::future::ready(Err(Self::error(leader))))
    }
}

/// Serves the calls of managers that do not lead. Who may call is the server's layer's.
#[derive(Debug)]
pub struct Server {
    consensus: Arc<dyn Consensus>,
}

impl Server {
    /// The service for a tonic server.
    pub fn service(consensus: Arc<dyn Consensus>) -> store_server::StoreServer<Self> {
        let server = store_server::StoreServer::new(Self { consensus });
        server.max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES)
    }
}

/// A refusal that [`failed`] understands.
fn status(error: &consensus::Error) -> Status {
    let (code, reason) = match error {
        consensus::Error::NotLeader { .. } => (Code::FailedPrecondition, "not-leader"),
        consensus::Error::NoQuorum => (Code::Unavailable, "no-quorum"),
        consensus::Error::Unknown => (Code::Aborted, "unknown"),
        consensus::Error::TooLarge { .. } => (Code::InvalidArgument, "too-large"),
        consensus::Error::DiskFull { .. } => (Code::Unavailable, "disk-full"),
        consensus::Error::Stopped { .. } => (Code::Unavailable, "stopped"),
    };
    let message = match error {
        consensus::Error::DiskFull { reason } => reason.clone(),
        error => error.to_string(),
    };
    let mut status = Status::new(code, message);
    let metadata = status.metadata_mut();
    metadata.insert(REASON, tonic::metadata::MetadataValue::from_static(reason));
    match error {
        consensus::Error::TooLarge { size, limit } => {
            metadata.insert("shoal-size", (*size).into());
            metadata.insert("shoal-limit", (*limit).into());
        }
        consensus::Error::NotLeader { leader: Some(leader) } => {
            if let Ok(address) = leader.address.parse() {
                metadata.insert("shoal-leader", address);
            }
        }
        _ => {}
    }
    status
}

#[tonic::async_trait]
impl store_server::Store for Server {
    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        let entry = request.into_inner().transaction;
        // What cannot be applied must not get into the log: every manager would stop at it.
        if let Err(error) = decode_transaction(&entry) {
            return Err(Status::invalid_argument(Chain(&error).to_string()));
        }
        let proposed = self.consensus.propose(entry).await.map_err(|error| status(&error))?;
        let (index, outcome) = (proposed.index, proposed.response);
        Ok(Response::new(ProposeResponse { index, outcome }))
    }

    async fn read_index(
        &self,
        _request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexResponse>, Status> {
        let index = self.consensus.read_index().await.map_err(|error| status(&error))?;
        Ok(Response::new(ReadIndexResponse { index }))
    }
}
