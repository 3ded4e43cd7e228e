//! The default bridge on a real kernel: addresses, routes, outbound traffic, removal, restart.

mod lab;

use lab::{attach, id, inside, json, pings, rules, sh};
use serde_json::json;

#[test]
fn a_sandbox_has_address_route_and_way_out() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let sandbox = attach(&networks, "one", &["bridge"]).await;

        let addresses = json(&inside(&sandbox.path, "ip -j -4 addr show dev eth0"));
        let entry = &addresses[0]["addr_info"][0];
        assert_eq!((&entry["local"], &entry["prefixlen"]), (&json!("172.17.0.2"), &json!(16)));
        let link = json(&inside(&sandbox.path, "ip -j link"));
        assert_eq!(link[0]["flags"], json!(["LOOPBACK", "UP", "LOWER_UP"]));
        assert_eq!(link[1]["address"], json!("02:42:ac:11:00:02"));
        assert_eq!(link[1]["mtu"], json!(1500));
        let route = json(&inside(&sandbox.path, "ip -j route show default"));
        assert_eq!(
            (&route[0]["gateway"], &route[0]["dev"]),
            (&json!("172.17.0.1"), &json!("eth0"))
        );
        let bridge = json(&sh("ip -j addr show dev shoal0"));
        assert_eq!(bridge[0]["addr_info"][0]["local"], json!("172.17.0.1"));
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");

        // The neighbour has no route back: an answer proves that the source was rewritten.
        assert!(pings(&sandbox.path, "172.17.0.1"));
        assert!(pings(&sandbox.path, lab::NEIGHBOUR));
        lab::serve(&lab.neighbour(), "203.0.113.2:9000");
        assert_eq!(lab::ask(&sandbox.path, "203.0.113.2:9000").as_deref(), Ok(lab::HOST));

        let second = attach(&networks, "two", &["bridge"]).await;
        assert_eq!(second.endpoints[0].ipv4.unwrap().to_string(), "172.17.0.3/16");
        assert!(pings(&second.path, "172.17.0.2"));

        networks.detach(id("one")).await.unwrap();
        networks.detach(id("two")).await.unwrap();
        networks.detach(id("never-was")).await.unwrap();
        assert_eq!(lab.leftovers(), [""; 0]);
        lab::veths_left(1); // the host's own link
        networks.clear().await.unwrap();
        assert_eq!(rules(), "");
        assert_eq!(sh("ip -j link show type bridge").trim(), "[]");
    });
}

#[test]
fn an_address_can_be_wanted_again_at_once() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let request = || shoal_netoverlay::sandbox::SandboxRequest {
            id: id("one"),
            endpoints: vec![(
                networks.resolve("bridge").unwrap().id.clone(),
                shoal_netoverlay::endpoint::EndpointRequest {
                    ipv4: Some("172.17.0.9".parse().unwrap()),
                    ..Default::default()
                },
            )],
            ports: Vec::new(),
        };
        networks.attach(request()).await.unwrap();
        for _ in 0..3 {
            networks.detach(id("one")).await.unwrap();
            let again = networks.attach(request()).await.unwrap();
            assert_eq!(again.endpoints[0].ipv4.unwrap().to_string(), "172.17.0.9/16");
            assert!(pings(&again.path, lab::NEIGHBOUR));
        }
        // Somebody who stays in the namespace does not keep the address.
        let sandbox = shoal_netoverlay::kernel::namespace::Namespace::open(
            &lab.settings.exec_root.join("netns/one"),
        );
        networks.detach(id("one")).await.unwrap();
        networks.attach(request()).await.unwrap();
        lab::veths_left(2);
        drop(sandbox);
    });
}

#[test]
fn mode_none_has_loopback_only() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let sandbox = attach(&networks, "alone", &["none"]).await;
        assert_eq!(sandbox.endpoints, []);
        let link = json(&inside(&sandbox.path, "ip -j link"));
        assert_eq!(link.as_array().unwrap().len(), 1);
        assert!(pings(&sandbox.path, "127.0.0.1"));
        assert_eq!(
            inside(&sandbox.path, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"),
            "0\n"
        );
        networks.detach(id("alone")).await.unwrap();
        assert_eq!(lab.leftovers(), [""; 0]);
    });
}

