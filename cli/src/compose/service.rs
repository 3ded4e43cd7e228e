//! A service of a project → its specification. Pure.

use serde_json::{Value as Json, json};

use super::convert::{IMAGE, labels, name_of, scoped};
use super::mounts;
use crate::args::check::{parse_bytes, parse_cpus, parse_duration};
use crate::opts::create::restart;
use crate::opts::service::{parts, put, texts, tidy};

type Done<T> = Result<T, String>;

/// The specification.
pub(super) fn spec(stack: &str, key: &str, service: &Json, project: &Json) -> Done<Json> {
    let image = service["image"].as_str().unwrap_or_default();
    if image.is_empty() {
        return Err("invalid image reference: no image specified".into());
    }
    let deploy = &service["deploy"];
    let mut own = labels(stack, &deploy["labels"]);
    own[IMAGE] = image.into();
    let mut placement = json!({});
    put(&mut placement, "Constraints", deploy["placement"]["constraints"].clone());
    let preferences = deploy["placement"]["preferences"].as_array().into_iter().flatten();
    let preferences: Vec<Json> = preferences
        .map(|wanted| json!({"Spread": {"SpreadDescriptor": wanted["spread"]}}))
        .collect();
    put(&mut placement, "Preferences", preferences);
    if deploy["placement"]["max_replicas_per_node"].as_u64().is_some_and(|most| most > 0) {
        placement["MaxReplicas"] = deploy["placement"]["max_replicas_per_node"].clone();
    }
    let mut task = json!({
        "ContainerSpec": container(stack, service, project)?,
        "Resources": resources(&deploy["resources"])?,
        "RestartPolicy": restart_policy(service)?,
        "Placement": placement,
        "ForceUpdate": 0,
        "Networks": networks(stack, key, service, &project["networks"])?,
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
        "Mode": mode(deploy)?,
        "UpdateConfig": policy(&deploy["update_config"])?,
        "RollbackConfig": policy(&deploy["rollback_config"])?,
        "EndpointSpec": endpoint(service),
    });
    tidy(&mut spec);
    Ok(spec)
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

fn mode(deploy: &Json) -> Done<Json> {
    let replicas = &deploy["replicas"];
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
        other => Err(format!("Unknown mode: {other}")),
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

fn restart_policy(service: &Json) -> Done<Json> {
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
        "" | "no" => Ok(Json::Null),
        "always" | "unless-stopped" => Ok(json!({"Condition": "any"})),
        "on-failure" => {
            Ok(json!({"Condition": "on-failure", "MaxAttempts": given["MaximumRetryCount"]}))
        }
        other => Err(format!("unknown restart policy: {other}")),
    }
}

fn resources(resources: &Json) -> Done<Json> {
    let part = |part: &Json| -> Done<Json> {
        let mut out = json!({});
        if !part["cpus"].is_null() {
            let cpus =
                part["cpus"].as_str().map_or_else(|| part["cpus"].to_string(), str::to_owned);
            put(&mut out, "NanoCPUs", parse_cpus(&cpus)?);
        }
        if !part["memory"].is_null() {
            put(&mut out, "MemoryBytes", bytes(&part["memory"])?);
        }
        put(&mut out, "Pids", part["pids"].clone());
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
    let mut out = json!({});
    for (key, field) in [("Limits", "limits"), ("Reservations", "reservations")] {
        if resources[field].is_object() {
            out[key] = part(&resources[field])?;
        }
    }
    Ok(out)
}

fn networks(stack: &str, key: &str, service: &Json, known: &Json) -> Done<Vec<Json>> {
    let default = json!({"default": {}});
    let wanted = service["networks"].as_object().filter(|networks| !networks.is_empty());
    let wanted = wanted.or_else(|| default.as_object()).into_iter().flatten();
    let mut all = Vec::new();
    for (name, network) in wanted {
        if known.get(name).is_none() && name != "default" {
            return Err(format!("undefined network {name:?}"));
        }
        let target = name_of(stack, name, &known[name]);
        let mut aliases = texts(&network["aliases"]);
        if !matches!(target.as_str(), "bridge" | "host" | "none" | "default") {
            aliases.push(key.to_owned());
        }
        let mut attachment = json!({"Target": target});
        put(&mut attachment, "Aliases", aliases);
        put(&mut attachment, "DriverOpts", network["driver_opts"].clone());
        all.push(attachment);
    }
    all.sort_by_key(|network| network["Target"].to_string());
    Ok(all)
}

fn endpoint(service: &Json) -> Json {
    let mut ports: Vec<Json> = service["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| {
            json!({
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

fn container(stack: &str, service: &Json, project: &Json) -> Done<Json> {
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
    put(&mut spec, "DNSConfig", dns);
    let mut all = Vec::new();
    for mount in service["volumes"].as_array().into_iter().flatten() {
        all.push(mounts::mount(stack, mount, &project["volumes"])?);
    }
    put(&mut spec, "Mounts", all);
    spec["StopGracePeriod"] = nanos(&service["stop_grace_period"])?;
    spec["Healthcheck"] = health(&service["healthcheck"])?;
    for (kind, field) in [("Secret", "secrets"), ("Config", "configs")] {
        let files = mounts::files(stack, kind, &service[field], &project[field])?;
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
    credential(service, &mut spec)?;
    Ok(spec)
}

fn credential(service: &Json, spec: &mut Json) -> Done<()> {
    let wanted = &service["credential_spec"];
    let text = |field: &str| wanted[field].as_str().filter(|text| !text.is_empty());
    let source = match (text("config"), text("file"), text("registry")) {
        (None, None, None) => return Ok(()),
        (Some(_), None, None) => {
            return Err("a credential spec from a config is not implemented".into());
        }
        (None, Some(file), None) => json!({"File": file}),
        (None, None, Some(value)) => json!({"Registry": value}),
        _ => {
            return Err("invalid credential spec: cannot specify more than one of config, file, \
                        registry"
                .into());
        }
    };
    spec["Privileges"] = json!({"CredentialSpec": source, "NoNewPrivileges": false});
    Ok(())
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
