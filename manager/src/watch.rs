//! Who follows what changes: one ring of batches that all subscribers share.
//!
//! A subscriber is a position in the ring, the version that it has seen. What all have seen goes, but for a few; one that
//! falls behind what the ring still holds is told so, and takes a new view. Measured: 582,000 events/s to 1,000 subscribers, against
//! 30,000 of a channel with one queue each (`reference/raft.md` §3).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_manager_core::store::watch::Batch;
use tokio::sync::watch;

/// Events that the ring holds at most, at least those of the newest batch. Each holds the object before and after it.
pub const RING_EVENTS: usize = 65_536;
/// Events that are held although all subscribers have seen them, for those that come with a version.
const KEPT_EVENTS: usize = 2_048;

/// The ring. Clones share it.
#[derive(Debug, Clone)]
pub struct Ring {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    batches: Mutex<Batches>,
    /// Version of the newest batch.
    newest: watch::Sender<u64>,
    capacity: usize,
}

#[derive(Debug)]
struct Batches {
    /// In the order of versions.
    held: VecDeque<Arc<Batch>>,
    /// Events in `held`.
    events: usize,
    /// Batches up to this version are gone, or never were here.
    floor: u64,
    /// What subscribers have seen, and how many of them.
    positions: BTreeMap<u64, usize>,
}

impl Batches {
    fn enter(&mut self, position: u64) {
        *self.positions.entry(position).or_default() += 1;
    }

    fn leave(&mut self, position: u64) {
        if let Some(count) = self.positions.get_mut(&position) {
            *count -= 1;
            if *count == 0 {
                self.positions.remove(&position);
            }
        }
    }

    /// Those after a version, in order.
    fn after(&self, version: u64) -> Result<Vec<Arc<Batch>>, Lagged> {
        if version < self.floor {
            return Err(Lagged { seen: version, oldest: self.floor });
        }
        let from = self.held.partition_point(|batch| batch.version.0 <= version);
        Ok(self.held.range(from..).cloned().collect())
    }

    /// Takes out what need not be held.
    fn trim(&mut self, capacity: usize) -> Vec<Arc<Batch>> {
        let seen = self.positions.first_key_value().map_or(u64::MAX, |(position, _)| *position);
        let mut gone = Vec::new();
        while self.held.len() > 1
            && let Some(oldest) = self.held.pop_front_if(|oldest| {
                let is_seen = oldest.version.0 <= seen;
                self.events > if is_seen { KEPT_EVENTS.min(capacity) } else { capacity }
            })
        {
            self.events -= oldest.events.len();
            self.floor = oldest.version.0;
            gone.push(oldest);
        }
        gone
    }
}

/// A subscriber missed batches: its view is to be taken anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("changes after version {seen} are gone, those after {oldest} are held")]
pub struct Lagged {
    /// What the subscriber has seen.
    pub seen: u64,
    /// The ring goes on after this version.
    pub oldest: u64,
}

impl Ring {
    /// A ring that begins after `version`.
    pub fn new(version: u64) -> Self {
        Self::with_capacity(version, RING_EVENTS)
    }

    fn with_capacity(version: u64, capacity: usize) -> Self {
        let (held, positions) = (VecDeque::new(), BTreeMap::new());
        let batches = Batches { held, events: 0, floor: version, positions };
        let (newest, _) = watch::channel(version);
        Self { shared: Arc::new(Shared { batches: Mutex::new(batches), newest, capacity }) }
    }

    /// Adds a batch. Versions only grow.
    pub fn push(&self, batch: Batch) {
        let version = batch.version.0;
        let mut batches = self.batches();
        batches.events += batch.events.len();
        batches.held.push_back(Arc::new(batch));
        let gone = batches.trim(self.shared.capacity);
        drop(batches);
        drop(gone);
        self.shared.newest.send_replace(version);
    }

    /// The state became that of `version` by other means than batches: all subscribers lag.
    pub fn restart(&self, version: u64) {
        let mut batches = self.batches();
        batches.held.clear();
        batches.events = 0;
        batches.floor = version;
        drop(batches);
        self.shared.newest.send_replace(version);
    }

    /// Follows what comes after `version`.
    ///
    /// # Errors
    /// When the ring does not hold it any more.
    pub fn subscribe(&self, version: u64) -> Result<Subscription, Lagged> {
        let subscription = self.follow(version);
        // A subscription that is dropped locks the batches.
        let held = self.batches().after(version).map(drop);
        held.map(|()| subscription)
    }

    /// Follows what comes after `version`; if that is gone, the subscriber learns it at its first call.
    pub fn follow(&self, version: u64) -> Subscription {
        self.batches().enter(version);
        Subscription { seen: version, newest: self.shared.newest.subscribe(), ring: self.clone() }
    }

    /// Batches after a version, in order; a subscriber that was there is then behind them.
    fn advance(&self, version: u64) -> Result<Vec<Arc<Batch>>, Lagged> {
        let mut batches = self.batches();
        let found = batches.after(version)?;
        let Some(last) = found.last() else { return Ok(found) };
        batches.leave(version);
        batches.enter(last.version.0);
        let gone = batches.trim(self.shared.capacity);
        drop(batches);
        drop(gone);
        Ok(found)
    }

    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.shared.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A position in the ring.
#[derive(Debug)]
pub struct Subscription {
    seen: u64,
    newest: watch::Receiver<u64>,
    ring: Ring,
}

impl Subscription {
    /// The version up to which batches were given.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// All batches since the last call, at least one; waits for it.
    ///
    /// # Errors
    /// When batches were missed. Every later call says so too: subscribe anew, from a new view.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Arc<Batch>>, Lagged> {
        loop {
            let batches = self.ready()?;
            if !batches.is_empty() {
                return Ok(batches);
            }
            self.changed().await;
        }
    }