#[test]
fn a_failed_attach_leaves_nothing() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        attach(&networks, "one", &["bridge"]).await;
        let request = |name: &str| shoal_netoverlay::sandbox::SandboxRequest {
            id: id(name),
            endpoints: vec![(
                networks.resolve("bridge").unwrap().id.clone(),
                shoal_netoverlay::endpoint::EndpointRequest {
                    ipv4: Some("172.17.0.2".parse().unwrap()),
                    ..Default::default()
                },
            )],
            ports: Vec::new(),
        };
        let error = networks.attach(request("two")).await.unwrap_err();
        assert_eq!(
            shoal_model::error::Chain(&error).to_string(),
            "failed to give sandbox `two` an address of network `bridge`: address `172.17.0.2` is \
             already in use"
        );
        assert_eq!(lab.leftovers(), ["one", "one.json"]);
        // Docker's link is in the way: the kernel refuses in the middle.
        sh("ip link del shoal0");
        let error = networks.attach(shoal_netoverlay::sandbox::SandboxRequest {
            endpoints: vec![(networks.resolve("bridge").unwrap().id.clone(), Default::default())],
            ..request("three")
        });
        assert!(error.await.is_err());
        assert_eq!(lab.leftovers(), ["one", "one.json"]);
        networks.repair().await.unwrap();
        attach(&networks, "three", &["bridge"]).await;
    });
}

#[test]
fn applying_twice_changes_nothing_and_a_flush_is_repaired() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let sandbox = attach(&networks, "one", &["bridge"]).await;
        assert_eq!(networks.repair().await.unwrap(), 0);
        let before = rules();
        assert!(
            before.contains("oifname != \"shoal0\" ip saddr 172.17.0.0/16 masquerade"),
            "{before}"
        );
        for damage in [
            "nft flush table inet shoal",
            "nft flush ruleset",
            "nft delete element inet shoal nat-from { shoal0 }",
            "nft insert rule inet shoal forward drop",
        ] {
            sh(damage);
            restored(&before, damage);
            assert!(pings(&sandbox.path, lab::NEIGHBOUR));
        }
        sh("nft add table ip other");
        assert_eq!(networks.repair().await.unwrap(), 0);
        sh("nft list table ip other");
        assert!(pings(&sandbox.path, lab::NEIGHBOUR));
    });
}

#[track_caller]
fn restored(before: &str, damage: &str) {
    for _ in 0..100 {
        if rules() == before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not restored after `{damage}`: {}", rules());
}

#[test]
fn a_restart_takes_over_what_lives_and_removes_the_rest() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        let kept = attach(&networks, "kept", &["bridge"]).await;
        attach(&networks, "gone", &["bridge"]).await;
        drop(networks);
        // As a daemon killed in the middle leaves it: a veth and a namespace that no record names.
        sh("ip link add vethabcdef0 type veth peer name x; ip link set vethabcdef0 master shoal0");
        std::fs::write(lab.settings.exec_root.join("netns/stray"), "").unwrap();
        sh("ip link add vethabcdef1 type veth peer name y");

        let networks = lab.open().await;
        let result = networks.restore([(id("kept"), vec![]), (id("lost"), vec![])].into()).await;
        let mut result = result.unwrap();
        assert_eq!(result.remove(&id("kept")).unwrap().unwrap(), kept);
        assert_eq!(
            result.remove(&id("lost")).unwrap().unwrap_err().to_string(),
            "sandbox `lost` does not exist"
        );
        assert!(result.is_empty());
        assert_eq!(lab.leftovers(), ["kept", "kept.json"]);
        lab::veths_left(4);
        let links = json(&sh("ip -j link show type veth"));
        let mut names: Vec<_> =
            links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap()).collect();
        names.sort_unstable();
        let host = kept.endpoints[0].host_interface();
        let mut expected = vec!["up0", "vethabcdef1", "y", host.as_str()];
        expected.sort_unstable();
        assert_eq!(names, expected, "a foreign veth is left alone");
        assert!(pings(&kept.path, lab::NEIGHBOUR));
        assert_eq!(networks.repair().await.unwrap(), 0);
        // The address of the living one is not given out again.
        let next = attach(&networks, "next", &["bridge"]).await;
        assert_ne!(next.endpoints[0].ipv4, kept.endpoints[0].ipv4);
    });
}
