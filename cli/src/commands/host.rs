//! `context`: names for daemons.

mod carry;

use serde_json::{Value as Json, json};

use super::container::each;
use super::format::{Listing, Row};
use super::objects;
use crate::args::{Args, BOOL, Command, Count, Flag, STR, action, flag, short};
use crate::client::host::Host;
use crate::config::contexts;
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::sys;
use crate::table::natural;

const CREATE: &[Flag] = &[
    flag("description", STR, "What the context is for"),
    flag("docker", STR, "The daemon (host=tcp://h:2376,ca=FILE,cert=FILE,key=FILE)"),
    flag("from", STR, "Context to copy"),
];
const INSPECT: &[Flag] = &[short('f', "format", STR, "json, or a template")];
const LS: &[Flag] = &[
    flag("format", STR, "table, json, or a template, on the table's columns"),
    short('q', "quiet", BOOL, "Show names only"),
];
const RM: &[Flag] = &[short('f', "force", BOOL, "Remove a context in use too")];
const UPDATE: &[Flag] = &[
    flag("description", STR, "What the context is for"),
    flag("docker", STR, "The daemon (host=tcp://h:2376,ca=FILE,cert=FILE,key=FILE)"),
];
const ONE: Count = Count::Exactly(1);

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["context create"],
        "[OPTIONS] CONTEXT",
        "Create a context",
        ONE,
        &[CREATE],
        action!(create),
    ),
    Command::new(
        &["context export"],
        "CONTEXT [FILE|-]",
        "Write a context with its certificates to a file",
        Count::Between(1, 2),
        &[],
        action!(carry::export),
    )
    .examples("shoal context export prod prod.dockercontext"),
    Command::new(
        &["context import"],
        "CONTEXT FILE|-",
        "Create a context from a file",
        Count::Exactly(2),
        &[],
        action!(carry::import),
    )
    .examples("shoal context import prod prod.dockercontext"),
    Command::new(
        &["context inspect"],
        "[OPTIONS] [CONTEXT] [CONTEXT...]",
        "Show all that is known about contexts",
        Count::AtLeast(0),
        &[INSPECT],
        action!(inspect),
    ),
    Command::new(
        &["context ls", "context list"],
        "[OPTIONS]",
        "List contexts",
        Count::None,
        &[LS],
        action!(ls),
    ),
    Command::new(
        &["context rm", "context remove"],
        "CONTEXT [CONTEXT...]",
        "Remove one or more contexts",
        Count::AtLeast(1),
        &[RM],
        action!(rm),
    ),
    Command::new(
        &["context show"],
        "",
        "Print the name of the context in use",
        Count::None,
        &[],
        action!(show),
    ),
    Command::new(
        &["context update"],
        "[OPTIONS] CONTEXT",
        "Change a context",
        ONE,
        &[UPDATE],
        action!(update),
    ),
    Command::new(
        &["context use"],
        "CONTEXT",
        "Use a context from now on",
        ONE,
        &[],
        action!(switch),
    ),
];

/// A daemon as `--docker` names it.
#[derive(Debug, Default)]
struct Given {
    host: String,
    /// Certificates by the names that a context keeps them under.
    files: Vec<(String, Vec<u8>)>,
    skip_verification: bool,
}

/// Reads `host=…,ca=…,cert=…,key=…,skip-tls-verify=…`.
fn endpoint(text: &str) -> Result<Given> {
    let mut given = Given::default();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "host" => value.clone_into(&mut given.host),
            "ca" | "cert" | "key" => {
                let content = std::fs::read(value).map_err(io(format!("open {value}")))?;
                given.files.push((format!("{key}.pem"), content));
            }
            "skip-tls-verify" => {
                given.skip_verification =
                    crate::args::check::parse_bool(value).ok_or_else(|| {
                        Failure::new(format!("skip-tls-verify: {value:?} is no boolean"))
                    })?;
            }
            _ => {
                return Err(format!(
                    "unable to create docker endpoint config: unrecognized config key: {key}"
                )
                .into());
            }
        }
    }
    if given.host.is_empty() {
        return Err("docker endpoint configuration is required".into());
    }
    Host::parse(&given.host, None).map_err(Failure::from)?;
    Ok(given)
}

