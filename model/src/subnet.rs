//! Subnets: an address with a prefix length, of either family. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address and the length of its network part. The host part may be set: `172.17.0.1/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    /// The address, host part included.
    pub address: IpAddr,
    /// Bits of the network part.
    pub prefix: u8,
}

/// Text that is not a subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR block `{0}`: expected an address, a slash and a prefix length")]
pub struct Invalid(pub String);

impl Subnet {
    /// From parts; `None` when the prefix is longer than an address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= width(address)).then_some(Self { address, prefix })
    }

    /// Whether it is IPv4.
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Bits of the host part.
    pub fn host_bits(self) -> u8 {
        width(self.address) - self.prefix
    }

    /// The subnet without host part.
    #[must_use]
    pub fn network(self) -> Self {
        Self { address: self.at(self.bits() & !self.host_mask()), prefix: self.prefix }
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        self.at(self.bits() | self.host_mask())
    }

    /// The IPv4 broadcast address, where there is room for one.
    pub fn broadcast(self) -> Option<IpAddr> {
        (self.is_ipv4() && self.host_bits() > 1).then(|| self.last())
    }

    /// Whether an address lies within.
    pub fn contains(self, address: IpAddr) -> bool {
        self.is_ipv4() == address.is_ipv4()
            && to_bits(address) & !self.host_mask() == self.bits() & !self.host_mask()
    }

    /// Whether two subnets share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network().address) || other.contains(self.network().address)
    }

    /// The address at an offset from the network address; `None` beyond the last.
    pub fn nth(self, offset: u128) -> Option<IpAddr> {
        (offset <= self.host_mask()).then(|| self.at((self.bits() & !self.host_mask()) | offset))
    }

    /// The offset of an address from the network address; `None` when it lies outside.
    pub fn offset(self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| to_bits(address) & self.host_mask())
    }

    /// All ones in the host part.
    pub fn host_mask(self) -> u128 {
        1_u128.checked_shl(self.host_bits().into()).map_or(u128::MAX, |bit| bit - 1)
    }

    fn bits(self) -> u128 {
        to_bits(self.address)
    }

    fn at(self, bits: u128) -> IpAddr {
        if self.is_ipv4() {
            let bits = u32::try_from(bits).expect("bits of an IPv4 address fit");
            IpAddr::V4(Ipv4Addr::from_bits(bits))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            if prefix.starts_with('+') {
                return None;
            }
            Self::new(address.parse().ok()?, prefix.parse().ok()?)
        };
        parse().ok_or_else(|| Invalid(text.to_owned()))
    }
}

impl TryFrom<String> for Subnet {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn arithmetic() {
        let all = ["172.17.0.1/16", "10.0.0.9/30", "10.0.0.9/32", "fd00:1::5/64", "::/0"];
        let shown: Vec<String> = all
            .iter()
            .map(|text| {
                let subnet = subnet(text);
                format!("{} {} {:?}", subnet.network(), subnet.last(), subnet.broadcast())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "172.17.0.0/16 172.17.255.255 Some(172.17.255.255)",
                "10.0.0.8/30 10.0.0.11 Some(10.0.0.11)",
                "10.0.0.9/32 10.0.0.9 None",
                "fd00:1::/64 fd00:1::ffff:ffff:ffff:ffff None",
                "::/0 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff None",
            ]
        );
    }

    #[test]
    fn overlap_is_symmetric_and_by_family() {
        let pairs = [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("0.0.0.0/0", "10.1.0.0/16", true),
            ("::/0", "10.1.0.0/16", false),
        ];
        for (a, b, expected) in pairs {
            assert_eq!(subnet(a).overlaps(subnet(b)), expected, "{a} {b}");
            assert_eq!(subnet(b).overlaps(subnet(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn refuses_what_is_no_subnet() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/+8", "a/8"] {
            assert_eq!(text.parse::<Subnet>(), Err(Invalid(text.to_owned())));
        }
    }
}
