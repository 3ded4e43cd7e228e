//! `service create`, `update`, `rollback`, `scale`.

use serde_json::Value as Json;

use super::super::cluster::{auth, json_of, pin_image, references, version, warn};
use super::{at, wait};
use crate::args::Args;
use crate::client::{Client, Request};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::opts::service::parts::{self, FileReference};
use crate::opts::service::{create as creation, items, put, tidy, update as changes};
use crate::stream::progress::To;
use crate::sys;
use shoal_gotemplate::value::Value;

pub(super) async fn create(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let read = |path: &str| std::fs::read_to_string(path);
    let mut spec = creation::spec(args, &read, &sys::variable).map_err(Failure::new)?;
    let networks = attachments(client, args.all("network")).await?;
    put(&mut spec["TaskTemplate"], "Networks", sorted(networks));
    for (kind, flag) in [("Secret", "secret"), ("Config", "config")] {
        let found = references(client, kind, &wanted(flag, args.all(flag))?).await?;
        put(&mut spec["TaskTemplate"]["ContainerSpec"], &format!("{kind}s"), found);
    }
    let auth = auth(context, args.on("with-registry-auth"), args.arg(0))?;
    let ask = !args.on("no-resolve-image");
    let unpinned = pin_image(client, &mut spec["TaskTemplate"], &auth, ask).await?;
    tidy(&mut spec);
    let request = Request::post("/services/create").header("x-registry-auth", auth).json(spec);
    let answer = client.value(request).await?;
    warn(&answer);
    unpinned.print();
    let id = answer.at("ID").text();
    sys::line(id);
    follow(context, args, id).await
}

async fn follow(context: &Context, args: &Args, id: &str) -> Result {
    if args.on("detach") {
        return Ok(());
    }
    wait(context, id, if args.on("quiet") { To::Nowhere } else { To::Out }).await
}

fn wanted(flag: &str, given: &[String]) -> Result<Vec<FileReference>> {
    let kind = if flag.starts_with("secret") { "secret" } else { "config" };
    let parse = |text: &String| parts::file_reference(kind, text).map_err(Failure::new);
    given.iter().map(parse).collect()
}

/// Networks by their ids: names may change hands.
async fn attachments(client: &Client, given: &[String]) -> Result<Vec<Json>> {
    let mut all = Vec::new();
    for text in given {
        let (name, mut attachment) = parts::attachment(text).map_err(Failure::new)?;
        attachment["Target"] = network_id(client, &name).await?.into();
        all.push(attachment);
    }
    Ok(all)
}

async fn network_id(client: &Client, name: &str) -> Result<String> {
    let path = format!("/networks/{}", crate::client::url::segment(name));
    let network = client.value(Request::get(path).query("scope", "swarm")).await?;
    Ok(network.at("Id").text().to_owned())
}

fn sorted(mut networks: Vec<Json>) -> Vec<Json> {
    networks.sort_by_key(|network| network["Target"].as_str().unwrap_or_default().to_owned());
    networks
}

pub(super) async fn update(context: &mut Context, args: &Args) -> Result {
    let name = args.arg(0);
    let client = context.client()?;
    let service = json_of(client, Request::get(at(name))).await?;
    let mut spec = service["Spec"].clone();
    let mut request = Request::post(format!("{}/update", at(service_id(&service))))
        .query("version", version(&service));
    if args.on("rollback") {
        if args.only(&["rollback", "detach", "quiet"]) {
            request = request.query("registryAuthFrom", "spec").query("rollback", "previous");
            return send(context, args, name, request.json(spec)).await;
        }
        return Err("other flags may not be combined with --rollback".into());
    }
    changes::apply(args, &mut spec).map_err(Failure::new)?;
    if args.given("network-add") || args.given("network-rm") {
        networks(client, args, &mut spec).await?;
    }
    for (kind, flag) in [("Secret", "secret"), ("Config", "config")] {
        let (add, rm) = (format!("{flag}-add"), format!("{flag}-rm"));
        if args.given(&add) || args.given(&rm) {
            let added = references(client, kind, &wanted(flag, args.all(&add))?).await?;
            let list = &mut spec["TaskTemplate"]["ContainerSpec"][format!("{kind}s")];
            *list = changes::references(kind, list, args.all(&rm), added);
        }
    }
    let image = spec["TaskTemplate"]["ContainerSpec"]["Image"].as_str().unwrap_or_default();
    let auth = auth(context, args.on("with-registry-auth"), image)?;
    if args.given("image") {
        let ask = !args.on("no-resolve-image");
        pin_image(client, &mut spec["TaskTemplate"], &auth, ask).await?.print();
    }
    if auth.is_empty() {
        request = request.query("registryAuthFrom", "spec");
    }
    tidy(&mut spec);
    send(context, args, name, request.header("x-registry-auth", auth).json(spec)).await
}

