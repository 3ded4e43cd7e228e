//! Cut off nodes, absent managers, killed daemons, a kernel that somebody else changes, and a subnet that is full.

use std::time::Duration;

use shoal_chaos_tests::command::stdout;
use shoal_chaos_tests::traffic::Server;

use super::lab::{Cluster, IDLE, SERVER};

#[test]
fn names_and_traffic_outlive_managers_and_cuts() {
    let cluster = Cluster::up("ovf", 1);
    cluster.put("web", 2, &[], SERVER);
    cluster.put("other", 1, &[], SERVER);
    cluster.put("client", 3, &[], IDLE);
    cluster.until_leads(3, "client", "web", "web");
    cluster.until_leads(3, "client", "other", "other");

    // Without managers traffic goes on, new connections too, and so do daemons that are restarted.
    cluster.kill(1).unwrap();
    cluster.until_leads(3, "client", "web", "web");
    cluster.kill(3).unwrap();
    cluster.start(3).unwrap();
    cluster.until_leads(3, "client", "web", "web");
    cluster.start(1).unwrap();

    // What changes while a node is cut off is known there as soon as it is not: no stale answer.
    cluster.until_leads(3, "client", "other", "other");
    cluster.cut(1, 3).unwrap();
    cluster.docker(&["service", "rm", "other"]).unwrap();
    cluster.until_leads(3, "client", "web", "web");
    cluster.heal().unwrap();
    cluster.until_unknown(3, "client", "other");
    cluster.put("later", 2, &[], SERVER);
    cluster.until_leads(3, "client", "later", "later");
    cluster.remove(&["web", "client", "later"]);
}

#[test]
fn what_others_change_in_the_kernel_comes_back() {
    let cluster = Cluster::up("ovk", 1);
    cluster.put("web", 2, &[], IDLE);
    cluster.put("client", 1, &[], IDLE);
    let _server = Server::start(&cluster.place(2, "web"), "web").unwrap();
    let vips = cluster.vips("web");
    let place = cluster.place(1, "client");
    let works = |what: &str| {
        for vip in vips {
            let answers = || Ok(place.ask(vip)?.starts_with("web "));
            cluster.until(what, answers).unwrap();
        }
    };
    works("an answer");
    let container = &cluster.containers(1, "client").unwrap()[0];
    let pid = cluster.run(1, &["inspect", "-f", "{{.State.Pid}}", container]).unwrap();
    let within = |arguments: &[&str]| {
        let mut nsenter = shoal_chaos_tests::command::command("nsenter");
        stdout(nsenter.args(["-t", &pid, "-n"]).args(arguments)).unwrap()
    };
    within(&["nft", "flush", "ruleset"]);
    works("an answer after a flush in the client's namespace");

    let overlays = cluster.path(1).join("run").join("overlays");
    let namespace = std::fs::read_dir(overlays).unwrap().next().unwrap().unwrap().path();
    let net = format!("--net={}", namespace.display());
    let on_host = |script: &str| {
        let mut nsenter = shoal_chaos_tests::command::command("nsenter");
        stdout(nsenter.args([&net, "sh", "-c", script])).unwrap()
    };
    let link = on_host("ls /sys/class/net; ip -o link show type vxlan");
    let link = link.lines().find(|line| line.contains("vx-")).unwrap();
    let link = link.split(": ").nth(1).unwrap_or(link).split('@').next().unwrap().trim();
    on_host(&format!("ip neigh flush nud permanent dev {link}"));
    on_host(&format!("bridge fdb flush dev {link} self permanent"));
    works("an answer after a flush of entries");
    on_host(&format!("ip link delete {link}"));
    works("an answer after the removal of the link");
    cluster.remove(&["web", "client"]);
}

#[test]
fn a_full_subnet_is_shown_and_recovers() {
    let cluster = Cluster::up("ovx", 1);
    let create = ["network", "create", "-d", "overlay", "--subnet", "10.77.0.0/29", "small"];
    cluster.docker(&create).unwrap();
    let flags = ["--network", "small", "--replicas", "8"];
    cluster.begin("many", &flags, &["sh", "-c", IDLE]).unwrap();
    let format = "{{.Error}}";
    let told = || {
        let errors = cluster.ps("many", format)?;
        Ok(errors.iter().any(|error| error.contains("small") || error.contains("address")))
    };
    let shown = cluster.until("an error of the tasks", told);
    assert!(shown.is_ok(), "{:?}", cluster.ps("many", "{{.CurrentState}} {{.Error}}"));
    cluster.docker(&["service", "scale", "-d", "many=3"]).unwrap();
    cluster.await_replicas("many", "3/3").unwrap();
    cluster.begin("late", &["--network", "small"], &["sh", "-c", IDLE]).unwrap();
    cluster.docker(&["service", "scale", "-d", "many=1"]).unwrap();
    cluster
        .until_within("the other's start", Duration::from_secs(60), || {
            Ok(cluster.replicas("late")? == "1/1")
        })
        .unwrap();
    cluster.lab.remove(&["many", "late"]).unwrap();
    let removed = || Ok(cluster.docker(&["network", "rm", "small"]).is_ok());
    cluster.until("the small network's removal", removed).unwrap();
    cluster.remove_network();
}
