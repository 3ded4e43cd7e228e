//! `secret` and `config`: what the cluster keeps for tasks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::cluster;
use super::container::each;
use super::format::{Listing, Row, filters, labels};
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, Kind, STR, action, flag, list, short};
use crate::client::{Request, url::segment};
use crate::context::Context;
use crate::error::{Result, io};
use crate::opts::service::put;
use crate::opts::{check, map};
use crate::table::natural;
use crate::{sys, units};
use shoal_gotemplate::value::Value;

const LABEL: Kind = list("list", check::label);
const TEMPLATE: Flag = flag("template-driver", STR, "Driver that fills in templates (golang)");
const LABELS: Flag = short('l', "label", LABEL, "Set a label");
const CREATE_SECRET: &[Flag] =
    &[short('d', "driver", STR, "Driver that has the secret"), LABELS, TEMPLATE];
const CREATE_CONFIG: &[Flag] = &[LABELS, TEMPLATE];
const LS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (name=x)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    short('q', "quiet", BOOL, "Show ids only"),
];
const INSPECT: &[Flag] = &[
    short('f', "format", STR, "json, or a template"),
    flag("pretty", BOOL, "Show what matters, for people"),
];
const MANY: Count = Count::AtLeast(1);

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["config create"],
        "[OPTIONS] CONFIG file|-",
        "Create a config from a file or from standard input",
        Count::Exactly(2),
        &[CREATE_CONFIG],
        action!(create_config),
    ),
    Command::new(
        &["config inspect"],
        "[OPTIONS] CONFIG [CONFIG...]",
        "Show all that is known about configs",
        MANY,
        &[INSPECT],
        action!(inspect_config),
    ),
    Command::new(
        &["config ls", "config list"],
        "[OPTIONS]",
        "List configs",
        Count::None,
        &[LS],
        action!(ls_config),
    ),
    Command::new(
        &["config rm", "config remove"],
        "CONFIG [CONFIG...]",
        "Remove one or more configs",
        MANY,
        &[],
        action!(rm_config),
    ),
    Command::new(
        &["secret create"],
        "[OPTIONS] SECRET [file|-]",
        "Create a secret from a file or from standard input",
        Count::Between(1, 2),
        &[CREATE_SECRET],
        action!(create_secret),
    ),
    Command::new(
        &["secret inspect"],
        "[OPTIONS] SECRET [SECRET...]",
        "Show all that is known about secrets, but for their content",
        MANY,
        &[INSPECT],
        action!(inspect_secret),
    ),
    Command::new(
        &["secret ls", "secret list"],
        "[OPTIONS]",
        "List secrets",
        Count::None,
        &[LS],
        action!(ls_secret),
    ),
    Command::new(
        &["secret rm", "secret remove"],
        "SECRET [SECRET...]",
        "Remove one or more secrets",
        MANY,
        &[],
        action!(rm_secret),
    ),
];

/// Where secrets and configs differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Secret,
    Config,
}

impl Kept {
    fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }

    fn at(self, name: &str) -> String {
        format!("/{}s/{}", self.word(), segment(name))
    }

    fn listing(self) -> Listing<'static> {
        Listing {
            table: match self {
                Self::Secret => "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
                Self::Config => "{{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
            },
            quiet: "{{.ID}}",
            headers: &[
                ("ID", "ID"),
                ("Name", "NAME"),
                ("Driver", "DRIVER"),
                ("CreatedAt", "CREATED"),
                ("UpdatedAt", "UPDATED"),
                ("Labels", "LABELS"),
            ],
        }
    }
}

async fn create_secret(context: &mut Context, args: &Args) -> Result {
    create(context, args, Kept::Secret).await
}

async fn create_config(context: &mut Context, args: &Args) -> Result {
    create(context, args, Kept::Config).await
}

async fn inspect_secret(context: &mut Context, args: &Args) -> Result {
    inspect(context, args, Kept::Secret).await
}

async fn inspect_config(context: &mut Context, args: &Args) -> Result {
    inspect(context, args, Kept::Config).await
}

async fn ls_secret(context: &mut Context, args: &Args) -> Result {
    ls(context, args, Kept::Secret).await
}

async fn ls_config(context: &mut Context, args: &Args) -> Result {
    ls(context, args, Kept::Config).await
}

async fn rm_secret(context: &mut Context, args: &Args) -> Result {
    rm(context, args, Kept::Secret).await
}

async fn rm_config(context: &mut Context, args: &Args) -> Result {
    rm(context, args, Kept::Config).await
}

async fn create(context: &mut Context, args: &Args, kept: Kept) -> Result {
    let driver = args.text("driver");
    let data = match args.rest.get(1).map(String::as_str) {
        Some(_) if !driver.is_empty() => {
            return Err("When using secret driver secret data must be empty".into());
        }
        None if driver.is_empty() && kept == Kept::Secret => {
            return Err(
                "\"secret create\" requires a file, or - for standard input, or a driver".into()
            );
        }
        None => Vec::new(),
        Some("-") => {
            let mut data = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut data)
                .map_err(io("error reading from STDIN"))?;
            data
        }
        Some(path) => {
            let what = match kept {
                Kept::Secret => format!("error reading from {path}: open {path}"),
                Kept::Config => format!("open {path}"),
            };
            std::fs::read(path).map_err(io(what))?
        }
    };
    let mut body = json!({"Name": args.arg(0), "Labels": map(args.all("label"))});
    put(&mut body, "Data", STANDARD.encode(data));
    for (key, name) in [("Driver", driver), ("Templating", args.text("template-driver"))] {
        if !name.is_empty() {
            body[key] = json!({"Name": name});
        }
    }
    crate::opts::service::tidy(&mut body);
    let request = Request::post(format!("/{}s/create", kept.word())).json(body);
    let answer = context.client()?.value(request).await?;
    sys::line(answer.at("ID").text());
    Ok(())
}

