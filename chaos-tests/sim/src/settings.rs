//! What is not the same in all runs: the cluster's settings, and how much its users do.

use std::time::Duration;

use shoal_base::random::Numbers;
use shoal_model::cluster::manager::RaftConfig;

/// Ticks before an election, for each between heartbeats.
const ELECTION_TICKS: u32 = 6;

fn one_of<T: Copy, const N: usize>(numbers: &mut Numbers, choices: [T; N]) -> T {
    let index = usize::try_from(numbers.below(N as u64)).unwrap_or(0);
    choices[index]
}

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
        let heartbeat_ticks = one_of(&mut numbers, [1, 2, 5]);
        let snapshot_interval = 40 + numbers.below(200);
        let kept_entries = numbers.below(40);
        // Most runs are as busy as they must be to mean something, so that more can be run.
        let pause = match numbers.below(64) {
            0 => 700,
            1 | 2 => 2_000,
            _ => 7_500,
        };
        Self {
            heartbeat_ticks,
            snapshot_interval,
            kept_entries,
            pause: Duration::from_millis(pause),
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
