//! When raft snapshots are taken and entries purged.
//!
//! openraft could do it, with settings fixed at start; `swarm update` changes them while it runs.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use shoal_model::cluster::manager::RaftConfig;
use tokio::sync::watch;

use crate::handle::Core;
use crate::log::store::LogStore;
use crate::settings::{self, limits};
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

/// Whether a snapshot is due because the entries since the last one take so many bytes. Writing it costs no more than
/// writing those did.
fn is_large(bytes: u64, snapshot: u64) -> bool {
    bytes >= snapshot.max(limits::LOG_BYTES)
}

/// Whether a snapshot is due. Indexes count from zero.
fn due(applied: Option<u64>, snapshot: Option<u64>, interval: u64) -> bool {
    let applied = applied.map_or(0, |index| index + 1);
    let snapshot = snapshot.map_or(0, |index| index + 1);
    applied >= snapshot.saturating_add(interval)
}

/// The first entry that there is room for. `needed`: the first that the slowest follower lacks, and the bytes from there to the
/// snapshot.
fn first_kept(fits: u64, needed: Option<(u64, u64)>) -> u64 {
    match needed {
        Some((first, bytes)) if bytes <= limits::FOLLOWER_BYTES => fits.min(first),
        _ => fits,
    }
}

/// The last entry to purge, given the newest snapshot and the first entry that there is room for; `None`: nothing new.
fn purge_upto(snapshot: Option<u64>, purged: Option<u64>, keep: u64, fits: u64) -> Option<u64> {
    let upto = snapshot?.checked_sub(keep).max(fits.checked_sub(1))?;
    (purged.is_none_or(|purged| upto > purged)).then_some(upto)
}

/// Runs on the raft threads until consensus stops.
pub(crate) fn spawn(
    core: &Core,
    log: LogStore,
    snapshots: SnapshotStore,
    mut applied: watch::Receiver<Option<u64>>,
    mut policy: watch::Receiver<Policy>,
) {
    let core = core.clone();
    let mut metrics = core.metrics();
    let run = async move {
        // The snapshot there was when one was asked for. While it is the newest, one is being written: openraft
        // ignores what is asked for meanwhile.
        let mut asked = None;
        // Purging takes a moment, too; openraft remembers how far it was asked to go.
        let mut purging = None;
        loop {
            let now = *policy.borrow_and_update();
            snapshots.keep_old(now.keep_old);
            let (snapshot, purged, needed) = {
                let metrics = metrics.borrow_watched();
                // Known to the leader only.
                let matched = metrics.replication.iter().flat_map(|of| of.values());
                let needed = matched.map(|at| at.as_ref().map_or(0, |id| id.index() + 1)).min();
                (metrics.snapshot, metrics.purged, needed)
            };
            let (snapshot, purged) = (snapshot.map(|id| id.index()), purged.map(|id| id.index()));
            let seen = *applied.borrow_and_update();
            let next = snapshot.map_or(0, |index| index + 1);
            let is_due = || {
                let bytes = seen.map_or(0, |seen| log.bytes(next..=seen));
                due(seen, snapshot, now.interval) || is_large(bytes, snapshots.size())
            };
            if asked != Some(snapshot) && is_due() {
                asked = Some(snapshot);
                if core.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            // What is gone already helps nobody.
            let needed = needed.filter(|first| purged.is_none_or(|purged| *first > purged));
            let needed = needed.map(|first| (first, log.bytes(first..next)));
            let fits = first_kept(log.first_within(next, limits::KEPT_BYTES), needed);
            if let Some(upto) = purge_upto(snapshot, purged.max(purging), now.keep_entries, fits) {
                purging = Some(upto);
                if core.trigger().purge_log(upto).await.is_err() {
                    return;
                }
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
        assert_eq!(purge_upto(None, None, 0, 0), None);
        assert_eq!(purge_upto(Some(10), None, 0, 0), Some(10));
        assert_eq!(purge_upto(Some(10), Some(10), 0, 0), None);
        assert_eq!(purge_upto(Some(1000), Some(10), 500, 11), Some(500));
        assert_eq!(purge_upto(Some(100), None, 500, 0), None);
    }

    #[test]
    fn of_large_entries_fewer_stay() {
        assert_eq!(purge_upto(Some(1000), Some(10), 500, 901), Some(900));
        assert_eq!(purge_upto(Some(1000), Some(900), 500, 901), None);
        assert_eq!(purge_upto(Some(100), None, 500, 101), Some(100));
    }

    #[test]
    fn what_a_follower_lacks_stays_unless_it_is_far_behind() {
        assert_eq!(first_kept(90, None), 90);
        assert_eq!(first_kept(90, Some((80, 1))), 80);
        assert_eq!(first_kept(90, Some((95, 0))), 90);
        assert_eq!(first_kept(90, Some((80, limits::FOLLOWER_BYTES + 1))), 90);
    }

    #[test]
    fn many_bytes_are_followed_by_a_snapshot_that_is_not_much_larger() {
        assert!(!is_large(limits::LOG_BYTES - 1, 0));
        assert!(is_large(limits::LOG_BYTES, 0));
        assert!(!is_large(2 * limits::LOG_BYTES, 3 * limits::LOG_BYTES));
        assert!(is_large(3 * limits::LOG_BYTES, 3 * limits::LOG_BYTES));
    }
}
