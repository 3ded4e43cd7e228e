//! `stack deploy`: networks, then secrets, configs, services; each by its name.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::super::cluster::{Unpinned, auth, json_of, pin_image, version, warn};
use super::super::service::wait;
use super::{check_name, list, read_files, remove};
use crate::args::Args;
use crate::client::{Client, Error, Request, url::segment};
use crate::compose::convert::{Data, IMAGE, Stack};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::opts::service::{items, tidy};
use crate::stream::progress::To;
use crate::sys;
use shoal_gotemplate::value::Value;

/// How often a change is tried that somebody else's comes before.
const ATTEMPTS: u32 = 5;

/// When the registry is asked for the digest of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolve {
    Always,
    Changed,
    Never,
}

pub(super) async fn deploy(context: &mut Context, args: &Args) -> Result {
    let name = args.arg(0);
    check_name(name)?;
    let resolve = match args.text("resolve-image") {
        "always" => Resolve::Always,
        "changed" => Resolve::Changed,
        "never" => Resolve::Never,
        other => return Err(format!("Invalid option {other} for flag --resolve-image").into()),
    };
    let project = read_files(args)?;
    let stack = project.stack(name).map_err(|fault| Failure::new(fault.to_string()))?;
    let client = context.client()?;
    check_manager(client).await?;
    if !args.given("detach") {
        sys::err_line(
            "Since --detach=false was not specified, tasks will be created in the background.\n\
             In a future release, --detach=false will become the default.",
        );
    }
    if args.on("prune") {
        prune(client, name, &stack).await?;
    }
    external(client, &stack).await?;
    networks(client, name, &stack).await?;
    kept(client, "secret", &stack.secrets).await?;
    kept(client, "config", &stack.configs).await?;
    let ids = services(context, args, name, resolve, stack).await?;
    if args.on("detach") {
        return Ok(());
    }
    for id in ids {
        wait(context, &id, if args.on("quiet") { To::Nowhere } else { To::Out }).await?;
    }
    Ok(())
}

async fn check_manager(client: &Client) -> Result {
    let info = client.value(Request::get("/info")).await?;
    if info.path("Swarm.ControlAvailable").is_true() {
        return Ok(());
    }
    Err("this node is not a swarm manager. Use \"shoal swarm init\" or \"shoal swarm join\" to \
         connect this node to swarm and try again"
        .into())
}

async fn prune(client: &Client, name: &str, stack: &Stack) -> Result {
    let services = list(client, "services", name).await?;
    let gone: Vec<&Value> = services
        .list()
        .iter()
        .filter(|service| !stack.services.contains_key(service.path("Spec.Name").text()))
        .collect();
    if remove::remove(client, "service", "services", &gone).await {
        return Err(format!("Failed to remove some resources from stack: {name}").into());
    }
    Ok(())
}

/// Networks of others must be there, for the whole cluster.
async fn external(client: &Client, stack: &Stack) -> Result {
    for name in &stack.external_networks {
        // These are on every node.
        if matches!(name.as_str(), "host" | "bridge" | "none") {
            continue;
        }
        let network = match client.value(Request::get(format!("/networks/{}", segment(name)))).await
        {
            Err(error) if error.status() == 404 => {
                return Err(format!(
                    "network {name:?} is declared as external, but could not be found. You need \
                     to create a swarm-scoped network before the stack is deployed"
                )
                .into());
            }
            other => other?,
        };
        let scope = network.at("Scope").text();
        if scope != "swarm" {
            return Err(format!(
                "network {name:?} is declared as external, but it is not in the right scope: \
                 {scope:?} instead of \"swarm\""
            )
            .into());
        }
    }
    Ok(())
}

async fn networks(client: &Client, name: &str, stack: &Stack) -> Result {
    let existing = list(client, "networks", name).await?;
    let known: Vec<&str> =
        existing.list().iter().map(|network| network.at("Name").text()).collect();
    for (network, spec) in &stack.networks {
        if known.contains(&network.as_str()) {
            continue;
        }
        sys::line(format_args!("Creating network {network}"));
        let mut body = spec.clone();
        body["Name"] = network.as_str().into();
        // Daemons before API 1.44 make a second network of a name unless they are told not to.
        body["CheckDuplicate"] = true.into();
        let request = Request::post("/networks/create").json(body);
        match client.value(request).await {
            Ok(_) => {}
            // Somebody else deploys the same stack.
            Err(error) if error.status() == 409 => {}
            Err(error) => {
                return Err(format!("failed to create network {network}: {error}").into());
            }
        }
    }
    Ok(())
}

