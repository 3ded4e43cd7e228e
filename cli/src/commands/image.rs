//! Verbs on images: remove, tag, import, load, save, prune.

use std::io::BufRead as _;

use bytes::Bytes;

use super::container::{refuse_terminal, save_to};
use super::format::{filters, platform};
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, LIST, STR, action, flag, short};
use crate::client::{Payload, Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::reference::Reference;
use crate::stream::progress::{self, To};
use crate::units::human_size;
use crate::{client, sys};
use shoal_gotemplate::value::Value;

const REMOVE: &[Flag] = &[
    short('f', "force", BOOL, "Remove it even if containers or other names use it"),
    flag("no-prune", BOOL, "Keep parents without a name"),
    flag("platform", LIST, "Remove this platform's image only: os[/arch[/variant]]"),
];
const IMPORT: &[Flag] = &[
    short('c', "change", LIST, "Apply an instruction of a Dockerfile"),
    short('m', "message", STR, "Message of the import"),
    flag("platform", STR, "Platform of the image"),
];
const LOAD: &[Flag] = &[
    short('i', "input", STR, "Read from a file instead of standard input"),
    flag("platform", STR, "Load this platform's image only: os[/arch[/variant]]"),
    short('q', "quiet", BOOL, "Show no progress"),
];
const SAVE: &[Flag] = &[
    short('o', "output", STR, "Write to a file instead of standard output"),
    flag("platform", STR, "Save this platform's image only: os[/arch[/variant]]"),
];
const PRUNE: &[Flag] = &[
    short('a', "all", BOOL, "Remove all images that no container uses, named ones too"),
    flag("filter", FILTER, "Remove what fits a condition (key=value)"),
    short('f', "force", BOOL, "Do not ask"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["image rm", "image remove", "rmi"],
        "[OPTIONS] IMAGE [IMAGE...]",
        "Remove one or more images",
        Count::AtLeast(1),
        &[REMOVE],
        action!(remove),
    ),
    Command::new(
        &["image tag", "tag"],
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Give an image a further name",
        Count::Exactly(2),
        &[],
        action!(tag),
    ),
    Command::new(
        &["image import", "import"],
        "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        "Make an image of a tar archive with a file system",
        Count::Between(1, 2),
        &[IMPORT],
        action!(import),
    ),
    Command::new(
        &["image load", "load"],
        "[OPTIONS]",
        "Load images from an archive",
        Count::None,
        &[LOAD],
        action!(load),
    ),
    Command::new(
        &["image save", "save"],
        "[OPTIONS] IMAGE [IMAGE...]",
        "Save images to an archive",
        Count::AtLeast(1),
        &[SAVE],
        action!(save),
    ),
    Command::new(
        &["image prune"],
        "[OPTIONS]",
        "Remove unused images",
        Count::None,
        &[PRUNE],
        action!(prune),
    ),
];

async fn remove(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let platforms: Vec<String> =
        args.all("platform").iter().map(|text| platform(text)).collect::<Result<_>>()?;
    let (mut errors, mut fatal) = (Vec::new(), false);
    for name in &args.rest {
        let mut request = Request::delete(format!("/images/{}", segment(name)))
            .switch("force", args.on("force"))
            .switch("noprune", args.on("no-prune"));
        for platform in &platforms {
            request = request.query("platforms", platform);
        }
        match client.value(request).await {
            Ok(changes) => sys::out(removed(&changes, "Untagged", "Deleted")),
            Err(error) => {
                fatal |= error.status() != 404;
                errors.push(error.to_string());
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let message = errors.join("\n");
    if fatal || !args.on("force") {
        return Err(message.into());
    }
    sys::err_line(message);
    Ok(())
}

/// A line for each name and image that is gone.
fn removed(changes: &Value, untagged: &str, deleted: &str) -> String {
    let lines = changes.list().iter().map(|change| match change.at("Deleted").text() {
        "" => format!("{untagged}: {}\n", change.at("Untagged").text()),
        id => format!("{deleted}: {id}\n"),
    });
    lines.collect()
}

async fn tag(context: &mut Context, args: &Args) -> Result {
    let refuse = |name: &str, why: String| {
        Failure::new(format!(
            "Error parsing reference: \"{name}\" is not a valid repository/tag: {why}"
        ))
    };
    let (source, target) = (args.arg(0), args.arg(1));
    let is_id = source.len() == 64 && source.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id && !source.starts_with("sha256:") {
        Reference::parse(source).map_err(|why| refuse(source, why))?;
    }
    let name = Reference::parse(target).map_err(|why| refuse(target, why))?;
    if name.digest.is_some() {
        return Err("refusing to create a tag with a digest reference".into());
    }
    let name = name.tagged();
    let request = Request::post(format!("/images/{}/tag", segment(source)))
        .query("repo", name.familiar())
        .maybe("tag", name.tag.as_deref().unwrap_or_default());
    Ok(context.client()?.done(request).await?)
}

async fn import(context: &mut Context, args: &Args) -> Result {
    let (source, name) = (args.arg(0), args.arg(1));
    if !name.is_empty() {
        Reference::parse(name)?;
    }
    let mut request = Request::post("/images/create")
        .maybe("repo", name)
        .maybe("message", args.text("message"))
        .maybe("platform", &args.text("platform").to_lowercase());
    for change in args.all("change") {
        request = request.query("changes", change);
    }
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    let request = match source {
        "-" => request.query("fromSrc", "-").payload(upload(std::io::stdin())),
        url if is_url => request.query("fromSrc", url),
        file => {
            let what = format!("open {file}");
            let file = std::fs::File::open(file).map_err(io(what))?;
            request.query("fromSrc", "-").payload(upload(file))
        }
    };
    progress::show(context.client()?.send(request).await?, To::Out).await
}

/// A file or standard input as the body of a request, read as fast as it is sent.
fn upload(source: impl std::io::Read + Send + 'static) -> Payload {
    const PIECE: usize = 64 * 1024;
    let pieces = futures_util::stream::unfold(Some(source), |source| async move {
        let mut source = source?;
        let mut piece = vec![0; PIECE];
        match source.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some((Ok(Bytes::from(piece)), Some(source)))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Payload::stream(pieces)
}

async fn load(context: &mut Context, args: &Args) -> Result {
    let platform = platform(args.text("platform"))?;
    let payload = match args.text("input") {
        "" if sys::is_terminal(std::io::stdin()) => {
            return Err("requested load from stdin, but stdin is empty".into());
        }
        "" => upload(std::io::stdin()),
        file => upload(std::fs::File::open(file).map_err(io(format!("open {file}")))?),
    };
    let quiet = args.on("quiet") || !sys::is_terminal(std::io::stdout());
    let request = Request::post("/images/load")
        .query("quiet", if quiet { "1" } else { "0" })
        .maybe("platform", &platform)
        .payload(payload);
    progress::show(context.client()?.send(request).await?, To::Out).await
}

async fn save(context: &mut Context, args: &Args) -> Result {
    refuse_terminal(args.text("output"))?;
    let mut request =
        Request::get("/images/get").maybe("platform", &platform(args.text("platform"))?);
    for name in &args.rest {
        request = request.query("names", name);
    }
    let response = context.client()?.send(request).await?;
    save_to(response, args.text("output")).await
}

async fn prune(context: &mut Context, args: &Args) -> Result {
    let warning = if args.on("all") {
        "WARNING! This will remove all images without at least one container associated to them."
    } else {
        "WARNING! This will remove all dangling images."
    };
    if !args.on("force") && !confirmed(warning)? {
        return Ok(());
    }
    let mut wanted = args.all("filter").to_vec();
    let configured = context.file().get("pruneFilters").and_then(serde_json::Value::as_array);
    wanted.extend(configured.into_iter().flatten().filter_map(|f| Some(f.as_str()?.to_owned())));
    wanted.push(format!("dangling={}", !args.on("all")));
    let request = Request::post("/images/prune").query("filters", filters(&wanted));
    let report: std::result::Result<Value, client::Error> = context.client()?.value(request).await;
    sys::out(pruned(&report?));
    Ok(())
}

fn pruned(report: &Value) -> String {
    let lines = removed(report.at("ImagesDeleted"), "untagged", "deleted");
    let list = if lines.is_empty() { lines } else { format!("Deleted Images:\n{lines}\n") };
    let space = human_size(report.at("SpaceReclaimed").float());
    format!("{list}Total reclaimed space: {space}\n")
}

/// Asks; everything but `y` and `Y` is a no, and so is the end of standard input.
fn confirmed(warning: &str) -> Result<bool> {
    sys::out(format!("{warning}\nAre you sure you want to continue? [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(io("reading the answer"))?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_listed() {
        let report = r#"{"ImagesDeleted":[{"Untagged":"a:1"},{"Deleted":"sha256:0"}],"SpaceReclaimed":1500}"#;
        assert_eq!(
            pruned(&serde_json::from_str(report).unwrap()),
            "Deleted Images:\nuntagged: a:1\ndeleted: sha256:0\n\nTotal reclaimed space: 1.5kB\n"
        );
        assert_eq!(pruned(&Value::Null), "Total reclaimed space: 0B\n");
    }
}
