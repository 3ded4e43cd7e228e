//! The whole of the pure core against random histories: allocator, orchestrators, updater, restarts, enforcer, reaper and
//! scheduler as they are, under leaders that come and go; workers that are cut off, forget nothing and report late.
//!
//! Each invariant is checked after each transaction, and each check is shown to fail on a planted bug.
//! `PROPTEST_CASES` says how many histories (thousands: minutes).

#[path = "world/objects.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod objects;

#[path = "model/cluster.rs"]
mod cluster;
#[path = "model/invariants.rs"]
mod invariants;
#[path = "model/operations.rs"]
mod operations;
#[path = "model/planted.rs"]
mod planted;
#[path = "model/worker.rs"]
mod worker;

use proptest::prelude::*;

use cluster::Model;
use operations::Op;

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}

/// Runs a history to its end. The first invariant that was broken, and how.
fn history(seed: u64, ops: &[Op], planted: Option<planted::Bug>) -> Result<(), invariants::Broken> {
    let mut model = Model::new(seed, planted);
    for op in ops {
        model.run(*op);
        model.verdict()?;
    }
    model.recover();
    model.verdict()?;
    invariants::converged(&model)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_keeps_the_invariants_and_ends_as_the_specs_say(
        seed in any::<u64>(),
        ops in proptest::collection::vec(operations::one(), 0..80),
    ) {
        if let Err(broken) = history(seed, &ops, None) {
            prop_assert!(false, "{broken}");
        }
    }
}
