//! What container a task asks for. Pure.
//!
//! Source: moby `daemon/cluster/executor/container/container.go`.

use std::collections::BTreeMap;

use shoal_model::cluster::node::GenericResource;
use shoal_model::cluster::service::{PortConfig, PublishMode};
use shoal_model::cluster::task::{NetworkAttachment, Privileges, Task};
use shoal_model::cluster::{ClusterNetwork, NodeId};
use shoal_model::container::{
    BindOptions, ContainerSpec, CreateRequest, EndpointSpec, Mount, MountKind, NetworkMode,
    PortBinding, RestartPolicy,
};

/// Label of the task's id, by which its container is found.
pub(super) const TASK_ID: &str = "com.docker.swarm.task.id";

/// A directory or file made for the task that its container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// On the host.
    pub(super) source: String,
    /// In the container.
    pub(super) target: String,
}

/// The name of a task: `service.slot`, or `service.node` without slots.
fn task_name(task: &Task) -> String {
    let place = match (task.shown_slot(), task.node) {
        (0, Some(node)) => node.to_string(),
        (slot, _) => slot.to_string(),
    };
    format!("{}.{place}", task.annotations.name)
}

/// Docker's name of a task's container.
pub(super) fn name(task: &Task) -> String {
    format!("{}.{}", task_name(task), task.id)
}

/// The container of `task` on `node`. `networks` are those the task is attached to.
pub(super) fn request(
    task: &Task,
    node: NodeId,
    networks: &[std::sync::Arc<ClusterNetwork>],
    shown: Vec<Shown>,
) -> CreateRequest {
    let spec = &task.spec;
    let mut container = spec.container.clone();
    container.labels.extend(labels(task, node));
    container.env.extend(generic_env(&task.generic));
    container.stop_timeout = spec.stop_grace_period.map(|grace| {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        i64::try_from(seconds).unwrap_or(i64::MAX)
    });
    limits(task, &mut container);
    if let Some(privileges) = &spec.privileges {
        container.host.security_opt.extend(security(privileges));
    }
    container.host.log = spec.log.clone().or(container.host.log);
    // The cluster decides what follows the end of a task.
    container.host.restart_policy = RestartPolicy::No;
    container.host.auto_remove = false;
    container.host.mounts.extend(shown.into_iter().map(read_only));
    ports(task, &mut container);
    attach(task, networks, &mut container);
    CreateRequest { name: Some(name(task)), platform: None, spec: container }
}

fn labels(task: &Task, node: NodeId) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("com.docker.swarm.task".to_owned(), String::new()),
        (TASK_ID.to_owned(), task.id.to_string()),
        ("com.docker.swarm.task.name".to_owned(), name(task)),
        ("com.docker.swarm.node.id".to_owned(), node.to_string()),
    ]);
    if let Some(service) = task.service {
        labels.insert("com.docker.swarm.service.id".to_owned(), service.to_string());
        let name = task.annotations.name.clone();
        labels.insert("com.docker.swarm.service.name".to_owned(), name);
    }
    labels
}

/// `DOCKER_RESOURCE_GPU=a,b` for each kind of resource that was given.
fn generic_env(resources: &[GenericResource]) -> Vec<String> {
    let mut kinds = BTreeMap::<String, Vec<String>>::new();
    for resource in resources {
        let (kind, value) = match resource {
            GenericResource::Discrete { kind, value } => (kind, value.to_string()),
            GenericResource::Named { kind, value } => (kind, value.clone()),
        };
        kinds.entry(kind.to_uppercase()).or_default().push(value);
    }
    kinds
        .into_iter()
        .map(|(kind, values)| format!("DOCKER_RESOURCE_{kind}={}", values.join(",")))
        .collect()
}

fn limits(task: &Task, container: &mut ContainerSpec) {
    let Some(resources) = &task.spec.resources else { return };
    let host = &mut container.host.resources;
    if let Some(limits) = &resources.limits {
        host.nano_cpus = limits.nano_cpus;
        host.memory = limits.memory;
        host.pids_limit = (limits.pids > 0).then_some(limits.pids);
    }
    if let Some(reservations) = &resources.reservations {
        host.memory_reservation = reservations.memory;
    }
    match resources.swap_bytes {
        Some(swap) if swap < 0 => host.memory_swap = -1,
        Some(swap) if host.memory > 0 => host.memory_swap = host.memory.saturating_add(swap),
        _ => {}
    }
    host.memory_swappiness = resources.memory_swappiness.or(host.memory_swappiness);
}

