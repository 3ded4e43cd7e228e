//! Attach.

use shoal_model::container::AttachOptions;

use crate::error::{ApiError, Verb, during};
use crate::request::{Answer, Context};
use crate::stream::{detach, hijack, websocket};

/// Parses detach keys of a client.
pub(super) fn detach_keys(text: &str) -> Result<Vec<u8>, ApiError> {
    detach::parse(text)
        .ok_or_else(|| ApiError::bad_request(format!("Invalid detach keys ({text}) provided")))
}

fn options(ctx: &Context) -> AttachOptions {
    AttachOptions {
        logs: ctx.query.flag("logs"),
        stream: ctx.query.flag("stream"),
        stdin: ctx.query.flag("stdin"),
        stdout: ctx.query.flag("stdout"),
        stderr: ctx.query.flag("stderr"),
    }
}

pub(super) async fn attach(ctx: Context) -> Answer {
    let keys = detach_keys(ctx.query.text("detachKeys"))?;
    let options = options(&ctx);
    let attached = ctx.inside().attach(ctx.name(), options).await;
    hijack::answer(ctx, attached.map_err(during(Verb::Attach))?, keys).await
}

pub(super) async fn websocket(ctx: Context) -> Answer {
    let keys = detach_keys(ctx.query.text("detachKeys"))?;
    let accepted = websocket::handshake(&ctx)?;
    let options = options(&ctx);
    let attached = ctx.inside().attach(ctx.name(), options).await;
    websocket::answer(ctx, &accepted, attached.map_err(during(Verb::Attach))?, keys)
}
