//! Keeps what the daemon takes of the memory near what it uses.

use std::time::Duration;

use shoal_base::{SharedClock, blocking};
use shoal_engine::sys;
use shoal_model::error::Chain;

/// What only the start needed goes after this time.
const START: Duration = Duration::from_secs(1);
/// What a burst of requests needed goes within this time.
const PERIOD: Duration = Duration::from_secs(15);

/// Gives back unused heap, code and constants, again and again: what is used comes back by itself.
///
/// # Cancel safety
/// Nothing is lost.
pub(crate) async fn keep_small(clock: SharedClock) {
    clock.sleep(START).await;
    loop {
        let trim = || {
            sys::trim_heap();
            sys::release_text()
        };
        match blocking::run("give back memory", trim).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "code that is not used stays in memory"),
            Err(error) => tracing::warn!(error = %Chain(&error), "memory is not given back"),
        }
        clock.sleep(PERIOD).await;
    }
}
