//! Faults that are more than one thing that goes wrong and is mended: a quorum that is lost, a log that is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::asking::Asking;
use super::observed::Node;
use super::rules::Complaint;
use super::world::{LOOK, PATIENCE, SHAPE, Said, World};
use crate::chance::Chance;
use crate::command::{eventually, monotonic};
use crate::damage;

/// There is no quorum for so long.
const WITHOUT_QUORUM: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));
/// Bits that are turned in a file at most.
const BITS_MAX: usize = 3;

/// Two managers of three die or hang; `meanwhile` goes on beside that for a time. The cluster is at rest before.
///
/// # Errors
/// When they do not die, or do not come back.
pub(super) fn no_quorum(
    world: &World,
    asking: &Asking,
    chance: &mut Chance,
    meanwhile: impl FnOnce(Duration),
) -> anyhow::Result<()> {
    let lab = &world.lab;
    let mut managers: Vec<u8> = (1..=SHAPE.managers).collect();
    chance.shuffle(&mut managers);
    let (gone, dies) = (&managers[..2], chance.below(2) == 0);
    let before: BTreeMap<u8, BTreeSet<String>> =
        lab.numbers().map(|host| (host, world.alive(host))).collect();
    let lasts = chance.between(WITHOUT_QUORUM.0, WITHOUT_QUORUM.1);
    let kind = if dies { "no quorum: kill -9" } else { "no quorum: SIGSTOP" };
    world.ledger.fault(kind, &format!("{gone:?}, {:.1} s", lasts.as_secs_f64()));
    for host in gone {
        if dies { lab.kill(*host)? } else { lab.pause(*host)? }
    }
    let from = monotonic();
    meanwhile(lasts);
    let to = monotonic();
    for (host, before) in before {
        let alive = world.alive(host);
        let ended: Vec<&String> = before.difference(&alive).collect();
        if !ended.is_empty() {
            let what = format!("containers of host {host} ended without a quorum: {ended:?}");
            world.ledger.violation(Complaint::new("TASK-9", what));
        }
    }
    for what in asking.unanswered(from, to) {
        world.ledger.violation(Complaint::new("NET-12", format!("without a quorum: {what}")));
    }
    for host in gone {
        if dies { lab.start(*host)? } else { lab.resume(*host)? }
    }
    Ok(())
}

/// What a manager makes of damage.
enum Verdict {
    /// It says what is wrong, and takes no part.
    Refuses,
    /// It is a member again.
    CaughtUp,
}

/// A follower stops, finds other bits in its log or its snapshots, and must not have another state. One that says so is
/// removed and joins anew, as an operator would do. Hosts with older programs are left alone: what those made of damage
/// is known.
///
/// # Errors
/// When it cannot be stopped, or does not come back.
pub(super) fn damage(world: &World, chance: &mut Chance) -> anyhow::Result<()> {
    let lab = &world.lab;
    let leader = world.leader()?;
    let old = world.old_hosts();
    let is_tested = |host: &u8| *host != leader && !old.contains(host);
    let followers: Vec<u8> = (1..=SHAPE.managers).filter(is_tested).collect();
    let Some(host) = chance.one_of(&followers) else { return Ok(()) };
    if chance.below(2) == 0 {
        lab.kill(host)?
    } else {
        lab.stop(host)?
    }
    let raft = lab.path(host).join("data/swarm/raft");
    let files = damage::files(&raft)?;
    let file = &files[chance.below(files.len())];
    let size = usize::try_from(file.metadata()?.len())?;
    let mut at = Vec::new();
    for _ in 0..=chance.below(BITS_MAX) {
        let offset = u64::try_from(chance.below(size))?;
        damage::flip(file, offset)?;
        at.push(offset);
    }
    let name = file.strip_prefix(&raft)?.display();
    world
        .ledger
        .fault("damaged log of a follower", &format!("h{host}: {name} of {size} at {at:?}"));
    lab.start(host)?;
    match verdict(world, host)? {
        Verdict::CaughtUp => world.ledger.say(&format!("h{host} has caught up")),
        Verdict::Refuses => {
            world.ledger.say(&format!("h{host} refuses its files, and is made anew"));
            rejoin(world, host, leader)?;
        }
    }
    Ok(())
}

