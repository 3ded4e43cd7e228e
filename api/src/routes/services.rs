//! Services, tasks and their logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use http::StatusCode;
use shoal_api_wire::swarm::service as wire;
use shoal_model::cluster::ClusterNetwork;
use shoal_model::cluster::logs::{LogLine, LogQuery};
use shoal_model::cluster::request::{AuthFrom, ServiceUpdate};
use shoal_model::container::{LogRecord, OutputKind};
use shoal_model::{ErrorKind, Failure};

use super::logs::Shape;
use super::swarm::{port, version};
use super::system::time_of;
use crate::convert::cluster::{filters, service, service_out, task};
use crate::convert::filters::raw;
use crate::error::ApiError;
use crate::ports::Stream;
use crate::request::{Answer, Context, empty, json_answer, ok, typed};
use crate::stream::frame::{self, MULTIPLEXED, RAW};

fn auth(ctx: &Context) -> String {
    let header = ctx.headers().get("x-registry-auth").and_then(|value| value.to_str().ok());
    header.unwrap_or_default().to_owned()
}

pub(super) async fn list(ctx: Context) -> Answer {
    let filters = filters::services(&raw(ctx.query.text("filters"))?)?;
    let services = port(&ctx)?.services(filters, ctx.query.flag("status")).await?;
    ok(&services.iter().map(|view| service_out::service(view, false)).collect::<Vec<_>>())
}

pub(super) async fn create(mut ctx: Context) -> Answer {
    let body: wire::ServiceSpec = ctx.json().await?;
    let spec = service::spec(body, &auth(&ctx))?;
    let (id, warnings) = port(&ctx)?.create_service(spec).await?;
    let warnings = (!warnings.is_empty()).then_some(warnings);
    json_answer(StatusCode::CREATED, &wire::CreateResponse { id: id.to_string(), warnings })
}

pub(super) async fn inspect(ctx: Context) -> Answer {
    let view = port(&ctx)?.service(ctx.name()).await?;
    ok(&service_out::service(&view, ctx.query.flag("insertDefaults")))
}

pub(super) async fn update(mut ctx: Context) -> Answer {
    let body: wire::ServiceSpec = ctx.json().await?;
    let rollback = match ctx.query.text("rollback") {
        "" | "none" => false,
        "previous" => true,
        other => {
            return Err(ApiError::bad_request(format!("unrecognized rollback option {other}")));
        }
    };
    let from = match ctx.query.text("registryAuthFrom") {
        "" | "spec" => AuthFrom::Spec,
        "previous-spec" => AuthFrom::PreviousSpec,
        _ => return Err(ApiError::bad_request("unsupported registryAuthFrom value")),
    };
    let auth = auth(&ctx);
    // A rollback takes the previous wish; what the body holds is not looked at.
    let spec = if rollback { Default::default() } else { service::spec(body, &auth)? };
    let auth_from = auth.is_empty().then_some(from);
    let update = ServiceUpdate { spec, rollback, revision: None, auth_from };
    let warnings =
        port(&ctx)?.update_service(ctx.name(), version(&ctx, "service")?, update).await?;
    ok(&wire::UpdateResponse { warnings: (!warnings.is_empty()).then_some(warnings) })
}

pub(super) async fn remove(ctx: Context) -> Answer {
    port(&ctx)?.remove_service(ctx.name()).await?;
    empty(StatusCode::OK)
}

pub(super) async fn tasks(ctx: Context) -> Answer {
    let filters = filters::tasks(&raw(ctx.query.text("filters"))?)?;
    let port = port(&ctx)?;
    let (tasks, networks) = (port.tasks(filters).await?, port.networks().await?);
    let networks = by_id(&networks);
    ok(&tasks
        .iter()
        .map(|one| task::task(one, |id| networks.get(&id).copied()))
        .collect::<Vec<_>>())
}

pub(super) async fn task(ctx: Context) -> Answer {
    let port = port(&ctx)?;
    let (task, networks) = (port.task(ctx.name()).await?, port.networks().await?);
    let networks = by_id(&networks);
    ok(&task::task(&task, |id| networks.get(&id).copied()))
}

fn by_id(
    networks: &[Arc<ClusterNetwork>],
) -> BTreeMap<shoal_model::cluster::ClusterNetworkId, &ClusterNetwork> {
    networks.iter().map(|network| (network.id, &**network)).collect()
}

pub(super) async fn service_logs(ctx: Context) -> Answer {
    let query = log_query(&ctx)?;
    let port = port(&ctx)?;
    let tty = port.service(ctx.name()).await?.service.spec.task.container.tty;
    let lines = port.service_logs(ctx.name(), query).await?;
    Ok(logs(&ctx, lines, tty))
}

pub(super) async fn task_logs(ctx: Context) -> Answer {
    let query = log_query(&ctx)?;
    let port = port(&ctx)?;
    let tty = port.task(ctx.name()).await?.spec.container.tty;
    let lines = port.task_logs(ctx.name(), query).await?;
    Ok(logs(&ctx, lines, tty))
}

fn log_query(ctx: &Context) -> Result<LogQuery, ApiError> {
    let (stdout, stderr) = (ctx.query.flag("stdout"), ctx.query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::bad_request("Bad parameters: you must choose at least one stream"));
    }
    Ok(LogQuery {
        follow: ctx.query.flag("follow"),
        stdout,
        stderr,
        since: time_of(ctx, "since")?.filter(|since| since.nanos() != 0),
        tail: tail(ctx.query.text("tail"))?,
    })
}

/// Source: moby `daemon/cluster/services.go ServiceLogs`, which is stricter than for containers.
fn tail(text: &str) -> Result<Option<u64>, ApiError> {
    let refused = |message: &str| Err(Failure::new(ErrorKind::Internal, message).into());
    match text {
        "" | "all" => Ok(None),
        number => match number.parse::<i64>() {
            Ok(lines) => match u64::try_from(lines) {
                Ok(lines) => Ok(Some(lines)),
                Err(_) => refused("negative tail values not supported"),
            },
            Err(_) => refused("tail value must be a positive integer or \"all\""),
        },
    }
}

fn logs(ctx: &Context, lines: Stream<LogLine>, tty: bool) -> axum::response::Response {
    let shape =
        Shape { timestamps: ctx.query.flag("timestamps"), details: ctx.query.flag("details") };
    let frames = lines.map(move |item| {
        Ok::<Bytes, std::convert::Infallible>(match item {
            Ok(line) => frame::encode(shape.output(record(line)), !tty),
            Err(failure) => frame::log_failure(&failure, !tty),
        })
    });
    let kind = if !tty && ctx.version.at_least(42) { MULTIPLEXED } else { RAW };
    typed(StatusCode::OK, kind, Body::from_stream(frames))
}

/// The origin is among the details, from which docker's CLI reads it.
///
/// Source: moby `daemon/cluster/services.go ServiceLogs`.
fn record(line: LogLine) -> LogRecord {
    let mut attributes: BTreeMap<String, String> = line.details.into_iter().collect();
    attributes.insert("com.docker.swarm.node.id".to_owned(), line.origin.node.to_string());
    let service = line.origin.service.map(|id| id.to_string()).unwrap_or_default();
    attributes.insert("com.docker.swarm.service.id".to_owned(), service);
    attributes.insert("com.docker.swarm.task.id".to_owned(), line.origin.task.to_string());
    LogRecord {
        kind: if line.is_error { OutputKind::Stderr } else { OutputKind::Stdout },
        at: line.at,
        line: line.line,
        attributes: attributes.into_iter().collect(),
    }
}
