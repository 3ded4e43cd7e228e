//! Published ports of `[::1]` and of IPv6 addresses that lead to containers without IPv6, on a real kernel.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod lab;

use std::net::UdpSocket;
use std::time::Duration;

use lab::{Lab, ask, ask_on_host, attach_with_ports, id, inside, json, sh, try_sh, within};
use shoal_netoverlay::Networks;
use shoal_netoverlay::kernel::namespace::Namespace;
use shoal_netoverlay::network::NetworkSpec;
use shoal_netoverlay::plan::ports::Protocol;
use shoal_netoverlay::sandbox::{PortRequest, Sandbox};

fn port(protocol: Protocol, host: &str, host_port: u16, container_port: u16) -> PortRequest {
    PortRequest {
        protocol,
        container_port,
        host_ip: (!host.is_empty()).then(|| host.parse().unwrap()),
        host_ports: Some((host_port, host_port)),
    }
}

/// A server with both families; the way of `[::1]` is decided by the kernel's parameter.
async fn dual(lab: &Lab, filtered: &str) -> (Networks, Sandbox) {
    sh(&format!("sysctl -qw net.bridge.bridge-nf-call-ip6tables={filtered}"));
    let networks = lab.start().await;
    let spec = NetworkSpec { ipv6: true, ..NetworkSpec::bridge("dual") };
    networks.create_network(spec).await.unwrap();
    let ports = [port(Protocol::Tcp, "", 8080, 80), port(Protocol::Tcp, "::1", 8081, 80)];
    let server = attach_with_ports(&networks, "server", &["dual"], &ports).await.unwrap();
    lab::serve(&server.path, "[::]:80");
    // On a busy machine the kernel takes note of an IPv6 address late: then the first packet waits a second.
    let address = format!("[{}]:80", server.endpoints[0].ipv6.unwrap().address);
    for _ in 0..10 {
        if ask_on_host(&address).is_ok() {
            break;
        }
    }
    (networks, server)
}

fn loopback_works_and_sources_are_kept(filtered: &'static str) {
    lab::run(move |lab| async move {
        let (networks, server) = dual(&lab, filtered).await;
        let gateway = server.endpoints[0].ipv6_gateway.unwrap().to_string();
        let seen = [
            ask_on_host("[::1]:8080"),
            ask_on_host("[::1]:8081"),
            ask_on_host("[fd00:203::1]:8080"),
            ask(&lab.neighbour(), "[fd00:203::1]:8080"),
            ask(&lab.neighbour(), "203.0.113.1:8080"),
        ];
        let seen = seen.map(|answer| answer.unwrap_or_else(|error| error));
        let gateway = gateway.as_str();
        assert_eq!(seen, [gateway, gateway, "fd00:203::1", "fd00:203::2", "::ffff:203.0.113.2"]);
        // A port of [::1] is nobody else's.
        let refused = ask(&lab.neighbour(), "[fd00:203::1]:8081").unwrap_err();
        assert_eq!(refused, "connection refused");
        let routes = json(&sh("ip -j -6 route show table local ::1"));
        let over_bridge = routes
            .as_array()
            .unwrap()
            .iter()
            .filter(|route| route["dev"].as_str().unwrap().starts_with("br-"));
        assert_eq!(over_bridge.count(), usize::from(filtered == "0"));
        networks.detach(id("server")).await.unwrap();
        assert_eq!(ask_on_host("[::1]:8080").unwrap_err(), "connection refused");
        assert_eq!(networks.repair().await.unwrap(), 0);
    });
}

#[test]
fn loopback_is_rewritten() {
    loopback_works_and_sources_are_kept("0");
}

#[test]
fn loopback_is_relayed_where_bridged_packets_are_filtered() {
    loopback_works_and_sources_are_kept("1");
}

