//! The commands of `docker swarm` and `docker node`, in a lab with the real client.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use shoal_chaos_tests::cluster::{Cluster, PATIENCE};
use shoal_chaos_tests::command::eventually;
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::pattern::line_fits;

const NOT_A_MANAGER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster \
     state. Please run this command on a manager node or promote the current node to a manager.";
const NOT_A_MEMBER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
     connect this node to swarm and try again.";
const A_MEMBER: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join \
     another one.";
const BAD_TOKEN: &str =
    "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster";
const LOCKED: &str = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm \
     unlock\" to unlock it.";

fn fits(pattern: &str, text: &str) {
    let (wanted, lines): (Vec<_>, Vec<_>) = (pattern.lines().collect(), text.lines().collect());
    let same = wanted.len() == lines.len();
    assert!(
        same && wanted.iter().zip(&lines).all(|(w, l)| line_fits(w, l)),
        "not as wanted:\n{text}"
    );
}

#[test]
fn nodes_join_change_their_roles_leave_and_are_removed() {
    let lab = Cluster::hosts("qa4members", 5).unwrap();
    assert_eq!(lab.refused(1, &["node", "ls"]).unwrap(), NOT_A_MEMBER);
    fits(
        "Swarm initialized: current node (<*>) is now a manager.\n\nTo add a worker to this swarm, run the following \
         command:\n\n    docker swarm join --token SWMTKN-1-<*> 10.99.0.1:2377\n\nTo add a manager to this swarm, run \
         'docker swarm join-token manager' and follow the instructions.",
        &lab.ok(1, &["swarm", "init"]).unwrap(),
    );
    assert_eq!(lab.refused(1, &["swarm", "init"]).unwrap(), A_MEMBER);
    for (host, role) in [(2, "manager"), (3, "manager"), (4, "worker"), (5, "worker")] {
        let said = lab.join(host, 1, role).unwrap();
        assert_eq!(said, format!("This node joined a swarm as a {role}."));
    }
    let all = [
        "h1 Ready Active Leader",
        "h2 Ready Active Reachable",
        "h3 Ready Active Reachable",
        "h4 Ready Active",
        "h5 Ready Active",
    ];
    for manager in 1..=3 {
        lab.await_nodes(manager, &all).unwrap();
    }
    assert_eq!(lab.refused(4, &["node", "ls"]).unwrap(), NOT_A_MANAGER);

    let said = lab.ok(1, &["node", "promote", "h4"]).unwrap();
    assert_eq!(said, "Node h4 promoted to a manager in the swarm.");
    let mut promoted = all;
    promoted[3] = "h4 Ready Active Reachable";
    lab.await_nodes(1, &promoted).unwrap();
    lab.await_nodes(4, &promoted).unwrap();
    let raft = lab.path(4).join("data/swarm/raft");
    assert!(raft.exists(), "a manager has a log");

    let said = lab.ok(4, &["node", "demote", "h4"]).unwrap();
    assert_eq!(said, "Manager h4 demoted in the swarm.");
    eventually("the log of the former manager to go", PATIENCE, || !raft.exists()).unwrap();
    assert_eq!(lab.refused(4, &["node", "ls"]).unwrap(), NOT_A_MANAGER);
    lab.await_nodes(1, &all).unwrap();
    // And once more: it begins with a new log.
    lab.ok(1, &["node", "promote", "h4"]).unwrap();
    lab.await_nodes(4, &promoted).unwrap();
    lab.ok(1, &["node", "demote", "h4"]).unwrap();
    eventually("the log to go again", PATIENCE, || !raft.exists()).unwrap();

    let refused = lab.refused(1, &["node", "rm", "h5"]).unwrap();
    assert!(
        line_fits(
            "rpc error: code = FailedPrecondition desc = node <*> is not down and can't be removed",
            &refused
        ),
        "{refused}"
    );
    assert_eq!(lab.ok(5, &["swarm", "leave"]).unwrap(), "Node left the swarm.");
    assert_eq!(lab.state(5).unwrap(), "inactive");
    assert_eq!(lab.refused(5, &["swarm", "leave"]).unwrap(), "This node is not part of a swarm");
    let mut left = all;
    left[4] = "h5 Down Active";
    lab.await_nodes(2, &left).unwrap();
    assert_eq!(lab.ok(2, &["node", "rm", "h5"]).unwrap(), "h5");
    lab.await_nodes(3, &all[..4]).unwrap();
    assert!(lab.refused(3, &["swarm", "leave"]).unwrap().starts_with(
        "You are attempting to leave the swarm on a node that is participating as a manager. "
    ));

    // The leader's own demotion: another leads, then this one is a worker.
    lab.ok(1, &["node", "demote", "h1"]).unwrap();
    let is_worker = || lab.refused(1, &["node", "ls"]).is_ok_and(|text| text == NOT_A_MANAGER);
    eventually("the leader to step down", PATIENCE, is_worker).unwrap();
    let leader = lab.leader(2).unwrap();
    assert!([2, 3].contains(&leader), "{leader}");
    assert_eq!(lab.nodes(2).unwrap()[0].trim_end(), "h1 Ready Active");
}

