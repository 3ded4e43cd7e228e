//! `pull`, with plain progress lines.

use crate::args::{Args, BOOL, Command, Count, Flag, STR, action, flag, short};
use crate::client::Request;
use crate::config::auth;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use crate::value::Value;

const PULL: &[Flag] = &[
    flag("platform", STR, "Platform of the image"),
    short('q', "quiet", BOOL, "Show no progress"),
];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["image pull", "pull"],
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Download an image from a registry",
    Count::Exactly(1),
    &[PULL],
    action!(pull),
)];

async fn pull(context: &mut Context, args: &Args) -> Result {
    pull_image(context, args.arg(0), args.text("platform"), args.on("quiet"), false).await?;
    sys::line(args.arg(0));
    Ok(())
}

/// Pulls an image; progress goes to standard error when output belongs to a container.
pub(super) async fn pull_image(
    context: &Context,
    image: &str,
    platform: &str,
    quiet: bool,
    to_err: bool,
) -> Result {
    let name = super::format::familiar(image);
    let (repo, tag) = match name.split_once('@') {
        Some((repo, digest)) => (repo, digest),
        None => super::format::split_tag(&name),
    };
    let request = Request::post("/images/create")
        .query("fromImage", repo)
        .query("tag", tag)
        .maybe("platform", platform)
        .header("x-registry-auth", auth::header(context, image));
    let mut response = context.client()?.send(request).await?;
    let mut pending = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let Ok(message) = serde_json::from_slice::<Value>(&line) else { continue };
            let error = message.at("error").text();
            if !error.is_empty() {
                return Err(Failure::new(error));
            }
            let (id, status) = (message.at("id").text(), message.at("status").text());
            if quiet
                || status.is_empty()
                || !message.path("progressDetail.current").text().is_empty()
                || message.path("progressDetail.current").int() > 0
            {
                continue;
            }
            let text = if id.is_empty() { status.to_owned() } else { format!("{id}: {status}") };
            if to_err { sys::err_line(text) } else { sys::line(text) }
        }
    }
    Ok(())
}
