//! The addresses of one network: who holds them, and the next free one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use shoal_model::Timestamp;
use shoal_model::cluster::{ClusterNetwork, IpPrefix};

use crate::prefix;

/// All subnets of a network.
#[derive(Debug, Clone, Default)]
pub(super) struct Space {
    subnets: Vec<Subnet>,
}

#[derive(Debug, Clone)]
struct Subnet {
    prefix: IpPrefix,
    /// Offsets that are handed out: those of the range, or all.
    first: u128,
    last: u128,
    /// Offset given last, and when.
    cursor: u128,
    given: Timestamp,
    /// How many hold an address: more than one only after a fault.
    held: BTreeMap<u128, u32>,
}

impl Space {
    /// The subnets that a network was given; those that cannot be read are left out.
    pub(super) fn of(network: &ClusterNetwork) -> Option<Self> {
        let allocation = network.allocation.as_ref()?;
        let mut space = Self::default();
        for pool in &allocation.pools {
            let Ok(subnet) = pool.subnet.parse::<IpPrefix>() else { continue };
            let range = pool.ip_range.parse::<IpPrefix>().unwrap_or(subnet);
            let auxiliary = pool.auxiliary.values().filter_map(|text| text.parse().ok());
            space.subnets.push(Subnet::new(
                subnet,
                range,
                pool.gateway.into_iter().chain(auxiliary),
            ));
        }
        Some(space)
    }

    pub(super) fn prefixes(&self) -> impl Iterator<Item = IpPrefix> {
        self.subnets.iter().map(|subnet| subnet.prefix)
    }

    /// The address with the length of its subnet; `None`: it is in none.
    pub(super) fn prefixed(&self, address: IpAddr) -> Option<IpPrefix> {
        let subnet = self.subnets.iter().find(|subnet| prefix::contains(subnet.prefix, address))?;
        Some(IpPrefix { address, length: subnet.prefix.length })
    }

    pub(super) fn has_family(&self, is_ipv4: bool) -> bool {
        self.subnets.iter().any(|subnet| subnet.prefix.address.is_ipv4() == is_ipv4)
    }

    pub(super) fn is_held(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| {
            prefix::offset(subnet.prefix, address)
                .is_some_and(|offset| subnet.held.contains_key(&offset))
        })
    }

    pub(super) fn hold(&mut self, address: IpAddr) {
        self.change(address, |subnet, offset| {
            *subnet.held.entry(offset).or_default() += 1;
        });
    }

    /// The address was given at that time: the next search goes on behind the newest.
    pub(super) fn given_at(&mut self, address: IpAddr, given: Timestamp) {
        self.change(address, |subnet, offset| {
            if given >= subnet.given && (subnet.first..=subnet.last).contains(&offset) {
                (subnet.cursor, subnet.given) = (offset, given);
            }
        });
    }

    pub(super) fn release(&mut self, address: IpAddr) {
        self.change(address, |subnet, offset| {
            if let Some(holders) = subnet.held.get_mut(&offset) {
                *holders -= 1;
                if *holders == 0 {
                    subnet.held.remove(&offset);
                }
            }
        });
    }

    /// The next free address of a family. It is not held by that.
    ///
    /// # Errors
    /// The (last) subnet of the family when none is free. `None` when there is no such subnet.
    pub(super) fn next(&mut self, is_ipv4: bool) -> Result<IpPrefix, Option<IpPrefix>> {
        let mut full = None;
        for subnet in &mut self.subnets {
            if subnet.prefix.address.is_ipv4() != is_ipv4 {
                continue;
            }
            match subnet.next() {
                Some(address) => {
                    return Ok(IpPrefix { address, length: subnet.prefix.length });
                }
                None => full = Some(subnet.prefix),
            }
        }
        Err(full)
    }

    fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut Subnet, u128)) {
        let found = self.subnets.iter_mut().find_map(|subnet| {
            let offset = prefix::offset(subnet.prefix, address)?;
            Some((subnet, offset))
        });
        if let Some((subnet, offset)) = found {
            change(subnet, offset);
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> Vec<(IpAddr, u32)> {
        let held = self.subnets.iter().flat_map(|subnet| {
            let of = |(offset, holders): (&u128, &u32)| {
                (prefix::nth(subnet.prefix, *offset).unwrap(), *holders)
            };
            subnet.held.iter().map(of)
        });
        held.collect()
    }
}

impl Subnet {
    /// Network and broadcast address, gateway and auxiliary addresses are held for good; in IPv6, the first
    /// address means any router (RFC 4291 §2.6.1).
    fn new(subnet: IpPrefix, range: IpPrefix, reserved: impl Iterator<Item = IpAddr>) -> Self {
        let end = prefix::last_offset(subnet);
        let first = prefix::offset(subnet, prefix::network(range).address).unwrap_or(0);
        let last = first.saturating_add(prefix::last_offset(range)).min(end);
        let is_tiny = prefix::width(subnet.address) - subnet.length < 2;
        let mut held = BTreeMap::new();
        if !is_tiny {
            held.insert(0, 1);
            if subnet.address.is_ipv4() {
                held.insert(end, 1);
            }
        }
        for offset in reserved.filter_map(|address| prefix::offset(subnet, address)) {
            held.insert(offset, 1);
        }
        let prefix = prefix::network(subnet);
        Self { prefix, first, last, cursor: last, given: Timestamp::default(), held }
    }

    fn next(&mut self) -> Option<IpAddr> {
        let start = if (self.first..self.last).contains(&self.cursor) {
            self.cursor + 1
        } else {
            self.first
        };
        let found = self
            .free_from(start, self.last)
            .or_else(|| self.free_from(self.first, start.checked_sub(1)?))?;
        self.cursor = found;
        prefix::nth(self.prefix, found)
    }

    /// The first offset of `from..=to` that nobody holds.
    fn free_from(&self, from: u128, to: u128) -> Option<u128> {
        if from > to {
            return None;
        }
        let mut free = from;
        for held in self.held.range(from..=to).map(|(offset, _)| *offset) {
            if held != free {
                break;
            }
            free = free.checked_add(1)?;
        }
        (free <= to).then_some(free)
    }
}