/// Sends an update, prints the service's name and waits.
async fn send(context: &Context, args: &Args, name: &str, request: Request) -> Result {
    let answer = context.client()?.value(request).await?;
    warn(&answer);
    sys::line(name);
    follow(context, args, name).await
}

async fn networks(client: &Client, args: &Args, spec: &mut Json) -> Result {
    let mut removed = Vec::new();
    for name in args.all("network-rm") {
        removed.push(network_id(client, name).await?);
    }
    let task = items(&spec["TaskTemplate"]["Networks"]);
    // The place of networks in older specifications.
    let mut all = if task.is_empty() { items(&spec["Networks"]) } else { task };
    let target = |network: &Json| network["Target"].as_str().unwrap_or_default().to_owned();
    all.retain(|network| !removed.contains(&target(network)));
    for added in attachments(client, args.all("network-add")).await? {
        if all.iter().any(|network| target(network) == target(&added)) {
            return Err(format!("service is already attached to network {}", target(&added)).into());
        }
        all.push(added);
    }
    spec["Networks"] = Json::Null;
    put(&mut spec["TaskTemplate"], "Networks", sorted(all));
    Ok(())
}

fn service_id(service: &Json) -> &str {
    service["ID"].as_str().unwrap_or_default()
}

pub(super) async fn rollback(context: &mut Context, args: &Args) -> Result {
    let service = json_of(context.client()?, Request::get(at(args.arg(0)))).await?;
    let path = at(service_id(&service));
    let request = if args.given("to") {
        Request::post(format!("/shoal{path}/rollback")).query("to", args.text("to"))
    } else {
        Request::post(format!("{path}/update"))
            .query("registryAuthFrom", "spec")
            .query("rollback", "previous")
            .json(service["Spec"].clone())
    };
    let request = request.query("version", version(&service));
    let answer: Value = context.client()?.value(request).await?;
    warn(&answer);
    sys::line(args.arg(0));
    follow(context, args, args.arg(0)).await
}

pub(super) async fn scale(context: &mut Context, args: &Args) -> Result {
    let mut wanted = Vec::new();
    for text in &args.rest {
        match text.split_once('=') {
            Some((name, replicas)) if !name.is_empty() && !replicas.is_empty() => {
                wanted.push((name, replicas));
            }
            _ => {
                return Err(format!(
                    "invalid scale specifier '{text}'.\nSee 'shoal service scale --help'.\n\n\
                     Usage:  shoal service scale [OPTIONS] SERVICE=REPLICAS [SERVICE=REPLICAS...]"
                )
                .into());
            }
        }
    }
    let (mut scaled, mut errors) = (Vec::new(), Vec::new());
    for (name, replicas) in wanted {
        match scale_one(context.client()?, name, replicas).await {
            Ok(()) => scaled.push(name),
            Err(failure) => errors.push(format!("{name}: {failure}")),
        }
    }
    if !args.on("detach") {
        for name in scaled {
            if let Err(failure) = wait(context, name, To::Out).await {
                errors.push(format!("{name}: {failure}"));
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}

async fn scale_one(client: &Client, name: &str, replicas: &str) -> Result {
    let count: u64 = replicas.parse().map_err(|_| {
        let digits = replicas.bytes().all(|byte| byte.is_ascii_digit());
        let why = if digits { "value out of range" } else { "invalid syntax" };
        let quoted = crate::args::parse::quote(replicas);
        Failure::new(format!(
            "invalid replicas value {replicas}: strconv.ParseUint: parsing {quoted}: {why}"
        ))
    })?;
    let service = json_of(client, Request::get(at(name))).await?;
    let mut spec = service["Spec"].clone();
    let mode = &mut spec["Mode"];
    if mode["Replicated"].is_object() {
        mode["Replicated"]["Replicas"] = count.into();
    } else if mode["ReplicatedJob"].is_object() {
        mode["ReplicatedJob"]["TotalCompletions"] = count.into();
    } else {
        return Err("scale can only be used with replicated or replicated-job mode".into());
    }
    tidy(&mut spec);
    let request = Request::post(format!("{}/update", at(service_id(&service))))
        .query("version", version(&service))
        .query("registryAuthFrom", "spec")
        .json(spec);
    warn(&client.value(request).await?);
    sys::line(format_args!("{name} scaled to {count}"));
    Ok(())
}
