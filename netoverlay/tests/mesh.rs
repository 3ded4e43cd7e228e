//! The routing mesh on three hosts with real traffic, in both families: every node takes every port, and servers see
//! the addresses of their clients.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod lab;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lab::hosts::{Hosts, echo, exchange, filter_bridged, sender, serve_datagrams, stream};
use lab::{ask, id, inside};
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
        aliases: Vec::new(),
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
    echo(&sandbox.path, "0.0.0.0:81");
    sandbox
}

/// What servers see of a client that asks a node several times.
fn seen(from: &Path, address: &str) -> BTreeSet<String> {
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
fn sees(from: &Path, address: &str, expected: &str) {
    let seen = seen(from, address);
    assert_eq!(seen, BTreeSet::from([expected.to_owned()]), "asked {address}");
}

/// Two tasks on the second host, one on the first, none on the third.
const TASKS: [(usize, usize); 3] = [(11, 1), (12, 2), (13, 2)];

fn endpoints() -> Vec<ViewEndpoint> {
    TASKS.map(|(number, on)| endpoint(number, on)).into()
}

fn started(mesh: Mesh) -> Hosts {
    let hosts = Hosts::new(3);
    tell(&hosts, &view(1, endpoints(), mesh));
    for (number, on) in TASKS {
        task(&hosts, number, on);
    }
    hosts
}

fn client(hosts: &Hosts) -> std::path::PathBuf {
    hosts.client()
}

/// Which task answers a datagram.
fn answered(socket: &std::net::UdpSocket) -> String {
    exchange(socket).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn every_node_takes_every_port_and_servers_see_the_clients() {
    let hosts = started(mesh());
    for number in 1..=3 {
        sees(&client(&hosts), &format!("203.0.113.{number}"), "203.0.113.100");
        sees(&client(&hosts), &format!("[fd00:203::{number}]"), "fd00:203::64");
    }
    for number in 1..=3 {
        // A node's own programs: by its own address, and by loopback addresses, which mean nothing to others.
        let host = &hosts.host(number).path;
        let (own, own6) = (format!("203.0.113.{number}"), format!("fd00:203::{number}"));
        sees(host, &own, &own);
        sees(host, &format!("[{own6}]"), &own6);
        sees(host, "127.0.0.1", &format!("198.18.1.{number}"));
        sees(host, "[::1]", &format!("fd73:686f:616c:6d65::10{number}"));
    }
    // From a node that has none of the tasks, by way of another one.
    sees(&hosts.host(3).path, "203.0.113.1", "203.0.113.3");
    sees(&hosts.host(3).path, "[fd00:203::2]", "fd00:203::3");
    // Where bridged packets are filtered, the daemon relays `[::1]`; nothing else differs.
    if filter_bridged(&hosts.host(3).path, true) {
        tell(&hosts, &view(2, endpoints(), mesh()));
        sees(&hosts.host(3).path, "[::1]", "198.18.1.3");
        sees(&client(&hosts), "203.0.113.3", "203.0.113.100");
        sees(&client(&hosts), "[fd00:203::3]", "fd00:203::64");
    }
    // From the node of the task by way of another one: the task sees that one.
    tell(&hosts, &view(3, vec![endpoint(11, 1)], mesh()));
    sees(&hosts.host(1).path, "203.0.113.3", "198.18.1.3");
    sees(&hosts.host(1).path, "[fd00:203::2]", "fd73:686f:616c:6d65::102");
}

#[test]
fn a_task_that_leaves_gets_no_more_connections() {
    let mut with_streams = mesh();
    let streams = MeshPort { published: 8081, target: 81, ..with_streams.ports[0].clone() };
    with_streams.ports.push(streams);
    let hosts = started(with_streams.clone());
    let only = |number, on| vec![endpoint(number, on)];
    tell(&hosts, &view(2, only(12, 2), with_streams.clone()));
    let constant = sender(&client(&hosts), "203.0.113.3:8080");
    assert_eq!(answered(&constant), "task12");
    let mut open = stream(&client(&hosts), "203.0.113.3:8081");
    let mut say = |text: &[u8; 4]| {
        open.write_all(text)?;
        let mut heard = [0; 4];
        open.read_exact(&mut heard)?;
        assert_eq!(&heard, text);
        Ok::<_, std::io::Error>(())
    };
    say(b"one.").unwrap();
    // It drains: the sender moves on with the next datagram, the stream stays.
    let mut draining = endpoints();
    draining[1].healthy = false;
    tell(&hosts, &view(3, draining, with_streams.clone()));
    assert_ne!(answered(&constant), "task12");
    say(b"two.").unwrap();
    // It is gone.
    let networks = hosts.host(2).networks();
    hosts.host(2).run(async move { networks.detach(id("task12")).await }).unwrap();
    let left = vec![endpoint(11, 1), endpoint(13, 2)];
    tell(&hosts, &view(4, left, with_streams.clone()));
    assert!(say(b"end.").is_err(), "the stream is reset, not silent");
    sees(&client(&hosts), "203.0.113.3", "203.0.113.100");
    // With nobody left datagrams are lost, and arrive as soon as somebody is there.
    tell(&hosts, &view(5, Vec::new(), with_streams.clone()));
    assert!(exchange(&constant).is_err());
    tell(&hosts, &view(6, only(11, 1), with_streams));
    assert_eq!(answered(&constant), "task11");
}

#[test]
fn a_killed_daemon_and_a_foreign_flush_leave_the_mesh_working() {
    let mut with_streams = mesh();
    with_streams.ports[0].target = 81;
    let mut hosts = started(with_streams);
    let mut open = stream(&client(&hosts), "203.0.113.3:8080");
    let rules = |hosts: &Hosts, number: usize| {
        let path = &hosts.host(number).path;
        let tables = "nft -a list table inet shoal-mesh && nft -a list table netdev shoal-mesh";
        inside(path, &format!("{tables} && ip route && ip rule && ip -6 rule"))
    };
    let mut say = || {
        open.write_all(b"more").unwrap();
        open.read_exact(&mut [0; 4]).unwrap();
    };
    say();
    for (number, live) in [(1, vec!["task11"]), (2, vec!["task12", "task13"]), (3, vec![])] {
        let before = rules(&hosts, number);
        hosts.host_mut(number).stop();
        say();
        hosts.host_mut(number).start_with(&live);
        say();
        assert_eq!(rules(&hosts, number), before, "nothing is made anew");
        let networks = hosts.host(number).networks();
        let changes = hosts.host(number).run(async move { networks.repair().await }).unwrap();
        assert_eq!(changes, 0);
    }
    inside(&hosts.host(3).path, "nft flush ruleset");
    inside(&hosts.host(1).path, "nft delete table netdev shoal-mesh");
    let whole = |number| {
        let shown = inside(&hosts.host(number).path, "nft list tables");
        shown.matches("shoal-mesh").count() == 2
    };
    let waited = (0..250).find(|_| {
        std::thread::sleep(Duration::from_millis(20));
        whole(1) && whole(3)
    });
    assert!(waited.is_some(), "rules do not come back");
    let mut again = stream(&client(&hosts), "203.0.113.3:8080");
    again.write_all(b"more").unwrap();
    again.read_exact(&mut [0; 4]).unwrap();
}

#[test]
fn a_taken_port_is_refused_here_and_published_elsewhere() {
    let hosts = Hosts::new(3);
    lab::serve(&hosts.host(3).path, "0.0.0.0:8080");
    tell(&hosts, &view(1, endpoints(), mesh()));
    for (number, on) in TASKS {
        task(&hosts, number, on);
    }
    let refused: Vec<String> = hosts
        .host(3)
        .networks()
        .refused_ports()
        .iter()
        .map(|(protocol, port)| format!("{port}/{protocol:?}"))
        .collect();
    assert_eq!(refused, ["8080/Tcp"]);
    // The program on the third host is not cut off.
    assert_eq!(ask(&client(&hosts), "203.0.113.3:8080").as_deref(), Ok("203.0.113.100"));
    assert_eq!(ask(&hosts.host(3).path, "127.0.0.1:8080").as_deref(), Ok("127.0.0.1"));
    sees(&client(&hosts), "203.0.113.1", "203.0.113.100");
    // And the other way round: a container cannot have a port of the mesh.
    let networks = hosts.host(1).networks();
    let error = hosts.host(1).run(async move {
        let port = shoal_netoverlay::sandbox::PortRequest {
            protocol: shoal_netoverlay::plan::ports::Protocol::Tcp,
            container_port: 80,
            host_ip: None,
            host_ports: Some((PORT, PORT)),
        };
        lab::attach_with_ports(&networks, "plain", &["bridge"], &[port]).await.unwrap_err()
    });
    assert!(matches!(error, shoal_netoverlay::Error::Port { .. }), "{error}");
}

#[test]
fn ports_have_policies_and_places() {
    let mut with = mesh();
    with.ports[1].policy = PortPolicy::LocalFirst;
    with.ports[0].address = Some([203, 0, 113, 1].into());
    let hosts = started(with.clone());
    let by = |number: usize| -> BTreeSet<String> {
        let to = format!("203.0.113.{number}:8080");
        (0..12).map(|_| answered(&sender(&client(&hosts), &to))).collect()
    };
    assert_eq!(by(1), ["task11".to_owned()].into());
    assert!(by(2).is_subset(&["task12".to_owned(), "task13".to_owned()].into()));
    assert!(!by(3).is_empty());
    assert_eq!(ask(&client(&hosts), "203.0.113.1:8080").as_deref(), Ok("203.0.113.100"));
    assert!(
        ask(&client(&hosts), "203.0.113.2:8080").is_err(),
        "it is published at another address"
    );
    with.ports[0].address = None;
    with.ports[0].interface = "eth0".to_owned();
    with.ports[1].policy = PortPolicy::LocalOnly;
    tell(&hosts, &view(2, endpoints(), with));
    assert_eq!(ask(&client(&hosts), "203.0.113.2:8080").as_deref(), Ok("203.0.113.100"));
    assert!(ask(&hosts.host(2).path, "127.0.0.1:8080").is_err(), "it came by another link");
    assert!(exchange(&sender(&client(&hosts), "203.0.113.3:8080")).is_err());
}

#[test]
fn without_ipv6_in_the_mesh_clients_are_relayed_and_removal_leaves_nothing() {
    let mut ipv4 = mesh();
    ipv4.subnets.truncate(1);
    let hosts = Hosts::new(3);
    let only = |endpoint: &mut ViewEndpoint| endpoint.addresses.truncate(1);
    let mut told = vec![endpoint(12, 2)];
    told.iter_mut().for_each(only);
    let before: Vec<String> = (1..=3).map(|number| state(&hosts, number)).collect();
    tell(&hosts, &view(1, told, ipv4.clone()));
    let request = EndpointRequest { ipv4: Some([10, 250, 0, 12].into()), ..Default::default() };
    let endpoints = vec![(network_id(NET), request)];
    let request = SandboxRequest { id: id("task12"), endpoints, ports: Vec::new() };
    let networks = hosts.host(2).networks();
    let sandbox = hosts.host(2).run(async move { networks.attach(request).await }).unwrap();
    lab::serve(&sandbox.path, "10.250.0.12:80");
    let asks = |to: &str| ask(&client(&hosts), to);
    assert_eq!(asks("203.0.113.1:8080").as_deref(), Ok("203.0.113.100"));
    assert_eq!(asks("[fd00:203::1]:8080").as_deref(), Ok("198.18.1.1"));
    // A task reaches outside by its own node.
    lab::serve(&client(&hosts), "203.0.113.100:9000");
    assert_eq!(ask(&sandbox.path, "203.0.113.100:9000").as_deref(), Ok("203.0.113.2"));

    ipv4.ports.clear();
    tell(&hosts, &view(2, Vec::new(), ipv4));
    assert_ne!(state(&hosts, 2), before[1], "a container is still there");
    let networks = hosts.host(2).networks();
    hosts.host(2).run(async move { networks.detach(id("task12")).await }).unwrap();
    for number in 1..=3 {
        assert_eq!(state(&hosts, number), before[number - 1]);
        let networks = hosts.host(number).networks();
        hosts
            .host(number)
            .run(async move { networks.leave_overlay(network_id(NET)).await })
            .unwrap();
    }
}

/// Links, tables, routes and rules of a host.
fn state(hosts: &Hosts, number: usize) -> String {
    let links = "ip -br link show type bridge | cut -f1 -d\" \"; ip -br link show type vxlan";
    let rest = "nft list tables; ip route; ip rule; ip -6 rule; ss -lntuH | grep -c 8080";
    inside(&hosts.host(number).path, &format!("{links}; {rest}; true"))
}
