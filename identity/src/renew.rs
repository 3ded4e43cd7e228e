//! Keeps a node's certificate fresh for as long as the node runs.
//!
//! Renews at a random point between 50 and 80 % of the certificate's life, or at once when a session with a
//! manager says so: the role has changed, or the cluster turns to another root. A new role is then seen by all
//! that follow the credentials, without a restart.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_base::random::SharedRandom;
use shoal_model::Timestamp;
use shoal_model::error::Chain;
use tokio::sync::Notify;

use crate::keeper::Keeper;
use crate::{join, renewal};

/// Clocks may be set while a wait runs, so that no wait is longer.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Where managers are.
pub trait Managers: Debug + Send + Sync + 'static {
    /// Addresses, best first.
    fn addresses(&self) -> Vec<String>;
}

/// Renews one node's certificate.
#[derive(Debug)]
pub struct Renewer {
    /// Whose.
    pub keeper: Keeper,
    /// Where managers are.
    pub managers: Arc<dyn Managers>,
    /// Wakes the loop to renew at once.
    pub now: Arc<Notify>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub random: SharedRandom,
}

impl Renewer {
    /// Runs until it is dropped.
    ///
    /// # Cancel safety
    /// Dropping the future gives up an attempt; what the node has stays.
    pub async fn run(self) {
        loop {
            self.wait().await;
            let mut failures = 0;
            while let Err(error) = self.attempt().await {
                failures += 1;
                let wait = renewal::retry_after(failures);
                tracing::warn!(error = %Chain(&error), ?wait, "failed to renew the certificate");
                self.clock.sleep(wait).await;
            }
            let current = self.keeper.credentials().current();
            let (role, until) = (current.identity.role, current.facts.not_after.seconds());
            tracing::info!(?role, until, "renewed the certificate");
        }
    }

    /// Waits until it is time, or somebody says so.
    async fn wait(&self) {
        let facts = self.keeper.credentials().current().facts.clone();
        let due = renewal::at(facts.not_before, facts.not_after, self.random.as_ref());
        loop {
            let left = due.since(self.clock.now()).min(LOOK_AGAIN);
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = self.now.notified() => return,
                () = self.clock.sleep(left) => {}
            }
        }
    }

    async fn attempt(&self) -> Result<(), join::Error> {
        let managers = self.managers.addresses();
        if self.expires() <= self.clock.now() {
            join::renew_running_expired(&self.keeper, &managers).await
        } else {
            join::renew(&self.keeper, &managers).await
        }
    }

    fn expires(&self) -> Timestamp {
        self.keeper.credentials().current().facts.not_after
    }
}
