//! What is done within the containers of this node's tasks, but execs.

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use shoal_base::tasks::Tasks;
use shoal_model::error::{ErrorKind, Failure};
use shoal_proto::node::archive_response::What as Sent;
use shoal_proto::node::exec_input::What as In;
use shoal_proto::node::unarchive_request::What as Received;
use shoal_proto::node::{
    ArchiveRequest, ArchiveResponse, AttachBegin, ExecInput, ExecOutput, ForwardBegin,
    StatsRequest, StatsResponse, UnarchiveBegin, UnarchiveRequest, UnarchiveResponse, VisitRequest,
    VisitResponse,
};
use shoal_proto::{codec, status};
use tonic::{Status, Streaming};

use super::exec::{attached, bad, task};
use crate::executor::Executor;

/// A message of an archive at most; the engine reads larger pieces.
const CHUNK_BYTES_MAX: usize = 256 << 10;

fn refused(failure: Failure) -> Status {
    status::of(&failure)
}

pub(super) async fn attach(
    executor: &dyn Executor,
    mut inputs: Streaming<ExecInput>,
    tasks: &Tasks,
) -> Result<BoxStream<'static, Result<ExecOutput, Status>>, Status> {
    let session = match inputs.message().await?.and_then(|input| input.what) {
        Some(In::Attach(AttachBegin { task: id, options })) => {
            let options = codec::decode("options of attach", &options).map_err(|e| bad(&e))?;
            executor.attach(task(&id)?, options).await
        }
        Some(In::Forward(ForwardBegin { task: id, port })) => {
            let port = u16::try_from(port).ok().filter(|port| *port != 0);
            let port = port.ok_or_else(|| Status::invalid_argument("ports are 1 to 65535"))?;
            executor.forward(task(&id)?, port).await
        }
        Some(In::Begin(_) | In::Data(_) | In::End(_)) | None => {
            return Err(Status::invalid_argument("the first message must say where to"));
        }
    };
    Ok(attached(session.map_err(refused)?, inputs, tasks))
}

pub(super) async fn visit(
    executor: &dyn Executor,
    request: VisitRequest,
) -> Result<VisitResponse, Status> {
    let visit = codec::decode("visit", &request.visit).map_err(|error| bad(&error))?;
    let visited = executor.visit(task(&request.task)?, visit).await.map_err(refused)?;
    Ok(VisitResponse { visited: codec::encode(&visited) })
}

pub(super) async fn stats(
    executor: &dyn Executor,
    request: StatsRequest,
) -> Result<BoxStream<'static, Result<StatsResponse, Status>>, Status> {
    let samples = executor.stats(task(&request.task)?).await.map_err(refused)?;
    let message = |sample| StatsResponse { sample: codec::encode(&sample) };
    Ok(samples.map(move |sample| sample.map(message).map_err(refused)).boxed())
}

pub(super) async fn archive(
    executor: &dyn Executor,
    request: ArchiveRequest,
) -> Result<BoxStream<'static, Result<ArchiveResponse, Status>>, Status> {
    let archive = executor.archive(task(&request.task)?, &request.path).await;
    let (stat, bytes) = archive.map_err(refused)?;
    let first = stream::iter([Ok(Sent::Stat(codec::encode(&stat)))]);
    let chunks = bytes.flat_map(|bytes| {
        let chunks = match bytes {
            Ok(mut bytes) => {
                let mut chunks = Vec::new();
                while !bytes.is_empty() {
                    chunks.push(Ok(Sent::Data(bytes.split_to(bytes.len().min(CHUNK_BYTES_MAX)))));
                }
                chunks
            }
            Err(failure) => vec![Err(refused(failure))],
        };
        stream::iter(chunks)
    });
    Ok(first.chain(chunks).map(|what| Ok(ArchiveResponse { what: Some(what?) })).boxed())
}

pub(super) async fn unarchive(
    executor: &dyn Executor,
    mut messages: Streaming<UnarchiveRequest>,
) -> Result<UnarchiveResponse, Status> {
    let first = messages.message().await?.and_then(|message| message.what);
    let Some(Received::Begin(UnarchiveBegin { task: id, path, options })) = first else {
        return Err(Status::invalid_argument("the first message must say where to"));
    };
    let options = codec::decode("options of an archive", &options).map_err(|error| bad(&error))?;
    let bytes = stream::unfold(Some(messages), |messages| async {
        let mut messages = messages?;
        match messages.message().await {
            Ok(Some(UnarchiveRequest { what: Some(Received::Data(bytes)) })) => {
                Some((Ok(bytes), Some(messages)))
            }
            Ok(Some(UnarchiveRequest { what: Some(Received::End(_)) })) => None,
            Ok(_) => Some((Err(broken()), None)),
            Err(error) => Some((Err(status::failure(&error)), None)),
        }
    });
    executor.unarchive(task(&id)?, &path, options, bytes.boxed()).await.map_err(refused)?;
    Ok(UnarchiveResponse {})
}

/// Half of an archive must not pass for the whole.
fn broken() -> Failure {
    Failure::new(ErrorKind::Cancelled, "the archive broke off")
}
