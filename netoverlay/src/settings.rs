//! What can be set, so that several daemons share a machine.

use std::path::PathBuf;

use crate::ipam::{self, Pool};
use crate::plan::mesh::Marks;
use crate::subnet::Subnet;

/// Settings of this host's networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Durable: definitions of networks, in `networks/`.
    pub data_root: PathBuf,
    /// Of this boot: namespaces in `netns/`, records of sandboxes in `sandboxes/`.
    pub exec_root: PathBuf,
    /// Whether there is a network `bridge`. Without it nothing is made in the kernel before the first
    /// bridge network is.
    pub default_network: bool,
    /// Link of network `bridge`.
    pub bridge: String,
    /// Address and subnet of network `bridge`; `None`: of the bridge that is there, else of a pool.
    pub bridge_address: Option<Subnet>,
    /// Part of that subnet for containers.
    pub bridge_range: Option<Subnet>,
    /// Members of network `bridge` reach each other.
    pub inter_container: bool,
    /// Containers take the host's address outside, on network `bridge`.
    pub masquerade: bool,
    /// Forwarding is switched on where it is off.
    pub forwarding: bool,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// The nftables table of family `inet`: nobody else's.
    pub table: String,
    /// Bits of a packet's mark that are ours while it is forwarded, beside programs that drop by default.
    pub mark: u32,
    /// Subnets for networks that ask for none.
    pub pools: Vec<Pool>,
    /// Namespaces kept ready.
    pub spare_namespaces: usize,
    /// The routing mesh.
    pub mesh: MeshSettings,
}

/// What the routing mesh takes of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// Name of its bridge.
    pub bridge: String,
    /// Bits of marks of packets and connections.
    pub marks: Marks,
    /// Table of the routes back.
    pub table: u32,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self { bridge: "shoal-ingress".to_owned(), marks: Marks::default(), table: 0x5348 }
    }
}

impl Settings {
    /// Docker's defaults, beneath two directories.
    pub fn new(data_root: impl Into<PathBuf>, exec_root: impl Into<PathBuf>) -> Self {
        Self {
            data_root: data_root.into(),
            exec_root: exec_root.into(),
            default_network: true,
            bridge: "shoal0".to_owned(),
            bridge_address: None,
            bridge_range: None,
            inter_container: true,
            masquerade: true,
            forwarding: true,
            mtu: 1500,
            table: "shoal".to_owned(),
            mark: 0x0100_0000,
            pools: ipam::defaults(),
            spare_namespaces: 4,
            mesh: MeshSettings::default(),
        }
    }
}
