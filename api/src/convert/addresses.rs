//! What dockerd refuses in the addresses of a request before it looks at the kernel, in its words. All faults
//! of a request are named at once.
//!
//! Source: moby `api/types/network/ipam.go ValidateIPAM`, `daemon/container_operations.go
//! validateEndpointSettings`, `daemon/create.go validateNetworkingConfig`, `daemon/internal/multierror`.

use std::net::IpAddr;

use shoal_api_wire::network::{EndpointSettings, Ipam, IpamConfig};
use shoal_model::network::Network;
use shoal_model::{Failure, Subnet};

use super::network::is_mac;

/// Networks whose members have neither chosen addresses nor aliases.
const PLAIN: [&str; 5] = ["", "default", "bridge", "host", "none"];

/// Refuses malformed subnets, ranges, gateways and auxiliary addresses.
pub(crate) fn ipam(ipam: &Ipam, ipv6: bool) -> Result<(), Failure> {
    let mut faults = Vec::new();
    for config in ipam.config.iter().flatten() {
        pool(config, ipv6, &mut faults);
    }
    match joined(&faults) {
        None => Ok(()),
        Some(text) => Err(Failure::invalid(format!("invalid network config:\n{text}"))),
    }
}

fn pool(config: &IpamConfig, ipv6: bool, faults: &mut Vec<String>) {
    let text = &config.subnet;
    let Ok(subnet) = text.parse::<Subnet>() else {
        faults.push(format!("invalid subnet {text}: invalid CIDR block notation"));
        return;
    };
    if !ipv6 && !subnet.is_ipv4() {
        return;
    }
    if subnet != subnet.network() {
        faults.push(format!("invalid subnet {subnet}: it should be {}", subnet.network()));
    }
    if !config.ip_range.is_empty() {
        range(&config.ip_range, subnet, faults);
    }
    if let Err(why) = address(&config.gateway, subnet) {
        faults.push(format!("invalid gateway {}: {why}", config.gateway));
    }
    for (name, auxiliary) in config.auxiliary_addresses.iter().flatten() {
        if let Err(why) = address(auxiliary, subnet) {
            faults.push(format!("invalid auxiliary address {name}: {why}"));
        }
    }
}

fn range(text: &str, subnet: Subnet, faults: &mut Vec<String>) {
    let Ok(range) = text.parse::<Subnet>() else {
        faults.push(format!("invalid ip-range {text}: invalid CIDR block notation"));
        return;
    };
    if range.is_ipv4() != subnet.is_ipv4() {
        let family = family(subnet);
        faults.push(format!("invalid ip-range {text}: parent subnet is an {family} block"));
        return;
    }
    if range.prefix < subnet.prefix {
        faults.push(format!(
            "invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"
        ));
    }
    if range != range.network() {
        faults.push(format!("invalid ip-range {range}: it should be {}", range.network()));
    }
    if !subnet.overlaps(range) {
        faults.push(format!(
            "invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"
        ));
    }
}

fn address(text: &str, subnet: Subnet) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let address: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if address.is_ipv4() != subnet.is_ipv4() {
        return Err(format!("parent subnet is an {} block", family(subnet)));
    }
    if !subnet.contains(address) {
        return Err(format!("parent subnet {subnet} doesn't contain this address"));
    }
    Ok(())
}

fn family(subnet: Subnet) -> &'static str {
    if subnet.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Whether a wish must be checked against the network that it is for.
pub(crate) fn is_particular(wish: &EndpointSettings) -> bool {
    let ipam = wish.ipam_config.as_ref();
    let listed = wish.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty());
    ipam.is_some() || listed || !wish.mac_address.is_empty()
}

/// What is wrong with the wish for an endpoint on the network that the client calls `name`; `network`: as it
/// is, unless it does not exist (yet).
pub(crate) fn endpoint(
    name: &str,
    network: Option<&Network>,
    wish: &EndpointSettings,
) -> Result<(), String> {
    let mut faults = Vec::new();
    let ipam = wish.ipam_config.clone().unwrap_or_default();
    let wanted = [(4, ipam.ipv4_address.as_str()), (6, ipam.ipv6_address.as_str())];
    if PLAIN.contains(&name) {
        if wanted.iter().any(|(_, address)| !address.is_empty()) {
            faults.push(
                "user specified IP address is supported on user defined networks only".to_owned(),
            );
        }
        if wish.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
            faults.push(
                "network-scoped alias is supported only for containers in user defined networks"
                    .to_owned(),
            );
        }
    }
    let mut addresses = Vec::new();
    for (version, text) in wanted.into_iter().filter(|(_, text)| !text.is_empty()) {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_ipv4() == (version == 4) && !address.is_unspecified() => {
                addresses.push(address);
            }
            _ => faults.push(format!("invalid IPv{version} address: {text}")),
        }
    }
    for text in ipam.link_local_ips.iter().flatten() {
        if text.parse().is_ok_and(|address: IpAddr| !address.is_unspecified()) {
            continue;
        }
        faults.push(format!("invalid link-local IP address: {text}"));
    }
    if let Some(network) = network {
        faults.extend(addresses.into_iter().filter_map(|address| outside(network, address)));
    }
    if !wish.mac_address.is_empty() && !is_mac(&wish.mac_address) {
        return Err(format!("invalid MAC address {}", wish.mac_address));
    }
    match joined(&faults) {
        None => Ok(()),
        Some(text) => Err(format!("invalid endpoint settings:\n{text}")),
    }
}

/// Why an address cannot be chosen on a network.
fn outside(network: &Network, address: IpAddr) -> Option<String> {
    let pools = network.spec.ipam.pools.iter().filter(|pool| !pool.chosen);
    let mut subnets = pools
        .filter_map(|pool| pool.subnet.parse::<Subnet>().ok())
        .filter(|subnet| subnet.is_ipv4() == address.is_ipv4())
        .peekable();
    if subnets.peek().is_none() {
        let text = "user specified IP address is supported only when connecting to networks with user \
                    configured subnets";
        return Some(text.to_owned());
    }
    let fits = subnets.any(|subnet| subnet.contains(address));
    (!fits).then(|| format!("no configured subnet or ip-range contain the IP address {address}"))
}

/// All faults as one text; one alone stands without a bullet.
pub(crate) fn joined(faults: &[String]) -> Option<String> {
    match faults {
        [] => None,
        [one] => Some(one.trim().to_owned()),
        several => {
            let lines = several.iter().map(|fault| fault.replace('\n', "\n\t"));
            Some(format!("* {}", lines.collect::<Vec<_>>().join("\n* ")))
        }
    }
}

#[cfg(test)]
mod tests;
