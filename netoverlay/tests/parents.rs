//! Networks directly on a link of the host, on a real kernel: the parent is one end of a veth pair, the
//! neighbour at its other end is the outside.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod lab;

use std::collections::BTreeMap;

use lab::{Lab, ask, attach, id, inside, json, pings, sh, try_sh};
use shoal_netoverlay::Networks;
use shoal_netoverlay::endpoint::EndpointRequest;
use shoal_netoverlay::network::{Driver, NetworkSpec, PoolSpec};
use shoal_netoverlay::sandbox::SandboxRequest;

fn spec(name: &str, driver: Driver, options: &[(&str, &str)]) -> NetworkSpec {
    let pool = |subnet: &str, range: &str, gateway: &str| PoolSpec {
        subnet: Some(subnet.parse().unwrap()),
        range: Some(range.parse().unwrap()),
        gateway: Some(gateway.parse().unwrap()),
        ..Default::default()
    };
    NetworkSpec {
        driver,
        ipv6: true,
        options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        pools: vec![
            pool("203.0.113.0/24", "203.0.113.64/26", lab::NEIGHBOUR),
            pool("fd00:203::/64", "fd00:203::64/120", "fd00:203::2"),
        ],
        ..NetworkSpec::bridge(name)
    }
}

fn default_route(sandbox: &std::path::Path) -> String {
    let routes = json(&inside(sandbox, "ip -j route show default"));
    routes[0]["gateway"].as_str().unwrap_or_default().to_owned()
}

/// Links of the host whose name is not of the lab or of the default bridge.
fn extra_links() -> Vec<String> {
    let links = json(&sh("ip -j link"));
    let names = links.as_array().unwrap().iter().map(|one| one["ifname"].as_str().unwrap());
    let known = ["lo", "up0", "shoal0"];
    names.filter(|name| !known.contains(name)).map(str::to_owned).collect()
}

async fn on_parent(networks: &Networks, mode: &str) {
    let options = [("parent", "up0"), ("macvlan_mode", mode)];
    networks.create_network(spec("lan", Driver::Macvlan, &options)).await.unwrap();
}

#[test]
fn members_are_on_the_link_themselves() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        on_parent(&networks, "").await;
        let one = attach(&networks, "one", &["lan"]).await;
        let two = attach(&networks, "two", &["lan"]).await;
        let first = &one.endpoints[0];
        assert_eq!(first.ipv4.unwrap().to_string(), "203.0.113.64/24");
        assert_eq!(default_route(&one.path), lab::NEIGHBOUR);
        let link = &json(&inside(&one.path, "ip -j -d link show eth0"))[0];
        assert_eq!(link["linkinfo"]["info_kind"], "macvlan");
        assert_eq!(link["linkinfo"]["info_data"]["mode"], "bridge");
        assert_eq!(link["address"], first.mac.to_string());
        assert_eq!(extra_links(), [""; 0], "nothing in the host's namespace");
        // With their own addresses, in both families, both ways.
        lab::serve(&lab.neighbour(), "[::]:70");
        lab::serve(&one.path, "[::]:80");
        let address = first.ipv6.unwrap().address;
        let seen = [
            ask(&one.path, "203.0.113.2:70"),
            ask(&one.path, "[fd00:203::2]:70"),
            ask(&lab.neighbour(), "203.0.113.64:80"),
            ask(&two.path, "203.0.113.64:80"),
            ask(&two.path, &format!("[{address}]:80")),
        ];
        let seen = seen.map(|answer| answer.unwrap_or_else(|error| error));
        let [own, second] =
            [address, two.endpoints[0].ipv6.unwrap().address].map(|a| a.to_string());
        assert_eq!(
            seen,
            ["::ffff:203.0.113.64", &own, "::ffff:203.0.113.2", "::ffff:203.0.113.65", &second]
        );
        networks.detach(id("one")).await.unwrap();
        // The address and its link are free at once.
        let again = EndpointRequest { ipv4: Some([203, 0, 113, 64].into()), ..Default::default() };
        let lan = networks.resolve("lan").unwrap().id.clone();
        let request =
            SandboxRequest { id: id("three"), endpoints: vec![(lan, again)], ports: Vec::new() };
        let three = networks.attach(request).await.unwrap();
        assert!(pings(&three.path, lab::NEIGHBOUR));
        networks.detach(id("two")).await.unwrap();
        networks.detach(id("three")).await.unwrap();
        let lan = networks.resolve("lan").unwrap().id.clone();
        networks.remove_network(lan).await.unwrap();
        assert_eq!(lab.leftovers(), [""; 0]);
    });
}

