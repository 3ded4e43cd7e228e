//! `stack`: services and what they need, from Compose files.

mod deploy;
mod remove;

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::cluster::task_filters;
use super::format::{Listing, Row, filters};
use super::service::{SERVICES, print_tasks, service_row, sorted_services};
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, LIST, STR, action, flag, short};
use crate::client::{Client, Request};
use crate::compose::convert::NAMESPACE;
use crate::compose::{Project, Reading, Source, env_file, load, yaml};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::sys;
use crate::table::natural;
use shoal_gotemplate::value::Value;

const FILES: Flag = short('c', "compose-file", LIST, "Compose file, or - for standard input");
const PROFILE: Flag = flag("profile", LIST, "Take in services of this profile, * for all");
const STRICT: Flag = flag("strict", BOOL, "Refuse files with options that would be ignored");
const DEPLOY: &[Flag] = &[
    FILES,
    short('d', "detach", BOOL, "Do not wait until the services have converged").or("true"),
    PROFILE,
    flag("prune", BOOL, "Remove services that the files do not name any more"),
    short('q', "quiet", BOOL, "Show no progress"),
    flag("resolve-image", STR, "Ask the registry for digests: always, changed, never").or("always"),
    STRICT,
    flag("with-registry-auth", BOOL, "Send our credentials of the registry to the nodes"),
];
const CONFIG: &[Flag] =
    &[FILES, PROFILE, flag("skip-interpolation", BOOL, "Leave variables as they are"), STRICT];
const LS: &[Flag] = &[flag("format", STR, "table, json, or a template, on the table's columns")];
const PS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (desired-state=running)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    flag("no-resolve", BOOL, "Show ids instead of names"),
    flag("no-trunc", BOOL, "Do not shorten"),
    short('q', "quiet", BOOL, "Show ids only"),
];
const SERVICE_LS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (mode=global)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    short('q', "quiet", BOOL, "Show ids only"),
];
const RM: &[Flag] =
    &[short('d', "detach", BOOL, "Do not wait until the tasks have gone").or("true")];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["stack config"],
        "[OPTIONS]",
        "Show the Compose files as one, in long forms",
        Count::None,
        &[CONFIG],
        action!(config),
    ),
    Command::new(
        &["stack deploy", "stack up"],
        "[OPTIONS] STACK",
        "Create a stack or bring it up to date",
        Count::Exactly(1),
        &[DEPLOY],
        action!(deploy::deploy),
    )
    .examples("shoal stack deploy -c compose.yaml shop"),
    Command::new(
        &["stack ls", "stack list"],
        "[OPTIONS]",
        "List stacks",
        Count::None,
        &[LS],
        action!(ls),
    ),
    Command::new(
        &["stack ps"],
        "[OPTIONS] STACK",
        "List the tasks of a stack",
        Count::Exactly(1),
        &[PS],
        action!(ps),
    ),
    Command::new(
        &["stack rm", "stack remove", "stack down"],
        "[OPTIONS] STACK [STACK...]",
        "Remove one or more stacks",
        Count::AtLeast(1),
        &[RM],
        action!(remove::rm),
    ),
    Command::new(
        &["stack services"],
        "[OPTIONS] STACK",
        "List the services of a stack",
        Count::Exactly(1),
        &[SERVICE_LS],
        action!(services),
    ),
];

/// Refuses what cannot be the name of a stack.
fn check_name(name: &str) -> Result {
    let quoted = name.starts_with(['"', '\'']) || name.ends_with(['"', '\'']);
    if name.trim().is_empty() || name.trim() != name || quoted {
        return Err(format!("invalid stack name: {}", crate::args::parse::quote(name)).into());
    }
    Ok(())
}

/// The filter for the objects of a stack.
fn of_stack(name: &str) -> String {
    format!("label={NAMESPACE}={name}")
}

async fn list(client: &Client, kind: &str, name: &str) -> Result<Value> {
    let request = Request::get(format!("/{kind}")).query("filters", filters(&[of_stack(name)]));
    Ok(client.value(request).await?)
}

