//! When raft snapshots are taken and entries purged.
//!
//! openraft could do it, with settings fixed at start; `swarm update` changes them while it runs.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use shoal_model::cluster::manager::RaftConfig;
use tokio::sync::watch;

use crate::handle::Core;
use crate::settings;
use crate::snapshot::store::SnapshotStore;

/// The settings that may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Entries between snapshots.
    pub(crate) interval: u64,
    /// Older snapshots kept.
    pub(crate) keep_old: u64,
    /// Entries kept behind a snapshot.
    pub(crate) keep_entries: u64,
    /// Fixed at start.
    pub(crate) election_timeout: Duration,
}

impl Policy {
    pub(crate) fn new(config: &RaftConfig) -> Self {
        let election_timeout = settings::election_timeout(config);
        let mut policy = Self { interval: 1, keep_old: 0, keep_entries: 0, election_timeout };
        policy.update(config);
        policy
    }

    pub(crate) fn update(&mut self, config: &RaftConfig) {
        self.interval = config.snapshot_interval.max(1);
        self.keep_old = config.keep_old_snapshots.unwrap_or(0);
        self.keep_entries = config.entries_for_slow_followers;
    }
}

/// Whether a snapshot is due. Indexes count from zero.
fn due(applied: Option<u64>, snapshot: Option<u64>, interval: u64) -> bool {
    let applied = applied.map_or(0, |index| index + 1);
    let snapshot = snapshot.map_or(0, |index| index + 1);
    applied >= snapshot.saturating_add(interval)
}

/// The last entry to purge, given the newest snapshot; `None`: nothing new.
fn purge_upto(snapshot: Option<u64>, purged: Option<u64>, keep: u64) -> Option<u64> {
    let upto = snapshot?.checked_sub(keep)?;
    (purged.is_none_or(|purged| upto > purged)).then_some(upto)
}

/// Runs on the raft threads until consensus stops.
pub(crate) fn spawn(
    core: &Core,
    snapshots: SnapshotStore,
    mut applied: watch::Receiver<Option<u64>>,
    mut policy: watch::Receiver<Policy>,
) {
    let core = core.clone();
    let mut metrics = core.metrics();
    let run = async move {
        // What was asked for last: a snapshot takes a while, and is not asked for twice.
        let mut asked = None;
        loop {
            let now = *policy.borrow_and_update();
            snapshots.keep_old(now.keep_old);
            let (snapshot, purged) = {
                let metrics = metrics.borrow_watched();
                (metrics.snapshot, metrics.purged)
            };
            let (snapshot, purged) = (snapshot.map(|id| id.index()), purged.map(|id| id.index()));
            let seen = *applied.borrow_and_update();
            if due(seen, snapshot.max(asked), now.interval) {
                asked = seen;
                if core.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            if let Some(upto) = purge_upto(snapshot, purged, now.keep_entries)
                && core.trigger().purge_log(upto).await.is_err()
            {
                return;
            }
            let changed = tokio::select! {
                changed = applied.changed() => changed.is_ok(),
                changed = policy.changed() => changed.is_ok(),
                changed = metrics.changed() => changed.is_ok(),
            };
            if !changed {
                return;
            }
        }
    };
    settings::spawn(run);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_after_so_many_entries() {
        assert!(!due(None, None, 1));
        assert!(due(Some(0), None, 1));
        assert!(!due(Some(98), None, 100));
        assert!(due(Some(99), None, 100));
        assert!(!due(Some(199), Some(100), 100));
        assert!(due(Some(200), Some(100), 100));
        assert!(!due(Some(5), Some(5), u64::MAX));
    }

    #[test]
    fn entries_for_slow_followers_stay() {
        assert_eq!(purge_upto(None, None, 0), None);
        assert_eq!(purge_upto(Some(10), None, 0), Some(10));
        assert_eq!(purge_upto(Some(10), Some(10), 0), None);
        assert_eq!(purge_upto(Some(1000), Some(10), 500), Some(500));
        assert_eq!(purge_upto(Some(100), None, 500), None);
    }
}
