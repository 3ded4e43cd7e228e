//! `node drain`: takes a node out of service, and waits until it is empty.

use std::time::Duration;

use super::super::cluster::node_id;
use super::{at, read, write};
use crate::args::check::parse_duration;
use crate::args::{Args, BOOL, DURATION, Flag, flag, short};
use crate::client::{Client, Request};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use shoal_gotemplate::value::Value;

pub(super) const FLAGS: &[Flag] = &[
    flag("deadline", DURATION, "Longest time to wait; the drain goes on after it"),
    short('q', "quiet", BOOL, "Show no progress"),
    flag("wait", BOOL, "Wait until the nodes are empty"),
];

/// Sets all nodes to drain first: what leaves one must not come to the next.
pub(super) async fn drain(context: &mut Context, args: &Args) -> Result {
    if args.given("deadline") && !args.on("wait") {
        return Err("--deadline can only be used with --wait".into());
    }
    let client = context.client()?;
    let limit = args.get("deadline").and_then(|text| parse_duration(text).ok());
    let limit = limit.map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
    for name in &args.rest {
        let (id, node) = read(client, name).await?;
        let mut spec = node["Spec"].clone();
        if spec["Availability"] != "drain" {
            spec["Availability"] = "drain".into();
            write(client, &id, &node, spec).await?;
        }
        if !args.on("wait") {
            sys::line(name);
        }
    }
    if !args.on("wait") {
        return Ok(());
    }
    let waits = async {
        for name in &args.rest {
            wait(client, name, args.on("quiet")).await?;
        }
        Ok(())
    };
    let Some(limit) = limit else { return waits.await };
    tokio::select! {
        waited = waits => waited,
        () = sys::sleep(limit) => Err(Failure::new(left(client, args).await?)),
    }
}

/// Follows one node until it is empty.
async fn wait(client: &Client, name: &str, quiet: bool) -> Result {
    let id = node_id(client, name).await?;
    let request = Request::get(format!("/shoal{}/drain", at(&id))).switch("follow", true);
    let mut response = client.send(request).await?;
    let (mut pending, mut last) = (Vec::new(), Value::Null);
    while let Some(chunk) = response.chunk().await? {
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            last = serde_json::from_slice(&line)
                .map_err(|error| Failure::new(format!("reading the answer: {error}")))?;
            if !quiet && !is_done(&last) {
                sys::line(format_args!("{name}: {}", progress(&last)));
            }
        }
    }
    if is_done(&last) {
        sys::line(format_args!("{name}: drained"));
        return Ok(());
    }
    // The stream ends early where nobody is to wait for it any more.
    Err(format!("{name} is not drained: its availability was changed, or it was removed").into())
}

fn is_done(report: &Value) -> bool {
    let none = |key: &str| report.at(key).list().is_empty();
    report.at("Draining").is_true() && none("Waiting") && none("Stopping")
}

/// What is left, in numbers. Pure.
fn progress(report: &Value) -> String {
    let count = |key: &str| report.at(key).list().len();
    format!("{} to move, {} stopping", count("Waiting"), count("Stopping"))
}

/// What the nodes still hold when there is no more time.
async fn left(client: &Client, args: &Args) -> Result<String> {
    let mut lines = Vec::new();
    for name in &args.rest {
        let id = node_id(client, name).await?;
        let report = client.value(Request::get(format!("/shoal{}/drain", at(&id)))).await?;
        if !is_done(&report) {
            lines.push(told(name, args.text("deadline"), &report));
        }
    }
    if lines.is_empty() {
        lines.push("the nodes were drained at the very end of the deadline".to_owned());
    }
    Ok(lines.join("\n"))
}

/// The tasks by name. Pure.
fn told(name: &str, deadline: &str, report: &Value) -> String {
    let names = |key: &str| report.at(key).texts().join(", ");
    let mut parts = Vec::new();
    for (what, key) in [("waiting to move", "Waiting"), ("stopping", "Stopping")] {
        if !report.at(key).list().is_empty() {
            parts.push(format!("{what}: {}", names(key)));
        }
    }
    format!("{name} is not drained after {deadline}: {}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named() {
        let report: Value = serde_json::from_str(
            r#"{"Draining":true,"Waiting":["web.1","web.2"],"Stopping":["db.1"]}"#,
        )
        .unwrap();
        assert!(!is_done(&report));
        assert_eq!(progress(&report), "2 to move, 1 stopping");
        assert_eq!(
            told("h2", "10s", &report),
            "h2 is not drained after 10s: waiting to move: web.1, web.2; stopping: db.1"
        );
        let empty = r#"{"Draining":true,"Waiting":[],"Stopping":[]}"#;
        assert!(is_done(&serde_json::from_str(empty).unwrap()));
    }
}
