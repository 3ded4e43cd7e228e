use std::collections::BTreeMap;

use shoal_api_wire::network::EndpointIpamConfig;
use shoal_model::network::{Ipam as ModelIpam, IpamPool, NetworkSpec};
use shoal_model::{NetworkId, Timestamp};

use super::*;

fn config(subnet: &str, range: &str, gateway: &str, auxiliary: &str) -> Ipam {
    let auxiliary_addresses = (!auxiliary.is_empty())
        .then(|| BTreeMap::from([("spare".to_owned(), auxiliary.to_owned())]));
    let config = IpamConfig {
        subnet: subnet.to_owned(),
        ip_range: range.to_owned(),
        gateway: gateway.to_owned(),
        auxiliary_addresses,
    };
    Ipam { config: Some(vec![config]), ..Ipam::default() }
}

#[test]
fn the_addresses_of_a_network() {
    let fault = |subnet, range, gateway, auxiliary| {
        let checked = ipam(&config(subnet, range, gateway, auxiliary), true);
        checked.err().map_or_else(String::new, |failure| failure.chain())
    };
    let cases = [
        (fault("10.0.0.0/24", "10.0.0.128/25", "10.0.0.1", "10.0.0.9"), ""),
        (fault("", "", "", ""), "invalid subnet : invalid CIDR block notation"),
        (
            fault("10.0.0.0/33", "", "", ""),
            "invalid subnet 10.0.0.0/33: invalid CIDR block notation",
        ),
        (fault("10.0.0.7/24", "", "", ""), "invalid subnet 10.0.0.7/24: it should be 10.0.0.0/24"),
        (
            fault("10.0.0.0/24", "10.0.0.0", "", ""),
            "invalid ip-range 10.0.0.0: invalid CIDR block notation",
        ),
        (
            fault("10.0.0.0/24", "fd00::/64", "", ""),
            "invalid ip-range fd00::/64: parent subnet is an IPv4 block",
        ),
        (
            fault("10.0.0.0/24", "10.0.0.0/16", "", ""),
            "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24",
        ),
        (
            fault("10.0.0.0/24", "10.1.0.0/25", "", ""),
            "invalid ip-range 10.1.0.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range",
        ),
        (
            fault("10.0.0.0/24", "", "10.0.1.1", "x"),
            "* invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address\n\
             * invalid auxiliary address spare: invalid address",
        ),
        (
            fault("10.0.0.0/24", "", "fd00::1", ""),
            "invalid gateway fd00::1: parent subnet is an IPv4 block",
        ),
    ];
    for (fault, expected) in cases {
        let fault = fault.strip_prefix("invalid network config:\n").unwrap_or(&fault);
        assert_eq!(fault, expected);
    }
    assert!(ipam(&config("fd00::1/64", "", "", ""), false).is_ok(), "the network has no IPv6");
}

fn network(subnet: &str, chosen: bool) -> Network {
    let pool = IpamPool { subnet: subnet.to_owned(), chosen, ..IpamPool::default() };
    Network {
        id: NetworkId::from_bytes([7; 32]),
        created: Timestamp::from_nanos(0),
        spec: NetworkSpec {
            ipam: ModelIpam { pools: vec![pool], ..ModelIpam::default() },
            ..NetworkSpec::default()
        },
        predefined: false,
    }
}

fn at(ipv4: &str, ipv6: &str) -> EndpointSettings {
    let ipam = EndpointIpamConfig {
        ipv4_address: ipv4.to_owned(),
        ipv6_address: ipv6.to_owned(),
        link_local_ips: None,
    };
    EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() }
}

#[test]
fn the_addresses_of_an_endpoint() {
    let own = network("10.0.0.0/24", false);
    let chosen = network("10.0.0.0/24", true);
    let alias = EndpointSettings { aliases: Some(vec!["a".to_owned()]), ..at("", "") };
    let mac = EndpointSettings { mac_address: "no".to_owned(), ..at("", "") };
    let only_static = "user specified IP address is supported only when connecting to networks with user configured subnets";
    let on_plain = "user specified IP address is supported on user defined networks only";
    let both = format!("* {on_plain}\n* {only_static}");
    let cases = [
        (endpoint("front", Some(&own), &at("10.0.0.9", "")), ""),
        (endpoint("later", None, &at("10.9.9.9", "")), ""),
        (
            endpoint("front", Some(&own), &at("10.0.1.9", "")),
            "no configured subnet or ip-range contain the IP address 10.0.1.9",
        ),
        (endpoint("front", Some(&chosen), &at("10.0.0.9", "")), only_static),
        (endpoint("front", Some(&own), &at("", "fd00::1")), only_static),
        (endpoint("front", Some(&own), &at("0.0.0.0", "")), "invalid IPv4 address: 0.0.0.0"),
        (endpoint("front", Some(&own), &at("fd00::1", "")), "invalid IPv4 address: fd00::1"),
        (endpoint("default", None, &at("10.0.0.9", "")), on_plain),
        (endpoint("bridge", Some(&own), &at("10.0.0.9", "")), on_plain),
        (endpoint("bridge", Some(&chosen), &at("10.0.0.9", "")), &both),
        (
            endpoint("bridge", None, &alias),
            "network-scoped alias is supported only for containers in user defined networks",
        ),
        (endpoint("front", None, &mac), "invalid MAC address no"),
    ];
    for (checked, expected) in cases {
        let fault = checked.err().unwrap_or_default();
        let fault = fault.strip_prefix("invalid endpoint settings:\n").unwrap_or(&fault);
        assert_eq!(fault, expected);
    }
}
