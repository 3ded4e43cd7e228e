//! Short forms → long forms, so that everything behind sees one form of each. Pure.

use serde_json::{Map, Value as Json, json};

use crate::opts::service::parts;

type Done<T = ()> = Result<T, String>;

/// What the surroundings know.
pub(crate) struct Surroundings<'a> {
    /// The directory that relative paths begin in.
    pub(crate) directory: &'a str,
    pub(crate) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Lines of a file of variables.
    pub(crate) env_file: &'a dyn Fn(&str) -> Result<Vec<(String, String)>, String>,
}

/// Brings all objects of a file into their long form.
pub(crate) fn file(file: &mut Json, around: &Surroundings<'_>) -> Done {
    for section in ["services", "networks", "volumes", "secrets", "configs"] {
        let Json::Object(objects) = &mut file[section] else {
            file[section] = json!({});
            continue;
        };
        objects.retain(|name, _| !name.starts_with("x-"));
        for (name, object) in objects {
            if object.is_null() {
                *object = json!({});
            }
            if section == "services" {
                service(object, around).map_err(|why| format!("services.{name}.{why}"))?;
            } else {
                shared(section, name, object, around)
                    .map_err(|why| format!("{section}.{name}: {why}"))?;
            }
            clean(object);
        }
    }
    Ok(())
}

/// Drops what is not set.
fn clean(object: &mut Json) {
    if let Json::Object(fields) = object {
        fields.retain(|_, value| !value.is_null());
    }
}

fn shared(section: &str, name: &str, object: &mut Json, around: &Surroundings<'_>) -> Done {
    map_of(&mut object["labels"]);
    map_of(&mut object["driver_opts"]);
    let external = object["external"].take();
    let given = external["name"].as_str().map(str::to_owned);
    if given.is_some() && object["name"].is_string() {
        return Err(format!("{name} external.name and {name} name conflict; only use name"));
    }
    if external == true || external.is_object() {
        let own = ["driver", "driver_opts", "labels", "internal", "ipam", "file"];
        if let Some(key) = own.iter().find(|key| !object[**key].is_null()) {
            return Err(format!("conflicting parameters \"external\" and {key:?} specified"));
        }
        object["external"] = true.into();
        let kept = object["name"].as_str().map(str::to_owned);
        object["name"] = given.or(kept).unwrap_or_else(|| name.to_owned()).into();
    }
    if let Some(path) = object["file"].as_str() {
        object["file"] = absolute(around, path).into();
    } else if section == "secrets" || section == "configs" {
        let elsewhere = object["external"] == true || object["driver"].is_string();
        if !elsewhere {
            return Err("neither a file nor external is given".into());
        }
    }
    Ok(())
}

fn service(service: &mut Json, around: &Surroundings<'_>) -> Done {
    for key in ["command", "entrypoint"] {
        if let Some(text) = service[key].as_str() {
            let words = parts::words(text).map_err(|why| format!("{key}: {why}"))?;
            service[key] = json!(words);
        }
    }
    for key in [
        "command",
        "entrypoint",
        "cap_add",
        "cap_drop",
        "dns",
        "dns_search",
        "env_file",
        "expose",
        "depends_on",
    ] {
        list_of(&mut service[key]);
    }
    environment(service, around)?;
    for key in ["labels", "sysctls"] {
        map_of(&mut service[key]);
    }
    if !service["deploy"].is_null() {
        map_of(&mut service["deploy"]["labels"]);
        clean(&mut service["deploy"]);
    }
    if service["logging"].is_object() {
        map_of(&mut service["logging"]["options"]);
        clean(&mut service["logging"]);
    }
    hosts(&mut service["extra_hosts"]);
    if let Some(test) = service["healthcheck"].get_mut("test") {
        if let Some(command) = test.as_str() {
            *test = json!(["CMD-SHELL", command]);
        }
    }
    networks(&mut service["networks"]);
    for key in ["secrets", "configs"] {
        each(&mut service[key], |item| {
            Ok(vec![match item {
                Json::String(source) => json!({"source": source}),
                other => other,
            }])
        })?;
    }
    each(&mut service["ports"], port).map_err(|why| format!("ports: {why}"))?;
    each(&mut service["volumes"], |item| Ok(vec![volume(item, around)?]))
        .map_err(|why| format!("volumes: {why}"))?;
    if let Json::Object(limits) = &mut service["ulimits"] {
        for limit in limits.values_mut().filter(|limit| limit.is_number()) {
            *limit = json!({"soft": limit.clone(), "hard": limit.clone()});
        }
    }
    Ok(())
}

/// Replaces each item of a list by others.
fn each(list: &mut Json, mut act: impl FnMut(Json) -> Done<Vec<Json>>) -> Done {
    if let Json::Array(items) = list {
        let mut all = Vec::new();
        for item in items.drain(..) {
            all.extend(act(item)?);
        }
        *items = all;
    }
    Ok(())
}

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// A single text as a list; numbers as texts.
fn list_of(value: &mut Json) {
    match value {
        Json::Null => {}
        Json::Array(items) => items.iter_mut().for_each(|item| *item = text(item).into()),
        other => *other = json!([text(other)]),
    }
}

/// `k=v` texts as an object of texts.
fn map_of(value: &mut Json) {
    let pairs: Map<String, Json> = match value {
        Json::Array(items) => items
            .iter()
            .map(|item| {
                let item = text(item);
                let (key, value) = item.split_once('=').unwrap_or((&item, ""));
                (key.to_owned(), value.into())
            })
            .collect(),
        Json::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), text(value).into())).collect()
        }
        _ => return,
    };
    *value = Json::Object(pairs);
}

