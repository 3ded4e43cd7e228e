//! `logs`.

use super::container::at;
use crate::args::{Args, BOOL, Command, Count, Flag, STR, action, flag, short};
use crate::client::Request;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::opts::moment;
use crate::stream::demux::{Demux, Target};
use crate::{sys, units};

const FLAGS: &[Flag] = &[
    flag("details", BOOL, "Show labels and variables that the logging driver adds"),
    short('f', "follow", BOOL, "Go on with new lines"),
    flag("since", STR, "Show lines since a time (2013-01-02T13:23:37Z) or duration (42m)"),
    short('n', "tail", STR, "Show so many last lines, or all").or("all"),
    short('t', "timestamps", BOOL, "Show when each line was written"),
    flag("until", STR, "Show lines before a time (2013-01-02T13:23:37Z) or duration (42m)"),
];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["container logs", "logs"],
    "[OPTIONS] CONTAINER",
    "Show the output of a container",
    Count::Exactly(1),
    &[FLAGS],
    action!(logs),
)];

/// A moment of the command line as the API takes it; the name of the flag goes in front of the error.
pub(super) fn moment_of(args: &Args, name: &str) -> Result<String> {
    let now = units::seconds(sys::now_nanos());
    moment::timestamp(args.text(name), now, &units::zone())
        .map_err(|why| Failure::new(format!("invalid value for \"{name}\": {why}")))
}

async fn logs(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let (since, until) = (moment_of(args, "since")?, moment_of(args, "until")?);
    let details = client.value(Request::get(at(args.arg(0), "json"))).await?;
    let request = Request::get(at(details.at("Id").text(), "logs"))
        .query("stdout", "1")
        .query("stderr", "1")
        .maybe("since", &since)
        .maybe("until", &until)
        .switch("timestamps", args.on("timestamps"))
        .switch("details", args.on("details"))
        .switch("follow", args.on("follow"))
        .query("tail", args.text("tail"));
    let mut response = client.send(request).await?;
    let raw = details.path("Config.Tty").is_true();
    let mut demux = Demux::default();
    while let Some(chunk) = response.chunk().await? {
        if raw {
            sys::out(&chunk);
            continue;
        }
        for (target, piece) in demux.feed(&chunk) {
            match target {
                Target::Out => sys::out(piece),
                Target::Err => sys::err(piece),
                Target::System => {
                    let text = String::from_utf8_lossy(piece);
                    return Err(format!("error from daemon in stream: {text}").into());
                }
            }
        }
    }
    Ok(())
}
