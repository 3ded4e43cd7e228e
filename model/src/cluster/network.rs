//! Networks of the cluster.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ClusterNetworkId, Meta};
use crate::network::{IpamPool, NetworkSpec};

/// A network of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNetwork {
    /// Id.
    pub id: ClusterNetworkId,
    /// System fields.
    pub meta: Meta,
    /// The user's wish.
    pub spec: NetworkSpec,
    /// What the allocator gave; `None`: not allocated yet, or a driver of one host (`bridge`, `host`).
    pub allocation: Option<NetworkAllocation>,
    /// Why it is not allocated; empty: it is, or has not been tried.
    pub error: String,
    /// Whether the system made it (`ingress`, `docker_gwbridge`'s siblings `bridge`, `host`, `none`).
    pub predefined: bool,
}

impl ClusterNetwork {
    /// One of a user, not allocated yet.
    pub fn new(id: ClusterNetworkId, spec: NetworkSpec) -> Self {
        Self {
            id,
            meta: Meta::default(),
            spec,
            allocation: None,
            error: String::new(),
            predefined: false,
        }
    }
}

/// What the allocator gave to a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAllocation {
    /// Driver in effect: `overlay`.
    pub driver: String,
    /// Subnets in effect.
    pub pools: Vec<IpamPool>,
    /// VXLAN id, 4096…2²⁴−1.
    pub vni: u32,
    /// MTU of the interfaces of containers; fixed for the network's life.
    pub mtu: u32,
}

/// An address with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IpPrefix {
    /// Address.
    pub address: IpAddr,
    /// 0…32 or 0…128.
    pub length: u8,
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A text that is not `address/length`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an address with a prefix length, e.g. 10.0.0.0/24")]
pub struct InvalidPrefix(String);

impl FromStr for IpPrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPrefix(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let length: u8 = length.parse().map_err(|_| invalid())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        if length > max { Err(invalid()) } else { Ok(Self { address, length }) }
    }
}
