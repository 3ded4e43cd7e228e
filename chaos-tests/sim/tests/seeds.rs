//! The fixed seeds of each change: nothing is broken, and a seed always comes to the same.

#![cfg(tokio_unstable)]

use std::time::Duration;

use shoal_sim::run::{Options, Outcome, run};

/// Virtual time with users and faults.
const DURATION: Duration = Duration::from_secs(60);
/// What such a run must have met to mean something.
const FAULTS_MIN: u64 = 15;
const ACKNOWLEDGED_MIN: u64 = 70;

fn sound(seed: u64) -> Outcome {
    let outcome = run(&Options { duration: DURATION, ..Options::new(seed) }).unwrap();
    if let Some(broken) = &outcome.broken {
        panic!(
            "seed {seed}: {broken}\n{}\nrepeat with `cargo xtask sim --seed {seed} --seconds 60 --trace`",
            outcome.last.join("\n")
        );
    }
    let faults: u64 = outcome.coverage.values().sum();
    assert!(faults >= FAULTS_MIN, "seed {seed} had {faults} faults");
    assert!(outcome.acknowledged >= ACKNOWLEDGED_MIN, "seed {seed}: {outcome}");
    outcome
}

fn twice(seed: u64) {
    let (once, again) = (sound(seed), sound(seed));
    assert_eq!((once.digest, once.lines), (again.digest, again.lines), "seed {seed}");
}

#[test]
fn seed_1_is_sound_and_comes_to_the_same_again() {
    twice(1);
}

#[test]
fn seed_2_is_sound_and_comes_to_the_same_again() {
    twice(2);
}

#[test]
fn another_seed_comes_to_something_else() {
    let short = |seed| {
        let options = Options { duration: Duration::from_secs(10), ..Options::new(seed) };
        run(&options).unwrap().digest
    };
    assert_ne!(short(1), short(2));
}
