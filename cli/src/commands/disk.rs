//! `system df`.

use super::format::{Listing, Row, split_tag};
use super::{list, volume};
use crate::args::{Args, BOOL, Command, Count, Flag, STR, action, flag, short};
use crate::client::Request;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use crate::table::short_id;
use crate::units::{self, human_size};
use shoal_gotemplate::value::Value;

const FLAGS: &[Flag] = &[
    flag("format", STR, "table, json, or a template"),
    short('v', "verbose", BOOL, "Show each object"),
];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["system df"],
    "[OPTIONS]",
    "Show how much disk space is used",
    Count::None,
    &[FLAGS],
    action!(df),
)];

async fn df(context: &mut Context, args: &Args) -> Result {
    let request = Request::get("/system/df").switch("verbose", args.on("verbose"));
    let usage = context.client()?.value(request).await?;
    let format = args.text("format");
    if args.on("verbose") {
        if !matches!(format, "" | "table") {
            return Err("--format with --verbose is not implemented for `system df`".into());
        }
        sys::out(verbose(&usage, units::seconds(sys::now_nanos()))?);
        return Ok(());
    }
    let listing = Listing {
        table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
        quiet: "{{.Type}}",
        headers: &[
            ("Type", "TYPE"),
            ("TotalCount", "TOTAL"),
            ("Active", "ACTIVE"),
            ("Size", "SIZE"),
            ("Reclaimable", "RECLAIMABLE"),
        ],
    };
    let rows = if usage.find("ImageUsage").is_some() { counted(&usage) } else { summary(&usage) };
    listing.print(context, "", format, false, rows)
}

/// A share of what is used, as docker cuts it off.
fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 {
        format!("{} ({:.0}%)", human_size(part), (part * 100.0 / whole).trunc())
    } else {
        human_size(part)
    }
}

/// The kinds of objects, with their keys in new and old answers.
const KINDS: [(&str, &str, &str); 4] = [
    ("Images", "ImageUsage", "Images"),
    ("Containers", "ContainerUsage", "Containers"),
    ("Local Volumes", "VolumeUsage", "Volumes"),
    ("Build Cache", "BuildCacheUsage", "BuildCache"),
];

/// Rows from the sums of a daemon that makes them (API 1.52 and later).
fn counted(usage: &Value) -> Vec<Row> {
    let row = |(kind, key, _): &(&str, &str, &str)| {
        let part = usage.at(key);
        let (size, free) = (part.at("TotalSize").float(), part.at("Reclaimable").float());
        let percent = *kind != "Build Cache";
        Row::default()
            .put("Type", *kind)
            .put("TotalCount", part.at("TotalCount").int().to_string())
            .put("Active", part.at("ActiveCount").int().to_string())
            .put("Size", human_size(size))
            .put("Reclaimable", if percent { share(free, size) } else { human_size(free) })
    };
    KINDS.iter().map(row).collect()
}

/// The objects of a kind, wherever the daemon puts them.
fn items<'a>(usage: &'a Value, old: &str) -> &'a [Value] {
    let new = KINDS.iter().find(|kind| kind.2 == old).map_or("", |kind| kind.1);
    match usage.find(new) {
        Some(part) => part.at("Items").list(),
        None => usage.at(old).list(),
    }
}

