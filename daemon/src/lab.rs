//! What a lab tells a daemon that was built for tests: how far its clock is off, and which release it plays.
//!
//! A host's clock cannot be set for one host of a lab: all share the kernel's. Optimised programs have none of this.

use std::sync::Arc;

use shoal_base::{SharedClock, SystemClock};

/// The clock of this host.
pub(crate) fn clock() -> SharedClock {
    #[cfg(debug_assertions)]
    if let Some(seconds) = number("SHOAL_LAB_CLOCK_SECONDS") {
        return Arc::new(shifted::Clock { seconds });
    }
    Arc::new(SystemClock)
}

/// The feature level that this release knows.
pub(crate) fn feature_level() -> u32 {
    #[cfg(debug_assertions)]
    if let Some(level) = number("SHOAL_LAB_FEATURE_LEVEL") {
        return level;
    }
    shoal_manager::feature::LEVEL
}

/// A number of the environment.
#[cfg(debug_assertions)]
fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let number = std::env::var(name).ok()?.parse().ok()?;
    tracing::warn!(name, "this daemon plays a part in a lab");
    Some(number)
}

#[cfg(debug_assertions)]
mod shifted {
    use std::time::Duration;

    use futures_util::future::BoxFuture;
    use shoal_base::SystemClock;
    use shoal_model::Timestamp;

    /// A clock that is off.
    #[derive(Debug)]
    pub(super) struct Clock {
        /// So far it is ahead; behind where negative.
        pub(super) seconds: i64,
    }

    impl shoal_base::Clock for Clock {
        fn now(&self) -> Timestamp {
            let now = SystemClock.now();
            Timestamp::from_parts(now.seconds().saturating_add(self.seconds), now.subsec_nanos())
        }

        fn monotonic(&self) -> Duration {
            SystemClock.monotonic()
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            SystemClock.sleep(duration)
        }
    }
}
