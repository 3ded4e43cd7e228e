//! Who is woken when: what is sent wakes its reader once, when it arrives. One timer for the whole network, instead of one
//! for each connection that its reader would have to look at twice.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;

use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::pipe::Direction;

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Post {
    queue: Mutex<Queue>,
    /// Something arrives before all that was on its way.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    arrivals: BTreeMap<(Instant, u64), Weak<Direction>>,
    /// What arrives at the same time arrives in the order in which it was sent.
    count: u64,
}

impl Post {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the reader woken then.
    pub(super) fn send(&self, at: Instant, direction: Weak<Direction>) {
        let mut queue = self.queue();
        let is_first = queue.arrivals.first_key_value().is_none_or(|((first, _), _)| at < *first);
        queue.count += 1;
        let key = (at, queue.count);
        queue.arrivals.insert(key, direction);
        drop(queue);
        if is_first {
            self.sooner.notify_one();
        }
    }

    fn first(&self) -> Option<Instant> {
        self.queue().arrivals.first_key_value().map(|((at, _), _)| *at)
    }

    /// One that has arrived.
    fn arrived(&self, now: Instant) -> Option<Weak<Direction>> {
        let mut queue = self.queue();
        let first = queue.arrivals.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    /// Wakes readers for as long as it is polled.
    pub(super) async fn deliver(&self) {
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            let now = Instant::now();
            while let Some(direction) = self.arrived(now) {
                if let Some(direction) = direction.upgrade() {
                    direction.wake_reader();
                }
            }
            let first = self.first();
            if let Some(at) = first {
                timer.as_mut().reset(at);
            }
            let mut sooner = pin!(self.sooner.notified());
            poll_fn(|context| {
                let is_sooner = sooner.as_mut().poll(context).is_ready();
                if is_sooner || (first.is_some() && timer.as_mut().poll(context).is_ready()) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }
    }
}

fn sleep_until(at: Instant) -> Sleep {
    tokio::time::sleep_until(at)
}
