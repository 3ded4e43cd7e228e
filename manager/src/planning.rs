//! What the leader's planning loops have in common: wake, plan, commit.
//!
//! A planner is pure and follows the store's events. The loop feeds them to it, lets it plan from the newest
//! view when something is due, and commits the plan. It knows no policy.

use std::time::Duration;

use futures_util::FutureExt as _;
use shoal_base::SharedClock;
use shoal_manager_core::store::{Change, Event, State, Transaction};
use shoal_model::error::Chain;

use crate::store::{Error, Store};
use crate::watch::{Lagged, Subscription};

/// The longest that events wait while plans follow each other.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// After a commit that failed for another reason than a conflict.
const PAUSE: Duration = Duration::from_millis(500);

/// A pure planner that follows the store.
pub(crate) trait Planner: Send {
    /// What it does, for the log.
    const NAME: &'static str;
    /// What [`Planner::forget`] needs to know of a plan.
    type Plan: Send;

    /// Reads all objects.
    fn new(state: &State) -> Self;

    /// Takes note of a change.
    fn observe(&mut self, event: &Event);

    /// Whether there may be something to plan.
    fn is_due(&self) -> bool;

    /// Plans for a state that is as new as the last event, or newer.
    fn plan(&mut self, state: &State, now: shoal_model::Timestamp) -> Self::Plan;

    /// The changes of a plan; empty: nothing is to be committed.
    fn changes(plan: &Self::Plan) -> &[Change];

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
        let mut planner = P::new(&state);
        drop(state);
        let stopped = follow(&store, &clock, term, &mut planner, changes).await;
        match stopped {
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

/// The first event after a quiet time is planned for at once. While events keep coming, the loop rests as long
/// after a plan as it took, [`DEBOUNCE`] at most, so that bursts become few large plans. A plan that had to leave something
/// over was as large as plans may be: the next follows at once.
async fn follow<P: Planner>(
    store: &Store,
    clock: &SharedClock,
    term: u64,
    planner: &mut P,
    mut changes: Subscription,
) -> Stopped {
    loop {
        if let Err(lagged) = catch_up(planner, &mut changes).await {
            return lagged.into();
        }
        let began = clock.monotonic();
        let state = store.view();
        let now = clock.now();
        let plan = planner.plan(&state, now);
        let is_full = planner.is_due();
        if let Err(error) = commit::<P>(store, term, &state, now, planner, &plan).await {
            return Stopped::Failed(error);
        }
        let cost = clock.monotonic().saturating_sub(began);
        // Others on this executor go first, even when there is no cost to speak of.
        tokio::task::yield_now().await;
        if !is_full {
            clock.sleep(cost.min(DEBOUNCE)).await;
        }
    }
}

/// Takes all events that are there; waits until something is due.
async fn catch_up<P: Planner>(planner: &mut P, changes: &mut Subscription) -> Result<(), Lagged> {
    loop {
        let batches = if planner.is_due() {
            match changes.next().now_or_never() {
                Some(batches) => batches?,
                None => return Ok(()),
            }
        } else {
            changes.next().await?
        };
        for event in batches.iter().flat_map(|batch| &batch.events) {
            planner.observe(event);
        }
    }
}

/// Commits a plan. One that met a conflict is taken back, to be made anew.
async fn commit<P: Planner>(
    store: &Store,
    term: u64,
    state: &State,
    at: shoal_model::Timestamp,
    planner: &mut P,
    plan: &P::Plan,
) -> Result<(), Error> {
    let changes = P::changes(plan);
    if changes.is_empty() {
        return Ok(());
    }
    let reports = |change: &&Change| !matches!(change, Change::TaskStatus { .. });
    let expect = changes.iter().filter(reports).map(|change| {
        let object = change.object();
        (object, state.version_of(object))
    });
    let transaction = Transaction { at, expect: expect.collect(), changes: changes.to_vec() };
    match store.commit_leading(term, &transaction).await {
        Ok(_) => Ok(()),
        Err(Error::Rejected(rejected)) if rejected.is_stale() => {
            tracing::debug!(planner = P::NAME, error = %Chain(&rejected), "plans anew");
            planner.forget(&store.view(), plan);
            Ok(())
        }
        Err(error) => Err(error),
    }
}
