//! The port through which the engine gets container networks. The daemon implements it over `netoverlay`.
//!
//! # How the two sides share the work
//! The network side makes every sandbox (network namespace) itself, ahead of need where it can, and hands
//! it out as a **path** that stays valid until [`Networking::detach`]. The shim only joins that path, so a
//! start needs no step between creating the container and releasing it, and the engine can run image,
//! spec and network preparation side by side.
//!
//! - `attach` is called once per start, before the shim is spawned; `detach` once the init process has
//!   ended, after the exit was reported, and for every failed start. `detach` is idempotent and also
//!   takes back a sandbox whose `attach` was cancelled half-way.
//! - Descriptors that must survive the daemon (a bound socket per published port, the sandbox's DNS
//!   sockets) are returned by `attach` and `connect`; the engine puts **duplicates** into the shim's store
//!   and gives them back in [`RestoreSandbox::descriptors`].
//! - After a restart of the daemon `restore` is called exactly once, before any other method but
//!   `resolve`, with every container that still lives; whatever else the network side finds (addresses,
//!   veths, namespaces, rules of other containers) is a leftover and is removed.
//! - Files (`/etc/hosts`, `/etc/resolv.conf`) are the engine's. It writes them from [`NetworkSettings`],
//!   and again after `connect` and `disconnect`.
//! - Containers in `container:<id>` mode are not attached: they join the path of the other one's sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shoal_model::container::{EndpointSpec, PortBinding};
use shoal_model::{ContainerId, Failure, NetworkId};

/// Networks of this host, as the engine needs them. Failures carry a kind; an unknown network is
/// `Fact::NoSuch { object: Network, .. }`.
#[async_trait]
pub trait Networking: Debug + Send + Sync + 'static {
    /// Finds a network by name, id or unique id prefix. `bridge`, `host` and `none` always exist.
    ///
    /// # Errors
    /// When there is none, or the prefix fits several.
    async fn resolve(&self, name: &str) -> Result<NetworkReference, Failure>;

    /// Whether `resolve` finds every network that there is. It does not where this host is in a cluster, whose networks
    /// become known here with the first container on them.
    fn knows_all(&self) -> bool {
        true
    }

    /// Makes a sandbox, joins it to its networks and publishes its ports. Undoes itself on failure.
    ///
    /// # Errors
    /// Unknown network, address or port taken, or the kernel's refusal.
    ///
    /// # Cancel safety
    /// When dropped, `detach` removes what was made.
    async fn attach(&self, request: AttachRequest) -> Result<Attached, Failure>;

    /// Removes a container's sandbox, endpoints, addresses and ports. Attempts every step; an unknown
    /// container is fine.
    ///
    /// # Errors
    /// When something stayed behind (it is retried by the next `restore`).
    async fn detach(&self, container: &ContainerId) -> Result<(), Failure>;

    /// Takes over the sandboxes of containers that outlived the previous daemon and removes all others.
    /// Answers one result per given container: its settings as they are now, or why it could not be
    /// restored (the container runs on, without that network).
    ///
    /// # Errors
    /// When the network side cannot work at all.
    async fn restore(
        &self,
        sandboxes: Vec<RestoreSandbox>,
    ) -> Result<BTreeMap<ContainerId, Result<NetworkSettings, Failure>>, Failure>;

    /// Joins a running container to a further network.
    ///
    /// # Errors
    /// As `attach`; also when it is joined already (`Conflict`).
    async fn connect(
        &self,
        container: &ContainerId,
        endpoint: EndpointRequest,
    ) -> Result<Attached, Failure>;

    /// Takes a running container off a network; returns what is left, and the names of descriptors that
    /// the shim need no longer keep.
    ///
    /// # Errors
    /// When it is not joined (`NotFound`).
    async fn disconnect(
        &self,
        container: &ContainerId,
        network: &NetworkId,
    ) -> Result<Disconnected, Failure>;

    /// Gives a running container another name in DNS.
    ///
    /// # Errors
    /// When the container is unknown.
    async fn rename(&self, container: &ContainerId, name: &str) -> Result<(), Failure>;
}