/// Files of variables first, then the variables themselves; what has no value takes ours.
fn environment(service: &mut Json, around: &Surroundings<'_>) -> Done {
    let files = service["env_file"].take();
    let own = service["environment"].take();
    if files.is_null() && own.is_null() {
        return Ok(());
    }
    let mut all = Map::new();
    let mut set = |name: &str, value: Option<String>| {
        let value = match value {
            Some(value) if !value.is_empty() => Some(value),
            other => (around.lookup)(name).or(other),
        };
        all.insert(name.to_owned(), json!(value));
    };
    for path in files.as_array().into_iter().flatten().filter_map(Json::as_str) {
        let path = absolute(around, path);
        for (name, value) in (around.env_file)(&path)? {
            set(&name, Some(value));
        }
    }
    match own {
        Json::Array(items) => {
            for item in items {
                let item = text(&item);
                match item.split_once('=') {
                    Some((name, value)) => set(name, Some(value.to_owned())),
                    None => set(&item, None),
                }
            }
        }
        Json::Object(fields) => {
            for (name, value) in fields {
                set(&name, (!value.is_null()).then(|| text(&value)));
            }
        }
        _ => {}
    }
    service["environment"] = Json::Object(all);
    Ok(())
}

/// Names and addresses as `name:address`.
fn hosts(value: &mut Json) {
    let lines: Vec<String> = match value {
        Json::Array(items) => items.iter().map(text).collect(),
        Json::Object(fields) => {
            fields.iter().map(|(name, ip)| format!("{name}:{}", text(ip))).collect()
        }
        _ => return,
    };
    *value = lines.into();
}

fn networks(value: &mut Json) {
    let names = match value {
        Json::Array(items) => items.iter().map(|name| (text(name), json!({}))).collect(),
        Json::Object(fields) => {
            for network in fields.values_mut() {
                if network.is_null() {
                    *network = json!({});
                }
                map_of(&mut network["driver_opts"]);
                clean(network);
            }
            return;
        }
        _ => return,
    };
    *value = Json::Object(names);
}

fn port(item: Json) -> Done<Vec<Json>> {
    if let Json::Object(_) = item {
        let mut item = item;
        for (key, default) in [("mode", "ingress"), ("protocol", "tcp")] {
            if item[key].is_null() {
                item[key] = default.into();
            }
        }
        return Ok(vec![item]);
    }
    let given = text(&item);
    // An address of the host has no meaning in a cluster: docker's client drops it.
    let plain = match given.rsplit_once(':') {
        Some((before, target)) => match before.rsplit_once(':') {
            Some((_, published)) if published.is_empty() => target.to_owned(),
            Some((_, published)) => format!("{published}:{target}"),
            None => given.clone(),
        },
        None => given.clone(),
    };
    let ports = parts::port(&plain)
        .map_err(|why| format!("invalid port specification {given:?}: {why}"))?;
    let long = |port: &Json| {
        let mut long = json!({"mode": "ingress", "target": port["TargetPort"],
                              "protocol": port["Protocol"]});
        if !port["PublishedPort"].is_null() {
            long["published"] = port["PublishedPort"].clone();
        }
        long
    };
    Ok(ports.iter().map(long).collect())
}

/// Does this short form name an address of the host, which is ignored?
pub(crate) fn names_host(port: &Json) -> bool {
    port.as_str().is_some_and(|text| text.matches(':').count() > 1)
}

fn volume(item: Json, around: &Surroundings<'_>) -> Done<Json> {
    let mut mount = match item {
        Json::Object(_) => item,
        other => short_volume(&text(&other))?,
    };
    if mount["type"].is_null() {
        return Err("type is required".into());
    }
    if mount["type"] == "bind" {
        let source = mount["source"].as_str().unwrap_or_default();
        if source.is_empty() {
            return Err("invalid bind mount: source is required".into());
        }
        mount["source"] = absolute(around, source).into();
    }
    clean(&mut mount);
    Ok(mount)
}

/// Parses `[source:]target[:options]`.
fn short_volume(spec: &str) -> Done<Json> {
    let refuse = |why: &str| Err(format!("invalid spec: {spec}: {why}"));
    if spec.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    let sections: Vec<&str> = spec.split(':').collect();
    if sections.iter().any(|section| section.is_empty()) {
        return refuse("empty section between colons");
    }
    let (source, target, options) = match sections.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return refuse("too many colons"),
    };
    let is_path = source.starts_with(['.', '/', '~']);
    let kind = if is_path { "bind" } else { "volume" };
    let mut mount = json!({"type": kind, "target": target});
    if !source.is_empty() {
        mount["source"] = source.into();
    }
    for option in options.split(',') {
        match option {
            "ro" => mount["read_only"] = true.into(),
            "nocopy" => mount["volume"] = json!({"nocopy": true}),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                mount["bind"] = json!({"propagation": option});
            }
            // Others are for other platforms.
            _ => {}
        }
    }
    Ok(mount)
}

/// A path from the directory of the file; `~` is our home.
fn absolute(around: &Surroundings<'_>, path: &str) -> String {
    if let Some(rest) = path.strip_prefix('~') {
        let home = (around.lookup)("HOME").unwrap_or_default();
        return format!("{home}{rest}");
    }
    let mut clean = std::path::PathBuf::new();
    for part in std::path::Path::new(around.directory).join(path).components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean.to_string_lossy().into_owned()
}
