//! User-defined bridge networks on a real kernel: isolation, connection of running sandboxes, IPv6, refusals.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod lab;

use std::collections::BTreeMap;

use lab::{attach, id, inside, json, pings, sh};
use serde_json::json;
use shoal_netoverlay::Networks;
use shoal_netoverlay::endpoint::EndpointRequest;
use shoal_netoverlay::network::{NetworkSpec, PoolSpec};
use shoal_netoverlay::plan::ports::Protocol;
use shoal_netoverlay::sandbox::{PortRequest, SandboxRequest};

async fn refusal(networks: &Networks, spec: NetworkSpec) -> String {
    let error = networks.create_network(spec).await.unwrap_err();
    shoal_model::error::Chain(&error).to_string()
}

fn with_subnet(name: &str, subnet: &str) -> NetworkSpec {
    let pool = PoolSpec { subnet: Some(subnet.parse().unwrap()), ..Default::default() };
    NetworkSpec { pools: vec![pool], ..NetworkSpec::bridge(name) }
}

#[test]
fn networks_are_isolated_and_sandboxes_move_between_them() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let front = networks.create_network(NetworkSpec::bridge("front")).await.unwrap();
        let back = networks.create_network(with_subnet("back", "10.77.0.0/24")).await.unwrap();
        assert_eq!(front.pools[0].subnet.to_string(), "172.18.0.0/16");
        let bridge = json(&sh(
            "ip -j -4 addr show dev br-$(ls /proc/sys/net/ipv4/conf | grep -o 'br-.*' | head -1 | cut -c4-)",
        ));
        assert!(bridge[0]["addr_info"][0]["local"].is_string());
        let one = attach(&networks, "one", &["front"]).await;
        let two = attach(&networks, "two", &["back"]).await;
        let both = attach(&networks, "both", &["front", "back"]).await;
        assert_eq!(two.endpoints[0].ipv4.unwrap().to_string(), "10.77.0.2/24");
        let names: Vec<_> = both.endpoints.iter().map(|one| one.interface.as_str()).collect();
        assert_eq!(names, ["eth0", "eth1"]);
        assert!(!pings(&one.path, "10.77.0.2"), "another network");
        assert!(pings(&one.path, lab::NEIGHBOUR));
        assert!(pings(&both.path, "10.77.0.2") && pings(&both.path, "172.18.0.2"));
        // Equal priorities: the first name gives the default route.
        let via = |text: String| json(&text)[0]["gateway"].clone();
        assert_eq!(via(inside(&both.path, "ip -j route show default")), json!("10.77.0.1"));

        let one = networks.connect(id("one"), back.id.clone(), EndpointRequest::default()).await;
        let one = one.unwrap();
        assert_eq!(one.endpoints.len(), 2);
        assert!(pings(&one.path, "10.77.0.2"));
        assert_eq!(via(inside(&one.path, "ip -j route show default")), json!("10.77.0.1"));
        let again = networks.connect(id("one"), back.id.clone(), EndpointRequest::default()).await;
        assert_eq!(
            again.unwrap_err().to_string(),
            "sandbox `one` has joined network `back` already"
        );
        let one = networks.disconnect(id("one"), back.id.clone()).await.unwrap();
        assert!(!pings(&one.path, "10.77.0.2"));
        assert_eq!(via(inside(&one.path, "ip -j route show default")), json!("172.18.0.1"));
        assert!(pings(&one.path, lab::NEIGHBOUR));

        let error = networks.remove_network(back.id.clone()).await.unwrap_err();
        assert_eq!(error.to_string(), "network `back` is in use by 2 endpoints");
        for name in ["two", "both"] {
            networks.detach(id(name)).await.unwrap();
        }
        let before = lab::rules();
        networks.remove_network(back.id.clone()).await.unwrap();
        assert_eq!(networks.repair().await.unwrap(), 0);
        assert!(before.contains(&format!("br-{}", back.id.short())));
        assert!(!lab::rules().contains(&format!("br-{}", back.id.short())));
        assert_eq!(json(&sh("ip -j link show type bridge")).as_array().unwrap().len(), 2);
        // A new daemon knows what is left.
        drop(networks);
        let networks = lab.open().await;
        networks
            .restore([(id("one"), vec![])].into())
            .await
            .unwrap()
            .remove(&id("one"))
            .unwrap()
            .unwrap();
        assert_eq!(networks.resolve("front").unwrap(), front);
        assert!(networks.resolve("back").is_err());
        assert!(pings(&one.path, lab::NEIGHBOUR));
    });
}

