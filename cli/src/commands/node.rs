//! `node`.

mod drain;
mod pretty;

use serde_json::Value as Json;

use super::cluster::{self, capital, json_of, node_id, own_node, version};
use super::container::each;
use super::format::{Listing, Row, filters};
use super::service::print_tasks;
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, LIST, STR, action, flag, short};
use crate::client::{Client, Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use crate::table::natural;
use shoal_gotemplate::value::Value;

const LS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (role=manager)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    short('q', "quiet", BOOL, "Show ids only"),
];
const INSPECT: &[Flag] = &[
    short('f', "format", STR, "json, or a template"),
    flag("pretty", BOOL, "Show what matters, for people"),
];
const PS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (desired-state=running)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    flag("no-resolve", BOOL, "Show ids instead of names"),
    flag("no-trunc", BOOL, "Do not shorten"),
    short('q', "quiet", BOOL, "Show ids only"),
];
const UPDATE: &[Flag] = &[
    flag("availability", STR, "Availability: active, pause, drain"),
    flag("label-add", LIST, "Add or change a label (key=value)"),
    flag("label-rm", LIST, "Remove a label"),
    flag("role", STR, "Role: worker, manager"),
];
const RM: &[Flag] = &[short('f', "force", BOOL, "Remove it though it is not down")];
const MANY: Count = Count::AtLeast(1);

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["node demote"],
        "NODE [NODE...]",
        "Make managers workers",
        MANY,
        &[],
        action!(demote),
    ),
    Command::new(
        &["node drain"],
        "[OPTIONS] NODE [NODE...]",
        "Move the tasks of nodes elsewhere, by the order and parallelism of each service's updates",
        MANY,
        &[drain::FLAGS],
        action!(drain::drain),
    )
    .examples("shoal node drain --wait --deadline 10m n3    # ends when n3 is empty"),
    Command::new(
        &["node inspect"],
        "[OPTIONS] self|NODE [NODE...]",
        "Show all that is known about nodes",
        MANY,
        &[INSPECT],
        action!(inspect),
    ),
    Command::new(
        &["node ls", "node list"],
        "[OPTIONS]",
        "List the nodes of the cluster",
        Count::None,
        &[LS],
        action!(ls),
    ),
    Command::new(
        &["node promote"],
        "NODE [NODE...]",
        "Make workers managers",
        MANY,
        &[],
        action!(promote),
    ),
    Command::new(
        &["node ps"],
        "[OPTIONS] [NODE...]",
        "List the tasks on nodes, on this one by default",
        Count::AtLeast(0),
        &[PS],
        action!(ps),
    ),
    Command::new(
        &["node rm", "node remove"],
        "[OPTIONS] NODE [NODE...]",
        "Remove one or more nodes from the cluster",
        MANY,
        &[RM],
        action!(rm),
    ),
    Command::new(
        &["node update"],
        "[OPTIONS] NODE",
        "Change a node",
        Count::Exactly(1),
        &[UPDATE],
        action!(update),
    ),
];

const LISTING: Listing<'static> = Listing {
    table: "{{.ID}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
    quiet: "{{.ID}}",
    headers: &[
        ("ID", "ID"),
        ("Self", ""),
        ("Hostname", "HOSTNAME"),
        ("Status", "STATUS"),
        ("Availability", "AVAILABILITY"),
        ("ManagerStatus", "MANAGER STATUS"),
        ("EngineVersion", "ENGINE VERSION"),
        ("TLSStatus", "TLS STATUS"),
    ],
};

fn at(id: &str) -> String {
    format!("/nodes/{}", segment(id))
}

async fn ls(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let request = Request::get("/nodes").maybe("filters", &filters(args.all("filter")));
    let nodes = client.value(request).await?;
    let info = if nodes.list().is_empty() || args.on("quiet") {
        Value::Null
    } else {
        client.value(Request::get("/info")).await?
    };
    let configured = context.setting("nodesFormat").unwrap_or_default();
    let format =
        args.get("format").unwrap_or_else(|| if args.on("quiet") { "" } else { configured });
    // In the usual table a star behind its id marks this node.
    let marked = matches!(format, "" | "table") && !args.on("quiet");
    let rows = rows(&nodes, info.at("Swarm"), marked);
    LISTING.print(context, "nodesFormat", args.text("format"), args.on("quiet"), rows)
}

