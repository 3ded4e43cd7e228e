//! Gives networks, services, nodes and tasks what they need while this manager leads. The decisions are
//! `manager/core`'s.

use shoal_base::SharedClock;
use shoal_manager_core::allocator::{Allocator, Plan};
use shoal_manager_core::store::{Change, Event, ObjectRef, State};
use shoal_model::Timestamp;

use crate::planning::{self, Planner};
use crate::store::Store;

/// Changes in one transaction: some hundred kilobytes.
const CHANGES_MAX: usize = 1_000;

/// Runs until it is dropped, which the owner does when this manager leads no longer.
///
/// # Cancel safety
/// Dropping the future loses no state: a plan is either committed or never existed.
pub async fn run(store: Store, clock: SharedClock) {
    planning::run::<Allocator>(store, clock).await;
}

impl Planner for Allocator {
    const NAME: &'static str = "allocator";
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
        self.plan(state, now, CHANGES_MAX)
    }

    fn changes(plan: &Plan) -> &[Change] {
        &plan.changes
    }

    fn decided_by(_plan: &Plan) -> Vec<ObjectRef> {
        // What it holds of objects that are gone is given back when it is told of their end.
        Vec::new()
    }

    fn may_be_followed(plan: &Plan) -> bool {
        // Tasks are decided by what the view has of services and networks, and those by what it has of the cluster.
        let is_task =
            |change: &Change| matches!(change, Change::EditTask(_) | Change::TaskStatus { .. });
        plan.changes.iter().all(is_task)
    }

    fn forget(&mut self, state: &State, plan: &Plan) {
        self.forget(state, plan);
    }
}
