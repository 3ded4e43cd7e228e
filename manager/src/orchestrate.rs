//! Keeps services as their specs ask while this manager leads: reads the store, commits plans, nothing else.
//!
//! Events and deadlines only put things on an agenda (`manager/core`), the plan is made from the newest view alone. What
//! this loop remembers is lost without harm: a new leader begins with everything on the agenda. Plans of different services
//! are committed side by side, so that they share disk writes; those of one service follow each other.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use shoal_base::SharedClock;
use shoal_manager_core::ids::Ids;
use shoal_manager_core::orchestrator::Agenda;
use shoal_manager_core::orchestrator::agenda::Item;
use shoal_manager_core::store::{State, Transaction};

use crate::store::{Error, Store};
use crate::watch::Subscription;

/// Plans that are being committed at a time.
const FLIGHTS_MAX: usize = 32;
/// Everything is looked at so often, whatever events said.
const RESCAN_PERIOD: Duration = Duration::from_secs(600);
/// After a failed commit that was no conflict.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Things that are looked at before other work of the program gets a turn.
const LOOKS_AT_ONCE: usize = 64;

/// Orchestrates whenever this manager leads, for ever.
///
/// # Cancel safety
/// As [`run`].
pub async fn lead(
    store: Store,
    clock: SharedClock,
    mut ids: impl Ids + Send + 'static,
) -> Infallible {
    let mut leadership = store.leadership();
    loop {
        // The sender lives in the store that this loop holds.
        let _ = leadership.wait_for(|leadership| leadership.is_self).await;
        let term = leadership.borrow_and_update().term;
        tracing::info!(term, "orchestrating");
        tokio::select! {
            never = run(store.clone(), clock.clone(), &mut ids) => match never {},
            _ = leadership.wait_for(|now| !now.is_self || now.term != term) => {}
        }
        tracing::info!(term, "no longer orchestrating");
    }
}

/// Orchestrates. For the leader: elsewhere plans would be made from views that lag, and be refused.
///
/// # Cancel safety
/// Dropping the future loses no state: each plan is either committed by consensus or never existed.
pub async fn run(store: Store, clock: SharedClock, ids: &mut (dyn Ids + Send)) -> Infallible {
    loop {
        // What earlier leaders committed may not have arrived here yet; a plan without it would do it twice.
        if let Err(error) = store.read().await {
            tracing::warn!(%error, "failed to read the store before orchestrating");
            clock.sleep(RETRY_DELAY).await;
            continue;
        }
        let (view, changes) = store.watch();
        let agenda = Agenda::everything(&view);
        drop(view);
        let round = Round {
            store: store.clone(),
            clock: clock.clone(),
            ids: &mut *ids,
            agenda,
            changes,
            flights: FuturesUnordered::new(),
            busy: BTreeSet::new(),
        };
        round.run().await;
    }
}

/// From one look at everything to the next.
struct Round<'a> {
    store: Store,
    clock: SharedClock,
    ids: &'a mut (dyn Ids + Send),
    agenda: Agenda,
    changes: Subscription,
    flights: FuturesUnordered<BoxFuture<'static, (Item, Result<(), Error>)>>,
    /// What the flights are about.
    busy: BTreeSet<Item>,
}

/// What ended a wait.
enum Woken {
    Landed(Item, Result<(), Error>),
    Changed,
    Due,
    RoundIsOver,
}

impl Round<'_> {
    async fn run(mut self) {
        let end = self.clock.monotonic() + RESCAN_PERIOD;
        loop {
            self.agenda.wake(self.clock.now());
            let is_finished = self.depart();
            if !is_finished {
                // Let others work, and take in what happened meanwhile.
                tokio::task::yield_now().await;
            }
            match self.wait(end, is_finished).await {
                Woken::Landed(item, result) => self.land(item, result),
                Woken::Changed | Woken::Due => {}
                Woken::RoundIsOver if self.flights.is_empty() => return,
                // The last commits are waited for: their plans must be seen by the next ones.
                Woken::RoundIsOver => {
                    while let Some((item, result)) = self.flights.next().await {
                        self.land(item, result);
                    }
                    return;
                }
            }
        }
    }

    /// Looks at what is on the agenda and sends off what is to be committed. `false`: there is more to look at now.
    fn depart(&mut self) -> bool {
        let view = self.store.view();
        for _ in 0..LOOKS_AT_ONCE {
            if self.flights.len() >= FLIGHTS_MAX {
                return true;
            }
            let Some(item) = self.agenda.first_but(&self.busy) else { return true };
            self.look(&view, item);
        }
        false
    }

    fn look(&mut self, view: &State, item: Item) {
        let now = self.clock.now();
        let transactions = self.agenda.look(view, item, now, self.ids);
        if !transactions.is_empty() {
            let commit = commit(self.store.clone(), transactions);
            self.busy.insert(item);
            self.flights.push(Box::pin(async move { (item, commit.await) }));
        }
    }

    fn land(&mut self, item: Item, result: Result<(), Error>) {
        self.busy.remove(&item);
        match result {
            Ok(()) => {}
            Err(Error::Rejected(rejected)) if rejected.is_stale() => self.agenda.put_back(item),
            Err(error) => {
                tracing::warn!(?item, %error, "failed to commit a plan");
                self.agenda.put_off(item, self.clock.now().after(RETRY_DELAY));
            }
        }
    }

    /// Waits until there is something to do; does not wait when there is more to look at already.
    async fn wait(&mut self, end: Duration, is_finished: bool) -> Woken {
        let left = end.saturating_sub(self.clock.monotonic());
        if left.is_zero() {
            return Woken::RoundIsOver;
        }
        let now = self.clock.now();
        let due = self.agenda.next_deadline().map_or(left, |at| at.since(now));
        // Deadlines that are due already wait for a flight to land.
        let pause = if is_finished { due.min(left) } else { Duration::ZERO };
        let pause = self.clock.sleep(pause);
        tokio::select! {
            biased;
            Some((item, result)) = self.flights.next() => Woken::Landed(item, result),
            changes = self.changes.next() => match changes {
                Ok(batches) => {
                    let view = self.store.view();
                    for event in batches.iter().flat_map(|batch| &batch.events) {
                        self.agenda.note(&view, event);
                    }
                    Woken::Changed
                }
                Err(lagged) => {
                    tracing::warn!(error = %lagged, "looking at everything");
                    Woken::RoundIsOver
                }
            },
            () = pause => Woken::Due,
        }
    }
}

/// Commits the parts of a plan, in order; what follows a failed part is not tried.
async fn commit(store: Store, transactions: Vec<Transaction>) -> Result<(), Error> {
    for transaction in transactions {
        store.commit_here(transaction).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