fn rows(nodes: &Value, swarm: &Value, marked: bool) -> Vec<Row> {
    let name = |node: &Value| node.path("Description.Hostname").text().to_owned();
    let mut all: Vec<&Value> = nodes.list().iter().collect();
    all.sort_by(|one, other| natural(&name(one), &name(other)));
    all.into_iter().map(|node| row(node, swarm, marked)).collect()
}

fn row(node: &Value, swarm: &Value, marked: bool) -> Row {
    let id = node.at("ID").text();
    let own = id == swarm.at("NodeID").text();
    let manager = node.at("ManagerStatus");
    let manager = match manager.at("Leader").is_true() {
        true => "leader",
        false => manager.at("Reachability").text(),
    };
    let mark = if own { " *" } else { "  " };
    Row::default()
        .put("ID", if marked { format!("{id}{mark}") } else { id.to_owned() })
        .put("Self", Value::Bool(own))
        .put("Hostname", node.path("Description.Hostname").text())
        .put("Status", capital(node.path("Status.State").text()))
        .put("Availability", capital(node.path("Spec.Availability").text()))
        .put("ManagerStatus", capital(manager))
        .put("EngineVersion", node.path("Description.Engine.EngineVersion").text())
        .put("TLSStatus", tls(node.path("Description.TLSInfo"), swarm.path("Cluster.TLSInfo")))
}

/// Does the node trust what the cluster trusts?
fn tls(node: &Value, cluster: &Value) -> &'static str {
    let keys = ["TrustRoot", "CertIssuerSubject", "CertIssuerPublicKey"];
    let empty = |tls: &Value| keys.iter().all(|key| tls.at(key).text().is_empty());
    if empty(node) || empty(cluster) {
        "Unknown"
    } else if keys.iter().all(|key| node.at(key) == cluster.at(key)) {
        "Ready"
    } else {
        "Needs Rotation"
    }
}

async fn inspect(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let mut names = Vec::new();
    for name in &args.rest {
        let own = name == "self";
        names.push(if own { node_id(client, name).await? } else { name.clone() });
    }
    let request = |name: &str| Request::get(at(name));
    if !args.on("pretty") {
        return cluster::inspect(client, args.text("format"), &names, "node", request).await;
    }
    if args.given("format") {
        return Err("--format is incompatible with human friendly format".into());
    }
    for name in &names {
        sys::out(pretty::text(&client.value(request(name)).await?));
    }
    Ok(())
}

