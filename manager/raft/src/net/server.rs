//! The called side: a tonic service for the manager's server.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use futures_util::stream::{self, Stream, StreamExt};
use openraft::raft::{TransferLeaderRequest, VoteRequest, VoteResponse};
use shoal_proto::raft as pb;
use shoal_proto::raft::raft_server::{Raft as RaftCalls, RaftServer};
use tonic::{Request, Response, Status, Streaming};

use super::client::wrong_target;
use crate::handle::Core;
use crate::probation::Probation;
use crate::settings::limits;
use crate::snapshot::machine::Snapshot;
use crate::snapshot::store::{SnapshotFile, SnapshotStore};
use crate::types::{SnapshotMeta, Types, Vote};
use crate::wire::{self, Malformed};
use crate::{RaftId, SnapshotError};

/// The service to add to a tonic router.
pub type Service = RaftServer<Server>;

/// Handles the calls of other members.
pub struct Server {
    core: Core,
    id: RaftId,
    snapshots: SnapshotStore,
    probation: Probation,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(crate) fn service(
    core: Core,
    id: RaftId,
    snapshots: SnapshotStore,
    probation: Probation,
) -> Service {
    RaftServer::new(Server { core, id, snapshots, probation })
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES)
}

fn invalid(error: Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("consensus has stopped: {error}"))
}

fn check(to: u64, here: RaftId) -> Result<(), Status> {
    if to == here.0 { Ok(()) } else { Err(wrong_target(to, here)) }
}

type Answers = Pin<Box<dyn Stream<Item = Result<pb::AppendResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RaftCalls for Server {
    type AppendStream = Answers;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (id, probation) = (self.id, self.probation.clone());
        // Why requests are no longer taken: said once those before are answered.
        let refusal = Arc::new(OnceLock::new());
        let refused = Arc::clone(&refusal);
        let requests = request.into_inner().scan((), move |(), request| {
            let request = request.and_then(|request| {
                check(request.to, id)?;
                wire::to_append_request(request).map_err(invalid)
            });
            if let Ok(request) = &request {
                probation.heard(request);
            }
            let request = request.map_err(|status| refused.set(status));
            std::future::ready(request.ok())
        });
        let last = stream::once(std::future::ready(()))
            .filter_map(move |()| std::future::ready(refusal.get().cloned().map(Err)));
        let answers = self.core.stream_append(requests).map(|answer| match answer {
            Ok(result) => Ok(wire::append_response(&result)),
            Err(fatal) => Err(stopped(fatal)),
        });
        Ok(Response::new(Box::pin(answers.chain(last))))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let request = request.into_inner();
        check(request.to, self.id)?;
        let request = wire::to_vote_request(request).map_err(invalid)?;
        let response = if self.probation.permits(&request) {
            self.core.vote(request).await.map_err(stopped)?
        } else {
            self.refuse(request).await?
        };
        Ok(Response::new(wire::vote_response(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let request = request.into_inner();
        check(request.to, self.id)?;
        let request = wire::to_vote_request(request).map_err(invalid)?;
        let response = if self.probation.permits(&request) {
            self.core.pre_vote(request).await.map_err(stopped)?
        } else {
            self.refuse(request).await?
        };
        Ok(Response::new(wire::vote_response(&response)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotResponse>, Status> {
        let mut parts = request.into_inner();
        let (vote, meta) = self.header(&mut parts).await?;
        let file = self.receive(&meta, &mut parts).await?;
        let snapshot = Snapshot { meta, snapshot: file.clone() };
        let installed = self.core.install_full_snapshot(vote, snapshot).await;
        // Refused, or adopted under another name: then there is nothing left to remove.
        self.snapshots.discard(&file.path);
        let response = installed.map_err(stopped)?;
        Ok(Response::new(pb::SnapshotResponse { vote: Some(wire::vote(&response.vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        check(request.to, self.id)?;
        let from = wire::to_vote(request.from).map_err(invalid)?;
        let last = request.last.map(wire::to_log_id);
        let request = TransferLeaderRequest::new(from, request.successor, last);
        let answer = self.core.handle_transfer_leader(request).await.map_err(stopped)?;
        let refusal = answer.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(pb::TransferLeaderResponse { refusal }))
    }
}

impl Server {
    /// Says what this member has, and that it does not vote.
    async fn refuse(&self, request: VoteRequest<Types>) -> Result<VoteResponse<Types>, Status> {
        let response = self.core.pre_vote(request).await.map_err(stopped)?;
        Ok(VoteResponse { vote_granted: false, ..response })
    }

    async fn header(
        &self,
        parts: &mut Streaming<pb::SnapshotPart>,
    ) -> Result<(Vote, SnapshotMeta), Status> {
        let first = parts.message().await?.and_then(|part| part.part);
        let Some(pb::snapshot_part::Part::Header(header)) = first else {
            return Err(invalid(Malformed { field: "header" }));
        };
        check(header.to, self.id)?;
        let meta = header.meta.ok_or(Malformed { field: "meta" }).and_then(wire::to_snapshot_meta);
        Ok((wire::to_vote(header.vote).map_err(invalid)?, meta.map_err(invalid)?))
    }

    /// Writes the state that follows the header to a file.
    async fn receive(
        &self,
        meta: &SnapshotMeta,
        parts: &mut Streaming<pb::SnapshotPart>,
    ) -> Result<SnapshotFile, Status> {
        let (store, meta) = (self.snapshots.clone(), meta.clone());
        let mut incoming = on_disk(move || store.incoming(&meta)).await?;
        let expected = loop {
            match parts.message().await?.and_then(|part| part.part) {
                Some(pb::snapshot_part::Part::Data(block)) => {
                    incoming = on_disk(move || {
                        incoming.write(&block)?;
                        Ok(incoming)
                    })
                    .await?;
                }
                Some(pb::snapshot_part::Part::End(end)) => break end.size,
                _ => return Err(Status::data_loss("the raft snapshot was cut off")),
            }
        };
        let (file, size) = on_disk(move || incoming.finish()).await?;
        if size != expected {
            self.snapshots.discard(&file.path);
            return Err(Status::data_loss("the raft snapshot has another size"));
        }
        Ok(file)
    }
}

/// One step of a snapshot that arrives.
async fn on_disk<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Status> {
    let failed = |error: &dyn std::error::Error| Status::internal(error.to_string());
    let done = shoal_base::blocking::run("receive raft snapshot", step).await;
    done.map_err(|lost| failed(&lost))?.map_err(|error| failed(&error))
}