/// A context that exists, to be copied.
fn copy(directory: &std::path::Path, from: &str) -> Result<(Given, String)> {
    let meta = contexts::read(directory, from)?;
    let given = Given {
        host: contexts::host_of(directory, from)?,
        files: contexts::read_tls(directory, from)?,
        skip_verification: meta["Endpoints"]["docker"]["SkipTLSVerify"] == true,
    };
    Ok((given, description(&meta)))
}

fn description(meta: &Json) -> String {
    meta["Metadata"]["Description"].as_str().unwrap_or_default().to_owned()
}

async fn create(context: &mut Context, args: &Args) -> Result {
    let name = args.arg(0);
    contexts::check_name(name)?;
    let directory = context.directory();
    if contexts::folder(directory, name).exists() {
        return Err(format!("context {name:?} already exists").into());
    }
    let (given, copied) = match (args.given("docker"), args.get("from")) {
        (true, Some(_)) => return Err("cannot use --docker flag when --from is set".into()),
        (true, None) => (endpoint(args.text("docker"))?, String::new()),
        (false, Some("default")) => {
            let host = context.default_host()?.to_string();
            (Given { host, ..Given::default() }, String::new())
        }
        (false, Some(from)) => copy(directory, from)?,
        (false, None) => return Err("docker endpoint configuration is required".into()),
    };
    let text = args.get("description").unwrap_or(&copied);
    contexts::write_tls(directory, name, &given.files)?;
    contexts::write(directory, name, text, &given.host, given.skip_verification)?;
    sys::line(name);
    sys::err_line(format_args!("Successfully created context {name:?}"));
    Ok(())
}

async fn update(context: &mut Context, args: &Args) -> Result {
    let (name, directory) = (args.arg(0), context.directory());
    contexts::check_name(name)?;
    let (mut given, kept) = copy(directory, name)?;
    if let Some(text) = args.get("docker") {
        given = endpoint(text)?;
        contexts::remove_tls(directory, name)?;
    }
    contexts::write_tls(directory, name, &given.files)?;
    let text = args.get("description").unwrap_or(&kept);
    contexts::write(directory, name, text, &given.host, given.skip_verification)?;
    sys::line(name);
    sys::err_line(format_args!("Successfully updated context {name:?}"));
    Ok(())
}

async fn switch(context: &mut Context, args: &Args) -> Result {
    let name = args.arg(0);
    let mut file = context.file().clone();
    if name == "default" {
        file.remove("currentContext");
    } else {
        contexts::check_name(name)?;
        contexts::read(context.directory(), name)?;
        file.insert("currentContext".into(), name.into());
    }
    context.write_file(&file)?;
    sys::line(name);
    sys::err_line(format_args!("Current context is now {name:?}"));
    if name != "default" && sys::env("DOCKER_HOST").is_some() {
        sys::err_line(format_args!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use {name:?}, \
             either set the global --context flag, or unset DOCKER_HOST environment variable."
        ));
    }
    Ok(())
}

async fn show(context: &mut Context, _: &Args) -> Result {
    sys::line(context.context_name());
    Ok(())
}

