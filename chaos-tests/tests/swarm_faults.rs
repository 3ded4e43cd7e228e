//! What goes wrong in a cluster: joins that cannot be, managers that die, are cut off, or come back.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; what it prints is its report"
)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shoal_chaos_tests::cluster::{Cluster, PATIENCE};
use shoal_chaos_tests::command::{eventually, monotonic};
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::pattern::line_fits;

const NO_LEADER: &str = "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few \
     managers are online. Make sure more than half of the managers are online.";
const JOIN_TIMED_OUT: &str = "Timeout was reached before node joined. The attempt to join the swarm will continue in \
     the background. Use the \"docker info\" command to see the current swarm status of your node.";
const A_MEMBER: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join \
     another one.";
const LAST_MANAGER: &str = "You are attempting to leave the swarm on a node that is participating as a manager. \
     Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ";
/// From the kill of a leader to the next acknowledged write: the worst, and the time of a client's process.
const TAKE_OVER: Duration = Duration::from_millis(3500);

#[test]
fn joins_that_cannot_be_are_refused_and_leave_nothing() {
    let lab = Cluster::hosts("qa4joins", 2).unwrap();
    lab.ok(1, &["swarm", "init"]).unwrap();
    let token = lab.token(1, "worker").unwrap();
    let join = |token: &str, remote: &str| {
        lab.refused(2, &["swarm", "join", "--token", token, remote]).unwrap()
    };
    let here = lab.remote(1);

    assert_eq!(join("rubbish", &here), "invalid join token");
    let wrong_secret = format!("{}{}", &token[..token.len() - 25], "a".repeat(25));
    assert_eq!(
        join(&wrong_secret, &here),
        "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster"
    );
    let wrong_root = format!("SWMTKN-1-{}{}", "1".repeat(50), &token[token.len() - 26..]);
    let said = join(&wrong_root, &here);
    assert!(line_fits("remote CA does not match fingerprint. Expected: <id>", &said), "{said}");
    assert_eq!(lab.state(2).unwrap(), "inactive");
    assert_eq!(lab.nodes(1).unwrap().len(), 1);

    // An address without a host: the join goes on in the background, until the node leaves.
    assert_eq!(join(&token, "10.99.0.77:2377"), JOIN_TIMED_OUT);
    assert_eq!(lab.state(2).unwrap(), "pending");
    assert_eq!(join(&token, &here), A_MEMBER);
    lab.ok(2, &["swarm", "leave"]).unwrap();
    assert_eq!(lab.state(2).unwrap(), "inactive");

    lab.join(2, 1, "worker").unwrap();
    assert_eq!(join(&token, &here), A_MEMBER);

    // The last manager.
    assert_eq!(lab.refused(1, &["swarm", "leave"]).unwrap(), LAST_MANAGER.trim_end());
    lab.ok(1, &["swarm", "leave", "--force"]).unwrap();
    assert_eq!(lab.state(1).unwrap(), "inactive");
    assert!(!lab.path(1).join("data/swarm/raft").exists());
    lab.ok(1, &["swarm", "init"]).unwrap();
    lab.await_nodes(1, &["h1 Ready Active Leader"]).unwrap();
}

#[test]
fn another_manager_writes_soon_after_the_leader_was_killed() {
    let lab = Cluster::up("qa4kill", 3, 0).unwrap();
    let mut times = Vec::new();
    for round in 0..5 {
        let leader = lab.leader(1).unwrap();
        let other = lab.numbers().find(|host| *host != leader).unwrap();
        lab.kill(leader).unwrap();
        let began = monotonic();
        lab.create_secret(other, &format!("after-kill-{round}")).unwrap();
        let took = monotonic() - began;
        assert!(took <= TAKE_OVER, "round {round}: {took:?}");
        times.push(took);
        lab.start(leader).unwrap();
        let is_back = || {
            lab.nodes(leader).is_ok_and(|nodes| {
                nodes.iter().all(|n| !n.contains("Unreachable") && n.contains("Ready"))
            })
        };
        eventually("the killed manager to be back", PATIENCE, is_back).unwrap();
        assert_eq!(lab.secrets(leader).unwrap().len(), round + 1);
    }
    times.sort();
    println!("kill -9 of the leader to the next acknowledged write: {times:?}");
}

