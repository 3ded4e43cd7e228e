//! `service update`: options → changes of a specification. Pure.
//!
//! Networks, secrets and configs are changed by the caller, who asks the daemon for their ids.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::{map, mount, resources};
use super::create::{credential, log_driver};
use super::{items, parts, policy, put, texts, tidy};
use crate::args::Args;

type Parsed<T> = Result<T, String>;

/// Applies the options to a specification.
pub(crate) fn apply(args: &Args, spec: &mut Json) -> Parsed<()> {
    labels(args, "label", &mut spec["Labels"]);
    policy::extensions(args, spec);
    container(args, &mut spec["TaskTemplate"]["ContainerSpec"])?;
    let task = &mut spec["TaskTemplate"];
    policy::resources(args, &mut task["Resources"])?;
    generic(args, &mut task["Resources"]["Reservations"])?;
    task["RestartPolicy"] = policy::restart(args, &task["RestartPolicy"]).unwrap_or_default();
    placement(args, &mut task["Placement"])?;
    if let Some(driver) = log_driver(args) {
        task["LogDriver"] = driver;
    }
    if args.on("force") {
        task["ForceUpdate"] = (task["ForceUpdate"].as_u64().unwrap_or(0) + 1).into();
    }
    replicas(args, &mut spec["Mode"])?;
    for (key, which) in [("UpdateConfig", "update"), ("RollbackConfig", "rollback")] {
        spec[key] = policy::update(args, which, &spec[key]).unwrap_or_default();
    }
    if let Some(mode) = args.get("endpoint-mode") {
        spec["EndpointSpec"]["Mode"] = mode.into();
    }
    if args.given("publish-add") || args.given("publish-rm") {
        ports(args, &mut spec["EndpointSpec"])?;
    }
    tidy(spec);
    Ok(())
}

fn replicas(args: &Args, mode: &mut Json) -> Parsed<()> {
    if let Some(replicas) = policy::number(args, "replicas") {
        if mode["Replicated"].is_object() {
            mode["Replicated"]["Replicas"] = replicas.into();
        } else if mode["ReplicatedJob"].is_object() {
            mode["ReplicatedJob"]["TotalCompletions"] = replicas.into();
        } else {
            return Err("replicas can only be used with replicated mode".into());
        }
    }
    if let Some(concurrent) = policy::number(args, "max-concurrent") {
        if !mode["ReplicatedJob"].is_object() {
            return Err("max-concurrent can only be used with replicated-job mode".into());
        }
        mode["ReplicatedJob"]["MaxConcurrent"] = concurrent.into();
    }
    Ok(())
}

/// Adds and removes `key=value` entries of an object by the flags `name-add` and `name-rm`.
fn labels(args: &Args, name: &str, labels: &mut Json) {
    if let Json::Object(added) = map(args.all(&format!("{name}-add"))) {
        for (key, value) in added {
            labels[key] = value;
        }
    }
    if let Json::Object(fields) = labels {
        for key in args.all(&format!("{name}-rm")) {
            fields.remove(key.as_str());
        }
    }
}

/// Adds and removes texts of a list, sorted afterwards.
fn list(args: &Args, name: &str, object: &mut Json, key: &str) {
    let (add, rm) = (format!("{name}-add"), format!("{name}-rm"));
    if !args.given(&add) && !args.given(&rm) {
        return;
    }
    let mut all = texts(&object[key]);
    all.extend(args.all(&add).iter().cloned());
    all.retain(|item| !args.all(&rm).contains(item));
    all.sort_unstable();
    all.dedup();
    put(object, key, all);
}