async fn rm(context: &mut Context, args: &Args) -> Result {
    let used = context.context_name();
    let force = args.on("force");
    each(&args.rest, async |name: &str| {
        if name == "default" {
            return Err(r#"default: context "default" cannot be removed"#.into());
        }
        if name == used && !force {
            return Err(format!("context {name:?} is in use, set -f flag to force remove").into());
        }
        contexts::remove(context.directory(), name)?;
        let keys = contexts::tls(context.directory(), name);
        if keys.exists() {
            std::fs::remove_dir_all(keys)
                .map_err(crate::error::io(format!("removing the keys of context {name:?}")))?;
        }
        Ok(())
    })
    .await?;
    if args.rest.contains(&used) {
        let mut file = context.file().clone();
        file.remove("currentContext");
        context.write_file(&file)?;
    }
    Ok(())
}

async fn ls(context: &mut Context, args: &Args) -> Result {
    let used = context.context_name();
    let mut all = contexts::all(context.directory());
    all.push(json!({
        "Name": "default",
        "Metadata": {"Description": "Current DOCKER_HOST based configuration"},
        "Endpoints": {"docker": {"Host": context.default_host()?.to_string()}},
    }));
    all.sort_by(|left, right| {
        natural(
            left["Name"].as_str().unwrap_or_default(),
            right["Name"].as_str().unwrap_or_default(),
        )
    });
    let quiet = args.on("quiet");
    let format = args.text("format");
    let marked = format.is_empty() || format == "table";
    let rows = all.iter().map(|meta| {
        let name = meta["Name"].as_str().unwrap_or_default();
        let star = if marked && !quiet && name == used { " *" } else { "" };
        Row::default()
            .put("Name", format!("{name}{star}"))
            .put(
                "Description",
                crate::table::ellipsis(&description(meta), if marked { 60 } else { usize::MAX }),
            )
            .put("DockerEndpoint", meta["Endpoints"]["docker"]["Host"].as_str().unwrap_or_default())
            .put("Error", "")
            .put("Current", shoal_gotemplate::value::Value::Bool(name == used))
    });
    let listing = Listing {
        table: "{{.Name}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
        quiet: "{{.Name}}",
        headers: &[
            ("Name", "NAME"),
            ("Description", "DESCRIPTION"),
            ("DockerEndpoint", "DOCKER ENDPOINT"),
            ("Error", "ERROR"),
        ],
    };
    listing.print(context, "", format, quiet, rows.collect())?;
    if sys::env("DOCKER_HOST").is_some() {
        sys::err_line(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either \
             set the global --context flag, or unset DOCKER_HOST environment variable.",
        );
    }
    Ok(())
}

async fn inspect(context: &mut Context, args: &Args) -> Result {
    let names = if args.rest.is_empty() { vec![context.context_name()] } else { args.rest.clone() };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in &names {
        match describe(context, name) {
            Ok(text) => found.push(text),
            Err(failure) => errors.push(failure.message),
        }
    }
    objects::show(args.text("format"), &found, &errors)
}

/// A context as `inspect` shows it, its fields in docker's order.
fn describe(context: &Context, name: &str) -> Result<String> {
    let directory = context.directory();
    let (meta, folders) = if name == "default" {
        let host = context.default_host()?.to_string();
        let endpoint = json!({"docker": {"Host": host, "SkipTLSVerify": false}});
        let memory = "\\u003cIN MEMORY\\u003e".to_owned();
        (json!({"Metadata": {}, "Endpoints": endpoint}), (memory.clone(), memory))
    } else {
        let at = |path: std::path::PathBuf| path.display().to_string();
        let folders = (at(contexts::folder(directory, name)), at(contexts::tls(directory, name)));
        (contexts::read(directory, name)?, folders)
    };
    let keys: Vec<String> = std::fs::read_dir(contexts::tls(directory, name).join("docker"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let keys = if keys.is_empty() { json!({}) } else { json!({ "docker": keys }) };
    Ok(format!(
        r#"{{"Name":{},"Metadata":{},"Endpoints":{},"TLSMaterial":{keys},"Storage":{{"MetadataPath":"{}","TLSPath":"{}"}}}}"#,
        json!(name),
        meta["Metadata"],
        meta["Endpoints"],
        folders.0,
        folders.1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_name_a_host_we_can_reach() {
        assert_eq!(endpoint("host=unix:///x").unwrap().host, "unix:///x");
        assert_eq!(endpoint("host=ssh://x").unwrap().host, "ssh://x");
        let missing = endpoint("host=tcp://x,ca=/nothere/y").unwrap_err().message;
        assert_eq!(missing, "open /nothere/y: no such file or directory");
        assert!(endpoint("host=tcp://x,foo=y").is_err());
        assert!(endpoint("").is_err());
    }
}
