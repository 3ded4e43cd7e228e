//! Keys that have no effect in a cluster, each with the reason and what to do instead. Pure.

use serde_json::Value as Json;

use super::place::Fault;

const ELSEWHERE: &str = "tasks of other services may be on other nodes";
const SERVICE: [(&str, &str); 22] = [
    (
        "container_name",
        "has no effect: a service has many containers, its name is an alias of them all",
    ),
    ("build", "has no effect: build the image and push it, then name it with `image`"),
    ("cpu_count", "has no effect on Linux"),
    ("cpu_percent", "has no effect on Linux"),
    ("credential_spec", "has no effect on Linux"),
    ("domainname", "has no effect: give a whole name with `hostname`"),
    ("external_links", "has no effect: attach both services to one external network"),
    ("mac_address", "has no effect: tasks get addresses of their own"),
    ("models", "has no effect: Shoal runs no models"),
    ("post_start", "has no effect: Shoal has no hooks"),
    ("pre_stop", "has no effect: Shoal has no hooks, use `stop_signal` and `stop_grace_period`"),
    ("provider", "has no effect: Shoal runs services from images only"),
    ("pull_policy", "has no effect: nodes pull what they do not have; see `--resolve-image`"),
    (
        "pull_refresh_after",
        "has no effect: nodes pull what they do not have; see `--resolve-image`",
    ),
    ("use_api_socket", "has no effect: mount /var/run/docker.sock"),
    ("volume_driver", "has no effect: define a volume under `volumes` and give the driver there"),
    (
        "volumes_from",
        "has no effect: define a volume under `volumes` and mount it in both services",
    ),
    ("isolation", ""),
    ("develop", ""),
    ("attach", ""),
    ("expose", ""),
    ("profiles", ""),
];
const ATTACHMENT: [&str; 6] = [
    "interface_name",
    "ipv4_address",
    "ipv6_address",
    "link_local_ips",
    "mac_address",
    "gw_priority",
];

/// What a project says in vain, in the order of its services.
pub(super) fn note(content: &Json) -> Vec<Fault> {
    let mut all = Vec::new();
    for (name, service) in content["services"].as_object().into_iter().flatten() {
        let path = format!("services.{name}");
        let mut add = |key: &str, why: &str| all.push(Fault::at(format!("{path}.{key}"), why));
        for (key, why) in SERVICE {
            if !why.is_empty() && service.get(key).is_some() {
                add(key, why);
            }
        }
        for (index, link) in service["links"].as_array().into_iter().flatten().enumerate() {
            if let Some((of, alias)) = link.as_str().and_then(|link| link.split_once(':'))
                && of != alias
            {
                let why =
                    format!("has no effect: give {of:?} the alias {alias:?} in its `networks`");
                add(&format!("links.{index}"), &why);
            }
        }
        for key in ["network_mode", "ipc", "pid"] {
            let given = service[key].as_str().unwrap_or_default();
            if given.starts_with("service:") || given.starts_with("container:") {
                add(key, &format!("has no effect: {ELSEWHERE}"));
            }
        }
        for (index, port) in service["ports"].as_array().into_iter().flatten().enumerate() {
            if let Some(address) = port["host_ip"].as_str() {
                let why = format!(
                    "address {address} has no effect: the port is open on all addresses of the nodes"
                );
                add(&format!("ports.{index}"), &why);
            }
        }
        for (network, attachment) in service["networks"].as_object().into_iter().flatten() {
            for key in ATTACHMENT.iter().filter(|key| attachment.get(**key).is_some()) {
                let why = "has no effect: each task gets an address of its own";
                add(&format!("networks.{network}.{key}"), why);
            }
        }
    }
    for (name, network) in content["networks"].as_object().into_iter().flatten() {
        if is_local(network) && used(content, name) {
            let why = "has no effect: a network of one host cannot join tasks of many; `overlay` is taken";
            all.push(Fault::at(format!("networks.{name}.driver"), why));
        }
    }
    all
}

/// Whether a network asks for the driver of single hosts.
pub(super) fn is_local(network: &Json) -> bool {
    network["driver"] == "bridge"
}

fn used(content: &Json, network: &str) -> bool {
    let mut services = content["services"].as_object().into_iter().flatten();
    services.any(|(_, service)| service["networks"].get(network).is_some())
}
