//! What the leader's planning loops have in common: wake, plan, commit.
//!
//! A planner is pure and follows the store's events. The loop feeds them to it, lets it plan from the newest
//! view when something is due, and commits the plan. It knows no policy.
//!
//! While a plan is on its way, events gather, and the next plan takes them all; a plan that had to leave something over was
//! as large as plans may be, and the next one goes after it at once. A planner counts its plans as made. That
//! holds because it has seen exactly the events of the view that it plans from: whatever of a plan's objects changes later
//! has the plan refused. After a refusal nothing is planned until all plans on their way have landed, so that those objects are
//! read again from a view that contains or will never contain each of them.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use shoal_base::SharedClock;
use shoal_manager_core::store::{Change, Event, ObjectRef, State, Transaction};
use shoal_model::error::Chain;

use crate::store::{Error, Store};
use crate::watch::{Lagged, Subscription};

/// Plans on their way: the next is made and written while the one before is brought to the other managers.
const FLIGHTS_MAX: usize = 3;
/// After a commit that failed for another reason than a conflict.
const PAUSE: Duration = Duration::from_millis(500);

/// A pure planner that follows the store.
pub(crate) trait Planner: Send {
    /// What it does, for the log.
    const NAME: &'static str;
    /// What [`Planner::forget`] needs to know of a plan.
    type Plan: Send + 'static;

    /// Reads all objects.
    fn new(state: &State) -> Self;

    /// Takes note of a change.
    fn observe(&mut self, event: &Event);

    /// Whether there may be something to plan.
    fn is_due(&self) -> bool;

    /// Plans for the state after the last event that was observed.
    fn plan(&mut self, state: &State, now: shoal_model::Timestamp) -> Self::Plan;

    /// The changes of a plan; empty: nothing is to be committed.
    fn changes(plan: &Self::Plan) -> &[Change];

    /// What a plan was decided by without changing it: the plan is refused when any of it changes before it is committed.
    fn decided_by(plan: &Self::Plan) -> Vec<ObjectRef>;

    /// Whether the next plan can be made from a view that lacks this one.
    fn may_be_followed(plan: &Self::Plan) -> bool;

    /// Takes back a plan that was not committed.
    fn forget(&mut self, state: &State, plan: &Self::Plan);
}

/// Plans while this manager leads: to be dropped when it does not any more.
///
/// # Cancel safety
/// Dropping the future loses no state: a plan is either committed or never existed.
pub(crate) async fn run<P: Planner>(store: Store, clock: SharedClock) {
    let term = store.leadership().borrow().term;
    loop {
        let (state, changes) = store.watch();
        let planner = P::new(&state);
        drop(state);
        let (store, clock) = (store.clone(), clock.clone());
        let follower = Follower {
            store,
            clock: clock.clone(),
            term,
            planner,
            changes,
            flights: FuturesUnordered::new(),
            may_follow: true,
            refused: Vec::new(),
        };
        match follower.run().await {
            // The planner missed events: it is made anew from a view.
            Stopped::Lagged(lagged) => {
                tracing::debug!(planner = P::NAME, seen = lagged.seen, "starts anew");
            }
            Stopped::Failed(error) => {
                tracing::warn!(planner = P::NAME, error = %Chain(&error), "failed to commit a plan");
                clock.sleep(PAUSE).await;
            }
        }
    }
}

enum Stopped {
    Lagged(Lagged),
    Failed(Error),
}

impl From<Lagged> for Stopped {
    fn from(lagged: Lagged) -> Self {
        Self::Lagged(lagged)
    }
}

/// A plan, and what became of its commit.
type Landed<P> = (<P as Planner>::Plan, Result<(), Error>);

struct Follower<P: Planner> {
    store: Store,
    clock: SharedClock,
    term: u64,
    planner: P,
    changes: Subscription,
    flights: FuturesUnordered<BoxFuture<'static, Landed<P>>>,
    /// Whether the next plan can do without those on their way.
    may_follow: bool,
    /// Plans that met a conflict, to be taken back when all have landed.
    refused: Vec<P::Plan>,
}

impl<P: Planner> Follower<P> {
    async fn run(mut self) -> Stopped {
        let stopped = loop {
            if let Err(stopped) = self.step().await {
                break stopped;
            }
        };
        // A planner that is made anew must not miss what is on its way.
        while self.flights.next().await.is_some() {}
        stopped
    }

    /// Plans what may be planned now, or waits for what changes that.
    async fn step(&mut self) -> Result<(), Stopped> {
        let (state, batches) = self.store.follow(&mut self.changes)?;
        for event in batches.iter().flat_map(|batch| &batch.events) {
            self.planner.observe(event);
        }
        if self.flights.is_empty() {
            self.may_follow = true;
            for plan in self.refused.drain(..) {
                self.planner.forget(&state, &plan);
            }
        }
        let has_room = self.flights.len() < FLIGHTS_MAX;
        let may_plan = self.may_follow && has_room && self.refused.is_empty();
        let landed = if may_plan && self.planner.is_due() {
            self.depart(&state);
            drop(state);
            // It is proposed before the next is made; and others on this executor get their turn.
            let landed = self.flights.next().now_or_never().flatten();
            tokio::task::yield_now().await;
            landed
        } else {
            drop(state);
            let waits_for_events = !self.planner.is_due();
            tokio::select! {
                biased;
                Some(landed) = self.flights.next() => Some(landed),
                () = self.changes.changed(), if waits_for_events => None,
            }
        };
        landed.map_or(Ok(()), |landed| self.land(landed))
    }

    fn depart(&mut self, state: &State) {
        let now = self.clock.now();
        let plan = self.planner.plan(state, now);
        self.may_follow = self.planner.is_due() && P::may_be_followed(&plan);
        let changes = P::changes(&plan);
        if changes.is_empty() {
            return;
        }
        let transaction =
            Transaction::on(state, now, changes.to_vec()).reading(state, P::decided_by(&plan));
        let (store, term) = (self.store.clone(), self.term);
        self.flights.push(Box::pin(async move {
            let committed = store.commit_leading(term, transaction).await;
            (plan, committed.map(drop))
        }));
    }

    /// A plan that met a conflict is to be made anew.
    fn land(&mut self, (plan, result): Landed<P>) -> Result<(), Stopped> {
        match result {
            Ok(()) => Ok(()),
            Err(Error::Rejected(rejected)) if rejected.is_stale() => {
                tracing::debug!(planner = P::NAME, error = %Chain(&rejected), "plans anew");
                self.refused.push(plan);
                Ok(())
            }
            Err(error) => Err(Stopped::Failed(error)),
        }
    }
}

#[cfg(test)]
#[path = "planning_loop_tests.rs"]
pub(crate) mod tests;
