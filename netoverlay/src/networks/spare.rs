//! Namespaces kept ready: making one takes about a millisecond, most of it under the kernel's rtnl lock.
//!
//! A spare namespace is only two descriptors: nothing of it is left when the daemon is killed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_base::blocking;
use shoal_base::tasks::{TaskKind, Tasks};
use tokio::sync::Notify;

use crate::kernel::namespace::{Error, Namespace};

/// How long a start is left alone before the pool is filled again.
const REFILL_DELAY: Duration = Duration::from_millis(20);

/// The spare namespaces.
#[derive(Debug, Default)]
pub(super) struct Spares {
    ready: Mutex<Vec<Namespace>>,
    taken: Notify,
}

impl Spares {
    /// Takes one that is ready, or makes one. Blocks.
    pub(super) fn take(&self) -> Result<Namespace, Error> {
        let ready = self.lock().pop();
        self.taken.notify_one();
        ready.map_or_else(Namespace::create, Ok)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Namespace>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `count` ready until the program stops.
    pub(super) fn keep(self: &Arc<Self>, count: usize, tasks: &Tasks, clock: SharedClock) {
        let spares = Arc::clone(self);
        tasks.spawn(TaskKind::Pool, async move {
            loop {
                while spares.lock().len() < count {
                    match blocking::run("make a spare network namespace", Namespace::create).await {
                        Ok(Ok(namespace)) => spares.lock().push(namespace),
                        Ok(Err(error)) => {
                            let error = shoal_model::error::Chain(&error).to_string();
                            tracing::warn!(error, "no spare network namespace");
                            break; // The next start makes its own, and wakes this task again.
                        }
                        Err(_) => return,
                    }
                }
                spares.taken.notified().await;
                // Making one holds the lock that the start which took it needs for its links.
                if !spares.lock().is_empty() {
                    clock.sleep(REFILL_DELAY).await;
                }
            }
        });
    }
}
