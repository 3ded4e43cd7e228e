//! Execs.

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use shoal_api_wire::container::IdResponse;
use shoal_api_wire::exec as wire;
use shoal_model::Failure;
use shoal_model::container::{Output, OutputKind};
use shoal_model::exec::{ExecSpec, ExecStart};

use super::attach::detach_keys;
use super::containers::dimensions;
use crate::error::{ApiError, Verb, during, message};
use crate::ports::Session;
use crate::request::{Answer, Context, empty, json_answer, ok};
use crate::stream::hijack;

fn size(console: Option<[u32; 2]>) -> Option<(u32, u32)> {
    console.filter(|size| *size != [0, 0]).map(|[rows, columns]| (rows, columns))
}

pub(super) async fn create(mut ctx: Context) -> Answer {
    let spec = spec(&mut ctx).await?;
    let created = ctx.ports.execs.create(ctx.name(), spec).await;
    let id = created.map_err(during(Verb::ExecCreate))?.to_string();
    json_answer(StatusCode::CREATED, &IdResponse { id })
}

/// Shoal's own: an exec in a task of the cluster, wherever it runs (ADR 0008).
pub(super) async fn create_in_task(mut ctx: Context) -> Answer {
    let spec = spec(&mut ctx).await?;
    let created = super::swarm::port(&ctx)?.exec_create(ctx.name(), spec).await;
    let id = created.map_err(during(Verb::ExecCreate))?;
    json_answer(StatusCode::CREATED, &IdResponse { id })
}

async fn spec(ctx: &mut Context) -> Result<ExecSpec, ApiError> {
    let body: wire::CreateBody = ctx.json().await?;
    let command = body.cmd.unwrap_or_default().0;
    if command.is_empty() {
        return Err(ApiError::bad_request("No exec command specified"));
    }
    detach_keys(&body.detach_keys)?;
    Ok(ExecSpec {
        command,
        env: body.env.unwrap_or_default(),
        user: body.user,
        working_dir: body.working_dir,
        privileged: body.privileged,
        tty: body.tty,
        attach_stdin: body.attach_stdin,
        attach_stdout: body.attach_stdout,
        attach_stderr: body.attach_stderr,
        detach_keys: Some(body.detach_keys).filter(|keys| !keys.is_empty()),
        console_size: size(body.console_size).filter(|_| ctx.version.at_least(42)),
    })
}

/// A program that cannot be run is told in the stream, as dockerd does: the client has been promised one.
pub(super) async fn start(mut ctx: Context) -> Answer {
    let body: wire::StartBody = ctx.json().await?;
    let details = ctx.ports.execs.inspect(ctx.name()).await?;
    let keys = detach_keys(details.spec.detach_keys.as_deref().unwrap_or_default())?;
    let start =
        ExecStart { detach: body.detach, tty: body.tty, console_size: size(body.console_size) };
    if body.detach {
        let started = ctx.ports.execs.start(ctx.name(), start).await;
        started.map_err(|failure| ApiError::of(&failure, Verb::ExecStart))?;
        return empty(StatusCode::OK);
    }
    let (execs, id, tty) = (ctx.ports.execs.clone(), ctx.name().to_owned(), details.spec.tty);
    let session = async move {
        match execs.start(&id, start).await {
            Ok(Some(session)) => session,
            Ok(None) => Session { output: stream::empty().boxed(), input: None, tty },
            // The answer has begun: as in docker, the words go to the process's output.
            Err(failure) => refusal(&failure, tty),
        }
    };
    hijack::answer_then(ctx, tty, keys, session.boxed()).await
}

fn refusal(failure: &Failure, tty: bool) -> Session {
    let bytes = format!("{}\r\n", message(failure, Verb::ExecStart)).into_bytes();
    let output = Output { kind: OutputKind::Stdout, bytes };
    Session { output: stream::iter([Ok(output)]).boxed(), input: None, tty }
}

pub(super) async fn resize(ctx: Context) -> Answer {
    let (rows, columns) = dimensions(&ctx)?;
    ctx.ports.execs.resize(ctx.name(), rows, columns).await?;
    empty(StatusCode::OK)
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    let details = ctx.ports.execs.inspect(ctx.name()).await?;
    let spec = details.spec;
    let mut words = spec.command.into_iter();
    ok(&wire::ExecInspect {
        id: ctx.name().to_owned(),
        running: details.running,
        exit_code: details.exit_code.map(Into::into),
        process_config: wire::ProcessConfig {
            tty: spec.tty,
            entrypoint: words.next().unwrap_or_default(),
            arguments: words.collect(),
            privileged: Some(spec.privileged),
            user: spec.user,
        },
        open_stdin: spec.attach_stdin,
        open_stderr: spec.attach_stderr,
        open_stdout: spec.attach_stdout,
        can_remove: details.can_remove,
        container_id: details.container.to_string(),
        detach_keys: spec.detach_keys.unwrap_or_default(),
        pid: details.pid.into(),
    })
}