/// Creates secrets or configs, or brings them up to date.
async fn kept(client: &Client, kind: &str, wanted: &[(Json, Data)]) -> Result {
    for (spec, data) in wanted {
        let mut spec = spec.clone();
        match data {
            Data::File(path) => {
                let data = std::fs::read(path).map_err(io(format!("open {path}")))?;
                spec["Data"] = STANDARD.encode(data).into();
            }
            Data::Text(text) => spec["Data"] = STANDARD.encode(text).into(),
            Data::Driver => {}
        }
        let name = spec["Name"].as_str().unwrap_or_default().to_owned();
        if !update_kept(client, kind, &name, &spec).await? {
            sys::line(format_args!("Creating {kind} {name}"));
            let request = Request::post(format!("/{kind}s/create")).json(spec.clone());
            match client.done(request).await {
                Ok(()) => {}
                // Somebody else deploys the same stack.
                Err(error) if error.status() == 409 => {
                    update_kept(client, kind, &name, &spec).await?;
                }
                Err(error) => {
                    return Err(format!("failed to create {kind} {name}: {error}").into());
                }
            }
        }
    }
    Ok(())
}

/// Brings a secret or a config up to date. `false`: there is none.
async fn update_kept(client: &Client, kind: &str, name: &str, spec: &Json) -> Result<bool> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let path = format!("/{kind}s/{}", segment(name));
        let found = match client.send(Request::get(&path)).await {
            Ok(found) => found.text().await?,
            Err(error) if error.status() == 404 => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let found: Json = serde_json::from_str(&found)
            .map_err(|why| Failure::new(format!("reading the answer: {why}")))?;
        let id = found["ID"].as_str().unwrap_or_default();
        let request = Request::post(format!("/{kind}s/{}/update", segment(id)))
            .query("version", version(&found))
            .json(spec.clone());
        match client.done(request).await {
            Ok(()) => return Ok(true),
            Err(error) if is_stale(&error) && attempt < ATTEMPTS => {}
            Err(error) => return Err(format!("failed to update {kind} {name}: {error}").into()),
        }
    }
}

/// Whether an object was changed by somebody else since it was read. Docker's daemon says it in words only.
fn is_stale(error: &Error) -> bool {
    error.to_string().contains("update out of sequence")
}

/// Creates or updates the services, and gives their ids.
async fn services(
    context: &Context,
    args: &Args,
    name: &str,
    resolve: Resolve,
    stack: Stack,
) -> Result<Vec<String>> {
    let client = context.client()?;
    let existing = list(client, "services", name).await?;
    let known: BTreeMap<&str, &str> = existing
        .list()
        .iter()
        .map(|service| (service.path("Spec.Name").text(), service.at("ID").text()))
        .collect();
    let mut ids = Vec::new();
    for (service, mut spec) in stack.services {
        references(client, &mut spec).await?;
        let image = spec["Labels"][IMAGE].as_str().unwrap_or_default().to_owned();
        let auth = auth(context, args.on("with-registry-auth"), &image)?;
        let wanted = Wanted { service: &service, image: &image, auth: &auth, resolve };
        let known = known.get(service.as_str()).copied();
        ids.push(match known {
            Some(id) => update(client, id, &wanted, &spec).await?,
            None => create(client, &wanted, &spec).await?,
        });
    }
    Ok(ids)
}

/// A service to be made or changed.
struct Wanted<'a> {
    service: &'a str,
    image: &'a str,
    auth: &'a str,
    resolve: Resolve,
}

async fn create(client: &Client, wanted: &Wanted<'_>, spec: &Json) -> Result<String> {
    let Wanted { service, auth, .. } = wanted;
    sys::line(format_args!("Creating service {service}"));
    let mut new = spec.clone();
    let ask = wanted.resolve != Resolve::Never;
    pin_image(client, &mut new["TaskTemplate"], auth, ask).await?.pass_over();
    tidy(&mut new);
    let request =
        Request::post("/services/create").header("x-registry-auth", (*auth).to_owned()).json(new);
    match client.value(request).await {
        Ok(answer) => {
            warn(&answer);
            Ok(answer.at("ID").text().to_owned())
        }
        // Somebody else deploys the same stack.
        Err(error) if error.status() == 409 => update(client, service, wanted, spec).await,
        Err(error) => Err(format!("failed to create service {service}: {error}").into()),
    }
}

