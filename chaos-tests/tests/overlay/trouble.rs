//! What keeps an overlay network from being made is told on the service, and over as soon as its cause is; daemons
//! that are killed while networks change.

use std::collections::BTreeSet;

use shoal_chaos_tests::traffic::Place;

use super::lab::{Cluster, IDLE, SERVER};

#[test]
fn what_cannot_be_made_is_told_and_made_later() {
    let cluster = Cluster::up("ovt", 1);
    let told = |service: &str, words: &[&str]| {
        let mut errors = Vec::new();
        let shown = cluster.until("an error of the tasks", || {
            errors = cluster.ps(service, "{{.Error}}")?;
            Ok(errors.iter().any(|error| words.iter().all(|word| error.contains(word))))
        });
        assert!(shown.is_ok(), "{words:?}: {errors:?}\n{}", cluster.log(3));
    };
    let third = cluster.run(3, &["info", "-f", "{{.Swarm.NodeID}}"]).unwrap();
    let place = format!("node.id=={third}");
    let begin = |name: &str, network: &str| {
        let flags = ["--network", network, "--constraint", &place, "--restart-delay", "500ms"];
        cluster.begin(name, &flags, &["sh", "-c", IDLE]).unwrap();
    };

    // Another program has the port of VXLAN.
    let holder = Place::named(&cluster.netns(3)).unwrap().take_port(4789).unwrap();
    begin("port", "net");
    told("port", &["another program of this host has UDP port 4789"]);
    drop(holder);
    cluster.await_replicas("port", "1/1").unwrap();

    // The link between the nodes is too small for the network.
    let large = "com.docker.network.driver.mtu=9000";
    cluster.docker(&["network", "create", "-d", "overlay", "--opt", large, "large"]).unwrap();
    begin("large", "large");
    told("large", &["network `large` has an MTU of 9000 bytes", "that of this node carries 1500"]);

    // Two networks want the same addresses: the second gets them when the first has gone.
    let create = |name: &str, subnet: &str| {
        cluster.docker(&["network", "create", "-d", "overlay", "--subnet", subnet, name])
    };
    create("first", "10.78.0.0/24").unwrap();
    create("second", "10.78.0.128/25").unwrap();
    begin("second", "second");
    told("second", &["overlaps", "first"]);
    cluster.docker(&["network", "rm", "first"]).unwrap();
    cluster.await_replicas("second", "1/1").unwrap();

    cluster.lab.remove(&["port", "large", "second"]).unwrap();
    for network in ["large", "second"] {
        let removed = || Ok(cluster.docker(&["network", "rm", network]).is_ok());
        cluster.until("the network's removal", removed).unwrap();
    }
    cluster.remove_network();
}

#[test]
fn a_daemon_killed_during_a_change_has_the_change_after_its_start() {
    let cluster = Cluster::up("ovd", 1);
    let flags = ["--network", "net", "--hostname", "{{.Task.ID}}", "--replicas", "3"];
    cluster.lab.create("web", &flags, &["sh", "-c", SERVER]).unwrap();
    cluster.put("client", 3, &[], IDLE);
    for replicas in ["6", "2", "5", "1", "4"] {
        let wanted = format!("web={replicas}");
        cluster.docker(&["service", "scale", "-d", &wanted]).unwrap();
        cluster.kill(3).unwrap();
        cluster.start(3).unwrap();
        cluster.await_replicas("web", &format!("{replicas}/{replicas}")).unwrap();
        let filter = ["service", "ps", "-q", "--no-trunc", "-f", "desired-state=running", "web"];
        let mut seen = BTreeSet::new();
        let same = cluster.until("an answer of each task, and of no other", || {
            let shown = cluster.docker(&filter)?;
            let wanted: BTreeSet<String> = shown.lines().map(str::to_owned).collect();
            let ask = format!("for i in $(seq {}); do nc -w 2 web 80 </dev/null; done", 12);
            let said = cluster.say(3, "client", &ask);
            let lines: Vec<String> = said.lines().map(str::to_owned).collect();
            // All of one round are of tasks that shall run; in the end each was seen.
            let right = lines.len() == 12 && lines.iter().all(|one| wanted.contains(one));
            if !right {
                seen.clear();
                return Ok(false);
            }
            seen.extend(lines);
            Ok(seen == wanted)
        });
        assert!(same.is_ok(), "{replicas}: {seen:?}\n{}", cluster.log(3));
    }
    cluster.remove(&["web", "client"]);
}