fn neighbours_reach_no_loopback(filtered: &'static str) {
    lab::run(move |lab| async move {
        let (networks, server) = dual(&lab, filtered).await;
        lab::serve_on_host("[::1]:7000");
        assert_eq!(ask_on_host("[::1]:7000").as_deref(), Ok("::1"));
        assert!(ask_on_host("[::1]:8081").is_ok());
        // A neighbour, and a container, that send ::1 to the host.
        let from = [(lab.neighbour(), "fd00:203::1".to_owned()), {
            let gateway = server.endpoints[0].ipv6_gateway.unwrap().to_string();
            (server.path, gateway)
        }];
        for (namespace, via) in from {
            inside(&namespace, "ip -6 addr del ::1/128 dev lo");
            inside(&namespace, &format!("ip -6 route add ::1/128 via {via}"));
            let source = inside(&namespace, "ip -6 route get ::1");
            assert!(source.contains(&via), "{source}");
            for address in ["[::1]:7000", "[::1]:8080", "[::1]:8081"] {
                let error = ask(&namespace, address).unwrap_err();
                assert!(["timed out", "host unreachable"].contains(&error.as_str()), "{error}");
            }
        }
        drop(networks);
    });
}

#[test]
fn neighbours_reach_no_loopback_service() {
    neighbours_reach_no_loopback("0");
}

#[test]
fn neighbours_reach_no_relayed_loopback_service() {
    neighbours_reach_no_loopback("1");
}

#[test]
fn a_container_without_ipv6_is_reached_by_ipv6() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let ports = [
            port(Protocol::Tcp, "", 8080, 80),
            port(Protocol::Udp, "", 5300, 53),
            port(Protocol::Tcp, "fd00:203::1", 8082, 80),
        ];
        let server = attach_with_ports(&networks, "server", &["bridge"], &ports).await.unwrap();
        let shown: Vec<_> = server.ports.iter().map(|port| port.host.to_string()).collect();
        let expected =
            ["0.0.0.0:8080", "[::]:8080", "0.0.0.0:5300", "[::]:5300", "[fd00:203::1]:8082"];
        assert_eq!(shown, expected);
        lab::serve(&server.path, "172.17.0.2:80");
        let seen = [
            ask(&lab.neighbour(), "[fd00:203::1]:8080"),
            ask(&lab.neighbour(), "[fd00:203::1]:8082"),
            ask_on_host("[::1]:8080"),
            ask(&lab.neighbour(), "203.0.113.1:8080"),
        ];
        let seen = seen.map(|answer| answer.unwrap_or_else(|error| error));
        assert_eq!(seen, ["172.17.0.1", "172.17.0.1", "172.17.0.1", "203.0.113.2"]);
        // Datagrams of two senders, back and forth.
        let bind = |path: &std::path::Path, address: &'static str| {
            let socket = Namespace::open(path).unwrap();
            let socket = socket.run(|| UdpSocket::bind(address).unwrap()).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            socket
        };
        let inner = bind(&server.path, "172.17.0.2:53");
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = inner.recv_from(&mut buffer) {
                inner.send_to(&buffer[..length], from).unwrap();
            }
        });
        let clients = ["[fd00:203::2]:4000", "[fd00:203::2]:4001"];
        let clients = clients.map(|address| bind(&lab.neighbour(), address));
        for round in ["one", "two"] {
            for (number, client) in clients.iter().enumerate() {
                let text = format!("{round} {number}");
                client.send_to(text.as_bytes(), "[fd00:203::1]:5300").unwrap();
            }
            for (number, client) in clients.iter().enumerate() {
                let mut buffer = [0; 64];
                let (length, from) = client.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..length], *format!("{round} {number}").as_bytes());
                assert_eq!(from.to_string(), "[fd00:203::1]:5300");
            }
        }
        // Taken by another program: an error before anything is made.
        let taken = "[::]:9000".parse().unwrap();
        let _taken = shoal_netoverlay::kernel::port::reserve(Protocol::Tcp, taken).unwrap();
        let wanted = [port(Protocol::Tcp, "", 9000, 80)];
        let error = attach_with_ports(&networks, "two", &["bridge"], &wanted).await.unwrap_err();
        assert_eq!(
            shoal_model::error::Chain(&error).to_string(),
            "failed to reserve port tcp `[::]:9000` of the host: Address already in use (os error 98)"
        );
        assert_eq!(lab.leftovers(), ["server", "server.json"]);
    });
}