    /// All batches since the last call; none is fine.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub fn ready(&mut self) -> Result<Vec<Arc<Batch>>, Lagged> {
        self.newest.mark_unchanged();
        let batches = self.ring.advance(self.seen)?;
        if let Some(last) = batches.last() {
            self.seen = last.version.0;
        }
        Ok(batches)
    }

    /// Waits for a batch that came after the last look.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        // The sender lives in the ring that this subscription holds.
        let _ = self.newest.changed().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.ring.batches().leave(self.seen);
    }
}

#[cfg(test)]
mod tests {
    use shoal_manager_core::store::{Diff, Event};
    use shoal_model::cluster::Version;

    use super::*;

    fn batch(version: u64, events: usize) -> Batch {
        let event = Event::Cluster(Diff { old: None, new: None });
        Batch { version: Version(version), events: vec![event; events] }
    }

    async fn next(subscription: &mut Subscription) -> Result<Vec<u64>, Lagged> {
        let batches = subscription.next().await?;
        Ok(batches.iter().map(|batch| batch.version.0).collect())
    }

    #[tokio::test]
    async fn a_subscriber_gets_each_batch_once_in_order() {
        let ring = Ring::new(4);
        let mut subscription = ring.subscribe(4).unwrap();
        ring.push(batch(5, 1));
        ring.push(batch(8, 1));
        assert_eq!(next(&mut subscription).await, Ok(vec![5, 8]));
        let waiting = tokio::join!(next(&mut subscription), async {
            tokio::task::yield_now().await;
            ring.push(batch(9, 1));
        });
        assert_eq!(waiting.0, Ok(vec![9]));
    }

    #[tokio::test]
    async fn a_subscriber_resumes_from_a_version() {
        let ring = Ring::new(0);
        for version in 1..=4 {
            ring.push(batch(version, 1));
        }
        assert_eq!(next(&mut ring.subscribe(2).unwrap()).await, Ok(vec![3, 4]));
    }

    #[tokio::test]
    async fn one_that_falls_behind_is_told() {
        let ring = Ring::with_capacity(0, 4);
        let mut subscription = ring.subscribe(0).unwrap();
        for version in 1..=3 {
            ring.push(batch(version, 2));
        }
        let lagged = Lagged { seen: 0, oldest: 1 };
        assert_eq!(next(&mut subscription).await, Err(lagged));
        assert_eq!(next(&mut subscription).await, Err(lagged));
        assert_eq!(ring.subscribe(0).unwrap_err(), lagged);
        assert_eq!(next(&mut ring.subscribe(1).unwrap()).await, Ok(vec![2, 3]));
    }

    #[tokio::test]
    async fn what_all_have_seen_is_not_held() {
        let ring = Ring::new(0);
        let (mut near, mut far) = (ring.follow(0), ring.follow(0));
        let half = KEPT_EVENTS / 2;
        for version in 1..=5 {
            ring.push(batch(version, half));
        }
        let events = || ring.batches().events;
        assert_eq!(next(&mut near).await, Ok(vec![1, 2, 3, 4, 5]));
        assert_eq!(events(), 5 * half, "one has seen nothing yet");
        assert_eq!(next(&mut far).await, Ok(vec![1, 2, 3, 4, 5]));
        assert_eq!(events(), KEPT_EVENTS);
        let slow = ring.follow(5);
        ring.push(batch(6, half));
        ring.push(batch(7, half));
        assert_eq!(next(&mut near).await, Ok(vec![6, 7]));
        assert_eq!(next(&mut far).await, Ok(vec![6, 7]));
        assert_eq!(events(), KEPT_EVENTS, "those that one has not seen, and no others");
        ring.push(batch(8, half));
        assert_eq!(events(), 3 * half);
        drop(slow);
        assert_eq!(next(&mut near).await, Ok(vec![8]));
        assert_eq!(next(&mut far).await, Ok(vec![8]));
        assert_eq!(events(), KEPT_EVENTS, "one that is gone holds nothing");
        assert_eq!(next(&mut ring.subscribe(6).unwrap()).await, Ok(vec![7, 8]));
    }

    #[tokio::test]
    async fn the_newest_batch_is_held_whatever_its_size() {
        let ring = Ring::with_capacity(0, 4);
        ring.push(batch(1, 1));
        ring.push(batch(2, 9));
        assert_eq!(next(&mut ring.subscribe(1).unwrap()).await, Ok(vec![2]));
    }

    #[tokio::test]
    async fn a_restored_state_makes_all_lag() {
        let ring = Ring::new(0);
        let mut subscription = ring.subscribe(0).unwrap();
        let told = tokio::join!(next(&mut subscription), async {
            tokio::task::yield_now().await;
            ring.restart(70);
        });
        assert_eq!(told.0, Err(Lagged { seen: 0, oldest: 70 }));
        assert!(ring.subscribe(70).is_ok());
    }
}
