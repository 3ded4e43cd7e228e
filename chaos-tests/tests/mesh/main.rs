//! Services publish ports on every host: by docker's CLI, from creation to removal, with updates under load.

#![allow(clippy::unwrap_used, reason = "a test")]

mod load;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shoal_chaos_tests::command::{run, stdout};
use shoal_chaos_tests::service_lab::ServiceLab;
use shoal_chaos_tests::traffic::Place;

/// Answers with the address of the client and the name of the container.
const SERVER: &str = "mkdir -p /www/cgi-bin && cd /www/cgi-bin && \
    printf '#!/bin/sh\\necho\\necho $REMOTE_ADDR $(hostname)\\n' >peer && chmod +x peer && \
    exec httpd -f -p 80 -h /www";
/// Nothing is running before it answers.
const HEALTH: [&str; 4] = [
    "--health-cmd",
    "wget -q -O /dev/null http://127.0.0.1/cgi-bin/peer",
    "--health-interval",
    "200ms",
];
const PLACE: [&str; 4] = ["--constraint", "node.role==worker", "--hostname", "{{.Node.Hostname}}"];

fn ask(lab: &ServiceLab, from: u8, to: &str) -> anyhow::Result<String> {
    let url = format!("http://{to}/cgi-bin/peer");
    let answer = stdout(lab.inside(from).args(["curl", "-sSf", "-g", "-m", "3", &url]))?;
    Ok(answer.trim().replace("::ffff:", "").replace(['[', ']'], ""))
}

/// The clients that servers see and the servers, of some requests.
fn seen(lab: &ServiceLab, from: u8, to: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let answers = (0..10).map(|_| match ask(lab, from, to) {
        Ok(answer) => {
            let (client, server) = answer.split_once(' ').unwrap_or((&answer, ""));
            (client.to_owned(), server.to_owned())
        }
        Err(error) => panic!("{to}: {error:#}\n{}", lab.log(from)),
    });
    answers.unzip()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_service_publishes_a_port_on_every_host() {
    let lab = ServiceLab::up("mesh", 3, 1, &[]).unwrap();
    let hosts: Vec<String> =
        [2, 3].map(|host| lab.run(host, &["info", "-f", "{{.Name}}"]).unwrap()).into();
    let hosts: BTreeSet<String> = hosts.into_iter().collect();
    let mut flags = vec!["--replicas", "2", "--publish", "8080:80", "--replicas-max-per-node", "2"];
    flags.extend(PLACE.iter().chain(&HEALTH));
    flags.extend(["--update-order", "start-first", "--update-monitor", "500ms"]);
    lab.create("web", &flags, &["sh", "-c", SERVER]).unwrap();
    assert_eq!(lab.docker(&["service", "ls", "--format", "{{.Ports}}"]).unwrap(), "*:8080->80/tcp");
    let networks = lab.docker(&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]);
    assert!(networks.unwrap().contains("ingress overlay swarm"));

    // Everybody takes the port, and the servers see the client.
    for to in 1..=3 {
        let (clients, servers) = seen(&lab, 1, &format!("{}:8080", lab.address(to)));
        assert_eq!((clients, servers), (set(&[&lab.address(1)]), hosts.clone()));
        let (clients, _) = seen(&lab, 1, &format!("[fd00:99::{to}]:8080"));
        assert_eq!(clients, set(&["fd00:99::1"]));
    }
    for to in ["127.0.0.1:8080", "[::1]:8080"] {
        let (clients, servers) = seen(&lab, 1, to);
        assert_eq!(servers, hosts);
        assert!(clients.iter().all(|one| one.starts_with("198.18.") || one.starts_with("fd73:")));
    }

    flushed(&lab);
    conflicts(&lab);
    refused(&lab);
    update_under_load(&lab);
    drain(&lab, &hosts);

    lab.docker(&["service", "rm", "web"]).unwrap();
    lab.until("the mesh to go", || {
        let links = (1..=3).map(|host| stdout(lab.inside(host).args(["ip", "link"])));
        let links = links.collect::<anyhow::Result<String>>()?;
        Ok(!links.contains("shoal-ingress") && !links.contains("vx-"))
    })
    .unwrap();
    assert!(ask(&lab, 1, "127.0.0.1:8080").is_err());
    remove_ingress(&lab).unwrap();
    let create = ["service", "create", "-d", "--name", "other", "--publish", "81:80", "busybox"];
    let refused = lab.refused(&create).unwrap();
    assert!(refused.contains("service needs ingress network, but no ingress network is present"));
    let create =
        ["network", "create", "-d", "overlay", "--ingress", "--subnet", "10.77.0.0/24", "in"];
    lab.docker(&create).unwrap();
    let mut flags = vec!["--publish", "80", "--replicas", "1"];
    flags.extend(PLACE.iter().chain(&HEALTH));
    lab.create("chosen", &flags, &["sh", "-c", SERVER]).unwrap();
    let port = "{{(index .Endpoint.Ports 0).PublishedPort}}";
    let port = lab.docker(&["service", "inspect", "-f", port, "chosen"]).unwrap();
    assert!((30_000..=32_767).contains(&port.parse::<u32>().unwrap()), "{port}");
    let (clients, _) = seen(&lab, 1, &format!("{}:{port}", lab.address(2)));
    assert_eq!(clients, set(&[&lab.address(1)]));
    // Docker's default network has no IPv6: the daemon relays.
    assert_eq!(seen(&lab, 1, &format!("[fd00:99::2]:{port}")).1.len(), 1);
}

