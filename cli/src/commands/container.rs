//! Verbs on containers that name one or more of them.

use serde_json::json;

use crate::args::{
    Args, BOOL, BYTES, Command, Count, DECIMAL, Flag, INT, LIST, STR, SWAP, UINT16, action, flag,
    short,
};
use crate::client::{Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::opts::create;
use crate::sys;
use shoal_gotemplate::value::Value;

const STOP: &[Flag] = &[
    short('s', "signal", STR, "Signal to send"),
    short('t', "timeout", INT, "Seconds to wait before killing"),
];
const KILL: &[Flag] = &[short('s', "signal", STR, "Signal to send")];
const RM: &[Flag] = &[
    short('f', "force", BOOL, "Kill it first when it runs"),
    short('l', "link", BOOL, "Remove the link"),
    short('v', "volumes", BOOL, "Remove its anonymous volumes"),
];
const COMMIT: &[Flag] = &[
    short('a', "author", STR, "Author of the image"),
    short('c', "change", LIST, "Apply an instruction of a Dockerfile"),
    short('m', "message", STR, "Message of the commit"),
    short('p', "pause", BOOL, "Pause the container meanwhile").or("true"),
    flag("no-pause", BOOL, "Do not pause the container meanwhile"),
];
const UPDATE: &[Flag] = &[
    flag("blkio-weight", UINT16, "Weight of block I/O"),
    flag("cpu-period", INT, "Period of the CFS quota"),
    flag("cpu-quota", INT, "CFS quota"),
    flag("cpu-rt-period", INT, "Period of the real-time quota"),
    flag("cpu-rt-runtime", INT, "Real-time quota"),
    short('c', "cpu-shares", INT, "Relative weight of CPU time"),
    flag("cpus", DECIMAL, "Number of CPUs"),
    flag("cpuset-cpus", STR, "CPUs to run on"),
    flag("cpuset-mems", STR, "Memory nodes to use"),
    short('m', "memory", BYTES, "Limit of memory"),
    flag("memory-reservation", BYTES, "Soft limit of memory"),
    flag("memory-swap", SWAP, "Limit of memory and swap together"),
    flag("pids-limit", INT, "Limit of processes"),
    flag("restart", STR, "Restart policy"),
];
const EXPORT: &[Flag] = &[short('o', "output", STR, "Write to a file")];
const SOME: &str = "[OPTIONS] CONTAINER [CONTAINER...]";
const PLAIN: &str = "CONTAINER [CONTAINER...]";
const MANY: Count = Count::AtLeast(1);

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["container stop", "stop"],
        SOME,
        "Stop one or more running containers",
        MANY,
        &[STOP],
        action!(stop),
    ),
    Command::new(
        &["container restart", "restart"],
        SOME,
        "Restart one or more containers",
        MANY,
        &[STOP],
        action!(restart),
    ),
    Command::new(
        &["container kill", "kill"],
        SOME,
        "Kill one or more running containers",
        MANY,
        &[KILL],
        action!(kill),
    ),
    Command::new(
        &["container pause", "pause"],
        PLAIN,
        "Pause all processes within one or more containers",
        MANY,
        &[],
        action!(pause),
    ),
    Command::new(
        &["container unpause", "unpause"],
        PLAIN,
        "Unpause one or more containers",
        MANY,
        &[],
        action!(unpause),
    ),
    Command::new(
        &["container rm", "container remove", "rm"],
        SOME,
        "Remove one or more containers",
        MANY,
        &[RM],
        action!(rm),
    ),
    Command::new(
        &["container wait", "wait"],
        PLAIN,
        "Wait for containers to stop and print their exit codes",
        MANY,
        &[],
        action!(wait),
    ),
    Command::new(
        &["container rename", "rename"],
        "CONTAINER NEW_NAME",
        "Rename a container",
        Count::Exactly(2),
        &[],
        action!(rename),
    ),
    Command::new(
        &["container top", "top"],
        "CONTAINER [ps OPTIONS]",
        "Show the processes of a container",
        MANY,
        &[],
        action!(top),
    )
    .passes_the_rest(),
    Command::new(
        &["container port", "port"],
        "CONTAINER [PRIVATE_PORT[/PROTO]]",
        "Show the published ports of a container",
        Count::Between(1, 2),
        &[],
        action!(port),
    ),
    Command::new(
        &["container diff", "diff"],
        "CONTAINER",
        "Show changed files of a container",
        Count::Exactly(1),
        &[],
        action!(diff),
    ),
    Command::new(
        &["container update", "update"],
        SOME,
        "Change limits of one or more containers",
        MANY,
        &[UPDATE],
        action!(update),
    ),
    Command::new(
        &["container commit", "commit"],
        "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        "Create an image from a container's changes",
        Count::Between(1, 2),
        &[COMMIT],
        action!(commit),
    ),
    Command::new(
        &["container export", "export"],
        "[OPTIONS] CONTAINER",
        "Write a container's file system as a tar archive",
        Count::Exactly(1),
        &[EXPORT],
        action!(export),
    ),
];

