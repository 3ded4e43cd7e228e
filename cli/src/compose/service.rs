//! A service of a project → its specification. Pure.

use serde_json::{Value as Json, json};

use shoal_api_wire::swarm::labels::DEPENDS_ON;

use super::convert::{IMAGE, labels, name_of, scoped};
use super::place::Fault;
use super::{dependencies, mounts, settings};
use crate::args::check::{parse_bytes, parse_cpus, parse_duration};
use crate::opts::create::restart;
use crate::opts::service::{parts, put, texts, tidy};

type Done<T> = Result<T, String>;

/// Says which key is wrong.
fn at<T>(key: &'static str, done: Done<T>) -> Result<T, Fault> {
    done.map_err(|why| Fault::at(key, why))
}

/// The specification.
pub(super) fn spec(stack: &str, key: &str, service: &Json, project: &Json) -> Result<Json, Fault> {
    let image = service["image"].as_str().unwrap_or_default();
    if image.is_empty() {
        let why = match service.get("build") {
            None => "no image specified",
            Some(_) => "no image specified: stacks run images, build it and push it first",
        };
        return Err(Fault::at("", why));
    }
    let deploy = &service["deploy"];
    let mut own = labels(stack, &deploy["labels"]);
    own[IMAGE] = image.into();
    settings::add(&mut own, service)?;
    if let Some(wanted) = dependencies::label(stack, service) {
        own[DEPENDS_ON] = wanted.into();
    }
    let once = dependencies::runs_once(key, project);
    let mut task = json!({
        "ContainerSpec": container(stack, service, project)?,
        "Resources": at("deploy.resources", resources(service))?,
        "RestartPolicy": at("restart", restart_policy(service, once))?,
        "Placement": placement(service),
        "ForceUpdate": 0,
        "Networks": networks(stack, key, service, &project["networks"]),
    });
    if service["logging"].is_object() {
        let mut driver = json!({});
        put(&mut driver, "Name", service["logging"]["driver"].clone());
        put(&mut driver, "Options", service["logging"]["options"].clone());
        task["LogDriver"] = driver;
    }
    let mut spec = json!({
        "Name": scoped(stack, key),
        "Labels": own,
        "TaskTemplate": task,
        "Mode": at("deploy.mode", mode(service))?,
        "UpdateConfig": at("deploy.update_config", policy(&deploy["update_config"]))?,
        "RollbackConfig": at("deploy.rollback_config", policy(&deploy["rollback_config"]))?,
        "EndpointSpec": endpoint(service),
    });
    tidy(&mut spec);
    Ok(spec)
}

fn placement(service: &Json) -> Json {
    let wanted = &service["deploy"]["placement"];
    let mut placement = json!({});
    put(&mut placement, "Constraints", wanted["constraints"].clone());
    let preferences = wanted["preferences"].as_array().into_iter().flatten();
    let preferences: Vec<Json> = preferences
        .map(|wanted| json!({"Spread": {"SpreadDescriptor": wanted["spread"]}}))
        .collect();
    put(&mut placement, "Preferences", preferences);
    if wanted["max_replicas_per_node"].as_u64().is_some_and(|most| most > 0) {
        placement["MaxReplicas"] = wanted["max_replicas_per_node"].clone();
    }
    if let Some(platform) = service["platform"].as_str() {
        let (os, architecture) = platform.split_once('/').unwrap_or((platform, ""));
        let architecture = architecture.split('/').next().unwrap_or_default();
        let mut platform = json!({"OS": os});
        put(&mut platform, "Architecture", architecture);
        placement["Platforms"] = json!([platform]);
    }
    placement
}

/// A size: a number of bytes or a text with a unit.
pub(super) fn bytes(value: &Json) -> Done<i64> {
    match value {
        Json::String(text) => parse_bytes(text),
        other => other.as_i64().ok_or_else(|| format!("invalid size: '{other}'")),
    }
}

fn nanos(value: &Json) -> Done<Json> {
    match value.as_str() {
        Some(text) => Ok(parse_duration(text)?.into()),
        None => Ok(Json::Null),
    }
}

fn mode(service: &Json) -> Done<Json> {
    let deploy = &service["deploy"];
    let given = [&deploy["replicas"], &service["scale"]];
    let replicas = given.into_iter().find(|count| !count.is_null()).unwrap_or(&Json::Null);
    if replicas.as_i64().is_some_and(|count| count < 0) {
        return Err("replicas must not be negative".to_owned());
    }
    let alone = |name: &str| match replicas {
        Json::Null => Ok(json!({name: {}})),
        _ => Err("replicas can only be used with replicated or replicated-job mode".to_owned()),
    };
    match deploy["mode"].as_str().unwrap_or_default() {
        "global" => alone("Global"),
        "global-job" => alone("GlobalJob"),
        "" | "replicated" => Ok(json!({"Replicated": {"Replicas": replicas}})),
        "replicated-job" => Ok(json!({
            "ReplicatedJob": {"MaxConcurrent": replicas, "TotalCompletions": replicas}
        })),
        other => {
            Err(format!("{other:?} is none of replicated, global, replicated-job, global-job"))
        }
    }
}