#[test]
fn private_members_do_not_see_each_other() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        on_parent(&networks, "private").await;
        let one = attach(&networks, "one", &["lan"]).await;
        let _two = attach(&networks, "two", &["lan"]).await;
        assert!(pings(&one.path, lab::NEIGHBOUR));
        assert!(!pings(&one.path, "203.0.113.65"));
        let link = &json(&inside(&one.path, "ip -j -d link show eth0"))[0];
        assert_eq!(link["linkinfo"]["info_data"]["mode"], "private");
    });
}

#[test]
fn internal_members_have_no_way_out() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let closed = spec("lan", Driver::Macvlan, &[("parent", "up0")]);
        let closed = NetworkSpec { internal: true, ..closed };
        networks.create_network(closed).await.unwrap();
        let one = attach(&networks, "one", &["lan"]).await;
        let _two = attach(&networks, "two", &["lan"]).await;
        assert!(one.endpoints[0].gateway.is_none() && one.endpoints[0].ipv6_gateway.is_none());
        assert_eq!(default_route(&one.path), "");
        assert!(pings(&one.path, "203.0.113.65"));
    });
}

#[test]
fn members_come_and_go_while_running_and_outlive_the_daemon() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        on_parent(&networks, "bridge").await;
        let lan = networks.resolve("lan").unwrap().id.clone();
        let one = attach(&networks, "one", &["bridge"]).await;
        let joined = networks.connect(id("one"), lan.clone(), Default::default()).await.unwrap();
        assert_eq!(joined.endpoints[1].interface, "eth1");
        assert!(pings(&one.path, lab::NEIGHBOUR));
        drop(networks);
        let networks = lab.open().await;
        let restored = networks.restore([(id("one"), Vec::new())].into()).await.unwrap();
        assert_eq!(restored[&id("one")].as_ref().unwrap(), &joined);
        inside(&one.path, "ip link show eth1");
        networks.disconnect(id("one"), lan.clone()).await.unwrap();
        assert!(!try_sh(&lab::within(&one.path, "ip link show eth1")).0);
        // A daemon that was killed before it made the link.
        networks.connect(id("one"), lan, Default::default()).await.unwrap();
        inside(&one.path, "ip link del eth1");
        drop(networks);
        let networks = lab.open().await;
        networks.restore([(id("one"), Vec::new())].into()).await.unwrap();
        assert!(inside(&one.path, "ip addr show eth1").contains("203.0.113."));
        // And one that was killed while the sandbox was going.
        drop(networks);
        let networks = lab.start().await;
        assert_eq!(lab.leftovers(), [""; 0]);
        drop(networks);
    });
}

/// Whether the kernel has links of a kind.
fn has_kind(kind: &str) -> bool {
    let made = try_sh(&format!("ip link add probe0 link up0 type {kind}")).0;
    try_sh("ip link del probe0");
    made
}

#[test]
fn what_cannot_be_made_is_refused() {
    lab::run(|lab: Lab| async move {
        let networks = lab.start().await;
        let cases = [
            (
                spec("a", Driver::Macvlan, &[("parent", "none0")]),
                "parent link `none0` of network `a` does not exist on this host",
                true,
            ),
            (
                spec("b", Driver::Ipvlan, &[("parent", "up0")]),
                "the kernel of this host has no links of kind `ipvlan`",
                !has_kind("ipvlan"),
            ),
            (
                spec("c", Driver::Macvlan, &[]),
                "the kernel of this host has no links of kind `dummy`",
                !has_kind("dummy"),
            ),
            (
                spec("d", Driver::Macvlan, &[("parent", "up0.10")]),
                "the kernel of this host has no links of kind `vlan`",
                !has_kind("vlan id 10"),
            ),
            (
                spec("e", Driver::Macvlan, &[("parent", "up9.10")]),
                "parent link `up9` of network `e` does not exist on this host",
                true,
            ),
        ];
        for (spec, expected, applies) in cases {
            if applies {
                let error = networks.create_network(spec).await.unwrap_err();
                assert_eq!(error.to_string(), expected);
            }
        }
        assert_eq!(extra_links(), [""; 0]);
        let passthru = [("parent", "up0"), ("macvlan_mode", "passthru")];
        on_parent(&networks, "bridge").await;
        let mut second = spec("second", Driver::Macvlan, &passthru);
        second.pools.clear();
        let error = networks.create_network(second).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "network `second` cannot share parent link `up0` with network `lan`: one of them is passthru"
        );
        let files: BTreeMap<_, _> =
            networks.list().into_iter().map(|one| (one.spec.name.clone(), one)).collect();
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["bridge", "host", "lan", "none"]);
    });
}
