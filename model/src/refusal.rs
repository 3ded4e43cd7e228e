//! Why networks refuse, where clients expect dockerd's exact words. The words themselves live in `api` only.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::error::ErrorKind;

/// A refusal of the network side.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum NetworkRefusal {
    /// A network shall be created with the name of one that always exists.
    ReservedName { name: String },
    /// A network that always exists shall be removed.
    Predefined { name: String },
    /// A network has no name, or one of blanks.
    NoName,
    /// A network with this name exists.
    NameTaken { name: String },
    /// A subnet shares addresses with another one. `detail` says which.
    Overlap { detail: String },
    /// A network of this driver has at most one subnet per family.
    SeveralSubnets,
    /// A network shall have neither IPv4 nor IPv6.
    NoFamily,
    /// All subnets of the default pools are given away.
    PoolsExhausted,
    /// The wanted gateway is the subnet's own or its broadcast address, or an auxiliary one.
    GatewayTaken { gateway: IpAddr },
    /// An auxiliary address is the gateway, the subnet's own or its broadcast address, or given twice.
    AuxiliaryTaken { name: String, address: IpAddr },
    /// All addresses of a network's subnet are given away.
    AddressesExhausted { network: String, id: String, ipv6: bool },
    /// An endpoint has the wanted address already.
    AddressTaken { address: IpAddr },
    /// Somebody listens at the address of a published port.
    PortTaken { address: SocketAddr },
    /// Somebody listens at every port of a range.
    PortsTaken { host: IpAddr, first: u16, last: u16 },
    /// The container is on the network already.
    Joined { container: String, network: String },
    /// The container is not on the network. `container` is its id.
    NotJoined { container: String, network: String, running: bool },
    /// A container with a stack of its own shall join the host's.
    JoinHost,
    /// A container that uses the host's stack shall leave it.
    LeaveHost,
    /// A container that has the stack of another one or of the host shall join a network.
    SharedStack,
    /// A container without networks shall join one, or the other way round.
    NoneMode,
    /// The container whose stack is to be joined does not exist.
    JoinMissing { name: String },
    /// The container whose stack is to be joined does not run. `state` is docker's word.
    JoinStopped { container: String, state: String },
    /// A container shall join its own stack.
    JoinSelf,
    /// The container is being removed. `container` is its id.
    BeingRemoved { container: String },
}

impl NetworkRefusal {
    /// What sort of failure it is. Some are the user's mistakes and yet dockerd calls them its own failures.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NoName
            | Self::NoFamily
            | Self::PoolsExhausted
            | Self::JoinHost
            | Self::LeaveHost
            | Self::SharedStack
            | Self::NoneMode => ErrorKind::InvalidArgument,
            Self::ReservedName { .. }
            | Self::Predefined { .. }
            | Self::Overlap { .. }
            | Self::SeveralSubnets
            | Self::AddressTaken { .. }
            | Self::Joined { .. } => ErrorKind::Forbidden,
            Self::NameTaken { .. } | Self::JoinStopped { .. } => ErrorKind::Conflict,
            Self::GatewayTaken { .. }
            | Self::AuxiliaryTaken { .. }
            | Self::AddressesExhausted { .. }
            | Self::PortTaken { .. }
            | Self::PortsTaken { .. }
            | Self::NotJoined { .. }
            | Self::JoinMissing { .. }
            | Self::JoinSelf
            | Self::BeingRemoved { .. } => ErrorKind::Internal,
        }
    }
}

/// For logs and records.
impl fmt::Display for NetworkRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedName { name } => write!(f, "the name `{name}` is pre-defined"),
            Self::Predefined { name } => write!(f, "network `{name}` is pre-defined"),
            Self::NoName => f.write_str("a network needs a name"),
            Self::NameTaken { name } => write!(f, "a network `{name}` exists already"),
            Self::Overlap { detail } => f.write_str(detail),
            Self::SeveralSubnets => f.write_str("a bridge has one subnet per family"),
            Self::NoFamily => f.write_str("a network needs IPv4 or IPv6"),
            Self::PoolsExhausted => f.write_str("no subnet is left in the default pools"),
            Self::GatewayTaken { gateway } => write!(f, "gateway `{gateway}` is not free"),
            Self::AuxiliaryTaken { address, .. } => {
                write!(f, "auxiliary address `{address}` is not free")
            }
            Self::AddressesExhausted { network, .. } => {
                write!(f, "no address is left on network `{network}`")
            }
            Self::AddressTaken { address } => write!(f, "address `{address}` is in use"),
            Self::PortTaken { address } => write!(f, "port `{address}` is in use"),
            Self::PortsTaken { host, first, last } => {
                write!(f, "all ports from {first} to {last} at `{host}` are in use")
            }
            Self::Joined { network, .. } => write!(f, "it is on network `{network}` already"),
            Self::NotJoined { network, .. } => write!(f, "it is not on network `{network}`"),
            Self::JoinHost => f.write_str("only at its creation can it join the host's stack"),
            Self::LeaveHost => f.write_str("it cannot leave the host's stack"),
            Self::SharedStack => f.write_str("its stack is another one's"),
            Self::NoneMode => f.write_str("network `none` excludes all others"),
            Self::JoinMissing { name } => write!(f, "there is no container `{name}` to join"),
            Self::JoinStopped { container, state } => {
                write!(f, "container `{container}`, which it joins, is {state}")
            }
            Self::JoinSelf => f.write_str("it cannot join itself"),
            Self::BeingRemoved { .. } => f.write_str("it is being removed"),
        }
    }
}
