//! The routing mesh on three hosts with real traffic, in both families: every node takes every port, and servers see
//! the addresses of their clients.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod lab;

use std::collections::BTreeSet;
use std::sync::Arc;

use lab::hosts::{Hosts, exchange, sender, serve_datagrams};
use lab::{ask, id};
use shoal_model::cluster::mesh::{Mesh, MeshNode, MeshPort, MeshSubnet};
use shoal_model::cluster::service::{PortPolicy, Protocol};
use shoal_model::cluster::view::{ViewEndpoint, mac_of};
use shoal_model::cluster::{ClusterNetworkId, NetworkView, NodeId, ServiceId, TaskId};
use shoal_netoverlay::endpoint::EndpointRequest;
use shoal_netoverlay::network_id;
use shoal_netoverlay::sandbox::{Sandbox, SandboxRequest};

const NET: ClusterNetworkId = ClusterNetworkId::from_bytes([9; 16]);
const SERVICE: ServiceId = ServiceId::from_bytes([1; 16]);
const PORT: u16 = 8080;

fn node(number: usize) -> NodeId {
    NodeId::from_bytes([number as u8; 16])
}

fn endpoint(number: usize, on: usize) -> ViewEndpoint {
    let addresses = vec![
        format!("10.250.0.{number}/24").parse().unwrap(),
        format!("fd00:250::{number:x}/64").parse().unwrap(),
    ];
    ViewEndpoint {
        task: TaskId::from_bytes([number as u8; 16]),
        service: Some(SERVICE),
        node: node(on),
        data_path: Some([203, 0, 113, on as u8].into()),
        mac: mac_of(&addresses),
        addresses,
        name: format!("web.{number}"),
        healthy: true,
    }
}

fn mesh() -> Mesh {
    let nodes = (1..=3).map(|number| MeshNode {
        id: node(number),
        index: 256 + number as u16,
        data_path: Some([203, 0, 113, number as u8].into()),
        addresses: vec![
            [203, 0, 113, number as u8].into(),
            format!("fd00:203::{number}").parse().unwrap(),
        ],
    });
    let subnet = |subnet: &str, gateway: &str| MeshSubnet {
        subnet: subnet.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    };
    let port = |protocol| MeshPort {
        protocol,
        published: PORT,
        target: 80,
        service: SERVICE,
        policy: PortPolicy::Mesh,
        address: None,
        interface: String::new(),
    };
    Mesh {
        name: "ingress".to_owned(),
        vni: 4096,
        mtu: 1450,
        subnets: vec![
            subnet("10.250.0.0/24", "10.250.0.1"),
            subnet("fd00:250::/64", "fd00:250::1"),
        ],
        nodes: nodes.collect(),
        ports: vec![port(Protocol::Tcp), port(Protocol::Udp)],
    }
}

fn view(version: u64, endpoints: Vec<ViewEndpoint>, mesh: Mesh) -> NetworkView {
    NetworkView {
        network: NET,
        version,
        data_path_port: 4789,
        endpoints,
        services: Vec::new(),
        mesh: Some(mesh),
    }
}

fn tell(hosts: &Hosts, view: &NetworkView) {
    for number in 1..=3 {
        let (networks, view) = (hosts.host(number).networks(), Arc::new(view.clone()));
        hosts
            .host(number)
            .run(async move { networks.apply_view(view, node(number)).await })
            .unwrap_or_else(|error| panic!("{}", shoal_model::error::Chain(&error)));
    }
}

/// A task that answers both protocols in both families.
fn task(hosts: &Hosts, number: usize, on: usize) -> Sandbox {
    let request = EndpointRequest {
        ipv4: Some(format!("10.250.0.{number}").parse().unwrap()),
        ipv6: Some(format!("fd00:250::{number:x}").parse().unwrap()),
        ..Default::default()
    };
    let request = SandboxRequest {
        id: id(&format!("task{number}")),
        endpoints: vec![(network_id(NET), request)],
        ports: Vec::new(),
    };
    let networks = hosts.host(on).networks();
    let sandbox = hosts.host(on).run(async move { networks.attach(request).await }).unwrap();
    for address in [format!("10.250.0.{number}:80"), format!("[fd00:250::{number:x}]:80")] {
        lab::serve(&sandbox.path, &address);
        serve_datagrams(&sandbox.path, &address, &format!("task{number}"));
    }
    sandbox
}

/// What servers see of a client that asks a node several times.
fn seen(from: &std::path::Path, address: &str) -> BTreeSet<String> {
    let to = format!("{address}:{PORT}");
    (0..8)
        .flat_map(|_| {
            let datagram = exchange(&sender(from, &to));
            let datagram = datagram.map(|text| text.split(' ').next_back().unwrap().to_owned());
            [ask(from, &to), datagram].map(|seen| seen.unwrap_or_else(|error| error))
        })
        .collect()
}

#[track_caller]
fn sees(from: &std::path::Path, address: &str, expected: &str) {
    let seen = seen(from, address);
    assert_eq!(seen, BTreeSet::from([expected.to_owned()]), "asked {address}");
}

#[test]
fn every_node_takes_every_port_and_servers_see_the_clients() {
    let hosts = Hosts::new(3);
    // Two tasks on the second node, one on the first, none on the third.
    let endpoints = vec![endpoint(11, 1), endpoint(12, 2), endpoint(13, 2)];
    tell(&hosts, &view(1, endpoints, mesh()));
    for (number, on) in [(11, 1), (12, 2), (13, 2)] {
        task(&hosts, number, on);
    }
    for number in 1..=3 {
        sees(&hosts.client(), &format!("203.0.113.{number}"), "203.0.113.100");
        sees(&hosts.client(), &format!("[fd00:203::{number}]"), "fd00:203::64");
    }
}
