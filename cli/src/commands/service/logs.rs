//! `service logs`: lines of all tasks, each with the task and node it comes from.

use std::collections::{BTreeMap, HashMap};

use super::super::cluster::Names;
use super::super::logs::moment_of;
use super::at;
use crate::args::Args;
use crate::client::{Client, Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::stream::demux::{Demux, Target};
use crate::sys;
use crate::table::short_id;

const NODE: &str = "com.docker.swarm.node.id";
const SERVICE: &str = "com.docker.swarm.service.id";
const TASK: &str = "com.docker.swarm.task.id";

pub(super) async fn logs(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let source = find(client, args.arg(0)).await?;
    if source.tty && !args.on("raw") {
        return Err("tty service logs only supported with --raw".into());
    }
    let request = Request::get(source.path)
        .query("stdout", "1")
        .query("stderr", "1")
        .maybe("since", &moment_of(args, "since")?)
        .switch("timestamps", args.on("timestamps"))
        .switch("details", args.on("details") || !args.on("raw"))
        .switch("follow", args.on("follow"))
        .query("tail", args.text("tail"));
    let mut response = client.send(request).await?;
    let mut demux = Demux::default();
    let mut writer = Writer {
        client,
        names: Names::new(client, args.on("no-resolve")),
        args,
        width: source.width,
        known: HashMap::new(),
        pending: HashMap::new(),
    };
    while let Some(chunk) = response.chunk().await? {
        if source.tty {
            sys::out(&chunk);
            continue;
        }
        for (target, piece) in demux.feed(&chunk) {
            match target {
                Target::System => {
                    let text = String::from_utf8_lossy(piece);
                    return Err(format!("error from daemon in stream: {text}").into());
                }
                target if args.on("raw") => write(target, piece),
                target => writer.take(target, piece).await?,
            }
        }
    }
    Ok(())
}

fn write(target: Target, data: &[u8]) {
    if target == Target::Err { sys::err(data) } else { sys::out(data) }
}

/// Whose lines are to be read.
struct Source {
    path: String,
    tty: bool,
    /// Digits of the highest slot.
    width: usize,
}

async fn find(client: &Client, name: &str) -> Result<Source> {
    match client.value(Request::get(at(name))).await {
        Ok(service) => Ok(Source {
            path: format!("{}/logs", at(name)),
            tty: service.path("Spec.TaskTemplate.ContainerSpec.TTY").is_true(),
            width: service.path("Spec.Mode.Replicated.Replicas").int().max(1).to_string().len(),
        }),
        Err(error) if error.status() == 404 => {
            let task = client.value(Request::get(format!("/tasks/{}", segment(name)))).await;
            match task {
                Ok(task) => Ok(Source {
                    path: format!("/tasks/{}/logs", segment(name)),
                    tty: task.path("Spec.ContainerSpec.TTY").is_true(),
                    width: task.at("Slot").int().to_string().len(),
                }),
                Err(error) if error.status() == 404 => {
                    Err(format!("no such task or service: {name}").into())
                }
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Puts the origin in front of each line.
struct Writer<'a> {
    client: &'a Client,
    names: Names<'a>,
    args: &'a Args,
    width: usize,
    /// Origins by the id of their task.
    known: HashMap<String, String>,
    /// Beginnings of lines, by whether they are of standard error.
    pending: HashMap<bool, Vec<u8>>,
}

impl Writer<'_> {
    async fn take(&mut self, target: Target, piece: &[u8]) -> Result {
        let key = target == Target::Err;
        let mut data = self.pending.remove(&key).unwrap_or_default();
        data.extend_from_slice(piece);
        let mut rest = data.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            let parsed = parse(line, self.args.on("timestamps")).map_err(Failure::new)?;
            let origin = self.origin(&parsed).await?;
            write(target, &shown(&parsed, &origin, self.args.on("details")));
            rest = after;
        }
        self.pending.insert(key, rest.to_vec());
        Ok(())
    }

    async fn origin(&mut self, line: &Line<'_>) -> Result<String> {
        if let Some(known) = self.known.get(&line.task) {
            return Ok(known.clone());
        }
        let node = self.names.node(&line.node).await;
        let service = self.names.service(&line.service).await;
        let path = format!("/tasks/{}", segment(&line.task));
        let task = self.client.value(Request::get(path)).await?;
        let slot = task.at("Slot").int().to_string();
        let mut origin = format!("{service}.{slot}");
        if !self.args.on("no-task-ids") {
            let id = task.at("ID").text();
            let id = if self.args.on("no-trunc") { id.to_owned() } else { short_id(id) };
            origin.push_str(&format!(".{id}"));
        }
        let padding = " ".repeat(self.width.saturating_sub(slot.len()));
        let origin = format!("{origin}@{node}{padding}");
        self.known.insert(line.task.clone(), origin.clone());
        Ok(origin)
    }
}

/// A line of the log, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    time: &'a [u8],
    node: String,
    service: String,
    task: String,
    details: BTreeMap<String, String>,
    text: &'a [u8],
}

/// Takes `[time ]key=value,… text` apart.
fn parse(line: &[u8], timed: bool) -> std::result::Result<Line<'_>, String> {
    let refuse = || format!("invalid context in log message: {}", String::from_utf8_lossy(line));
    let mut parts = line.splitn(if timed { 3 } else { 2 }, |byte| *byte == b' ');
    let time = if timed { parts.next().ok_or_else(refuse)? } else { b"" };
    let details = String::from_utf8_lossy(parts.next().ok_or_else(refuse)?);
    let text = parts.next().ok_or_else(refuse)?;
    let mut details: BTreeMap<String, String> = details
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect();
    let whole = String::from_utf8_lossy(line);
    let mut take = |key: &str, what: &str| {
        let missing = || format!("missing {what} id in details: {}", whole.trim_end());
        details.remove(key).ok_or_else(missing)
    };
    let (node, service, task) =
        (take(NODE, "node")?, take(SERVICE, "service")?, take(TASK, "task")?);
    Ok(Line { time, node, service, task, details, text })
}

/// Undoes the encoding of a query's part.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut left = text.as_bytes();
    while let Some((first, rest)) = left.split_first() {
        left = rest;
        let hex = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                left = &rest[2..];
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn shown(line: &Line<'_>, origin: &str, details: bool) -> Vec<u8> {
    let mut out = line.time.to_vec();
    if !line.time.is_empty() {
        out.push(b' ');
    }
    out.extend_from_slice(format!("{origin}    | ").as_bytes());
    if details {
        let all: Vec<String> =
            line.details.iter().map(|(key, value)| format!("{key}={value}")).collect();
        out.extend_from_slice(format!("{} ", all.join(",")).as_bytes());
    }
    out.extend_from_slice(line.text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_where_they_come_from() {
        let line =
            format!("2026-01-01T00:00:00Z {NODE}=n,{SERVICE}=s,{TASK}=t,a=b%2Cc hello world\n");
        let parsed = parse(line.as_bytes(), true).unwrap();
        assert_eq!((parsed.node.as_str(), parsed.task.as_str()), ("n", "t"));
        let text = |details| String::from_utf8(shown(&parsed, "web.1.t@n", details)).unwrap();
        assert_eq!(text(false), "2026-01-01T00:00:00Z web.1.t@n    | hello world\n");
        assert_eq!(text(true), "2026-01-01T00:00:00Z web.1.t@n    | a=b,c hello world\n");
        assert_eq!(
            parse(b"a=b hello\n", false).unwrap_err(),
            "missing node id in details: a=b hello"
        );
    }
}
