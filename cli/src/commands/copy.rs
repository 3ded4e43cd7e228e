//! `cp`.

mod extract;
mod pack;
mod paths;

use std::path::Path;

use base64::Engine as _;
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::reach;
use crate::args::{Args, BOOL, Command, Count, Flag, action, short};
use crate::client::{Client, Payload, Request};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::{sys, units};
use paths::{Place, Source};
use shoal_gotemplate::value::Value;

const FLAGS: &[Flag] = &[
    short('a', "archive", BOOL, "Keep owners and groups"),
    short('L', "follow-link", BOOL, "Follow a symbolic link in SRC_PATH"),
    short('q', "quiet", BOOL, "Do not say what was copied"),
];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["container cp", "cp"],
    "[OPTIONS] CONTAINER|TASK:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER|TASK:DEST_PATH",
    "Copy files between a container and this machine",
    Count::Exactly(2),
    &[FLAGS],
    action!(copy),
)];

async fn copy(context: &mut Context, args: &Args) -> Result {
    for (index, what) in ["source", "destination"].into_iter().enumerate() {
        if args.arg(index).is_empty() {
            return Err(format!("{what} can not be empty").into());
        }
    }
    // Without a terminal nothing is said, unless it is asked for.
    let quiet =
        if args.given("quiet") { args.on("quiet") } else { !sys::is_terminal(std::io::stdout()) };
    let follow = args.on("follow-link");
    let client = context.client()?;
    match (paths::split(args.arg(0)), paths::split(args.arg(1))) {
        ((Some(container), from), (None, to)) => {
            let base = reach::base(client, container).await;
            fetch(client, &base, from, to, follow, quiet).await
        }
        ((None, from), (Some(container), to)) => {
            let archive = args.on("archive");
            let base = reach::base(client, container).await;
            let target = Target { name: container, base: &base };
            send(client, from, target, to, Options { follow, quiet, archive }).await
        }
        ((Some(_), _), (Some(_), _)) => Err("copying between containers is not supported".into()),
        _ => Err("must specify at least one container source".into()),
    }
}

/// Where something is copied to.
#[derive(Debug, Clone, Copy)]
struct Target<'a> {
    /// As the user wrote it.
    name: &'a str,
    /// Its path in the API.
    base: &'a str,
}

/// What the flags say.
#[derive(Debug, Clone, Copy)]
struct Options {
    follow: bool,
    quiet: bool,
    archive: bool,
}

fn report(quiet: bool, bytes: u64, target: &str) {
    if !quiet {
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        let size = units::human_size_3(bytes as f64);
        sys::err_line(format_args!("Successfully copied {size} to {target}"));
    }
}

/// Bits of Go's file mode.
const DIRECTORY: i64 = 1 << 31;
const LINK: i64 = 1 << 27;
const SPECIAL: i64 = 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;

fn decode(header: &str) -> Result<Value> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(header);
    bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| "unable to get resource stat from response: not a file description".into())
}

/// What is at a path of a container.
async fn stat(client: &Client, base: &str, path: &str) -> Result<Value> {
    let request = Request::head(format!("{base}/archive")).query("path", path);
    decode(client.send(request).await?.header("x-docker-container-path-stat"))
}

async fn fetch(
    client: &Client,
    base: &str,
    from: &str,
    to: &str,
    follow: bool,
    quiet: bool,
) -> Result {
    if to != "-" {
        check_output(to)?;
    }
    let mut path = from.to_owned();
    let mut renamed = None;
    if follow
        && let Ok(found) = stat(client, base, from).await
        && found.at("mode").int() & LINK != 0
    {
        let target = paths::link_target(from, found.at("linkTarget").text());
        renamed = Some(paths::base(from)).filter(|name| *name != paths::base(&target));
        path = target;
    }
    let request = Request::get(format!("{base}/archive")).query("path", &path);
    let mut response = client.send(request).await?;
    let found = decode(response.header("x-docker-container-path-stat"))?;
    if to == "-" {
        while let Some(chunk) = response.chunk().await? {
            sys::out(chunk);
        }
        return Ok(());
    }
    let target = absolute(to)?;
    let source =
        Source { path: path.clone(), directory: found.at("mode").int() & DIRECTORY != 0, renamed };
    let place = local_place(&target)?;
    let (folder, name) = paths::arrange(&source, &place).map_err(Failure::new)?;
    let mut writer = extract::Extract::start(Path::new(&folder), source.base(), &name)
        .map_err(io(format!("opening {folder}")))?;
    let mut total = 0;
    while let Some(chunk) = response.chunk().await? {
        total += u64::try_from(chunk.len()).unwrap_or(0);
        if !writer.feed(chunk) {
            break;
        }
    }
    writer.finish()?;
    report(quiet, total, &target);
    Ok(())
}

