//! A project → what the API makes of a stack. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::place::Fault;
use super::{service, unsupported};
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
    /// Specifications, and what is in them.
    pub(crate) secrets: Vec<(Json, Data)>,
    pub(crate) configs: Vec<(Json, Data)>,
    /// Specifications, secrets and configs in them by name only.
    pub(crate) services: BTreeMap<String, Json>,
}

/// Where the content of a secret or a config comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    File(String),
    Text(String),
    /// A driver brings it.
    Driver,
}

/// Makes a stack of a project.
///
/// # Errors
/// What cannot be in a stack.
pub(super) fn stack(name: &str, project: &Json) -> Result<Stack, Fault> {
    let mut stack = Stack::default();
    let services = project["services"].as_object().into_iter().flatten();
    let mut used = BTreeSet::new();
    for (key, service) in services {
        let spec = service::spec(name, key, service, project)
            .map_err(|fault| fault.within(&format!("services.{key}")))?;
        stack.services.insert(scoped(name, key), spec);
        used.extend(service::network_keys(service));
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
    let driver = network["driver"].as_str().filter(|_| !unsupported::is_local(network));
    let mut spec = json!({
        "Driver": driver.filter(|driver| !driver.is_empty()).unwrap_or("overlay"),
        "Labels": labels(stack, &network["labels"]),
    });
    // Options of bridges mean nothing to another driver.
    if !unsupported::is_local(network) {
        put(&mut spec, "Options", network["driver_opts"].clone());
    }
    for (key, field) in
        [("Internal", "internal"), ("Attachable", "attachable"), ("EnableIPv6", "enable_ipv6")]
    {
        if network[field] == true {
            spec[key] = true.into();
        }
    }
    let ipam = &network["ipam"];
    let subnets: Vec<Json> = ipam["config"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|config| {
            let mut out = json!({"Subnet": config["subnet"]});
            put(&mut out, "IPRange", config["ip_range"].clone());
            put(&mut out, "Gateway", config["gateway"].clone());
            out
        })
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

fn kept(stack: &str, objects: &Json) -> Vec<(Json, Data)> {
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
        let file = object["file"].as_str().map(|path| Data::File(path.to_owned()));
        let text = object["content"].as_str().map(|text| Data::Text(text.to_owned()));
        all.push((spec, file.or(text).unwrap_or(Data::Driver)));
    }
    all
}
