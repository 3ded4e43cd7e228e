//! Decides subnets, gateways, VXLAN id and MTU of one network.

use std::net::IpAddr;

use shoal_model::cluster::network::NetworkAllocation;
use shoal_model::cluster::{ClusterNetwork, IpPrefix};
use shoal_model::network::IpamPool;

use super::error::Error;
use super::{Allocator, VNI_LAST};
use crate::prefix;
use crate::store::State;

const OVERLAY: &str = "overlay";
const MTU_OPTION: &str = "com.docker.network.driver.mtu";
const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";
/// What Ethernet carries, where no node says otherwise.
const UNDERLAY_MTU: u32 = 1500;
/// Outer headers of VXLAN over either family.
const OVERHEAD_IPV4: u32 = 50;
const OVERHEAD_IPV6: u32 = 70;
/// Least MTU of IPv4 and of IPv6 (RFC 791, RFC 8200 §5).
const MTU_MIN_IPV4: u32 = 68;
const MTU_MIN_IPV6: u32 = 1280;

/// Whether the cluster gives the addresses of a network; those of other drivers are each node's own matter.
pub(super) fn is_overlay(network: &ClusterNetwork) -> bool {
    matches!(network.spec.driver.as_str(), "" | OVERLAY)
}

impl Allocator {
    /// What a network gets. Cursors move, but nothing is held by that.
    pub(super) fn decide_network(
        &mut self,
        state: &State,
        network: &ClusterNetwork,
    ) -> Result<NetworkAllocation, Error> {
        let ipam = &network.spec.ipam;
        if !matches!(ipam.driver.as_str(), "" | "default") {
            return Err(Error::IpamDriver { driver: ipam.driver.clone() });
        }
        let wants_ipv4 = network.spec.enable_ipv4 != Some(false);
        let wants_ipv6 = network.spec.enable_ipv6 == Some(true);
        if !wants_ipv4 && !wants_ipv6 {
            return Err(Error::NoFamily);
        }
        let mtu = mtu(state, network, wants_ipv6)?;
        let mut pools = Vec::new();
        let mut subnets: Vec<IpPrefix> = Vec::new();
        let given = ipam.pools.iter().filter(|pool| !pool.subnet.is_empty());
        for pool in given {
            let subnet = user_subnet(pool)?;
            let is_wanted = if subnet.address.is_ipv4() { wants_ipv4 } else { wants_ipv6 };
            if !is_wanted {
                continue;
            }
            if let Some(with) = subnets.iter().find(|other| prefix::overlap(**other, subnet)) {
                return Err(Error::OverlapsItself { subnet, with: *with });
            }
            if let Some((taken, by)) = self.subnets.taken(subnet, network.id) {
                return Err(Error::Overlap { subnet, taken, by: name_of(state, by) });
            }
            subnets.push(subnet);
            pools.push(complete(pool, subnet)?);
        }
        for (is_ipv4, is_wanted) in [(true, wants_ipv4), (false, wants_ipv6)] {
            if is_wanted && !subnets.iter().any(|subnet| subnet.address.is_ipv4() == is_ipv4) {
                let nodes = state.nodes().map(|node| &**node);
                let subnet = self.subnets.choose(
                    state.cluster().map(|cluster| &**cluster),
                    nodes,
                    is_ipv4,
                )?;
                // A pool without a subnet says how the chosen one is used.
                let wish = ipam.pools.iter().find(|pool| {
                    pool.subnet.is_empty()
                        && pool.gateway.is_none_or(|gateway| gateway.is_ipv4() == is_ipv4)
                });
                pools.push(complete(&wish.cloned().unwrap_or_default(), subnet)?);
            }
        }
        let vni = self.decide_vni(state, network)?;
        Ok(NetworkAllocation { driver: OVERLAY.to_owned(), pools, vni, mtu })
    }

