//! Endpoints: what joins a sandbox to a network. Plain types.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shoal_model::NetworkId;

use crate::subnet::Subnet;

/// An Ethernet address; lower case with colons as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// `02:42` and the four bytes of the address: an address used again keeps its neighbours' entries
    /// valid. Source: moby `libnetwork/netutils` GenerateMACFromIP.
    pub fn from_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// `02:42` and the last four bytes of the address, for networks without IPv4.
    pub fn from_ipv6(address: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// Whether it may be the address of one link.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid MAC address `{0}`: expected six bytes in hexadecimal, separated by colons")]
pub struct InvalidMac(pub String);

impl FromStr for MacAddress {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            let parsed = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = parsed.ok_or_else(|| InvalidMac(text.to_owned()))?;
        }
        let mac = Self(bytes);
        if parts.next().is_some() || text.contains('+') || !mac.is_unicast() {
            return Err(InvalidMac(text.to_owned()));
        }
        Ok(mac)
    }
}

impl TryFrom<String> for MacAddress {
    type Error = InvalidMac;

    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// What is wanted of an endpoint; everything may be left open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointRequest {
    /// Wanted IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Wanted IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Wanted MAC address.
    pub mac: Option<MacAddress>,
    /// The endpoint with the highest value gives the sandbox's default route.
    pub gateway_priority: i64,
}

/// An endpoint in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hex digits. The first seven name the host's end of the veth pair.
    pub id: String,
    /// The network.
    pub network: NetworkId,
    /// Name of the network, the tie-breaker among equal gateway priorities.
    pub network_name: String,
    /// Address with the network's prefix length.
    pub ipv4: Option<Subnet>,
    /// Gateway; `None` on internal networks.
    pub gateway: Option<Ipv4Addr>,
    /// Address with the network's prefix length.
    pub ipv6: Option<Subnet>,
    /// Gateway; `None` on internal networks.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Address of the interface in the sandbox.
    pub mac: MacAddress,
    /// Name of the interface in the sandbox: `eth0`, `eth1`, ….
    pub interface: String,
    /// As asked for.
    pub gateway_priority: i64,
    /// Its link lies on a link of the host: nothing of it is in the host's namespace.
    #[serde(default)]
    pub on_parent: bool,
    /// Its veth pair ends in the namespace of an overlay network: nothing of it is in the host's namespace.
    #[serde(default)]
    pub in_overlay: bool,
    /// It gives a default route over the link, without a gateway.
    #[serde(default)]
    pub routes_by_link: bool,
}

impl Endpoint {
    /// Name of the veth end in the host's namespace.
    pub fn host_interface(&self) -> String {
        host_interface(&self.id)
    }
}

/// Name of the host's veth end of an endpoint.
pub fn host_interface(endpoint: &str) -> String {
    format!("veth{}", &endpoint[..7])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        assert_eq!(
            MacAddress::from_ipv4(Ipv4Addr::new(172, 17, 0, 2)).to_string(),
            "02:42:ac:11:00:02"
        );
        assert_eq!("02-42-AC-11-00-02".parse(), Ok(MacAddress([2, 0x42, 0xac, 0x11, 0, 2])));
        for text in
            ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "01:00:5e:00:00:01", "0g:0:0:0:0:0"]
        {
            assert_eq!(text.parse::<MacAddress>(), Err(InvalidMac(text.to_owned())));
        }
    }
}
