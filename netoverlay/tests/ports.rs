//! Published ports on a real kernel: who reaches them, who does not, and whose address the server sees.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod lab;

use lab::{HOST, Lab, ask, ask_on_host, attach_with_ports as publish, id, inside, sh};
use shoal_netoverlay::Networks;
use shoal_netoverlay::plan::ports::Protocol;
use shoal_netoverlay::sandbox::{PortRequest, Sandbox};

fn tcp(host_port: u16, container_port: u16) -> PortRequest {
    PortRequest {
        protocol: Protocol::Tcp,
        container_port,
        host_ip: None,
        host_ports: Some((host_port, host_port)),
    }
}

async fn with_server(lab: &Lab, ports: &[PortRequest]) -> (Networks, Sandbox) {
    let networks = lab.start().await;
    let sandbox = publish(&networks, "server", &["bridge"], ports).await.unwrap();
    lab::serve(&sandbox.path, "172.17.0.2:80");
    (networks, sandbox)
}

#[test]
fn reached_from_everywhere_with_the_source_kept() {
    lab::run(|lab| async move {
        let (networks, server) = with_server(&lab, &[tcp(8080, 80)]).await;
        let client = lab::attach(&networks, "client", &["bridge"]).await;
        let at_host = format!("{HOST}:8080");
        let seen = [
            ask(&lab.neighbour(), &at_host),
            ask_on_host("127.0.0.1:8080"),
            ask_on_host(&at_host),
            ask_on_host("172.17.0.1:8080"),
            ask(&client.path, &at_host),
            ask(&client.path, "172.17.0.2:80"),
            ask(&server.path, &at_host),
        ];
        let seen = seen.map(|answer| answer.unwrap_or_else(|error| error));
        assert_eq!(
            seen,
            [
                "203.0.113.2",
                "172.17.0.1",
                "203.0.113.1",
                "172.17.0.1",
                "172.17.0.1", // the way back must lead over the host
                "172.17.0.3",
                "172.17.0.1",
            ]
        );
        networks.detach(id("server")).await.unwrap();
        assert_eq!(ask_on_host(&at_host), Err("connection refused".to_owned()));
        assert_eq!(networks.repair().await.unwrap(), 0);
    });
}

#[test]
fn neighbours_reach_neither_loopback_nor_unpublished_ports() {
    lab::run(|lab| async move {
        let local = PortRequest { host_ip: Some([127, 0, 0, 1].into()), ..tcp(8081, 80) };
        let (networks, server) = with_server(&lab, &[local]).await;
        lab::serve_on_host("127.0.0.1:7000");
        lab::serve(&server.path, "172.17.0.2:81");
        assert_eq!(ask_on_host("127.0.0.1:8081").as_deref(), Ok("172.17.0.1"));
        assert_eq!(ask_on_host("127.0.0.1:7000").as_deref(), Ok("127.0.0.1"));
        // A neighbour that routes everything here, loopback and containers included.
        let neighbour = lab.neighbour();
        inside(&neighbour, "sysctl -qw net.ipv4.conf.all.route_localnet=1");
        inside(&neighbour, "ip route add 172.17.0.0/16 via 203.0.113.1");
        inside(
            &neighbour,
            "ip addr del 127.0.0.1/8 dev lo; ip route flush table local 127.0.0.0/8",
        );
        inside(&neighbour, "ip route add 127.0.0.1/32 via 203.0.113.1 src 203.0.113.2");
        sh("sysctl -qw net.ipv4.conf.all.route_localnet=1");
        let refused = |answer: Result<String, String>| answer.unwrap_err();
        for address in ["127.0.0.1:7000", "127.0.0.1:8081", "172.17.0.2:80", "172.17.0.2:81"] {
            assert_eq!(refused(ask(&neighbour, address)), "timed out", "{address}");
        }
        assert_eq!(refused(ask(&neighbour, &format!("{HOST}:8081"))), "connection refused");
        // The test can fail: without our rules the loopback service is open. Nobody repairs meanwhile.
        lab.tasks.shut_down().await;
        sh("nft flush chain inet shoal raw-prerouting");
        assert!(ask(&neighbour, "127.0.0.1:7000").is_ok());
        networks.repair().await.unwrap();
        assert_eq!(refused(ask(&neighbour, "127.0.0.1:7000")), "timed out");
    });
}

#[test]
fn a_taken_port_is_an_error_and_leaves_nothing() {
    lab::run(|lab| async move {
        let (networks, _server) = with_server(&lab, &[tcp(8080, 80)]).await;
        let error = publish(&networks, "two", &["bridge"], &[tcp(8090, 80), tcp(8080, 80)]).await;
        assert_eq!(
            shoal_model::error::Chain(&error.unwrap_err()).to_string(),
            "failed to reserve port tcp `0.0.0.0:8080` of the host: Address already in use (os error 98)"
        );
        assert_eq!(lab.leftovers(), ["server", "server.json"]);
        assert_eq!(
            std::net::TcpListener::bind("0.0.0.0:8080").unwrap_err().kind(),
            std::io::ErrorKind::AddrInUse
        );
        // Neither the first of the two ports nor the address was kept.
        let three = publish(&networks, "three", &["bridge"], &[tcp(8090, 80)]).await.unwrap();
        assert_eq!(three.ports[0].host.to_string(), "0.0.0.0:8090");
        // A range goes on to its next free port; a random one is free.
        let range = PortRequest { host_ports: Some((8080, 8095)), ..tcp(0, 80) };
        let random = PortRequest { host_ports: None, ..tcp(0, 80) };
        let four = publish(&networks, "four", &["bridge"], &[range, random]).await.unwrap();
        assert_eq!(four.ports[0].host.to_string(), "0.0.0.0:8081");
        assert!(four.ports[1].host.port() >= 1024);
    });
}

