//! What can go wrong with networks, for callers outside.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use shoal_model::{Classified, ErrorKind, Fact, ObjectKind};

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
    #[error("network `{name}` is pre-defined and cannot be changed")]
    Predefined { name: String },
    #[error("invalid network name `{name}`: expected letters, digits, `_`, `.` and `-`")]
    InvalidName { name: String },
    #[error("invalid sandbox id `{id}`: expected letters, digits and `-`, at most 64")]
    InvalidSandbox { id: String },
    #[error(transparent)]
    Option(#[from] network::InvalidOption),
    #[error("invalid subnet `{subnet}` of network `{network}`: {why}")]
    InvalidSubnet { network: String, subnet: Subnet, why: &'static str },
    #[error("subnet `{subnet}` of network `{network}` overlaps {with}")]
    Overlap { network: String, subnet: Subnet, with: String },
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
    NoTarget { host: std::net::IpAddr, container_port: u16 },
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
    NoFreePort { protocol: Protocol, host: std::net::IpAddr, first: u16, last: u16 },
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
        match self {
            Self::NoSuchNetwork { .. } | Self::NoSuchSandbox { .. } | Self::NotJoined { .. } => {
                ErrorKind::NotFound
            }
            Self::AmbiguousNetwork { .. }
            | Self::InvalidName { .. }
            | Self::InvalidSandbox { .. }
            | Self::Option(_)
            | Self::InvalidSubnet { .. }
            | Self::NoSubnet { .. }
            | Self::NoParent { .. }
            | Self::NoMac { .. }
            | Self::NoTarget { .. } => ErrorKind::InvalidArgument,
            Self::Address { source, .. } => match source {
                ipam::Error::Outside { .. } => ErrorKind::InvalidArgument,
                ipam::Error::Taken { .. } => ErrorKind::Conflict,
                ipam::Error::Exhausted { .. } => ErrorKind::Unavailable,
            },
            Self::NetworkExists { .. }
            | Self::SandboxExists { .. }
            | Self::AlreadyJoined { .. }
            | Self::BridgeTaken { .. }
            | Self::VxlanPort { .. }
            | Self::MarksTaken { .. }
            | Self::NotABridge { .. } => ErrorKind::Conflict,
            Self::ParentTaken { .. }
            | Self::NetworkInUse { .. }
            | Self::Predefined { .. }
            | Self::Overlap { .. } => ErrorKind::Forbidden,
            Self::GivenUp { .. } => ErrorKind::Cancelled,
            Self::Pools { .. } => ErrorKind::Unavailable,
            Self::UnknownDriver { .. }
            | Self::NoProtocol { .. }
            | Self::NoGivenAddress { .. }
            | Self::NoLinkKind { .. } => ErrorKind::NotImplemented,
            Self::Damaged { .. } | Self::Newer { .. } => ErrorKind::DataLoss,
            Self::Several(errors) => errors.first().map_or(ErrorKind::Internal, Self::kind),
            Self::Port { .. }
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
            _ => None,
        }
    }
}
