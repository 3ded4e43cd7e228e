//! Places pending tasks while this manager leads. The decisions are `manager/core`'s.

use shoal_base::SharedClock;
use shoal_manager_core::scheduler::{Limits, Plan, Scheduler};
use shoal_manager_core::store::{Change, Event, State};
use shoal_model::Timestamp;

use crate::planning::{self, Planner};
use crate::store::Store;

/// Runs until it is dropped, which the owner does when this manager leads no longer.
///
/// # Cancel safety
/// Dropping the future loses no state: a plan is either committed or never existed.
pub async fn run(store: Store, clock: SharedClock) {
    planning::run::<Scheduler>(store, clock).await;
}

impl Planner for Scheduler {
    const NAME: &'static str = "scheduler";
    type Plan = Plan;

    fn new(state: &State) -> Self {
        Self::new(state)
    }

    fn observe(&mut self, event: &Event) {
        self.observe(event);
    }

    fn is_due(&self) -> bool {
        self.is_due()
    }

    fn plan(&mut self, state: &State, now: Timestamp) -> Plan {
        self.plan(state, now, Limits::default())
    }

    fn changes(plan: &Plan) -> &[Change] {
        &plan.changes
    }

    fn may_be_followed(_plan: &Plan) -> bool {
        // What it counts as given is in its index.
        true
    }

    fn forget(&mut self, state: &State, plan: &Plan) {
        self.forget(state, plan);
    }
}

#[cfg(test)]
#[path = "planning_tests.rs"]
mod tests;
