//! What a Compose file may say: the keys of each section and the shapes of their values. Pure.
//!
//! Source: the Compose file reference, version 3.13, which is what stacks are made from.

use serde_json::Value as Json;

/// The shape of a value.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Any,
    Text,
    Int,
    /// A number or a text, as for sizes and versions.
    NumberOrText,
    Number,
    Switch,
    /// Texts and numbers.
    List,
    TextOrList,
    /// `k=v` texts or an object of scalars.
    ListOrMap,
    /// A list or a single text; or of objects with these keys.
    ListOf(&'static [(&'static str, Shape)]),
    Map(&'static [(&'static str, Shape)]),
    /// An object whose keys are names.
    Named(&'static Shape),
    /// An integer or an object.
    IntOr(&'static Shape),
    /// An object or nothing, or a list of names.
    NamesOr(&'static Shape),
    /// A switch or an object.
    SwitchOr(&'static Shape),
}

use Shape::*;

type Keys = &'static [(&'static str, Shape)];

const ROOT: Keys = &[
    ("version", NumberOrText),
    ("services", Named(&Map(SERVICE))),
    ("networks", Named(&Map(NETWORK))),
    ("volumes", Named(&Map(VOLUME))),
    ("secrets", Named(&Map(SECRET))),
    ("configs", Named(&Map(CONFIG))),
];
const UPDATE: Keys = &[
    ("parallelism", Int),
    ("delay", Text),
    ("failure_action", Text),
    ("monitor", Text),
    ("max_failure_ratio", Number),
    ("order", Text),
];
const DISCRETE: Keys = &[("kind", Text), ("value", Number)];
const DEPLOY: Keys = &[
    ("mode", Text),
    ("endpoint_mode", Text),
    ("replicas", Int),
    ("labels", ListOrMap),
    ("update_config", Map(UPDATE)),
    ("rollback_config", Map(UPDATE)),
    (
        "resources",
        Map(&[
            ("limits", Map(&[("cpus", NumberOrText), ("memory", NumberOrText), ("pids", Int)])),
            (
                "reservations",
                Map(&[
                    ("cpus", NumberOrText),
                    ("memory", NumberOrText),
                    ("generic_resources", ListOf(&[("discrete_resource_spec", Map(DISCRETE))])),
                ]),
            ),
        ]),
    ),
    (
        "restart_policy",
        Map(&[("condition", Text), ("delay", Text), ("max_attempts", Int), ("window", Text)]),
    ),
    (
        "placement",
        Map(&[
            ("constraints", List),
            ("preferences", ListOf(&[("spread", Text)])),
            ("max_replicas_per_node", Int),
        ]),
    ),
];
const PORT: Keys = &[("mode", Text), ("target", Int), ("published", Int), ("protocol", Text)];
const MOUNT: Keys = &[
    ("type", Text),
    ("source", Text),
    ("target", Text),
    ("read_only", Switch),
    ("consistency", Text),
    ("bind", Map(&[("propagation", Text), ("create_host_path", Switch)])),
    ("volume", Map(&[("nocopy", Switch), ("subpath", Text)])),
    ("tmpfs", Map(&[("size", NumberOrText)])),
    ("image", Map(&[("subpath", Text)])),
    ("cluster", Any),
];
const FILE: Keys =
    &[("source", Text), ("target", Text), ("uid", Text), ("gid", Text), ("mode", Int)];
const SERVICE: Keys = &[
    ("build", Any),
    ("cap_add", List),
    ("cap_drop", List),
    ("cgroup_parent", Text),
    ("cgroupns_mode", Text),
    ("command", TextOrList),
    ("configs", ListOf(FILE)),
    ("container_name", Text),
    ("cpu_quota", NumberOrText),
    ("cpu_shares", NumberOrText),
    ("cpuset", Text),
    ("credential_spec", Map(&[("config", Text), ("file", Text), ("registry", Text)])),
    ("depends_on", List),
    ("deploy", Map(DEPLOY)),
    ("devices", List),
    ("dns", TextOrList),
    ("dns_search", TextOrList),
    ("domainname", Text),
    ("entrypoint", TextOrList),
    ("env_file", TextOrList),
    ("environment", ListOrMap),
    ("expose", List),
    ("extends", Any),
    ("external_links", List),
    ("extra_hosts", ListOrMap),
    (
        "healthcheck",
        Map(&[
            ("disable", Switch),
            ("interval", Text),
            ("retries", Number),
            ("start_interval", Text),
            ("start_period", Text),
            ("test", TextOrList),
            ("timeout", Text),
        ]),
    ),
    ("hostname", Text),
    ("image", Text),
    ("init", Switch),
    ("ipc", Text),
    ("isolation", Text),
    ("labels", ListOrMap),
    ("links", List),
    ("logging", Map(&[("driver", Text), ("options", ListOrMap)])),
    ("mac_address", Text),
    ("mem_limit", NumberOrText),
    ("memswap_limit", NumberOrText),
    ("network_mode", Text),
    (
        "networks",
        NamesOr(&Map(&[
            ("aliases", List),
            ("driver_opts", ListOrMap),
            ("ipv4_address", Text),
            ("ipv6_address", Text),
        ])),
    ),
    ("oom_score_adj", Int),
    ("pid", Text),
    ("ports", ListOf(PORT)),
    ("privileged", Switch),
    ("read_only", Switch),
    ("restart", Text),
    ("secrets", ListOf(FILE)),
    ("security_opt", List),
    ("shm_size", NumberOrText),
    ("stdin_open", Switch),
    ("stop_grace_period", Text),
    ("stop_signal", Text),
    ("sysctls", ListOrMap),
    ("tmpfs", TextOrList),
    ("tty", Switch),
    ("ulimits", Named(&IntOr(&Map(&[("hard", Int), ("soft", Int)])))),
    ("user", Text),
    ("userns_mode", Text),
    ("volume_driver", Text),
    ("volumes", ListOf(MOUNT)),
    ("volumes_from", List),
    ("working_dir", Text),
];
const EXTERNAL: Shape = SwitchOr(&Map(&[("name", Text)]));
const NETWORK: Keys = &[
    ("name", Text),
    ("driver", Text),
    ("driver_opts", ListOrMap),
    ("ipam", Map(&[("driver", Text), ("config", ListOf(&[("subnet", Text)])), ("options", Any)])),
    ("external", EXTERNAL),
    ("internal", Switch),
    ("attachable", Switch),
    ("labels", ListOrMap),
];
const VOLUME: Keys = &[
    ("name", Text),
    ("driver", Text),
    ("driver_opts", ListOrMap),
    ("external", EXTERNAL),
    ("labels", ListOrMap),
];
const SECRET: Keys = &[
    ("name", Text),
    ("file", Text),
    ("external", EXTERNAL),
    ("labels", ListOrMap),
    ("driver", Text),
    ("driver_opts", ListOrMap),
    ("template_driver", Text),
];
const CONFIG: Keys = &[
    ("name", Text),
    ("file", Text),
    ("external", EXTERNAL),
    ("labels", ListOrMap),
    ("template_driver", Text),
];

/// Checks a file.
pub(crate) fn check(file: &Json) -> Result<(), String> {
    match file {
        Json::Object(_) => shape(file, Map(ROOT), ""),
        Json::Null => Err("empty compose file".into()),
        _ => Err("top-level object must be a mapping".into()),
    }
}

fn shape(value: &Json, wanted: Shape, path: &str) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("{path} must be a {what}"));
    let is_text_list = |value: &Json| {
        value
            .as_array()
            .is_some_and(|list| list.iter().all(|item| item.is_string() || item.is_number()))
    };
    match wanted {
        _ if value.is_null() && !matches!(wanted, Int | Number | List) => Ok(()),
        Text if !value.is_string() => refuse("string"),
        Int if !value.is_i64() && !value.is_u64() => Err(format!("{path} must be an integer")),
        Number if !value.is_number() => refuse("number"),
        NumberOrText if !value.is_number() && !value.is_string() => refuse("string"),
        Switch if !value.is_boolean() => refuse("boolean"),
        List if !is_text_list(value) => refuse("list"),
        TextOrList if !value.is_string() && !is_text_list(value) => refuse("string or list"),
        ListOrMap => match value {
            Json::Object(fields) if fields.values().all(|v| !v.is_object() && !v.is_array()) => {
                Ok(())
            }
            Json::Array(_) if is_text_list(value) => Ok(()),
            _ => refuse("mapping or list"),
        },
        ListOf(keys) => match value.as_array() {
            None => refuse("list"),
            Some(list) => list.iter().enumerate().try_for_each(|(index, item)| match item {
                Json::Object(_) => shape(item, Map(keys), &format!("{path}.{index}")),
                Json::String(_) | Json::Number(_) => Ok(()),
                _ => Err(format!("{path}.{index} must be a string or a mapping")),
            }),
        },
        Map(keys) => map(value, keys, path),
        Named(inner) => match value.as_object() {
            None => refuse("mapping"),
            Some(fields) => fields.iter().filter(|(key, _)| !key.starts_with("x-")).try_for_each(
                |(key, value)| {
                    named(key, path)?;
                    shape(value, *inner, &format!("{path}.{key}"))
                },
            ),
        },
        IntOr(_) if value.is_i64() => Ok(()),
        NamesOr(_) if is_text_list(value) => Ok(()),
        SwitchOr(_) if value.is_boolean() => Ok(()),
        NamesOr(inner) => shape(value, Named(inner), path),
        IntOr(inner) | SwitchOr(inner) => shape(value, *inner, path),
        Any | Text | Int | Number | NumberOrText | Switch | List | TextOrList => Ok(()),
    }
}