/// The target must be a file or directory, or be made in a directory that is there.
fn check_output(to: &str) -> Result {
    use std::os::unix::fs::FileTypeExt as _;
    let path = Path::new(to);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        let parent = parent.display();
        return Err(format!(
            "invalid output path: directory {parent:?} does not exist",
            parent = parent.to_string()
        )
        .into());
    }
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) };
    let kind = found.file_type();
    if kind.is_block_device() || kind.is_char_device() || kind.is_fifo() || kind.is_socket() {
        let text = format!("invalid output path: {to:?} must be a directory or a regular file");
        return Err(text.into());
    }
    Ok(())
}

fn absolute(path: &str) -> Result<String> {
    let here = std::env::current_dir().map_err(io("finding the working directory"))?;
    Ok(paths::absolute(&here.to_string_lossy(), path))
}

/// What is at a local target; symbolic links lead on.
fn local_place(path: &str) -> Result<Place> {
    let found = std::fs::metadata(path);
    let exists = found.is_ok();
    let directory = found.is_ok_and(|found| found.is_dir());
    let resolved = std::fs::canonicalize(path).ok().filter(|_| exists);
    let path = resolved.map_or_else(|| path.to_owned(), |path| path.to_string_lossy().into_owned());
    Ok(Place { path, exists, directory })
}

async fn send(
    client: &Client,
    from: &str,
    target: Target<'_>,
    to: &str,
    options: Options,
) -> Result {
    let Target { name: shown, base } = target;
    let mut place = Place { path: to.to_owned(), exists: false, directory: false };
    // A missing target is no error: the daemon refuses what cannot be made.
    let mut found = stat(client, base, to).await.ok();
    if let Some(link) = found.as_ref().filter(|found| found.at("mode").int() & LINK != 0) {
        place.path = paths::link_target(to, link.at("linkTarget").text());
        found = stat(client, base, &place.path).await.ok();
    }
    if let Some(found) = found {
        let mode = found.at("mode").int();
        if mode & SPECIAL != 0 {
            let text =
                format!("destination \"{shown}:{to}\" must be a directory or a regular file");
            return Err(text.into());
        }
        place.exists = true;
        place.directory = mode & DIRECTORY != 0;
    }
    if from == "-" {
        if !place.directory {
            return Err(format!("destination \"{shown}:{to}\" must be a directory").into());
        }
        let input = tokio_util::io::ReaderStream::with_capacity(tokio::io::stdin(), 64 * 1024);
        return put(client, base, &place.path, Payload::stream(input), options.archive).await;
    }
    let local = absolute(from)?;
    let source = pack::source(&local, options.follow)?;
    let (folder, name) = paths::arrange(&source, &place).map_err(Failure::new)?;
    let archive = pack::Pack::new(Path::new(&source.path), &name)
        .map_err(io(format!("reading {}", source.path)))?;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&sent);
    let chunks =
        futures_util::stream::iter(archive).inspect(move |chunk: &std::io::Result<Bytes>| {
            let length = chunk.as_ref().map_or(0, Bytes::len);
            count.fetch_add(
                u64::try_from(length).unwrap_or(0),
                std::sync::atomic::Ordering::Relaxed,
            );
        });
    put(client, base, &folder, Payload::stream(chunks), options.archive).await?;
    let total = sent.load(std::sync::atomic::Ordering::Relaxed);
    report(options.quiet, total, &format!("{shown}:{}", place.path));
    Ok(())
}

async fn put(client: &Client, base: &str, folder: &str, payload: Payload, archive: bool) -> Result {
    let request = Request::put(format!("{base}/archive"))
        .query("path", folder)
        .query("noOverwriteDirNonDir", "true")
        .maybe("copyUIDGID", if archive { "true" } else { "" })
        .payload(payload);
    Ok(client.done(request).await?)
}