fn container(args: &Args, spec: &mut Json) -> Parsed<()> {
    labels(args, "container-label", &mut spec["Labels"]);
    labels(args, "sysctl", &mut spec["Sysctls"]);
    for (key, flag) in [
        ("Image", "image"),
        ("Dir", "workdir"),
        ("User", "user"),
        ("Hostname", "hostname"),
        ("StopSignal", "stop-signal"),
        ("Isolation", "isolation"),
    ] {
        if args.given(flag) {
            put(spec, key, args.text(flag));
        }
    }
    for (key, flag) in [("Args", "args"), ("Command", "entrypoint")] {
        if args.given(flag) {
            put(spec, key, parts::words(args.text(flag))?);
        }
    }
    for (key, flag) in [("TTY", "tty"), ("ReadOnly", "read-only"), ("Init", "init")] {
        if args.given(flag) {
            spec[key] = args.on(flag).into();
        }
    }
    environment(args, spec)?;
    mounts(args, spec)?;
    if let Some(time) = policy::nanos(args, "stop-grace-period") {
        spec["StopGracePeriod"] = time.into();
    }
    if args.given("oom-score-adj") {
        spec["OomScoreAdj"] = args.int("oom-score-adj").into();
    }
    if let Some(text) = args.get("credential-spec") {
        spec["Privileges"]["CredentialSpec"] =
            if text.is_empty() { Json::Null } else { credential(text)? };
    }
    list(args, "group", spec, "Groups");
    for (key, name) in [("Nameservers", "dns"), ("Search", "dns-search"), ("Options", "dns-option")]
    {
        list(args, name, &mut spec["DNSConfig"], key);
    }
    hosts(args, spec);
    ulimits(args, spec)?;
    capabilities(args, spec);
    let health = policy::health(args, &spec["Healthcheck"])?.unwrap_or_default();
    spec["Healthcheck"] = health;
    Ok(())
}

/// Removed first, then added: an added variable replaces one of the same name.
fn environment(args: &Args, spec: &mut Json) -> Parsed<()> {
    if !args.given("env-add") && !args.given("env-rm") {
        return Ok(());
    }
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let mut all = texts(&spec["Env"]);
    all.retain(|line| !args.all("env-rm").contains(&name(line)));
    for added in args.all("env-add") {
        let line = if added.contains('=') {
            added.clone()
        } else {
            match crate::sys::variable(added)? {
                Some(value) => format!("{added}={value}"),
                None => continue,
            }
        };
        match all.iter_mut().find(|other| name(other) == name(&line)) {
            Some(other) => *other = line,
            None => all.push(line),
        }
    }
    put(spec, "Env", all);
    Ok(())
}

fn mounts(args: &Args, spec: &mut Json) -> Parsed<()> {
    if !args.given("mount-add") && !args.given("mount-rm") {
        return Ok(());
    }
    let target = |mount: &Json| mount["Target"].as_str().unwrap_or_default().to_owned();
    let mut by_target = BTreeMap::new();
    for text in args.all("mount-add") {
        let mount = mount::parse(text)?;
        if by_target.insert(target(&mount), mount).is_some() {
            return Err("duplicate mount target".into());
        }
    }
    for mount in items(&spec["Mounts"]) {
        if !args.all("mount-rm").contains(&target(&mount)) {
            by_target.entry(target(&mount)).or_insert(mount);
        }
    }
    let mut all: Vec<Json> = by_target.into_values().collect();
    all.sort_by_key(|mount| {
        (mount["Source"].as_str().unwrap_or_default().to_owned(), target(mount))
    });
    put(spec, "Mounts", all);
    Ok(())
}

