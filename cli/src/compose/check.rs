//! What a whole project must hold: profiles, dependencies, references, ports. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::place::Fault;

type Done = Result<(), Fault>;

fn services(content: &Json) -> impl Iterator<Item = (&String, &Json)> {
    content["services"].as_object().into_iter().flatten()
}

/// Takes out services whose profiles are not asked for, with the dependencies on them that are not required.
///
/// # Errors
/// When a service that stays needs one that does not.
pub(super) fn profiles(content: &mut Json, active: &BTreeSet<String>) -> Done {
    let is_off = |service: &Json| {
        let mut names = service["profiles"].as_array().into_iter().flatten().peekable();
        names.peek().is_some()
            && !names.any(|name| name.as_str().is_some_and(|name| active.contains(name)))
    };
    let off: BTreeSet<String> = services(content)
        .filter(|(_, service)| is_off(service))
        .map(|(name, _)| name.clone())
        .collect();
    let Json::Object(all) = &mut content["services"] else { return Ok(()) };
    all.retain(|name, _| !off.contains(name));
    for (name, service) in all {
        let wanted = service.get_mut("depends_on").and_then(Json::as_object_mut);
        let Some(wanted) = wanted else { continue };
        let missing =
            wanted.iter().find(|(key, how)| off.contains(*key) && how["required"] != false);
        if let Some((key, _)) = missing {
            return Err(Fault::at(
                format!("services.{name}.depends_on.{key}"),
                format!("service {key:?} is in a profile that is not enabled"),
            ));
        }
        wanted.retain(|key, _| !off.contains(key));
        if wanted.is_empty()
            && let Some(fields) = service.as_object_mut()
        {
            fields.remove("depends_on");
        }
    }
    Ok(())
}

/// Checks what services say of each other and of what they share.
///
/// # Errors
/// The first contradiction.
pub(super) fn whole(content: &Json) -> Done {
    for (name, service) in services(content) {
        references(name, service, content)?;
    }
    cycles(content)?;
    ports(content)
}

fn references(name: &str, service: &Json, content: &Json) -> Done {
    let path = |rest: String| format!("services.{name}.{rest}");
    for key in service["depends_on"].as_object().into_iter().flat_map(Map::keys) {
        let at = path(format!("depends_on.{key}"));
        if content["services"].get(key).is_none() {
            return Err(Fault::at(at, format!("undefined service {key:?}")));
        }
        let condition = service["depends_on"][key]["condition"].as_str().unwrap_or_default();
        let known = ["service_started", "service_healthy", "service_completed_successfully"];
        if !known.contains(&condition) {
            let why = format!("condition {condition:?} is none of {}", known.join(", "));
            return Err(Fault::at(at, why));
        }
    }
    for key in service["networks"].as_object().into_iter().flat_map(Map::keys) {
        if key != "default" && content["networks"].get(key).is_none() {
            let why = format!("undefined network {key:?}: define it under `networks`");
            return Err(Fault::at(path(format!("networks.{key}")), why));
        }
    }
    for (index, mount) in service["volumes"].as_array().into_iter().flatten().enumerate() {
        let source = mount["source"].as_str().unwrap_or_default();
        if mount["type"] == "volume"
            && !source.is_empty()
            && content["volumes"].get(source).is_none()
        {
            let why = format!("undefined volume {source:?}: define it under `volumes`");
            return Err(Fault::at(path(format!("volumes.{index}")), why));
        }
    }
    for (kind, section) in [("secret", "secrets"), ("config", "configs")] {
        for (index, file) in service[section].as_array().into_iter().flatten().enumerate() {
            let source = file["source"].as_str().unwrap_or_default();
            if content[section].get(source).is_none() {
                let why = format!("undefined {kind} {source:?}: define it under `{section}`");
                return Err(Fault::at(path(format!("{section}.{index}")), why));
            }
        }
    }
    Ok(())
}

/// Services that wait for each other never start.
fn cycles(content: &Json) -> Done {
    let next = |name: &str| -> Vec<String> {
        let wanted = content["services"][name]["depends_on"].as_object();
        wanted.into_iter().flat_map(Map::keys).cloned().collect()
    };
    let mut done = BTreeSet::new();
    for (name, _) in services(content) {
        let mut trail = Vec::new();
        if let Some(cycle) = walk(name, &next, &mut trail, &mut done) {
            let at = format!("services.{}.depends_on", cycle[0]);
            return Err(Fault::at(
                at,
                format!("services wait for each other: {}", cycle.join(" -> ")),
            ));
        }
    }
    Ok(())
}

fn walk(
    name: &str,
    next: &dyn Fn(&str) -> Vec<String>,
    trail: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(from) = trail.iter().position(|known| known == name) {
        let mut cycle = trail[from..].to_vec();
        cycle.push(name.to_owned());
        return Some(cycle);
    }
    if done.contains(name) {
        return None;
    }
    trail.push(name.to_owned());
    let found = next(name).into_iter().find_map(|other| walk(&other, next, trail, done));
    trail.pop();
    done.insert(name.to_owned());
    found
}

/// No two services may publish the same port in the mesh, and none the same one twice.
fn ports(content: &Json) -> Done {
    let mut taken = BTreeMap::<(&str, u64, &str), &str>::new();
    for (name, service) in services(content) {
        for (index, port) in service["ports"].as_array().into_iter().flatten().enumerate() {
            let Some(published) = port["published"].as_u64() else { continue };
            let protocol = port["protocol"].as_str().unwrap_or_default();
            // With `mode: host`, tasks of others may be on other nodes.
            let owner = if port["mode"] == "host" { name.as_str() } else { "" };
            if let Some(other) = taken.insert((owner, published, protocol), name) {
                let why = format!("port {published}/{protocol} is published by {other:?} already");
                return Err(Fault::at(format!("services.{name}.ports.{index}"), why));
            }
        }
    }
    Ok(())
}
