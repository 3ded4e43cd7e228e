//! Networks of one host, and endpoints on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::{NetworkId, Timestamp};

/// What the user asks for when creating a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Unique on this host.
    pub name: String,
    /// `bridge`, `macvlan`, …; empty: `bridge`.
    pub driver: String,
    /// `local`, `swarm`, `global`; empty: the driver's.
    pub scope: String,
    /// `None`: yes.
    pub enable_ipv4: Option<bool>,
    /// `None`: the daemon's default, no.
    pub enable_ipv6: Option<bool>,
    /// Addresses.
    pub ipam: Ipam,
    /// No way out.
    pub internal: bool,
    /// Plain containers may join (swarm scope).
    pub attachable: bool,
    /// The routing mesh's network.
    pub ingress: bool,
    /// Only a template for other networks.
    pub config_only: bool,
    /// Name of the template; empty: none.
    pub config_from: String,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// User labels.
    pub labels: BTreeMap<String, String>,
}

/// Address management of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ipam {
    /// Empty: `default`.
    pub driver: String,
    /// Driver options; `None` where the client gave none.
    pub options: Option<BTreeMap<String, String>>,
    /// Empty in a spec: chosen from the daemon's pools.
    pub pools: Vec<IpamPool>,
}

/// One subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamPool {
    /// CIDR; empty: chosen.
    pub subnet: String,
    /// CIDR within the subnet; empty: all of it.
    pub ip_range: String,
    /// `None`: the first address.
    pub gateway: Option<IpAddr>,
    /// Addresses that are not given out, by name.
    pub auxiliary: BTreeMap<String, String>,
    /// The subnet was not asked for but chosen from the daemon's pools. Written by the daemon only.
    #[serde(skip)]
    pub chosen: bool,
}

/// A network as it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Id.
    pub id: NetworkId,
    /// When it was created.
    pub created: Timestamp,
    /// The spec with everything chosen filled in.
    pub spec: NetworkSpec,
    /// Whether it is one of `bridge`, `host`, `none`.
    pub predefined: bool,
}

/// A network with its running containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDetails {
    /// The network.
    pub network: Network,
    /// By container id.
    pub members: BTreeMap<String, NetworkMember>,
}

/// A running container on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkMember {
    /// Name of the container.
    pub name: String,
    /// Id of the endpoint.
    pub endpoint_id: String,
    /// MAC address.
    pub mac_address: String,
    /// With the prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// With the prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
}

/// An endpoint as it is: what was asked and what was given. Addresses are unset while not running.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// The wish.
    pub spec: crate::container::EndpointSpec,
    /// Id of the network; empty before the first start.
    pub network_id: String,
    /// Id of the endpoint.
    pub endpoint_id: String,
    /// With the prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// IPv4 gateway.
    pub gateway: Option<Ipv4Addr>,
    /// With the prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// IPv6 gateway.
    pub gateway_ipv6: Option<Ipv6Addr>,
    /// MAC address.
    pub mac_address: String,
    /// Names that resolve to it.
    pub dns_names: Vec<String>,
}

/// One port of a container; without `host_port` it is exposed only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// In the container.
    pub container_port: u16,
    /// `tcp`, `udp`, `sctp`.
    pub protocol: String,
    /// Address on the host.
    pub host_ip: Option<IpAddr>,
    /// Port on the host.
    pub host_port: Option<u16>,
}
