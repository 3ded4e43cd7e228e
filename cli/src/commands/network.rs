//! `network`.

use serde_json::json;

use super::container::each;
use super::format::{Listing, Row, filters, labels};
use super::objects::{self, confirm, deleted, pair, pairs};
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, LIST, STR, action, flag, list, short};
use crate::client::{Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::opts::ipam;
use crate::table::short_id;
use crate::{sys, units};
use shoal_gotemplate::value::Value;

const CREATE: &[Flag] = &[
    flag("attachable", BOOL, "Let containers join it by hand"),
    flag("aux-address", list("map", pair), "Addresses that are taken (name=address)"),
    flag("config-from", STR, "Network to take the configuration from"),
    flag("config-only", BOOL, "Only a configuration for other networks"),
    short('d', "driver", STR, "Driver of the network").or("bridge"),
    flag("gateway", LIST, "Address of the gateway"),
    flag("ingress", BOOL, "The routing mesh of a cluster"),
    flag("internal", BOOL, "No way out of the network"),
    flag("ip-range", LIST, "Part of the subnet to take addresses from"),
    flag("ipam-driver", STR, "Driver that manages addresses").or("default"),
    flag("ipam-opt", list("map", pair), "Option of that driver (key=value)"),
    flag("ipv4", BOOL, "Give IPv4 addresses").or("true"),
    flag("ipv6", BOOL, "Give IPv6 addresses"),
    flag("label", LIST, "Set a label"),
    short('o', "opt", list("map", pair), "Option of the driver (key=value)"),
    flag("scope", STR, "Scope of the network"),
    flag("subnet", LIST, "Subnet (address/bits)"),
];
const LS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (driver=bridge)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    flag("no-trunc", BOOL, "Do not shorten"),
    short('q', "quiet", BOOL, "Show ids only"),
];
const INSPECT: &[Flag] = &[
    short('f', "format", STR, "json, or a template"),
    short('v', "verbose", BOOL, "Show the state of services too"),
];
const RM: &[Flag] = &[short('f', "force", BOOL, "Do not complain about networks that are gone")];
const CONNECT: &[Flag] = &[
    flag("alias", LIST, "Alias of the container in the network"),
    flag("driver-opt", list("map", pair), "Option of the driver (key=value)"),
    flag("gw-priority", crate::args::INT, "The highest priority gives the default gateway"),
    flag("ip", STR, "IPv4 address"),
    flag("ip6", STR, "IPv6 address"),
    flag("link", LIST, "Link to another container"),
    flag("link-local-ip", LIST, "Link-local address"),
];
const DISCONNECT: &[Flag] = &[short('f', "force", BOOL, "Cut the connection in any case")];
const PRUNE: &[Flag] = &[
    flag("filter", FILTER, "Remove what fits a condition (until=timestamp)"),
    short('f', "force", BOOL, "Do not ask"),
];
const MANY: Count = Count::AtLeast(1);

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["network create"],
        "[OPTIONS] NETWORK",
        "Create a network",
        Count::Exactly(1),
        &[CREATE],
        action!(create),
    ),
    Command::new(
        &["network ls", "network list"],
        "[OPTIONS]",
        "List networks",
        Count::None,
        &[LS],
        action!(ls),
    ),
    Command::new(
        &["network inspect"],
        "[OPTIONS] NETWORK [NETWORK...]",
        "Show all that is known about networks",
        MANY,
        &[INSPECT],
        action!(inspect),
    ),
    Command::new(
        &["network rm", "network remove"],
        "NETWORK [NETWORK...]",
        "Remove one or more networks",
        MANY,
        &[RM],
        action!(rm),
    ),
    Command::new(
        &["network connect"],
        "[OPTIONS] NETWORK CONTAINER",
        "Connect a container to a network",
        Count::Exactly(2),
        &[CONNECT],
        action!(connect),
    ),
    Command::new(
        &["network disconnect"],
        "[OPTIONS] NETWORK CONTAINER",
        "Disconnect a container from a network",
        Count::Exactly(2),
        &[DISCONNECT],
        action!(disconnect),
    ),
    Command::new(
        &["network prune"],
        "[OPTIONS]",
        "Remove all unused networks",
        Count::None,
        &[PRUNE],
        action!(prune),
    ),
];

fn at(name: &str) -> String {
    format!("/networks/{}", segment(name))
}

