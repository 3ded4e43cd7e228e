//! A project → what the API makes of a stack. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::service;
use crate::opts::service::{put, tidy};

/// The label by which the objects of a stack are known.
pub(crate) const NAMESPACE: &str = "com.docker.stack.namespace";
/// The label with the image as the file names it.
pub(crate) const IMAGE: &str = "com.docker.stack.image";

/// The objects of a stack.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Stack {
    /// By the names that they get.
    pub(crate) networks: BTreeMap<String, Json>,
    /// Networks that must be there already.
    pub(crate) external_networks: BTreeSet<String>,
    /// Specifications without data, and the files that have it.
    pub(crate) secrets: Vec<(Json, Option<String>)>,
    pub(crate) configs: Vec<(Json, Option<String>)>,
    /// Specifications, secrets and configs in them by name only.
    pub(crate) services: BTreeMap<String, Json>,
}

/// Makes a stack of a project.
pub(crate) fn stack(name: &str, project: &Json) -> Result<Stack, String> {
    let mut stack = Stack::default();
    let services = project["services"].as_object().into_iter().flatten();
    let mut used = BTreeSet::new();
    for (key, service) in services {
        let spec = service::spec(name, key, service, project)
            .map_err(|why| format!("service {key}: {why}"))?;
        stack.services.insert(scoped(name, key), spec);
        match service["networks"].as_object() {
            Some(networks) if !networks.is_empty() => used.extend(networks.keys().cloned()),
            _ => {
                used.insert("default".to_owned());
            }
        }
    }
    for key in used {
        let network = &project["networks"][&key];
        if network["external"] == true {
            stack.external_networks.insert(name_of(name, &key, network));
        } else {
            stack.networks.insert(name_of(name, &key, network), network_spec(name, network));
        }
    }
    stack.secrets = kept(name, &project["secrets"]);
    stack.configs = kept(name, &project["configs"]);
    Ok(stack)
}

/// A name within a stack.
pub(crate) fn scoped(stack: &str, key: &str) -> String {
    format!("{stack}_{key}")
}

/// The name of a shared object: its own, or one within the stack.
pub(super) fn name_of(stack: &str, key: &str, object: &Json) -> String {
    match object["name"].as_str() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => scoped(stack, key),
    }
}

/// Labels, with the stack's.
pub(super) fn labels(stack: &str, own: &Json) -> Json {
    let mut all = if own.is_object() { own.clone() } else { json!({}) };
    all[NAMESPACE] = stack.into();
    all
}

fn network_spec(stack: &str, network: &Json) -> Json {
    let mut spec = json!({
        "Driver": network["driver"].as_str().filter(|driver| !driver.is_empty()).unwrap_or("overlay"),
        "Labels": labels(stack, &network["labels"]),
    });
    put(&mut spec, "Options", network["driver_opts"].clone());
    for (key, field) in [("Internal", "internal"), ("Attachable", "attachable")] {
        if network[field] == true {
            spec[key] = true.into();
        }
    }
    let ipam = &network["ipam"];
    let subnets: Vec<Json> = ipam["config"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|config| json!({"Subnet": config["subnet"]}))
        .collect();
    if !subnets.is_empty() || ipam["driver"].is_string() {
        let mut out = json!({});
        put(&mut out, "Driver", ipam["driver"].clone());
        put(&mut out, "Config", subnets);
        spec["IPAM"] = out;
    }
    tidy(&mut spec);
    spec
}

fn kept(stack: &str, objects: &Json) -> Vec<(Json, Option<String>)> {
    let mut all = Vec::new();
    for (key, object) in objects.as_object().into_iter().flatten() {
        if object["external"] == true {
            continue;
        }
        let mut spec = json!({
            "Name": name_of(stack, key, object),
            "Labels": labels(stack, &object["labels"]),
        });
        if let Some(driver) = object["driver"].as_str() {
            spec["Driver"] = json!({"Name": driver});
            put(&mut spec["Driver"], "Options", object["driver_opts"].clone());
        }
        if let Some(driver) = object["template_driver"].as_str() {
            spec["Templating"] = json!({"Name": driver});
        }
        tidy(&mut spec);
        all.push((spec, object["file"].as_str().map(str::to_owned)));
    }
    all
}
