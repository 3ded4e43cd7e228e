//! Namespaces and the kernel parameters within them. Pure.
//!
//! Source: moby `daemon/oci_linux.go WithNamespaces, WithCommonOptions`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use shoal_model::container::{HostSpec, IpcMode, NamespaceMode, NetworkMode};

use super::facts::CgroupVersion;
use super::oci::Namespace;
use super::security::{OwnNamespaces, check_sysctls};
use super::{Error, Inputs};

/// Namespaces that exist before the container starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespacePaths {
    /// The container's sandbox, or that of the container it joins. `None`: a new, empty one.
    pub network: Option<PathBuf>,
    /// Of the container whose pid namespace is joined.
    pub pid: Option<PathBuf>,
    /// Of the container whose IPC namespace is joined.
    pub ipc: Option<PathBuf>,
}

/// The namespaces of a container, in docker's order.
pub(super) fn decide(inputs: &Inputs<'_>) -> Result<Vec<Namespace>, Error> {
    let host = &inputs.spec.host;
    let paths = inputs.namespaces;
    let mut namespaces = vec![new("mount")];
    match &host.network_mode {
        NetworkMode::Host => {}
        NetworkMode::Container(other) => {
            namespaces.push(joined("network", other, paths.network.as_ref())?);
        }
        _ => namespaces.push(paths.network.as_ref().map_or_else(
            || new("network"),
            |path| Namespace { kind: "network".to_owned(), path: path.display().to_string() },
        )),
    }
    match &host.uts_mode {
        NamespaceMode::Host => {}
        NamespaceMode::Container(other) => return Err(not_shareable("UTS", other)),
        NamespaceMode::Default | NamespaceMode::Private => namespaces.push(new("uts")),
    }
    match &host.pid_mode {
        NamespaceMode::Host => {}
        NamespaceMode::Container(other) => {
            namespaces.push(joined("pid", other, paths.pid.as_ref())?);
        }
        NamespaceMode::Default | NamespaceMode::Private => namespaces.push(new("pid")),
    }
    match &host.ipc_mode {
        IpcMode::Host => {}
        IpcMode::Container(other) => {
            namespaces.push(joined("ipc", other, paths.ipc.as_ref())?);
        }
        IpcMode::Default | IpcMode::None | IpcMode::Private | IpcMode::Shareable => {
            namespaces.push(new("ipc"));
        }
    }
    if own_cgroup_namespace(inputs)? {
        namespaces.push(new("cgroup"));
    }
    Ok(namespaces)
}

fn new(kind: &str) -> Namespace {
    Namespace { kind: kind.to_owned(), path: String::new() }
}

fn joined(kind: &'static str, other: &str, path: Option<&PathBuf>) -> Result<Namespace, Error> {
    let missing = || Error::NamespaceNotGathered { namespace: kind, container: other.to_owned() };
    let path = path.ok_or_else(missing)?.display().to_string();
    Ok(Namespace { kind: kind.to_owned(), path })
}

fn not_shareable(namespace: &'static str, container: &str) -> Error {
    Error::NamespaceNotShareable { namespace, container: container.to_owned() }
}

/// On v1 the host's is the default, and always that of privileged containers.
fn own_cgroup_namespace(inputs: &Inputs<'_>) -> Result<bool, Error> {
    let host = &inputs.spec.host;
    let by_version = match inputs.host.cgroup {
        CgroupVersion::V1 => false,
        CgroupVersion::V2 => true,
    };
    let fallback = match &inputs.daemon.cgroupns_mode {
        _ if host.privileged && inputs.host.cgroup == CgroupVersion::V1 => false,
        NamespaceMode::Private => true,
        NamespaceMode::Host => false,
        NamespaceMode::Default | NamespaceMode::Container(_) => by_version,
    };
    match &host.cgroupns_mode {
        NamespaceMode::Private => Ok(true),
        NamespaceMode::Host => Ok(false),
        NamespaceMode::Default => Ok(fallback),
        NamespaceMode::Container(other) => Err(not_shareable("cgroup", other)),
    }
}

/// Whether the network namespace is the container's alone.
fn own_network(host: &HostSpec) -> bool {
    !matches!(host.network_mode, NetworkMode::Host | NetworkMode::Container(_))
}

/// Refuses parameters of namespaces that the container shares with the host.
pub(super) fn check_sysctls_of(host: &HostSpec) -> Result<(), Error> {
    let own = OwnNamespaces {
        network: host.network_mode != NetworkMode::Host,
        ipc: host.ipc_mode != IpcMode::Host,
        uts: host.uts_mode != NamespaceMode::Host,
    };
    check_sysctls(&host.sysctls, own)
}

/// Docker's parameters and those of the user, which win.
pub(super) fn sysctls(inputs: &Inputs<'_>) -> Result<BTreeMap<String, String>, Error> {
    let host = &inputs.spec.host;
    let own_uts = host.uts_mode != NamespaceMode::Host;
    check_sysctls_of(host)?;
    let mut sysctls = BTreeMap::new();
    if own_network(host) {
        // Unprivileged pings and low ports need no capability in a network of one's own.
        if inputs.host.ping_group_range {
            sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        }
        if inputs.host.unprivileged_port_start {
            sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        }
    }
    if own_uts && !inputs.spec.domainname.is_empty() {
        sysctls.insert("kernel.domainname".to_owned(), inputs.spec.domainname.clone());
    }
    sysctls.extend(host.sysctls.clone());
    Ok(sysctls)
}
