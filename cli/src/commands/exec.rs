//! `exec`.

use serde_json::json;
use shoal_gotemplate::value::Value;

use super::run::side_effects;
use crate::args::{Args, BOOL, Command, Count, Flag, LIST, STR, action, flag, list, short};
use crate::client::{self, Client, Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::opts::{check, create};
use crate::stream::{keys, pump, terminal};
use crate::sys;

const FLAGS: &[Flag] = &[
    short('d', "detach", BOOL, "Run in the background"),
    flag("detach-keys", STR, "Keys that detach"),
    short('e', "env", list("list", check::env), "Set an environment variable"),
    flag("env-file", LIST, "Read environment variables from a file"),
    short('i', "interactive", BOOL, "Keep standard input open"),
    flag("privileged", BOOL, "Give all privileges"),
    short('t', "tty", BOOL, "Give it a terminal"),
    short('u', "user", STR, "User and group (name|uid[:group|gid])"),
    short('w', "workdir", STR, "Working directory"),
];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["container exec", "exec"],
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
    Count::AtLeast(2),
    &[FLAGS],
    action!(exec),
)
.passes_the_rest()
.examples(
    "shoal exec -it web sh    # a shell in a running container\nshoal exec -it 5mnzk0w sh    # in a task of the cluster, on whatever node, from any manager",
)];

/// Ends with the exit code of what was run.
pub(super) fn exit(code: i64) -> Result {
    match i32::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::code(code)),
        Err(_) => Err(Failure::code(125)),
    }
}

/// In a container of this host, else in a task of the cluster, wherever it runs.
async fn create(
    client: &Client,
    name: &str,
    body: serde_json::Value,
) -> std::result::Result<Value, client::Error> {
    let path = format!("/containers/{}/exec", segment(name));
    match client.value(Request::post(path).json(body.clone())).await {
        Err(no_container) if no_container.status() == 404 => {
            let path = format!("/shoal/tasks/{}/exec", segment(name));
            match client.value(Request::post(path).json(body)).await {
                // Neither a task, or this host is no manager.
                Err(error) if matches!(error.status(), 404 | 503) => Err(no_container),
                created => created,
            }
        }
        created => created,
    }
}

async fn exec(context: &mut Context, args: &Args) -> Result {
    let (tty, detach) = (args.on("tty"), args.on("detach"));
    let stdin = args.on("interactive") && !detach;
    if tty && stdin && !sys::is_terminal(std::io::stdin()) {
        return Err("the input device is not a TTY".into());
    }
    let read = |path: &str| std::fs::read_to_string(path);
    let env = create::environment(args, &read, &sys::variable)?;
    let key_text =
        args.get("detach-keys").or_else(|| context.setting("detachKeys")).unwrap_or_default();
    let keys = if key_text.is_empty() { vec![16, 17] } else { keys::parse(key_text)? };
    let size = terminal::size().filter(|_| tty);
    let console = size.map(|(rows, columns)| [rows, columns]);
    let body = json!({
        "User": args.text("user"), "Privileged": args.on("privileged"), "Tty": tty,
        "AttachStdin": stdin, "AttachStdout": !detach, "AttachStderr": !detach,
        "DetachKeys": key_text, "Env": env, "WorkingDir": args.text("workdir"),
        "Cmd": args.rest[1..], "ConsoleSize": console,
    });
    let client = context.client()?;
    let created = create(client, args.arg(0), body).await?;
    let path = format!("/exec/{}", created.at("Id").text());
    let start = Request::post(format!("{path}/start"));
    let start = start.json(json!({"Detach": detach, "Tty": tty, "ConsoleSize": console}));
    if detach {
        return Ok(client.done(start).await?);
    }
    let connection = client.hijack(start).await?;
    let raw = if tty && stdin { terminal::Raw::enter() } else { None };
    let streams = pump::Streams { stdin, raw: tty, keys: (tty && stdin).then_some(keys) };
    let ended = tokio::select! {
        ended = pump::run(connection, streams) => ended?,
        () = side_effects(client, &path, tty, None) => return Err("stream ended".into()),
    };
    drop(raw);
    if ended == pump::Ended::Detached {
        return Ok(());
    }
    let state = client.value(Request::get(format!("{path}/json"))).await?;
    exit(state.at("ExitCode").int())
}
