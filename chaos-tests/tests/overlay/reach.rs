//! Names and addresses across hosts, both families, by real traffic.

use shoal_chaos_tests::traffic::Server;

use super::lab::{Cluster, IDLE, SERVER};

#[test]
fn services_reach_each_other_by_name_across_hosts() {
    let cluster = Cluster::up("ovl", 1);
    cluster.put("web", 2, &[], SERVER);
    cluster.put("direct", 3, &["--endpoint-mode", "dnsrr"], SERVER);
    let clients = ["client1", "client2", "client3"];
    for (host, client) in (1..).zip(clients) {
        cluster.put(client, host, &[], IDLE);
    }
    let _server = Server::start(&cluster.place(2, "web"), "web").unwrap();
    let vips = cluster.vips("web");
    for (host, client) in (1..).zip(clients) {
        for name in ["web", "tasks.web"] {
            cluster.until_leads(host, client, name, "web");
        }
        cluster.until_leads(host, client, "direct", "direct");
        let known = cluster.say(host, client, "nslookup direct 127.0.0.11 | grep -c ^Address");
        assert_eq!(known, "3", "the name server's own line, and one address of each family");
        // The server sees the client's own address, whichever way it was asked.
        let place = cluster.place(host, client);
        for (vip, own) in vips.into_iter().zip(cluster.addresses(host, client)) {
            let seen = format!("web {own}");
            assert_eq!(place.ask(vip).unwrap(), seen, "from host {host}");
            assert_eq!(place.ask_by_datagram(vip).unwrap(), seen, "from host {host}");
        }
        for (address, own) in
            cluster.addresses(2, "web").into_iter().zip(cluster.addresses(host, client))
        {
            assert_eq!(place.ask(address).unwrap(), format!("web {own}"), "from host {host}");
        }
    }

    // The daemon of a client's host is killed: connections go on, and after its start all is as before.
    cluster.kill(3).unwrap();
    assert!(
        cluster.place_of(2, &cluster.containers(2, "client2").unwrap()[0]).ask(vips[0]).is_ok()
    );
    cluster.start(3).unwrap();
    cluster.until_leads(3, "client3", "web", "web");
    cluster.remove(&["web", "direct", "client1", "client2", "client3"]);
}

#[test]
fn services_join_and_leave_networks() {
    let cluster = Cluster::up("ovj", 1);
    cluster.put("web", 2, &[], SERVER);
    cluster.put("client", 1, &[], IDLE);
    cluster.until_leads(1, "client", "web", "web");
    cluster.docker(&["network", "create", "-d", "overlay", "second"]).unwrap();
    let update = |flags: &[&str]| {
        let base = ["service", "update", "-q", "--no-resolve-image"];
        cluster.docker(&[&base, flags].concat()).unwrap();
    };
    update(&["--network-add", "second", "client"]);
    update(&["--network-add", "second", "web"]);
    cluster.until_leads(1, "client", "web", "web");
    update(&["--network-rm", "net", "client"]);
    cluster.until_leads(1, "client", "web", "web");
    update(&["--network-rm", "second", "web"]);
    cluster.until_unknown(1, "client", "web");
    cluster.docker(&["service", "rm", "client"]).unwrap();
    let removed = || Ok(cluster.docker(&["network", "rm", "second"]).is_ok());
    cluster.until("the second network's removal", removed).unwrap();
    cluster.remove(&["web"]);
}

