//! `stack rm`, and the removal of services for `stack deploy --prune`.

use std::time::Duration;

use super::{check_name, list};
use crate::args::Args;
use crate::client::{Client, Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use shoal_gotemplate::value::Value;

/// How often the daemon is asked whether tasks have gone.
const ROUND: Duration = Duration::from_millis(500);

pub(super) async fn rm(context: &mut Context, args: &Args) -> Result {
    args.rest.iter().try_for_each(|name| check_name(name))?;
    let client = context.client()?;
    if !args.given("detach") {
        sys::err_line(
            "Since --detach=false was not specified, tasks will be removed in the background.\n\
             In a future release, --detach=false will become the default.",
        );
    }
    let mut errors = Vec::new();
    for stack in &args.rest {
        let mut all = Vec::new();
        for (kind, path) in KINDS {
            all.push((kind, path, list(client, path, stack).await?));
        }
        if all.iter().all(|(_, _, objects)| objects.list().is_empty()) {
            sys::err_line(format_args!("Nothing found in stack: {stack}"));
            continue;
        }
        let mut failed = false;
        for (kind, path, objects) in &all {
            failed |= remove(client, kind, path, &sorted(objects)).await;
        }
        if failed {
            errors.push(format!("Failed to remove some resources from stack: {stack}"));
        } else if !args.on("detach") {
            wait(client, stack).await?;
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}

/// What a stack has, in the order of its removal.
const KINDS: [(&str, &str); 4] = [
    ("service", "services"),
    ("secret", "secrets"),
    ("config", "configs"),
    ("network", "networks"),
];

fn name(object: &Value) -> &str {
    match object.path("Spec.Name").text() {
        "" => object.at("Name").text(),
        name => name,
    }
}

fn id(object: &Value) -> &str {
    match object.at("ID").text() {
        "" => object.at("Id").text(),
        id => id,
    }
}

fn sorted(objects: &Value) -> Vec<&Value> {
    let mut all: Vec<&Value> = objects.list().iter().collect();
    all.sort_by(|one, other| name(one).cmp(name(other)));
    all
}

/// Removes objects, every one of them whatever happens to others: did one fail?
pub(super) async fn remove(client: &Client, kind: &str, path: &str, objects: &[&Value]) -> bool {
    let mut failed = false;
    for object in objects {
        let name = name(object);
        sys::line(format_args!("Removing {kind} {name}"));
        let request = Request::delete(format!("/{path}/{}", segment(id(object))));
        match client.done(request).await {
            Err(error) if error.status() != 404 => {
                sys::err_line(format_args!("Failed to remove {kind} {name}: {error}"));
                failed = true;
            }
            _ => {}
        }
    }
    failed
}

/// Waits until all tasks of a stack have ended.
async fn wait(client: &Client, stack: &str) -> Result {
    loop {
        let tasks = match list(client, "tasks", stack).await {
            Ok(tasks) => tasks,
            Err(failure) => {
                return Err(format!("failed to get tasks: {failure}").into());
            }
        };
        if tasks.list().iter().all(ended) {
            return Ok(());
        }
        sys::sleep(ROUND).await;
    }
}

fn ended(task: &Value) -> bool {
    let state = task.path("Status.State").text();
    matches!(state, "complete" | "shutdown" | "failed" | "rejected" | "orphaned" | "remove")
}
