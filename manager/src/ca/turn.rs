//! Drives the turn to another root. Runs on the leader.

use std::sync::Arc;
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_base::random::SharedRandom;
use shoal_model::cluster::Cluster;
use shoal_model::error::{ErrorKind, Failure};

use super::rotation::{self, Step};
use super::{CaStore, Change};

/// Between two steps.
const PERIOD: Duration = Duration::from_secs(3);

/// The leader's turn.
#[derive(Debug)]
pub struct Turn {
    /// Where the turn is.
    pub store: Arc<dyn CaStore>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub random: SharedRandom,
}

impl Turn {
    /// Runs until it is dropped, which is when leadership ends.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next leader plans from the store.
    pub async fn run(self) {
        let mut follow = self.store.follow();
        loop {
            follow.borrow_and_update();
            let turning =
                self.store.cluster().is_some_and(|cluster| cluster.root.rotation.is_some());
            if !turning {
                if follow.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.step().await {
                Ok(()) => {}
                Err(failure) if failure.kind() == ErrorKind::Conflict => continue,
                Err(failure) => tracing::warn!(error = %failure, "failed to turn to the new root"),
            }
            self.clock.sleep(PERIOD).await;
        }
    }

    async fn step(&self) -> Result<(), Failure> {
        let Some(cluster) = self.store.cluster() else { return Ok(()) };
        match rotation::plan(&cluster, &self.store.nodes()) {
            Step::Wait => Ok(()),
            Step::Tell(nodes) => {
                tracing::info!(nodes = nodes.len(), "telling nodes to renew for the new root");
                let changes = nodes.into_iter().map(|node| Change::Node(Arc::new(node)));
                self.store.commit(changes.collect()).await
            }
            Step::Finish => {
                let root = rotation::finished(&cluster.root, self.random.as_ref());
                let after = Cluster { root, ..Cluster::clone(&cluster) };
                self.store.commit(vec![Change::Cluster(Arc::new(after))]).await?;
                tracing::info!("the cluster has turned to the new root");
                Ok(())
            }
        }
    }
}
