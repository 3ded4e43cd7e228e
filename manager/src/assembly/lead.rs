//! What only the leader does, for as long as it leads.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use shoal_base::random::SharedRandom;
use shoal_base::{Clock, SharedClock};
use shoal_identity::Credentials;
use shoal_manager_raft::Raft;
use tokio::sync::watch;

use crate::ca::CaStore;
use crate::ca::signing::Signing;
use crate::ca::turn::Turn;
use crate::consensus::Leadership;
use crate::control::RandomIds;
use crate::dispatcher::Dispatcher;
use crate::store::Store;
use crate::{allocate, feature, orchestrate, schedule};

use super::roles;

/// Before a leader that cannot read tries again: one whose consensus has stopped is told so at once.
const AGAIN: Duration = Duration::from_millis(200);

/// The leader's duties.
pub(super) struct Leader {
    pub(super) store: Store,
    pub(super) raft: Raft,
    pub(super) authority: Arc<dyn CaStore>,
    pub(super) dispatcher: Dispatcher,
    pub(super) credentials: Credentials,
    pub(super) clock: SharedClock,
    pub(super) random: SharedRandom,
    /// Whether what it leads is in order; see [`super::Manager::take_over`].
    pub(super) ready: watch::Receiver<bool>,
}

impl Leader {
    /// Runs until it is dropped: the duties begin with each term in which this manager leads and end with it.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: all progress of the duties is in the store.
    pub(super) async fn run(mut self) {
        if self.ready.wait_for(|ready| *ready).await.is_err() {
            return;
        }
        let mut leadership = self.store.leadership();
        loop {
            let term = {
                let now = leadership.borrow_and_update();
                now.is_self.then_some(now.term)
            };
            let Some(term) = term else {
                if leadership.changed().await.is_err() {
                    return;
                }
                continue;
            };
            // What was committed by earlier leaders must be seen before anything is decided.
            if let Err(error) = self.store.read().await {
                tracing::info!(term, error = %shoal_model::error::Chain(&error), "leads, but cannot read yet");
                if !wait(&mut leadership, &*self.clock).await {
                    return;
                }
                continue;
            }
            tracing::info!(term, "leads the cluster");
            let mut duties: FuturesUnordered<_> = self.duties().into_iter().collect();
            let still_leads = |now: &Leadership| now.is_self && now.term == term;
            tokio::select! {
                _ = leadership.wait_for(|now| !still_leads(now)) => {}
                // A duty only ends when the store is gone.
                _ = duties.next() => {}
            }
            tracing::info!(term, "leads no more");
        }
    }

    async fn orchestrate(&self) {
        let mut ids = RandomIds(self.random.clone());
        match orchestrate::run(self.store.clone(), self.clock.clone(), &mut ids).await {}
    }

    fn duties(&self) -> Vec<BoxFuture<'_, ()>> {
        let signing = Signing {
            store: self.authority.clone(),
            credentials: self.credentials.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        let turn = Turn {
            store: self.authority.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
        };
        vec![
            Box::pin(signing.run()),
            Box::pin(turn.run()),
            Box::pin(self.dispatcher.lead()),
            Box::pin(roles::run(&self.store, &self.raft, &self.clock)),
            Box::pin(feature::run(&self.store, &self.clock)),
            Box::pin(allocate::run(self.store.clone(), self.clock.clone())),
            Box::pin(schedule::run(self.store.clone(), self.clock.clone())),
            Box::pin(self.orchestrate()),
        ]
    }
}

/// Waits for other leadership, or a little. `false`: there is no consensus any more.
async fn wait(leadership: &mut watch::Receiver<Leadership>, clock: &dyn Clock) -> bool {
    tokio::select! {
        changed = leadership.changed() => changed.is_ok(),
        () = clock.sleep(AGAIN) => true,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use shoal_base::SystemClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_read_waits_before_it_tries_again() {
        let (sender, mut leadership) = watch::channel(Leadership::default());
        assert_eq!(wait(&mut leadership, &SystemClock).now_or_never(), None);
        assert!(wait(&mut leadership, &SystemClock).await);
        sender.send_modify(|now| now.term = 1);
        assert_eq!(wait(&mut leadership, &SystemClock).now_or_never(), Some(true));
        drop(sender);
        assert_eq!(wait(&mut leadership, &SystemClock).now_or_never(), Some(false));
    }
}
