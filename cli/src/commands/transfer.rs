//! `pull` and `push`.

use crate::args::{Args, BOOL, Command, Count, Flag, STR, action, flag, short};
use crate::client::{Request, url::segment};
use crate::config::auth;
use crate::context::Context;
use crate::error::Result;
use crate::reference::Reference;
use crate::stream::progress::{self, To};
use crate::sys;

const PULL: &[Flag] = &[
    short('a', "all-tags", BOOL, "Download all tags of the repository"),
    flag("disable-content-trust", BOOL, "Do not verify signatures").or("true"),
    flag("platform", STR, "Platform of the image"),
    short('q', "quiet", BOOL, "Show no progress"),
];
const PUSH: &[Flag] = &[
    short('a', "all-tags", BOOL, "Upload all tags of the repository"),
    flag("disable-content-trust", BOOL, "Do not sign").or("true"),
    flag("platform", STR, "Upload this platform's image only: os[/arch[/variant]]"),
    short('q', "quiet", BOOL, "Show no progress"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["image pull", "pull"],
        "[OPTIONS] NAME[:TAG|@DIGEST]",
        "Download an image from a registry",
        Count::Exactly(1),
        &[PULL],
        action!(pull),
    ),
    Command::new(
        &["image push", "push"],
        "[OPTIONS] NAME[:TAG]",
        "Upload an image to a registry",
        Count::Exactly(1),
        &[PUSH],
        action!(push),
    ),
];

/// The reference of a pull or push: with a tag unless all are wanted.
fn target(args: &Args) -> Result<Reference> {
    let name = Reference::parse(args.arg(0))?;
    if !args.on("disable-content-trust") || sys::env("DOCKER_CONTENT_TRUST").as_deref() == Some("1")
    {
        return Err("content trust is not implemented".into());
    }
    match (args.on("all-tags"), name.is_name_only()) {
        (true, false) => Err("tag can't be used with --all-tags/-a".into()),
        (false, true) => {
            if !args.on("quiet") {
                sys::line("Using default tag: latest");
            }
            Ok(name.tagged())
        }
        _ => Ok(name),
    }
}

async fn pull(context: &mut Context, args: &Args) -> Result {
    let name = target(args)?;
    let to = if args.on("quiet") { To::Nowhere } else { To::Out };
    fetch(context, &name, args.text("platform"), to).await?;
    sys::line(name.full());
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
    let name = Reference::parse(image)?.tagged();
    let to = match (quiet, to_err) {
        (true, _) => To::Nowhere,
        (false, true) => To::Err,
        (false, false) => To::Out,
    };
    fetch(context, &name, platform, to).await
}

async fn fetch(context: &Context, name: &Reference, platform: &str, to: To) -> Result {
    let version = name.digest.as_deref().or(name.tag.as_deref()).unwrap_or_default();
    let request = Request::post("/images/create")
        .query("fromImage", name.familiar())
        .maybe("tag", version)
        .maybe("platform", &platform.to_lowercase())
        .header("x-registry-auth", auth::header(context, &name.full())?);
    progress::show(context.client()?.send(request).await?, to).await
}

async fn push(context: &mut Context, args: &Args) -> Result {
    let name = target(args)?;
    if name.digest.is_some() {
        return Err("cannot push a digest reference".into());
    }
    let platform = super::format::platform(args.text("platform"))?;
    let request = Request::post(format!("/images/{}/push", segment(&name.familiar())))
        .maybe("tag", name.tag.as_deref().unwrap_or_default())
        .maybe("platform", &platform)
        .header("x-registry-auth", auth::header(context, &name.full())?);
    let response = context.client()?.send(request).await?;
    if args.on("quiet") {
        progress::show(response, To::Nowhere).await?;
        sys::line(name.full());
        return Ok(());
    }
    progress::show(response, To::Out).await
}