/// Rows computed from all objects, for older daemons.
fn summary(usage: &Value) -> Vec<Row> {
    let row = |kind: &str, total: usize, active: usize, size: f64, free: String| {
        Row::default()
            .put("Type", kind)
            .put("TotalCount", total.to_string())
            .put("Active", active.to_string())
            .put("Size", human_size(size))
            .put("Reclaimable", free)
    };
    let images = usage.at("Images").list();
    let layers = usage.at("LayersSize").float();
    let used: Vec<&Value> = images.iter().filter(|i| i.at("Containers").int() > 0).collect();
    // What images in use hold alone or together stays.
    let held: f64 = used
        .iter()
        .filter(|i| i.at("Size").int() >= 0 && i.at("SharedSize").int() >= 0)
        .map(|i| i.at("Size").float() - i.at("SharedSize").float())
        .sum();
    let containers = usage.at("Containers").list();
    let active = |c: &&Value| ["running", "paused", "restarting"].contains(&c.at("State").text());
    let sum = |list: &[&Value], key: &str| list.iter().map(|c| c.path(key).float()).sum::<f64>();
    let all: Vec<&Value> = containers.iter().collect();
    let idle: Vec<&Value> = containers.iter().filter(|c| !active(c)).collect();
    let volumes: Vec<&Value> =
        usage.at("Volumes").list().iter().filter(|v| v.path("UsageData.Size").int() >= 0).collect();
    let spare: Vec<&Value> =
        volumes.iter().filter(|v| v.path("UsageData.RefCount").int() == 0).copied().collect();
    let (size, volume_size) = (sum(&all, "SizeRw"), sum(&volumes, "UsageData.Size"));
    let total_volumes = usage.at("Volumes").list().len();
    let busy = usage.at("Volumes").list().iter().filter(|v| v.path("UsageData.RefCount").int() > 0);
    let cache: Vec<&Value> = usage.at("BuildCache").list().iter().collect();
    let unshared: Vec<&Value> =
        cache.iter().filter(|c| !c.at("Shared").is_true()).copied().collect();
    let free: Vec<&Value> = unshared.iter().filter(|c| !c.at("InUse").is_true()).copied().collect();
    vec![
        row("Images", images.len(), used.len(), layers, share(layers - held, layers)),
        row(
            "Containers",
            all.len(),
            all.len() - idle.len(),
            size,
            share(sum(&idle, "SizeRw"), size),
        ),
        row(
            "Local Volumes",
            total_volumes,
            busy.count(),
            volume_size,
            share(sum(&spare, "UsageData.Size"), volume_size),
        ),
        row(
            "Build Cache",
            cache.len(),
            cache.iter().filter(|c| c.at("InUse").is_true()).count(),
            sum(&unshared, "Size"),
            human_size(sum(&free, "Size")),
        ),
    ]
}

fn image(image: &Value, now: i64) -> Row {
    let (size, shared) = (image.at("Size").float(), image.at("SharedSize").float());
    let names = image.at("RepoTags").texts();
    let (name, tag) = names.first().map_or(("<none>", "<none>"), |name| split_tag(name));
    Row::default()
        .put("Repository", name)
        .put("Tag", tag)
        .put("ID", short_id(image.at("Id").text()))
        .put("CreatedSince", units::ago(now, image.at("Created").int()))
        .put("Size", units::human_size_3(size))
        .put("SharedSize", human_size(shared))
        .put("UniqueSize", human_size(size - shared))
        .put("Containers", image.at("Containers").int().to_string())
}

/// A section: heading, columns with their headers, rows.
fn section(heading: &str, columns: &[(&str, &str)], rows: Vec<Row>) -> Result<String> {
    let table: Vec<String> = columns.iter().map(|(name, _)| format!("{{{{.{name}}}}}")).collect();
    let listing = Listing { table: &table.join("\t"), quiet: "", headers: columns };
    let table = listing.render("", false, rows).map_err(Failure::new)?;
    Ok(format!("{heading}\n\n{table}"))
}