async fn ls(context: &mut Context, args: &Args, kept: Kept) -> Result {
    let request =
        Request::get(format!("/{}s", kept.word())).maybe("filters", &filters(args.all("filter")));
    let answer = context.client()?.value(request).await?;
    let now = units::seconds(sys::now_nanos());
    let setting = format!("{}Format", kept.word());
    let rows = rows(&answer, now);
    kept.listing().print(context, &setting, args.text("format"), args.on("quiet"), rows)
}

fn rows(answer: &Value, now: i64) -> Vec<Row> {
    let name = |object: &Value| object.path("Spec.Name").text().to_owned();
    let mut all: Vec<&Value> = answer.list().iter().collect();
    all.sort_by(|one, other| natural(&name(one), &name(other)));
    let ago = |object: &Value, key: &str| {
        let time = units::parse_time(object.at(key).text());
        time.map_or_else(String::new, |time| units::ago(now, units::seconds(time)))
    };
    let row = |object: &Value| {
        Row::default()
            .put("ID", object.at("ID").text())
            .put("Name", object.path("Spec.Name").text())
            .put("Driver", object.path("Spec.Driver.Name").text())
            .put("CreatedAt", ago(object, "CreatedAt"))
            .put("UpdatedAt", ago(object, "UpdatedAt"))
            .put("Labels", labels(object.path("Spec.Labels")))
            .put("\0labels", object.path("Spec.Labels").clone())
    };
    all.into_iter().map(row).collect()
}

async fn inspect(context: &mut Context, args: &Args, kept: Kept) -> Result {
    let client = context.client()?;
    let request = |name: &str| Request::get(kept.at(name));
    if !args.on("pretty") {
        let (format, names) = (args.text("format"), &args.rest);
        return cluster::inspect(client, format, names, kept.word(), request).await;
    }
    if args.given("format") {
        return Err("--format is incompatible with human friendly format".into());
    }
    for name in &args.rest {
        sys::out(pretty(&client.value(request(name)).await?, kept));
    }
    Ok(())
}

/// The description of a secret or config. Pure.
fn pretty(object: &Value, kept: Kept) -> String {
    let spec = object.at("Spec");
    // docker aligns the two kinds differently.
    let (id, name, time) = match kept {
        Kept::Secret => ("ID:              ", "Name:              ", ":        "),
        Kept::Config => ("ID:\t\t\t", "Name:\t\t\t", ":            \t"),
    };
    let mut out = format!("{id}{}\n{name}{}\n", object.at("ID").text(), spec.at("Name").text());
    let mut all: Vec<(&str, &str)> = spec
        .at("Labels")
        .fields()
        .iter()
        .map(|(key, value)| (key.as_str(), value.text()))
        .collect();
    all.sort_unstable();
    if !all.is_empty() {
        out.push_str("Labels:\n");
    }
    for (key, value) in all {
        let between = if value.is_empty() { "" } else { "=" };
        out.push_str(&format!(" - {key}{between}{value}\n"));
    }
    if kept == Kept::Secret {
        out.push_str(&format!("Driver:            {}\n", spec.path("Driver.Name").text()));
    }
    for (name, key) in [("Created at", "CreatedAt"), ("Updated at", "UpdatedAt")] {
        out.push_str(&format!("{name}{time}{}\n", cluster::moment(object.at(key).text())));
    }
    if kept == Kept::Config {
        let data = STANDARD.decode(spec.at("Data").text()).unwrap_or_default();
        out.push_str(&format!("Data:\n{}\n", String::from_utf8_lossy(&data)));
    }
    out
}

async fn rm(context: &mut Context, args: &Args, kept: Kept) -> Result {
    let client = context.client()?;
    each(&args.rest, async |name: &str| Ok(client.done(Request::delete(kept.at(name))).await?))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Value {
        serde_json::from_str(
            r#"[{"ID":"b","CreatedAt":"1970-01-01T00:00:00Z","UpdatedAt":"1970-01-01T00:00:10Z",
                 "Spec":{"Name":"s10","Labels":{"x":"y"},"Driver":{"Name":"vault"}}},
                {"ID":"a","CreatedAt":"1970-01-01T00:00:00Z","UpdatedAt":"1970-01-01T00:00:10Z",
                 "Spec":{"Name":"s9","Data":"aGk="}}]"#,
        )
        .unwrap()
    }

    #[test]
    fn tables_are_dockers() {
        let shown = |kept: Kept| kept.listing().render("", false, rows(&objects(), 120)).unwrap();
        expect_test::expect![[r#"
            ID        NAME      DRIVER    CREATED         UPDATED
            a         s9                  2 minutes ago   About a minute ago
            b         s10       vault     2 minutes ago   About a minute ago
        "#]]
        .assert_eq(&shown(Kept::Secret));
        assert!(shown(Kept::Config).starts_with("ID        NAME      CREATED         UPDATED\n"));
    }

    #[test]
    fn the_content_of_configs_is_shown() {
        let objects = objects();
        assert_eq!(
            pretty(&objects.list()[1], Kept::Config),
            "ID:\t\t\ta\nName:\t\t\ts9\nCreated at:            \t1970-01-01 00:00:00 +0000 utc\n\
             Updated at:            \t1970-01-01 00:00:10 +0000 utc\nData:\nhi\n"
        );
        assert!(
            pretty(&objects.list()[0], Kept::Secret)
                .contains("\nLabels:\n - x=y\nDriver:            vault\n")
        );
    }
}
