//! Time. Everything that reads or waits for time takes a [`Clock`], so that the simulator can own it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use shoal_model::Timestamp;

/// A source of time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock. May jump.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point. Never goes back; use it for deadlines and durations.
    fn monotonic(&self) -> Duration;

    /// Completes when `duration` has passed on the monotonic clock.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A clock shared by many owners.
pub type SharedClock = Arc<dyn Clock>;

/// The kernel's clocks, through tokio's timer (so that `tokio::time::pause` works in tests).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp::from_parts(time.tv_sec, time.tv_nsec)
    }

    fn monotonic(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds)
            + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that may sleep")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