/// Changes a service, by its id or name; again when somebody else changed it meanwhile.
async fn update(client: &Client, id: &str, wanted: &Wanted<'_>, spec: &Json) -> Result<String> {
    let Wanted { service, image, auth, resolve } = *wanted;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let old = json_of(client, Request::get(format!("/services/{}", segment(id)))).await?;
        let id = old["ID"].as_str().unwrap_or_default().to_owned();
        if attempt == 1 {
            sys::line(format_args!("Updating service {service} (id: {id})"));
        }
        let mut new = spec.clone();
        let task = &mut new["TaskTemplate"];
        let same = old["Spec"]["Labels"][IMAGE] == image;
        keep(task, &old["Spec"]["TaskTemplate"], same && resolve != Resolve::Always);
        let mut unpinned = Unpinned::default();
        if resolve == Resolve::Always || !same {
            unpinned = pin_image(client, task, auth, resolve != Resolve::Never).await?;
        }
        tidy(&mut new);
        let mut request = Request::post(format!("/services/{}/update", segment(&id)))
            .query("version", version(&old))
            .header("x-registry-auth", auth.to_owned());
        if auth.is_empty() {
            request = request.query("registryAuthFrom", "spec");
        }
        match client.value(request.json(new)).await {
            Ok(answer) => {
                warn(&answer);
                unpinned.print();
                return Ok(id);
            }
            Err(error) if is_stale(&error) && attempt < ATTEMPTS => {}
            Err(error) => {
                return Err(format!("failed to update service {service}: {error}").into());
            }
        }
    }
}

/// Takes over from the running service what the files do not say.
fn keep(task: &mut Json, old: &Json, image: bool) {
    task["ForceUpdate"] = old["ForceUpdate"].clone();
    if image {
        task["ContainerSpec"]["Image"] = old["ContainerSpec"]["Image"].clone();
        let platforms = &old["Placement"]["Platforms"];
        if !platforms.is_null() {
            task["Placement"]["Platforms"] = platforms.clone();
        }
    }
}

/// Gives secrets and configs, which the files know by name, their ids.
async fn references(client: &Client, spec: &mut Json) -> Result {
    let container = &mut spec["TaskTemplate"]["ContainerSpec"];
    for kind in ["Secret", "Config"] {
        let lower = kind.to_lowercase();
        let mut files = items(&container[format!("{kind}s")]);
        if files.is_empty() {
            continue;
        }
        let key = format!("{kind}Name");
        let names: BTreeMap<&str, bool> =
            files.iter().filter_map(|file| Some((file[&key].as_str()?, true))).collect();
        let filter = json!({"name": names}).to_string();
        let known =
            client.value(Request::get(format!("/{lower}s")).query("filters", filter)).await?;
        for file in &mut files {
            let name = file[&key].as_str().unwrap_or_default().to_owned();
            let found = known.list().iter().find(|o| o.path("Spec.Name").text() == name);
            let found = found.ok_or_else(|| Failure::new(format!("{lower} not found: {name}")))?;
            file[format!("{kind}ID")] = found.at("ID").text().into();
        }
        container[format!("{kind}s")] = files.into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_did_not_change_keeps_its_digest_and_platforms() {
        let old = json!({"ForceUpdate": 3, "ContainerSpec": {"Image": "x:1@sha256:0"},
                         "Placement": {"Platforms": [{"OS": "linux"}]}});
        let mut task =
            json!({"ForceUpdate": 0, "ContainerSpec": {"Image": "x:1"}, "Placement": {}});
        keep(&mut task, &old, true);
        assert_eq!(task, old);
        let mut task = json!({"ContainerSpec": {"Image": "x:2"}});
        keep(&mut task, &old, false);
        assert_eq!(task, json!({"ForceUpdate": 3, "ContainerSpec": {"Image": "x:2"}}));
    }
}
