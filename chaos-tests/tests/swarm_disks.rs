//! Disks of managers that are full, damaged, or old copies: the others go on, nothing acknowledged is lost, and no
//! manager ever shows another state.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; what they print is their report"
)]

use std::path::{Path, PathBuf};

use shoal_chaos_tests::cluster::{Cluster, PATIENCE};
use shoal_chaos_tests::command::{command, eventually, stdout};
use shoal_chaos_tests::damage::{SmallDisk, files, flip, truncate};
use shoal_chaos_tests::scratch::Scratch;

/// Log, vote and snapshots of a manager.
fn raft(lab: &Cluster, host: u8) -> PathBuf {
    lab.path(host).join("data/swarm/raft")
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// Creates secrets on a manager that acknowledges them.
fn write(lab: &Cluster, manager: u8, what: &str, count: usize) {
    for number in 0..count {
        lab.create_secret(manager, &format!("{what}-{number:02}")).unwrap();
    }
}

/// Waits until a manager has so many secrets, and compares them with another one's.
fn await_secrets(lab: &Cluster, host: u8, other: u8, count: usize) {
    let has_all = || lab.secrets(host).is_ok_and(|names| names.len() == count);
    eventually("all secrets", PATIENCE, has_all)
        .unwrap_or_else(|error| panic!("{error}: {:?}\n{}", lab.secrets(host), lab.log(host)));
    assert_eq!(sorted(lab.secrets(host).unwrap()), sorted(lab.secrets(other).unwrap()));
}

fn copy(from: &Path, to: &Path) {
    stdout(command("cp").arg("-a").arg(from).arg(to)).unwrap();
}

/// Puts another tree in the place of a manager's.
fn replace(lab: &Cluster, host: u8, with: &Path) {
    std::fs::remove_dir_all(raft(lab, host)).unwrap();
    copy(with, &raft(lab, host));
}

#[test]
fn a_full_disk_of_the_leader_stops_nothing_and_loses_nothing() {
    let lab = Cluster::hosts("qa4full", 3).unwrap();
    lab.stop(1).unwrap();
    let disk = SmallDisk::mount(&lab.path(1).join("data/swarm"), 32).unwrap();
    lab.start(1).unwrap();
    lab.ok(1, &["swarm", "init"]).unwrap();
    lab.join(2, 1, "manager").unwrap();
    lab.join(3, 1, "manager").unwrap();
    lab.await_nodes(
        1,
        &["h1 Ready Active Leader", "h2 Ready Active Reachable", "h3 Ready Active Reachable"],
    )
    .unwrap();
    write(&lab, 1, "before", 3);

    disk.fill().unwrap();
    // What is acknowledged from here on is on the two other disks.
    let mut acknowledged = 3;
    for number in 0..10 {
        let name = format!("full-{number}");
        let mut created = || lab.create_secret(2 + number % 2, &name).is_ok();
        let waited = eventually("a write beside a full disk", PATIENCE, &mut created);
        waited.unwrap_or_else(|error| panic!("{error}\n{}", lab.log(2)));
        acknowledged += 1;
    }
    let said = std::fs::read_to_string(lab.path(1).join("shoald.log")).unwrap();
    assert!(said.contains("No space left on device"), "the daemon says what is wrong");
    assert_ne!(lab.leader(2).unwrap(), 1, "who cannot write does not lead");
    assert_eq!(lab.secrets(2).unwrap().len(), acknowledged);
    // A start on a full disk does not harm what is there.
    lab.kill(1).unwrap();
    lab.start(1).unwrap();
    write(&lab, 3, "after-start", 2);

    disk.make_room().unwrap();
    let settled = |lab: &Cluster| {
        lab.nodes(2).is_ok_and(|nodes| nodes.iter().all(|node| !node.ends_with("Unreachable")))
    };
    eventually("the manager to go on", PATIENCE, || settled(&lab))
        .unwrap_or_else(|error| panic!("{error}\n{:?}\n{}", lab.nodes(2), lab.log(1)));
    await_secrets(&lab, 1, 2, acknowledged + 2);
    write(&lab, 1, "room", 2);
    await_secrets(&lab, 3, 1, acknowledged + 4);
}

/// What a manager makes of its files as they are now: it stops with a reason that names a file, or has the whole state.
fn judge(lab: &Cluster, what: &str, secrets: usize) -> &'static str {
    lab.start(3).unwrap();
    let mut verdict = None;
    let decided = || {
        verdict = match lab.state(3).as_deref() {
            Ok("error") => {
                let said = lab.ok(3, &["info", "--format", "{{.Swarm.Error}}"]).unwrap();
                assert!(said.contains("data/swarm/raft"), "{what}: {said}");
                Some("refused")
            }
            Ok("active") if lab.secrets(3).is_ok_and(|names| names.len() == secrets) => {
                assert_eq!(sorted(lab.secrets(3).unwrap()), sorted(lab.secrets(1).unwrap()));
                Some("caught up")
            }
            _ => None,
        };
        verdict.is_some()
    };
    eventually("a verdict", PATIENCE, decided).unwrap_or_else(|error| {
        panic!("{what}: {error}: {:?}, {:?}\n{}", lab.state(3), lab.secrets(3), lab.log(3))
    });
    lab.stop(3).unwrap();
    verdict.unwrap()
}

