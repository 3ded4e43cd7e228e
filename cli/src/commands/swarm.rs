//! `swarm`: this node's membership, and the cluster's own settings.

mod authority;
mod settings;

use serde_json::{Value as Json, json};

use super::cluster::{json_of, version};
use crate::args::{
    Args, BOOL, Command, Count, DURATION, Flag, INT, LIST, STR, UINT, action, flag, list, short,
};
use crate::client::{Client, Request};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::sys;
use shoal_gotemplate::value::Value;

const CERT_EXPIRY: Flag =
    flag("cert-expiry", DURATION, "How long certificates of nodes are valid").or("2160h0m0s");
const EXTERNAL_CA: Flag = flag(
    "external-ca",
    list("external-ca", settings::external_check),
    "Authority that signs certificates (protocol=cfssl,url=…[,cacert=…])",
);
const SPEC: &[Flag] = &[
    flag("autolock", BOOL, "Encrypt the managers' keys with a key that they do not keep"),
    CERT_EXPIRY,
    flag("dispatcher-heartbeat", DURATION, "Time between heartbeats of nodes").or("5s"),
    flag(
        "drain-wait",
        DURATION,
        "Wait for nodes that may still send connections to a task before it stops",
    )
    .or("5s"),
    EXTERNAL_CA,
    flag("max-snapshots", UINT, "Older snapshots of the raft log to keep").or("0"),
    flag("snapshot-interval", UINT, "Entries of the raft log between snapshots").or("10000"),
    flag("task-history-limit", INT, "Older tasks to keep in each slot").or("5"),
];
const ADDRESSES: &[Flag] = &[
    flag("advertise-addr", STR, "Address told to other nodes (<ip|interface>[:port])"),
    flag("availability", STR, "Availability of this node: active, pause, drain").or("active"),
    flag("data-path-addr", STR, "Address or interface for the traffic of containers"),
    flag("listen-addr", STR, "Address to listen on (<ip|interface>[:port])").or("0.0.0.0:2377"),
];
const INIT: &[Flag] = &[
    flag("data-path-port", UINT, "UDP port for the traffic of containers, 1024 to 49151").or("0"),
    flag("default-addr-pool", LIST, "Addresses for networks, as a CIDR"),
    flag("default-addr-pool-mask-length", UINT, "Size of the networks taken from them").or("24"),
    flag("force-new-cluster", BOOL, "Begin a cluster of this manager alone from what it knows"),
];
const JOIN: &[Flag] = &[flag("token", STR, "Token that admits to the cluster")];
const TOKEN: &[Flag] = &[
    short('q', "quiet", BOOL, "Show the token only"),
    flag("rotate", BOOL, "Make a new token, which the old one is not good for any more"),
];
const KEY: &[Flag] =
    &[short('q', "quiet", BOOL, "Show the key only"), flag("rotate", BOOL, "Make a new key")];
const LEAVE: &[Flag] = &[short('f', "force", BOOL, "Leave even as a manager")];
const CA: &[Flag] = &[
    flag("ca-cert", STR, "File of the certificate of the new root (PEM)"),
    flag("ca-key", STR, "File of the key of the new root (PEM)"),
    CERT_EXPIRY,
    short('d', "detach", BOOL, "Do not wait until all nodes have new certificates"),
    EXTERNAL_CA,
    short('q', "quiet", BOOL, "Show no progress"),
    flag("rotate", BOOL, "Change the root of trust"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["swarm ca"],
        "[OPTIONS]",
        "Show or change the root of trust",
        Count::None,
        &[CA],
        action!(authority::ca),
    ),
    Command::new(
        &["swarm init"],
        "[OPTIONS]",
        "Begin a cluster with this node as its manager",
        Count::None,
        &[SPEC, ADDRESSES, INIT],
        action!(init),
    ),
    Command::new(
        &["swarm join"],
        "[OPTIONS] HOST:PORT",
        "Make this node a member of a cluster",
        Count::Exactly(1),
        &[ADDRESSES, JOIN],
        action!(join),
    ),
    Command::new(
        &["swarm join-token"],
        "[OPTIONS] (worker|manager)",
        "Show or change the tokens that admit to the cluster",
        Count::Exactly(1),
        &[TOKEN],
        action!(join_token),
    ),
    Command::new(
        &["swarm leave"],
        "[OPTIONS]",
        "Take this node out of the cluster",
        Count::None,
        &[LEAVE],
        action!(leave),
    ),
    Command::new(
        &["swarm unlock"],
        "",
        "Unlock this manager after a start",
        Count::None,
        &[],
        action!(unlock),
    ),
    Command::new(
        &["swarm unlock-key"],
        "[OPTIONS]",
        "Show or change the key that unlocks managers",
        Count::None,
        &[KEY],
        action!(unlock_key),
    ),
    Command::new(
        &["swarm update"],
        "[OPTIONS]",
        "Change settings of the cluster",
        Count::None,
        &[SPEC],
        action!(update),
    ),
];