fn policy(config: &Json) -> Done<Json> {
    if !config.is_object() {
        return Ok(Json::Null);
    }
    let or = |key: &str, default: Json| match &config[key] {
        Json::Null => default,
        value => value.clone(),
    };
    Ok(json!({
        "Parallelism": or("parallelism", 1.into()),
        "Delay": nanos(&config["delay"])?,
        "FailureAction": config["failure_action"],
        "Monitor": nanos(&config["monitor"])?,
        "MaxFailureRatio": or("max_failure_ratio", 0.into()),
        "Order": or("order", "".into()),
    }))
}

/// `once`: others wait until it has ended well.
fn restart_policy(service: &Json, once: bool) -> Done<Json> {
    let policy = &service["deploy"]["restart_policy"];
    if policy.is_object() {
        return Ok(json!({
            "Condition": policy["condition"],
            "Delay": nanos(&policy["delay"])?,
            "MaxAttempts": policy["max_attempts"],
            "Window": nanos(&policy["window"])?,
        }));
    }
    let given = restart(service["restart"].as_str().unwrap_or_default())?;
    match given["Name"].as_str().unwrap_or_default() {
        "" if once => Ok(json!({"Condition": "on-failure"})),
        "" | "no" => Ok(Json::Null),
        "always" | "unless-stopped" => Ok(json!({"Condition": "any"})),
        "on-failure" => {
            Ok(json!({"Condition": "on-failure", "MaxAttempts": given["MaximumRetryCount"]}))
        }
        other => Err(format!("unknown restart policy: {other}")),
    }
}

/// Those of `deploy`, else those of the service itself.
fn resources(service: &Json) -> Done<Json> {
    let resources = &service["deploy"]["resources"];
    let part = |part: &Json, own: [&Json; 3]| -> Done<Json> {
        let or = |key: &str, own: &Json| match &part[key] {
            Json::Null => own.clone(),
            value => value.clone(),
        };
        let mut out = json!({});
        let cpus = or("cpus", own[0]);
        if !cpus.is_null() {
            let cpus = cpus.as_str().map_or_else(|| cpus.to_string(), str::to_owned);
            let cpus = parse_cpus(&cpus)?;
            put(&mut out, "NanoCPUs", if cpus == 0 { Json::Null } else { cpus.into() });
        }
        let memory = or("memory", own[1]);
        if !memory.is_null() {
            let memory = bytes(&memory)?;
            put(&mut out, "MemoryBytes", if memory == 0 { Json::Null } else { memory.into() });
        }
        put(&mut out, "Pids", or("pids", own[2]));
        let generic = part["generic_resources"].as_array().into_iter().flatten();
        let generic: Vec<Json> = generic
            .map(|resource| {
                let wanted = &resource["discrete_resource_spec"];
                json!({"DiscreteResourceSpec": {"Kind": wanted["kind"], "Value": wanted["value"]}})
            })
            .collect();
        put(&mut out, "GenericResources", generic);
        Ok(out)
    };
    let none = &Json::Null;
    let mut out = json!({});
    for (key, field, own) in [
        ("Limits", "limits", ["cpus", "mem_limit", "pids_limit"]),
        ("Reservations", "reservations", ["", "mem_reservation", ""]),
    ] {
        let own = own.map(|key| service.get(key).unwrap_or(none));
        if resources[field].is_object() || own.iter().any(|value| !value.is_null()) {
            let part = part(&resources[field], own)?;
            out[key] = part;
        }
    }
    swap(service, &mut out)?;
    Ok(out)
}

/// On a service's own level swap counts with memory, on the cluster it is what comes on top.
fn swap(service: &Json, out: &mut Json) -> Done<()> {
    put(out, "MemorySwappiness", service["mem_swappiness"].clone());
    if service["memswap_limit"].is_null() {
        return Ok(());
    }
    let both = bytes(&service["memswap_limit"])?;
    let memory = out["Limits"]["MemoryBytes"].as_i64().unwrap_or_default();
    out["SwapBytes"] = match both {
        -1 => json!(-1),
        both if memory > 0 && both >= memory => json!(both - memory),
        _ => return Err("memswap_limit must not be below mem_limit, which it needs".to_owned()),
    };
    Ok(())
}

/// The networks that a service is attached to, by their keys.
pub(super) fn network_keys(service: &Json) -> Vec<String> {
    match service["networks"].as_object().filter(|networks| !networks.is_empty()) {
        Some(networks) => networks.keys().cloned().collect(),
        None if mode_of_node(service).is_some() => Vec::new(),
        None => vec!["default".to_owned()],
    }
}

/// The node's own network, where a service asks for it instead of one of the cluster.
fn mode_of_node(service: &Json) -> Option<&str> {
    service["network_mode"].as_str().filter(|mode| matches!(*mode, "host" | "none" | "bridge"))
}

