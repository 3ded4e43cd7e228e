//! Addresses come back when the veth pair that had them is gone.
//!
//! Removing a veth pair takes the kernel tens of milliseconds (it waits for all processors), and one
//! after the other; a namespace that nobody uses any more takes its pairs with it, many at a time. So
//! nobody waits for that: the addresses rest until the pair has gone. A pair whose namespace lives on
//! (somebody entered it) is removed after a grace period.

use std::sync::{Arc, Condvar, PoisonError, Weak};
use std::time::Duration;

use shoal_base::blocking;
use shoal_base::tasks::TaskKind;
use tokio::sync::Notify;

use super::Inner;
use super::state::State;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::ipam;

/// Between two looks at the links.
const LOOK: Duration = Duration::from_millis(10);
/// Time that a namespace has to go by itself.
const GRACE_LOOKS: u32 = 30;
/// Longest wait of one attach for addresses of endpoints that are on their way out.
const PATIENCE: Duration = Duration::from_secs(5);

/// Wakes the task, and whoever waits for an address.
#[derive(Debug, Default)]
pub(super) struct Buried {
    wake: Arc<Notify>,
    gone: Condvar,
}

impl Buried {
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Runs until the program stops or the networks are dropped.
pub(super) fn keep(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let wake = Arc::clone(&inner.buried.wake);
    inner.ports.tasks.spawn(TaskKind::Cleanup, async move {
        loop {
            wake.notified().await;
            let mut looks = 0;
            while let Some(true) = look(&weak, looks).await {
                let Some(clock) = weak.upgrade().map(|inner| inner.ports.clock.clone()) else {
                    return;
                };
                clock.sleep(LOOK).await;
                looks += 1;
            }
        }
    });
}

/// Whether there is more to wait for; `None`: the networks are gone.
async fn look(weak: &Weak<Inner>, looks: u32) -> Option<bool> {
    let inner = weak.upgrade()?;
    let result = blocking::run("bury endpoints", move || inner.bury(looks >= GRACE_LOOKS)).await;
    match result {
        Ok(Ok(more)) => Some(more),
        Ok(Err(error)) => {
            let error = shoal_model::error::Chain(&error).to_string();
            tracing::warn!(error, "veth pairs not removed yet");
            Some(true)
        }
        Err(_) => None,
    }
}

impl Inner {
    /// Gives back the addresses of endpoints whose veth pair is gone. `overdue`: removes the others.
    fn bury(&self, overdue: bool) -> Result<bool, Error> {
        let dying = self.state().dying.clone();
        if dying.is_empty() {
            return Ok(false);
        }
        let links = self.host.links()?;
        let present = |endpoint: &Endpoint| {
            let name = endpoint.host_interface();
            links.iter().find(|link| link.name == name).map(|link| link.index)
        };
        if overdue {
            let indexes: Vec<u32> = dying.iter().filter_map(present).collect();
            self.remove_links(&indexes)?;
        }
        let mut state = self.state();
        for endpoint in dying.iter().filter(|endpoint| overdue || present(endpoint).is_none()) {
            state.dying.retain(|other| other.id != endpoint.id);
            state.release(endpoint);
        }
        let more = !state.dying.is_empty();
        drop(state);
        self.buried.gone.notify_all();
        Ok(more)
    }

    /// Takes addresses, and waits for those that are on their way back when there is no other.
    pub(super) fn lease_patiently(
        &self,
        mut lease: impl FnMut(&mut State) -> Result<Endpoint, Error>,
    ) -> Result<Endpoint, Error> {
        let deadline = self.ports.clock.monotonic() + PATIENCE;
        let mut state = self.state();
        loop {
            let error = match lease(&mut state) {
                Err(error @ Error::Address { .. }) => error,
                other => return other,
            };
            let hopeless =
                matches!(&error, Error::Address { source: ipam::Error::Outside { .. }, .. });
            let left = deadline.saturating_sub(self.ports.clock.monotonic());
            if hopeless || state.dying.is_empty() || left.is_zero() {
                return Err(error);
            }
            let waited = self.buried.gone.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