#[test]
fn a_connection_that_was_cut_short_is_completed_by_the_restart() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let back = networks.create_network(with_subnet("back", "10.77.0.0/24")).await.unwrap();
        let one = attach(&networks, "one", &["bridge"]).await;
        let two = attach(&networks, "two", &["back"]).await;
        let one = networks.connect(one.id, back.id.clone(), EndpointRequest::default()).await;
        let one = one.unwrap();
        drop(networks);
        // Killed before the pair was made; and, for the other, before it was configured.
        sh(&format!("ip link del {}", one.endpoints[1].host_interface()));
        inside(&two.path, "ip link set eth0 down; ip addr flush dev eth0");
        let networks = lab.open().await;
        let live = [(id("one"), vec![]), (id("two"), vec![])];
        let restored = networks.restore(live.into()).await.unwrap();
        assert_eq!(restored[&id("one")].as_ref().unwrap(), &one);
        assert!(pings(&one.path, "10.77.0.2") && pings(&two.path, "10.77.0.3"));
        assert!(pings(&one.path, lab::NEIGHBOUR) && pings(&two.path, lab::NEIGHBOUR));
    });
}

#[test]
fn internal_networks_and_those_without_icc() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let closed = NetworkSpec { internal: true, ..with_subnet("closed", "10.78.0.0/24") };
        networks.create_network(closed).await.unwrap();
        let options = BTreeMap::from([(
            "com.docker.network.bridge.enable_icc".to_owned(),
            "false".to_owned(),
        )]);
        let strict = NetworkSpec { options, ..with_subnet("strict", "10.79.0.0/24") };
        networks.create_network(strict).await.unwrap();
        let one = attach(&networks, "one", &["closed"]).await;
        let two = attach(&networks, "two", &["closed"]).await;
        assert!(pings(&one.path, "10.78.0.3") && pings(&two.path, "10.78.0.2"));
        assert_eq!(inside(&one.path, "ip -j route show default").trim(), "[]");
        inside(&one.path, "ip route add default via 10.78.0.1");
        assert!(!pings(&one.path, lab::NEIGHBOUR));
        let three = attach(&networks, "three", &["strict"]).await;
        attach(&networks, "four", &["strict"]).await;
        assert!(pings(&three.path, lab::NEIGHBOUR));
        let filtered = sh("cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || echo 0");
        if filtered.trim() == "1" {
            assert!(!pings(&three.path, "10.79.0.3"));
        }
    });
}

#[test]
fn ipv6_addresses_ports_and_isolation() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let dual = NetworkSpec { ipv6: true, ..NetworkSpec::bridge("dual") };
        let dual = networks.create_network(dual).await.unwrap();
        let subnet = dual.pool(false).unwrap().subnet;
        assert_eq!((subnet.prefix, &subnet.to_string()[..2]), (64, "fd"));
        let port = PortRequest {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip: None,
            host_ports: None,
        };
        let request = SandboxRequest {
            id: id("one"),
            endpoints: vec![(dual.id.clone(), EndpointRequest::default())],
            ports: vec![port],
        };
        let one = networks.attach(request).await.unwrap();
        let two = attach(&networks, "two", &["dual"]).await;
        let address = one.endpoints[0].ipv6.unwrap().address;
        // The kernel joins the group of a new IPv6 address in the background: a first solicitation may
        // come too early.
        let target = address.to_string();
        assert!((0..3).any(|_| pings(&two.path, &target)));
        assert!(pings(&two.path, "fd00:203::2"), "masqueraded");
        let host_port = one.ports[0].host.port();
        assert_eq!(one.ports.len(), 2);
        assert_eq!(one.ports[1].host.to_string(), format!("[::]:{host_port}"));
        lab::serve(&one.path, "[::]:80");
        let at_host = format!("[fd00:203::1]:{host_port}");
        let seen = lab::ask(&lab.neighbour(), &at_host);
        assert_eq!(seen.as_deref(), Ok("fd00:203::2"));
        assert!(lab::ask_on_host(&at_host).is_ok());
        let gateway = one.endpoints[0].ipv6_gateway.unwrap().to_string();
        assert_eq!(lab::ask(&two.path, &at_host), Ok(gateway.clone()));
        assert_eq!(lab::ask(&one.path, &at_host), Ok(gateway));
        inside(&lab.neighbour(), &format!("ip -6 route add {} via fd00:203::1", subnet));
        assert!(lab::ask(&lab.neighbour(), &format!("[{address}]:80")).is_err(), "not published");
    });
}

