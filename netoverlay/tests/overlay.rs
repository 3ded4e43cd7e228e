//! Overlay networks on a real kernel: a sandbox reaches one behind VXLAN on the neighbour, by address and by the
//! virtual address of a service; a restart and a removal.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod lab;

use std::collections::BTreeMap;
use std::sync::Arc;

use lab::{NEIGHBOUR, id, inside, pings, sh};
use shoal_model::Timestamp;
use shoal_model::cluster::view::{ViewEndpoint, ViewService, mac_of};
use shoal_model::cluster::{ClusterNetworkId, NetworkView, NodeId, ServiceId, TaskId};
use shoal_netoverlay::endpoint::EndpointRequest;
use shoal_netoverlay::network::{Driver, Network, NetworkSpec, OverlayOptions, Pool};
use shoal_netoverlay::sandbox::{Sandbox, SandboxRequest};
use shoal_netoverlay::{Networks, network_id};

const NET: ClusterNetworkId = ClusterNetworkId::from_bytes([1; 16]);
const SERVICE: ServiceId = ServiceId::from_bytes([1; 16]);
const OWN: NodeId = NodeId::from_bytes([1; 16]);
const VNI: u32 = 4097;
const VIP: &str = "10.0.1.2";
const REMOTE: &str = "10.0.1.20";

fn network() -> Network {
    let pool = |subnet: &str, gateway: &str| Pool {
        subnet: subnet.parse().unwrap(),
        range: None,
        gateway: gateway.parse().unwrap(),
        auxiliary: BTreeMap::new(),
    };
    Network {
        id: network_id(NET),
        created: Timestamp::from_nanos(0),
        spec: NetworkSpec { driver: Driver::Overlay, ..NetworkSpec::bridge("net") },
        pools: vec![pool("10.0.1.0/24", "10.0.1.1")],
        bridge: None,
        parent: None,
        overlay: Some(OverlayOptions { vni: VNI, mtu: 1450 }),
        mesh: None,
    }
}

fn endpoint(address: &str, node: NodeId, path: &str, healthy: bool) -> ViewEndpoint {
    let addresses = vec![format!("{address}/24").parse().unwrap()];
    ViewEndpoint {
        task: TaskId::from_bytes(mac_of(&addresses).repeat(3)[..16].try_into().unwrap()),
        service: Some(SERVICE),
        node,
        data_path: Some(path.parse().unwrap()),
        mac: mac_of(&addresses),
        addresses,
        name: format!("web.{address}"),
        aliases: Vec::new(),
        healthy,
    }
}

fn view(version: u64, endpoints: Vec<ViewEndpoint>) -> Arc<NetworkView> {
    let service = ViewService {
        id: SERVICE,
        name: "web".to_owned(),
        aliases: Vec::new(),
        virtual_ips: vec![VIP.parse().unwrap()],
    };
    Arc::new(NetworkView {
        network: NET,
        version,
        data_path_port: 4789,
        endpoints,
        services: vec![service],
        mesh: None,
    })
}

async fn join(networks: &Networks, name: &str, address: &str) -> Sandbox {
    let request = EndpointRequest { ipv4: Some(address.parse().unwrap()), ..Default::default() };
    let endpoints = vec![(network_id(NET), request)];
    let request = SandboxRequest { id: id(name), endpoints, ports: Vec::new() };
    networks.attach(request).await.unwrap()
}

/// A member of the network on the neighbour, made by hand.
fn remote(lab: &lab::Lab) {
    for command in [
        "ip link add vx0 type vxlan id 4097 dstport 4789 nolearning",
        "ip link set vx0 address 02:42:0a:00:01:14 mtu 1450 up",
        "ip addr add 10.0.1.20/24 dev vx0",
        "bridge fdb append 02:42:0a:00:01:05 dev vx0 dst 203.0.113.1",
        "ip neigh add 10.0.1.5 lladdr 02:42:0a:00:01:05 dev vx0 nud permanent",
    ] {
        inside(&lab.neighbour(), command);
    }
}