/// The path of a container's resource.
pub(super) fn at(name: &str, what: &str) -> String {
    format!("/containers/{}/{what}", segment(name))
}

/// Does something to each name: prints the name, or the error, and fails at the end if one failed.
pub(super) async fn each(names: &[String], mut act: impl AsyncFnMut(&str) -> Result) -> Result {
    let mut failed = false;
    for name in names {
        match act(name).await {
            Ok(()) => sys::line(name),
            Err(failure) => {
                sys::err_line(failure);
                failed = true;
            }
        }
    }
    if failed { Err(Failure::code(1)) } else { Ok(()) }
}

async fn post_each(
    context: &Context,
    args: &Args,
    verb: &str,
    extra: impl Fn(Request) -> Request,
) -> Result {
    let client = context.client()?;
    each(&args.rest, async |name: &str| {
        Ok(client.done(extra(Request::post(at(name, verb)))).await?)
    })
    .await
}

async fn stop(context: &mut Context, args: &Args) -> Result {
    post_each(context, args, "stop", |r| {
        r.maybe("signal", args.text("signal")).maybe("t", args.text("timeout"))
    })
    .await
}

async fn restart(context: &mut Context, args: &Args) -> Result {
    post_each(context, args, "restart", |r| {
        r.maybe("signal", args.text("signal")).maybe("t", args.text("timeout"))
    })
    .await
}

async fn kill(context: &mut Context, args: &Args) -> Result {
    post_each(context, args, "kill", |r| r.maybe("signal", args.text("signal"))).await
}

async fn pause(context: &mut Context, args: &Args) -> Result {
    post_each(context, args, "pause", |r| r).await
}

async fn unpause(context: &mut Context, args: &Args) -> Result {
    post_each(context, args, "unpause", |r| r).await
}

async fn rm(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let mut failed = false;
    for name in &args.rest {
        let path = format!("/containers/{}", segment(name.trim_start_matches('/')));
        let request = Request::delete(path)
            .switch("v", args.on("volumes"))
            .switch("link", args.on("link"))
            .switch("force", args.on("force"));
        match client.done(request).await {
            Ok(()) => sys::line(name),
            Err(error) => {
                // What is gone already needs no force: it is said, and is no failure.
                failed |= !(args.on("force") && error.status() == 404);
                sys::err_line(error);
            }
        }
    }
    if failed { Err(Failure::code(1)) } else { Ok(()) }
}

async fn wait(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let mut failed = false;
    for name in &args.rest {
        match client.value(Request::post(at(name, "wait"))).await {
            Ok(result) => sys::line(result.at("StatusCode").int()),
            Err(error) => {
                sys::err_line(error);
                failed = true;
            }
        }
    }
    if failed { Err(Failure::code(1)) } else { Ok(()) }
}

async fn rename(context: &mut Context, args: &Args) -> Result {
    let request = Request::post(at(args.arg(0), "rename")).query("name", args.arg(1));
    Ok(context.client()?.done(request).await?)
}

async fn top(context: &mut Context, args: &Args) -> Result {
    let request = Request::get(at(args.arg(0), "top")).maybe("ps_args", &args.rest[1..].join(" "));
    let answer = context.client()?.value(request).await?;
    let mut text = answer.at("Titles").texts().join("\t") + "\n";
    for process in answer.at("Processes").list() {
        text.push_str(&(process.texts().join("\t") + "\n"));
    }
    sys::out(crate::table::align(&text, 20));
    Ok(())
}

