//! Each checker finds the bug that it is there for.

#![cfg(all(tokio_unstable, feature = "planted"))]

use std::time::Duration;

use shoal_sim::faults::Kind;
use shoal_sim::planted::{Bug, Planted};
use shoal_sim::run::{Options, run};
use shoal_sim::settings::Settings;

/// A bug that shows only now and then shows within so many seeds.
const SEEDS_MAX: u64 = 12;

/// Runs seeds with the bug until something is broken: it must be one of `expected`.
#[track_caller]
fn finds(bug: Bug, faults: &[Kind], expected: &[&str]) {
    for seed in 1..=SEEDS_MAX {
        let options = Options {
            duration: Duration::from_secs(30),
            faults: faults.to_vec(),
            planted: Planted::with(bug),
            settings: Settings::BUSY,
            ..Options::new(seed)
        };
        let outcome = run(&options).unwrap();
        let Some(broken) = outcome.broken else { continue };
        assert!(expected.contains(&broken.id), "{bug:?} shows as {broken}");
        return;
    }
    panic!("{bug:?} was not found with {SEEDS_MAX} seeds");
}

#[test]
fn a_lost_sync() {
    finds(Bug::LostSync, &[Kind::PowerCutAll], &["RAFT-1", "RAFT-2", "LOG-1", "LOG-2"]);
}

#[test]
fn a_forgotten_vote() {
    finds(Bug::ForgottenVote, &[Kind::PowerCutAll], &["LOG-2", "RAFT-1", "RAFT-2", "LOG-1"]);
}

#[test]
fn a_stale_read() {
    finds(Bug::StaleRead, &[Kind::Partition, Kind::SlowNode], &["RAFT-2"]);
}

#[test]
fn success_that_is_said_too_early() {
    finds(Bug::EarlySuccess, &[Kind::Partition, Kind::PowerCutAll, Kind::KillManager], &["RAFT-2"]);
}

#[test]
fn two_tasks_in_a_slot() {
    finds(Bug::DoubleSlot, &[], &["SLOT-1"]);
}

#[test]
fn a_leaked_address() {
    finds(Bug::LeakedAddress, &[], &["IPAM-2"]);
}

#[test]
fn a_task_on_a_drained_node() {
    finds(Bug::WrongNode, &[Kind::ContainerEnds], &["FIT-1"]);
}

#[test]
fn a_skipped_check_of_roles() {
    finds(Bug::SkippedRoleCheck, &[], &["ID-2"]);
}

#[test]
fn a_stale_endpoint() {
    finds(Bug::StaleEndpoint, &[], &["NET-8"]);
}

#[test]
fn a_lost_count_of_restarts() {
    finds(Bug::LostRestartCount, &[Kind::ContainerEnds], &["HIST-1"]);
}

#[test]
fn a_container_that_does_not_run() {
    finds(Bug::LyingStart, &[], &["CONV-1"]);
}

#[test]
fn a_container_that_does_not_stop() {
    finds(Bug::IgnoredStop, &[], &["CONV-1"]);
}

#[test]
fn a_spec_that_nobody_asked_for() {
    finds(Bug::ChangedSpec, &[], &["SPEC-1"]);
}

#[test]
fn a_node_that_has_too_much() {
    finds(Bug::Overcommitted, &[], &["RES-1"]);
}

#[test]
fn a_port_with_two_services() {
    finds(Bug::PublishedTwice, &[], &["IPAM-2"]);
}

#[test]
fn too_many_attempts() {
    finds(Bug::TriedTooOften, &[], &["HIST-2"]);
}
