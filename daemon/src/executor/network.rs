//! Networks of the cluster in the words of `netoverlay`. Pure.

use shoal_model::cluster::ClusterNetwork;
use shoal_model::network::IpamPool;
use shoal_model::{ErrorKind, Failure};
use shoal_netoverlay::network::{Driver, Network, NetworkSpec, OverlayOptions, Pool};
use shoal_netoverlay::network_id;
use shoal_netoverlay::subnet::Subnet;

/// Option of networks whose traffic between nodes is encrypted.
const ENCRYPTED: &str = "encrypted";

/// Whether a network spans nodes: the others of the cluster are each node's own.
pub(super) fn is_overlay(network: &ClusterNetwork) -> bool {
    matches!(network.spec.driver.as_str(), "" | "overlay")
}

/// The network as this host makes it.
///
/// # Errors
/// When nothing was given to it yet, or it wants what is not implemented.
pub(super) fn definition(network: &ClusterNetwork) -> Result<Network, Failure> {
    let spec = &network.spec;
    if spec.options.contains_key(ENCRYPTED) {
        return Err(Failure::not_implemented(format!(
            "network `{}`: encrypted overlay networks are not implemented by Shoal yet",
            spec.name
        )));
    }
    let Some(allocation) = &network.allocation else {
        let message = format!("network `{}` has no subnet yet", spec.name);
        return Err(Failure::new(ErrorKind::Unavailable, message));
    };
    let pools: Vec<Pool> = allocation.pools.iter().map(pool).collect::<Result<_, _>>()?;
    Ok(Network {
        id: network_id(network.id),
        created: network.meta.created,
        spec: NetworkSpec {
            name: spec.name.clone(),
            driver: Driver::Overlay,
            ipv4: pools.iter().any(|pool| pool.subnet.is_ipv4()),
            ipv6: pools.iter().any(|pool| !pool.subnet.is_ipv4()),
            internal: spec.internal,
            attachable: spec.attachable,
            labels: spec.labels.clone(),
            options: spec.options.clone(),
            ipam_options: std::collections::BTreeMap::new(),
            pools: Vec::new(),
        },
        pools,
        bridge: None,
        parent: None,
        overlay: Some(OverlayOptions { vni: allocation.vni, mtu: allocation.mtu }),
        mesh: None,
    })
}

fn pool(pool: &IpamPool) -> Result<Pool, Failure> {
    let invalid = || Failure::invalid(format!("a cluster gave the subnet `{}`", pool.subnet));
    let subnet: Subnet = pool.subnet.parse().map_err(|_| invalid())?;
    let gateway = pool.gateway.ok_or_else(invalid)?;
    let auxiliary = std::collections::BTreeMap::new();
    Ok(Pool { subnet, range: None, gateway, auxiliary })
}
