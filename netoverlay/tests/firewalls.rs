//! Beside firewalls of other programs that drop forwarded packets by default. Their tables and chains are
//! made here with the names and hooks that Docker, ufw and firewalld use.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod lab;

use std::time::Duration;

use lab::{Lab, ask, attach_with_ports, id, inside, pings, sh, try_sh};
use serde_json::Value;
use shoal_chaos_tests::scratch::Scratch;
use shoal_netoverlay::Networks;
use shoal_netoverlay::kernel::namespace::Namespace;
use shoal_netoverlay::network::NetworkSpec;
use shoal_netoverlay::plan::ports::Protocol;
use shoal_netoverlay::sandbox::{PortRequest, Sandbox};

const DOCKER: &str = "table ip filter {
    chain DOCKER-USER {
    }
    chain DOCKER {
        iifname != \"docker0\" oifname \"docker0\" drop
    }
    chain FORWARD {
        type filter hook forward priority 0; policy drop;
        jump DOCKER-USER
        ct state established,related accept
        jump DOCKER
    }
}";

const UFW: &str = "table ip filter {
    chain ufw-user-forward {
    }
    chain ufw-before-forward {
        ct state established,related accept
        jump ufw-user-forward
    }
    chain FORWARD {
        type filter hook forward priority 0; policy drop;
        jump ufw-before-forward
    }
}
table ip6 filter {
    chain ufw6-user-forward {
    }
    chain ufw6-before-forward {
        ct state established,related accept
        jump ufw6-user-forward
    }
    chain FORWARD {
        type filter hook forward priority 0; policy drop;
        jump ufw6-before-forward
    }
}";

const FIREWALLD: &str = "table inet firewalld {
    chain filter_FORWARD {
        type filter hook forward priority 10; policy accept;
        ct state established,related accept
        ct status dnat accept
        iifname \"lo\" accept
        ct state invalid drop
        reject with icmpx admin-prohibited
    }
}";

fn load(rules: &str) {
    let directory = Scratch::new().unwrap();
    let file = directory.path().join("rules.nft");
    std::fs::write(&file, rules).unwrap();
    sh(&format!("nft -f {}", file.display()));
}

/// A server with both families whose port is published.
async fn serve(networks: &Networks) -> Sandbox {
    let spec = NetworkSpec { ipv6: true, ..NetworkSpec::bridge("dual") };
    networks.create_network(spec).await.unwrap();
    let port = PortRequest {
        protocol: Protocol::Tcp,
        container_port: 80,
        host_ip: None,
        host_ports: Some((8080, 8080)),
    };
    let server = attach_with_ports(networks, "server", &["dual"], &[port]).await.unwrap();
    lab::serve(&server.path, "[::]:80");
    server
}

fn passes(lab: &Lab, server: &Sandbox) -> [bool; 4] {
    [
        pings(&server.path, lab::NEIGHBOUR),
        pings(&server.path, "fd00:203::2"),
        ask(&lab.neighbour(), "203.0.113.1:8080").is_ok(),
        ask(&lab.neighbour(), "[fd00:203::1]:8080").is_ok(),
    ]
}

/// Our rules in a chain of others.
fn tagged(chain: &str) -> Vec<Value> {
    let list = lab::json(&sh(&format!("nft -j list chain {chain}")));
    let rules = list["nftables"].as_array().unwrap().iter().map(|entry| entry["rule"].clone());
    rules
        .filter(|rule| rule["comment"].as_str().is_some_and(|text| text.starts_with("shoal-admit")))
        .collect()
}

