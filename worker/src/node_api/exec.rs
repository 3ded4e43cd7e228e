//! Execs in this node's tasks.

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_model::cluster::TaskId;
use shoal_model::container::{Input, Output, OutputKind};
use shoal_model::error::Chain;
use shoal_model::exec::ExecStart;
use shoal_proto::node::exec_input::What as In;
use shoal_proto::node::exec_output::What as Out;
use shoal_proto::node::{
    ExecBegan, ExecBegin, ExecCreateRequest, ExecCreateResponse, ExecInput, ExecInspectRequest,
    ExecInspectResponse, ExecName, ExecOutput, ExecResizeRequest, ExecResizeResponse,
};
use shoal_proto::{codec, status};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::executor::{Executor, Session};

pub(super) fn bad(error: &codec::Error) -> Status {
    Status::invalid_argument(Chain(error).to_string())
}

pub(super) fn task(bytes: &[u8]) -> Result<TaskId, Status> {
    codec::id(bytes).map(TaskId::from_bytes).map_err(|error| bad(&error))
}

fn name(name: Option<ExecName>) -> Result<(TaskId, String), Status> {
    let name = name.ok_or_else(|| Status::invalid_argument("an exec must be named"))?;
    Ok((task(&name.task)?, name.exec))
}

pub(super) async fn create(
    executor: &dyn Executor,
    request: ExecCreateRequest,
) -> Result<ExecCreateResponse, Status> {
    let task = task(&request.task)?;
    let spec = codec::decode("exec's spec", &request.spec).map_err(|error| bad(&error))?;
    let created = executor.exec_create(task, spec).await;
    let exec = created.map_err(|failure| status::of(&failure))?.to_string();
    Ok(ExecCreateResponse { exec })
}

pub(super) async fn resize(
    executor: &dyn Executor,
    request: ExecResizeRequest,
) -> Result<ExecResizeResponse, Status> {
    let (task, exec) = name(request.name)?;
    let resized = executor.exec_resize(task, &exec, request.rows, request.columns).await;
    resized.map_err(|failure| status::of(&failure))?;
    Ok(ExecResizeResponse {})
}

pub(super) async fn inspect(
    executor: &dyn Executor,
    request: ExecInspectRequest,
) -> Result<ExecInspectResponse, Status> {
    let (task, exec) = name(request.name)?;
    let details = executor.exec_inspect(task, &exec).await;
    let details = codec::encode(&details.map_err(|failure| status::of(&failure))?);
    Ok(ExecInspectResponse { details })
}

pub(super) async fn start(
    executor: &dyn Executor,
    mut inputs: Streaming<ExecInput>,
    tasks: &Tasks,
) -> Result<BoxStream<'static, Result<ExecOutput, Status>>, Status> {
    let first = inputs.message().await?.and_then(|input| input.what);
    let Some(In::Begin(ExecBegin { name: named, start })) = first else {
        return Err(Status::invalid_argument("the first message must say which exec begins"));
    };
    let (task, exec) = name(named)?;
    let start: ExecStart = codec::decode("exec's start", &start).map_err(|error| bad(&error))?;
    let started = executor.exec_start(task, &exec, start).await;
    let Some(session) = started.map_err(|failure| status::of(&failure))? else {
        let began = Out::Began(ExecBegan { attached: false, tty: start.tty, has_stdin: false });
        return Ok(stream::iter([Ok(ExecOutput { what: Some(began) })]).boxed());
    };
    Ok(attached(session, inputs, tasks))
}

/// What a session gives as the messages of a call; what the caller sends goes to it.
pub(super) fn attached(
    session: Session,
    inputs: Streaming<ExecInput>,
    tasks: &Tasks,
) -> BoxStream<'static, Result<ExecOutput, Status>> {
    let Session { output, input, tty } = session;
    let began = Out::Began(ExecBegan { attached: true, tty, has_stdin: input.is_some() });
    if let Some(input) = input {
        tasks.spawn(TaskKind::ClusterConnection, forward(inputs, input));
    }
    let output = output.map(|output| match output {
        Ok(Output { kind: OutputKind::Stdout, bytes }) => Ok(Out::Stdout(bytes.into())),
        Ok(Output { kind: OutputKind::Stderr, bytes }) => Ok(Out::Stderr(bytes.into())),
        Err(failure) => Err(status::of(&failure)),
    });
    let messages = stream::iter([Ok(began)]).chain(output);
    messages.map(|what| Ok(ExecOutput { what: Some(what?) })).boxed()
}

/// Hands stdin on, until the call or the process ends.
async fn forward(mut inputs: Streaming<ExecInput>, input: mpsc::Sender<Input>) {
    // The end of the call is no end of stdin: dropping the sender says that the client vanished.
    while let Ok(Some(message)) = inputs.message().await {
        let message = match message.what {
            Some(In::Data(bytes)) => Input::Data(bytes.into()),
            Some(In::End(end)) if end.detached => Input::Detached,
            Some(In::End(_)) => Input::End,
            Some(In::Begin(_) | In::Attach(_) | In::Forward(_)) | None => continue,
        };
        if input.send(message).await.is_err() {
            return;
        }
    }
}
