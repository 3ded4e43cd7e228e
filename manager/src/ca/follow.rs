//! Keeps this manager's own identity as the store says: roots to trust, lock, removed nodes.

use std::sync::Arc;

use shoal_identity::keeper::{Keeper, Lock};
use shoal_identity::{UnlockKey, keeper};
use shoal_model::cluster::Cluster;
use shoal_model::error::Chain;

use super::{CaStore, issue, revocation};

/// Runs on every manager until it is dropped.
///
/// # Cancel safety
/// Dropping the future loses nothing: the next run looks at everything again.
pub async fn run(store: Arc<dyn CaStore>, keeper: Keeper) {
    let mut follow = store.follow();
    loop {
        follow.borrow_and_update();
        if let Some(cluster) = store.cluster() {
            keeper.credentials().revoke(revocation::revoked(&cluster));
            if let Err(error) = apply(&cluster, &keeper) {
                tracing::warn!(error = %Chain(&error), "failed to follow the cluster's authority");
            }
        }
        if follow.changed().await.is_err() {
            return;
        }
    }
}

fn apply(cluster: &Cluster, keeper: &Keeper) -> Result<(), keeper::Error> {
    keeper.trust(&issue::trust_bundle(&cluster.root))?;
    match UnlockKey::from_bytes(&cluster.unlock_key) {
        Some(key) if keeper.is_locked_by(&key) => Ok(()),
        Some(key) => keeper.lock(Some(Lock { key, version: cluster.unlock_key_version })),
        None if keeper.is_locked() => keeper.lock(None),
        None => Ok(()),
    }
}