#[test]
fn a_sandbox_reaches_another_node_and_a_service() {
    lab::run(|lab| async move {
        remote(&lab);
        let networks = lab.start().await;
        networks.define_overlay(network()).await.unwrap();
        let other = NodeId::from_bytes([2; 16]);
        let both = || {
            vec![
                endpoint("10.0.1.5", OWN, lab::HOST, false),
                endpoint(REMOTE, other, NEIGHBOUR, true),
            ]
        };
        networks.apply_view(view(1, both()), OWN).await.unwrap();
        let sandbox = join(&networks, "one", "10.0.1.5").await;
        assert_eq!(sandbox.endpoints[0].ipv4.unwrap().to_string(), "10.0.1.5/24");
        assert!(pings(&sandbox.path, REMOTE));
        lab::serve(&lab.neighbour(), "10.0.1.20:9000");
        // The service sees the client's own address.
        assert_eq!(lab::ask(&sandbox.path, "10.0.1.2:9000").as_deref(), Ok("10.0.1.5"));
        assert!(pings(&sandbox.path, VIP));

        // Another daemon takes over, and mends what was broken meanwhile.
        drop(networks);
        let place = lab.settings.exec_root.join("overlays").join(network_id(NET).as_str());
        inside(&place, "ip neigh flush nud permanent dev vx-001001");
        inside(&place, "bridge fdb del 02:42:0a:00:01:14 dev vx-001001 self");
        let networks = lab.open().await;
        let live = BTreeMap::from([(id("one"), Vec::new())]);
        let mut restored = networks.restore(live).await.unwrap();
        let sandbox = restored.remove(&id("one")).unwrap().unwrap();
        inside(&sandbox.path, "ip neigh flush all");
        assert_eq!(lab::ask(&sandbox.path, "10.0.1.2:9000").as_deref(), Ok("10.0.1.5"));
        assert_eq!(networks.views().len(), 1);

        // What is no longer there is not reached; what is not healthy gets no connections.
        let alone = vec![endpoint("10.0.1.5", OWN, lab::HOST, false)];
        networks.apply_view(view(2, alone), OWN).await.unwrap();
        inside(&sandbox.path, "ip neigh flush all");
        assert!(!pings(&sandbox.path, REMOTE));
        let left = inside(&place, "bridge fdb show dev vx-001001");
        assert!(!left.contains("02:42:0a:00:01:14"), "{left}");
        networks.apply_view(view(3, both()), OWN).await.unwrap();
        // The question that had no answer is asked again only after a second.
        inside(&sandbox.path, "ip neigh flush all");
        assert!(pings(&sandbox.path, REMOTE));

        // With the last sandbox everything goes, and can come again at once.
        networks.detach(id("one")).await.unwrap();
        assert!(!place.exists());
        let sandbox = join(&networks, "two", "10.0.1.5").await;
        assert!(pings(&sandbox.path, REMOTE));
        networks.leave_overlay(network_id(NET)).await.unwrap();
        assert!(pings(&sandbox.path, REMOTE), "it is there until the last endpoint goes");
        networks.detach(id("two")).await.unwrap();
        assert!(!place.exists());
        assert!(networks.resolve("net").is_err());
        assert_eq!(sh("ip -j link show type vxlan").trim(), "[]");
    });
}

/// More than are drawn from exactly: a draw that finds none is followed by others.
#[test]
fn every_connection_to_a_large_service_finds_a_backend() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        networks.define_overlay(network()).await.unwrap();
        let all: Vec<String> = (20..37).map(|last| format!("10.0.1.{last}")).collect();
        let mut endpoints = vec![endpoint("10.0.1.5", OWN, lab::HOST, false)];
        endpoints.extend(all.iter().map(|address| endpoint(address, OWN, lab::HOST, true)));
        networks.apply_view(view(1, endpoints), OWN).await.unwrap();
        let client = join(&networks, "client", "10.0.1.5").await;
        let server = join(&networks, "server", &all[0]).await;
        for address in &all[1..] {
            inside(&server.path, &format!("ip addr add {address}/24 dev eth0"));
        }
        lab::serve(&server.path, "0.0.0.0:9000");
        for _ in 0..200 {
            assert_eq!(lab::ask(&client.path, "10.0.1.2:9000").as_deref(), Ok("10.0.1.5"));
        }
        let table = inside(&client.path, "nft list ruleset");
        let rules = table.lines().filter(|line| line.contains("numgen random mod")).count();
        assert_eq!(rules, 5, "{table}");
        for name in ["client", "server"] {
            networks.detach(id(name)).await.unwrap();
        }
        assert_eq!(lab.leftovers(), [""; 0]);
    });
}

#[test]
fn connections_are_spread_and_follow_the_view() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        networks.define_overlay(network()).await.unwrap();
        let local = |first: bool| {
            vec![
                endpoint("10.0.1.5", OWN, lab::HOST, false),
                endpoint("10.0.1.6", OWN, lab::HOST, first),
                endpoint("10.0.1.7", OWN, lab::HOST, true),
            ]
        };
        networks.apply_view(view(1, local(true)), OWN).await.unwrap();
        let client = join(&networks, "client", "10.0.1.5").await;
        let mut servers = Vec::new();
        for (name, address) in [("a", "10.0.1.6"), ("b", "10.0.1.7")] {
            let sandbox = join(&networks, name, address).await;
            lab::serve(&sandbox.path, &format!("{address}:9000"));
            servers.push(sandbox);
        }
        for _ in 0..8 {
            assert_eq!(lab::ask(&client.path, "10.0.1.2:9000").as_deref(), Ok("10.0.1.5"));
        }
        let table = inside(&client.path, "nft list ruleset");
        assert!(table.contains("10.0.1.6") && table.contains("10.0.1.7"), "{table}");
        networks.apply_view(view(2, local(false)), OWN).await.unwrap();
        let table = inside(&client.path, "nft list ruleset");
        assert!(!table.contains("10.0.1.6") && table.contains("10.0.1.7"), "{table}");
        for _ in 0..8 {
            assert_eq!(lab::ask(&client.path, "10.0.1.2:9000").as_deref(), Ok("10.0.1.5"));
        }
        for name in ["client", "a", "b"] {
            networks.detach(id(name)).await.unwrap();
        }
        assert_eq!(lab.leftovers(), [""; 0]);
    });
}
