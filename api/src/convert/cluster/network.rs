//! Networks of the cluster, to the wire: as networks, and as parts of tasks.

use std::collections::BTreeMap;

use shoal_api_wire::network as wire;
use shoal_api_wire::swarm::{Driver, task};
use shoal_model::cluster::ClusterNetwork;
use shoal_model::cluster::view::ViewShown;
use shoal_model::filters::{NetworkFilters, all_labels};
use shoal_model::network::IpamPool;

use super::{labels_out, meta, some_list, some_map};
use crate::convert::time;

fn pools(network: &ClusterNetwork) -> &[IpamPool] {
    match &network.allocation {
        Some(allocation) if !allocation.pools.is_empty() => &allocation.pools,
        _ => &network.spec.ipam.pools,
    }
}

fn configs(network: &ClusterNetwork) -> Option<Vec<wire::IpamConfig>> {
    let config = |pool: &IpamPool| wire::IpamConfig {
        subnet: pool.subnet.clone(),
        ip_range: pool.ip_range.clone(),
        gateway: pool.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: some_map(&pool.auxiliary),
    };
    some_list(&pools(network).iter().map(config).collect::<Vec<_>>())
}

fn driver(network: &ClusterNetwork) -> String {
    match (&network.allocation, network.spec.driver.as_str()) {
        (Some(allocation), _) if !allocation.driver.is_empty() => allocation.driver.clone(),
        (_, "") => "overlay".to_owned(),
        (_, driver) => driver.to_owned(),
    }
}

/// The driver's options with those that the allocator chose.
fn options(network: &ClusterNetwork) -> BTreeMap<String, String> {
    let mut options = network.spec.options.clone();
    if let Some(allocation) = network.allocation.as_ref().filter(|allocation| allocation.vni != 0) {
        let key = "com.docker.network.driver.overlay.vxlanid_list";
        options.insert(key.to_owned(), allocation.vni.to_string());
    }
    options
}

/// As `GET /networks` shows it.
pub(crate) fn network(network: &ClusterNetwork) -> wire::Network {
    let spec = &network.spec;
    let ipam_driver = if spec.ipam.driver.is_empty() { "default" } else { &spec.ipam.driver };
    wire::Network {
        name: spec.name.clone(),
        id: network.id.to_string(),
        created: time::rfc3339(network.meta.created),
        scope: "swarm".to_owned(),
        driver: driver(network),
        enable_ipv4: spec.enable_ipv4.unwrap_or(true),
        enable_ipv6: spec.enable_ipv6.unwrap_or(false),
        ipam: wire::Ipam {
            driver: ipam_driver.to_owned(),
            options: spec.ipam.options.clone(),
            config: configs(network),
        },
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        config_from: wire::ConfigReference { network: spec.config_from.clone() },
        config_only: spec.config_only,
        containers: None,
        options: options(network),
        labels: spec.labels.clone(),
        ..wire::Network::default()
    }
}

/// With who is on it, as `verbose` asks for. Peers carry version and digest of their views; a task that is there and
/// gets no connections is marked.
///
/// Source: moby `daemon/network.go` buildDetailedNetworkResources.
pub(crate) fn verbose(network: &ClusterNetwork, shown: &ViewShown) -> wire::Network {
    let peers = shown.nodes.iter().map(|node| wire::Peer {
        name: node.node.to_string(),
        ip: node.data_path.map(|address| address.to_string()).unwrap_or_default(),
        view_version: node.version,
        view_digest: node.digest.clone(),
    });
    let mut services = BTreeMap::<String, wire::ServiceInfo>::new();
    for service in &shown.view.services {
        let vip = service.virtual_ips.first().map(ToString::to_string).unwrap_or_default();
        services.insert(service.name.clone(), wire::ServiceInfo { vip, ..Default::default() });
    }
    for endpoint in &shown.view.endpoints {
        let service = shown.view.services.iter().find(|one| Some(one.id) == endpoint.service);
        let name = service.map(|service| service.name.clone()).unwrap_or_default();
        let mut info = BTreeMap::new();
        if let Some(host) = endpoint.data_path {
            info.insert("Host IP".to_owned(), host.to_string());
        }
        if !endpoint.healthy {
            info.insert("State".to_owned(), "no connections".to_owned());
        }
        let addresses: Vec<String> =
            endpoint.addresses.iter().map(|prefix| prefix.address.to_string()).collect();
        services.entry(name).or_default().tasks.push(wire::ServiceTask {
            name: endpoint.name.clone(),
            endpoint_id: endpoint.task.to_string(),
            endpoint_ip: addresses.join(" "),
            info,
        });
    }
    wire::Network {
        peers: Some(peers.collect()),
        services: Some(services),
        ..self::network(network)
    }
}

/// As part of a task.
pub(crate) fn in_task(network: &ClusterNetwork) -> task::Network {
    let spec = &network.spec;
    let ipam = task::IpamOptions {
        driver: Driver { name: "default".to_owned(), options: None },
        configs: configs(network),
    };
    task::Network {
        id: network.id.to_string(),
        meta: meta(&network.meta),
        spec: task::NetworkSpec {
            name: spec.name.clone(),
            labels: labels_out(&spec.labels),
            driver_configuration: Some(Driver {
                name: spec.driver.clone(),
                options: some_map(&spec.options),
            })
            .filter(|driver| *driver != Driver::default()),
            ipv6_enabled: spec.enable_ipv6.unwrap_or(false),
            internal: spec.internal,
            attachable: spec.attachable,
            ingress: spec.ingress,
            ipam_options: Some(ipam.clone()),
            scope: "swarm".to_owned(),
        },
        driver_state: Driver { name: driver(network), options: some_map(&options(network)) },
        ipam_options: Some(ipam),
    }
}

/// Whether a network of the cluster passes the filters of `GET /networks`.
///
/// Source: moby `daemon/cluster/filters.go`, `daemon/network/filter.go`.
pub(crate) fn fits(network: &ClusterNetwork, filters: &NetworkFilters) -> bool {
    let any = |values: &[String], fits: &dyn Fn(&str) -> bool| {
        values.is_empty() || values.iter().any(|value| fits(value))
    };
    let id = network.id.to_string();
    any(&filters.ids, &|value| id.starts_with(value))
        && any(&filters.names, &|value| network.spec.name.contains(value))
        && any(&filters.drivers, &|value| driver(network) == value)
        && any(&filters.scopes, &|value| value == "swarm")
        && all_labels(&filters.labels, &network.spec.labels)
        && filters.custom.is_none_or(|custom| custom != network.predefined)
        // Whether a network of the cluster is used is known by the cluster alone; prune spares it.
        && filters.dangling.is_none()
}
