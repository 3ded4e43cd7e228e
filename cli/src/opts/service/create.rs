//! `service create`: options → a new specification. Pure, but for the files of `--env-file`.

use serde_json::{Map, Value as Json, json};

use super::super::create::{Ours, Read, environment};
use super::super::{map, mount, resources};
use super::{parts, policy, put, tidy};
use crate::args::Args;

type Parsed<T> = Result<T, String>;

/// The specification without networks, secrets and configs, whose ids only the daemon knows.
pub(crate) fn spec(args: &Args, read: Read<'_>, ours: Ours<'_>) -> Parsed<Json> {
    let mode = mode(args)?;
    let update = policy::update(args, "update", &Json::Null);
    let rollback = policy::update(args, "rollback", &Json::Null);
    if args.text("mode").ends_with("-job") && (update.is_some() || rollback.is_some()) {
        return Err("update and rollback configuration is not supported for jobs".into());
    }
    let mut resources = json!({"Limits": {}, "Reservations": {}});
    policy::resources(args, &mut resources)?;
    let generic: Parsed<Vec<Json>> =
        args.all("generic-resource").iter().map(|text| parts::generic(text)).collect();
    put(&mut resources["Reservations"], "GenericResources", generic?);
    let mut placement = json!({});
    put(&mut placement, "Constraints", json!(args.all("constraint")));
    let preferences: Parsed<Vec<Json>> =
        args.all("placement-pref").iter().map(|text| parts::preference(text)).collect();
    put(&mut placement, "Preferences", preferences?);
    if let Some(most) = policy::number(args, "replicas-max-per-node").filter(|most| *most > 0) {
        placement["MaxReplicas"] = most.into();
    }
    let mut ports = Vec::new();
    for text in args.all("publish") {
        ports.extend(parts::port(text)?);
    }
    let mut endpoint = json!({});
    let endpoint_mode = args.get("endpoint-mode").unwrap_or("vip").to_lowercase();
    put(&mut endpoint, "Mode", endpoint_mode);
    put(&mut endpoint, "Ports", ports);
    let mut spec = json!({
        "Name": args.text("name"),
        "Labels": map(args.all("label")),
        "TaskTemplate": {
            "ContainerSpec": container(args, read, ours)?,
            "Resources": resources,
            "RestartPolicy": policy::restart(args, &Json::Null),
            "Placement": placement,
            "ForceUpdate": 0,
            "LogDriver": log_driver(args),
        },
        "Mode": mode,
        "UpdateConfig": update,
        "RollbackConfig": rollback,
        "EndpointSpec": endpoint,
    });
    policy::extensions(args, &mut spec);
    tidy(&mut spec);
    Ok(spec)
}

fn mode(args: &Args) -> Parsed<Json> {
    let (replicas, concurrent) =
        (policy::number(args, "replicas"), policy::number(args, "max-concurrent"));
    let alone = |name: &str| match replicas {
        Some(_) => {
            Err("replicas can only be used with replicated or replicated-job mode".to_owned())
        }
        None if args.given("replicas-max-per-node") => {
            Err("replicas-max-per-node can only be used with replicated or replicated-job mode"
                .into())
        }
        None if concurrent.is_some() => {
            Err("max-concurrent can only be used with replicated-job mode".into())
        }
        None => Ok(json!({name: {}})),
    };
    match args.text("mode") {
        "global" => alone("Global"),
        "global-job" => alone("GlobalJob"),
        "replicated" if concurrent.is_some() => {
            Err("max-concurrent can only be used with replicated-job mode".into())
        }
        "replicated" => {
            let mut mode = json!({});
            if let Some(replicas) = replicas {
                mode["Replicas"] = replicas.into();
            }
            Ok(json!({"Replicated": mode}))
        }
        "replicated-job" => {
            let total = replicas.unwrap_or(1);
            let concurrent = concurrent.unwrap_or(total);
            Ok(json!({"ReplicatedJob": {"MaxConcurrent": concurrent, "TotalCompletions": total}}))
        }
        other => Err(format!("Unknown mode: {other}, only replicated and global supported")),
    }
}

