//! SLOT-1: a place of a service has one task that shall run. No service of the simulation starts first.

use std::collections::BTreeSet;

use shoal_manager_core::invariants::{self, Verdict};
use shoal_manager_core::store::Event;

use super::{Invariant, Step};

#[derive(Debug)]
pub(super) struct Places;

impl Invariant for Places {
    fn check(&mut self, step: &Step<'_>) -> Verdict {
        let of = |event: &Event| match event {
            Event::Task(diff) => diff.latest().and_then(|task| task.service),
            _ => None,
        };
        let services: BTreeSet<_> = step.events.iter().filter_map(of).collect();
        services.into_iter().filter_map(|id| step.state.service(id)).try_for_each(|service| {
            // What runs on nodes is looked at in the end: one that was taken for dead may not be.
            invariants::one_per_place(step.state, service, 1, |_| false)
        })
    }
}
