//! What can go wrong with networks, for callers outside.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use shoal_model::{Classified, ErrorKind, Fact, NetworkId, NetworkRefusal, ObjectKind};

use crate::kernel::{namespace, nft, socket};
use crate::plan::ports::Protocol;
use crate::sandbox::SandboxId;
use crate::subnet::Subnet;
use crate::{ipam, network};

/// A failure of an operation on networks or sandboxes.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("network `{name}` not found")]
    NoSuchNetwork { name: String },
    #[error("several networks match `{prefix}`")]
    AmbiguousNetwork { prefix: String },
    #[error("network with name `{name}` already exists")]
    NetworkExists { name: String },
    #[error("network `{network}` is in use by {} endpoints", endpoints.len())]
    NetworkInUse { network: String, endpoints: Vec<String> },
    #[error("network `{name}` is pre-defined and cannot be removed")]
    Predefined { name: String },
    #[error("network `{name}` is pre-defined and cannot be created")]
    ReservedName { name: String },
    #[error("a network needs a name")]
    NoName,
    #[error("invalid sandbox id `{id}`: expected letters, digits and `-`, at most 64")]
    InvalidSandbox { id: String },
    #[error(transparent)]
    Option(#[from] network::InvalidOption),
    #[error("invalid subnet `{subnet}` of network `{network}`: {why}")]
    InvalidSubnet { network: String, subnet: Subnet, why: &'static str },
    #[error("subnet `{subnet}` of network `{network}` overlaps {with}")]
    Overlap { network: String, subnet: Subnet, with: String },
    #[error("bridge network `{network}` has several subnets of one family")]
    SeveralSubnets { network: String },
    #[error("network `{network}` has neither IPv4 nor IPv6")]
    NoFamily { network: String },
    #[error("gateway `{gateway}` of network `{network}` is no free host address of its subnet")]
    GatewayTaken { network: String, gateway: IpAddr },
    #[error(
        "auxiliary address `{address}` of network `{network}` is no free host address of its subnet"
    )]
    AuxiliaryTaken { network: String, name: String, address: IpAddr },
    #[error("bridge `{bridge}` is used by network `{by}`")]
    BridgeTaken { bridge: String, by: String },
    #[error("could not find an available subnet for network `{network}`")]
    Pools {
        network: String,
        #[source]
        source: ipam::PoolError,
    },
    #[error("failed to give sandbox `{sandbox}` an address of network `{network}`")]
    Address {
        sandbox: SandboxId,
        network: String,
        id: NetworkId,
        #[source]
        source: ipam::Error,
    },
    #[error("network `{network}` has no subnet for the wanted address `{address}`")]
    NoSubnet { network: String, address: String },
    #[error("sandbox `{sandbox}` does not exist")]
    NoSuchSandbox { sandbox: SandboxId },
    #[error("sandbox `{sandbox}` exists already")]
    SandboxExists { sandbox: SandboxId },
    #[error("sandbox `{sandbox}` was given up while it was being made")]
    GivenUp { sandbox: SandboxId },
    #[error("sandbox `{sandbox}` has joined network `{network}` already")]
    AlreadyJoined { sandbox: SandboxId, network: String },
    #[error("sandbox `{sandbox}` has not joined network `{network}`")]
    NotJoined { sandbox: SandboxId, network: String },
    #[error("failed to reserve port {protocol} `{address}` of the host")]
    Port {
        protocol: Protocol,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot publish port {container_port} at `{host}`: the container has no address of the same family"
    )]
    NoTarget { host: IpAddr, container_port: u16 },
    #[error(
        "cannot publish port {protocol} `{address}`: the kernel of this host has no {protocol}"
    )]
    NoProtocol {
        protocol: Protocol,
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("no free port {protocol} in {first} to {last} at `{host}`")]
    NoFreePort { protocol: Protocol, host: IpAddr, first: u16, last: u16 },
    #[error("failed to work on the namespace of sandbox `{sandbox}`")]
    Namespace {
        sandbox: SandboxId,
        #[source]
        source: namespace::Error,
    },
    #[error("sandbox `{sandbox}` has lost its namespace at `{path}`")]
    NamespaceLost { sandbox: SandboxId, path: PathBuf },
    #[error("the endpoint of sandbox `{sandbox}` on network `{network}` is gone")]
    EndpointLost { sandbox: SandboxId, network: String },
    #[error("failed to {step} of sandbox `{sandbox}`")]
    Link {
        sandbox: SandboxId,
        step: &'static str,
        #[source]
        source: socket::Error,
    },
    #[error("failed to {step} bridge `{bridge}`")]
    Bridge {
        bridge: String,
        step: &'static str,
        #[source]
        source: socket::Error,
    },
    #[error("parent link `{parent}` of network `{network}` does not exist on this host")]
    NoParent { network: String, parent: String },
    #[error(
        "network `{network}` cannot share parent link `{parent}` with network `{by}`: one of them is passthru"
    )]
    ParentTaken { network: String, parent: String, by: String },
    #[error("the kernel of this host has no links of kind `{kind}`")]
    NoLinkKind {
        kind: &'static str,
        #[source]
        source: socket::Error,
    },
    #[error("failed to {step} parent link `{parent}`")]
    Parent {
        parent: String,
        step: &'static str,
        #[source]
        source: socket::Error,
    },
    #[error(
        "members of ipvlan network `{network}` share the address of its parent: no MAC address can be chosen"
    )]
    NoMac { network: String },
    #[error(
        "only tasks of services can join overlay network `{network}` yet: the cluster gave no address on it"
    )]
    NoGivenAddress { network: String },
    #[error(
        "overlay network `{network}` cannot be made: another program of this host has UDP port {port}, which is for VXLAN (choose another one by `swarm init --data-path-port`)"
    )]
    VxlanPort { network: String, port: u16 },
    #[error("failed to {step} overlay network `{network}`")]
    Overlay {
        network: String,
        step: &'static str,
        #[source]
        source: socket::Error,
    },
    #[error("failed to {step} the namespace of overlay network `{network}`")]
    OverlayNamespace {
        network: String,
        step: &'static str,
        #[source]
        source: namespace::Error,
    },
    #[error("failed to {step} the routing mesh")]
    Mesh {
        step: &'static str,
        #[source]
        source: socket::Error,
    },
    #[error(
        "bits {mask:#x} of marks, which the routing mesh needs, are used by the routing rule with priority {priority} of another program: choose others by `mesh-mark-shift`"
    )]
    MarksTaken { mask: u32, priority: u32 },
    #[error("link `{bridge}` exists and is not a bridge")]
    NotABridge { bridge: String },
    #[error("failed to set kernel parameter `net/{key}`")]
    Sysctl {
        key: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to read the host's links and routes")]
    ReadHost(#[source] socket::Error),
    #[error("failed to forget tracked connections of a published port")]
    Connections(#[source] socket::Error),
    #[error("failed to open a netlink socket")]
    OpenHost(#[source] io::Error),
    #[error("failed to duplicate the socket of a published port")]
    Duplicate(#[source] io::Error),
    #[error(transparent)]
    Nftables(#[from] nft::Error),
    #[error("failed to {step} `{path}`")]
    File {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("record `{path}` is damaged")]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("record `{path}` has format {format}, this release knows formats up to {known}")]
    Newer { path: PathBuf, format: u32, known: u32 },
    #[error("networks of driver `{driver}` are not implemented")]
    UnknownDriver { driver: String },
    #[error(transparent)]
    Lost(#[from] shoal_base::blocking::Lost),
    #[error("{} steps failed, the first: {}", .0.len(), shoal_model::error::Chain(&.0[0]))]
    Several(Vec<Error>),
}

impl Error {
    /// One error of several steps that were all attempted.
    pub(crate) fn collect(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => errors.pop().map_or(Ok(()), Err),
            _ => Err(Self::Several(errors)),
        }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        if let Some(refusal) = self.refusal() {
            return refusal.kind();
        }
        match self {
            Self::NoSuchNetwork { .. } | Self::NoSuchSandbox { .. } | Self::NotJoined { .. } => {
                ErrorKind::NotFound
            }
            Self::AmbiguousNetwork { .. }
            | Self::InvalidSandbox { .. }
            | Self::Option(_)
            | Self::InvalidSubnet { .. }
            | Self::NoSubnet { .. }
            | Self::NoParent { .. }
            | Self::NoMac { .. }
            | Self::NoTarget { .. } => ErrorKind::InvalidArgument,
            Self::SandboxExists { .. }
            | Self::BridgeTaken { .. }
            | Self::VxlanPort { .. }
            | Self::MarksTaken { .. }
            | Self::NotABridge { .. } => ErrorKind::Conflict,
            Self::ParentTaken { .. } | Self::NetworkInUse { .. } | Self::AlreadyJoined { .. } => {
                ErrorKind::Forbidden
            }
            Self::GivenUp { .. } => ErrorKind::Cancelled,
            Self::UnknownDriver { .. }
            | Self::NoProtocol { .. }
            | Self::NoGivenAddress { .. }
            | Self::NoLinkKind { .. } => ErrorKind::NotImplemented,
            Self::Damaged { .. } | Self::Newer { .. } => ErrorKind::DataLoss,
            Self::Several(errors) => errors.first().map_or(ErrorKind::Internal, Self::kind),
            // Of those only one has no words of docker.
            Self::Address { .. } => ErrorKind::InvalidArgument,
            // Their kinds are those of their refusals.
            Self::NoName
            | Self::NoFamily { .. }
            | Self::Pools { .. }
            | Self::NetworkExists { .. }
            | Self::Predefined { .. }
            | Self::ReservedName { .. }
            | Self::SeveralSubnets { .. }
            | Self::Overlap { .. }
            | Self::GatewayTaken { .. }
            | Self::AuxiliaryTaken { .. }
            | Self::Port { .. }
            | Self::NoFreePort { .. }
            | Self::Namespace { .. }
            | Self::NamespaceLost { .. }
            | Self::EndpointLost { .. }
            | Self::Link { .. }
            | Self::Bridge { .. }
            | Self::Overlay { .. }
            | Self::OverlayNamespace { .. }
            | Self::Mesh { .. }
            | Self::Parent { .. }
            | Self::Sysctl { .. }
            | Self::ReadHost(_)
            | Self::OpenHost(_)
            | Self::Connections(_)
            | Self::Duplicate(_)
            | Self::Nftables(_)
            | Self::File { .. }
            | Self::Lost(_) => ErrorKind::Internal,
        }
    }

    fn fact(&self) -> Option<Fact> {
        let object = ObjectKind::Network;
        match self {
            Self::NoSuchNetwork { name } => Some(Fact::NoSuch { object, name: name.clone() }),
            Self::AmbiguousNetwork { prefix } => {
                Some(Fact::Ambiguous { object, prefix: prefix.clone() })
            }
            Self::NetworkInUse { network, endpoints } => {
                Some(Fact::NetworkInUse { network: network.clone(), endpoints: endpoints.clone() })
            }
            _ => self.refusal().map(Fact::Network),
        }
    }
}

impl Error {
    /// What clients know docker's words for.
    fn refusal(&self) -> Option<NetworkRefusal> {
        Some(match self {
            Self::ReservedName { name } => NetworkRefusal::ReservedName { name: name.clone() },
            Self::Predefined { name } => NetworkRefusal::Predefined { name: name.clone() },
            Self::NoName => NetworkRefusal::NoName,
            Self::NetworkExists { name } => NetworkRefusal::NameTaken { name: name.clone() },
            Self::Overlap { .. } => NetworkRefusal::Overlap { detail: self.to_string() },
            Self::SeveralSubnets { .. } => NetworkRefusal::SeveralSubnets,
            Self::NoFamily { .. } => NetworkRefusal::NoFamily,
            Self::Pools { .. } => NetworkRefusal::PoolsExhausted,
            Self::GatewayTaken { gateway, .. } => {
                NetworkRefusal::GatewayTaken { gateway: *gateway }
            }
            Self::AuxiliaryTaken { name, address, .. } => {
                NetworkRefusal::AuxiliaryTaken { name: name.clone(), address: *address }
            }
            Self::Address { source: ipam::Error::Taken { address }, .. } => {
                NetworkRefusal::AddressTaken { address: *address }
            }
            Self::Address { source: ipam::Error::Exhausted { range }, network, id, .. } => {
                NetworkRefusal::AddressesExhausted {
                    network: network.clone(),
                    id: id.to_string(),
                    ipv6: !range.is_ipv4(),
                }
            }
            Self::Port { address, source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                NetworkRefusal::PortTaken { address: *address }
            }
            Self::NoFreePort { host, first, last, .. } => {
                NetworkRefusal::PortsTaken { host: *host, first: *first, last: *last }
            }
            _ => return None,
        })
    }
}
