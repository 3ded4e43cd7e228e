//! `images` and `history`.

use std::collections::BTreeMap;

use super::format::{Listing, Row, filters, platform};
use crate::args::parse::quote;
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, STR, action, flag, short};
use crate::client::{Request, url::segment};
use crate::context::Context;
use crate::error::Result;
use crate::reference::Reference;
use crate::table::{ellipsis, short_id};
use crate::units;
use shoal_gotemplate::value::Value;

const FORMAT: Flag = flag("format", STR, "table, json, or a template, on the table's columns");
const IMAGES: &[Flag] = &[
    short('a', "all", BOOL, "Show intermediate images too"),
    flag("digests", BOOL, "Show digests"),
    short('f', "filter", FILTER, "Show what fits a condition (key=value)"),
    FORMAT,
    flag("no-trunc", BOOL, "Do not shorten"),
    short('q', "quiet", BOOL, "Show ids only"),
];
const HISTORY: &[Flag] = &[
    FORMAT,
    short('H', "human", BOOL, "Show sizes and times for people").or("true"),
    flag("no-trunc", BOOL, "Do not shorten"),
    flag("platform", STR, "Show this platform's image: os[/arch[/variant]]"),
    short('q', "quiet", BOOL, "Show ids only"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["image ls", "image list", "images"],
        "[OPTIONS] [REPOSITORY[:TAG]]",
        "List images",
        Count::AtMost(1),
        &[IMAGES],
        action!(images),
    ),
    Command::new(
        &["image history", "history"],
        "[OPTIONS] IMAGE",
        "Show how an image was made",
        Count::Exactly(1),
        &[HISTORY],
        action!(history),
    ),
];

const HEADERS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];
const SINCE: &str = "{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}";
/// Words after `image` that someone may have meant by `images WORD`.
const VERBS: &[&str] = &[
    "build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push", "rm",
    "save", "tag",
];

async fn images(context: &mut Context, args: &Args) -> Result {
    let mut wanted = args.all("filter").to_vec();
    if let Some(name) = args.rest.first() {
        wanted.push(format!("reference={name}"));
    }
    let request = Request::get("/images/json")
        .switch("all", args.on("all"))
        .maybe("filters", &filters(&wanted));
    let found = context.client()?.value(request).await?;
    let configured = context.setting("imagesFormat").unwrap_or_default();
    let format = args.get("format").filter(|format| !format.is_empty()).unwrap_or(configured);
    let digests = args.on("digests");
    let look = Look {
        now: units::seconds(crate::sys::now_nanos()),
        full: args.on("no-trunc"),
        digests,
        digest_column: digests || format.contains("{{.Digest}}"),
    };
    let rows = found.list().iter().flat_map(|image| look.rows(image)).collect();
    let column = if digests { "{{.Digest}}\t" } else { "" };
    let table =
        format!("{{{{.Repository}}}}\t{{{{.Tag}}}}\t{column}{{{{.ID}}}}\t{SINCE}\t{{{{.Size}}}}");
    let listing = Listing { table: &table, quiet: "{{.ID}}", headers: HEADERS };
    let own = format.starts_with("table ") && digests && !format.contains("{{.Digest}}");
    let format = if own { format!("{format}\t{{{{.Digest}}}}") } else { format.to_owned() };
    let format = if format == "raw" { raw(args.on("quiet"), digests) } else { format };
    listing.print(context, "", &format, args.on("quiet"), rows)?;
    let name = args.arg(0);
    if found.list().is_empty() && args.called == "images" && VERBS.contains(&name) {
        crate::sys::err_line(format_args!(
            "\nNo images found matching {}: did you mean \"shoal image {name}\"?",
            quote(name)
        ));
    }
    Ok(())
}

fn raw(quiet: bool, digests: bool) -> String {
    if quiet {
        return "image_id: {{.ID}}".to_owned();
    }
    let digest = if digests { "digest: {{.Digest}}\n" } else { "" };
    format!(
        "repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\n\
         created_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
    )
}

/// How images are shown.
struct Look {
    now: i64,
    full: bool,
    /// Digests were asked for.
    digests: bool,
    /// Digests are shown, if only by the template.
    digest_column: bool,
}

impl Look {
    /// A row for each name of an image.
    fn rows(&self, image: &Value) -> Vec<Row> {
        let (tags, digests) = (by_name(image.at("RepoTags")), by_name(image.at("RepoDigests")));
        let mut rows = Vec::new();
        for (name, (tags, _)) in &tags {
            let digests = digests.get(name).map_or(&[][..], |(_, digests)| digests);
            let digests = if self.digest_column { digests } else { &[] };
            for tag in tags {
                if digests.is_empty() {
                    rows.push(self.row(image, name, tag, "<none>"));
                }
                rows.extend(digests.iter().map(|digest| self.row(image, name, tag, digest)));
            }
        }
        for (name, (_, digests)) in digests.iter().filter(|(name, _)| !tags.contains_key(*name)) {
            if self.digests {
                rows.extend(digests.iter().map(|digest| self.row(image, name, "<none>", digest)));
            } else {
                rows.push(self.row(image, name, "<none>", ""));
            }
        }
        if rows.is_empty() {
            rows.push(self.row(image, "<none>", "<none>", "<none>"));
        }
        rows
    }

