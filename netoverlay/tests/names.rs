//! The name server on a real kernel: asked on port 53 of 127.0.0.11, before and after a restart.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod lab;

use std::collections::BTreeMap;
use std::sync::Arc;

use lab::{attach, within};
use shoal_base::SystemClock;
use shoal_netoverlay::dns::view::Membership;
use shoal_netoverlay::dns::{Dns, Service};
use shoal_netoverlay::network::NetworkSpec;
use shoal_netoverlay::sandbox::Sandbox;

fn membership(sandbox: &Sandbox, names: &[&str]) -> Vec<Membership> {
    let endpoint = &sandbox.endpoints[0];
    let Some(std::net::IpAddr::V4(address)) = endpoint.ipv4.map(|one| one.address) else {
        panic!("no IPv4 address");
    };
    vec![Membership {
        network: endpoint.network.clone(),
        network_name: endpoint.network_name.clone(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        links: BTreeMap::new(),
        ipv4: Some(address),
        ipv6: None,
    }]
}

fn service(
    sandbox: &Sandbox,
    kept: Option<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)>,
) -> Service {
    let (sandbox, path) = (sandbox.id.clone(), sandbox.path.clone());
    Service { sandbox, path, upstreams: Vec::new(), kept }
}

async fn lookup(sandbox: &Sandbox, name: &'static str) -> String {
    let line = within(&sandbox.path, &format!("busybox nslookup {name} 127.0.0.11 2>&1"));
    shoal_base::blocking::run("look up", move || lab::try_sh(&line).1).await.unwrap()
}

#[test]
fn names_are_answered_and_queries_outlive_a_restart() {
    lab::run(|lab| async move {
        let networks = lab.start().await;
        networks.create_network(NetworkSpec::bridge("front")).await.unwrap();
        let one = attach(&networks, "one", &["front"]).await;
        let two = attach(&networks, "two", &["front"]).await;
        let clock = Arc::new(SystemClock);
        let dns = Dns::new(lab.tasks.clone(), clock.clone(), "shoal");
        dns.set(&one.id, membership(&one, &["one", "alias"]));
        dns.set(&two.id, membership(&two, &["two"]));
        let [udp, tcp] = dns.serve(service(&two, None)).await.unwrap().unwrap();
        assert!(lookup(&two, "ALIAS").await.contains("172.18.0.2"));
        assert!(lookup(&two, "one.front").await.contains("172.18.0.2"));
        assert!(lookup(&two, "172.18.0.2").await.contains("one.front"));
        assert!(lookup(&two, "nobody").await.contains("SERVFAIL"), "nobody may be asked");

        // Somebody else's firewall begins with a flush of everything.
        let flush = within(&two.path, "nft flush ruleset");
        shoal_base::blocking::run("flush", move || lab::sh(&flush)).await.unwrap();
        let mut found = String::new();
        for _ in 0..200 {
            found = lookup(&two, "one").await;
            if found.contains("172.18.0.2") {
                break;
            }
        }
        assert!(found.contains("172.18.0.2"), "after a flush: {found}");

        // The daemon is gone; a query waits in the kept socket until the next one serves it.
        dns.remove(&two.id);
        drop(dns);
        let waiting = two.clone();
        let dns = Dns::new(lab.tasks.clone(), clock, "shoal");
        dns.set(&one.id, membership(&one, &["one"]));
        let (found, served) = tokio::join!(lookup(&waiting, "one"), async {
            tokio::time::timeout(
                std::time::Duration::from_millis(700),
                std::future::pending::<()>(),
            )
            .await
            .unwrap_err();
            dns.set(&two.id, membership(&two, &["two"]));
            dns.serve(service(&two, Some((udp, tcp)))).await
        });
        assert!(served.unwrap().is_none(), "the kept sockets were taken");
        assert!(found.contains("172.18.0.2"), "{found}");
        dns.remove(&two.id);
        for sandbox in [one, two] {
            networks.detach(sandbox.id).await.unwrap();
        }
        lab::veths_left(1);
    });
}