#[test]
fn a_damaged_log_is_told_or_mended_and_never_another_state() {
    let lab = Cluster::up("qa4rot", 3, 0).unwrap();
    write(&lab, 1, "kept", 12);
    await_secrets(&lab, 3, 1, 12);
    lab.stop(3).unwrap();
    let directory = Scratch::new().unwrap();
    let good = directory.path().join("raft");
    copy(&raft(&lab, 3), &good);
    // While it is away there is more to catch up with.
    write(&lab, 2, "meanwhile", 2);

    let mut verdicts = Vec::new();
    for path in files(&good).unwrap() {
        let (name, size) = (path.strip_prefix(&good).unwrap(), path.metadata().unwrap().len());
        for part in [0, 1, 2, 3] {
            let offset = (size - 1) * part / 3;
            for damage in [flip, truncate] {
                replace(&lab, 3, &good);
                damage(&raft(&lab, 3).join(name), offset).unwrap();
                let what = format!("{} of {size} bytes at {offset}", name.display());
                verdicts.push((what.clone(), judge(&lab, &what, 14)));
            }
        }
    }
    for (what, verdict) in &verdicts {
        println!("{what}: {verdict}");
    }
    for wanted in ["refused", "caught up"] {
        assert!(verdicts.iter().any(|(_, verdict)| *verdict == wanted), "nothing was {wanted}");
    }
    // With its own files it is a member as before.
    replace(&lab, 3, &good);
    lab.start(3).unwrap();
    await_secrets(&lab, 3, 1, 14);
}

#[test]
fn a_manager_that_refuses_its_log_leaves_without_its_tasks() {
    let lab = Cluster::up("qa8leave", 3, 0).unwrap();
    lab.give_image().unwrap();
    let create = ["service", "create", "--detach", "--mode", "global", "--name", "all"];
    lab.ok(1, &[&create[..], &["--no-resolve-image", "busybox", "sleep", "1000"]].concat())
        .unwrap();
    let containers = |host| lab.ok(host, &["ps", "-aq"]).unwrap().lines().count();
    eventually("a container on each host", PATIENCE, || (1..=3).all(|host| containers(host) == 1))
        .unwrap();
    lab.kill(3).unwrap();
    truncate(&raft(&lab, 3).join("identity"), 7).unwrap();
    lab.start(3).unwrap();
    lab.await_state(3, "error").unwrap();
    assert_eq!(containers(3), 1, "what runs runs on while an operator looks");
    lab.ok(3, &["swarm", "leave", "--force"]).unwrap();
    assert_eq!(containers(3), 0);
    assert_eq!(lab.state(3).unwrap(), "inactive");
}

#[test]
fn a_manager_with_an_old_disk_gets_what_it_lost() {
    let lab = Cluster::up("qa4old", 3, 0).unwrap();
    write(&lab, 1, "old", 3);
    await_secrets(&lab, 3, 1, 3);
    let directory = Scratch::new().unwrap();
    let old = |host: u8| directory.path().join(host.to_string());
    for host in [1, 3] {
        lab.stop(host).unwrap();
        copy(&raft(&lab, host), &old(host));
        lab.start(host).unwrap();
        await_secrets(&lab, host, 2, 3);
    }
    write(&lab, 2, "new", 10);
    await_secrets(&lab, 3, 2, 13);
    // A follower, beside a leader.
    let follower = if lab.leader(2).unwrap() == 3 { 1 } else { 3 };
    lab.kill(follower).unwrap();
    replace(&lab, follower, &old(follower));
    lab.start(follower).unwrap();
    await_secrets(&lab, follower, 2, 13);
    write(&lab, follower, "after", 1);
    // All go down, and one has forgotten: the others have what counts.
    for host in lab.numbers() {
        lab.crash(host).unwrap();
    }
    replace(&lab, 1, &old(1));
    for host in lab.numbers() {
        lab.start(host).unwrap();
    }
    for host in lab.numbers() {
        await_secrets(&lab, host, host % 3 + 1, 14);
    }
    write(&lab, 1, "end", 1);
    await_secrets(&lab, 2, 1, 15);
}