#[test]
fn bad_networks_are_refused() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        networks.create_network(with_subnet("one", "10.77.0.0/24")).await.unwrap();
        let pool = |edit: fn(&mut PoolSpec)| {
            let mut spec = with_subnet("bad", "10.80.0.0/24");
            edit(&mut spec.pools[0]);
            spec
        };
        let option = |option: &str, value: &str| NetworkSpec {
            options: [(option.to_owned(), value.to_owned())].into(),
            ..NetworkSpec::bridge("bad")
        };
        let cases = [
            (with_subnet("one", "10.99.0.0/24"), "network with name `one` already exists"),
            (with_subnet(" ", "10.99.0.0/24"), "a network needs a name"),
            (
                with_subnet("host", "10.99.0.0/24"),
                "network `host` is pre-defined and cannot be created",
            ),
            (
                NetworkSpec { ipv4: false, ..NetworkSpec::bridge("bad") },
                "network `bad` has neither IPv4 nor IPv6",
            ),
            (
                NetworkSpec {
                    pools: [with_subnet("", "10.98.0.0/24"), with_subnet("", "10.99.0.0/24")]
                        .map(|spec| spec.pools[0].clone())
                        .into(),
                    ..NetworkSpec::bridge("bad")
                },
                "bridge network `bad` has several subnets of one family",
            ),
            (
                with_subnet("bad", "10.77.0.128/25"),
                "subnet `10.77.0.128/25` of network `bad` overlaps `10.77.0.0/24` of network `one`",
            ),
            (
                with_subnet("bad", "203.0.113.128/25"),
                "subnet `203.0.113.128/25` of network `bad` overlaps `203.0.113.0/24`, which the host routes elsewhere",
            ),
            (
                with_subnet("bad", "10.99.0.1/24"),
                "invalid subnet `10.99.0.1/24` of network `bad`: host bits are set",
            ),
            (
                with_subnet("bad", "10.99.0.0/31"),
                "invalid subnet `10.99.0.0/31` of network `bad`: it has no room for a gateway and an endpoint",
            ),
            (
                pool(|pool| pool.gateway = Some([10, 81, 0, 1].into())),
                "invalid subnet `10.80.0.0/24` of network `bad`: the gateway or an auxiliary address lies outside of it",
            ),
            (
                pool(|pool| pool.gateway = Some([10, 80, 0, 0].into())),
                "gateway `10.80.0.0` of network `bad` is no free host address of its subnet",
            ),
            (
                pool(|pool| {
                    pool.gateway = Some([10, 80, 0, 7].into());
                    pool.auxiliary = [("spare".to_owned(), [10, 80, 0, 7].into())].into();
                }),
                "auxiliary address `10.80.0.7` of network `bad` is no free host address of its subnet",
            ),
            (
                pool(|pool| pool.range = "10.0.0.0/8".parse().ok()),
                "invalid subnet `10.80.0.0/24` of network `bad`: the IP range lies outside of it",
            ),
            (
                option("com.docker.network.driver.mtu", "7"),
                "invalid value `7` of network option `com.docker.network.driver.mtu`: expected a number from 68 to 65535",
            ),
            (
                option("speed", "fast"),
                "invalid value `fast` of network option `speed`: expected an option that the bridge driver of Shoal knows",
            ),
        ];
        let rules = lab::rules();
        for (spec, expected) in cases {
            assert_eq!(refusal(&networks, spec).await, expected);
        }
        assert_eq!(lab::rules(), rules);
        assert_eq!(json(&sh("ip -j link show type bridge")).as_array().unwrap().len(), 2);
        assert_eq!(std::fs::read_dir(lab.settings.data_root.join("networks")).unwrap().count(), 4);
    });
}
