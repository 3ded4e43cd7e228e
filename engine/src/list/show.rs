//! Rows of a list and the whole of an inspect, from a container's picture. Pure.

use std::collections::BTreeMap;

use shoal_model::container::{
    ContainerDetails, ContainerNetwork, ContainerPaths, ContainerSummary, MountPoint,
    MountPointKind, Propagation,
};
use shoal_model::network::{Endpoint, PublishedPort};

use crate::container::Container;
use crate::container::view::View;
use crate::core::Core;
use crate::networking::{EndpointSettings, NetworkSettings};
use crate::{exec, logs};

/// One row of a list.
pub(crate) fn summary(core: &Core, view: &View) -> ContainerSummary {
    let record = &view.record;
    let command = std::iter::once(record.path.clone()).chain(record.args.iter().cloned());
    ContainerSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        link_names: Vec::new(),
        image: shown_image(core, view),
        image_id: record.image,
        command: command.collect(),
        created: record.created,
        state: view.state.clone(),
        labels: record.spec.labels.clone(),
        ports: ports(view),
        network_mode: record.spec.host.network_mode.clone(),
        annotations: record.spec.host.annotations.clone(),
        endpoints: endpoints(view),
        mounts: mount_points(view),
        size: None,
    }
}

/// The name of the image, or its id when that name means another image now.
fn shown_image(core: &Core, view: &View) -> String {
    let record = &view.record;
    match &record.image {
        Some(id) if !core.images.is_ancestor(&record.spec.image, id) => id.to_string(),
        _ => record.spec.image.clone(),
    }
}

/// Everything about one container.
pub(crate) fn details(core: &Core, container: &Container) -> ContainerDetails {
    let view = container.view();
    let record = &view.record;
    let directory = &container.paths.directory;
    let shown = |name: &str| {
        let path = directory.join(name);
        if path.exists() { path.display().to_string() } else { String::new() }
    };
    ContainerDetails {
        id: record.id.clone(),
        name: record.name.clone(),
        created: record.created,
        spec: record.spec.clone(),
        image_id: record.image,
        path: record.path.clone(),
        args: record.args.clone(),
        state: view.state.clone(),
        restart_count: record.restart_count,
        paths: ContainerPaths {
            resolv_conf: shown("resolv.conf"),
            hostname: shown("hostname"),
            hosts: shown("hosts"),
            log: logs::sinks::shown_path(&record.spec, directory),
        },
        graph: core.images.graph(&record.id),
        platform: "linux".to_owned(),
        mount_label: String::new(),
        process_label: String::new(),
        apparmor_profile: String::new(),
        execs: exec::of_container(core, &record.id),
        mounts: mount_points(&view),
        network: network(&view),
        size: None,
    }
}

fn network(view: &View) -> ContainerNetwork {
    let settings = view.network.as_deref();
    let sandbox = settings.and_then(|settings| settings.sandbox.as_ref());
    ContainerNetwork {
        sandbox_id: settings.map(|settings| settings.sandbox_id.clone()).unwrap_or_default(),
        sandbox_key: sandbox.map(|path| path.display().to_string()).unwrap_or_default(),
        endpoints: endpoints(view),
        ports: if settings.is_some() { ports(view) } else { Vec::new() },
    }
}

/// The endpoints of the record, with the addresses they have now.
fn endpoints(view: &View) -> BTreeMap<String, Endpoint> {
    let mut endpoints = view.record.endpoints.clone();
    for (name, settings) in view.network.iter().flat_map(|network| &network.endpoints) {
        endpoints.insert(name.clone(), endpoint(settings));
    }
    endpoints
}

/// An endpoint as the model has it.
pub(crate) fn endpoint(settings: &EndpointSettings) -> Endpoint {
    Endpoint {
        spec: settings.spec.clone(),
        network_id: settings.network.to_string(),
        endpoint_id: settings.endpoint.clone(),
        ipv4: settings.ipv4,
        gateway: settings.gateway,
        ipv6: settings.ipv6,
        gateway_ipv6: settings.ipv6_gateway,
        mac_address: settings.mac_address.clone(),
        dns_names: settings.dns_names.clone(),
    }
}

/// Exposed and published ports. While it does not run: what its spec exposes.
pub(crate) fn ports(view: &View) -> Vec<PublishedPort> {
    match &view.network {
        Some(network) => published(network),
        None => {
            let spec = &view.record.spec;
            let keys = spec.exposed_ports.iter().chain(spec.host.port_bindings.keys());
            let mut ports: Vec<PublishedPort> = keys.filter_map(|key| exposed(key)).collect();
            ports.sort();
            ports.dedup();
            ports
        }
    }
}

fn published(network: &NetworkSettings) -> Vec<PublishedPort> {
    let mut ports = Vec::new();
    for (key, bindings) in &network.ports {
        let Some(port) = exposed(key) else { continue };
        if bindings.is_empty() {
            ports.push(port);
            continue;
        }
        ports.extend(bindings.iter().map(|binding| PublishedPort {
            host_ip: Some(binding.host_ip),
            host_port: Some(binding.host_port),
            ..port.clone()
        }));
    }
    // The bindings of a port stay in their order: clients take the first one.
    ports.sort_by(|a, b| (a.container_port, &a.protocol).cmp(&(b.container_port, &b.protocol)));
    ports
}

fn exposed(key: &str) -> Option<PublishedPort> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    Some(PublishedPort {
        container_port: port.parse().ok()?,
        protocol: protocol.to_owned(),
        host_ip: None,
        host_port: None,
    })
}

fn mount_points(view: &View) -> Vec<MountPoint> {
    crate::mounts::points(&view.record.mounts).into_iter().map(mount_point).collect()
}

fn mount_point(point: crate::mounts::MountPoint) -> MountPoint {
    MountPoint {
        kind: match point.kind.as_str() {
            "bind" => MountPointKind::Bind,
            "volume" => MountPointKind::Volume,
            "tmpfs" => MountPointKind::Tmpfs,
            _ => MountPointKind::Image,
        },
        name: point.name,
        source: point.source,
        destination: point.destination,
        driver: point.driver,
        mode: point.mode,
        writable: point.writable,
        propagation: Propagation::parse(&point.propagation),
    }
}
