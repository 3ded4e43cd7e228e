//! Networks of the cluster in the words of `netoverlay`. Pure.

use std::time::Duration;

use shoal_base::SharedClock;
use shoal_model::cluster::ClusterNetwork;
use shoal_model::cluster::node::NodeDescription;
use shoal_model::network::IpamPool;
use shoal_model::{ErrorKind, Failure, NetworkId};
use shoal_netoverlay::network::{Driver, Network, NetworkSpec, OverlayOptions, Pool};
use shoal_netoverlay::network_id;
use shoal_netoverlay::subnet::Subnet;

/// Option of networks whose traffic between nodes is encrypted.
const ENCRYPTED: &str = "encrypted";

/// Whether a network spans nodes: the others of the cluster are each node's own.
pub(super) fn is_overlay(network: &ClusterNetwork) -> bool {
    matches!(network.spec.driver.as_str(), "" | "overlay")
}

/// Longest wait for the view of a network that is new to this node.
const VIEW_WAIT: Duration = Duration::from_secs(10);
/// Between two looks whether it came.
const VIEW_LOOK: Duration = Duration::from_millis(20);

/// Makes a network known on this host. What is made in the kernel follows its view, which comes right behind the task
/// that needs it.
///
/// # Errors
/// When it is not implemented, has no subnet yet, or its view does not come.
pub(crate) async fn join(
    networks: &shoal_netoverlay::Networks,
    clock: &SharedClock,
    network: &ClusterNetwork,
) -> Result<NetworkId, Failure> {
    let id = shoal_netoverlay::network_id(network.id);
    if !network.spec.ingress {
        networks.define_overlay(definition(network)?).await?;
    }
    let deadline = clock.monotonic() + VIEW_WAIT;
    // That of the routing mesh is defined by its view.
    let is_known = || match network.spec.ingress {
        true => networks.resolve(id.as_str()).is_ok(),
        false => networks.has_view(&id),
    };
    while !is_known() {
        if clock.monotonic() > deadline {
            return Err(Failure::new(
                ErrorKind::Unavailable,
                format!("no manager told who is on network `{}`", network.spec.name),
            ));
        }
        clock.sleep(VIEW_LOOK).await;
    }
    Ok(id)
}

/// Outer headers of VXLAN over IPv4.
const OVERHEAD: u32 = 50;

/// Whether this node's underlay carries the packets of a network.
///
/// # Errors
/// When it does not: larger packets would be lost without a trace.
pub(super) fn fits(network: &ClusterNetwork, node: &NodeDescription) -> Result<(), Failure> {
    let Some(allocation) = &network.allocation else { return Ok(()) };
    let (needed, underlay) = (allocation.mtu + OVERHEAD, node.underlay_mtu);
    if underlay == 0 || needed <= underlay {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "network `{}` has an MTU of {} bytes, for which the link between the nodes must carry {needed}; that of \
         this node carries {underlay}: create the network with `--opt com.docker.network.driver.mtu={}`",
        network.spec.name,
        allocation.mtu,
        underlay.saturating_sub(OVERHEAD)
    )))
}

/// The network as this host makes it.
///
/// # Errors
/// When nothing was given to it yet, or it wants what is not implemented.
fn definition(network: &ClusterNetwork) -> Result<Network, Failure> {
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

#[cfg(test)]
mod tests {
    use shoal_model::cluster::ClusterNetworkId;
    use shoal_model::cluster::network::NetworkAllocation;

    use super::*;

    #[test]
    fn an_underlay_that_is_too_small_is_named() {
        let allocation = NetworkAllocation { mtu: 1450, ..NetworkAllocation::default() };
        let spec =
            shoal_model::network::NetworkSpec { name: "net".to_owned(), ..Default::default() };
        let network = ClusterNetwork {
            allocation: Some(allocation),
            ..ClusterNetwork::new(ClusterNetworkId::from_bytes([1; 16]), spec)
        };
        let node = |underlay_mtu| NodeDescription { underlay_mtu, ..NodeDescription::default() };
        assert!(fits(&network, &node(0)).is_ok() && fits(&network, &node(1500)).is_ok());
        assert_eq!(
            fits(&network, &node(1400)).unwrap_err().chain(),
            "network `net` has an MTU of 1450 bytes, for which the link between the nodes must carry 1500; that of \
             this node carries 1400: create the network with `--opt com.docker.network.driver.mtu=1350`"
        );
    }
}