fn hosts(args: &Args, spec: &mut Json) {
    if !args.given("host-add") && !args.given("host-rm") {
        return;
    }
    let split = |text: &str| {
        let (name, ip) = text.split_once([':', '=']).unwrap_or((text, ""));
        (name.to_owned(), ip.to_owned())
    };
    let removed: Vec<(String, String)> =
        args.all("host-rm").iter().map(|text| split(text)).collect();
    let gone = |line: &String| {
        let mut words = line.split_whitespace();
        let (ip, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        removed.iter().any(|(host, address)| host == name && (address.is_empty() || address == ip))
    };
    let mut all = texts(&spec["Hosts"]);
    all.retain(|line| !gone(line));
    for added in args.all("host-add").iter().map(|text| parts::host_line(text)) {
        if !all.contains(&added) {
            all.push(added);
        }
    }
    all.sort_unstable();
    put(spec, "Hosts", all);
}

fn ulimits(args: &Args, spec: &mut Json) -> Parsed<()> {
    if !args.given("ulimit-add") && !args.given("ulimit-rm") {
        return Ok(());
    }
    let name = |limit: &Json| limit["Name"].as_str().unwrap_or_default().to_owned();
    let mut by_name: BTreeMap<String, Json> =
        items(&spec["Ulimits"]).into_iter().map(|limit| (name(&limit), limit)).collect();
    by_name.retain(|name, _| !args.all("ulimit-rm").contains(name));
    for text in args.all("ulimit-add") {
        let limit = resources::ulimit(text)?;
        by_name.insert(name(&limit), limit);
    }
    put(spec, "Ulimits", by_name.into_values().collect::<Vec<_>>());
    Ok(())
}

fn capabilities(args: &Args, spec: &mut Json) {
    if !args.given("cap-add") && !args.given("cap-drop") {
        return;
    }
    let mut add = parts::capabilities(&texts(&spec["CapabilityAdd"]));
    let mut drop = parts::capabilities(&texts(&spec["CapabilityDrop"]));
    let mut to_add = parts::capabilities(args.all("cap-add"));
    let mut to_drop = parts::capabilities(args.all("cap-drop"));
    if to_add.remove("RESET") {
        add.clear();
    }
    if to_drop.remove("RESET") {
        drop.clear();
    }
    for name in to_drop.difference(&to_add) {
        add.remove(name);
        drop.insert(name.clone());
    }
    for name in to_add {
        drop.remove(&name);
        add.insert(name);
    }
    let (add, drop) = parts::effective(add, drop);
    put(spec, "CapabilityAdd", add);
    put(spec, "CapabilityDrop", drop);
}

fn generic(args: &Args, reservations: &mut Json) -> Parsed<()> {
    if !args.given("generic-resource-add") && !args.given("generic-resource-rm") {
        return Ok(());
    }
    let mut all = items(&reservations["GenericResources"]);
    let removed = args.all("generic-resource-rm");
    all.retain(|resource| !removed.iter().any(|kind| kind == parts::generic_kind(resource)));
    for text in args.all("generic-resource-add") {
        let added = parts::generic(text)?;
        all.retain(|other| parts::generic_kind(other) != parts::generic_kind(&added));
        all.push(added);
    }
    put(reservations, "GenericResources", all);
    Ok(())
}

fn placement(args: &Args, placement: &mut Json) -> Parsed<()> {
    list(args, "constraint", placement, "Constraints");
    if let Some(most) = policy::number(args, "replicas-max-per-node") {
        placement["MaxReplicas"] = if most == 0 { Json::Null } else { most.into() };
    }
    if !args.given("placement-pref-add") && !args.given("placement-pref-rm") {
        return Ok(());
    }
    let mut all = items(&placement["Preferences"]);
    for text in args.all("placement-pref-rm") {
        let removed = parts::preference(text)?;
        all.retain(|other| *other != removed);
    }
    for text in args.all("placement-pref-add") {
        all.push(parts::preference(text)?);
    }
    put(placement, "Preferences", all);
    Ok(())
}

fn ports(args: &Args, endpoint: &mut Json) -> Parsed<()> {
    let text = |port: &Json, key: &str, default: &str| {
        port[key].as_str().filter(|text| !text.is_empty()).unwrap_or(default).to_owned()
    };
    let same = |one: &Json, other: &Json| {
        one["TargetPort"] == other["TargetPort"]
            && text(one, "Protocol", "tcp") == text(other, "Protocol", "tcp")
            && text(one, "PublishMode", "ingress") == text(other, "PublishMode", "ingress")
    };
    let mut all = items(&endpoint["Ports"]);
    for removed in args.all("publish-rm") {
        for removed in parts::port(removed)? {
            all.retain(|port| !same(port, &removed));
        }
    }
    for added in args.all("publish-add") {
        for added in parts::port(added)? {
            if !all
                .iter()
                .any(|port| same(port, &added) && port["PublishedPort"] == added["PublishedPort"])
            {
                all.push(added);
            }
        }
    }
    all.sort_by_key(|port| {
        (
            format!("{}:{}", port["PublishedPort"], port["TargetPort"]),
            text(port, "Protocol", "tcp"),
            text(port, "PublishMode", "ingress"),
        )
    });
    put(endpoint, "Ports", all);
    Ok(())
}

/// Replaces references to secrets or configs: those of `removed` go, then `added` come.
pub(crate) fn references(kind: &str, list: &Json, removed: &[String], added: Vec<Json>) -> Json {
    let name = format!("{kind}Name");
    let mut all = items(list);
    all.retain(|reference| !removed.iter().any(|gone| reference[&name] == gone.as_str()));
    for reference in added {
        all.retain(|other| other["File"]["Name"] != reference["File"]["Name"]);
        all.push(reference);
    }
    if all.is_empty() { Json::Null } else { json!(all) }
}
