//! Subnets in use, and free ones from the cluster's pools.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use shoal_model::cluster::{Cluster, ClusterNetworkId, IpPrefix, Node};

use super::error::Error;
use crate::prefix;

/// Docker's pool and size.
const DEFAULT_POOL: &str = "10.0.0.0/8";
const DEFAULT_SIZE: u32 = 24;
/// Length of IPv6 subnets.
const IPV6_LENGTH: u8 = 64;

/// Subnets of all networks.
#[derive(Debug, Clone, Default)]
pub(super) struct Subnets {
    in_use: BTreeMap<IpPrefix, ClusterNetworkId>,
    /// The one given last, by family.
    cursors: [Option<IpPrefix>; 2],
}

impl Subnets {
    pub(super) fn hold(&mut self, subnet: IpPrefix, network: ClusterNetworkId) {
        self.in_use.entry(subnet).or_insert(network);
    }

    pub(super) fn set_cursor(&mut self, subnet: IpPrefix) {
        self.cursors[family(subnet)] = Some(subnet);
    }

    pub(super) fn release(&mut self, network: ClusterNetworkId) {
        self.in_use.retain(|_, owner| *owner != network);
    }

    /// The subnet of another network that shares an address with this one.
    pub(super) fn taken(
        &self,
        subnet: IpPrefix,
        network: ClusterNetworkId,
    ) -> Option<(IpPrefix, ClusterNetworkId)> {
        let mut others = self.in_use.iter().filter(|(_, owner)| **owner != network);
        others
            .find(|(taken, _)| prefix::overlap(**taken, subnet))
            .map(|(taken, owner)| (*taken, *owner))
    }

    /// Subnets in use are disjoint, so that only the last one which begins before the end can overlap.
    fn is_taken(&self, subnet: IpPrefix) -> bool {
        let end = prefix::nth(subnet, prefix::last_offset(subnet)).unwrap_or(subnet.address);
        let last = IpPrefix { address: end, length: u8::MAX };
        let before = self.in_use.range(..=last).next_back();
        before.is_some_and(|(taken, _)| prefix::overlap(*taken, subnet))
    }

    /// A free subnet of a family, next-fit. It is not held by that. Subnets in which nodes have their own
    /// addresses are left out.
    ///
    /// # Errors
    /// [`Error::NoSubnet`].
    pub(super) fn choose<'a>(
        &mut self,
        cluster: Option<&Cluster>,
        nodes: impl Iterator<Item = &'a Node>,
        is_ipv4: bool,
    ) -> Result<IpPrefix, Error> {
        let pools = pools(cluster, is_ipv4);
        let underlay: Vec<IpAddr> =
            nodes.flat_map(|node| node.status.address.into_iter().chain(node.data_path)).collect();
        let cursor = self.cursors[usize::from(!is_ipv4)];
        let is_free = |subnet: &IpPrefix| {
            !underlay.iter().any(|address| prefix::contains(*subnet, *address))
                && !self.is_taken(*subnet)
        };
        let at = cursor.and_then(|cursor| {
            pools.iter().position(|(pool, _)| prefix::contains(*pool, cursor.address))
        });
        // Behind the cursor, the pools after its own, those before it, and at last its own from the start.
        let first = at.unwrap_or(0);
        let (before, from) = pools.split_at(first);
        let order = from.iter().chain(before).chain(from.first().filter(|_| at.is_some()));
        for (turn, (pool, length)) in order.enumerate() {
            let start = cursor.filter(|_| turn == 0 && at.is_some());
            if let Some(subnet) = candidates(*pool, *length, start).find(is_free) {
                self.set_cursor(subnet);
                return Ok(subnet);
            }
        }
        let pools: Vec<_> = pools.iter().map(|(pool, _)| format!("`{pool}`")).collect();
        Err(Error::NoSubnet { pools: pools.join(", ") })
    }
}

fn family(subnet: IpPrefix) -> usize {
    usize::from(subnet.address.is_ipv6())
}

/// The cluster's pools of a family with the length of subnets. Without one, IPv6 comes from a unique local
/// /48 derived from the cluster's id (RFC 4193 §3.2).
fn pools(cluster: Option<&Cluster>, is_ipv4: bool) -> Vec<(IpPrefix, u8)> {
    let size = cluster.map_or(0, |cluster| cluster.subnet_size);
    let size = if size == 0 { DEFAULT_SIZE } else { size };
    let length = if is_ipv4 { u8::try_from(size).unwrap_or(24) } else { IPV6_LENGTH };
    let texts = cluster.map(|cluster| cluster.default_address_pool.as_slice()).unwrap_or_default();
    let given = texts.iter().filter_map(|text| text.parse::<IpPrefix>().ok());
    let mut pools: Vec<_> =
        given.filter(|pool| pool.address.is_ipv4() == is_ipv4).map(prefix::network).collect();
    if pools.is_empty() {
        pools.push(if is_ipv4 {
            DEFAULT_POOL.parse().expect("it is well-formed")
        } else {
            unique_local(cluster)
        });
    }
    pools.into_iter().map(|pool| (pool, length.max(pool.length))).collect()
}

fn unique_local(cluster: Option<&Cluster>) -> IpPrefix {
    let id = cluster.map(|cluster| cluster.id.to_bytes()).unwrap_or_default();
    let hash = id.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let bits = (0xfd_u128 << 120) | (u128::from(hash >> 24) << 80);
    IpPrefix { address: IpAddr::V6(Ipv6Addr::from_bits(bits)), length: 48 }
}

/// Subnets of a pool in order, those up to and with `after` left out.
fn candidates(
    pool: IpPrefix,
    length: u8,
    after: Option<IpPrefix>,
) -> impl Iterator<Item = IpPrefix> {
    let host_bits = u32::from(prefix::width(pool.address) - length);
    let skipped = after.and_then(|after| prefix::offset(pool, after.address));
    let first = skipped.map_or(0, |offset| (offset >> host_bits) + 1);
    let last = prefix::last_offset(pool).checked_shr(host_bits).unwrap_or(0);
    (first..=last).map_while(move |number| {
        let address = prefix::nth(pool, number.checked_shl(host_bits)?)?;
        Some(IpPrefix { address, length })
    })
}