async fn init(context: &mut Context, args: &Args) -> Result {
    let mut spec = json!({});
    settings::apply(args, &mut spec)?;
    let mut body = settings::addresses(args)?;
    body["DataPathPort"] = args.int("data-path-port").into();
    body["DefaultAddrPool"] = json!(args.all("default-addr-pool"));
    body["SubnetSize"] = args.int("default-addr-pool-mask-length").into();
    body["ForceNewCluster"] = args.on("force-new-cluster").into();
    body["AutoLockManagers"] = args.on("autolock").into();
    body["Spec"] = spec;
    let client = context.client()?;
    let answer = client.value(Request::post("/swarm/init").json(body)).await.map_err(hinted)?;
    let id = answer.text();
    sys::line(format_args!("Swarm initialized: current node ({id}) is now a manager.\n"));
    say_how_to_join(client, id, "worker").await?;
    sys::line(
        "To add a manager to this swarm, run 'shoal swarm join-token manager' and follow the \
         instructions.\n",
    );
    if args.on("autolock") {
        say_key(client, false).await?;
    }
    Ok(())
}

fn hinted(error: crate::client::Error) -> Failure {
    let text = error.to_string();
    let several = text.contains("could not choose an IP address to advertise");
    if several || text.contains("could not find the system's IP address") {
        return Failure::new(format!("{text} - specify one with --advertise-addr"));
    }
    Failure::new(text)
}

async fn say_how_to_join(client: &Client, node: &str, role: &str) -> Result {
    let path = format!("/nodes/{}", crate::client::url::segment(node));
    let node = client.value(Request::get(path)).await?;
    let swarm = client.value(Request::get("/swarm")).await?;
    if !matches!(node.at("ManagerStatus"), Value::Map(_)) {
        return Ok(());
    }
    let (token, address) = (token(&swarm, role), node.path("ManagerStatus.Addr").text());
    sys::line(format_args!(
        "To add a {role} to this swarm, run the following command:\n\n    shoal swarm join --token \
         {token} {address}\n"
    ));
    Ok(())
}

fn token<'a>(swarm: &'a Value, role: &str) -> &'a str {
    let key = if role == "manager" { "Manager" } else { "Worker" };
    swarm.at("JoinTokens").at(key).text()
}

async fn say_key(client: &Client, quiet: bool) -> Result {
    let answer = client.value(Request::get("/swarm/unlockkey")).await?;
    let key = answer.at("UnlockKey").text();
    if key.is_empty() {
        return Err("no unlock key is set".into());
    }
    if quiet {
        sys::line(key);
        return Ok(());
    }
    sys::line(format_args!(
        "To unlock a swarm manager after it restarts, run the `shoal swarm unlock`\ncommand and \
         provide the following key:\n\n    {key}\n\nRemember to store this key in a password \
         manager, since without it you\nwill not be able to restart the manager."
    ));
    Ok(())
}

