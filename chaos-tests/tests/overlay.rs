//! Services on an overlay network reach each other by name across hosts.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use shoal_chaos_tests::command::eventually;
use shoal_chaos_tests::image;
use shoal_chaos_tests::lab::{Guard, Lab};

/// Answers each connection on port 80 with the name of its own host.
const SERVER: &str = "while true; do hostname | nc -l -p 80; done";

fn cluster(name: &str, directory: &std::path::Path) -> Guard {
    let lab = Guard(Lab::up(name, directory, 2, &[]).unwrap());
    let rootfs = directory.join("rootfs.tar");
    image::busybox_rootfs(&rootfs).unwrap();
    for host in lab.numbers() {
        lab.run(host, &["import", &rootfs.display().to_string(), "busybox"]).unwrap();
    }
    let address = lab.address(1);
    lab.run(1, &["swarm", "init", "--advertise-addr", &address]).unwrap();
    let token = lab.run(1, &["swarm", "join-token", "-q", "worker"]).unwrap();
    lab.run(2, &["swarm", "join", "--token", &token, &format!("{address}:2377")]).unwrap();
    lab
}

fn container(lab: &Lab, host: u8, service: &str) -> Option<String> {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let ids = lab.run(host, &["ps", "-q", "--filter", &filter]).ok()?;
    ids.lines().next().map(str::to_owned)
}

/// A service of one task on the host of this number.
fn serve(lab: &Lab, host: u8, service: &[&str], script: &str) -> String {
    let node = lab.run(host, &["info", "-f", "{{.Swarm.NodeID}}"]).unwrap();
    let constraint = format!("node.id=={node}");
    let mut arguments = vec!["service", "create", "-d", "--network", "net"];
    arguments.extend(["--no-resolve-image", "--constraint", &constraint]);
    arguments.extend(service);
    arguments.extend(["busybox", "sh", "-c", script]);
    lab.run(1, &arguments).unwrap();
    let name = service[service.len() - 1];
    let came =
        eventually("the task", Duration::from_secs(30), || container(lab, host, name).is_some());
    let tasks = || lab.run(1, &["service", "ps", "--no-trunc", name]).unwrap();
    assert!(came.is_ok(), "{}\n{}", tasks(), lab.log(host));
    container(lab, host, name).unwrap()
}

fn exec(lab: &Lab, host: u8, container: &str, script: &str) -> anyhow::Result<String> {
    lab.run(host, &["exec", container, "sh", "-c", script])
}

#[test]
fn services_reach_each_other_by_name_across_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let lab = cluster("ovl", directory.path());
    lab.run(1, &["network", "create", "-d", "overlay", "net"]).unwrap();
    serve(&lab, 2, &["--hostname", "served", "--name", "web"], SERVER);
    let client = serve(&lab, 1, &["--name", "client"], "sleep 100000");
    let ask = |name: &str| exec(&lab, 1, &client, &format!("nc -w 2 {name} 80 </dev/null"));
    let answers = |name: &str| {
        let answered = || ask(name).is_ok_and(|answer| answer == "served");
        let waited = eventually("an answer", Duration::from_secs(20), answered);
        assert!(waited.is_ok(), "{name}: {:?}\n{}", ask(name), lab.log(1));
    };
    answers("web");
    answers("tasks.web");

    // The daemon of the client's host is killed: connections go on, and after its start all is as before.
    lab.kill(1).unwrap();
    lab.start(1).unwrap();
    answers("web");

    lab.run(1, &["service", "rm", "web"]).unwrap();
    let unknown = || exec(&lab, 1, &client, "nslookup web 127.0.0.11").is_err();
    eventually("the name's end", Duration::from_secs(20), unknown).unwrap();
    lab.run(1, &["service", "rm", "client"]).unwrap();
    let removed = || lab.run(1, &["network", "rm", "net"]).is_ok();
    eventually("the network's removal", Duration::from_secs(30), removed).unwrap();
}
