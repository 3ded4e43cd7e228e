//! Exact plans of a node in a mesh of three.

use expect_test::expect;
use shoal_model::cluster::mesh::MeshSubnet;
use shoal_model::cluster::view::{ViewEndpoint, mac_of};
use shoal_model::cluster::{ClusterNetworkId, ServiceId, TaskId};

use super::*;
use crate::plan::networks::Loopback6;

const SERVICE: ServiceId = ServiceId::from_bytes([1; 16]);

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn endpoint(number: u8, on: u8, healthy: bool) -> ViewEndpoint {
    let addresses = vec![
        format!("10.0.0.{number}/24").parse().unwrap(),
        format!("fd00::{number}/64").parse().unwrap(),
    ];
    ViewEndpoint {
        task: TaskId::from_bytes([number; 16]),
        service: Some(SERVICE),
        node: node(on),
        data_path: Some([192, 0, 2, on].into()),
        mac: mac_of(&addresses),
        addresses,
        name: format!("web.{number}"),
        aliases: Vec::new(),
        healthy,
    }
}

fn port(protocol: ModelProtocol, published: u16) -> MeshPort {
    MeshPort {
        protocol,
        published,
        target: 80,
        service: SERVICE,
        policy: PortPolicy::Mesh,
        address: None,
        interface: String::new(),
    }
}

fn mesh(ports: Vec<MeshPort>) -> Mesh {
    let nodes = (1..=3_u8).map(|number| MeshNode {
        id: node(number),
        index: number.into(),
        data_path: (number != 3).then(|| [192, 0, 2, number].into()),
        addresses: vec![[192, 0, 2, number].into()],
    });
    let subnet = |subnet: &str, gateway: &str| MeshSubnet {
        subnet: subnet.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    };
    Mesh {
        name: "ingress".to_owned(),
        vni: 4096,
        mtu: 1450,
        subnets: vec![subnet("10.0.0.0/24", "10.0.0.1"), subnet("fd00::/64", "fd00::1")],
        nodes: nodes.collect(),
        ports,
    }
}

fn view(endpoints: Vec<ViewEndpoint>) -> NetworkView {
    NetworkView {
        network: ClusterNetworkId::from_bytes([1; 16]),
        version: 1,
        data_path_port: 4789,
        endpoints,
        services: Vec::new(),
        mesh: None,
    }
}

fn host<'a>(containers: &'a [Subnet], refused: &'a BTreeSet<PortKey>) -> Host<'a> {
    Host {
        node: node(1),
        index: 1,
        bridge: "shoal-ingress",
        marks: Marks::new(8).unwrap(),
        loopback: Loopback6::Rewritten,
        ipv6: true,
        containers,
        refused,
    }
}