async fn join(context: &mut Context, args: &Args) -> Result {
    let mut body = settings::addresses(args)?;
    body["RemoteAddrs"] = json!([args.arg(0)]);
    body["JoinToken"] = args.text("token").into();
    let client = context.client()?;
    client.done(Request::post("/swarm/join").json(body)).await?;
    let info = client.value(Request::get("/info")).await?;
    let manager = info.path("Swarm.ControlAvailable").is_true();
    let role = if manager { "manager" } else { "worker" };
    sys::line(format_args!("This node joined a swarm as a {role}."));
    Ok(())
}

async fn join_token(context: &mut Context, args: &Args) -> Result {
    let role = args.arg(0);
    if !matches!(role, "worker" | "manager") {
        return Err(format!("unknown role {role}").into());
    }
    let client = context.client()?;
    if args.on("rotate") {
        let key = if role == "manager" { "rotateManagerToken" } else { "rotateWorkerToken" };
        rotate(client, key).await?;
        if !args.on("quiet") {
            sys::line(format_args!("Successfully rotated {role} join token.\n"));
        }
    }
    if args.on("quiet") {
        let swarm = client.value(Request::get("/swarm")).await?;
        sys::line(token(&swarm, role));
        return Ok(());
    }
    let info = client.value(Request::get("/info")).await?;
    let node = info.path("Swarm.NodeID").text();
    if node.is_empty() {
        // The daemon's own error says why this node is in no cluster.
        client.value(Request::get("/swarm")).await?;
    }
    say_how_to_join(client, node, role).await
}

/// Changes a token or key; the settings stay.
async fn rotate(client: &Client, what: &str) -> Result {
    let swarm = json_of(client, Request::get("/swarm")).await?;
    send(client, &swarm, swarm["Spec"].clone(), Some(what)).await
}

async fn send(client: &Client, swarm: &Json, spec: Json, rotate: Option<&str>) -> Result {
    let mut request = Request::post("/swarm/update").query("version", version(swarm));
    if let Some(what) = rotate {
        request = request.query(what, "true");
    }
    Ok(client.done(request.json(spec)).await?)
}

async fn leave(context: &mut Context, args: &Args) -> Result {
    let request = Request::post("/swarm/leave").switch("force", args.on("force"));
    context.client()?.done(request).await?;
    sys::line("Node left the swarm.");
    Ok(())
}

async fn unlock(context: &mut Context, _: &Args) -> Result {
    let client = context.client()?;
    let info = client.value(Request::get("/info")).await?;
    match info.path("Swarm.LocalNodeState").text() {
        "inactive" => return Err("Error: This node is not part of a swarm".into()),
        "locked" => {}
        _ => return Err("Error: swarm is not locked".into()),
    }
    let key = read_key()?;
    let body = json!({"UnlockKey": key});
    Ok(client.done(Request::post("/swarm/unlock").json(body)).await?)
}

/// A line of standard input, not shown while it is typed.
fn read_key() -> Result<String> {
    use std::io::BufRead as _;
    let silent = crate::stream::terminal::Silent::enter();
    if silent.is_some() {
        sys::out("Enter unlock key: ");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(io("reading the key"))?;
    if silent.is_some() {
        sys::out("\n");
    }
    Ok(line.trim().to_owned())
}

async fn unlock_key(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    if args.on("rotate") {
        rotate(client, "rotateManagerUnlockKey").await?;
        if !args.on("quiet") {
            sys::line("Successfully rotated manager unlock key.\n");
        }
    }
    say_key(client, args.on("quiet")).await
}

async fn update(context: &mut Context, args: &Args) -> Result {
    if args.is_bare() {
        if let Some(command) = super::by_path("swarm update") {
            sys::out(crate::args::help::command(command, "swarm update"));
        }
        return Ok(());
    }
    let client = context.client()?;
    let swarm = json_of(client, Request::get("/swarm")).await?;
    let locked = |spec: &Json| spec["EncryptionConfig"]["AutoLockManagers"] == true;
    let before = locked(&swarm["Spec"]);
    let mut spec = swarm["Spec"].clone();
    settings::apply(args, &mut spec)?;
    let after = locked(&spec);
    send(client, &swarm, spec, None).await?;
    sys::line("Swarm updated.");
    if after && !before {
        say_key(client, false).await?;
    }
    Ok(())
}
