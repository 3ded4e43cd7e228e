//! `ps`.

use super::format::{Listing, Row, filters, labels};
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, INT, STR, action, flag, short};
use crate::client::Request;
use crate::context::Context;
use crate::error::Result;
use crate::table::{ellipsis, short_id};
use crate::units;
use shoal_gotemplate::value::Value;

const FLAGS: &[Flag] = &[
    short('a', "all", BOOL, "Show all containers, not only running ones"),
    short('f', "filter", FILTER, "Show what fits a condition (key=value)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    short('n', "last", INT, "Show the n containers created last").or("-1"),
    short('l', "latest", BOOL, "Show the container created last"),
    flag("no-trunc", BOOL, "Do not shorten"),
    short('q', "quiet", BOOL, "Show ids only"),
    short('s', "size", BOOL, "Show sizes"),
];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["container ls", "container list", "container ps", "ps"],
    "[OPTIONS]",
    "List containers",
    Count::None,
    &[FLAGS],
    action!(ps),
)
.examples(
    "shoal ps -a --filter status=exited\nshoal ps --format 'table {{.Names}}\\t{{.Status}}'",
)];

const TABLE: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

async fn ps(context: &mut Context, args: &Args) -> Result {
    let last = if args.on("latest") { 1 } else { args.int("last") };
    let configured = context.setting("psFormat").unwrap_or_default();
    let format = args.get("format").unwrap_or(configured);
    let size = args.on("size") || format.contains(".Size");
    let request = Request::get("/containers/json")
        .switch("all", args.on("all"))
        .maybe("limit", &if last > 0 { last.to_string() } else { String::new() })
        .switch("size", size)
        .maybe("filters", &filters(args.all("filter")));
    let containers = context.client()?.value(request).await?;
    let now = units::seconds(crate::sys::now_nanos());
    let full = args.on("no-trunc");
    let rows = containers.list().iter().map(|container| row(container, now, full)).collect();
    let sized = format!("{TABLE}\t{{{{.Size}}}}");
    let listing = Listing {
        table: if args.on("size") { &sized } else { TABLE },
        quiet: "{{.ID}}",
        headers: &[
            ("ID", "CONTAINER ID"),
            ("Names", "NAMES"),
            ("Image", "IMAGE"),
            ("Command", "COMMAND"),
            ("CreatedAt", "CREATED AT"),
            ("RunningFor", "CREATED"),
            ("Ports", "PORTS"),
            ("State", "STATE"),
            ("Status", "STATUS"),
            ("Size", "SIZE"),
            ("Labels", "LABELS"),
            ("Mounts", "MOUNTS"),
            ("LocalVolumes", "LOCAL VOLUMES"),
            ("Networks", "NETWORKS"),
            ("Platform", "PLATFORM"),
        ],
    };
    listing.print(context, "psFormat", args.text("format"), args.on("quiet"), rows)
}

/// The columns of a container.
pub(super) fn row(container: &Value, now: i64, full: bool) -> Row {
    let id = container.at("Id").text();
    let mut names: Vec<String> = container
        .at("Names")
        .texts()
        .iter()
        .map(|name| name.trim_start_matches('/').to_owned())
        .collect();
    if !full {
        names.retain(|name| !name.contains('/'));
    }
    let command = container.at("Command").text();
    let command = if full { command.to_owned() } else { ellipsis(command, 20) };
    let created = container.at("Created").int();
    let mounts = container.at("Mounts").list();
    let names_of_mounts = mounts.iter().map(|mount| {
        let name = mount.at("Name").text();
        let name = if name.is_empty() { mount.at("Source").text() } else { name };
        if full { name.to_owned() } else { ellipsis(name, 15) }
    });
    let local = mounts.iter().filter(|mount| mount.at("Driver").text() == "local").count();
    let networks = container.path("NetworkSettings.Networks").fields();
    let mut networks: Vec<&str> = networks.iter().map(|(name, _)| name.as_str()).collect();
    networks.sort_unstable();
    let platform = container.path("ImageManifestDescriptor.platform");
    let platform = match platform.at("os").text() {
        "" => Value::Null,
        os => Value::Text(format!("{os}/{}", platform.at("architecture").text())),
    };
    Row::default()
        .put("ID", if full { id.to_owned() } else { short_id(id) })
        .put("Names", names.join(","))
        .put("Image", image(container, full))
        .put("Command", crate::args::parse::quote(&command))
        .put("CreatedAt", units::local_time(created))
        .put("RunningFor", units::ago(now, created))
        .put("Ports", ports(container.at("Ports")))
        .put("State", container.at("State").text())
        .put("Status", container.at("Status").text())
        .put("Size", size(container))
        .put("Labels", labels(container.at("Labels")))
        .put("\0labels", container.at("Labels").clone())
        .put("Mounts", names_of_mounts.collect::<Vec<_>>().join(","))
        .put("LocalVolumes", local.to_string())
        .put("Networks", networks.join(","))
        .put("Platform", platform)
}

fn image(container: &Value, full: bool) -> String {
    let image = container.at("Image").text();
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if full {
        return image.to_owned();
    }
    let id = short_id(container.at("ImageID").text());
    if !id.is_empty() && id == short_id(image) {
        return id;
    }
    // A digest behind a name is cut, the name stays.
    match image.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => image.to_owned(),
    }
}

fn size(container: &Value) -> String {
    let own = units::human_size_3(container.at("SizeRw").float());
    let root = container.at("SizeRootFs").float();
    if root > 0.0 { format!("{own} (virtual {})", units::human_size_3(root)) } else { own }
}

/// Ports as `0.0.0.0:80->80/tcp`, neighbours joined to ranges.
fn ports(ports: &Value) -> String {
    struct Port<'a>(&'a str, &'a str, i64, i64);
    let mut all: Vec<Port<'_>> = ports
        .list()
        .iter()
        .map(|port| {
            let (private, public) = (port.at("PrivatePort").int(), port.at("PublicPort").int());
            Port(port.at("IP").text(), port.at("Type").text(), private, public)
        })
        .collect();
    all.sort_by_key(|Port(ip, kind, private, public)| (*private, *ip, *public, *kind));
    let mut groups: Vec<(String, String, i64, i64, i64)> = Vec::new();
    let mut mapped = Vec::new();
    for Port(ip, kind, private, public) in all {
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        if public > 0 && public != private {
            mapped.push(format!("{host}:{public}->{private}/{kind}"));
            continue;
        }
        let key = if public > 0 { host } else { String::new() };
        let same = groups
            .iter_mut()
            .find(|group| group.0 == key && group.1 == kind && group.3 + 1 == private);
        match same {
            Some(group) => group.3 = private,
            None => groups.push((key, kind.to_owned(), private, private, public)),
        }
    }
    let ranges = groups.into_iter().map(|(host, kind, first, last, public)| {
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if public > 0 {
            format!("{host}:{range}->{range}/{kind}")
        } else {
            format!("{range}/{kind}")
        }
    });
    ranges.chain(mapped).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_are_joined() {
        let value: Value = serde_json::from_str(
            r#"[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
                {"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
                {"PrivatePort":443,"Type":"tcp"},{"PrivatePort":444,"Type":"tcp"}]"#,
        )
        .unwrap();
        assert_eq!(ports(&value), "443-444/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp");
    }
}
