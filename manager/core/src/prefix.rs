//! Arithmetic of subnets: both families as 128 bits. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shoal_model::cluster::IpPrefix;

/// Whether an address lies within a subnet. Host bits of the subnet do not matter.
pub fn contains(subnet: IpPrefix, address: IpAddr) -> bool {
    subnet.address.is_ipv4() == address.is_ipv4()
        && (bits(subnet.address) ^ bits(address)) & !host_mask(subnet) == 0
}

/// Whether two subnets share an address.
pub fn overlap(one: IpPrefix, two: IpPrefix) -> bool {
    contains(one, two.address) && one.length <= two.length
        || contains(two, one.address) && two.length <= one.length
}

/// The subnet without its host bits.
pub fn network(subnet: IpPrefix) -> IpPrefix {
    IpPrefix {
        address: address(bits(subnet.address) & !host_mask(subnet), subnet.address.is_ipv4()),
        length: subnet.length,
    }
}

/// The address at an offset from the first; `None` beyond the last.
pub fn nth(subnet: IpPrefix, offset: u128) -> Option<IpAddr> {
    let mask = host_mask(subnet);
    (offset <= mask)
        .then(|| address((bits(subnet.address) & !mask) | offset, subnet.address.is_ipv4()))
}

/// How far an address is from the first of its subnet; `None` outside.
pub fn offset(subnet: IpPrefix, address: IpAddr) -> Option<u128> {
    contains(subnet, address).then(|| bits(address) & host_mask(subnet))
}

/// Offset of the last address of a subnet.
pub fn last_offset(subnet: IpPrefix) -> u128 {
    host_mask(subnet)
}

/// Bits of an address of the family.
pub const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// All ones in the host part.
fn host_mask(subnet: IpPrefix) -> u128 {
    let host_bits = u32::from(width(subnet.address).saturating_sub(subnet.length));
    1_u128.checked_shl(host_bits).map_or(u128::MAX, |bit| bit - 1)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(bits: u128, is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        let bits = u32::try_from(bits).expect("bits of an IPv4 address fit");
        IpAddr::V4(Ipv4Addr::from_bits(bits))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> IpPrefix {
        text.parse().unwrap()
    }

    #[test]
    fn offsets_and_addresses_are_inverse() {
        for (text, offset_wanted, address) in [
            ("10.0.1.0/24", 255, "10.0.1.255"),
            ("10.0.1.7/24", 1, "10.0.1.1"),
            ("fd00::/64", 1 << 63, "fd00::8000:0:0:0"),
            ("0.0.0.0/0", 1, "0.0.0.1"),
            ("::/0", u128::MAX, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(nth(subnet(text), offset_wanted), Some(address), "{text}");
            assert_eq!(offset(subnet(text), address), Some(offset_wanted), "{text}");
        }
        assert_eq!(nth(subnet("10.0.1.0/24"), 256), None);
        assert_eq!(offset(subnet("10.0.1.0/24"), "10.0.2.0".parse().unwrap()), None);
        assert_eq!(network(subnet("10.1.2.3/8")), subnet("10.0.0.0/8"));
    }

    #[test]
    fn overlap_is_containment_either_way() {
        for (one, two, wanted) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("10.0.0.5/24", "10.0.0.9/24", true),
            ("::/0", "10.0.0.0/8", false),
        ] {
            assert_eq!(overlap(subnet(one), subnet(two)), wanted, "{one} {two}");
        }
    }
}