#[test]
fn tokens_settings_and_the_root_change() {
    let lab = Cluster::hosts("qa4tokens", 4).unwrap();
    lab.ok(1, &["swarm", "init"]).unwrap();
    lab.join(2, 1, "manager").unwrap();
    lab.join(3, 2, "worker").unwrap();

    let old = lab.token(2, "worker").unwrap();
    fits(
        "Successfully rotated worker join token.\n\nTo add a worker to this swarm, run the following command:\n\n    \
         docker swarm join --token SWMTKN-1-<*> 10.99.0.2:2377",
        &lab.ok(2, &["swarm", "join-token", "--rotate", "worker"]).unwrap(),
    );
    let new = lab.token(1, "worker").unwrap();
    assert_ne!(old, new);
    let join =
        |token: &str| ["swarm", "join", "--token", token, "10.99.0.1:2377"].map(str::to_owned);
    let words = |all: &[String; 5]| -> Vec<String> { all.to_vec() };
    let refused = |token: &str| {
        let all = words(&join(token));
        lab.refused(4, &all.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(refused(&old), BAD_TOKEN);
    assert_eq!(lab.state(4).unwrap(), "inactive");
    lab.join(4, 1, "worker").unwrap();

    // Two changes of what was read once: the second comes too late.
    let mut api = Connection::open(&lab.socket(1)).unwrap();
    let body = api.call("GET", "/swarm", b"").unwrap();
    let cluster: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let version = cluster["Version"]["Index"].as_u64().unwrap();
    let mut spec = cluster["Spec"].clone();
    spec["Orchestration"]["TaskHistoryRetentionLimit"] = 7.into();
    let body = serde_json::to_vec(&spec).unwrap();
    let path = format!("/swarm/update?version={version}");
    api.call("POST", &path, &body).unwrap();
    let error = api.call("POST", &path, &body).unwrap_err().root_cause().to_string();
    assert!(error.contains("update out of sequence"), "{error}");
    let said = lab
        .ok(2, &["swarm", "update", "--task-history-limit", "3", "--cert-expiry", "2h"])
        .unwrap();
    assert_eq!(said, "Swarm updated.");
    let seen = lab.ok(
        1,
        &["info", "--format", "{{.Swarm.Cluster.Spec.Orchestration.TaskHistoryRetentionLimit}}"],
    );
    assert_eq!(seen.unwrap(), "3");

    let before = lab.ok(1, &["swarm", "ca"]).unwrap();
    let tokens = [lab.token(1, "worker").unwrap(), lab.token(1, "manager").unwrap()];
    // Returns when all nodes have certificates of the new root and trust it alone.
    lab.ok(1, &["swarm", "ca", "--rotate", "--quiet"]).unwrap();
    let after = lab.ok(2, &["swarm", "ca"]).unwrap();
    assert!(after.starts_with("-----BEGIN CERTIFICATE-----") && after != before);
    assert!(
        lab.token(1, "worker").unwrap() != tokens[0]
            && lab.token(2, "manager").unwrap() != tokens[1]
    );
    let all = [
        "h1 Ready Active Leader",
        "h2 Ready Active Reachable",
        "h3 Ready Active",
        "h4 Ready Active",
    ];
    lab.await_nodes(2, &all).unwrap();
    // Also over connections that are made anew.
    for host in [4, 2] {
        lab.stop(host).unwrap();
        lab.start(host).unwrap();
    }
    lab.await_nodes(2, &all).unwrap();
    for host in [3, 4] {
        let issuer = lab.ok(
            1,
            &[
                "node",
                "inspect",
                &format!("h{host}"),
                "--format",
                "{{.Description.TLSInfo.TrustRoot}}",
            ],
        );
        assert_eq!(issuer.unwrap().trim_end(), after, "host {host} trusts the new root alone");
    }
    lab.ok(4, &["swarm", "leave"]).unwrap();
    let other =
        lab.refused(4, &["swarm", "join", "--token", &tokens[0], "10.99.0.1:2377"]).unwrap();
    assert!(line_fits("remote CA does not match fingerprint. Expected: <id>", &other), "{other}");
    lab.join(4, 1, "worker").unwrap();
}

/// `docker swarm unlock` with a key; what it says on failure.
fn unlock(lab: &Cluster, host: u8, key: &str) -> Result<(), String> {
    let mut client = lab.client(host, Path::new("docker"));
    client
        .args(["swarm", "unlock"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = client.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{key}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    if output.status.success() { Ok(()) } else { Err(text) }
}

/// What managers keep sealed, as it was on their disks.
struct Sealed(Vec<Vec<u8>>);

impl Sealed {
    fn read(lab: &Cluster, host: u8) -> Vec<u8> {
        std::fs::read(lab.path(host).join("data/swarm/certificates/identity.json")).unwrap()
    }

    fn of(lab: &Cluster) -> Self {
        Self(lab.numbers().map(|host| Self::read(lab, host)).collect())
    }

    /// Managers seal anew with the cluster's key as they hear of it.
    fn await_change(&self, lab: &Cluster, host: u8) {
        let before = &self.0[usize::from(host) - 1];
        let is_sealed = || Self::read(lab, host) != *before;
        eventually("a manager to take the unlock key over", PATIENCE, is_sealed).unwrap();
    }
}

fn restart(lab: &Cluster, host: u8) {
    lab.stop(host).unwrap();
    lab.start(host).unwrap();
}

#[test]
fn managers_are_locked_and_unlocked() {
    let lab = Cluster::up("qa4lock", 3, 1).unwrap();
    let ready = || {
        let nodes = lab.nodes(2).unwrap_or_default();
        nodes.len() == 4
            && nodes
                .iter()
                .all(|line| line.contains(" Ready Active") && !line.ends_with("Unreachable"))
    };
    let sealed = Sealed::of(&lab);
    fits(
        "Swarm updated.\nTo unlock a swarm manager after it restarts, run the `docker swarm unlock`\ncommand and provide \
         the following key:\n\n    SWMKEY-1-<*>\n\nRemember to store this key in a password manager, since without it \
         you\nwill not be able to restart the manager.",
        &lab.ok(1, &["swarm", "update", "--autolock"]).unwrap(),
    );
    let key = lab.ok(2, &["swarm", "unlock-key", "-q"]).unwrap();
    sealed.await_change(&lab, 2);
    restart(&lab, 2);
    assert_eq!(lab.state(2).unwrap(), "locked");
    assert_eq!(lab.refused(2, &["node", "ls"]).unwrap(), LOCKED);
    let wrong = format!("SWMKEY-1-{}", "A".repeat(43));
    let refused = unlock(&lab, 2, &wrong).unwrap_err();
    assert_eq!(
        refused,
        "Error response from daemon: swarm could not be unlocked: invalid key provided"
    );
    assert_eq!(
        unlock(&lab, 2, "SWMKEY-1-short").unwrap_err(),
        "Error response from daemon: invalid key string"
    );
    assert_eq!(lab.state(2).unwrap(), "locked");
    unlock(&lab, 2, &key).unwrap();
    eventually("the unlocked manager", PATIENCE, ready).unwrap();
    assert_eq!(unlock(&lab, 2, &key).unwrap_err(), "Error: swarm is not locked");

    let sealed = Sealed::of(&lab);
    let rotated = lab.ok(3, &["swarm", "unlock-key", "--rotate", "-q"]).unwrap();
    assert_ne!(rotated, key);
    sealed.await_change(&lab, 3);
    // A worker is not locked.
    restart(&lab, 4);
    assert_eq!(lab.state(4).unwrap(), "active");
    lab.kill(3).unwrap();
    lab.start(3).unwrap();
    assert_eq!(lab.state(3).unwrap(), "locked");
    assert!(unlock(&lab, 3, &key).is_err(), "the old key is dead");
    unlock(&lab, 3, &rotated).unwrap();
    eventually("the second unlocked manager", PATIENCE, ready).unwrap();

    let sealed = Sealed::of(&lab);
    assert_eq!(lab.ok(3, &["swarm", "update", "--autolock=false"]).unwrap(), "Swarm updated.");
    assert_eq!(lab.call(2, &["swarm", "unlock-key"]).unwrap().stderr, b"no unlock key is set\n");
    sealed.await_change(&lab, 1);
    restart(&lab, 1);
    lab.await_state(1, "active").unwrap();
    eventually("the manager that is not locked", PATIENCE, ready).unwrap();
}
