//! What the name server of user-defined networks is told about a container.

use std::net::{IpAddr, SocketAddr};

use shoal_engine::files::resolver::{self, Overrides};
use shoal_engine::networking::{DnsSettings, NetworkSettings};
use shoal_model::Failure;
use shoal_netoverlay::dns::forward::Upstream;
use shoal_netoverlay::dns::view::Membership;
use shoal_netoverlay::dns::{ADDRESS, PORT};

/// Names of the kept sockets: for datagrams, for connections.
pub(super) const DESCRIPTORS: [&str; 2] = ["dns/udp", "dns/tcp"];

/// Whether the container is on a network with names.
pub(super) fn is_named(settings: &NetworkSettings) -> bool {
    settings.sandbox.is_some()
        && settings.endpoints.values().any(|endpoint| !endpoint.dns_names.is_empty())
}

/// Whether a network of the container leads outside; if none does, nobody outside is asked for it.
pub(super) fn leads_outside(settings: &NetworkSettings) -> bool {
    let mut endpoints = settings.endpoints.values();
    endpoints.any(|endpoint| endpoint.gateway.is_some() || endpoint.ipv6_gateway.is_some())
}

/// The names of a container on its networks, the network with the highest gateway priority first.
pub(super) fn memberships(settings: &NetworkSettings) -> Vec<Membership> {
    let mut named: Vec<_> =
        settings.endpoints.iter().filter(|(_, endpoint)| !endpoint.dns_names.is_empty()).collect();
    named.sort_by_key(|(name, endpoint)| {
        (std::cmp::Reverse(endpoint.spec.gateway_priority), (*name).clone())
    });
    let membership = |(name, endpoint): (&String, &shoal_engine::networking::EndpointSettings)| {
        let links = endpoint.spec.links.iter().map(|link| {
            let (target, alias) = link.split_once(':').unwrap_or((link, link));
            let [target, alias] = [target, alias].map(|part| part.trim_start_matches('/'));
            (alias.to_owned(), target.to_owned())
        });
        Membership {
            network: endpoint.network.clone(),
            network_name: name.clone(),
            names: endpoint.dns_names.clone(),
            links: links.collect(),
            ipv4: endpoint.ipv4.map(|(address, _)| address),
            ipv6: endpoint.ipv6.map(|(address, _)| address),
        }
    };
    named.into_iter().map(membership).collect()
}

/// What the container's file says, and the servers that are asked for other names.
///
/// # Errors
/// When the host's file cannot be read, or an option is malformed.
pub(super) fn resolver(wanted: &DnsSettings) -> Result<(DnsSettings, Vec<Upstream>), Failure> {
    let fail = |error: shoal_engine::files::Error| Failure::invalid(error.to_string());
    let host = shoal_engine::files::host_resolver().map_err(fail)?;
    let overrides = Overrides {
        servers: wanted.servers.iter().map(ToString::to_string).collect(),
        search: wanted.search.clone(),
        options: wanted.options.clone(),
    };
    let (config, upstreams) = resolver::for_internal(&host, &overrides).map_err(fail)?;
    let upstreams = upstreams.into_iter().filter_map(|upstream| {
        let Ok(address) = upstream.server.parse::<IpAddr>() else {
            tracing::warn!(server = upstream.server, "name server with a zone is not asked");
            return None;
        };
        // Asking ourselves would never end.
        (address != ADDRESS).then(|| Upstream {
            address: SocketAddr::new(address, PORT),
            on_host: upstream.on_host,
        })
    });
    let settings = DnsSettings {
        servers: vec![ADDRESS.into()],
        search: config.search,
        options: config.options,
    };
    Ok((settings, upstreams.collect()))
}
