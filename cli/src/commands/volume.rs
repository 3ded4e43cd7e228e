//! `volume`.

use serde_json::json;

use super::container::each;
use super::format::{Listing, Row, filters, labels};
use super::objects::{self, confirm, deleted, pair, pairs, reclaimed};
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, LIST, STR, action, flag, list, short};
use crate::client::{Request, url::segment};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use crate::units;
use shoal_gotemplate::value::Value;

const CREATE: &[Flag] = &[
    short('d', "driver", STR, "Driver of the volume").or("local"),
    flag("label", LIST, "Set a label"),
    flag("name", STR, "Name of the volume"),
    short('o', "opt", list("map", pair), "Option of the driver (key=value)"),
];
const LS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (dangling=true)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    short('q', "quiet", BOOL, "Show names only"),
];
const INSPECT: &[Flag] = &[short('f', "format", STR, "json, or a template")];
const RM: &[Flag] = &[short('f', "force", BOOL, "Do not complain about volumes that are gone")];
const PRUNE: &[Flag] = &[
    short('a', "all", BOOL, "Remove all unused volumes, not only anonymous ones"),
    flag("filter", FILTER, "Remove what fits a condition (label=key)"),
    short('f', "force", BOOL, "Do not ask"),
];
const MANY: Count = Count::AtLeast(1);

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["volume create"],
        "[OPTIONS] [VOLUME]",
        "Create a volume",
        Count::AtMost(1),
        &[CREATE],
        action!(create),
    ),
    Command::new(
        &["volume ls", "volume list"],
        "[OPTIONS]",
        "List volumes",
        Count::None,
        &[LS],
        action!(ls),
    ),
    Command::new(
        &["volume inspect"],
        "[OPTIONS] VOLUME [VOLUME...]",
        "Show all that is known about volumes",
        MANY,
        &[INSPECT],
        action!(inspect),
    ),
    Command::new(
        &["volume rm", "volume remove"],
        "[OPTIONS] VOLUME [VOLUME...]",
        "Remove one or more volumes",
        MANY,
        &[RM],
        action!(rm),
    ),
    Command::new(
        &["volume prune"],
        "[OPTIONS]",
        "Remove unused volumes",
        Count::None,
        &[PRUNE],
        action!(prune),
    ),
];

fn at(name: &str) -> String {
    format!("/volumes/{}", segment(name))
}

async fn create(context: &mut Context, args: &Args) -> Result {
    let name = args.text("name");
    if !name.is_empty() && !args.rest.is_empty() {
        let why = "conflicting options: cannot specify a volume-name through both --name and as a positional arg";
        return Err(why.into());
    }
    let name = if name.is_empty() { args.arg(0) } else { name };
    let request = Request::post("/volumes/create").json(json!({
        "Name": name,
        "Driver": args.text("driver"),
        "DriverOpts": pairs(args.all("opt")),
        "Labels": pairs(args.all("label")),
    }));
    let volume = context.client()?.value(request).await?;
    for warning in volume.at("Warnings").texts() {
        sys::err_line(format_args!("WARNING: {warning}"));
    }
    sys::line(volume.at("Name").text());
    Ok(())
}

async fn ls(context: &mut Context, args: &Args) -> Result {
    let request = Request::get("/volumes").maybe("filters", &filters(args.all("filter")));
    let answer = context.client()?.value(request).await?;
    let mut volumes: Vec<&Value> = answer.at("Volumes").list().iter().collect();
    volumes.sort_by(|left, right| {
        crate::table::natural(left.at("Name").text(), right.at("Name").text())
    });
    let rows = volumes.into_iter().map(row).collect();
    LISTING.print(context, "volumesFormat", args.text("format"), args.on("quiet"), rows)
}

const LISTING: Listing<'_> = Listing {
    table: "{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
    headers: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Group", "GROUP"),
        ("Availability", "AVAILABILITY"),
        ("Status", "STATUS"),
    ],
};

/// The columns of a volume. Sizes are known to `system df` only.
pub(super) fn row(volume: &Value) -> Row {
    let usage = volume.at("UsageData");
    let known = |text: String| if *usage == Value::Null { "N/A".to_owned() } else { text };
    Row::default()
        .put("Name", volume.at("Name").text())
        .put("Driver", volume.at("Driver").text())
        .put("Scope", volume.at("Scope").text())
        .put("Mountpoint", volume.at("Mountpoint").text())
        .put("Labels", labels(volume.at("Labels")))
        .put("\0labels", volume.at("Labels").clone())
        .put("Links", known(usage.at("RefCount").int().to_string()))
        .put("Size", known(units::human_size(usage.at("Size").float())))
        .put("Group", "N/A")
        .put("Availability", "N/A")
        .put("Status", "N/A")
}

async fn inspect(context: &mut Context, args: &Args) -> Result {
    let requests = args.rest.iter().map(|name| Request::get(at(name)));
    objects::inspect(context.client()?, args.text("format"), requests).await
}

async fn rm(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    each(&args.rest, async |name: &str| {
        Ok(client.done(Request::delete(at(name)).switch("force", args.on("force"))).await?)
    })
    .await
}

async fn prune(context: &mut Context, args: &Args) -> Result {
    let mut given = args.all("filter").to_vec();
    if args.on("all") {
        if given.iter().any(|filter| filter.starts_with("all=")) {
            return Err(Failure::new(
                "conflicting options: cannot specify both --all and --filter all=1",
            ));
        }
        given.push("all=true".to_owned());
    }
    if !args.on("force") {
        let which = if args.on("all") { "all" } else { "anonymous" };
        confirm(&format!(
            "WARNING! This will remove {which} local volumes not used by at least one container.\n\
             Are you sure you want to continue?"
        ))?;
    }
    let request = Request::post("/volumes/prune").maybe("filters", &filters(&given));
    let report = context.client()?.value(request).await?;
    let text = deleted("Deleted Volumes", report.at("VolumesDeleted").texts());
    if !text.is_empty() {
        sys::line(text);
    }
    reclaimed(report.at("SpaceReclaimed").float());
    Ok(())
}
