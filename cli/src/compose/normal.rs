//! Short forms → long forms, so that everything behind sees one form of each. Pure.

use serde_json::{Map, Value as Json, json};

use super::long::{self, Done};
use super::place::Fault;
use crate::opts::service::parts;

/// Names and values, in their order.
pub(crate) type Variables = Vec<(String, String)>;

/// What the surroundings know.
pub(crate) struct Surroundings<'a> {
    /// The directory that relative paths begin in.
    pub(crate) directory: &'a str,
    pub(crate) lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Lines of a file of variables.
    pub(crate) env_file: &'a dyn Fn(&str) -> Result<Variables, String>,
    pub(crate) read: &'a dyn Fn(&str) -> Result<String, String>,
}

impl Surroundings<'_> {
    /// A path from the directory of the file; `~` is our home.
    pub(super) fn absolute(&self, path: &str) -> String {
        absolute(self.directory, (self.lookup)("HOME").as_deref(), path)
    }
}

/// A path that is read from this directory; `~` is the home.
pub(crate) fn absolute(directory: &str, home: Option<&str>, path: &str) -> String {
    if let Some(rest) = path.strip_prefix('~') {
        return format!("{}{rest}", home.unwrap_or_default());
    }
    let mut clean = std::path::PathBuf::new();
    for part in std::path::Path::new(directory).join(path).components() {
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

/// The directory of a file.
pub(crate) fn parent(path: &str) -> String {
    let parent = std::path::Path::new(path).parent();
    parent.map(|parent| parent.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Brings all objects of a file into their long form.
pub(super) fn file(file: &mut Json, around: &Surroundings<'_>) -> Done {
    for section in ["services", "networks", "volumes", "secrets", "configs"] {
        let Json::Object(objects) = &mut file[section] else {
            file[section] = json!({});
            continue;
        };
        objects.retain(|name, _| !name.starts_with("x-"));
        for (name, object) in objects {
            let path = format!("{section}.{name}");
            if object.is_null() {
                *object = json!({});
            }
            let done = match section {
                "services" => service(object, around),
                _ => shared(section, name, object, around),
            };
            done.map_err(|fault| fault.within(&path))?;
            clean(object);
        }
    }
    each(&mut file["include"], |item| {
        let mut item = if item.is_object() { item } else { json!({"path": item}) };
        list_of(&mut item["path"]);
        list_of(&mut item["env_file"]);
        clean(&mut item);
        Ok(vec![item])
    })?;
    clean(file);
    Ok(())
}

/// Drops what is not set, and what is ours to ignore.
pub(super) fn clean(object: &mut Json) {
    if let Json::Object(fields) = object {
        fields.retain(|key, value| !value.is_null() && !key.starts_with("x-"));
    }
}

fn shared(section: &str, name: &str, object: &mut Json, around: &Surroundings<'_>) -> Done {
    map_of(&mut object["labels"]);
    map_of(&mut object["driver_opts"]);
    let external = object["external"].take();
    let given = external["name"].as_str().map(str::to_owned);
    if given.is_some() && object["name"].is_string() {
        let why = "external.name and name are given: only use name";
        return Err(Fault::at("external", why));
    }
    if external == true || external.is_object() {
        let own = ["driver", "driver_opts", "labels", "internal", "file", "content", "environment"];
        if let Some(key) = own.iter().find(|key| !object[**key].is_null()) {
            return Err(Fault::at(
                *key,
                "conflicts with `external`: what exists is taken as it is",
            ));
        }
        object["external"] = true.into();
        // What `docker compose config` prints of an external network.
        if object["ipam"] == json!({}) {
            object["ipam"] = Json::Null;
        }
        let kept = object["name"].as_str().map(str::to_owned);
        object["name"] = given.or(kept).unwrap_or_else(|| name.to_owned()).into();
        return Ok(());
    }
    if section != "secrets" && section != "configs" {
        if object["ipam"].is_object() {
            clean(&mut object["ipam"]);
        }
        return Ok(());
    }
    let sources = ["file", "environment", "content", "driver"];
    let mut given = sources.iter().filter(|key| !object[**key].is_null());
    match (given.next(), given.next()) {
        (None, _) => {
            return Err(Fault::at("", "one of file, environment, content and external is needed"));
        }
        (Some(one), Some(other)) => {
            return Err(Fault::at(*other, format!("conflicts with `{one}`")));
        }
        (Some(_), None) => {}
    }
    if let Some(path) = object["file"].as_str() {
        object["file"] = around.absolute(path).into();
    }
    if let Some(name) = object["environment"].as_str() {
        let why = || Fault::at("environment", format!("variable {name} is not set"));
        object["content"] = (around.lookup)(name).ok_or_else(why)?.into();
        object["environment"] = Json::Null;
    }
    Ok(())
}

const LISTS: [&str; 20] = [
    "command",
    "entrypoint",
    "cap_add",
    "cap_drop",
    "device_cgroup_rules",
    "dns",
    "dns_opt",
    "dns_search",
    "expose",
    "external_links",
    "group_add",
    "label_file",
    "links",
    "profiles",
    "security_opt",
    "tmpfs",
    "volumes_from",
    "post_start",
    "pre_stop",
    "env_file",
];

fn service(service: &mut Json, around: &Surroundings<'_>) -> Done {
    for key in ["command", "entrypoint"] {
        if let Some(text) = service[key].as_str() {
            let words = parts::words(text).map_err(|why| Fault::at(key, why))?;
            service[key] = json!(words);
        }
    }
    if let Some(files) = service["env_file"].as_array_mut() {
        keep_required(files, around);
    }
    for key in LISTS {
        list_of(&mut service[key]);
    }
    environment(service, around)?;
    labels(service, around)?;
    for key in ["sysctls", "annotations", "storage_opt"] {
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
    if let Some(of) = service["extends"].as_str() {
        service["extends"] = json!({"service": of});
    }
    if let Some(file) = service["extends"]["file"].as_str() {
        service["extends"]["file"] = around.absolute(file).into();
    }
    clean(&mut service["extends"]);
    hosts(&mut service["extra_hosts"]);
    dependencies(&mut service["depends_on"]);
    if let Some(test) = service["healthcheck"].get_mut("test")
        && let Some(command) = test.as_str()
    {
        *test = json!(["CMD-SHELL", command]);
    }
    networks(&mut service["networks"]);
    for key in ["secrets", "configs"] {
        each(&mut service[key], long::reference).map_err(|fault| fault.within(key))?;
    }
    each(&mut service["ports"], long::port).map_err(|fault| fault.within("ports"))?;
    each(&mut service["volumes"], |item| Ok(vec![long::volume(item, around)?]))
        .map_err(|fault| fault.within("volumes"))?;
    each(&mut service["devices"], long::device).map_err(|fault| fault.within("devices"))?;
    if let Json::Object(limits) = &mut service["ulimits"] {
        for limit in limits.values_mut().filter(|limit| limit.is_number()) {
            *limit = json!({"soft": limit.clone(), "hard": limit.clone()});
        }
    }
    profiles(service, around)
}

/// Profiles of seccomp are files here, not on the nodes: their content goes there.
fn profiles(service: &mut Json, around: &Surroundings<'_>) -> Done {
    for option in service["security_opt"].as_array_mut().into_iter().flatten() {
        let text = option.as_str().unwrap_or_default();
        let Some(path) = text.strip_prefix("seccomp=").or_else(|| text.strip_prefix("seccomp:"))
        else {
            continue;
        };
        if matches!(path, "unconfined" | "builtin") || path.starts_with('{') {
            continue;
        }
        let path = around.absolute(path);
        let text = (around.read)(&path).map_err(|why| Fault::at("security_opt", why))?;
        let profile: Json = serde_json::from_str(&text)
            .map_err(|why| Fault::at("security_opt", format!("{path} is no JSON: {why}")))?;
        *option = format!("seccomp={profile}").into();
    }
    Ok(())
}

/// Files of variables by their paths, without those that may be missing and are.
fn keep_required(files: &mut Vec<Json>, around: &Surroundings<'_>) {
    files.retain(|file| {
        let path = file["path"].as_str().unwrap_or_default();
        file["required"] != false || (around.read)(&around.absolute(path)).is_ok()
    });
    for file in files.iter_mut().filter(|file| file.is_object()) {
        *file = file["path"].take();
    }
}

/// Replaces each item of a list by others.
fn each(list: &mut Json, mut act: impl FnMut(Json) -> Done<Vec<Json>>) -> Done {
    if let Json::Array(items) = list {
        let mut all = Vec::new();
        for (index, item) in items.drain(..).enumerate() {
            all.extend(act(item).map_err(|fault| fault.within(&index.to_string()))?);
        }
        *items = all;
    }
    Ok(())
}

/// A scalar as a text.
pub(super) fn text(value: &Json) -> String {
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
        Json::Array(items) => {
            items
                .iter_mut()
                .filter(|item| !item.is_object())
                .for_each(|item| *item = text(item).into());
        }
        other => *other = json!([text(other)]),
    }
}

/// `k=v` texts as an object of texts.
pub(super) fn map_of(value: &mut Json) {
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

/// Files of labels first, then the labels themselves.
fn labels(service: &mut Json, around: &Surroundings<'_>) -> Done {
    let mut all = Map::new();
    let files = service["label_file"].take();
    for path in files.as_array().into_iter().flatten().filter_map(Json::as_str) {
        let pairs = (around.env_file)(&around.absolute(path));
        let pairs = pairs.map_err(|why| Fault::at("label_file", why))?;
        all.extend(pairs.into_iter().map(|(name, value)| (name, value.into())));
    }
    map_of(&mut service["labels"]);
    if let Json::Object(own) = service["labels"].take() {
        all.extend(own);
    }
    if !all.is_empty() {
        service["labels"] = Json::Object(all);
    }
    Ok(())
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
        let path = around.absolute(path);
        for (name, value) in (around.env_file)(&path).map_err(|why| Fault::at("env_file", why))? {
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
    let line = |text: String| match text.split_once('=') {
        Some((name, ip)) if !name.contains(':') => format!("{name}:{ip}"),
        _ => text,
    };
    let lines: Vec<String> = match value {
        Json::Array(items) => items.iter().map(|item| line(text(item))).collect(),
        Json::Object(fields) => {
            let of = |(name, ips): (&String, &Json)| -> Vec<String> {
                let one = |ip: &Json| format!("{name}:{}", text(ip));
                ips.as_array().map_or_else(|| vec![one(ips)], |ips| ips.iter().map(one).collect())
            };
            fields.iter().flat_map(of).collect()
        }
        _ => return,
    };
    *value = lines.into();
}

/// Names of services as objects that say what of each is waited for.
fn dependencies(value: &mut Json) {
    let mut all = Map::new();
    match value {
        Json::Array(items) => all.extend(items.iter().map(|name| (text(name), json!({})))),
        Json::Object(fields) => all.extend(std::mem::take(fields)),
        _ => return,
    }
    for wanted in all.values_mut() {
        if wanted.is_null() {
            *wanted = json!({});
        }
        for (key, default) in [("condition", "service_started".into()), ("required", true.into())] {
            if wanted[key].is_null() {
                wanted[key] = default;
            }
        }
    }
    *value = Json::Object(all);
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