/// Reads the files that the options name, and says what is to be said of them.
fn read_files(args: &Args) -> Result<Project> {
    let paths = args.all("compose-file");
    let first = paths.first().ok_or("Specify a Compose file (with --compose-file)")?;
    let directory = |path: &str| {
        let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
        match path {
            "-" => here,
            path => here.join(path).parent().map_or(here, std::path::Path::to_path_buf),
        }
    };
    let mut sources = Vec::new();
    for path in paths {
        let text = match path.as_str() {
            "-" => {
                std::io::read_to_string(std::io::stdin()).map_err(io("reading standard input"))?
            }
            path => std::fs::read_to_string(path).map_err(io(format!("open {path}")))?,
        };
        let name = if path == "-" { "<stdin>" } else { path };
        let directory = directory(path).to_string_lossy().into_owned();
        sources.push(Source { name: name.to_owned(), text, directory });
    }
    // What cannot be read is no reason to take the variable for unset: it is told at the end.
    let unreadable = RefCell::new(None);
    let of_process = |name: &str| {
        sys::variable(name).unwrap_or_else(|why| {
            unreadable.replace(Some(why));
            None
        })
    };
    let beside = directory(first).join(".env");
    let own = match std::fs::read_to_string(&beside) {
        Ok(text) => env_file::read(&text, &of_process)
            .map_err(|why| Failure::new(format!("{}: {why}", beside.display())))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io("reading .env")(error)),
    };
    // What the process has goes before the file.
    let lookup = |name: &str| {
        let beside = || own.iter().rev().find(|(key, _)| key == name).map(|(_, v)| v.clone());
        of_process(name).or_else(beside)
    };
    let reading = Reading {
        lookup: &lookup,
        read: &|path| std::fs::read_to_string(path),
        literal: args.on("skip-interpolation"),
        profiles: args.all("profile"),
    };
    let loaded = load(&sources, &reading);
    if let Some(why) = unreadable.take() {
        return Err(why.into());
    }
    let project = loaded.map_err(|fault| Failure::new(fault.to_string()))?;
    let ignored: Vec<String> = project.ignored.iter().map(ToString::to_string).collect();
    if args.on("strict") && !ignored.is_empty() {
        return Err(format!("--strict: these have no effect:\n{}", ignored.join("\n")).into());
    }
    ignored.iter().for_each(sys::err_line);
    Ok(project)
}

async fn config(_: &mut Context, args: &Args) -> Result {
    let mut content = read_files(args)?.content;
    if let Some(fields) = content.as_object_mut() {
        fields.retain(|_, section| section.as_object().is_none_or(|objects| !objects.is_empty()));
    }
    sys::out(yaml::write(&content));
    Ok(())
}

async fn ls(context: &mut Context, args: &Args) -> Result {
    let filter = filters(&[format!("label={NAMESPACE}")]);
    let request = Request::get("/services").query("filters", filter);
    let services = context.client()?.value(request).await?;
    let listing = Listing {
        table: "{{.Name}}\t{{.Services}}",
        quiet: "{{.Name}}",
        headers: &[("Name", "NAME"), ("Services", "SERVICES")],
    };
    listing.print(context, "stacksFormat", args.text("format"), false, stacks(&services))
}

/// A row for each stack. Pure.
fn stacks(services: &Value) -> Vec<Row> {
    let mut counts = BTreeMap::<&str, u32>::new();
    for service in services.list() {
        let name = service.path("Spec.Labels").at(NAMESPACE).text();
        *counts.entry(name).or_default() += 1;
    }
    let mut all: Vec<(&str, u32)> = counts.into_iter().collect();
    all.sort_by(|one, other| natural(one.0, other.0));
    let row = |(name, count): (&str, u32)| {
        Row::default().put("Name", name).put("Services", count.to_string())
    };
    all.into_iter().map(row).collect()
}

async fn ps(context: &mut Context, args: &Args) -> Result {
    let name = args.arg(0);
    check_name(name)?;
    let client = context.client()?;
    let mut wanted = task_filters(client, args.all("filter")).await?;
    wanted.push(of_stack(name));
    let request = Request::get("/tasks").query("filters", filters(&wanted));
    let tasks = client.value(request).await?;
    if tasks.list().is_empty() {
        return Err(format!("nothing found in stack: {name}").into());
    }
    print_tasks(context, args, &tasks).await
}

async fn services(context: &mut Context, args: &Args) -> Result {
    let name = args.arg(0);
    check_name(name)?;
    let client = context.client()?;
    let mut wanted = task_filters(client, args.all("filter")).await?;
    wanted.push(of_stack(name));
    let request =
        Request::get("/services").query("filters", filters(&wanted)).query("status", "true");
    let services = client.value(request).await?;
    if services.list().is_empty() {
        sys::err_line(format_args!("Nothing found in stack: {name}"));
        return Ok(());
    }
    let rows = sorted_services(&services).into_iter().map(service_row).collect();
    SERVICES.print(context, "servicesFormat", args.text("format"), args.on("quiet"), rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_counted_by_their_label() {
        let service =
            |stack: &str| format!(r#"{{"Spec":{{"Labels":{{"{NAMESPACE}":"{stack}"}}}}}}"#);
        let list = format!("[{},{},{}]", service("s10"), service("s9"), service("s10"));
        let listing = Listing {
            table: "{{.Name}}\t{{.Services}}",
            quiet: "",
            headers: &[("Name", "NAME"), ("Services", "SERVICES")],
        };
        assert_eq!(
            listing.render("", false, stacks(&serde_json::from_str(&list).unwrap())).unwrap(),
            "NAME      SERVICES\ns9        1\ns10       2\n"
        );
        assert_eq!(check_name(" a").unwrap_err().message, "invalid stack name: \" a\"");
    }
}