fn security(privileges: &Privileges) -> Vec<String> {
    let mut options = Vec::new();
    if privileges.no_new_privileges {
        options.push("no-new-privileges=true".to_owned());
    }
    match privileges.seccomp_mode.as_deref() {
        Some("unconfined") => options.push("seccomp=unconfined".to_owned()),
        Some("custom") => options
            .push(format!("seccomp={}", String::from_utf8_lossy(&privileges.seccomp_profile))),
        _ => {}
    }
    if privileges.apparmor_mode.as_deref() == Some("disabled") {
        options.push("apparmor=unconfined".to_owned());
    }
    if let Some(selinux) = &privileges.selinux {
        let label =
            |key: &str, value: &String| (!value.is_empty()).then(|| format!("label={key}:{value}"));
        options.extend(selinux.disable.then(|| "label=disable".to_owned()));
        options.extend(label("user", &selinux.user));
        options.extend(label("role", &selinux.role));
        options.extend(label("type", &selinux.kind));
        options.extend(label("level", &selinux.level));
    }
    options
}

fn read_only(shown: Shown) -> Mount {
    Mount {
        kind: MountKind::Bind { source: shown.source, options: BindOptions::default() },
        target: shown.target,
        read_only: true,
        consistency: String::new(),
    }
}

/// Ports that the task publishes on its own node.
pub(super) fn host_ports(task: &Task) -> impl Iterator<Item = &PortConfig> {
    let ports = task.endpoint.as_ref().map(|endpoint| endpoint.ports.as_slice());
    ports.unwrap_or_default().iter().filter(|port| port.mode == PublishMode::Host)
}

fn ports(task: &Task, container: &mut ContainerSpec) {
    for port in host_ports(task) {
        let key = format!("{}/{}", port.target, port.protocol.as_str());
        container.exposed_ports.insert(key.clone());
        let number = if port.published == 0 { String::new() } else { port.published.to_string() };
        let binding = PortBinding { host_ip: None, host_port: number };
        container.host.port_bindings.entry(key).or_default().push(binding);
    }
}

/// Networks of the cluster by name with the addresses given; `host`, `none` and `bridge` of the node as they are.
fn attach(task: &Task, networks: &[std::sync::Arc<ClusterNetwork>], container: &mut ContainerSpec) {
    let find = |attachment: &NetworkAttachment| {
        networks.iter().find(|network| network.id == attachment.network)
    };
    for attachment in &task.networks {
        let Some(network) = find(attachment) else { continue };
        let name = &network.spec.name;
        let of_node = network.predefined && !network.spec.ingress;
        let mode = match name.as_str() {
            "host" if of_node => NetworkMode::Host,
            "none" if of_node => NetworkMode::None,
            "bridge" if of_node => NetworkMode::Bridge,
            _ => NetworkMode::Named(name.clone()),
        };
        if container.host.network_mode == NetworkMode::Default {
            container.host.network_mode = mode;
        }
        if of_node {
            continue;
        }
        let address = |want_v4: bool| {
            attachment
                .addresses
                .iter()
                .map(|prefix| prefix.address)
                .find(|a| a.is_ipv4() == want_v4)
        };
        let endpoint = EndpointSpec {
            ipv4: address(true).and_then(|address| match address {
                std::net::IpAddr::V4(address) => Some(address),
                std::net::IpAddr::V6(_) => None,
            }),
            ipv6: address(false).and_then(|address| match address {
                std::net::IpAddr::V6(address) => Some(address),
                std::net::IpAddr::V4(_) => None,
            }),
            // Aliases are names of the service, which the view tells.
            aliases: Vec::new(),
            driver_opts: attachment.driver_opts.clone(),
            ..EndpointSpec::default()
        };
        container.endpoints.insert(name.clone(), endpoint);
    }
}