fn container(args: &Args, read: Read<'_>, ours: Ours<'_>) -> Parsed<Map<String, Json>> {
    let mut spec = json!({});
    put(&mut spec, "Image", args.arg(0));
    put(&mut spec, "Args", json!(args.rest.get(1..).unwrap_or_default()));
    put(&mut spec, "Command", parts::words(args.text("entrypoint"))?);
    put(&mut spec, "Env", last_wins(environment(args, read, ours)?));
    put(&mut spec, "Labels", map(args.all("container-label")));
    for (key, flag) in [
        ("Hostname", "hostname"),
        ("Dir", "workdir"),
        ("User", "user"),
        ("StopSignal", "stop-signal"),
        ("Isolation", "isolation"),
    ] {
        put(&mut spec, key, args.text(flag));
    }
    for (key, flag) in [("TTY", "tty"), ("ReadOnly", "read-only")] {
        if args.on(flag) {
            spec[key] = true.into();
        }
    }
    spec["Init"] = args.on("init").into();
    put(&mut spec, "Groups", json!(args.all("group")));
    let mounts: Parsed<Vec<Json>> =
        args.all("mount").iter().map(|text| mount::parse(text)).collect();
    put(&mut spec, "Mounts", mounts?);
    let mut dns = json!({});
    for (key, flag) in [("Nameservers", "dns"), ("Search", "dns-search"), ("Options", "dns-option")]
    {
        put(&mut dns, key, json!(args.all(flag)));
    }
    spec["DNSConfig"] = dns;
    let hosts: Vec<String> = args.all("host").iter().map(|text| parts::host_line(text)).collect();
    put(&mut spec, "Hosts", hosts);
    if let Some(time) = policy::nanos(args, "stop-grace-period") {
        spec["StopGracePeriod"] = time.into();
    }
    put(&mut spec, "Healthcheck", policy::health(args, &Json::Null)?.unwrap_or_default());
    put(&mut spec, "Sysctls", map(args.all("sysctl")));
    let (add, drop) = parts::effective(
        parts::capabilities(args.all("cap-add")),
        parts::capabilities(args.all("cap-drop")),
    );
    put(&mut spec, "CapabilityAdd", add);
    put(&mut spec, "CapabilityDrop", drop);
    let ulimits: Parsed<Vec<Json>> =
        args.all("ulimit").iter().map(|text| resources::ulimit(text)).collect();
    put(&mut spec, "Ulimits", ulimits?);
    if args.int("oom-score-adj") != 0 {
        spec["OomScoreAdj"] = args.int("oom-score-adj").into();
    }
    if let Some(text) = args.get("credential-spec") {
        spec["Privileges"] = json!({"CredentialSpec": credential(text)?, "NoNewPrivileges": false});
    }
    match spec {
        Json::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

pub(super) fn credential(text: &str) -> Parsed<Json> {
    if text.starts_with("config://") {
        return Err("a credential spec from a config is not implemented".into());
    }
    for (prefix, key) in [("file://", "File"), ("registry://", "Registry")] {
        if let Some(value) = text.strip_prefix(prefix).filter(|value| !value.is_empty()) {
            return Ok(json!({key: value}));
        }
    }
    Err("invalid credential spec: value must be prefixed with \"config://\", \"file://\", or \
         \"registry://\""
        .into())
}

pub(super) fn log_driver(args: &Args) -> Option<Json> {
    let name = args.get("log-driver").filter(|name| !name.is_empty())?;
    let mut driver = json!({"Name": name});
    put(&mut driver, "Options", map(args.all("log-opt")));
    Some(driver)
}

/// Of several values of one variable the last stays.
pub(super) fn last_wins(all: Vec<String>) -> Vec<String> {
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let mut kept: Vec<String> = Vec::new();
    for line in all {
        kept.retain(|other| name(other) != name(&line));
        kept.push(line);
    }
    kept
}