async fn ps(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let own = vec!["self".to_owned()];
    let names = if args.rest.is_empty() { &own } else { &args.rest };
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        let id = match node_id(client, name).await {
            Ok(id) => id,
            Err(failure) => {
                errors.push(failure.message);
                continue;
            }
        };
        let mut wanted = args.all("filter").to_vec();
        wanted.push(format!("node={id}"));
        let request = Request::get("/tasks").query("filters", filters(&wanted));
        match client.value(request).await {
            Ok(found) => tasks.extend(found.list().iter().cloned()),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if errors.len() < names.len() {
        print_tasks(context, args, &Value::List(tasks)).await?;
    }
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}

async fn rm(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    each(&args.rest, async |name: &str| {
        Ok(client.done(Request::delete(at(name)).switch("force", args.on("force"))).await?)
    })
    .await
}

async fn update(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let (id, node) = read(client, args.arg(0)).await?;
    let mut spec = node["Spec"].clone();
    change(args, &mut spec).map_err(Failure::new)?;
    write(client, &id, &node, spec).await?;
    sys::line(args.arg(0));
    Ok(())
}

async fn read(client: &Client, name: &str) -> Result<(String, Json)> {
    let name = if name == "self" { own_node(client).await? } else { name.to_owned() };
    let node = json_of(client, Request::get(at(&name))).await?;
    Ok((node["ID"].as_str().unwrap_or_default().to_owned(), node))
}

async fn write(client: &Client, id: &str, node: &Json, spec: Json) -> Result {
    let request =
        Request::post(format!("{}/update", at(id))).query("version", version(node)).json(spec);
    Ok(client.done(request).await?)
}

/// Applies the options of `node update`. Pure.
fn change(args: &Args, spec: &mut Json) -> std::result::Result<(), String> {
    for (key, name) in [("Role", "role"), ("Availability", "availability")] {
        if args.given(name) {
            spec[key] = args.text(name).to_lowercase().into();
        }
    }
    for label in args.all("label-add") {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        spec["Labels"][key] = value.into();
    }
    for key in args.all("label-rm") {
        let removed = spec["Labels"].as_object_mut().and_then(|labels| labels.remove(key));
        if removed.is_none() {
            return Err(format!("key {key} doesn't exist in node's labels"));
        }
    }
    Ok(())
}

async fn promote(context: &mut Context, args: &Args) -> Result {
    for name in &args.rest {
        if set_role(context.client()?, name, "manager").await? {
            sys::line(format_args!("Node {name} promoted to a manager in the swarm."));
        }
    }
    Ok(())
}

async fn demote(context: &mut Context, args: &Args) -> Result {
    for name in &args.rest {
        if set_role(context.client()?, name, "worker").await? {
            sys::line(format_args!("Manager {name} demoted in the swarm."));
        }
    }
    Ok(())
}

/// Gives a node a role: was it another one?
async fn set_role(client: &Client, name: &str, role: &str) -> Result<bool> {
    let (id, node) = read(client, name).await?;
    let mut spec = node["Spec"].clone();
    if spec["Role"] == role {
        sys::line(format_args!("Node {id} is already a {role}."));
        return Ok(false);
    }
    spec["Role"] = role.into();
    write(client, &id, &node, spec).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_marks_this_node() {
        let nodes: Value = serde_json::from_str(
            r#"[{"ID":"bbbbbbbbbbbbbbbbbbbbbbbbb","Spec":{"Availability":"drain"},"Status":{"State":"down"},
                 "Description":{"Hostname":"n10","Engine":{"EngineVersion":"1"}}},
                {"ID":"aaaaaaaaaaaaaaaaaaaaaaaaa","Spec":{"Availability":"active"},"Status":{"State":"ready"},
                 "ManagerStatus":{"Leader":true,"Reachability":"reachable"},
                 "Description":{"Hostname":"n9","Engine":{"EngineVersion":"1"},"TLSInfo":{"TrustRoot":"r"}}}]"#,
        )
        .unwrap();
        let swarm =
            r#"{"NodeID":"aaaaaaaaaaaaaaaaaaaaaaaaa","Cluster":{"TLSInfo":{"TrustRoot":"r"}}}"#;
        let swarm: Value = serde_json::from_str(swarm).unwrap();
        expect_test::expect![[r#"
            ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION
            aaaaaaaaaaaaaaaaaaaaaaaaa *   n9         Ready     Active         Leader           1
            bbbbbbbbbbbbbbbbbbbbbbbbb     n10        Down      Drain                           1
        "#]]
        .assert_eq(&LISTING.render("", false, rows(&nodes, &swarm, true)).unwrap());
        assert_eq!(
            LISTING
                .render("{{.ID}} {{.Self}} {{.TLSStatus}}", false, rows(&nodes, &swarm, false))
                .unwrap(),
            "aaaaaaaaaaaaaaaaaaaaaaaaa true Ready\nbbbbbbbbbbbbbbbbbbbbbbbbb false Unknown\n"
        );
    }

    #[test]
    fn labels_come_and_go() {
        let line = ["--label-add=a=1", "--label-rm=b", "--availability=Drain", "n"];
        let line: Vec<String> = line.map(str::to_owned).to_vec();
        let command = super::super::by_path("node update").unwrap();
        let args = crate::args::parse::parse(command, "node update", &line).unwrap();
        let mut spec = json!({"Role": "worker", "Labels": {"b": "2"}});
        change(&args, &mut spec).unwrap();
        assert_eq!(spec, json!({"Role": "worker", "Labels": {"a": "1"}, "Availability": "drain"}));
        let mut other = json!({});
        assert_eq!(change(&args, &mut other).unwrap_err(), "key b doesn't exist in node's labels");
    }
}