#[test]
fn udp_is_published() {
    lab::run(|lab| async move {
        use std::net::UdpSocket;
        use std::time::Duration;
        let request = PortRequest { protocol: Protocol::Udp, ..tcp(5300, 53) };
        let networks = lab.start().await;
        let server = publish(&networks, "server", &["bridge"], &[request]).await.unwrap();
        let inside_of = |path: &std::path::Path, address: &'static str| {
            let namespace = shoal_netoverlay::kernel::namespace::Namespace::open(path).unwrap();
            namespace.run(|| UdpSocket::bind(address).unwrap()).unwrap()
        };
        let socket = inside_of(&server.path, "0.0.0.0:53");
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(format!("{from} {length}").as_bytes(), from).unwrap();
        });
        let client = inside_of(&lab.neighbour(), "203.0.113.2:4000");
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        client.send_to(b"query", "203.0.113.1:5300").unwrap();
        let mut buffer = [0; 64];
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(std::str::from_utf8(&buffer[..length]), Ok("203.0.113.2:4000 5"));
        assert_eq!(from.to_string(), "203.0.113.1:5300");
    });
}

#[test]
fn ports_outlive_the_daemon() {
    lab::run(|lab| async move {
        let (networks, server) = with_server(&lab, &[tcp(8080, 80)]).await;
        let at_host = format!("{HOST}:8080");
        let kept = networks.reserved(id("server")).await.unwrap();
        drop(networks);
        assert!(ask(&lab.neighbour(), &at_host).is_ok(), "while no daemon runs");
        let networks = lab.open().await;
        let restored = networks.restore([(id("server"), kept)].into()).await.unwrap();
        assert_eq!(restored[&id("server")].as_ref().unwrap(), &server);
        assert!(ask(&lab.neighbour(), &at_host).is_ok());
        sh("nft delete table inet shoal");
        networks.repair().await.unwrap();
        assert!(ask(&lab.neighbour(), &at_host).is_ok());
        networks.detach(id("server")).await.unwrap();
        std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
    });
}

/// A sender that never changes its port follows the container: to its next address, and to its successor.
fn datagrams_follow(server_network: &'static str, target: &'static str, source: &'static str) {
    lab::run(move |lab| async move {
        use shoal_netoverlay::kernel::namespace::Namespace;
        use shoal_netoverlay::network::NetworkSpec;
        use std::net::UdpSocket;
        use std::time::Duration;
        let networks = lab.start().await;
        for name in ["first", "second"] {
            let spec = NetworkSpec { ipv6: true, ..NetworkSpec::bridge(name) };
            networks.create_network(spec).await.unwrap();
        }
        let bind = |path: &std::path::Path, address: &'static str| {
            let namespace = Namespace::open(path).unwrap();
            namespace.run(|| UdpSocket::bind(address).unwrap()).unwrap()
        };
        let client = bind(&lab.neighbour(), source);
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let asked = || {
            client.send_to(b"x", target).unwrap();
            let mut buffer = [0; 64];
            let length = client.recv(&mut buffer).map_err(|error| error.kind().to_string())?;
            Ok::<_, String>(String::from_utf8(buffer[..length].to_vec()).unwrap())
        };
        let serve = |path: &std::path::Path, name: &'static str| {
            let socket = bind(path, "[::]:53");
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    socket.send_to(name.as_bytes(), from).unwrap();
                }
            });
        };
        // Before anything is published, the sender is known to the kernel already.
        assert!(asked().is_err());
        let request = [PortRequest { protocol: Protocol::Udp, ..tcp(5300, 53) }];
        let one = publish(&networks, "one", &[server_network], &request).await.unwrap();
        serve(&one.path, "one");
        assert_eq!(asked().as_deref(), Ok("one"));
        // To another network, and so to another address.
        let [first, second] = ["first", "second"].map(|name| networks.resolve(name).unwrap());
        networks.connect(id("one"), second.id.clone(), Default::default()).await.unwrap();
        networks.disconnect(id("one"), first.id.clone()).await.unwrap();
        assert_eq!(asked().as_deref(), Ok("one"));
        networks.detach(id("one")).await.unwrap();
        assert!(asked().is_err());
        let two = publish(&networks, "two", &["first"], &request).await.unwrap();
        serve(&two.path, "two");
        assert_eq!(asked().as_deref(), Ok("two"));
    });
}

#[test]
fn datagrams_follow_over_ipv4() {
    datagrams_follow("first", "203.0.113.1:5300", "203.0.113.2:4000");
}

#[test]
fn datagrams_follow_over_ipv6() {
    datagrams_follow("first", "[fd00:203::1]:5300", "[fd00:203::2]:4000");
}