/// Creates secrets one after the other on any manager; gives the names of those that were acknowledged, and counts them.
fn load(lab: &Cluster, worker: usize, stop: &AtomicBool, count: &AtomicUsize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("load-{worker}-{number}");
        let manager = u8::try_from((worker + number) % 3 + 1).unwrap();
        if lab.create_secret(manager, &name).is_ok() {
            acknowledged.push(name);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_while_all_managers_restart_one_by_one() {
    let lab = Arc::new(Cluster::up("qa4roll", 3, 0).unwrap());
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..3)
        .map(|worker| {
            let (lab, stop, count) = (Arc::clone(&lab), Arc::clone(&stop), Arc::clone(&count));
            std::thread::spawn(move || load(&lab, worker, &stop, &count))
        })
        .collect();
    for host in [1, 2, 3, 1, 2, 3] {
        if host % 2 == 0 {
            lab.kill(host).unwrap();
        } else {
            lab.stop(host).unwrap();
        }
        lab.start(host).unwrap();
        let is_back = || {
            lab.nodes(host).is_ok_and(|nodes| {
                nodes.iter().all(|node| node.ends_with("Reachable") || node.ends_with("Leader"))
            })
        };
        eventually("the manager to be back", PATIENCE, is_back).unwrap();
        // Each manager has taken part in writes before the next one goes.
        let before = count.load(Ordering::Relaxed);
        let has_written = || count.load(Ordering::Relaxed) >= before + 6;
        eventually("writes to go on", PATIENCE, has_written).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<String> =
        writers.into_iter().flat_map(|one| one.join().unwrap()).collect();
    assert!(acknowledged.len() > 20, "only {} writes were acknowledged", acknowledged.len());
    for manager in 1..=3 {
        let there = lab.secrets(manager).unwrap();
        let lost: Vec<_> = acknowledged.iter().filter(|name| !there.contains(name)).collect();
        assert!(lost.is_empty(), "host {manager} lost {lost:?}");
    }
    println!("{} acknowledged writes through six restarts, none lost", acknowledged.len());
}

#[test]
fn a_minority_acknowledges_nothing_and_goes_on_after_healing() {
    let lab = Arc::new(Cluster::up("qa4minority", 3, 0).unwrap());
    // The leader itself is cut off.
    let alone = lab.leader(1).unwrap();
    let others: Vec<u8> = lab.numbers().filter(|host| *host != alone).collect();
    for other in &others {
        lab.cut(alone, *other).unwrap();
    }
    let answers = Arc::new(Mutex::new(Vec::new()));
    let clients: Vec<_> = [
        vec!["node", "ls"],
        vec!["secret", "ls"],
        vec!["secret", "create", "minority", "/etc/hostname"],
    ]
    .into_iter()
    .map(|words| {
        let (lab, answers) = (Arc::clone(&lab), Arc::clone(&answers));
        std::thread::spawn(move || {
            let said = lab.refused(alone, &words).unwrap_or_else(|error| error.to_string());
            answers.lock().unwrap().push((words.join(" "), said));
        })
    })
    .collect();
    // The majority goes on meanwhile.
    lab.create_secret(others[0], "majority").unwrap();
    clients.into_iter().for_each(|client| client.join().unwrap());
    for (call, said) in answers.lock().unwrap().iter() {
        assert_eq!(said, NO_LEADER, "{call}");
    }
    let mut api = Connection::open(&lab.socket(alone)).unwrap();
    for path in ["/nodes", "/swarm", "/secrets", "/services", "/tasks"] {
        let refused = api.call("GET", path, b"").unwrap_err().root_cause().to_string();
        assert_eq!(refused, format!("503: {{\"message\":\"{NO_LEADER}\"}}\n"), "{path}");
    }
    assert_eq!(lab.state(alone).unwrap(), "active");
    let nodes = lab.nodes(others[1]).unwrap();
    let line = nodes.iter().find(|line| line.starts_with(&format!("h{alone} "))).unwrap();
    assert!(line.ends_with("Unreachable"), "{line}");

    lab.heal().unwrap();
    let secrets = || {
        let mut names = lab.secrets(alone).unwrap_or_default();
        names.sort();
        names
    };
    eventually("the cut manager to be back", PATIENCE, || secrets() == ["majority"]).unwrap();
    lab.create_secret(alone, "healed").unwrap();
    for manager in 1..=3 {
        let mut names = lab.secrets(manager).unwrap();
        names.sort();
        assert_eq!(names, ["healed", "majority"], "host {manager}");
    }
}

#[test]
fn a_removed_manager_that_comes_back_with_its_disk_is_refused() {
    let lab = Cluster::up("qa4removed", 3, 1).unwrap();
    lab.ok(1, &["node", "demote", "h3"]).unwrap();
    // The client names the version that it read; the demotion may change the node in between.
    let promote = || lab.ok(1, &["node", "promote", "h3"]).is_ok();
    eventually("the promotion", PATIENCE, promote).unwrap();
    let all = [
        "h1 Ready Active Leader",
        "h2 Ready Active Reachable",
        "h3 Ready Active Reachable",
        "h4 Ready Active",
    ];
    lab.await_nodes(1, &all).unwrap();
    lab.kill(3).unwrap();
    let refused = lab.refused(1, &["node", "rm", "--force", "h3"]).unwrap();
    assert!(
        line_fits(
            "rpc error: code = FailedPrecondition desc = node <*> is a cluster manager and is a member of the raft \
             cluster. It must be demoted to worker before removal",
            &refused
        ),
        "{refused}"
    );
    lab.ok(1, &["node", "demote", "h3"]).unwrap();
    let is_removed = || lab.ok(1, &["node", "rm", "--force", "h3"]).is_ok();
    eventually("the former manager to be removable", PATIENCE, is_removed).unwrap();
    let left = ["h1 Ready Active Leader", "h2 Ready Active Reachable", "h4 Ready Active"];
    lab.await_nodes(2, &left).unwrap();

    lab.start(3).unwrap();
    // It has tried to get in for some times.
    let log = || std::fs::read_to_string(lab.path(3).join("shoald.log")).unwrap();
    let refusals = || log().matches("session with manager ended").count();
    let before = refusals();
    eventually("refusals", PATIENCE, || refusals() >= before + 5).unwrap();
    // It disturbs nobody, learns nothing, and changes nothing.
    lab.await_nodes(2, &left).unwrap();
    assert!(
        lab.call(3, &["secret", "create", "by-the-removed", "/etc/hostname"])
            .is_ok_and(|o| !o.status.success())
    );
    lab.create_secret(2, "by-a-member").unwrap();
    assert_eq!(lab.secrets(1).unwrap(), ["by-a-member"]);
    assert!(lab.call(3, &["secret", "ls"]).is_ok_and(|output| !output.status.success()));
    // And can begin anew.
    lab.ok(3, &["swarm", "leave", "--force"]).unwrap();
    lab.join(3, 1, "manager").unwrap();
    let again = [
        "h1 Ready Active Leader",
        "h2 Ready Active Reachable",
        "h3 Ready Active Reachable",
        "h4 Ready Active",
    ];
    lab.await_nodes(3, &again).unwrap();
}

#[test]
fn a_workers_restart_keeps_its_containers() {
    let lab = Cluster::up("qa4worker", 1, 1).unwrap();
    lab.give_image().unwrap();
    lab.ok(1, &["node", "update", "--availability", "drain", "h1"]).unwrap();
    let create = [
        "service",
        "create",
        "--detach",
        "--name",
        "stays",
        "--replicas",
        "3",
        "busybox",
        "sleep",
        "1000",
    ];
    lab.ok(1, &create).unwrap();
    let containers = || {
        let text =
            lab.ok(2, &["ps", "--no-trunc", "--format", "{{.ID}} {{.State}}"]).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    eventually("three containers", PATIENCE, || containers().len() == 3).unwrap();
    let before = containers();
    for how in ["stop", "kill"] {
        if how == "stop" {
            lab.stop(2).unwrap();
        } else {
            lab.kill(2).unwrap();
        }
        lab.start(2).unwrap();
        assert_eq!(containers(), before, "after a {how}");
        lab.await_nodes(1, &["h1 Ready Drain Leader", "h2 Ready Active"]).unwrap();
        // Once a new task runs, the worker has dealt with all that it was told of before.
        let mut marker = create;
        (marker[4], marker[6]) = (how, "1");
        lab.ok(1, &marker).unwrap();
        eventually("another container", PATIENCE, || containers().len() == 4).unwrap();
        lab.ok(1, &["service", "rm", how]).unwrap();
        eventually("its end", PATIENCE, || containers().len() == 3).unwrap();
        assert_eq!(containers(), before, "after a {how} and a while");
    }
    let tasks =
        lab.ok(1, &["service", "ps", "stays", "--format", "{{.Node}} {{.DesiredState}}"]).unwrap();
    assert_eq!(tasks, ["h2 Running"; 3].join("\n"), "no task was replaced");
    // The manager is gone for a while: containers do not mind.
    lab.kill(1).unwrap();
    let log = || std::fs::read_to_string(lab.path(2).join("shoald.log")).unwrap();
    let lost = || log().matches("session with manager ended").count();
    let ended = lost();
    eventually("the worker to miss its manager", PATIENCE, || lost() > ended).unwrap();
    assert_eq!(containers(), before, "without a manager");
    lab.start(1).unwrap();
    lab.await_nodes(1, &["h1 Ready Drain Leader", "h2 Ready Active"]).unwrap();
    assert_eq!(containers(), before, "with a manager again");
}