fn verdict(world: &World, host: u8) -> anyhow::Result<Verdict> {
    let mut verdict = None;
    let mut last = String::new();
    let decided = || {
        std::thread::sleep(LOOK);
        let swarm = match world.get(host, "/info") {
            Ok(info) => info["Swarm"].clone(),
            Err(error) => Value::String(format!("{error:#}")),
        };
        last = swarm.to_string();
        let error = swarm["Error"].as_str().unwrap_or_default();
        if swarm["LocalNodeState"] == "error" {
            if !error.contains("data/swarm/raft") {
                let what = format!("host {host} does not say which file is damaged: {error}");
                world.ledger.violation(Complaint::new("LOG-3", what));
            }
            verdict = Some(Verdict::Refuses);
        } else if is_member(world, host) {
            verdict = Some(Verdict::CaughtUp);
        }
        verdict.is_some()
    };
    eventually("what a manager makes of damage", PATIENCE, decided)
        .with_context(|| format!("host {host}: {last}"))?;
    verdict.context("there is no verdict")
}

/// Whether a manager takes part, as it says itself.
fn is_member(world: &World, host: u8) -> bool {
    let told = world.get(host, "/nodes").and_then(|nodes| super::observed::nodes(&nodes));
    let is_there = |node: &Node| {
        node.host() == Some(host) && node.reachability == "reachable" && node.state == "ready"
    };
    told.is_ok_and(|nodes| nodes.iter().any(is_there))
}

/// Takes a manager out of the cluster by way of another one, and lets it join anew.
fn rejoin(world: &World, host: u8, by: u8) -> anyhow::Result<()> {
    let name = format!("h{host}");
    let patiently = |what: &str, arguments: &[&str]| {
        let mut last = Ok(String::new());
        let done = || {
            last = world.lab.run(by, arguments);
            if last.is_err() {
                std::thread::sleep(LOOK);
            }
            last.is_ok()
        };
        eventually(what, PATIENCE, done).with_context(|| format!("{last:?}"))
    };
    patiently("a demotion", &["node", "demote", &name])?;
    patiently("a removal", &["node", "rm", "--force", &name])?;
    world.stop_client(host)?;
    world.lab.run(host, &["swarm", "leave", "--force"])?;
    let mut last = Ok(());
    let joined = || {
        last = world.lab.join(host, by, "manager");
        last.is_ok()
    };
    eventually("the manager to join again", PATIENCE, joined)
        .with_context(|| format!("{last:?}"))?;
    let mut last = Ok(());
    let started = || {
        last = world.start_client(host);
        last.is_ok()
    };
    eventually("the client of the new manager", PATIENCE, started)
        .with_context(|| format!("{last:?}"))
}

impl World {
    /// Ends the process of one of a host's task containers at once; a host without any is left alone.
    ///
    /// # Errors
    /// When the daemon does not tell them.
    pub(super) fn kill_container(&self, host: u8, which: usize) -> anyhow::Result<()> {
        let list = super::observed::containers(host, &self.get(host, "/containers/json")?)?;
        let of_tasks: Vec<_> = list.iter().filter(|container| container.task.is_some()).collect();
        if of_tasks.is_empty() {
            return Ok(());
        }
        let id = &of_tasks[which % of_tasks.len()].id;
        let path = format!("/containers/{id}/kill");
        match self.call(host, "POST", &path, &Value::Null) {
            // It may have ended by itself.
            Said::Done(_) | Said::Refused(404 | 409, _) => Ok(()),
            other => anyhow::bail!("container {id} of host {host} was not killed: {other:?}"),
        }
    }
}