#[test]
fn ports_lead_to_healthy_tasks_and_the_way_back_is_remembered() {
    let mut at = port(ModelProtocol::Tcp, 443);
    at.address = Some([192, 0, 2, 1].into());
    let mut by = port(ModelProtocol::Tcp, 444);
    by.interface = "eth1".to_owned();
    let taken = port(ModelProtocol::Tcp, 445);
    let mesh = mesh(vec![port(ModelProtocol::Udp, 53), at, by, taken]);
    let view = view(vec![endpoint(5, 1, true), endpoint(6, 2, true), endpoint(7, 2, false)]);
    let backends = backends(&view, &mesh, node(1), true);
    let refused = BTreeSet::from([(Protocol::Tcp, 445)]);
    let containers = ["172.17.0.1/16".parse().unwrap()];
    let shown = rules(&mesh, &backends, &host(&containers, &refused)).to_string();
    expect![[r#"
        map any4 { inet_proto . inet_service : verdict
          udp . 53 : jump mod2
        }
        map any6 { inet_proto . inet_service : verdict
          udp . 53 : jump mod2
        }
        map at4 { ipv4_addr . inet_proto . inet_service : verdict
          192.0.2.1 . tcp . 443 : jump mod2
        }
        map at6 { ipv6_addr . inet_proto . inet_service : verdict
        }
        map by4 { ifname . inet_proto . inet_service : verdict
          eth1 . tcp . 444 : jump mod2
        }
        map by6 { ifname . inet_proto . inet_service : verdict
          eth1 . tcp . 444 : jump mod2
        }
        map hairpin4 { ipv4_addr . ipv4_addr : verdict
          192.0.2.2 . 198.18.0.2 : jump own4
          192.0.2.3 . 198.18.0.3 : jump own4
        }
        map hairpin6 { ipv6_addr . ipv6_addr : verdict
        }
        map lb4 { inet_proto . inet_service . mark : ipv4_addr . inet_service
          tcp . 443 . 0 : 10.0.0.5 . 80
          tcp . 443 . 1 : 10.0.0.6 . 80
          tcp . 444 . 0 : 10.0.0.5 . 80
          tcp . 444 . 1 : 10.0.0.6 . 80
          udp . 53 . 0 : 10.0.0.5 . 80
          udp . 53 . 1 : 10.0.0.6 . 80
        }
        map lb6 { inet_proto . inet_service . mark : ipv6_addr . inet_service
          tcp . 444 . 0 : fd00::5 . 80
          tcp . 444 . 1 : fd00::6 . 80
          udp . 53 . 0 : fd00::5 . 80
          udp . 53 . 1 : fd00::6 . 80
        }
        map node { ether_addr : mark
          02:1f:00:00:00:02 : 512
          02:1f:00:00:00:03 : 768
        }
        chain leaving {
          ip6 saddr ::1/128 snat ip6 to fd73:686f:616c:6d65::1
          meta nfproto ipv6 ip6 saddr . rt ip6 nexthop vmap @hairpin6
          ip saddr 127.0.0.0/8 snat ip to 198.18.0.1
          ip saddr 172.17.0.0/16 ct status dnat snat ip to 198.18.0.1
          meta nfproto ipv4 ip saddr . rt ip nexthop vmap @hairpin4
        }
        chain mod2 {
          meta nfproto ipv6 dnat ip6 to meta l4proto . th dport . numgen random mod 2 map @lb6
          meta nfproto ipv4 dnat ip to meta l4proto . th dport . numgen random mod 2 map @lb4
        }
        chain nat-output { type nat hook output priority -100
          fib daddr type local jump publish
        }
        chain nat-postrouting { type nat hook postrouting priority 95
          oifname "shoal-ingress" jump leaving
        }
        chain nat-prerouting { type nat hook prerouting priority -100
          fib daddr type local jump publish
        }
        chain own4 {
          snat ip to 198.18.0.1
        }
        chain own6 {
          snat ip6 to fd73:686f:616c:6d65::1
        }
        chain publish {
          meta nfproto ipv6 ip6 daddr . meta l4proto . th dport vmap @at6
          meta nfproto ipv6 iifname . meta l4proto . th dport vmap @by6
          meta nfproto ipv6 meta l4proto . th dport vmap @any6
          meta nfproto ipv4 ip daddr . meta l4proto . th dport vmap @at4
          meta nfproto ipv4 iifname . meta l4proto . th dport vmap @by4
          meta nfproto ipv4 meta l4proto . th dport vmap @any4
        }
        chain redirects { type filter hook output priority 0
          icmp type redirect ct mark & 0x00ffff00 != 0 drop
          oifname "shoal-ingress" icmpv6 type nd-redirect drop
        }
        chain remember { type filter hook prerouting priority -150
          iifname "shoal-ingress" ct state new ct direction original ct mark set ether saddr map @node
          iifname "shoal-ingress" ct direction reply ct mark & 0x00ffff00 != 0 meta mark set ct mark & 0x00ffff00
        }
    "#]].assert_eq(&shown);
}

#[test]
fn frames_to_nowhere_go_to_the_marked_node() {
    let shown = frames(&mesh(Vec::new()), node(1), Marks::new(8).unwrap()).to_string();
    expect![[r#"
        map peer { mark : ether_addr
          512 : 02:1f:00:00:00:02
          768 : 02:1f:00:00:00:03
        }
        chain leaving { type filter hook egress priority 0
          ether daddr 02:1f:ff:ff:ff:ff ether daddr set meta mark & 0x00ffff00 map @peer
          meta mark set meta mark & 0xff0000ff
        }
    "#]]
    .assert_eq(&shown);
}

#[test]
fn tasks_of_others_are_behind_their_nodes() {
    let view = view(vec![endpoint(5, 1, true), endpoint(6, 2, false), endpoint(7, 3, true)]);
    let ways = ways(&view, &mesh(Vec::new()), node(1), true);
    expect![[r#"
        Ways {
            frames: Forwarding {
                nodes: {
                    02:1f:00:00:00:02: 192.0.2.2,
                },
                ports: {
                    02:1f:00:00:00:02,
                },
                neighbours: {},
            },
            neighbours: {
                198.18.0.2: 02:1f:00:00:00:02,
                198.19.255.254: 02:1f:ff:ff:ff:ff,
                fd73:686f:616c:6d65::2: 02:1f:00:00:00:02,
                fd73:686f:616c:6d65::ffff:fffe: 02:1f:ff:ff:ff:ff,
            },
            routes: {
                10.0.0.6: 198.18.0.2,
                fd00::6: fd73:686f:616c:6d65::2,
            },
        }
    "#]]
    .assert_debug_eq(&ways);
    let without = super::ways(&view, &mesh(Vec::new()), node(1), false);
    assert!(without.routes.keys().chain(without.neighbours.keys()).all(IpAddr::is_ipv4));
}

#[test]
fn a_policy_chooses_among_the_healthy() {
    let chosen = |policy, endpoints: Vec<ViewEndpoint>| {
        let mesh = mesh(vec![MeshPort { policy, ..port(ModelProtocol::Tcp, 80) }]);
        let backends = backends(&view(endpoints), &mesh, node(1), false);
        let shown: Vec<String> =
            backends[&(Protocol::Tcp, 80)].iter().map(SocketAddr::to_string).collect();
        shown.join(" ")
    };
    let both = || vec![endpoint(5, 1, true), endpoint(6, 2, true), endpoint(7, 3, true)];
    let remote = || vec![endpoint(5, 1, false), endpoint(6, 2, true)];
    assert_eq!(chosen(PortPolicy::Mesh, both()), "10.0.0.5:80 10.0.0.6:80");
    assert_eq!(chosen(PortPolicy::LocalFirst, both()), "10.0.0.5:80");
    assert_eq!(chosen(PortPolicy::LocalFirst, remote()), "10.0.0.6:80");
    assert_eq!(chosen(PortPolicy::LocalOnly, both()), "10.0.0.5:80");
    assert_eq!(chosen(PortPolicy::LocalOnly, remote()), "");
}

#[test]
fn datagrams_leave_a_backend_at_once_and_streams_when_it_is_gone() {
    let backend = |text: &str| text.parse::<SocketAddr>().unwrap();
    let keys = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, 53));
    let alive = Alive {
        backends: keys.map(|key| (key, [backend("10.0.0.5:80")].into())).into(),
        changed: keys.into(),
        subnets: vec!["10.0.0.0/24".parse().unwrap()],
        present: ["10.0.0.5", "10.0.0.6"].map(|one| one.parse().unwrap()).into(),
    };
    let stale = |protocol: Protocol, destination: &str, by: &str| {
        let connection = Connection {
            protocol: protocol as u8,
            destination: backend(destination),
            answered_by: backend(by),
            is_rewritten: destination != by,
        };
        is_stale(&connection, &alive)
    };
    use Protocol::{Tcp, Udp};
    assert!(!stale(Udp, "192.0.2.1:53", "10.0.0.5:80"), "a backend");
    assert!(stale(Udp, "192.0.2.1:53", "10.0.0.6:80"), "drains");
    assert!(stale(Udp, "192.0.2.1:53", "192.0.2.1:53"), "led nowhere");
    assert!(!stale(Udp, "192.0.2.1:53", "172.17.0.2:80"), "of somebody else");
    assert!(!stale(Udp, "192.0.2.1:54", "10.0.0.6:80"), "another port");
    assert!(!stale(Tcp, "192.0.2.1:53", "10.0.0.6:80"), "drains");
    assert!(stale(Tcp, "192.0.2.1:53", "10.0.0.7:80"), "gone");
    assert!(!stale(Tcp, "192.0.2.1:53", "192.0.2.1:53"), "refused");
}
