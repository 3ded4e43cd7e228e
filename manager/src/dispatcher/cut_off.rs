//! A manager that hears of no commits any more: it is cut off from the leader, or was removed from consensus. Its view
//! stands still, so that it must not serve workers: they find another manager.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_model::error::Chain;

use super::hub::Hub;
use crate::store::Store;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(2);

/// Whether this manager is cut off.
#[derive(Debug, Default)]
pub(super) struct CutOff(AtomicBool);

impl CutOff {
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks for ever; ends all sessions when an up-to-date view is not to be had. A read waits through some elections
/// before it fails.
///
/// # Cancel safety
/// Dropping the future ends it.
pub(super) async fn watch(store: Store, hub: Arc<Hub>, cut_off: Arc<CutOff>, clock: SharedClock) {
    loop {
        clock.sleep(PERIOD).await;
        let read = store.read().await;
        let was = cut_off.0.swap(read.is_err(), Ordering::Relaxed);
        if let Err(error) = read {
            if !was {
                tracing::warn!(error = %Chain(&error), "cut off from the cluster: workers are sent elsewhere");
            }
            hub.end_all();
        }
    }
}
