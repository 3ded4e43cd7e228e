//! What docker's API has no room for, under a path of our own (ADR 7): how the cluster, its services and nodes are, backup,
//! restore, the wishes that a service had.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use http::StatusCode;
use serde::Deserialize;
use shoal_model::cluster::overview::Restore;
use shoal_model::cluster::request::{AuthFrom, ServiceUpdate};

use super::swarm::{membership, port, version};
use crate::convert::cluster::{overview, report};
use crate::error::ApiError;
use crate::request::{Answer, Context, ok, typed};
use crate::stream::{hijack, sequence};

/// Carries the passphrase of a backup, in base64: the body is the backup itself.
const PASSPHRASE: &str = "x-shoal-passphrase";

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BackupRequest {
    passphrase: String,
}

pub(super) async fn status(ctx: Context) -> Answer {
    ok(&overview::overview(&port(&ctx)?.overview().await?))
}

pub(super) async fn backup(mut ctx: Context) -> Answer {
    let body: BackupRequest = ctx.json().await?;
    let bytes = port(&ctx)?.backup(body.passphrase).await?;
    let body = Body::from_stream(bytes.map(|item| item.map_err(hijack::broken)));
    Ok(typed(StatusCode::OK, "application/octet-stream", body))
}

pub(super) async fn restore(mut ctx: Context) -> Answer {
    let bad =
        || ApiError::bad_request(format!("header {PASSPHRASE} must be a passphrase in base64"));
    let passphrase = ctx.headers().get(PASSPHRASE).ok_or_else(bad)?;
    let passphrase = STANDARD.decode(passphrase.as_bytes()).map_err(|_| bad())?;
    let passphrase = String::from_utf8(passphrase).map_err(|_| bad())?;
    let text = |name: &str| ctx.query.text(name).to_owned();
    let request = Restore {
        listen: text("listenAddr"),
        advertise: text("advertiseAddr"),
        data_path: text("dataPathAddr"),
        passphrase,
    };
    let cluster = membership(&ctx)?;
    let bytes = ctx.stream();
    let node = cluster.restore(request, bytes).await?;
    ok(&serde_json::json!({ "NodeID": node.to_string() }))
}

/// Why the tasks of a service are not where they should be.
pub(super) async fn explain(ctx: Context) -> Answer {
    ok(&report::explanation(&port(&ctx)?.explain_service(ctx.name()).await?))
}

/// The wishes that a service had, the newest first.
pub(super) async fn revisions(ctx: Context) -> Answer {
    ok(&report::revisions(&port(&ctx)?.service(ctx.name()).await?.service))
}

/// Goes back to one of them.
pub(super) async fn rollback(ctx: Context) -> Answer {
    let to = ctx.query.number("to")?;
    let revision = to.ok_or_else(|| ApiError::bad_request("the revision must be named: to=N"))?;
    let update = ServiceUpdate {
        rollback: true,
        revision: Some(revision),
        auth_from: Some(AuthFrom::Spec),
        ..ServiceUpdate::default()
    };
    let warnings =
        port(&ctx)?.update_service(ctx.name(), version(&ctx, "service")?, update).await?;
    ok(&serde_json::json!({ "Warnings": warnings }))
}

/// What a node that is being drained still holds; with `follow` a line for each change.
pub(super) async fn drain(ctx: Context) -> Answer {
    let reports = port(&ctx)?.drain(ctx.name(), ctx.query.flag("follow")).await?;
    let line = |report| sequence::line(&report::drain(&report), "\n");
    Ok(sequence::answer(reports.map(line)))
}
