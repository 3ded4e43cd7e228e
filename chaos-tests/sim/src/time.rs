//! Time: virtual, begun anew with each run; each node has a wall clock that may be off and may jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use shoal_base::Clock;
use shoal_model::Timestamp;
use tokio::time::Instant;

/// When every run begins.
const BEGIN_SECONDS: i64 = 1_800_000_000;

/// The clock of one node. Clones are the same.
#[derive(Debug, Clone)]
pub struct NodeClock {
    begin: Instant,
    /// Milliseconds by which its wall clock is off.
    offset: Arc<AtomicI64>,
}

impl NodeClock {
    /// Begins now.
    pub fn new() -> Self {
        Self { begin: Instant::now(), offset: Arc::default() }
    }

    /// Another node's clock of the same run.
    pub fn another(&self) -> Self {
        Self { begin: self.begin, offset: Arc::default() }
    }

    /// Sets the wall clock so many milliseconds off.
    pub fn set_offset(&self, milliseconds: i64) {
        self.offset.store(milliseconds, Ordering::Relaxed);
    }
}

impl Default for NodeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let begun = Timestamp::from_parts(BEGIN_SECONDS, 0).after(self.begin.elapsed());
        Timestamp::from_nanos(begun.nanos() + self.offset.load(Ordering::Relaxed) * 1_000_000)
    }

    fn monotonic(&self) -> Duration {
        self.begin.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Waits in virtual time.
#[expect(clippy::disallowed_methods, reason = "virtual time; nothing waits for real")]
pub async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}
