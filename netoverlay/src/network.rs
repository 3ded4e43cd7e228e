//! Networks: what a user asks for, and what is in force. Plain types and their checks. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use shoal_model::{NetworkId, Timestamp, boolean};

use crate::parent::ParentOptions;
use crate::plan::networks::BridgeView;
use crate::subnet::Subnet;

/// Who makes a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of this host.
    Bridge,
    /// The host's own stack.
    Host,
    /// Loopback only.
    Null,
    /// Links of their own address on a link of the host.
    Macvlan,
    /// Links that share the address of a link of the host.
    Ipvlan,
    /// Spans the nodes of a cluster, which gives the addresses.
    Overlay,
}

impl Driver {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Overlay => "overlay",
        }
    }

    /// Whether sandboxes have endpoints with addresses on such networks.
    pub const fn has_endpoints(self) -> bool {
        matches!(self, Self::Bridge | Self::Macvlan | Self::Ipvlan | Self::Overlay)
    }
}

/// One subnet as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolSpec {
    /// `None`: one of the default pools.
    pub subnet: Option<Subnet>,
    /// Endpoints get addresses of this part only.
    pub range: Option<Subnet>,
    /// `None`: the first free address.
    pub gateway: Option<IpAddr>,
    /// Never given out, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// A network as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Who makes it.
    pub driver: Driver,
    /// Endpoints have IPv4 addresses.
    pub ipv4: bool,
    /// Endpoints have IPv6 addresses.
    pub ipv6: bool,
    /// No way out or in.
    pub internal: bool,
    /// Kept for inspect.
    pub attachable: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options, docker's names.
    pub options: BTreeMap<String, String>,
    /// Options of the address manager; kept for inspect.
    pub ipam_options: BTreeMap<String, String>,
    /// Subnets.
    pub pools: Vec<PoolSpec>,
}

impl NetworkSpec {
    /// A bridge network that leaves everything to the defaults.
    pub fn bridge(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            driver: Driver::Bridge,
            ipv4: true,
            ipv6: false,
            internal: false,
            attachable: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            ipam_options: BTreeMap::new(),
            pools: Vec::new(),
        }
    }
}

/// A subnet in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Without host part.
    pub subnet: Subnet,
    /// Endpoints get addresses of this part only.
    pub range: Option<Subnet>,
    /// The bridge's address.
    pub gateway: IpAddr,
    /// Never given out, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// A network in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// When it was made.
    pub created: Timestamp,
    /// As asked for.
    pub spec: NetworkSpec,
    /// Subnets, in the order of the spec. Empty unless the driver has endpoints.
    pub pools: Vec<Pool>,
    /// How the bridge is made; `None` unless the driver is bridge.
    pub bridge: Option<BridgeOptions>,
    /// What it lies on; `None` unless the driver is macvlan or ipvlan.
    #[serde(default)]
    pub parent: Option<ParentOptions>,
    /// `None` unless the driver is overlay.
    #[serde(default)]
    pub overlay: Option<OverlayOptions>,
    /// `None` unless it is the routing mesh's: a bridge of this host that spans the nodes.
    #[serde(default)]
    pub mesh: Option<MeshOptions>,
}

/// What the cluster says of the routing mesh's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshOptions {
    /// Of this node; its addresses on the bridge follow from it.
    pub index: u16,
    /// VXLAN id.
    pub vni: u32,
}

/// Options of an overlay network, as the cluster chose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayOptions {
    /// VXLAN id.
    pub vni: u32,
    /// Largest packet of the members, bytes.
    pub mtu: u32,
}

impl Network {
    /// Its subnet of a family, if it has one.
    pub fn pool(&self, ipv4: bool) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.subnet.is_ipv4() == ipv4)
    }

    /// Whether the cluster gives its addresses.
    pub fn is_of_cluster(&self) -> bool {
        self.overlay.is_some() || self.mesh.is_some()
    }

    /// What the rules must know of it; `None` unless the driver is bridge.
    pub fn view(&self) -> Option<BridgeView> {
        let bridge = self.bridge.as_ref()?;
        Some(BridgeView {
            bridge: bridge.name.clone(),
            subnets: self.pools.iter().map(|pool| pool.subnet).collect(),
            internal: self.spec.internal,
            inter_container: bridge.inter_container,
            masquerade: bridge.masquerade,
        })
    }
}

/// Options of the bridge driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeOptions {
    /// Name of the link.
    pub name: String,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Members reach each other.
    pub inter_container: bool,
    /// Members take the host's address outside.
    pub masquerade: bool,
    /// Address of the host on which ports are published when none is given.
    pub publish_on: Option<Ipv4Addr>,
    /// Interfaces in sandboxes are called this and a number.
    pub interface_prefix: String,
}

/// A driver option that cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value `{value}` of network option `{option}`: expected {expected}")]
pub struct InvalidOption {
    /// The option.
    pub option: String,
    /// What was given.
    pub value: String,
    /// What would be right.
    pub expected: &'static str,
}

const NAME: &str = "com.docker.network.bridge.name";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";
pub(crate) const PREFIX: &str = "com.docker.network.container_iface_prefix";
/// Accepted, because clients send it: it marks docker's default bridge, which Shoal names by setting.
const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
/// The families of the network: whoever reads the spec knows them; they are checked here.
const FAMILIES: [&str; 2] = ["com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"];
/// Longest name of a link.
const INTERFACE_LEN_MAX: usize = 15;
/// Smallest packet that IPv4 allows.
const MTU_MIN: u32 = 68;

impl BridgeOptions {
    /// Reads docker's options.
    ///
    /// # Errors
    /// The first option that is unknown or malformed.
    pub fn parse(
        options: &BTreeMap<String, String>,
        default_name: String,
        default_mtu: u32,
    ) -> Result<Self, InvalidOption> {
        let mut parsed = Self {
            name: default_name,
            mtu: default_mtu,
            inter_container: true,
            masquerade: true,
            publish_on: None,
            interface_prefix: "eth".to_owned(),
        };
        for (option, value) in options {
            let invalid =
                |expected| InvalidOption { option: option.clone(), value: value.clone(), expected };
            let flag = || boolean::parse(value).ok_or_else(|| invalid("true or false"));
            match option.as_str() {
                NAME if is_interface_name(value) => parsed.name.clone_from(value),
                NAME => return Err(invalid("the name of a link, at most 15 characters")),
                ICC => parsed.inter_container = flag()?,
                MASQUERADE => parsed.masquerade = flag()?,
                HOST_BINDING => {
                    let address = value.parse().map_err(|_| invalid("an IPv4 address"))?;
                    parsed.publish_on = Some(address);
                }
                MTU => {
                    let mtu = value.parse().ok().filter(|mtu| (MTU_MIN..=65535).contains(mtu));
                    parsed.mtu = mtu.ok_or_else(|| invalid("a number from 68 to 65535"))?;
                }
                PREFIX if is_interface_prefix(value) => {
                    parsed.interface_prefix.clone_from(value);
                }
                PREFIX => return Err(invalid("the beginning of the name of a link")),
                DEFAULT_BRIDGE => {
                    flag()?;
                }
                family if FAMILIES.contains(&family) => {
                    flag()?;
                }
                _ => return Err(invalid("an option that the bridge driver of Shoal knows")),
            }
        }
        Ok(parsed)
    }
}

/// Whether names of links may begin so.
pub(crate) fn is_interface_prefix(prefix: &str) -> bool {
    is_interface_name(&format!("{prefix}99"))
}

/// Whether a link may be called so.
pub fn is_interface_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=INTERFACE_LEN_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && !matches!(name, "all" | "default" | "lo")
}
