//! `start` and `attach`.

use super::container::each;
use super::reach::{self, Found};
use super::run::{Session, start as start_one};
use crate::args::{Args, BOOL, Command, Count, Flag, STR, action, flag, short};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::stream::keys;

const START: &[Flag] = &[
    short('a', "attach", BOOL, "Attach output and pass signals on"),
    flag("detach-keys", STR, "Keys that detach"),
    short('i', "interactive", BOOL, "Attach standard input"),
];
const ATTACH: &[Flag] = &[
    flag("detach-keys", STR, "Keys that detach"),
    flag("no-stdin", BOOL, "Do not attach standard input"),
    flag("sig-proxy", BOOL, "Pass signals on to the process").or("true"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["container start", "start"],
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Start one or more stopped containers",
        Count::AtLeast(1),
        &[START],
        action!(start),
    ),
    Command::new(
        &["container attach", "attach"],
        "[OPTIONS] CONTAINER|TASK",
        "Attach to a running container",
        Count::Exactly(1),
        &[ATTACH],
        action!(attach),
    ),
];

async fn start(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    if !args.on("attach") && !args.on("interactive") {
        let failed =
            each(&args.rest, async |name: &str| Ok(start_one(client, name, "").await?)).await;
        return failed.map_err(|_| {
            Failure::new(format!("failed to start containers: {}", args.rest.join(", ")))
        });
    }
    if args.rest.len() > 1 {
        return Err("you cannot start and attach multiple containers at once".into());
    }
    session(context, args, true).await
}

async fn attach(context: &mut Context, args: &Args) -> Result {
    session(context, args, false).await
}

async fn session(context: &Context, args: &Args, starts: bool) -> Result {
    let client = context.client()?;
    let found = reach::find(client, args.arg(0)).await?;
    let About { tty, open_stdin, removed } = about(&found, starts)?;
    let wants = if starts { args.on("interactive") } else { !args.on("no-stdin") };
    let stdin = wants && open_stdin;
    if tty && stdin && !crate::sys::is_terminal(std::io::stdin()) {
        return Err("the input device is not a TTY".into());
    }
    let key_text =
        args.get("detach-keys").or_else(|| context.setting("detachKeys")).unwrap_or_default();
    let keys = if key_text.is_empty() { vec![16, 17] } else { keys::parse(key_text)? };
    let base = found.base();
    let session = Session {
        base: &base,
        tty,
        stdin,
        outputs: [true, true],
        keys,
        key_text,
        proxy: !tty && (starts || args.on("sig-proxy")),
        condition: match (starts, removed) {
            (true, true) => "removed",
            (true, false) => "next-exit",
            (false, _) => "not-running",
        },
        logs: false,
    };
    match session.run(client, starts).await {
        Ok(code) => super::exec::exit(code),
        Err(failure) if starts && failure.code != 1 => Err(Failure::new(
            failure
                .message
                .trim_start_matches("shoal: ")
                .split("\n\nRun '")
                .next()
                .unwrap_or_default(),
        )),
        Err(failure) => Err(failure),
    }
}

/// What matters of a container to somebody who attaches to it.
#[derive(Debug, PartialEq, Eq)]
struct About {
    tty: bool,
    open_stdin: bool,
    /// Removed when it ends.
    removed: bool,
}

/// Reads it off; `starts`: it need not run. Pure.
fn about(found: &Found, starts: bool) -> std::result::Result<About, Failure> {
    match found {
        Found::Container(details) => {
            if !starts && !details.path("State.Running").is_true() {
                return Err("cannot attach to a stopped container, start it first".into());
            }
            if !starts && details.path("State.Paused").is_true() {
                return Err("cannot attach to a paused container, unpause it first".into());
            }
            Ok(About {
                tty: details.path("Config.Tty").is_true(),
                open_stdin: details.path("Config.OpenStdin").is_true(),
                removed: details.path("HostConfig.AutoRemove").is_true(),
            })
        }
        Found::Task(_) if starts => {
            Err("tasks are started by the cluster: scale or update their service".into())
        }
        Found::Task(task) => {
            if !matches!(task.path("Status.State").text(), "starting" | "running") {
                let state = task.path("Status.State").text();
                return Err(format!("cannot attach to a task that is {state}").into());
            }
            let spec = task.path("Spec.ContainerSpec");
            Ok(About {
                tty: spec.at("TTY").is_true(),
                open_stdin: spec.at("OpenStdin").is_true(),
                removed: false,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_running_tasks_are_attached_to_and_none_is_started() {
        let task = |state: &str| {
            let text = format!(
                r#"{{"ID":"t","Status":{{"State":"{state}"}},"Spec":{{"ContainerSpec":{{"TTY":true}}}}}}"#
            );
            Found::Task(serde_json::from_str(&text).unwrap())
        };
        let said = |found: &Found, starts| about(found, starts).map_err(|failure| failure.message);
        let attached = About { tty: true, open_stdin: false, removed: false };
        assert_eq!(said(&task("running"), false), Ok(attached));
        assert_eq!(
            said(&task("failed"), false),
            Err("cannot attach to a task that is failed".to_owned())
        );
        assert_eq!(
            said(&task("running"), true),
            Err("tasks are started by the cluster: scale or update their service".to_owned())
        );
        assert_eq!(task("running").base(), "/shoal/tasks/t");
    }
}
