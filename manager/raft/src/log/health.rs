//! A disk without room: whoever writes waits here, and others see it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use shoal_base::{Clock as _, SystemClock, single};
use shoal_model::error::Chain;
use tokio::sync::watch;

/// A full disk is tried again after this time: nothing tells when there is room.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// What keeps writes from the disk, seen from both ends. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    full: watch::Sender<Option<String>>,
    ending: Arc<Ending>,
}

#[derive(Debug, Default)]
struct Ending {
    begun: Mutex<bool>,
    told: Condvar,
}

/// No one waits for the write any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended;

impl Health {
    pub(crate) fn new() -> Self {
        Self { full: watch::Sender::new(None), ending: Arc::default() }
    }

    /// Why nothing is written at the moment; `None`: there is room.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.full.subscribe()
    }

    /// As [`Health::watch`], now.
    pub(crate) fn full(&self) -> Option<String> {
        self.full.borrow().clone()
    }

    /// There is no room, says `error`.
    pub(crate) fn set_full(&self, error: &(dyn std::error::Error + 'static)) {
        let reason = Chain(error).to_string();
        self.full.send_if_modified(|full| {
            let news = full.is_none();
            if news {
                tracing::error!(error = reason, "the disk is full: managers wait for room");
                *full = Some(reason);
            }
            news
        });
    }

    /// What failed for want of room has been written.
    pub(crate) fn set_well(&self) {
        self.full.send_if_modified(|full| {
            let news = full.take().is_some();
            if news {
                tracing::info!("the disk has room again");
            }
            news
        });
    }

    /// Waits a moment for room. Blocks, but on the [only thread](single).
    pub(crate) async fn wait(&self) -> Result<(), Ended> {
        if single::is_on() {
            SystemClock.sleep(RETRY).await;
            let begun = *self.ending.begun.lock().unwrap_or_else(PoisonError::into_inner);
            return if begun { Err(Ended) } else { Ok(()) };
        }
        self.block()
    }

    fn block(&self) -> Result<(), Ended> {
        let begun = self.ending.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ending.told.wait_timeout_while(begun, RETRY, |begun| !*begun);
        let (begun, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *begun { Err(Ended) } else { Ok(()) }
    }

    /// Ends all waiting, now and later.
    pub(crate) fn end(&self) {
        *self.ending.begun.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ending.told.notify_all();
    }
}
