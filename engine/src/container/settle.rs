//! Waiting for the verdict of a container's health check.

use shoal_model::container::HealthStatus;
use tokio::sync::watch;

use super::view::View;

/// What became of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is healthy, or runs and has no check.
    Healthy,
    /// Its check gave it up; it still runs.
    Unhealthy,
    /// It does not run.
    Over,
}

/// The verdict; `None` while there is none yet.
pub fn verdict(view: &View) -> Option<Verdict> {
    if view.removed || !view.counts_as_running() {
        return Some(Verdict::Over);
    }
    match view.state.health.as_ref().map(|health| health.status) {
        None | Some(HealthStatus::Healthy) => Some(Verdict::Healthy),
        Some(HealthStatus::Unhealthy) => Some(Verdict::Unhealthy),
        Some(HealthStatus::Starting) => None,
    }
}

/// Waits for a verdict that `wanted` accepts.
///
/// # Cancel safety
/// Dropping the future has no effect.
pub async fn wait(mut view: watch::Receiver<View>, wanted: fn(Verdict) -> bool) -> Verdict {
    loop {
        let now = verdict(&view.borrow_and_update());
        if let Some(now) = now.filter(|now| wanted(*now)) {
            return now;
        }
        if view.changed().await.is_err() {
            return Verdict::Over;
        }
    }
}
