//! Logs and statistics.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use http::StatusCode;
use shoal_model::container::{LogOptions, LogRecord, Output, StatsSample};

use super::system::time_of;
use crate::convert::{stats as convert, time};
use crate::error::ApiError;
use crate::request::{Answer, Context, ok, typed};
use crate::stream::frame::{self, MULTIPLEXED, RAW};
use crate::stream::{hijack, sequence};

pub(super) async fn logs(ctx: Context) -> Answer {
    let (stdout, stderr) = (ctx.query.flag("stdout"), ctx.query.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::bad_request("Bad parameters: you must choose at least one stream"));
    }
    let options = LogOptions {
        stdout,
        stderr,
        follow: ctx.query.flag("follow"),
        since: time_of(&ctx, "since")?.filter(|since| since.nanos() != 0),
        until: time_of(&ctx, "until")?.filter(|until| until.nanos() != 0),
        // Docker takes everything that is no number for "all".
        tail: ctx.query.text("tail").parse().ok(),
    };
    let shape =
        Shape { timestamps: ctx.query.flag("timestamps"), details: ctx.query.flag("details") };
    let logs = ctx.ports.containers.logs(ctx.name(), options).await?;
    let framed = !logs.tty;
    let lines = logs.records.map(move |item| {
        Ok::<Bytes, std::convert::Infallible>(match item {
            Ok(record) => frame::encode(shape.output(record), framed),
            Err(failure) => frame::log_failure(&failure, framed),
        })
    });
    let kind = if framed && ctx.version.at_least(42) { MULTIPLEXED } else { RAW };
    Ok(typed(StatusCode::OK, kind, Body::from_stream(lines)))
}

/// What is put in front of each line.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) timestamps: bool,
    pub(super) details: bool,
}

impl Shape {
    pub(super) fn output(self, record: LogRecord) -> Output {
        let mut bytes = Vec::with_capacity(record.line.len() + 40);
        if self.timestamps {
            bytes.extend_from_slice(time::fixed(record.at).as_bytes());
            bytes.push(b' ');
        }
        if self.details {
            let pairs = record.attributes.iter();
            let escape = shoal_api_wire::client::escape;
            let pairs: Vec<_> =
                pairs.map(|(k, v)| format!("{}={}", escape(k), escape(v))).collect();
            bytes.extend_from_slice(pairs.join(",").as_bytes());
            bytes.push(b' ');
        }
        bytes.extend_from_slice(&record.line);
        Output { kind: record.kind, bytes }
    }
}

pub(super) async fn stats(ctx: Context) -> Answer {
    let follow = ctx.query.flag_or("stream", true);
    let one_shot = ctx.query.flag("one-shot") && ctx.version.at_least(41);
    if follow && one_shot {
        return Err(ApiError::bad_request("cannot have stream=true and one-shot=true"));
    }
    let (id, name) = ctx.inside().called(ctx.name()).await?;
    let mut samples = ctx.inside().stats(ctx.name()).await?;
    if follow {
        let mut before: Option<StatsSample> = None;
        let lines = samples.filter_map(move |item| {
            let line = item.ok().map(|sample| {
                let line =
                    sequence::line(&convert::stats(&id, &name, &sample, before.as_ref()), "\n");
                before = Some(sample);
                line
            });
            std::future::ready(line)
        });
        return Ok(sequence::answer(lines));
    }
    let first = samples.next().await.transpose()?.unwrap_or_default();
    if one_shot || first.at.is_none() {
        return ok(&convert::stats(&id, &name, &first, None));
    }
    match samples.next().await.transpose()? {
        Some(second) => ok(&convert::stats(&id, &name, &second, Some(&first))),
        None => ok(&convert::stats(&id, &name, &first, None)),
    }
}

/// An archive as it comes.
pub(super) fn archive(bytes: crate::ports::ByteStream) -> axum::response::Response {
    let body = Body::from_stream(bytes.map(|item| item.map_err(hijack::broken)));
    typed(StatusCode::OK, "application/x-tar", body)
}
