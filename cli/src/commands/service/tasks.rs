//! Lists of tasks: `service ps`, `node ps`, `stack ps`.

use std::collections::BTreeMap;

use super::super::cluster::{Names, capital, shown_image, task_filters};
use super::super::format::{Listing, Row, filters};
use super::at;
use super::explain::reasons;
use crate::args::Args;
use crate::client::Request;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::table::{ellipsis, natural, short_id};
use crate::units;
use shoal_gotemplate::value::Value;

const LISTING: Listing<'static> = Listing {
    table: "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
    quiet: "{{.ID}}",
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Image", "IMAGE"),
        ("Node", "NODE"),
        ("DesiredState", "DESIRED STATE"),
        ("CurrentState", "CURRENT STATE"),
        ("Error", "ERROR"),
        ("Ports", "PORTS"),
    ],
};

pub(super) async fn ps(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let mut wanted = task_filters(client, args.all("filter")).await?;
    let mut absent = Vec::new();
    let mut said = BTreeMap::new();
    for name in &args.rest {
        match client.value(Request::get(at(name))).await {
            Ok(service) => {
                let id = service.at("ID").text();
                said.append(&mut reasons(client, id).await?);
                wanted.push(format!("service={id}"));
            }
            Err(error) if error.status() == 404 => absent.push(format!("no such service: {name}")),
            Err(error) => return Err(error.into()),
        }
    }
    if absent.len() < args.rest.len() {
        let request = Request::get("/tasks").query("filters", filters(&wanted));
        let tasks = client.value(request).await?;
        print_explained(context, args, &tasks, &said).await?;
    }
    if absent.is_empty() { Ok(()) } else { Err(Failure::new(absent.join("\n"))) }
}

/// Prints tasks with the options of a `ps` command.
pub(crate) async fn print(context: &Context, args: &Args, tasks: &Value) -> Result {
    print_explained(context, args, tasks, &BTreeMap::new()).await
}

/// As [`print`]; tasks without an error show why they are not where they should be, by their ids.
async fn print_explained(
    context: &Context,
    args: &Args,
    tasks: &Value,
    said: &BTreeMap<String, String>,
) -> Result {
    let mut names = Names::new(context.client()?, args.on("no-resolve"));
    let mut all = Vec::new();
    for task in tasks.list() {
        let service = names.service(task.at("ServiceID").text()).await;
        let node = names.node(task.at("NodeID").text()).await;
        let slot = match task.at("Slot").int() {
            0 => task.at("NodeID").text().to_owned(),
            slot => slot.to_string(),
        };
        let reason = said.get(task.at("ID").text()).map_or("", String::as_str);
        all.push(Shown { task, name: format!("{service}.{slot}"), node, reason });
    }
    let now = units::seconds(crate::sys::now_nanos());
    let given = args.text("format");
    let configured = context.setting("tasksFormat").unwrap_or_default();
    let format = if given.is_empty() && !args.on("quiet") { configured } else { given };
    let table = format.is_empty() || format.starts_with("table");
    let rows = rows(all, now, args.on("no-trunc"), table && !args.on("quiet"));
    LISTING.print(context, "tasksFormat", given, args.on("quiet"), rows)
}

/// A task with the names that only the daemon knows.
struct Shown<'a> {
    task: &'a Value,
    name: String,
    node: String,
    /// Why it is not where it should be; empty: it is, or its own error says so.
    reason: &'a str,
}

/// Tasks by name, the newest of each name first, the older ones set in.
fn rows(mut all: Vec<Shown<'_>>, now: i64, full: bool, indent: bool) -> Vec<Row> {
    let created = |shown: &Shown<'_>| units::parse_time(shown.task.at("CreatedAt").text());
    all.sort_by(|one, other| {
        let names = if one.name == other.name {
            std::cmp::Ordering::Equal
        } else {
            natural(&one.name, &other.name)
        };
        names.then_with(|| created(other).cmp(&created(one)))
    });
    let mut before = String::new();
    let mut rows = Vec::new();
    for shown in all {
        let older = shown.name == before && indent;
        let name = if older { format!(" \\_ {}", shown.name) } else { shown.name.clone() };
        rows.push(row(&shown, name, now, full));
        before = shown.name;
    }
    rows
}

fn row(shown: &Shown<'_>, name: String, now: i64, full: bool) -> Row {
    let (task, status) = (shown.task, shown.task.at("Status"));
    let id = task.at("ID").text();
    let image = task.path("Spec.ContainerSpec.Image").text();
    let since = units::parse_time(status.at("Timestamp").text()).map_or(0, units::seconds);
    let error = match status.at("Err").text() {
        "" => shown.reason,
        error => error,
    };
    let error = if full { error.to_owned() } else { ellipsis(error, 30) };
    let ports = status.path("PortStatus.Ports").list().iter().map(|port| {
        let number = |key: &str| port.at(key).int();
        let protocol = port.at("Protocol").text();
        format!("*:{}->{}/{protocol}", number("PublishedPort"), number("TargetPort"))
    });
    Row::default()
        .put("ID", if full { id.to_owned() } else { short_id(id) })
        .put("Name", name)
        .put("Image", if full { image.to_owned() } else { shown_image(image) })
        .put("Node", shown.node.as_str())
        .put("DesiredState", capital(task.at("DesiredState").text()))
        .put(
            "CurrentState",
            format!(
                "{} {}",
                capital(status.at("State").text()),
                units::ago(now, since).to_lowercase()
            ),
        )
        .put("Error", if error.is_empty() { error } else { format!("\"{error}\"") })
        .put("Ports", ports.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_tasks_of_a_slot_stand_below() {
        let tasks: Value = serde_json::from_str(
            r#"[{"ID":"old","CreatedAt":"2026-01-01T00:00:00Z","Spec":{"ContainerSpec":{"Image":"x:1"}},"DesiredState":"shutdown",
                 "Status":{"State":"failed","Timestamp":"2026-01-01T00:00:30Z","Err":"task: non-zero exit (1): something went wrong"}},
                {"ID":"new","CreatedAt":"2026-01-01T00:00:40Z","Spec":{"ContainerSpec":{"Image":"x:1"}},"DesiredState":"running",
                 "Status":{"State":"running","Timestamp":"2026-01-01T00:00:50Z",
                 "PortStatus":{"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080}]}}}]"#,
        )
        .unwrap();
        let shown = || {
            tasks
                .list()
                .iter()
                .map(|task| Shown { task, name: "web.1".into(), node: "n1".into(), reason: "" })
                .collect::<Vec<_>>()
        };
        let now = units::seconds(units::parse_time("2026-01-01T00:01:00Z").unwrap());
        expect_test::expect![[r#"
            ID        NAME        IMAGE     NODE      DESIRED STATE   CURRENT STATE            ERROR                              PORTS
            new       web.1       x:1       n1        Running         Running 10 seconds ago                                      *:8080->80/tcp
            old        \_ web.1   x:1       n1        Shutdown        Failed 30 seconds ago    "task: non-zero exit (1): some…"   
        "#]]
        .assert_eq(&LISTING.render("", false, rows(shown(), now, false, true)).unwrap());
        assert_eq!(
            LISTING.render("{{.Name}}", false, rows(shown(), now, false, false)).unwrap(),
            "web.1\nweb.1\n"
        );
    }
}
