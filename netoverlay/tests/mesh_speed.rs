//! The routing mesh beside a rewriting made by hand over the same links, with three nodes and with a thousand;
//! printed. The limits are far below the budget (90 %), so that only a change of kind fails on a busy machine.
#![allow(clippy::print_stdout, reason = "the numbers are the point")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod lab;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lab::hosts::{Hosts, echo, stream};
use lab::{id, inside};
use shoal_base::{Clock, SystemClock};
use shoal_model::cluster::mesh::{Mesh, MeshNode, MeshPort, MeshSubnet};
use shoal_model::cluster::service::{PortPolicy, Protocol};
use shoal_model::cluster::view::{ViewEndpoint, mac_of};
use shoal_model::cluster::{ClusterNetworkId, NetworkView, NodeId, ServiceId, TaskId};
use shoal_netoverlay::endpoint::EndpointRequest;
use shoal_netoverlay::network_id;
use shoal_netoverlay::sandbox::SandboxRequest;
use shoal_report::{Row, Sheet};

const NET: ClusterNetworkId = ClusterNetworkId::from_bytes([9; 16]);
const SERVICE: ServiceId = ServiceId::from_bytes([1; 16]);
const ROUNDS: usize = 7;
const CONNECTIONS: u32 = 300;
const VOLUME: usize = 256 << 20;

fn node(number: u16) -> NodeId {
    let [high, low] = number.to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[high, low]);
    NodeId::from_bytes(bytes)
}

fn view(version: u64, nodes: u16) -> NetworkView {
    let addresses = vec!["10.250.0.12/24".parse().unwrap()];
    let nodes = (1..=nodes).map(|number| {
        let [high, low] = number.to_be_bytes();
        let path = if number <= 2 { [203, 0, 113, low] } else { [192, 168, high, low] };
        MeshNode {
            id: node(number),
            index: number,
            data_path: Some(path.into()),
            addresses: vec![path.into()],
        }
    });
    let mesh = Mesh {
        name: "ingress".to_owned(),
        vni: 4096,
        mtu: 1450,
        subnets: vec![MeshSubnet {
            subnet: "10.250.0.0/24".parse().unwrap(),
            gateway: "10.250.0.1".parse().unwrap(),
        }],
        nodes: nodes.collect(),
        ports: vec![MeshPort {
            protocol: Protocol::Tcp,
            published: 8080,
            target: 80,
            service: SERVICE,
            policy: PortPolicy::Mesh,
            address: None,
            interface: String::new(),
        }],
    };
    let endpoint = ViewEndpoint {
        task: TaskId::from_bytes([1; 16]),
        service: Some(SERVICE),
        node: node(2),
        data_path: Some([203, 0, 113, 2].into()),
        mac: mac_of(&addresses),
        addresses,
        name: "web.1".to_owned(),
        aliases: Vec::new(),
        healthy: true,
    };
    NetworkView {
        network: NET,
        version,
        data_path_port: 4789,
        endpoints: vec![endpoint],
        services: Vec::new(),
        mesh: Some(mesh),
    }
}

fn tell(hosts: &Hosts, view: &NetworkView) -> Duration {
    let start = SystemClock.monotonic();
    for number in 1..=2 {
        let (networks, view) = (hosts.host(number).networks(), Arc::new(view.clone()));
        let told = async move { networks.apply_view(view, node(number as u16)).await };
        hosts.host(number).run(told).unwrap();
    }
    SystemClock.monotonic() - start
}

/// Connections a second, and megabytes a second through one.
fn measure(client: &Path, to: &str) -> (f64, f64) {
    let start = SystemClock.monotonic();
    for _ in 0..CONNECTIONS {
        let mut one = stream(client, to);
        one.write_all(b"x").unwrap();
        one.read_exact(&mut [0]).unwrap();
    }
    let connections = f64::from(CONNECTIONS) / (SystemClock.monotonic() - start).as_secs_f64();
    let mut one = stream(client, to);
    let mut back = one.try_clone().unwrap();
    let start = SystemClock.monotonic();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        let mut left = VOLUME;
        while left > 0 {
            left -= back.read(&mut buffer).unwrap();
        }
    });
    let chunk = vec![0; 256 << 10];
    for _ in 0..VOLUME / chunk.len() {
        one.write_all(&chunk).unwrap();
    }
    reader.join().unwrap();
    (connections, VOLUME as f64 / 1e6 / (SystemClock.monotonic() - start).as_secs_f64())
}

#[test]
#[ignore = "measures: `cargo xtask bench network`"]
fn beside_a_rewriting_by_hand() {
    let hosts = Hosts::new(2);
    tell(&hosts, &view(1, 2));
    let request = EndpointRequest { ipv4: Some([10, 250, 0, 12].into()), ..Default::default() };
    let endpoints = vec![(network_id(NET), request)];
    let request = SandboxRequest { id: id("task"), endpoints, ports: Vec::new() };
    let networks = hosts.host(2).networks();
    let sandbox = hosts.host(2).run(async move { networks.attach(request).await }).unwrap();
    echo(&sandbox.path, "10.250.0.12:80");
    let chain = |name: &str, hook: &str| {
        format!("nft add chain ip hand {name} \"{{ type nat hook {hook} ; }}\"")
    };
    for line in [
        "nft add table ip hand",
        &chain("pre", "prerouting priority -101"),
        "nft add rule ip hand pre tcp dport 9090 dnat to 10.250.0.12:80",
        &chain("post", "postrouting priority 90"),
        "nft add rule ip hand post meta l4proto tcp ct original proto-dst 9090 masquerade",
    ] {
        inside(&hosts.host(1).path, line);
    }
    let client = hosts.client();
    let mut ratios = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for (nodes, place) in [(2, 0), (1_002, 2)] {
        let took = tell(&hosts, &view(2 + u64::from(nodes), nodes));
        println!("a view of {nodes} nodes is in effect on two hosts after {took:?}");
        for _ in 0..ROUNDS {
            let by_hand = measure(&client, "203.0.113.1:9090");
            let mesh = measure(&client, "203.0.113.1:8080");
            ratios[place].push(mesh.0 / by_hand.0);
            ratios[place + 1].push(mesh.1 / by_hand.1);
            println!("{nodes} nodes: by hand {by_hand:.0?}, mesh {mesh:.0?} (connections/s, MB/s)");
        }
    }
    let mut sheet = Sheet::begin().unwrap();
    let whats = [
        "connections, 2 nodes",
        "volume, 2 nodes",
        "connections, 1,002 nodes",
        "volume, 1,002 nodes",
    ];
    for (what, ratios) in whats.into_iter().zip(&ratios) {
        let row = Row::at_least(format!("mesh to a rewriting by hand: {what}"), "×", ratios, 0.9);
        sheet.add(row).unwrap();
    }
    sheet.finish();
}
