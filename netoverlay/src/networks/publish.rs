//! Published ports: reserved by bound sockets, rewritten by map elements.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use super::relay::Relay;
use super::state::Live;
use super::{Inner, Ports};
use crate::error::Error;
use crate::kernel::port::reserve;
use crate::plan::ports::{self, Protocol, PublishedPort};
use crate::sandbox::{PortRequest, Sandbox};

/// Attempts to find a port that is free for both families.
const RANDOM_ATTEMPTS: usize = 32;

/// Attempts at a port that is taken: a process that was just forked has copies of our sockets, also of
/// those that are closed meanwhile, until it executes its program.
const FORK_ATTEMPTS: usize = 5;

/// Between these attempts.
const FORK_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

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
        for request in by_choice(requests) {
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
        let default = sandbox.gateway(true).and_then(|endpoint| {
            let state = self.state();
            let entry = state.networks.get(&endpoint.network)?;
            entry.network.bridge.as_ref()?.publish_on
        });
        let [target4, target6] = [true, false].map(|ipv4| self.target(sandbox, ipv4));
        let Some(host) = request.host_ip else {
            let host4 = default.unwrap_or(Ipv4Addr::UNSPECIFIED).into();
            let any6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            // A container without IPv6 is relayed to, where the host has IPv6 and any address is meant.
            let relayed = || {
                let meant = default.is_none_or(|default| default.is_unspecified());
                target4.filter(|_| request.protocol != Protocol::Sctp && meant && host_has_ipv6())
            };
            let ipv4 = target4.map(|target| (host4, target));
            let ipv6 = target6.or_else(relayed).map(|target| (any6, target));
            return Ok(ipv4.into_iter().chain(ipv6).collect());
        };
        let relayable = !host.is_ipv4() && request.protocol != Protocol::Sctp;
        let (same, other) = if host.is_ipv4() { (target4, target6) } else { (target6, target4) };
        match (same, other) {
            (Some(target), _) => Ok(vec![(host, target)]),
            (None, Some(target)) if relayable => Ok(vec![(host, target)]),
            (None, Some(_)) => {
                Err(Error::NoTarget { host, container_port: request.container_port })
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Makes reserved ports lead to the sandbox.
    pub(super) fn publish(&self, sandbox: &Sandbox) -> Result<(), Error> {
        let published = leading(sandbox);
        self.state().published.extend(published.iter().map(|port| (*port, sandbox.id.clone())));
        self.host.change_rules(&ports::publish(&published))?;
        self.host.forget_connections(&published)
    }

    /// Starts taking connections of the ports that the kernel cannot rewrite.
    pub(super) fn start_relays(&self, live: &mut Live) -> Result<(), Error> {
        let Live { sandbox, reserved, relays } = live;
        for (published, socket) in sandbox.ports.iter().zip(&*reserved) {
            self.start_relay(published, socket, relays)?;
        }
        Ok(())
    }

    pub(super) fn start_relay(
        &self,
        published: &PublishedPort,
        reserved: &OwnedFd,
        relays: &mut BTreeMap<(Protocol, SocketAddr), Relay>,
    ) -> Result<(), Error> {
        if !published.is_relayed() {
            return Ok(());
        }
        let (protocol, address) = (published.protocol, published.host);
        let Ports { tasks, clock, .. } = &self.ports;
        let relay = Relay::start(published, reserved, tasks, clock)
            .map_err(|source| Error::Port { protocol, address, source })?;
        relays.insert((protocol, address), relay);
        Ok(())
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
        }?;
        self.host.forget_connections(published)
    }

    /// Makes the ports of a sandbox lead to the endpoints that now have the default routes. A port whose
    /// family is gone is kept reserved and leads nowhere.
    pub(super) fn republish(&self, live: &mut Live) -> Result<(), Error> {
        let before: Vec<PublishedPort> = {
            let state = self.state();
            let own = live.sandbox.ports.iter();
            // A port is in the kernel with the address that it led to before.
            own.filter(|port| state.published.contains_key(port)).copied().collect()
        };
        for index in 0..live.sandbox.ports.len() {
            let port = live.sandbox.ports[index];
            if live.sandbox.is_led_to(&port) {
                continue;
            }
            let [ipv4, ipv6] = [true, false].map(|ipv4| self.target(&live.sandbox, ipv4));
            let next = if port.host.is_ipv4() { ipv4 } else { ipv6.or(ipv4) };
            if let Some(next) = next {
                live.sandbox.ports[index].container.set_ip(next);
            }
            if let Some(relay) = live.relays.get(&(port.protocol, port.host)) {
                relay.lead_to(next.map(|_| live.sandbox.ports[index].container));
            }
        }
        if before == leading(&live.sandbox) {
            return Ok(());
        }
        self.withdraw(&before)?;
        self.publish(&live.sandbox)
    }

    /// The address of a sandbox to which ports lead: of the endpoint with the default route, if that is on
    /// a bridge.
    fn target(&self, sandbox: &Sandbox, ipv4: bool) -> Option<IpAddr> {
        let endpoint = sandbox.gateway(ipv4)?;
        let lease = if ipv4 { endpoint.ipv4 } else { endpoint.ipv6 };
        let state = self.state();
        let on_bridge = state.networks.get(&endpoint.network)?.network.bridge.is_some();
        lease.filter(|_| on_bridge).map(|lease| lease.address)
    }
}

/// The ports that lead somewhere: those of a network that was left stay reserved, but the address they led
/// to may become another sandbox's.
pub(super) fn leading(sandbox: &Sandbox) -> Vec<PublishedPort> {
    sandbox.ports.iter().filter(|port| sandbox.is_led_to(port)).copied().collect()
}

/// Those that leave no choice first, so that a range or a random port does not take what another one names.
fn by_choice(requests: &[PortRequest]) -> Vec<&PortRequest> {
    let mut ordered: Vec<&PortRequest> = requests.iter().collect();
    ordered.sort_by_key(|request| match request.host_ports {
        Some((first, last)) => last.saturating_sub(first),
        None => u16::MAX,
    });
    ordered
}

pub(super) fn reserve_one(
    targets: &[(IpAddr, IpAddr)],
    request: &PortRequest,
) -> Result<Vec<Reserved>, Error> {
    let Some((first_host, _)) = targets.first() else { return Ok(Vec::new()) };
    let attempt = |port: u16| reserve_at(targets, request, port);
    match request.host_ports {
        Some((first, last)) if first == last => {
            for _ in 1..FORK_ATTEMPTS {
                match attempt(first) {
                    Err(Error::Port { source, .. })
                        if source.kind() == std::io::ErrorKind::AddrInUse => {}
                    other => return other,
                }
                std::thread::sleep(FORK_PAUSE);
            }
            attempt(first)
        }
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
        let (socket, bound) = reserve(protocol, address).map_err(|source| {
            if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) {
                Error::NoProtocol { protocol, address, source }
            } else {
                Error::Port { protocol, address, source }
            }
        })?;
        chosen = bound.port();
        let container = SocketAddr::new(*target, request.container_port);
        reserved.push((PublishedPort { protocol, host: bound, container }, socket));
    }
    Ok(reserved)
}

/// Whether the host has IPv6 at all.
pub(super) fn host_has_ipv6() -> bool {
    std::fs::read("/proc/thread-self/net/if_inet6").is_ok_and(|links| !links.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_no_choice_comes_first() {
        let request = |container_port, host_ports| PortRequest {
            protocol: Protocol::Tcp,
            container_port,
            host_ip: None,
            host_ports,
        };
        let requests = [
            request(1, None),
            request(2, Some((8080, 8090))),
            request(3, Some((8082, 8082))),
            request(4, Some((8080, 8081))),
            request(5, Some((80, 80))),
        ];
        let order: Vec<u16> =
            by_choice(&requests).into_iter().map(|request| request.container_port).collect();
        assert_eq!(order, [3, 5, 4, 2, 1]);
    }
}