fn networks(stack: &str, key: &str, service: &Json, known: &Json) -> Vec<Json> {
    let mut all = Vec::new();
    for name in network_keys(service) {
        let network = &service["networks"][&name];
        let target = name_of(stack, &name, &known[&name]);
        let mut aliases = texts(&network["aliases"]);
        if !matches!(target.as_str(), "bridge" | "host" | "none" | "default") {
            aliases.push(key.to_owned());
        }
        let mut attachment = json!({"Target": target});
        put(&mut attachment, "Aliases", aliases);
        put(&mut attachment, "DriverOpts", network["driver_opts"].clone());
        all.push(attachment);
    }
    if all.is_empty() {
        all.extend(mode_of_node(service).map(|mode| json!({"Target": mode})));
    }
    all.sort_by_key(|network| network["Target"].to_string());
    all
}

fn endpoint(service: &Json) -> Json {
    let mut ports: Vec<Json> = service["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| {
            json!({
                "Name": port["name"],
                "Protocol": port["protocol"],
                "TargetPort": port["target"],
                "PublishedPort": port["published"],
                "PublishMode": port["mode"],
            })
        })
        .collect();
    ports.sort_by_key(|port| (port["PublishedPort"].as_u64(), port["TargetPort"].as_u64()));
    let mut endpoint = json!({});
    let mode = service["deploy"]["endpoint_mode"].as_str().unwrap_or_default();
    put(&mut endpoint, "Mode", mode.to_lowercase());
    put(&mut endpoint, "Ports", ports);
    endpoint
}

fn container(stack: &str, service: &Json, project: &Json) -> Result<Json, Fault> {
    let mut spec = json!({"Labels": labels(stack, &service["labels"])});
    for (key, field) in [
        ("Image", "image"),
        ("Command", "entrypoint"),
        ("Args", "command"),
        ("Hostname", "hostname"),
        ("Dir", "working_dir"),
        ("User", "user"),
        ("StopSignal", "stop_signal"),
        ("Isolation", "isolation"),
        ("Init", "init"),
        ("Sysctls", "sysctls"),
        ("Groups", "group_add"),
    ] {
        put(&mut spec, key, service[field].clone());
    }
    for (key, field) in [("TTY", "tty"), ("OpenStdin", "stdin_open"), ("ReadOnly", "read_only")] {
        if service[field] == true {
            spec[key] = true.into();
        }
    }
    let environment = service["environment"].as_object().into_iter().flatten();
    let mut environment: Vec<String> = environment
        .map(|(name, value)| match value.as_str() {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        })
        .collect();
    environment.sort();
    put(&mut spec, "Env", environment);
    let hosts: Vec<String> =
        texts(&service["extra_hosts"]).iter().map(|host| parts::host_line(host)).collect();
    put(&mut spec, "Hosts", hosts);
    let mut dns = json!({});
    put(&mut dns, "Nameservers", service["dns"].clone());
    put(&mut dns, "Search", service["dns_search"].clone());
    put(&mut dns, "Options", service["dns_opt"].clone());
    put(&mut spec, "DNSConfig", dns);
    let mut all = Vec::new();
    for mount in service["volumes"].as_array().into_iter().flatten() {
        all.push(at("volumes", mounts::mount(stack, mount, &project["volumes"]))?);
    }
    put(&mut spec, "Mounts", all);
    spec["StopGracePeriod"] = at("stop_grace_period", nanos(&service["stop_grace_period"]))?;
    spec["Healthcheck"] = at("healthcheck", health(&service["healthcheck"]))?;
    for (kind, field) in [("Secret", "secrets"), ("Config", "configs")] {
        let files = at(field, mounts::files(stack, kind, &service[field], &project[field]))?;
        put(&mut spec, &format!("{kind}s"), files);
    }
    let set = |field: &str| parts::capabilities(&texts(&service[field]));
    let (add, drop) = parts::effective(set("cap_add"), set("cap_drop"));
    put(&mut spec, "CapabilityAdd", add);
    put(&mut spec, "CapabilityDrop", drop);
    let limits = service["ulimits"].as_object().into_iter().flatten();
    let limits: Vec<Json> = limits
        .map(|(name, limit)| json!({"Name": name, "Soft": limit["soft"], "Hard": limit["hard"]}))
        .collect();
    put(&mut spec, "Ulimits", limits);
    if service["oom_score_adj"].as_i64().is_some_and(|score| score != 0) {
        spec["OomScoreAdj"] = service["oom_score_adj"].clone();
    }
    // Docker's client always says it: the same words make the same spec.
    spec["Privileges"] = json!({"NoNewPrivileges": settings::no_new_privileges(service)});
    Ok(spec)
}

fn health(check: &Json) -> Done<Json> {
    if !check.is_object() {
        return Ok(Json::Null);
    }
    if check["disable"] == true {
        if check["test"].as_array().is_some_and(|test| !test.is_empty()) {
            return Err("test and disable can't be set at the same time".into());
        }
        return Ok(json!({"Test": ["NONE"]}));
    }
    let mut out = json!({"Test": check["test"], "Retries": check["retries"]});
    for (key, field) in [
        ("Interval", "interval"),
        ("Timeout", "timeout"),
        ("StartPeriod", "start_period"),
        ("StartInterval", "start_interval"),
    ] {
        out[key] = nanos(&check[field])?;
    }
    Ok(out)
}