async fn create(context: &mut Context, args: &Args) -> Result {
    let split = |name: &str| -> Vec<String> {
        args.all(name).iter().flat_map(|text| text.split(',').map(str::to_owned)).collect()
    };
    let config = ipam::config(
        &split("subnet"),
        &split("ip-range"),
        &split("gateway"),
        args.all("aux-address"),
    )
    .map_err(Failure::new)?;
    let mut body = json!({
        "Name": args.arg(0),
        "Driver": args.text("driver"),
        // Daemons before API 1.44 make a second network of a name unless they are told not to.
        "CheckDuplicate": true,
        "Options": pairs(args.all("opt")),
        "IPAM": {
            "Driver": args.text("ipam-driver"),
            "Options": pairs(args.all("ipam-opt")),
            "Config": config,
        },
        "Internal": args.on("internal"),
        "Attachable": args.on("attachable"),
        "Ingress": args.on("ingress"),
        "Scope": args.text("scope"),
        "ConfigOnly": args.on("config-only"),
        "Labels": pairs(args.all("label")),
    });
    for family in ["ipv4", "ipv6"] {
        if args.given(family) {
            body[format!("EnableIP{}", &family[2..])] = args.on(family).into();
        }
    }
    if args.given("config-from") {
        body["ConfigFrom"] = json!({"Network": args.text("config-from")});
    }
    let created = context.client()?.value(Request::post("/networks/create").json(body)).await?;
    let warning = created.at("Warning").text();
    if !warning.is_empty() {
        sys::err_line(format_args!("WARNING: {warning}"));
    }
    sys::line(created.at("Id").text());
    Ok(())
}

async fn ls(context: &mut Context, args: &Args) -> Result {
    let request = Request::get("/networks").maybe("filters", &filters(args.all("filter")));
    let answer = context.client()?.value(request).await?;
    let mut networks: Vec<&Value> = answer.list().iter().collect();
    networks.sort_by(|left, right| {
        crate::table::natural(left.at("Name").text(), right.at("Name").text())
    });
    let full = args.on("no-trunc");
    let rows = networks.into_iter().map(|network| row(network, full)).collect();
    let listing = Listing {
        table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        quiet: "{{.ID}}",
        headers: &[
            ("ID", "NETWORK ID"),
            ("Name", "NAME"),
            ("Driver", "DRIVER"),
            ("Scope", "SCOPE"),
            ("IPv4", "IPV4"),
            ("IPv6", "IPV6"),
            ("Internal", "INTERNAL"),
            ("Labels", "LABELS"),
            ("CreatedAt", "CREATED AT"),
        ],
    };
    listing.print(context, "networksFormat", args.text("format"), args.on("quiet"), rows)
}

fn row(network: &Value, full: bool) -> Row {
    let id = network.at("Id").text();
    let created = network.at("Created").text();
    Row::default()
        .put("ID", if full { id.to_owned() } else { short_id(id) })
        .put("Name", network.at("Name").text())
        .put("Driver", network.at("Driver").text())
        .put("Scope", network.at("Scope").text())
        .put("IPv4", network.at("EnableIPv4").is_true().to_string())
        .put("IPv6", network.at("EnableIPv6").is_true().to_string())
        .put("Internal", network.at("Internal").is_true().to_string())
        .put("Labels", labels(network.at("Labels")))
        .put("\0labels", network.at("Labels").clone())
        .put("CreatedAt", units::go_time(created).unwrap_or_else(|| created.to_owned()))
}

async fn inspect(context: &mut Context, args: &Args) -> Result {
    let verbose = if args.on("verbose") { "true" } else { "" };
    let requests = args.rest.iter().map(|name| Request::get(at(name)).maybe("verbose", verbose));
    objects::inspect(context.client()?, args.text("format"), requests).await
}

async fn rm(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    each(&args.rest, async |name: &str| match client.done(Request::delete(at(name))).await {
        Err(error) if args.on("force") && error.status() == 404 => Ok(()),
        other => Ok(other?),
    })
    .await
}

async fn connect(context: &mut Context, args: &Args) -> Result {
    let mut endpoint = json!({
        "IPAMConfig": {
            "IPv4Address": args.text("ip"),
            "IPv6Address": args.text("ip6"),
            "LinkLocalIPs": args.all("link-local-ip"),
        },
        "Links": args.all("link"),
        "Aliases": args.all("alias"),
        "DriverOpts": pairs(args.all("driver-opt")),
    });
    if args.given("gw-priority") {
        endpoint["GwPriority"] = args.int("gw-priority").into();
    }
    let body = json!({"Container": args.arg(1), "EndpointConfig": endpoint});
    let request = Request::post(format!("{}/connect", at(args.arg(0)))).json(body);
    Ok(context.client()?.done(request).await?)
}

async fn disconnect(context: &mut Context, args: &Args) -> Result {
    let body = json!({"Container": args.arg(1), "Force": args.on("force")});
    let request = Request::post(format!("{}/disconnect", at(args.arg(0)))).json(body);
    Ok(context.client()?.done(request).await?)
}

async fn prune(context: &mut Context, args: &Args) -> Result {
    if !args.on("force") {
        confirm(
            "WARNING! This will remove all custom networks not used by at least one container.\n\
             Are you sure you want to continue?",
        )?;
    }
    let request = Request::post("/networks/prune").maybe("filters", &filters(args.all("filter")));
    let report = context.client()?.value(request).await?;
    let text = deleted("Deleted Networks", report.at("NetworksDeleted").texts());
    if !text.is_empty() {
        sys::line(text);
    }
    Ok(())
}