async fn port(context: &mut Context, args: &Args) -> Result {
    let details = context.client()?.value(Request::get(at(args.arg(0), "json"))).await?;
    let ports = details.path("NetworkSettings.Ports");
    let address = |binding: &Value| {
        let (ip, port) = (binding.at("HostIp").text(), binding.at("HostPort").text());
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    if let Some(wanted) = args.rest.get(1) {
        let key = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
        let bindings = ports.at(&key).list();
        if bindings.is_empty() {
            return Err(format!("no public port '{wanted}' published for {}", args.arg(0)).into());
        }
        bindings.iter().for_each(|binding| sys::line(address(binding)));
        return Ok(());
    }
    let mut lines: Vec<(u16, String)> = Vec::new();
    for (port, bindings) in ports.fields() {
        let number = port.split('/').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        lines.extend(bindings.list().iter().map(|b| (number, format!("{port} -> {}", address(b)))));
    }
    lines.sort();
    lines.iter().for_each(|(_, line)| sys::line(line));
    Ok(())
}

async fn diff(context: &mut Context, args: &Args) -> Result {
    let changes = context.client()?.value(Request::get(at(args.arg(0), "changes"))).await?;
    for change in changes.list() {
        let kind = ["C", "A", "D"].get(usize::try_from(change.at("Kind").int()).unwrap_or(0));
        sys::line(format_args!("{} {}", kind.unwrap_or(&"C"), change.at("Path").text()));
    }
    Ok(())
}

async fn update(context: &mut Context, args: &Args) -> Result {
    let mut body = create::limits(args);
    if let Some(policy) = args.get("restart") {
        body.insert("RestartPolicy".into(), create::restart(policy)?);
    }
    if body.is_empty() {
        return Err("you must provide one or more flags when using this command".into());
    }
    let client = context.client()?;
    each(&args.rest, async |name: &str| {
        let request =
            Request::post(at(name, "update")).json(serde_json::Value::Object(body.clone()));
        for warning in client.value(request).await?.at("Warnings").texts() {
            sys::err_line(warning);
        }
        Ok(())
    })
    .await
}

async fn commit(context: &mut Context, args: &Args) -> Result {
    let (repo, tag) = super::format::split_tag(args.arg(1));
    let mut request = Request::post("/commit")
        .query("container", args.arg(0))
        .maybe("repo", repo)
        .maybe("tag", tag)
        .maybe("comment", args.text("message"))
        .maybe("author", args.text("author"))
        .json(json!({}));
    if args.on("no-pause") || !args.on("pause") {
        request = request.query("pause", "0");
    }
    for change in args.all("change") {
        request = request.query("changes", change);
    }
    sys::line(context.client()?.value(request).await?.at("Id").text());
    Ok(())
}

async fn export(context: &mut Context, args: &Args) -> Result {
    refuse_terminal(args.text("output"))?;
    let response = context.client()?.send(Request::get(at(args.arg(0), "export"))).await?;
    save_to(response, args.text("output")).await
}

/// A tar archive is not for the eyes.
pub(super) fn refuse_terminal(output: &str) -> Result {
    if output.is_empty() && sys::is_terminal(std::io::stdout()) {
        return Err("cowardly refusing to save to a terminal. Use the -o flag or redirect".into());
    }
    Ok(())
}

/// Writes a body to a file, complete or not at all, or to standard output.
pub(super) async fn save_to(mut response: crate::client::Response, output: &str) -> Result {
    use std::io::Write as _;
    if output.is_empty() {
        while let Some(chunk) = response.chunk().await? {
            sys::out(chunk);
        }
        return Ok(());
    }
    let new = format!("{output}.{}.tmp", std::process::id());
    let what = || format!("failed to save {output}");
    let mut file = std::fs::File::create(&new).map_err(io(what()))?;
    let mut copy = async || {
        while let Some(chunk) = response.chunk().await? {
            file.write_all(&chunk).map_err(io(what()))?;
        }
        std::fs::rename(&new, output).map_err(io(what()))
    };
    let copied = copy().await;
    if copied.is_err() {
        // Nothing more can be done about a file that we cannot remove.
        let _left = std::fs::remove_file(&new);
    }
    copied
}