    fn row(&self, image: &Value, name: &str, tag: &str, digest: &str) -> Row {
        let id = image.at("Id").text();
        let created = image.at("Created").int();
        let (size, shared) = (image.at("Size"), image.at("SharedSize"));
        let count = match image.at("Containers").int() {
            -1 => "N/A".to_owned(),
            count => count.to_string(),
        };
        let known = |size: f64, shown: f64| {
            if size < 0.0 { "N/A".to_owned() } else { units::human_size(shown) }
        };
        Row::default()
            .put("ID", if self.full { id.to_owned() } else { short_id(id) })
            .put("Repository", name)
            .put("Tag", tag)
            .put("Digest", digest)
            .put("CreatedSince", units::ago(self.now, created))
            .put("CreatedAt", units::local_time(created))
            .put("Size", units::human_size_3(size.float()))
            .put("Containers", count)
            .put("VirtualSize", units::human_size(size.float()))
            .put("SharedSize", known(shared.float(), shared.float()))
            .put(
                "UniqueSize",
                known(shared.float().min(size.float()), size.float() - shared.float()),
            )
    }
}

/// The tags and digests of an image's names, by short name. What is no name is left out.
fn by_name(names: &Value) -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let mut map = BTreeMap::<String, (Vec<String>, Vec<String>)>::new();
    for name in names.texts().iter().filter_map(|name| Reference::parse(name).ok()) {
        let entry = map.entry(name.familiar()).or_default();
        entry.0.extend(name.tag);
        entry.1.extend(name.digest);
    }
    map
}

async fn history(context: &mut Context, args: &Args) -> Result {
    let request = Request::get(format!("/images/{}/history", segment(args.arg(0))))
        .maybe("platform", &platform(args.text("platform"))?);
    let layers = context.client()?.value(request).await?;
    let now = units::seconds(crate::sys::now_nanos());
    let (full, human) = (args.on("no-trunc"), args.on("human"));
    let rows = layers.list().iter().map(|layer| layer_row(layer, now, full, human)).collect();
    let created = if human { SINCE } else { "{{.CreatedAt}}" };
    let table =
        format!("{{{{.ID}}}}\t{created}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}");
    let listing = Listing {
        table: &table,
        quiet: "{{.ID}}",
        headers: &[
            ("ID", "IMAGE"),
            ("CreatedSince", "CREATED"),
            ("CreatedAt", "CREATED AT"),
            ("CreatedBy", "CREATED BY"),
            ("Size", "SIZE"),
            ("Comment", "COMMENT"),
        ],
    };
    listing.print(context, "", args.text("format"), args.on("quiet"), rows)
}

/// Times before the year 2000 are those of reproducible builds and mean nothing.
const EPOCH: i64 = 946_684_800;

fn layer_row(layer: &Value, now: i64, full: bool, human: bool) -> Row {
    let id = layer.at("Id").text();
    let created = layer.at("Created").int();
    let made_by = layer.at("CreatedBy").text().replace('\t', " ");
    let size = layer.at("Size");
    let at = units::local_rfc3339(created);
    let since = match (human, created <= EPOCH) {
        (false, _) => at.clone(),
        (true, true) => String::new(),
        (true, false) => units::ago(now, created),
    };
    Row::default()
        .put("ID", if full { id.to_owned() } else { short_id(id) })
        .put("CreatedSince", since)
        .put("CreatedAt", at)
        .put("CreatedBy", if full { made_by } else { ellipsis(&made_by, 45) })
        .put("Size", if human { units::human_size_3(size.float()) } else { size.int().to_string() })
        .put("Comment", layer.at("Comment").text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(image: &str, digests: bool) -> String {
        let look = Look { now: 0, full: false, digests, digest_column: digests };
        let image: Value = serde_json::from_str(image).unwrap();
        let listing = Listing { table: "", quiet: "", headers: HEADERS };
        let format = "{{.Repository}}:{{.Tag}}@{{.Digest}} {{.SharedSize}}";
        listing.render(format, false, look.rows(&image)).unwrap()
    }

    #[test]
    fn an_image_has_a_row_for_each_name() {
        let image = format!(
            r#"{{"Id":"sha256:0","RepoTags":["a:1","a:2","h:5/b:1"],"SharedSize":-1,
            "RepoDigests":["a@sha256:{0}","c@sha256:{0}"]}}"#,
            "0".repeat(64)
        );
        assert_eq!(
            names(&image, false),
            "a:1@<none> N/A\na:2@<none> N/A\nh:5/b:1@<none> N/A\nc:<none>@ N/A\n"
        );
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(
            names(&image, true),
            format!(
                "a:1@{digest} N/A\na:2@{digest} N/A\nh:5/b:1@<none> N/A\nc:<none>@{digest} N/A\n"
            )
        );
        assert_eq!(names(r#"{"RepoTags":[],"Size":1}"#, true), "<none>:<none>@<none> 0B\n");
    }
}
