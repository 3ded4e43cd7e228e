//! What people get wrong, and members that come and go: addresses that are nobody's, members that flap, a locked
//! cluster's backup on other addresses. With the real client.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use shoal_chaos_tests::cluster::{Cluster, PATIENCE};
use shoal_chaos_tests::command::{eventually, run};
use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::scratch::Scratch;

#[test]
fn an_address_where_nobody_listens_is_named_and_leaves_nothing() {
    let lab = Cluster::hosts("qa4nobody", 2).unwrap();
    lab.ok(1, &["swarm", "init"]).unwrap();
    let token = lab.token(1, "worker").unwrap();
    let join = |remote: &str| {
        let said = lab.refused(2, &["swarm", "join", "--token", &token, remote]).unwrap();
        assert_eq!(lab.state(2).unwrap(), "inactive", "{said}");
        said
    };
    assert_eq!(
        join("10.99.0.1:2999"),
        "failed to reach manager `10.99.0.1:2999`: failed to connect to `10.99.0.1:2999`: Connection refused (os \
         error 111)"
    );
    assert_eq!(
        join("10.99.0.1:port"),
        "invalid address `10.99.0.1:port`: write ADDRESS[:PORT] or INTERFACE[:PORT]"
    );
    let refused = |flags: &[&str]| {
        let words = [&["swarm", "join", "--token", &token], flags, &["10.99.0.1:2377"]].concat();
        lab.refused(2, &words).unwrap()
    };
    assert_eq!(
        refused(&["--advertise-addr", "0.0.0.0"]),
        "advertise address must be a non-zero IP address or network interface (with optional port number)"
    );
    assert_eq!(
        refused(&["--advertise-addr", "eth9"]),
        "could not find `eth9` on this host: it is neither an address nor a network interface with one"
    );
    assert_eq!(lab.state(2).unwrap(), "inactive");
    assert_eq!(lab.nodes(1).unwrap().len(), 1);
    lab.join(2, 1, "worker").unwrap();
}

#[test]
fn a_manager_whose_advertised_address_is_not_the_hosts_serves_itself_and_who_reaches_it() {
    let lab = Cluster::hosts("qa4nat", 2).unwrap();
    lab.ok(1, &["swarm", "init", "--advertise-addr", "10.99.0.77"]).unwrap();
    lab.await_nodes(1, &["h1 Ready Active Leader"]).unwrap();
    lab.give_image().unwrap();
    lab.ok(1, &["service", "create", "-q", "--name", "own", "busybox", "sleep", "1000"]).unwrap();
    // As behind a translated address: the manager is reached at another one than it says.
    lab.join(2, 1, "worker").unwrap();
    lab.await_nodes(1, &["h1 Ready Active Leader", "h2 Ready Active"]).unwrap();
    lab.stop(1).unwrap();
    lab.start(1).unwrap();
    lab.await_nodes(1, &["h1 Ready Active Leader", "h2 Ready Active"]).unwrap();
}

#[test]
fn members_that_flap_stop_nothing() {
    let lab = Cluster::up("qa4flap", 3, 1).unwrap();
    lab.give_image().unwrap();
    let create = ["service", "create", "-q", "--name", "web", "--replicas", "4"];
    lab.ok(1, &[&create[..], &["busybox", "sleep", "1000"]].concat()).unwrap();
    let tasks = || lab.ok(1, &["service", "ps", "-q", "web"]).unwrap_or_default();
    let before = tasks();
    for round in 0..6 {
        for member in [3, 4] {
            lab.unplug(member).unwrap();
            lab.create_secret(1, &format!("away-{round}-{member}")).unwrap();
            lab.create_secret(2, &format!("away-too-{round}-{member}")).unwrap();
            lab.heal().unwrap();
            lab.create_secret(1, &format!("back-{round}-{member}")).unwrap();
        }
    }
    let all = [
        "h1 Ready Active Leader",
        "h2 Ready Active Reachable",
        "h3 Ready Active Reachable",
        "h4 Ready Active",
    ];
    lab.await_nodes(3, &all).unwrap();
    assert_eq!(lab.secrets(3).unwrap().len(), 36);
    // Nobody was away for as long as a node may be.
    assert_eq!(tasks(), before, "no task was replaced");
}

/// `docker swarm unlock` with a key.
fn unlock(lab: &Cluster, host: u8, key: &str) -> Output {
    let mut client = lab.client(host, Path::new("docker"));
    client
        .args(["swarm", "unlock"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = client.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{key}\n").as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_locked_clusters_backup_is_locked_on_other_addresses_too() {
    let lab = Cluster::hosts("qa4lockback", 3).unwrap();
    let directory = Scratch::new().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    lab.ok(1, &["swarm", "init", "--autolock"]).unwrap();
    lab.join(2, 1, "manager").unwrap();
    lab.create_secret(1, "kept").unwrap();
    let key = lab.ok(1, &["swarm", "unlock-key", "-q"]).unwrap();
    let shoal = |host: u8, words: &[&str]| {
        let output = run(lab.client(host, &bin_dir().unwrap().join("shoal")).args(words)).unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(text) }
    };
    let (words, backup) = (file("words"), file("cluster.backup"));
    std::fs::write(&words, "correct horse battery\n").unwrap();
    shoal(2, &["swarm", "backup", "--passphrase-file", &words, &backup]).unwrap();
    lab.crash(1).unwrap();
    lab.crash(2).unwrap();

    shoal(3, &["swarm", "restore", "--passphrase-file", &words, &backup]).unwrap();
    assert_eq!(lab.secrets(3).unwrap(), ["kept"]);
    assert_eq!(lab.ok(3, &["swarm", "unlock-key", "-q"]).unwrap(), key);
    lab.stop(3).unwrap();
    lab.start(3).unwrap();
    assert_eq!(lab.state(3).unwrap(), "locked");
    let wrong = unlock(&lab, 3, &format!("SWMKEY-1-{}", "A".repeat(43)));
    assert!(!wrong.status.success());
    let opened = unlock(&lab, 3, &key);
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    eventually("the unlocked manager", PATIENCE, || {
        lab.secrets(3).is_ok_and(|names| names == ["kept"])
    })
    .unwrap();
    // It goes on as a cluster: another manager is locked with the same key.
    lab.start(1).unwrap();
    lab.ok(1, &["swarm", "leave", "--force"]).unwrap();
    lab.join(1, 3, "manager").unwrap();
    lab.stop(1).unwrap();
    lab.start(1).unwrap();
    assert_eq!(lab.state(1).unwrap(), "locked");
    assert!(unlock(&lab, 1, &key).status.success());
    eventually("two managers", PATIENCE, || {
        lab.nodes(1).is_ok_and(|nodes| {
            nodes.contains(&"h1 Ready Active Reachable".to_owned())
                && nodes.contains(&"h3 Ready Active Leader".to_owned())
        })
    })
    .unwrap();
}
