//! Ping, version, info, events, disk usage.

use axum::body::Body;
use futures_util::stream::StreamExt as _;
use http::{HeaderValue, Method, StatusCode, header};
use shoal_model::system::DiskUsageParts;
use shoal_model::{EventQuery, Timestamp};

use super::swarm;
use crate::convert::{filters, system, time};
use crate::error::ApiError;
use crate::request::{Answer, Context, ok, typed};
use crate::stream::sequence;

pub(super) async fn ping(ctx: Context) -> Answer {
    let body = if ctx.parts.method == Method::HEAD { Body::empty() } else { Body::from("OK") };
    let mut response = typed(StatusCode::OK, "text/plain; charset=utf-8", body);
    for (name, value) in [
        ("builder-version", "1"),
        ("swarm", swarm::ping_state(&ctx)),
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("pragma", "no-cache"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

pub(super) async fn version(ctx: Context) -> Answer {
    ok(&system::version(&ctx.ports.system.version()))
}

pub(super) async fn info(ctx: Context) -> Answer {
    let mut info = ctx.ports.system.info().await?;
    let cluster = swarm::info(ctx.ports.cluster.clone()).await;
    info.warnings.extend(swarm::warnings(&cluster));
    ok(&system::info(&info, cluster, ctx.version))
}

/// A time of the query; absent and empty are `None`.
pub(super) fn time_of(ctx: &Context, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let text = ctx.query.text(name);
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = time::parse(text, ctx.ports.clock.now());
    parsed.map(Some).ok_or_else(|| {
        ApiError::bad_request(format!(
            "invalid value for {name}: failed to parse \"{text}\" as a time"
        ))
    })
}

pub(super) async fn events(ctx: Context) -> Answer {
    let (since, until) = (time_of(&ctx, "since")?, time_of(&ctx, "until")?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(ApiError::bad_request(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            ctx.query.text("since"),
            ctx.query.text("until")
        )));
    }
    let filters = filters::events(&filters::raw(ctx.query.text("filters"))?)?;
    let version = ctx.version;
    let events = ctx.ports.system.events(EventQuery { since, until, filters }).await?;
    let lines = events.filter_map(move |item| {
        std::future::ready(match item {
            Ok(event) => Some(sequence::line(&system::event(&event, version), "\n")),
            Err(error) => {
                tracing::warn!(%error, "the event stream broke");
                None
            }
        })
    });
    let mut response = sequence::answer(lines);
    if version.at_least(52) {
        let accept = ctx.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let wanted = ["application/jsonl", "application/x-ndjson"];
        let kind = wanted.into_iter().find(|kind| accept.is_some_and(|text| text.contains(kind)));
        if let Some(kind) = kind {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
    }
    Ok(response)
}

pub(super) async fn disk_usage(ctx: Context) -> Answer {
    let kinds: Vec<&str> = ctx.query.all("type").collect();
    let known = ["container", "image", "volume", "build-cache"];
    if let Some(unknown) = kinds.iter().find(|kind| !known.contains(kind)) {
        return Err(ApiError::bad_request(format!("unknown object type: {unknown}")));
    }
    let wants = |kind| kinds.is_empty() || kinds.contains(&kind);
    let parts = DiskUsageParts {
        images: wants("image"),
        containers: wants("container"),
        volumes: wants("volume"),
    };
    let usage = ctx.ports.system.disk_usage(parts).await?;
    let mut wire =
        system::disk_usage(&usage, ctx.version, ctx.query.flag("verbose"), ctx.ports.clock.now());
    if !wants("build-cache") {
        wire.build_cache = None;
        wire.build_cache_usage = None;
    }
    ok(&wire)
}
