//! Published ports: reserved by bound sockets, rewritten by map elements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use super::Inner;
use super::state::Live;
use crate::error::Error;
use crate::kernel::port::reserve;
use crate::plan::ports::{self, PublishedPort};
use crate::sandbox::{PortRequest, Sandbox, SandboxId};

/// Attempts to find a port that is free for both families.
const RANDOM_ATTEMPTS: usize = 32;

/// A reserved port.
pub(super) type Reserved = (PublishedPort, OwnedFd);

impl Inner {
    /// Binds all wanted ports on behalf of a sandbox, or none.
    pub(super) fn reserve_ports(
        &self,
        sandbox: &Sandbox,
        requests: &[PortRequest],
    ) -> Result<Vec<Reserved>, Error> {
        let mut reserved = Vec::new();
        for request in requests {
            reserved.extend(reserve_one(&self.targets(sandbox, request)?, request)?);
        }
        Ok(reserved)
    }

    /// Addresses of the host to bind, each with the endpoint's address of the same family. None: the
    /// sandbox has no network that leads outside, and publishes nothing, as with docker.
    fn targets(
        &self,
        sandbox: &Sandbox,
        request: &PortRequest,
    ) -> Result<Vec<(IpAddr, IpAddr)>, Error> {
        let ipv4 = sandbox.gateway(true);
        let ipv6 = sandbox.gateway(false);
        let default = ipv4.and_then(|endpoint| {
            let state = self.state();
            let entry = state.networks.get(&endpoint.network)?;
            entry.network.bridge.as_ref()?.publish_on
        });
        let target4 = ipv4.and_then(|endpoint| endpoint.ipv4).map(|lease| lease.address);
        let target6 = ipv6.and_then(|endpoint| endpoint.ipv6).map(|lease| lease.address);
        let Some(host) = request.host_ip else {
            let host4 = default.unwrap_or(Ipv4Addr::UNSPECIFIED).into();
            let any6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            let ipv4 = target4.map(|target| (host4, target));
            return Ok(ipv4.into_iter().chain(target6.map(|target| (any6, target))).collect());
        };
        let (same, other) = if host.is_ipv4() { (target4, target6) } else { (target6, target4) };
        match (same, other) {
            (Some(target), _) => Ok(vec![(host, target)]),
            (None, Some(_)) => {
                Err(Error::NoTarget { host, container_port: request.container_port })
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Makes reserved ports lead to the sandbox.
    pub(super) fn publish(&self, id: &SandboxId, published: &[PublishedPort]) -> Result<(), Error> {
        self.state().published.extend(published.iter().map(|port| (*port, id.clone())));
        self.host.change_rules(&ports::publish(published))
    }

    /// Takes published ports back; when the kernel's maps are not as expected, makes the whole table anew.
    pub(super) fn withdraw(&self, published: &[PublishedPort]) -> Result<(), Error> {
        if published.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.state();
            for port in published {
                state.published.remove(port);
            }
        }
        match self.host.change_rules(&ports::withdraw(published)) {
            Err(Error::Nftables(error)) if error.errno() == Some(libc::ENOENT) => {
                self.host.apply_rules(|| self.desired_rules()).map(drop)
            }
            other => other,
        }
    }

    /// Makes the ports of a sandbox lead to the endpoints that now have the default routes. A port whose
    /// family is gone is kept reserved and leads nowhere.
    pub(super) fn republish(&self, live: &mut Live) -> Result<(), Error> {
        let before = live.sandbox.ports.clone();
        for port in &mut live.sandbox.ports {
            let ipv4 = port.host.is_ipv4();
            let endpoint = live.sandbox.endpoints.iter().find(|endpoint| {
                let lease = if ipv4 { endpoint.ipv4 } else { endpoint.ipv6 };
                lease.is_some_and(|lease| lease.address == port.container.ip())
            });
            if endpoint.is_some() {
                continue;
            }
            let Some(next) = gateway_address(&live.sandbox.endpoints, ipv4) else { continue };
            port.container.set_ip(next);
        }
        if before == live.sandbox.ports {
            return Ok(());
        }
        self.withdraw(&before)?;
        self.publish(&live.sandbox.id, &live.sandbox.ports)
    }
}

fn gateway_address(endpoints: &[crate::endpoint::Endpoint], ipv4: bool) -> Option<IpAddr> {
    let chosen = crate::sandbox::gateway_of(endpoints, ipv4)?;
    let lease = if ipv4 { chosen.ipv4 } else { chosen.ipv6 };
    lease.map(|lease| lease.address)
}

fn reserve_one(
    targets: &[(IpAddr, IpAddr)],
    request: &PortRequest,
) -> Result<Vec<Reserved>, Error> {
    let Some((first_host, _)) = targets.first() else { return Ok(Vec::new()) };
    let attempt = |port: u16| reserve_at(targets, request, port);
    match request.host_ports {
        Some((first, last)) if first == last => attempt(first),
        Some((first, last)) => {
            for port in first..=last {
                match attempt(port) {
                    Err(Error::Port { source, .. })
                        if source.kind() == std::io::ErrorKind::AddrInUse => {}
                    other => return other,
                }
            }
            let protocol = request.protocol;
            Err(Error::NoFreePort { protocol, host: *first_host, first, last })
        }
        None => {
            for _ in 1..RANDOM_ATTEMPTS {
                match attempt(0) {
                    Err(Error::Port { source, .. })
                        if source.kind() == std::io::ErrorKind::AddrInUse => {}
                    other => return other,
                }
            }
            attempt(0)
        }
    }
}

/// Binds the same port on all targets; zero: one that is free on the first.
fn reserve_at(
    targets: &[(IpAddr, IpAddr)],
    request: &PortRequest,
    port: u16,
) -> Result<Vec<Reserved>, Error> {
    let protocol = request.protocol;
    let mut chosen = port;
    let mut reserved = Vec::new();
    for (host, target) in targets {
        let address = SocketAddr::new(*host, chosen);
        let (socket, bound) = reserve(protocol, address).map_err(|source| Error::Port {
            protocol,
            address,
            source,
        })?;
        chosen = bound.port();
        let container = SocketAddr::new(*target, request.container_port);
        reserved.push((PublishedPort { protocol, host: bound, container }, socket));
    }
    Ok(reserved)
}