#[test]
fn plain_containers_join_attachable_networks() {
    let cluster = Cluster::up("ova", 1);
    cluster.docker(&["network", "create", "-d", "overlay", "--attachable", "open"]).unwrap();
    cluster.put("web", 2, &["--network", "open"], SERVER);
    cluster.put("client", 1, &["--network", "open"], IDLE);
    let start = [
        "run",
        "-d",
        "--name",
        "plain",
        "--restart",
        "always",
        "--network",
        "open",
        "--network-alias",
        "other",
        "busybox",
        "nc",
        "-ll",
        "-p",
        "80",
        "-e",
        "hostname",
    ];
    let plain = cluster.run(3, &start).unwrap();
    let hears = |script: &str, wanted: &str| {
        let mut last = String::new();
        let came = cluster.until(wanted, || {
            last = cluster.run(3, &["exec", "plain", "sh", "-c", script])?.trim().to_owned();
            Ok(last == wanted)
        });
        assert!(came.is_ok(), "`{script}` says `{last}`\n{}", cluster.log(3));
    };
    let name = &plain[..12];
    hears("nc -w 2 web 80 </dev/null", "web");
    for known in ["plain", "other", name] {
        cluster.until_leads(1, "client", known, name);
    }

    // It outlives its daemon, with its address and its names.
    cluster.kill(3).unwrap();
    cluster.start(3).unwrap();
    hears("nc -w 2 web 80 </dev/null", "web");
    cluster.until_leads(1, "client", "plain", name);

    // A container that runs joins and leaves what this host has never heard of.
    cluster.docker(&["network", "create", "-d", "overlay", "--attachable", "more"]).unwrap();
    cluster.run(3, &["network", "connect", "--alias", "further", "more", "plain"]).unwrap();
    let joined = cluster.run(3, &["inspect", "-f", "{{len .NetworkSettings.Networks}}", "plain"]);
    assert_eq!(joined.unwrap(), "2");
    cluster.run(3, &["network", "disconnect", "more", "plain"]).unwrap();
    let refused = cluster.docker_on(3, &["network", "connect", "none-such", "plain"]);
    assert!(refused.contains("network none-such not found"), "{refused}");

    // One that does not run joins with its start, and can leave before it.
    cluster.run(3, &["create", "--name", "later", "busybox", "sleep", "1000"]).unwrap();
    cluster.run(3, &["network", "connect", "more", "later"]).unwrap();
    cluster.run(3, &["network", "connect", "none-such", "later"]).unwrap();
    let refused = cluster.docker_on(3, &["start", "later"]);
    assert!(refused.contains("network none-such not found"), "{refused}");
    cluster.run(3, &["network", "disconnect", "none-such", "later"]).unwrap();
    cluster.run(3, &["start", "later"]).unwrap();
    let joined = "{{range $name, $one := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(cluster.run(3, &["inspect", "-f", joined, "later"]).unwrap(), "bridge more");
    cluster.run(3, &["rm", "-f", "later"]).unwrap();
    let removed = || Ok(cluster.docker(&["network", "rm", "more"]).is_ok());
    cluster.until("the removal of the network that was joined", removed).unwrap();

    // It starts with its host, before any manager is there to give it an address.
    cluster.crash(3).unwrap();
    cluster.stop(1).unwrap();
    cluster.start(3).unwrap();
    cluster.start(1).unwrap();
    hears("nc -w 2 web 80 </dev/null", "web");
    for known in ["plain", "other"] {
        cluster.until_leads(1, "client", known, name);
    }

    // Not every network takes plain containers, and none that is in use goes.
    let mut refused = cluster.docker_on(3, &["run", "--rm", "--network", "net", "busybox", "true"]);
    assert!(refused.contains("network net not manually attachable"), "{refused}");
    refused = cluster.docker_on(3, &["run", "--rm", "--network", "none-such", "busybox", "true"]);
    assert!(refused.contains("network none-such not found"), "{refused}");
    cluster
        .docker(&["service", "update", "-q", "--no-resolve-image", "--network-rm", "open", "web"])
        .unwrap();
    cluster
        .docker(&[
            "service",
            "update",
            "-q",
            "--no-resolve-image",
            "--network-rm",
            "open",
            "client",
        ])
        .unwrap();
    refused = cluster.docker_on(1, &["network", "rm", "open"]);
    assert!(refused.contains("in use by task"), "{refused}");

    cluster.run(3, &["rm", "-f", "plain"]).unwrap();
    let removed = || Ok(cluster.docker(&["network", "rm", "open"]).is_ok());
    cluster.until("the attachable network's removal", removed).unwrap();
    cluster.remove(&["web", "client"]);
}
