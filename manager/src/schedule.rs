//! Places pending tasks while this manager leads. The decisions are `manager/core`'s.

use shoal_base::SharedClock;
use shoal_manager_core::scheduler::{Limits, Plan, Scheduler};
use shoal_manager_core::store::{Change, Event, ObjectRef, State};
use shoal_model::Timestamp;

use crate::planning::{self, Planner};
use crate::store::Store;

/// The scheduler, and how much it plans at once: less after each refusal, so that nodes that keep changing do not keep
/// tasks from those that do not.
#[derive(Debug)]
struct Placing {
    scheduler: Scheduler,
    changes: usize,
}

/// Runs until it is dropped, which the owner does when this manager leads no longer.
///
/// # Cancel safety
/// Dropping the future loses no state: a plan is either committed or never existed.
pub async fn run(store: Store, clock: SharedClock) {
    planning::run::<Placing>(store, clock).await;
}

impl Planner for Placing {
    const NAME: &'static str = "scheduler";
    type Plan = Plan;

    fn new(state: &State) -> Self {
        Self { scheduler: Scheduler::new(state), changes: Limits::default().changes }
    }

    fn observe(&mut self, event: &Event) {
        self.scheduler.observe(event);
    }

    fn is_due(&self) -> bool {
        self.scheduler.is_due()
    }

    fn plan(&mut self, state: &State, now: Timestamp) -> Plan {
        let most = Limits::default();
        let changes = self.changes;
        self.changes = (changes * 2).min(most.changes);
        self.scheduler.plan(state, now, Limits { changes, ..most })
    }

    fn changes(plan: &Plan) -> &[Change] {
        &plan.changes
    }

    fn decided_by(plan: &Plan) -> Vec<ObjectRef> {
        plan.nodes().into_iter().map(ObjectRef::Node).collect()
    }

    fn may_be_followed(_plan: &Plan) -> bool {
        // What it counts as given is in its index.
        true
    }

    fn forget(&mut self, state: &State, plan: &Plan) {
        // A quarter of what was refused; each plan after it may be twice as large again.
        self.changes = (plan.changes.len() / 4).max(1);
        self.scheduler.forget(state, plan);
    }
}

#[cfg(test)]
#[path = "planning_tests.rs"]
mod tests;
