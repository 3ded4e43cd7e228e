//! The addresses of one subnet: which are given out, which comes next.
//!
//! The next address is the next free one after the last given out, as with docker: an address that was
//! just released rests, so that a late packet does not reach its next owner.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::subnet::Subnet;

/// No address could be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// All are given out.
    #[error("no available addresses in `{range}`: all are in use")]
    Exhausted {
        /// Where was looked.
        range: Subnet,
    },
    /// The wanted one is given out or reserved.
    #[error("address `{address}` is already in use")]
    Taken {
        /// The wanted address.
        address: IpAddr,
    },
    /// The wanted one cannot belong to an endpoint of this network.
    #[error("address `{address}` is not an address of subnet `{subnet}`")]
    Outside {
        /// The wanted address.
        address: IpAddr,
        /// The network's subnet.
        subnet: Subnet,
    },
}

/// Leases of one subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    subnet: Subnet,
    range: Subnet,
    taken: BTreeSet<u128>,
    /// Offset of the address given out last.
    last: Option<u128>,
}

impl Addresses {
    /// Gives out addresses of `range`, a part of `subnet`; `reserved` ones never.
    pub fn new(
        subnet: Subnet,
        range: Option<Subnet>,
        reserved: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let subnet = subnet.network();
        let taken = reserved.into_iter().filter_map(|address| subnet.offset(address)).collect();
        Self { subnet, range: range.map_or(subnet, Subnet::network), taken, last: None }
    }

    /// The subnet, without host part.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Gives out the next free address.
    ///
    /// # Errors
    /// When there is none.
    pub fn take_next(&mut self) -> Result<Subnet, Error> {
        let first = self.subnet.offset(self.range.address).unwrap_or_default();
        let last = first.saturating_add(self.range.host_mask());
        let start = self.last.map_or(first, |last| last.saturating_add(1)).max(first);
        let found = self.free_in(start, last).or_else(|| self.free_in(first, last));
        let offset = found.ok_or(Error::Exhausted { range: self.range })?;
        self.taken.insert(offset);
        self.last = Some(offset);
        self.at(offset).ok_or(Error::Exhausted { range: self.range })
    }

    /// Gives out a certain address, which may lie outside of the range.
    ///
    /// # Errors
    /// When it is taken, or not an address of the subnet.
    pub fn take(&mut self, address: IpAddr) -> Result<Subnet, Error> {
        let outside = Error::Outside { address, subnet: self.subnet };
        let offset = self.subnet.offset(address).ok_or_else(|| outside.clone())?;
        if !self.usable(offset) {
            return Err(outside);
        }
        if !self.taken.insert(offset) {
            return Err(Error::Taken { address });
        }
        self.at(offset).ok_or(outside)
    }

    /// Takes an address back; one that is not given out is fine.
    pub fn release(&mut self, address: IpAddr) {
        if let Some(offset) = self.subnet.offset(address) {
            self.taken.remove(&offset);
        }
    }

    fn at(&self, offset: u128) -> Option<Subnet> {
        Some(Subnet { address: self.subnet.nth(offset)?, prefix: self.subnet.prefix })
    }

    /// The network address and IPv4's broadcast address belong to nobody.
    fn usable(&self, offset: u128) -> bool {
        self.subnet.host_bits() <= 1
            || (offset != 0 && !(self.subnet.is_ipv4() && offset == self.subnet.host_mask()))
    }

    fn free_in(&self, first: u128, last: u128) -> Option<u128> {
        (first..=last).find(|offset| self.usable(*offset) && !self.taken.contains(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(subnet: &str, range: Option<&str>, reserved: &[&str]) -> Addresses {
        Addresses::new(
            subnet.parse().unwrap(),
            range.map(|range| range.parse().unwrap()),
            reserved.iter().map(|address| address.parse().unwrap()),
        )
    }

    fn next(addresses: &mut Addresses) -> String {
        addresses.take_next().map_or_else(|error| error.to_string(), |taken| taken.to_string())
    }

    #[test]
    fn goes_round_before_an_address_is_used_again() {
        let mut pool = addresses("10.0.0.0/29", None, &["10.0.0.1"]);
        let first: Vec<_> = (0..3).map(|_| next(&mut pool)).collect();
        pool.release("10.0.0.2".parse().unwrap());
        let second: Vec<_> = (0..4).map(|_| next(&mut pool)).collect();
        assert_eq!(first, ["10.0.0.2/29", "10.0.0.3/29", "10.0.0.4/29"]);
        assert_eq!(
            second,
            [
                "10.0.0.5/29",
                "10.0.0.6/29",
                "10.0.0.2/29",
                "no available addresses in `10.0.0.0/29`: all are in use"
            ]
        );
    }

    #[test]
    fn stays_within_the_range() {
        let mut pool = addresses("10.0.0.0/24", Some("10.0.0.128/31"), &["10.0.0.1"]);
        let taken: Vec<_> = (0..3).map(|_| next(&mut pool)).collect();
        assert_eq!(
            taken,
            [
                "10.0.0.128/24",
                "10.0.0.129/24",
                "no available addresses in `10.0.0.128/31`: all are in use"
            ]
        );
    }

    #[test]
    fn wanted_addresses() {
        let mut pool = addresses("10.0.0.0/24", Some("10.0.0.128/25"), &["10.0.0.1"]);
        let wanted = ["10.0.0.7", "10.0.0.7", "10.0.0.1", "10.0.0.0", "10.0.0.255", "10.1.0.1"];
        let answers: Vec<String> = wanted
            .iter()
            .map(|address| {
                let answer = pool.take(address.parse().unwrap());
                answer.map_or_else(|error| error.to_string(), |taken| taken.to_string())
            })
            .collect();
        assert_eq!(
            answers,
            [
                "10.0.0.7/24",
                "address `10.0.0.7` is already in use",
                "address `10.0.0.1` is already in use",
                "address `10.0.0.0` is not an address of subnet `10.0.0.0/24`",
                "address `10.0.0.255` is not an address of subnet `10.0.0.0/24`",
                "address `10.1.0.1` is not an address of subnet `10.0.0.0/24`",
            ]
        );
    }

    #[test]
    fn ipv6_has_no_broadcast() {
        let mut pool = addresses("fd00::/126", None, &["fd00::1"]);
        assert_eq!([next(&mut pool), next(&mut pool)], ["fd00::2/126", "fd00::3/126"]);
    }
}
