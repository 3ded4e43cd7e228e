//! Membership that is on disk taken up again, and tried again where what stops it may pass.

use std::sync::Arc;
use std::time::Duration;

use shoal_base::tasks::TaskKind;
use shoal_identity::{Keeper, UnlockKey, chain, credentials, files, join};
use shoal_model::error::{Chain, ErrorKind, Failure};

use super::record::Record;
use super::{Current, Host};

/// Between attempts to take up a membership that could not be.
const MEND_AGAIN: Duration = Duration::from_secs(5);

/// What came of an attempt to take up a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The node is a member, or what stops it stays.
    Over,
    /// Another attempt may succeed.
    MayPass,
}

impl Host {
    /// Runs as the member that is on disk.
    pub(super) async fn resume(self: &Arc<Self>, record: Record, unlock: Option<UnlockKey>) {
        let attempt = self.attempt(record.clone(), unlock.clone()).await;
        if attempt == Attempt::MayPass {
            self.go_on_mending(record, unlock);
        }
    }

    /// Tries to run as the member that is on disk, once.
    async fn attempt(self: &Arc<Self>, record: Record, unlock: Option<UnlockKey>) -> Attempt {
        match self.try_resume(record, unlock).await {
            Ok(Current::Member(member)) => {
                self.adopt(member);
                Attempt::Over
            }
            Ok(current) => {
                let expired = matches!(current, Current::Broken { expired: true, .. });
                self.set(current);
                if expired { Attempt::MayPass } else { Attempt::Over }
            }
            Err(error) => {
                tracing::error!(%error, "membership of the cluster is broken");
                let may_pass = error.kind() == ErrorKind::Unavailable;
                self.set(Current::Broken { message: error.chain(), expired: false });
                if may_pass { Attempt::MayPass } else { Attempt::Over }
            }
        }
    }

    /// Tries again what may pass: a full disk, an expired certificate while no manager can be reached.
    fn go_on_mending(self: &Arc<Self>, record: Record, unlock: Option<UnlockKey>) {
        let host = Arc::clone(self);
        self.tasks.spawn(TaskKind::WorkerSession, async move {
            loop {
                host.around.clock.sleep(MEND_AGAIN).await;
                let _permit = host.permit().await;
                if !matches!(host.current(), Current::Broken { .. }) {
                    return;
                }
                if host.attempt(record.clone(), unlock.clone()).await == Attempt::Over {
                    return;
                }
            }
        });
    }

    async fn try_resume(
        &self,
        record: Record,
        unlock: Option<UnlockKey>,
    ) -> Result<Current, Failure> {
        let stored = match self.files.load(unlock.as_ref()) {
            Err(files::Error::Locked) => return Ok(Current::Locked),
            loaded => loaded?,
        };
        let Some(stored) = stored else {
            return Err(Failure::new(ErrorKind::DataLoss, "the node's certificate is missing"));
        };
        let files = self.files.clone();
        let clock = self.around.clock.clone();
        let keeper = match Keeper::new(files, stored, unlock.clone(), clock) {
            Err(credentials::Error::Chain(error @ chain::Error::Expired { .. })) => {
                return self.renew_expired(record, unlock, &error).await;
            }
            keeper => keeper?,
        };
        self.run(keeper, record).await
    }

    /// A node that was off for longer than its certificate's life proves its old key.
    async fn renew_expired(
        &self,
        record: Record,
        unlock: Option<UnlockKey>,
        error: &chain::Error,
    ) -> Result<Current, Failure> {
        tracing::warn!(error = %Chain(error), "renewing the node's expired certificate");
        let Some(stored) = self.files.load(unlock.as_ref())? else {
            return Err(Failure::new(ErrorKind::DataLoss, "the node's certificate is missing"));
        };
        let renewed =
            join::renew_expired(&self.files, &stored, &record.remotes, &self.around.clock).await;
        match renewed {
            Ok(keeper) => self.run(keeper, record).await,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the expired certificate was not renewed");
                let message = Chain(&error).to_string();
                Ok(Current::Broken { message, expired: true })
            }
        }
    }
}
