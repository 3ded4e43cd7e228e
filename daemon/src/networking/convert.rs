//! Between the engine's words and those of `netoverlay`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use shoal_engine::networking::{
    AttachRequest, DnsSettings, EndpointRequest, EndpointSettings, PublishedPort,
};
use shoal_model::container::{EndpointSpec, PortBinding};
use shoal_model::{Failure, NetworkId};
use shoal_netoverlay::endpoint;
use shoal_netoverlay::plan::ports::Protocol;
use shoal_netoverlay::sandbox::{PortRequest, Sandbox};
use shoal_netoverlay::subnet::Subnet;

pub(super) fn endpoint_request(spec: &EndpointSpec) -> Result<endpoint::EndpointRequest, Failure> {
    let mac = match spec.mac_address.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|error: endpoint::InvalidMac| Failure::invalid(error.to_string()))?,
        ),
    };
    Ok(endpoint::EndpointRequest {
        ipv4: spec.ipv4,
        ipv6: spec.ipv6,
        mac,
        gateway_priority: spec.gateway_priority,
    })
}

/// Ports to publish: those that are bound, and with `all` every exposed one that is not.
pub(super) fn port_requests(
    bound: &BTreeMap<String, Vec<PortBinding>>,
    all: bool,
    exposed: &BTreeSet<String>,
) -> Result<Vec<PortRequest>, Failure> {
    let mut requests = Vec::new();
    for (key, bindings) in bound {
        let (container_port, protocol) = port(key)?;
        for binding in bindings {
            let host_ports = range(&binding.host_port)?;
            requests.push(PortRequest {
                protocol,
                container_port,
                host_ip: binding.host_ip,
                host_ports,
            });
        }
    }
    let unbound = exposed.iter().filter(|key| all && !bound.contains_key(*key));
    for key in unbound {
        let (container_port, protocol) = port(key)?;
        requests.push(PortRequest { protocol, container_port, host_ip: None, host_ports: None });
    }
    Ok(requests)
}

/// `80/tcp`; without a protocol it is TCP.
fn port(key: &str) -> Result<(u16, Protocol), Failure> {
    let (number, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let invalid = || {
        Failure::invalid(format!(
            "invalid port `{key}`: expected a number, a slash and tcp, udp or sctp"
        ))
    };
    Ok((number.parse().map_err(|_| invalid())?, protocol.parse().map_err(|_| invalid())?))
}

/// A host port, a range, or nothing for any free one. Zero is the same as nothing.
fn range(text: &str) -> Result<Option<(u16, u16)>, Failure> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(Some((first, last))),
        _ => Err(Failure::invalid(format!(
            "invalid host port `{text}`: expected a number or FIRST-LAST"
        ))),
    }
}

/// Each list of the container's own, or the daemon's where it is empty.
pub(super) fn or_default(own: &DnsSettings, default: &DnsSettings) -> DnsSettings {
    fn choose<T: Clone>(own: &[T], default: &[T]) -> Vec<T> {
        if own.is_empty() { default.to_vec() } else { own.to_vec() }
    }
    DnsSettings {
        servers: choose(&own.servers, &default.servers),
        search: choose(&own.search, &default.search),
        options: choose(&own.options, &default.options),
    }
}

/// `plain`: a network without names, such as the default bridge.
pub(super) fn endpoint_settings(
    request: &AttachRequest,
    wish: &EndpointRequest,
    network: &NetworkId,
    joined: Option<&endpoint::Endpoint>,
    plain: bool,
) -> EndpointSettings {
    let ipv4 = joined.and_then(|endpoint| endpoint.ipv4).and_then(|subnet| match subnet {
        Subnet { address: IpAddr::V4(address), prefix } => Some((address, prefix)),
        Subnet { address: IpAddr::V6(_), .. } => None,
    });
    let ipv6 = joined.and_then(|endpoint| endpoint.ipv6).and_then(|subnet| match subnet {
        Subnet { address: IpAddr::V6(address), prefix } => Some((address, prefix)),
        Subnet { address: IpAddr::V4(_), .. } => None,
    });
    EndpointSettings {
        network: network.clone(),
        endpoint: joined.map(|endpoint| endpoint.id.clone()).unwrap_or_default(),
        spec: wish.spec.clone(),
        ipv4,
        gateway: joined.and_then(|endpoint| endpoint.gateway),
        ipv6,
        ipv6_gateway: joined.and_then(|endpoint| endpoint.ipv6_gateway),
        // Members of an ipvlan network have no address of their own.
        mac_address: joined
            .filter(|endpoint| endpoint.mac.is_unicast())
            .map(|endpoint| endpoint.mac.to_string())
            .unwrap_or_default(),
        dns_names: if plain { Vec::new() } else { names(request, wish) },
        interface: joined.map(|endpoint| endpoint.interface.clone()).unwrap_or_default(),
    }
}

