//! What is not the same in all runs: the cluster's settings, and how much its users do.

use std::time::Duration;

use shoal_base::random::Numbers;
use shoal_model::cluster::manager::RaftConfig;

/// Ticks before an election, for each between heartbeats.
const ELECTION_TICKS: u32 = 6;

/// Of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Ticks between heartbeats of the leader; six times as many may pass before an election.
    pub heartbeat_ticks: u32,
    /// Entries between two raft snapshots.
    pub snapshot_interval: u64,
    /// Entries behind a snapshot that are kept: few, so that members that were away get the snapshot.
    pub kept_entries: u64,
    /// The longest that a user does nothing.
    pub pause: Duration,
}

impl Settings {
    /// Much happens, and soon.
    pub const BUSY: Self = Self {
        heartbeat_ticks: 1,
        snapshot_interval: 120,
        kept_entries: 20,
        pause: Duration::from_millis(700),
    };

    /// Those of a seed.
    pub fn of(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed ^ 0x5e77_1265);
        let pauses = [700, 1_500, 2_500];
        let pause = usize::try_from(numbers.below(pauses.len() as u64)).unwrap_or(0);
        Self {
            heartbeat_ticks: 1 + u32::try_from(numbers.below(3)).unwrap_or(0),
            snapshot_interval: 40 + numbers.below(200),
            kept_entries: numbers.below(40),
            pause: Duration::from_millis(pauses[pause]),
        }
    }

    /// As the cluster has them.
    pub fn raft(&self) -> RaftConfig {
        RaftConfig {
            heartbeat_tick: self.heartbeat_ticks,
            election_tick: ELECTION_TICKS * self.heartbeat_ticks,
            snapshot_interval: self.snapshot_interval,
            entries_for_slow_followers: self.kept_entries,
            ..RaftConfig::default()
        }
    }
}
