//! A leader whose disk is full hands over: the others may have room.

use std::time::Duration;

use shoal_base::SharedClock;
use tokio::sync::watch;

use crate::handle::Core;
use crate::log::health::Health;
use crate::membership::successor;
use crate::settings;
use crate::status::Status;

/// Between two attempts to hand over.
const AGAIN: Duration = Duration::from_secs(2);

/// Runs on the raft threads until consensus stops.
pub(crate) fn spawn(
    core: &Core,
    health: &Health,
    status: watch::Receiver<Status>,
    clock: SharedClock,
) {
    let (core, mut full) = (core.clone(), health.watch());
    settings::spawn(async move {
        loop {
            if full.wait_for(Option::is_some).await.is_err() {
                return;
            }
            let to = {
                let status = status.borrow();
                if status.leads() { successor(&status) } else { None }
            };
            if let Some(to) = to {
                tracing::warn!(%to, "the disk is full: handing leadership over");
                if core.trigger().transfer_leader(to.0).await.is_err() {
                    return;
                }
            }
            clock.sleep(AGAIN).await;
        }
    });
}