fn eventually(what: &str, test: impl Fn() -> bool) {
    for _ in 0..100 {
        if test() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("never: {what}\n{}", lab::rules());
}

fn accepted_beside(rules: &'static str, chains: &'static [&'static str], without: [bool; 4]) {
    lab::run(move |lab| async move {
        load(rules);
        let before = sh("nft -s list ruleset");
        let networks = lab.start().await;
        let server = serve(&networks).await;
        // The first IPv6 packet to a new link may be lost on a busy machine.
        eventually("all paths work", || passes(&lab, &server) == [true; 4]);
        for chain in chains {
            assert_eq!(tagged(chain).len(), 1, "{chain}");
        }
        assert_eq!(networks.repair().await.unwrap(), 0);
        // Flushed, it comes back; and the other program's rules stay in front of nothing but ours.
        sh(&format!("nft flush chain {}", chains[0]));
        eventually("the accept is back", || tagged(chains[0]).len() == 1);
        // The whole table loaded anew, as a reload of that program does.
        let tables: Vec<_> = rules.lines().filter_map(|line| line.strip_suffix(" {")).collect();
        for table in tables.iter().filter(|line| line.starts_with("table")) {
            sh(&format!("nft delete {table}"));
        }
        load(rules);
        for chain in chains {
            eventually("the accept is in the new chain", || tagged(chain).len() == 1);
        }
        // The first IPv6 packet to a new link may be lost on a busy machine.
        eventually("all paths work", || passes(&lab, &server) == [true; 4]);
        // The daemon ends while the container lives: nothing changes for it.
        networks.leave().await.unwrap();
        // The first IPv6 packet to a new link may be lost on a busy machine.
        eventually("all paths work", || passes(&lab, &server) == [true; 4]);
        networks.detach(id("server")).await.unwrap();
        networks.leave().await.unwrap();
        for chain in chains {
            assert_eq!(tagged(chain).len(), 0, "{chain}");
        }
        networks.clear().await.unwrap();
        assert_eq!(sh("nft -s list ruleset"), before);
        // The test can fail: without our rule these chains do drop.
        lab.tasks.shut_down().await;
        let networks = lab.start().await;
        let server = attach_with_ports(&networks, "late", &["dual"], &[]).await.unwrap();
        for chain in chains {
            let handle = tagged(chain)[0]["handle"].to_string();
            sh(&format!("nft delete rule {chain} handle {handle}"));
        }
        assert_eq!(
            [pings(&server.path, lab::NEIGHBOUR), pings(&server.path, "fd00:203::2")],
            [without[0], without[1]]
        );
    });
}

#[test]
fn docker() {
    accepted_beside(DOCKER, &["ip filter DOCKER-USER"], [false, true, false, true]);
}

#[test]
fn ufw() {
    let chains = &["ip filter ufw-user-forward", "ip6 filter ufw6-user-forward"];
    accepted_beside(UFW, chains, [false; 4]);
}

#[test]
fn firewalld() {
    accepted_beside(FIREWALLD, &["inet firewalld filter_FORWARD"], [false, false, true, true]);
}

#[test]
fn isolation_of_others_holds() {
    lab::run(|lab| async move {
        load(DOCKER);
        // Docker's bridge with one container.
        let other = lab.neighbour().with_file_name("other");
        Namespace::create().unwrap().pin(&other).unwrap();
        sh("ip link add docker0 type bridge");
        sh("ip addr add 172.30.0.1/24 dev docker0; ip link set docker0 up");
        sh(&format!("ip link add d0 type veth peer name eth0 netns {}", other.display()));
        sh("ip link set d0 master docker0 up");
        inside(&other, "ip addr add 172.30.0.2/24 dev eth0; ip link set eth0 up");
        inside(&other, "ip route add default via 172.30.0.1");
        let networks = lab.start().await;
        let server = serve(&networks).await;
        assert_eq!(tagged("ip filter DOCKER-USER").len(), 1);
        eventually("the host reaches its own bridge", || {
            try_sh("busybox ping -c 1 -W 1 172.30.0.2").0
        });
        assert!(!pings(&server.path, "172.30.0.2"), "into Docker's network");
        let own = server.endpoints[0].ipv4.unwrap().address.to_string();
        assert!(!pings(&other, &own), "out of Docker's network");
        assert!(pings(&server.path, lab::NEIGHBOUR));
        // The mark ends with the forward hook.
        let end = "nft 'add table ip spy; add chain ip spy post { type filter hook postrouting priority 0; }; add rule ip spy post meta mark != 0 counter'";
        sh(end);
        assert!(pings(&server.path, lab::NEIGHBOUR));
        assert!(sh("nft list chain ip spy post").contains("packets 0"));
        // A policy that accepts again needs no rule of ours.
        sh("nft 'chain ip filter FORWARD { policy accept; }'");
        eventually("the accept is gone", || tagged("ip filter DOCKER-USER").is_empty());
        assert!(!lab::rules().contains("chain admitted"));
    });
}