fn verbose(usage: &Value, now: i64) -> Result<String> {
    let rows = |key: &str, make: &dyn Fn(&Value) -> Row| -> Vec<Row> {
        items(usage, key).iter().map(make).collect()
    };
    let cache: f64 = items(usage, "BuildCache").iter().map(|c| c.at("Size").float()).sum();
    let record = |record: &Value| {
        let since = |key: &str| {
            let time = units::parse_time(record.at(key).text());
            time.map_or_else(String::new, |time| units::ago(now, units::seconds(time)))
        };
        Row::default()
            .put("ID", short_id(record.at("ID").text()))
            .put("CacheType", record.at("Type").text())
            .put("Size", human_size(record.at("Size").float()))
            .put("CreatedSince", since("CreatedAt"))
            .put("LastUsedSince", since("LastUsedAt"))
            .put("UsageCount", record.at("UsageCount").int().to_string())
            .put("Shared", record.at("Shared").is_true().to_string())
    };
    let parts = [
        section(
            "Images space usage:",
            &[
                ("Repository", "REPOSITORY"),
                ("Tag", "TAG"),
                ("ID", "IMAGE ID"),
                ("CreatedSince", "CREATED"),
                ("Size", "SIZE"),
                ("SharedSize", "SHARED SIZE"),
                ("UniqueSize", "UNIQUE SIZE"),
                ("Containers", "CONTAINERS"),
            ],
            rows("Images", &|value| image(value, now)),
        )?,
        section(
            "Containers space usage:",
            &[
                ("ID", "CONTAINER ID"),
                ("Image", "IMAGE"),
                ("Command", "COMMAND"),
                ("LocalVolumes", "LOCAL VOLUMES"),
                ("Size", "SIZE"),
                ("RunningFor", "CREATED"),
                ("Status", "STATUS"),
                ("Names", "NAMES"),
            ],
            rows("Containers", &|value| {
                list::row(value, now, false)
                    .put("Size", units::human_size_3(value.at("SizeRw").float()))
            }),
        )?,
        section(
            "Local Volumes space usage:",
            &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
            rows("Volumes", &volume::row),
        )?,
        section(
            &format!("Build cache usage: {}", human_size(cache)),
            &[
                ("ID", "CACHE ID"),
                ("CacheType", "CACHE TYPE"),
                ("Size", "SIZE"),
                ("CreatedSince", "CREATED"),
                ("LastUsedSince", "LAST USED"),
                ("UsageCount", "USAGE"),
                ("Shared", "SHARED"),
            ],
            rows("BuildCache", &record),
        )?,
    ];
    Ok(parts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: &str = r#"{"LayersSize":2000,"Images":[{"Id":"sha256:1","Containers":1,"Size":500,"SharedSize":0,"RepoTags":["a:b"]},
        {"Id":"sha256:2","Containers":0,"Size":1500,"SharedSize":0,"RepoTags":[]}],
        "Containers":[{"Id":"c","State":"exited","SizeRw":7,"Names":["/x"]}],
        "Volumes":[{"Name":"v","UsageData":{"Size":10,"RefCount":0}}],"BuildCache":[]}"#;

    #[test]
    fn the_summary_tells_what_can_be_freed() {
        let usage: Value = serde_json::from_str(USAGE).unwrap();
        let listing = Listing { table: "", quiet: "", headers: &[] };
        let format = "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}";
        assert_eq!(
            listing.render(format, false, summary(&usage)).unwrap(),
            "Images|2|1|2kB|1.5kB (75%)\nContainers|1|0|7B|7B (100%)\n\
             Local Volumes|1|0|10B|10B (100%)\nBuild Cache|0|0|0B|0B\n"
        );
        let newer =
            r#"{"ImageUsage":{"TotalCount":1,"TotalSize":2000,"Reclaimable":1500,"Items":[{}]}}"#;
        let newer: Value = serde_json::from_str(newer).unwrap();
        let counted = listing.render(format, false, counted(&newer)).unwrap();
        assert!(counted.starts_with("Images|1|0|2kB|1.5kB (75%)\nContainers|0|0|0B|0B\n"));
        assert_eq!(items(&newer, "Images").len(), 1);
        let shown = verbose(&usage, 0).unwrap();
        assert!(shown.starts_with("Images space usage:\n\nREPOSITORY   TAG "), "{shown}");
        assert!(shown.contains("\n\nContainers space usage:\n\nCONTAINER ID   IMAGE"), "{shown}");
        assert!(
            shown.contains("VOLUME NAME   LINKS     SIZE\nv             0         10B\n"),
            "{shown}"
        );
    }
}