/// Name, aliases, short id and host name, each once, in docker's order.
pub(super) fn names(request: &AttachRequest, wish: &EndpointRequest) -> Vec<String> {
    let short = request.container.short().to_owned();
    let candidates = std::iter::once(request.name.clone())
        .chain(wish.spec.aliases.iter().cloned())
        .chain([short, request.hostname.clone()]);
    let mut names = Vec::new();
    for name in candidates.filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

pub(super) fn ports(
    exposed: &BTreeSet<String>,
    sandbox: Option<&Sandbox>,
) -> BTreeMap<String, Vec<PublishedPort>> {
    let mut ports: BTreeMap<String, Vec<PublishedPort>> =
        exposed.iter().map(|key| (key.clone(), Vec::new())).collect();
    // A port of a network that was left is not published, as with docker.
    let led = sandbox
        .into_iter()
        .flat_map(|sandbox| sandbox.ports.iter().filter(|port| sandbox.is_led_to(port)));
    for port in led {
        let published = PublishedPort { host_ip: port.host.ip(), host_port: port.host.port() };
        let bindings =
            ports.entry(format!("{}/{}", port.container.port(), port.protocol)).or_default();
        if !bindings.contains(&published) {
            bindings.push(published);
        }
    }
    ports
}

/// Names of the descriptors whose ports are no longer published.
pub(super) fn closed(
    before: &BTreeMap<String, Vec<PublishedPort>>,
    after: &BTreeMap<String, Vec<PublishedPort>>,
) -> Vec<String> {
    let mut closed = Vec::new();
    for (key, bindings) in before {
        let left = after.get(key).map(Vec::as_slice).unwrap_or_default();
        let protocol = key.split_once('/').map_or("tcp", |(_, protocol)| protocol);
        for binding in bindings.iter().filter(|binding| !left.contains(binding)) {
            let host = std::net::SocketAddr::new(binding.host_ip, binding.host_port);
            closed.push(format!("port/{protocol}/{host}"));
        }
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(host_port: &str) -> PortBinding {
        PortBinding { host_ip: None, host_port: host_port.to_owned() }
    }

    #[test]
    fn ports_are_bound_as_asked_and_the_rest_with_publish_all() {
        let bound =
            BTreeMap::from([("80/tcp".to_owned(), vec![binding("8080"), binding("9000-9010")])]);
        let exposed = BTreeSet::from(["80/tcp".to_owned(), "53/udp".to_owned()]);
        let request = |protocol, container_port, host_ports| PortRequest {
            protocol,
            container_port,
            host_ip: None,
            host_ports,
        };
        let two = vec![
            request(Protocol::Tcp, 80, Some((8080, 8080))),
            request(Protocol::Tcp, 80, Some((9000, 9010))),
        ];
        assert_eq!(port_requests(&bound, false, &exposed).unwrap(), two);
        let three = [two, vec![request(Protocol::Udp, 53, None)]].concat();
        assert_eq!(port_requests(&bound, true, &exposed).unwrap(), three);
    }

    #[test]
    fn malformed_ports_are_named() {
        for (key, host, named) in [
            ("x/tcp", "1", "x/tcp"),
            ("1/ip", "1", "1/ip"),
            ("1/tcp", "9-8", "9-8"),
            ("1/tcp", "y", "`y`"),
        ] {
            let bound = BTreeMap::from([(key.to_owned(), vec![binding(host)])]);
            let error = port_requests(&bound, false, &BTreeSet::new()).unwrap_err();
            assert!(error.chain().contains(named), "{error}");
        }
    }
}
