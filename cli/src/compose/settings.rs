//! What a container can do beyond Docker's specs of services → Shoal's labels. Pure.

use serde_json::{Map, Value as Json, json};
use shoal_api_wire::swarm::labels::HOST;

use super::place::Fault;
use super::service::bytes;

type Done<T> = Result<T, Fault>;

/// Adds to the labels of a service those of its container's settings.
///
/// # Errors
/// A value that cannot be understood.
pub(super) fn add(labels: &mut Json, service: &Json) -> Done<()> {
    for (member, value) in members(service)? {
        // A text stands for itself.
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        labels[format!("{HOST}{member}")] = value.into();
    }
    Ok(())
}

fn members(service: &Json) -> Done<Map<String, Json>> {
    let mut all = Map::new();
    let mut set = |member: &str, value: Json| {
        let is_empty = match &value {
            Json::Null => true,
            Json::Bool(on) => !on,
            Json::String(text) => text.is_empty(),
            Json::Array(list) => list.is_empty(),
            Json::Object(fields) => fields.is_empty(),
            Json::Number(number) => number.as_i64() == Some(0),
        };
        if !is_empty {
            all.insert(member.to_owned(), value);
        }
    };
    for (member, key) in [
        ("Privileged", "privileged"),
        ("CgroupParent", "cgroup_parent"),
        ("CgroupnsMode", "cgroupns_mode"),
        ("CgroupnsMode", "cgroup"),
        ("DeviceCgroupRules", "device_cgroup_rules"),
        ("OomKillDisable", "oom_kill_disable"),
        ("Runtime", "runtime"),
        ("UTSMode", "uts"),
        ("UsernsMode", "userns_mode"),
        ("StorageOpt", "storage_opt"),
        ("Annotations", "annotations"),
    ] {
        set(member, service[key].clone());
    }
    for (member, key) in [("IpcMode", "ipc"), ("PidMode", "pid")] {
        let given = service[key].as_str().unwrap_or_default();
        if !given.starts_with("service:") && !given.starts_with("container:") {
            set(member, given.into());
        }
    }
    for (member, key) in [("CpuShares", "cpu_shares"), ("ShmSize", "shm_size")] {
        let value = &service[key];
        let parsed = match key {
            "shm_size" if !value.is_null() => bytes(value).map(Json::from),
            _ => number(value),
        };
        set(member, parsed.map_err(|why| Fault::at(key, why))?);
    }
    for (member, key) in [
        ("CpuPeriod", "cpu_period"),
        ("CpuQuota", "cpu_quota"),
        ("CpuRealtimePeriod", "cpu_rt_period"),
        ("CpuRealtimeRuntime", "cpu_rt_runtime"),
    ] {
        set(member, microseconds(&service[key]).map_err(|why| Fault::at(key, why))?);
    }
    set("CpusetCpus", Json::from(super::normal::text(&service["cpuset"])));
    set("Devices", devices(service));
    set("DeviceRequests", requests(service)?);
    set("SecurityOpt", security(service));
    set("Tmpfs", tmpfs(service));
    for (member, value) in block_io(&service["blkio_config"])? {
        set(member, value);
    }
    Ok(all)
}

fn number(value: &Json) -> Result<Json, String> {
    match value {
        Json::String(text) => crate::args::check::parse_int(text).map(Json::from),
        other => Ok(other.clone()),
    }
}

/// A number of microseconds, or a duration.
fn microseconds(value: &Json) -> Result<Json, String> {
    match value.as_str() {
        Some(text) if text.ends_with(char::is_alphabetic) => {
            Ok((crate::args::check::parse_duration(text)? / 1_000).into())
        }
        _ => number(value),
    }
}

fn devices(service: &Json) -> Json {
    let list = service["devices"].as_array().into_iter().flatten();
    list.map(|device| {
        json!({"PathOnHost": device["source"], "PathInContainer": device["target"],
               "CgroupPermissions": device["permissions"]})
    })
    .collect()
}

/// `gpus` and `deploy.resources.reservations.devices`.
fn requests(service: &Json) -> Done<Json> {
    let gpus = match &service["gpus"] {
        Json::String(all) if all == "all" => vec![json!({"capabilities": ["gpu"], "count": "all"})],
        Json::Array(list) => {
            let mut list = list.clone();
            for wanted in list.iter_mut().filter(|wanted| wanted["capabilities"].is_null()) {
                wanted["capabilities"] = json!(["gpu"]);
            }
            list
        }
        Json::Null => Vec::new(),
        _ => return Err(Fault::at("gpus", "must be `all` or a list of requests")),
    };
    let devices = &service["deploy"]["resources"]["reservations"]["devices"];
    let mut all = Vec::new();
    for wanted in gpus.iter().chain(devices.as_array().into_iter().flatten()) {
        let ids = wanted["device_ids"].clone();
        let count = match &wanted["count"] {
            Json::String(all) if all == "all" => json!(-1),
            Json::Null if ids.is_null() => json!(-1),
            Json::Null => json!(0),
            other => number(other).map_err(|why| Fault::at("gpus", why))?,
        };
        let mut request = json!({"Driver": wanted["driver"].as_str().unwrap_or_default(),
            "Count": count, "Capabilities": [wanted["capabilities"]]});
        if !ids.is_null() {
            request["DeviceIDs"] = ids;
        }
        if wanted["options"].is_object() {
            request["Options"] = wanted["options"].clone();
        }
        all.push(request);
    }
    Ok(all.into())
}

/// Whether privileges may not grow, which Docker's specs of services can say themselves.
pub(super) fn no_new_privileges(service: &Json) -> bool {
    let options = service["security_opt"].as_array().into_iter().flatten();
    options.filter_map(Json::as_str).any(|option| {
        matches!(option, "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true")
    })
}

fn security(service: &Json) -> Json {
    let options = service["security_opt"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let rest = options.filter(|option| !option.starts_with("no-new-privileges"));
    rest.map(|option| match option.split_once(':') {
        // The older form.
        Some((key, value)) if !key.contains('=') => format!("{key}={value}").into(),
        _ => Json::from(option),
    })
    .collect()
}

fn tmpfs(service: &Json) -> Json {
    let list = service["tmpfs"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let pair = |text: &str| {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        (path.to_owned(), Json::from(options))
    };
    Json::Object(list.map(pair).collect())
}

fn block_io(config: &Json) -> Done<Vec<(&'static str, Json)>> {
    let mut all = vec![("BlkioWeight", config["weight"].clone())];
    let weights = config["weight_device"].as_array().into_iter().flatten();
    let weights =
        weights.map(|device| json!({"Path": device["path"], "Weight": device["weight"]})).collect();
    all.push(("BlkioWeightDevice", weights));
    for (member, key) in [
        ("BlkioDeviceReadBps", "device_read_bps"),
        ("BlkioDeviceReadIOps", "device_read_iops"),
        ("BlkioDeviceWriteBps", "device_write_bps"),
        ("BlkioDeviceWriteIOps", "device_write_iops"),
    ] {
        let mut list = Vec::new();
        for device in config[key].as_array().into_iter().flatten() {
            let rate = bytes(&device["rate"]);
            let rate = rate.map_err(|why| Fault::at(format!("blkio_config.{key}"), why))?;
            list.push(json!({"Path": device["path"], "Rate": rate}));
        }
        all.push((member, list.into()));
    }
    Ok(all)
}
