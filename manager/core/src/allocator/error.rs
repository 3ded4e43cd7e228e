//! Why something could not be given. The text goes to the object's error field, where users read it.

use std::net::IpAddr;

use shoal_model::cluster::service::Protocol;
use shoal_model::cluster::{ClusterNetworkId, IpPrefix, ServiceId};
use shoal_model::error::{Classified, ErrorKind};

/// A wish that cannot be granted now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the text says it")]
pub enum Error {
    #[error("subnet `{subnet}` overlaps `{taken}` of network `{by}`")]
    Overlap { subnet: IpPrefix, taken: IpPrefix, by: String },
    #[error("subnet `{subnet}` overlaps `{with}` of the same network")]
    OverlapsItself { subnet: IpPrefix, with: IpPrefix },
    #[error("invalid subnet `{subnet}`: {why}")]
    Subnet { subnet: String, why: &'static str },
    #[error("address `{address}` is not within subnet `{subnet}`")]
    Outside { address: String, subnet: IpPrefix },
    #[error("no free subnet is left in the address pools {pools}")]
    NoSubnet { pools: String },
    #[error("address management driver `{driver}` is not available in a cluster")]
    IpamDriver { driver: String },
    #[error("a network needs IPv4 or IPv6")]
    NoFamily,
    #[error("invalid value `{value}` of network option `{option}`")]
    Option { option: &'static str, value: String },
    #[error("VXLAN id {vni} is taken by network `{by}`")]
    VniTaken { vni: u32, by: String },
    #[error("no free VXLAN id is left")]
    NoVni,
    #[error("no network `{target}`")]
    NoNetwork { target: String },
    #[error("there is no ingress network to publish ports on")]
    NoIngress,
    #[error("network `{name}` has no addresses yet")]
    NotReady { network: ClusterNetworkId, name: String },
    #[error("network `{name}` could not be set up: {reason}")]
    Broken { network: ClusterNetworkId, name: String, reason: String },
    #[error("network `{name}` has no free address left in `{subnet}`")]
    NoAddress { network: ClusterNetworkId, name: String, subnet: IpPrefix },
    #[error("address `{address}` is in use on network `{name}`")]
    AddressTaken { network: ClusterNetworkId, name: String, address: IpAddr },
    #[error("`{address}` is no address of network `{name}`")]
    NoSuchAddress { network: ClusterNetworkId, name: String, address: String },
    #[error("port '{port}' is already in use by service '{name}' ({by}) as an ingress port")]
    PortTaken { port: u16, protocol: Protocol, name: String, by: ServiceId },
    #[error("port '{port}' is published twice by the same service")]
    PortTwice { port: u16, protocol: Protocol },
    #[error("no free port is left between {first} and {last}")]
    NoPort { first: u16, last: u16 },
    #[error("{reason}")]
    Service { service: ServiceId, reason: String },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::OverlapsItself { .. }
            | Self::Subnet { .. }
            | Self::Outside { .. }
            | Self::IpamDriver { .. }
            | Self::NoFamily
            | Self::Option { .. }
            | Self::NoSuchAddress { .. }
            | Self::PortTwice { .. } => ErrorKind::InvalidArgument,
            Self::NoNetwork { .. } => ErrorKind::NotFound,
            Self::Overlap { .. }
            | Self::VniTaken { .. }
            | Self::AddressTaken { .. }
            | Self::PortTaken { .. }
            | Self::Service { .. } => ErrorKind::Conflict,
            Self::NoSubnet { .. }
            | Self::NoVni
            | Self::NoIngress
            | Self::NotReady { .. }
            | Self::Broken { .. }
            | Self::NoAddress { .. }
            | Self::NoPort { .. } => ErrorKind::Unavailable,
        }
    }
}

/// What must change before it is worth trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// A network came, went, or got or freed its subnet or VXLAN id.
    Networks,
    /// That network was allocated, or an address of it was freed.
    Network(ClusterNetworkId),
    /// A port was freed.
    Ports,
    /// The service's endpoint was decided.
    Service(ServiceId),
    /// Nothing but the object itself.
    Itself,
}

impl Error {
    pub(super) const fn cause(&self) -> Cause {
        match self {
            Self::Overlap { .. }
            | Self::NoSubnet { .. }
            | Self::VniTaken { .. }
            | Self::NoVni
            | Self::NoNetwork { .. }
            | Self::NoIngress => Cause::Networks,
            Self::NotReady { network, .. }
            | Self::Broken { network, .. }
            | Self::NoAddress { network, .. }
            | Self::AddressTaken { network, .. }
            | Self::NoSuchAddress { network, .. } => Cause::Network(*network),
            Self::PortTaken { .. } | Self::NoPort { .. } => Cause::Ports,
            Self::Service { service, .. } => Cause::Service(*service),
            Self::OverlapsItself { .. }
            | Self::Subnet { .. }
            | Self::Outside { .. }
            | Self::IpamDriver { .. }
            | Self::NoFamily
            | Self::Option { .. }
            | Self::PortTwice { .. } => Cause::Itself,
        }
    }

    /// What the object's error field says: nothing while a matter of course is waited for.
    pub(super) fn text(&self) -> String {
        match self {
            Self::NotReady { .. } => String::new(),
            other => other.to_string(),
        }
    }
}