/// Docker's client asks before it removes the mesh.
fn remove_ingress(lab: &ServiceLab) -> anyhow::Result<String> {
    let mut shell = lab.lab.client(1, std::path::Path::new("sh"));
    stdout(shell.args(["-c", "echo y | docker network rm ingress"]))
}

/// Other people's firewalls begin with a flush of everything.
fn flushed(lab: &ServiceLab) {
    for host in 1..=3 {
        stdout(lab.inside(host).args(["nft", "flush", "ruleset"])).unwrap();
    }
    for to in 1..=3 {
        for to in [format!("{}:8080", lab.address(to)), format!("[fd00:99::{to}]:8080")] {
            lab.until("an answer after a flush", || Ok(ask(lab, 1, &to).is_ok())).unwrap();
        }
    }
    for to in 1..=3 {
        let (clients, _) = seen(lab, 1, &format!("{}:8080", lab.address(to)));
        assert_eq!(clients, set(&[&lab.address(1)]));
    }
}

fn conflicts(lab: &ServiceLab) {
    let id = lab.docker(&["service", "inspect", "-f", "{{.ID}}", "web"]).unwrap();
    let create = ["service", "create", "-d", "--name", "other", "--publish", "8080:81", "busybox"];
    let expected =
        format!("port '8080' is already in use by service 'web' ({id}) as an ingress port");
    let refused = lab.refused(&create).unwrap();
    assert!(refused.ends_with(&expected), "{refused}");
    let output = run(lab.lab.docker(1).args(["run", "--rm", "-p", "8080:80", "busybox", "true"]));
    let refused = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    assert!(refused.contains("Bind for 0.0.0.0:8080 failed: port is already allocated"));
    let refused = remove_ingress(lab).unwrap_err().to_string();
    assert!(refused.contains(&format!("because service {id} depends on it")), "{refused}");
}

/// A port that another program of a host has is told by node and service, and published once it is free.
fn refused(lab: &ServiceLab) {
    let taken = Place::named(&lab.netns(2)).unwrap().take_port(7000).unwrap();
    let flags = ["--publish", "7000:7000/udp"];
    lab.begin("taken", &flags, &["sleep", "1000000"]).unwrap();
    let message = || lab.docker(&["node", "inspect", "-f", "{{.Status.Message}}", "h2"]);
    let told = "not published here, another program has them: ports 7000/udp";
    lab.until("the node to tell", || Ok(message()? == told)).unwrap();
    let explained = lab.said(1, &["service", "explain", "taken"]).unwrap();
    let reason = "endpoint: another program of node h2 has port 7000/udp";
    assert!(explained.lines().any(|line| line == reason), "{explained}");
    drop(taken);
    lab.until("the port to be published", || Ok(message()?.is_empty())).unwrap();
    assert!(Place::named(&lab.netns(2)).unwrap().take_port(7000).is_err());
    lab.docker(&["service", "rm", "taken"]).unwrap();
}

/// No request is lost while all tasks are replaced.
fn update_under_load(lab: &ServiceLab) {
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let failures = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut failures = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let to = format!(
                    "{}:8080",
                    lab.address(u8::try_from(1 + asked.load(Ordering::SeqCst) % 3).unwrap())
                );
                failures.extend(ask(lab, 1, &to).err());
                asked.fetch_add(1, Ordering::SeqCst);
            }
            failures
        });
        let update =
            ["service", "update", "-q", "--image", "busybox:two", "--no-resolve-image", "web"];
        let updated = lab.docker(&update);
        over.store(true, Ordering::SeqCst);
        updated.unwrap();
        client.join().unwrap()
    });
    assert!(failures.is_empty(), "{} of {asked:?}: {:#}", failures.len(), failures[0]);
    assert!(asked.load(Ordering::SeqCst) > 20, "{asked:?}");
}

/// A drained host gets no more connections, and publishes on.
fn drain(lab: &ServiceLab, hosts: &BTreeSet<String>) {
    let name = lab.run(3, &["info", "-f", "{{.Name}}"]).unwrap();
    lab.docker(&["node", "update", "--availability", "drain", &name]).unwrap();
    let to = format!("{}:8080", lab.address(3));
    lab.until("the drained host to get nothing", || {
        Ok(!(0..6).any(|_| ask(lab, 1, &to).is_ok_and(|answer| answer.ends_with(&name))))
    })
    .unwrap();
    let (_, servers) = seen(lab, 1, &to);
    assert!(servers.is_subset(hosts) && !servers.contains(&name), "{servers:?}");
}
