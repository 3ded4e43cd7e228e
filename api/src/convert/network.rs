//! Networks and endpoints, both ways.

use std::collections::BTreeMap;
use std::fmt::Display;

use shoal_api_wire::network as wire;
use shoal_model::container::EndpointSpec;
use shoal_model::network::{
    Endpoint, Ipam, IpamPool, Network, NetworkDetails, NetworkMember, NetworkSpec,
};
use shoal_model::{ErrorKind, Fact, Failure, NetworkRefusal, boolean};

use super::{addresses, time};

/// The driver option that means the same as `EnableIPv6`.
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";

type Result<T> = std::result::Result<T, Failure>;

fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| Failure::invalid(format!("invalid {what} address: {text}"));
    text.parse().map(Some).map_err(wrong)
}

pub(crate) fn endpoint_spec(wire: wire::EndpointSettings) -> Result<EndpointSpec> {
    let ipam = wire.ipam_config.unwrap_or_default();
    if !wire.mac_address.is_empty() && !is_mac(&wire.mac_address) {
        return Err(Failure::invalid(format!("invalid MAC address: {}", wire.mac_address)));
    }
    Ok(EndpointSpec {
        ipv4: parse("IPv4", &ipam.ipv4_address)?,
        ipv6: parse("IPv6", &ipam.ipv6_address)?,
        link_local: ipam.link_local_ips.unwrap_or_default(),
        links: wire.links.unwrap_or_default(),
        aliases: wire.aliases.unwrap_or_default(),
        mac_address: wire.mac_address,
        driver_opts: wire.driver_opts.unwrap_or_default(),
        gateway_priority: wire.gw_priority,
    })
}

pub(super) fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    parts.len() == 6 && parts.iter().all(|p| p.len() == 2 && u8::from_str_radix(p, 16).is_ok())
}

fn text<T: Display>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

pub(crate) fn endpoint(endpoint: &Endpoint) -> wire::EndpointSettings {
    let spec = &endpoint.spec;
    let wanted = spec.ipv4.is_some() || spec.ipv6.is_some() || !spec.link_local.is_empty();
    let mac =
        if endpoint.mac_address.is_empty() { &spec.mac_address } else { &endpoint.mac_address };
    wire::EndpointSettings {
        ipam_config: wanted.then(|| wire::EndpointIpamConfig {
            ipv4_address: text(spec.ipv4),
            ipv6_address: text(spec.ipv6),
            link_local_ips: some(&spec.link_local),
        }),
        links: some(&spec.links),
        aliases: some(&spec.aliases),
        mac_address: mac.clone(),
        driver_opts: (!spec.driver_opts.is_empty()).then(|| spec.driver_opts.clone()),
        gw_priority: spec.gateway_priority,
        network_id: endpoint.network_id.clone(),
        endpoint_id: endpoint.endpoint_id.clone(),
        gateway: text(endpoint.gateway),
        ip_address: text(endpoint.ipv4.map(|(address, _)| address)),
        ip_prefix_len: endpoint.ipv4.map_or(0, |(_, prefix)| prefix),
        ipv6_gateway: text(endpoint.gateway_ipv6),
        global_ipv6_address: text(endpoint.ipv6.map(|(address, _)| address)),
        global_ipv6_prefix_len: endpoint.ipv6.map_or(0, |(_, prefix)| prefix),
        dns_names: some(&endpoint.dns_names),
    }
}

pub(crate) fn spec(wire: wire::CreateBody) -> Result<NetworkSpec> {
    if wire.name.trim().is_empty() {
        return Err(Failure::of(ErrorKind::InvalidArgument, Fact::Network(NetworkRefusal::NoName)));
    }
    let ipam = wire.ipam.unwrap_or_default();
    let option = wire.options.as_ref().and_then(|options| options.get(ENABLE_IPV6));
    let ipv6 = wire.enable_ipv6.or_else(|| boolean::parse(option?));
    addresses::ipam(&ipam, ipv6.unwrap_or(false))?;
    let pool = |config: wire::IpamConfig| {
        Ok(IpamPool {
            subnet: config.subnet,
            ip_range: config.ip_range,
            gateway: parse("gateway", &config.gateway)?,
            auxiliary: config.auxiliary_addresses.unwrap_or_default(),
            chosen: false,
        })
    };
    Ok(NetworkSpec {
        name: wire.name,
        driver: wire.driver,
        scope: wire.scope,
        enable_ipv4: wire.enable_ipv4,
        enable_ipv6: wire.enable_ipv6,
        ipam: Ipam {
            driver: ipam.driver,
            options: ipam.options,
            pools: ipam.config.unwrap_or_default().into_iter().map(pool).collect::<Result<_>>()?,
        },
        internal: wire.internal,
        attachable: wire.attachable,
        ingress: wire.ingress,
        config_only: wire.config_only,
        config_from: wire.config_from.unwrap_or_default().network,
        options: wire.options.unwrap_or_default(),
        labels: wire.labels.unwrap_or_default(),
    })
}

/// As an element of a list.
pub(crate) fn network(network: &Network) -> wire::Network {
    let spec = &network.spec;
    let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
    let pool = |pool: &IpamPool| wire::IpamConfig {
        subnet: pool.subnet.clone(),
        ip_range: pool.ip_range.clone(),
        gateway: text(pool.gateway),
        auxiliary_addresses: (!pool.auxiliary.is_empty()).then(|| pool.auxiliary.clone()),
    };
    let pools = spec.ipam.pools.iter().map(pool).collect::<Vec<_>>();
    wire::Network {
        name: spec.name.clone(),
        id: network.id.to_string(),
        created: time::rfc3339(network.created),
        scope: or(&spec.scope, "local"),
        driver: or(&spec.driver, "bridge"),
        enable_ipv4: spec.enable_ipv4.unwrap_or(true),
        enable_ipv6: spec.enable_ipv6.unwrap_or(false),
        ipam: wire::Ipam {
            driver: or(&spec.ipam.driver, "default"),
            options: spec.ipam.options.clone(),
            // host and none have no addresses: null there, as in docker.
            config: (!pools.is_empty()).then_some(pools),
        },
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        config_from: wire::ConfigReference { network: spec.config_from.clone() },
        config_only: spec.config_only,
        containers: Some(BTreeMap::new()),
        options: spec.options.clone(),
        labels: spec.labels.clone(),
        ..wire::Network::default()
    }
}

/// With its containers.
pub(crate) fn inspect(details: &NetworkDetails) -> wire::Network {
    let with_prefix = |(address, prefix): (&dyn Display, u8)| format!("{address}/{prefix}");
    let member = |member: &NetworkMember| wire::EndpointResource {
        name: member.name.clone(),
        endpoint_id: member.endpoint_id.clone(),
        mac_address: member.mac_address.clone(),
        ipv4_address: member.ipv4.map(|(a, p)| with_prefix((&a, p))).unwrap_or_default(),
        ipv6_address: member.ipv6.map(|(a, p)| with_prefix((&a, p))).unwrap_or_default(),
    };
    let members = details.members.iter().map(|(id, m)| (id.clone(), member(m))).collect();
    wire::Network { containers: Some(members), ..network(&details.network) }
}
