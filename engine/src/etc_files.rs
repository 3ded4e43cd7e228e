//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container, from its network as it is.

use std::net::IpAddr;

use shoal_model::container::NetworkMode;

use crate::container::Container;
use crate::container::view::View;
use crate::core::Core;
use crate::error::Error;
use crate::files::hosts::{self, Families, Line};
use crate::files::resolver::{self, Config, Overrides};
use crate::files::{self, Files};
use crate::links;
use crate::networking::NetworkSettings;
use crate::resolve;

/// Writes the three files; a running container sees the change, because they keep their inodes. A
/// container that shares another's stack gets copies of the other's files.
///
/// # Errors
/// When a host line is malformed, or the disk fails.
pub(crate) fn write(
    core: &Core,
    container: &Container,
    view: &View,
    network: Option<&NetworkSettings>,
) -> Result<(), Error> {
    let name = view.name();
    let directory = &container.paths.directory;
    if let NetworkMode::Container(other) = &view.record.spec.host.network_mode {
        let other = resolve::container(core, other)?;
        for file in ["hostname", "hosts", "resolv.conf"] {
            let from = files::path(&other.paths.directory, file);
            std::fs::copy(&from, files::path(directory, file))
                .map_err(Error::file("copy", from))?;
        }
        return Ok(());
    }
    let none = NetworkSettings::default();
    let links = links::lines(core, view)?;
    let made = contents(view, network.unwrap_or(&none), links)?;
    files::write(directory, &made).map_err(Error::part("write the files of", name))
}

fn contents(view: &View, network: &NetworkSettings, links: Vec<Line>) -> Result<Files, Error> {
    let spec = &view.record.spec;
    let name = view.name();
    let failed = "write the files of";
    let gateways: Vec<IpAddr> = network.host_gateway.into_iter().collect();
    let mut lines =
        hosts::extra(&spec.host.extra_hosts, &gateways).map_err(Error::part(failed, name))?;
    lines.extend(links);
    let on_host = spec.host.network_mode == NetworkMode::Host;
    let hosts = if on_host {
        let path = "/etc/hosts";
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(Error::file("read", path))?,
        };
        hosts::of_host(&text, &lines)
    } else {
        let addresses = addresses(network);
        let families =
            if addresses.iter().any(IpAddr::is_ipv6) { Families::Both } else { Families::V4 };
        lines.extend(hosts::own(&addresses, &spec.hostname, &spec.domainname));
        hosts::content(families, &lines)
    };
    Ok(Files {
        hostname: spec.hostname.clone(),
        hosts,
        resolv_conf: resolver_of(view, network)?.render(),
    })
}

/// What the network side decided; where it has no say (host, none), the host's configuration with what the
/// user wants.
fn resolver_of(view: &View, network: &NetworkSettings) -> Result<Config, Error> {
    let decided = &network.resolver;
    if !decided.servers.is_empty() {
        return Ok(Config {
            servers: decided.servers.iter().map(ToString::to_string).collect(),
            search: decided.search.clone(),
            options: decided.options.clone(),
        });
    }
    let host = &view.record.spec.host;
    let overrides = Overrides {
        servers: host.dns.clone(),
        search: host.dns_search.clone(),
        options: host.dns_options.clone(),
    };
    let failed = "write the files of";
    let of_host = files::host_resolver().map_err(Error::part(failed, view.name()))?;
    let made = match host.network_mode {
        NetworkMode::Host => resolver::for_host(&of_host, &overrides),
        _ => resolver::for_default_bridge(&of_host, &overrides, Families::V4),
    };
    made.map_err(Error::part(failed, view.name()))
}

/// Addresses of all endpoints, IPv4 before IPv6 within each, by network.
fn addresses(network: &NetworkSettings) -> Vec<IpAddr> {
    network
        .endpoints
        .values()
        .flat_map(|endpoint| {
            let v4 = endpoint.ipv4.map(|(address, _)| IpAddr::V4(address));
            let v6 = endpoint.ipv6.map(|(address, _)| IpAddr::V6(address));
            v4.into_iter().chain(v6)
        })
        .collect()
}