fn named(key: &str, path: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !key.is_empty() && key.chars().all(good) {
        return Ok(());
    }
    Err(format!("{path} Additional property {key} is not allowed"))
}

fn map(value: &Json, keys: Keys, path: &str) -> Result<(), String> {
    let Some(fields) = value.as_object() else { return Err(format!("{path} must be a mapping")) };
    for (key, value) in fields {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match keys.iter().find(|(known, _)| known == key) {
            Some((_, wanted)) => shape(value, *wanted, &inner)?,
            None if key.starts_with("x-") && !path.contains(".deploy") => {}
            None => {
                let place = if path.is_empty() { "(root)" } else { path };
                return Err(format!("{place} Additional property {key} is not allowed"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn checked(text: &str, expected: &str) {
        let shown = check(&super::super::yaml::parse(text).unwrap()).err().unwrap_or_default();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn good_files_pass_and_bad_ones_are_named() {
        checked("services: {web: {image: x, x-foo: 1, deploy: {replicas: 2}}}\nx-a: [1]", "");
        checked("services: {web: {networks: [a], ulimits: {nofile: 5}}}\nvolumes: {v: }", "");
        checked("name: x\nservices: {}", "(root) Additional property name is not allowed");
        checked(
            "services: {web: {gpus: all}}",
            "services.web Additional property gpus is not allowed",
        );
        checked("services: {web: {depends_on: {a: }}}", "services.web.depends_on must be a list");
        checked(
            "services: {web: {ports: [{target: 80, published: \"80\"}]}}",
            "services.web.ports.0.published must be an integer",
        );
        checked("services: {web: {tty: 1}}", "services.web.tty must be a boolean");
        checked(
            "services: {web: {deploy: {x-a: 1}}}",
            "services.web.deploy Additional property x-a is not allowed",
        );
        checked("", "empty compose file");
    }
}