#[test]
fn a_port_of_a_network_that_was_left_leads_to_nobody_else() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let ports = [port(Protocol::Tcp, "", 8080, 80)];
        attach_with_ports(&networks, "one", &["bridge"], &ports).await.unwrap();
        let bridge = networks.resolve("bridge").unwrap().id.clone();
        networks.disconnect(id("one"), bridge.clone()).await.unwrap();
        // Its address has another owner now.
        let wanted = shoal_netoverlay::endpoint::EndpointRequest {
            ipv4: Some([172, 17, 0, 2].into()),
            ..Default::default()
        };
        let two = shoal_netoverlay::sandbox::SandboxRequest {
            id: id("two"),
            endpoints: vec![(bridge.clone(), wanted)],
            ports: Vec::new(),
        };
        let two = networks.attach(two).await.unwrap();
        lab::serve(&two.path, "172.17.0.2:80");
        for address in ["203.0.113.1:8080", "[fd00:203::1]:8080"] {
            assert_ne!(ask(&lab.neighbour(), address).as_deref(), Ok("172.17.0.1"), "{address}");
            assert_ne!(ask(&lab.neighbour(), address).as_deref(), Ok("203.0.113.2"), "{address}");
        }
        // With its next address it is reached again.
        let one = networks.connect(id("one"), bridge, Default::default()).await.unwrap();
        lab::serve(&one.path, &format!("{}:80", one.endpoints[0].ipv4.unwrap().address));
        assert_eq!(ask(&lab.neighbour(), "203.0.113.1:8080").as_deref(), Ok("203.0.113.2"));
        assert_eq!(ask(&lab.neighbour(), "[fd00:203::1]:8080").as_deref(), Ok("172.17.0.1"));
    });
}

#[test]
fn connections_wait_while_no_daemon_runs() {
    lab::run(|mut lab| async move {
        let networks = lab.start().await;
        let ports = [port(Protocol::Tcp, "", 8080, 80)];
        let server = attach_with_ports(&networks, "server", &["bridge"], &ports).await.unwrap();
        lab::serve(&server.path, "172.17.0.2:80");
        let kept = networks.reserved(id("server")).await.unwrap();
        drop(networks);
        lab.tasks.shut_down().await;
        lab.tasks = shoal_base::tasks::Tasks::new();
        let client = std::thread::spawn({
            let neighbour = lab.neighbour();
            move || lab::ask_patiently(&neighbour, "[fd00:203::1]:8080", Duration::from_secs(10))
        });
        std::thread::sleep(Duration::from_millis(300));
        assert!(!client.is_finished());
        let networks = lab.open().await;
        networks.restore([(id("server"), kept)].into()).await.unwrap();
        assert_eq!(client.join().unwrap().as_deref(), Ok("172.17.0.1"));
        lab.tasks.shut_down().await;
    });
}

#[test]
fn sctp_is_refused_where_the_kernel_has_none() {
    lab::run(|lab| async move {
        if rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            Some(rustix::net::ipproto::SCTP),
        )
        .is_ok()
        {
            return; // This kernel has it.
        }
        let networks = lab.start().await;
        let ports = [port(Protocol::Sctp, "", 9999, 80)];
        let error = attach_with_ports(&networks, "one", &["bridge"], &ports).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot publish port sctp `0.0.0.0:9999`: the kernel of this host has no sctp"
        );
        assert_eq!(lab.leftovers(), [""; 0]);
        assert!(try_sh(&within(&lab.neighbour(), "true")).0);
    });
}
