//! The event bus: the last events for replay, and a broadcast for followers.
//!
//! A follower that is too slow loses the oldest events; that is logged, and it goes on with the next.
//!
//! Source: moby `daemon/events/events.go`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use futures_util::future::{Either, select};
use shoal_base::SharedClock;
use shoal_model::{Event, EventKind, EventQuery, EventScope, Timestamp};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Events kept for `since`.
pub const RING_LENGTH: usize = 256;
/// Events that wait for a follower.
const FOLLOWER_QUEUE: usize = 1024;

/// The bus. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: SharedClock,
    /// Also orders publication: an event enters ring and broadcast under this mutex.
    ring: Mutex<VecDeque<Arc<Event>>>,
    followers: broadcast::Sender<Arc<Event>>,
}

impl Bus {
    /// An empty bus.
    pub fn new(clock: SharedClock) -> Self {
        let (followers, _) = broadcast::channel(FOLLOWER_QUEUE);
        Self { inner: Arc::new(Inner { clock, ring: Mutex::default(), followers }) }
    }

    /// Publishes an event that happens now, in local scope.
    pub fn publish(
        &self,
        kind: EventKind,
        action: impl Into<String>,
        actor: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        self.publish_event(Event {
            at: self.inner.clock.now(),
            kind,
            action: action.into(),
            actor: actor.into(),
            attributes,
            scope: EventScope::Local,
        });
    }

    /// Publishes a ready event.
    pub fn publish_event(&self, event: Event) {
        let event = Arc::new(event);
        let mut ring = self.inner.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == RING_LENGTH {
            ring.pop_front();
        }
        ring.push_back(Arc::clone(&event));
        // Without followers nobody hears it: that is no failure.
        let _ = self.inner.followers.send(event);
    }

    /// Past events from `query.since`, then those that come, until `query.until` or dropped.
    pub fn follow(&self, query: EventQuery) -> impl Stream<Item = Event> + Send + 'static {
        let (past, receiver) = {
            let ring = self.inner.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let past: VecDeque<Arc<Event>> = match (query.since, query.until) {
                (None, None) => VecDeque::new(),
                (since, until) => replay(&ring, since, until),
            };
            (past, self.inner.followers.subscribe())
        };
        let follower = Follower { past, receiver, query, clock: Arc::clone(&self.inner.clock) };
        futures_util::stream::unfold(follower, |mut follower| async move {
            follower.next().await.map(|event| (event, follower))
        })
    }
}

/// The events of the ring within the bounds. Without `since`, nothing of the past is replayed.
fn replay(
    ring: &VecDeque<Arc<Event>>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> VecDeque<Arc<Event>> {
    let Some(since) = since else { return VecDeque::new() };
    ring.iter()
        .filter(|event| event.at >= since && until.is_none_or(|until| event.at <= until))
        .cloned()
        .collect()
}

struct Follower {
    past: VecDeque<Arc<Event>>,
    receiver: broadcast::Receiver<Arc<Event>>,
    query: EventQuery,
    clock: SharedClock,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        while let Some(event) = self.past.pop_front() {
            if self.query.filters.matches(&event) {
                return Some((*event).clone());
            }
        }
        loop {
            let received = match self.query.until {
                None => self.receiver.recv().await,
                Some(until) => {
                    let left = until.since(self.clock.now());
                    if left.is_zero() {
                        return None;
                    }
                    let end = self.clock.sleep(left);
                    match select(Box::pin(self.receiver.recv()), end).await {
                        Either::Left((received, _)) => received,
                        Either::Right(_) => return None,
                    }
                }
            };
            match received {
                Ok(event) if self.query.filters.matches(&event) => return Some((*event).clone()),
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "an event follower is too slow");
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use shoal_base::SystemClock;

    use super::*;

    fn event(second: i64, action: &str) -> Event {
        Event {
            at: Timestamp::from_parts(second, 0),
            kind: EventKind::Container,
            action: action.to_owned(),
            actor: "c".to_owned(),
            attributes: BTreeMap::new(),
            scope: EventScope::Local,
        }
    }

    #[tokio::test]
    async fn replays_from_since_then_follows() {
        let bus = Bus::new(Arc::new(SystemClock));
        for second in 0..300 {
            bus.publish_event(event(second, &format!("e{second}")));
        }
        let query =
            EventQuery { since: Some(Timestamp::from_parts(298, 0)), ..EventQuery::default() };
        let mut stream = std::pin::pin!(bus.follow(query));
        bus.publish_event(event(1000, "new"));
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(stream.next().await.unwrap().action);
        }
        assert_eq!(seen, ["e298", "e299", "new"]);
    }

    #[tokio::test]
    async fn the_ring_keeps_256_and_until_in_the_past_ends() {
        let bus = Bus::new(Arc::new(SystemClock));
        for second in 0..300 {
            bus.publish_event(event(second, &format!("e{second}")));
        }
        let query = EventQuery {
            since: Some(Timestamp::from_parts(0, 0)),
            until: Some(Timestamp::from_parts(298, 0)),
            ..EventQuery::default()
        };
        let seen: Vec<Event> = bus.follow(query).collect().await;
        assert_eq!(seen.len(), 255);
        assert_eq!((seen[0].action.as_str(), seen[254].action.as_str()), ("e44", "e298"));
    }

    #[tokio::test]
    async fn without_since_nothing_of_the_past_comes() {
        let bus = Bus::new(Arc::new(SystemClock));
        bus.publish_event(event(1, "old"));
        let mut stream = std::pin::pin!(bus.follow(EventQuery::default()));
        bus.publish_event(event(2, "new"));
        assert_eq!(stream.next().await.unwrap().action, "new");
    }
}