/// A network's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReference {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// `bridge`, `host`, `null`, `overlay`, `macvlan` ….
    pub driver: String,
}

/// Whose network stack a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxKind {
    /// A namespace of its own. Without endpoints: loopback only.
    Private,
    /// The host's: no namespace, no addresses, only an endpoint in the records of network `host`.
    Host,
}

/// Everything the network side must know to start a container's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachRequest {
    /// The container.
    pub container: ContainerId,
    /// Its name without slash: a DNS name on user-defined networks.
    pub name: String,
    /// Host name; also answered by DNS.
    pub hostname: String,
    /// NIS domain name, empty for none.
    pub domainname: String,
    /// Whose stack.
    pub kind: SandboxKind,
    /// Networks to join, the main one first. Mode `none` names network `none`, mode `host` network `host`.
    pub endpoints: Vec<EndpointRequest>,
    /// Published ports: `port/proto` → bindings.
    pub ports: BTreeMap<String, Vec<PortBinding>>,
    /// Publish every exposed port that has no binding on a random port of the host.
    pub publish_all: bool,
    /// `port/proto` that the image or the user exposes.
    pub exposed: BTreeSet<String>,
    /// The user's resolver settings; empty lists: the daemon's, then the host's.
    pub dns: DnsSettings,
}

/// One network to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRequest {
    /// Name or id as the user wrote it.
    pub network: String,
    /// Wanted settings.
    pub spec: EndpointSpec,
}

/// Resolver settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsSettings {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains; a single `.` means none.
    pub search: Vec<String>,
    /// Options such as `ndots:2`.
    pub options: Vec<String>,
}

/// What `attach` and `connect` made.
#[derive(Debug)]
pub struct Attached {
    /// The whole network of the container as it is now.
    pub settings: NetworkSettings,
    /// Descriptors the shim shall keep; names are unique per container.
    pub descriptors: Vec<KeptDescriptor>,
}

/// What `disconnect` left.
#[derive(Debug)]
pub struct Disconnected {
    /// The whole network of the container as it is now.
    pub settings: NetworkSettings,
    /// Names of descriptors the shim shall close.
    pub drop: Vec<String>,
}

/// A file descriptor kept by the shim on behalf of the network side.
#[derive(Debug)]
pub struct KeptDescriptor {
    /// Unique per container, e.g. `port/tcp/0.0.0.0:8080`.
    pub name: String,
    /// A duplicate for the shim.
    pub descriptor: OwnedFd,
}

/// A container that lives on after a restart of the daemon.
#[derive(Debug)]
pub struct RestoreSandbox {
    /// What it was attached with, networks connected since included.
    pub request: AttachRequest,
    /// What the previous daemon had made, from the engine's records.
    pub settings: NetworkSettings,
    /// What the shim kept.
    pub descriptors: Vec<KeptDescriptor>,
}

/// A container's network as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSettings {
    /// Path of the namespace, joined by the shim; `None`: the host's network.
    pub sandbox: Option<PathBuf>,
    /// Docker's `SandboxID`: 64 hex digits.
    pub sandbox_id: String,
    /// Joined networks by **name**.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// `port/proto` → bindings in force. An exposed port that is not published has an empty list.
    pub ports: BTreeMap<String, Vec<PublishedPort>>,
    /// What `/etc/resolv.conf` must say.
    pub resolver: DnsSettings,
    /// Address that `host-gateway` stands for; `None`: there is none.
    pub host_gateway: Option<IpAddr>,
}

/// A port of the host that leads into the container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Address of the host.
    pub host_ip: IpAddr,
    /// Port of the host.
    pub host_port: u16,
}

/// A container on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSettings {
    /// The network.
    pub network: NetworkId,
    /// 64 hex digits.
    pub endpoint: String,
    /// What was asked for.
    pub spec: EndpointSpec,
    /// Address and prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Address and prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Gateway.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// MAC address, lower case with colons; empty when it has none.
    pub mac_address: String,
    /// Names answered by DNS on this network.
    pub dns_names: Vec<String>,
    /// Interface in the sandbox, e.g. `eth0`; empty when there is none.
    pub interface: String,
}