    fn decide_vni(&mut self, state: &State, network: &ClusterNetwork) -> Result<u32, Error> {
        let Some(value) = network.spec.options.get(VNI_OPTION) else {
            return self.vnis.next(|_| true).ok_or(Error::NoVni);
        };
        let invalid = || Error::Option { option: VNI_OPTION, value: value.clone() };
        let first = value.split(',').next().unwrap_or_default();
        let vni: u32 = first.trim().parse().map_err(|_| invalid())?;
        if !(1..=VNI_LAST).contains(&vni) {
            return Err(invalid());
        }
        match self.vnis.owner(vni) {
            Some(by) if by != network.id => Err(Error::VniTaken { vni, by: name_of(state, by) }),
            _ => Ok(vni),
        }
    }
}

fn name_of(state: &State, network: shoal_model::cluster::ClusterNetworkId) -> String {
    state.network(network).map_or_else(|| network.to_string(), |by| by.spec.name.clone())
}

fn user_subnet(pool: &IpamPool) -> Result<IpPrefix, Error> {
    let wrong = |why| Error::Subnet { subnet: pool.subnet.clone(), why };
    let subnet: IpPrefix =
        pool.subnet.parse().map_err(|_| wrong("it is not an address with a prefix length"))?;
    if prefix::network(subnet) != subnet {
        return Err(wrong("host bits are set"));
    }
    if prefix::width(subnet.address) - subnet.length < 2 {
        return Err(wrong("it has no room for addresses"));
    }
    Ok(subnet)
}

/// Checks gateway, range and auxiliary addresses, and chooses a gateway where none was asked for: the first
/// address of the range that is not auxiliary, or of the subnet.
fn complete(wish: &IpamPool, subnet: IpPrefix) -> Result<IpamPool, Error> {
    let outside = |address: String| Error::Outside { address, subnet };
    let range = if wish.ip_range.is_empty() {
        subnet
    } else {
        let range: IpPrefix = wish.ip_range.parse().map_err(|_| outside(wish.ip_range.clone()))?;
        if range.length < subnet.length || !prefix::contains(subnet, range.address) {
            return Err(outside(wish.ip_range.clone()));
        }
        prefix::network(range)
    };
    let mut auxiliary = Vec::new();
    for text in wish.auxiliary.values() {
        let address: IpAddr = text.parse().map_err(|_| outside(text.clone()))?;
        if !prefix::contains(subnet, address) {
            return Err(outside(text.clone()));
        }
        auxiliary.push(address);
    }
    let gateway = match wish.gateway {
        Some(gateway) if prefix::contains(subnet, gateway) => gateway,
        Some(gateway) => return Err(outside(gateway.to_string())),
        None => {
            let start = prefix::offset(subnet, range.address).unwrap_or(0).max(1);
            (start..=prefix::last_offset(subnet))
                .map_while(|offset| prefix::nth(subnet, offset))
                .find(|address| !auxiliary.contains(address))
                .ok_or_else(|| outside(wish.ip_range.clone()))?
        }
    };
    Ok(IpamPool { subnet: subnet.to_string(), gateway: Some(gateway), ..wish.clone() })
}

/// The user's, or what the narrowest underlay leaves.
fn mtu(state: &State, network: &ClusterNetwork, wants_ipv6: bool) -> Result<u32, Error> {
    let min = if wants_ipv6 { MTU_MIN_IPV6 } else { MTU_MIN_IPV4 };
    if let Some(value) = network.spec.options.get(MTU_OPTION) {
        let mtu = value.parse().ok().filter(|mtu| (min..=65_535).contains(mtu));
        return mtu.ok_or_else(|| Error::Option { option: MTU_OPTION, value: value.clone() });
    }
    let abouts = state.nodes().filter_map(|node| node.description.as_ref());
    let underlays = abouts.map(|about| about.underlay_mtu).filter(|mtu| *mtu != 0);
    let underlay = underlays.min().unwrap_or(UNDERLAY_MTU);
    let is_ipv6 = state.nodes().any(|node| {
        node.data_path.or(node.status.address).is_some_and(|address| address.is_ipv6())
    });
    let overhead = if is_ipv6 { OVERHEAD_IPV6 } else { OVERHEAD_IPV4 };
    Ok(underlay.saturating_sub(overhead).max(min))
}
