//! Waiting for the end of a container: the pure condition, and its driver.

use futures_util::future::BoxFuture;
use shoal_model::container::{Phase, WaitCondition, WaitOutcome};
use tokio::sync::watch;

use super::view::View;

/// Counters at the moment of registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    exits: u64,
    failed_starts: u64,
}

impl Registered {
    /// Remembers where the container is now.
    pub fn at(view: &View) -> Self {
        Self { exits: view.exits, failed_starts: view.failed_starts }
    }
}

/// Whether the wait is over, and how.
pub fn over(condition: WaitCondition, since: Registered, view: &View) -> Option<WaitOutcome> {
    let ended = view.exits > since.exits || view.failed_starts > since.failed_starts;
    let idle = !view.counts_as_running() && view.state.phase != Phase::Removing;
    let over = match condition {
        WaitCondition::NotRunning => idle || ended || view.removed,
        // What never began has no exit: as with docker, whoever started it knows of the failure already.
        WaitCondition::NextExit => view.exits > since.exits || view.removed,
        WaitCondition::Removed => view.removed || view.state.phase == Phase::Dead,
    };
    // A removal is no failure, whatever the last start said: docker's client shows the error of a wait.
    over.then(|| match condition {
        WaitCondition::Removed => WaitOutcome { error: None, ..view.outcome() },
        WaitCondition::NotRunning | WaitCondition::NextExit => view.outcome(),
    })
}

/// Registers a wait; the future completes when it is over.
pub fn register(
    mut view: watch::Receiver<View>,
    condition: WaitCondition,
) -> BoxFuture<'static, WaitOutcome> {
    let since = Registered::at(&view.borrow_and_update());
    Box::pin(async move {
        loop {
            if let Some(outcome) = over(condition, since, &view.borrow_and_update()) {
                return outcome;
            }
            if view.changed().await.is_err() {
                return view.borrow().outcome();
            }
        }
    })
}
