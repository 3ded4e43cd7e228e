//! `events` and `system dial-stdio`.

use tokio::io::AsyncWriteExt as _;

use super::format::filters;
use super::logs::moment_of;
use crate::args::{Args, Command, Count, FILTER, Flag, STR, action, flag, short};
use crate::client::Request;
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::{sys, units};
use shoal_gotemplate::value::Value;
use shoal_gotemplate::{Missing, Template};

const FLAGS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (event=start)"),
    flag("format", STR, "json, or a template"),
    flag("since", STR, "Show events since a time or duration"),
    flag("until", STR, "Show events before a time or duration, then end"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["system events", "events"],
        "[OPTIONS]",
        "Show events of the daemon as they happen",
        Count::None,
        &[FLAGS],
        action!(events),
    ),
    Command::new(
        &["system dial-stdio"],
        "",
        "Connect standard input and output with the daemon",
        Count::None,
        &[],
        action!(dial),
    ),
];

async fn events(context: &mut Context, args: &Args) -> Result {
    let template = match args.text("format") {
        "" => None,
        "json" => Some(Template::parse("{{json .}}")),
        text => Some(Template::parse(text)),
    };
    let template = template.transpose().map_err(|why| {
        Failure::new(format!("Error parsing format: template parsing error: {why}")).with_code(64)
    })?;
    let raw = matches!(args.text("format"), "json" | "{{json .}}");
    let request = Request::get("/events")
        .maybe("since", &moment_of(args, "since")?)
        .maybe("until", &moment_of(args, "until")?)
        .maybe("filters", &filters(args.all("filter")));
    let mut response = context.client()?.send(request).await?;
    let mut pending = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if line.trim_ascii().is_empty() {
                continue;
            }
            let event: Value = serde_json::from_slice(&line)
                .map_err(|error| Failure::new(format!("reading an event: {error}")))?;
            match &template {
                _ if raw => sys::line(event.json(false)),
                None => sys::line(plain(&event)),
                Some(template) => {
                    sys::line(template.render(&aliased(event), Missing::Key)?);
                }
            }
        }
    }
    Ok(())
}

/// Adds the names that fields have in templates.
fn aliased(event: Value) -> Value {
    let names = [
        ("time", "Time"),
        ("timeNano", "TimeNano"),
        ("scope", "Scope"),
        ("status", "Status"),
        ("id", "ID"),
        ("from", "From"),
    ];
    let more = names.map(|(json, go)| {
        let empty = if json.starts_with("time") { Value::Int(0) } else { "".into() };
        (go.to_owned(), event.find(json).cloned().unwrap_or(empty))
    });
    let mut fields = event.fields().to_vec();
    fields.extend(more);
    Value::Map(fields)
}

fn plain(event: &Value) -> String {
    let nanos = match event.at("timeNano").int() {
        0 => i128::from(event.at("time").int()) * 1_000_000_000,
        nanos => i128::from(nanos),
    };
    let actor = event.at("Actor");
    let mut text = format!(
        "{} {} {} {}",
        units::local_rfc3339_nano(nanos),
        event.at("Type").text(),
        event.at("Action").text(),
        actor.at("ID").text()
    );
    let mut attributes: Vec<String> = actor
        .at("Attributes")
        .fields()
        .iter()
        .map(|(key, value)| format!("{key}={}", value.text()))
        .collect();
    attributes.sort_unstable();
    if !attributes.is_empty() {
        text.push_str(&format!(" ({})", attributes.join(", ")));
    }
    text
}

async fn dial(context: &mut Context, _: &Args) -> Result {
    let stream = context.client()?.connect().await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    sys::spawn(async move {
        let copied = tokio::io::copy(&mut tokio::io::stdin(), &mut writer).await;
        // The end of our input is the end of theirs; a closed connection needs no half-close.
        let _closed = writer.shutdown().await;
        copied
    });
    let mut stdout = tokio::io::stdout();
    tokio::io::copy(&mut reader, &mut stdout).await.map_err(io("reading from the daemon"))?;
    stdout.flush().await.map_err(io("writing standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event: Value = serde_json::from_str(
            r#"{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"x","image":"y"}},
            "scope":"local","time":1,"timeNano":1000000005}"#,
        )
        .unwrap();
        let line = plain(&event);
        assert!(line.ends_with(" container start abc (image=y, name=x)"), "{line}");
        assert!(line.contains(":01.000000005"), "{line}");
        let template = Template::parse("{{.Scope}} {{.Time}} {{.Actor.Attributes.name}}").unwrap();
        assert_eq!(template.render(&aliased(event), Missing::Key).unwrap(), "local 1 x");
    }
}
