//! Bounds, and openraft's settings from the cluster's.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use shoal_model::cluster::manager::RaftConfig;

use crate::StartError;

/// Bounds of this crate.
pub mod limits {
    use std::time::Duration;

    /// One tick of the cluster's raft settings.
    pub const TICK: Duration = Duration::from_millis(100);
    /// Largest entry that is proposed: below what one message carries.
    pub const ENTRY_BYTES: usize = 4 << 20;
    /// Entries of one append request stay below this, or are a single one.
    pub const APPEND_BYTES: usize = 2 << 20;
    /// Largest message that is received.
    pub const MESSAGE_BYTES: usize = 16 << 20;
    /// Log bytes that are written and synced at once.
    pub const GROUP_BYTES: usize = 4 << 20;
    /// A segment of the log is closed when it is larger.
    pub const SEGMENT_BYTES: u64 = 8 << 20;
    /// Largest record a segment may hold.
    pub const RECORD_BYTES: usize = 32 << 20;
    /// Content of one block of a snapshot file, and of one part on the wire.
    pub const SNAPSHOT_BLOCK_BYTES: usize = 256 << 10;
    /// Bytes of a snapshot that are brought to the disk at once: the log shares disk and journal with it, and its next
    /// sync would wait for all of them.
    pub const SNAPSHOT_SYNC_BYTES: usize = 1 << 20;
    /// Entries behind a snapshot that are this large together are followed by another one, however few they are, unless the
    /// snapshot is larger: the log is held in memory, and read at every start.
    pub const LOG_BYTES: u64 = 16 << 20;
    /// Bytes of entries that are kept behind a snapshot, whatever their number …
    pub const KEPT_BYTES: u64 = 4 << 20;
    /// … unless a follower still needs them and is no further behind than this: then it gets the snapshot.
    pub const FOLLOWER_BYTES: u64 = 64 << 20;
    /// Requests waiting for the log writer.
    pub const LOG_QUEUE: usize = 4096;
    /// Time a snapshot may take to be sent and installed.
    pub const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(300);
    /// A follower that answers nothing for this long is taken for unreachable.
    pub const RPC_TIMEOUT: Duration = Duration::from_millis(1500);

    const _: () = assert!(ENTRY_BYTES + APPEND_BYTES < MESSAGE_BYTES);
    const _: () = assert!(ENTRY_BYTES + GROUP_BYTES < RECORD_BYTES);
}

/// Ticks of the shortest election timeout that still leaves room for a lost heartbeat.
const MIN_ELECTION_TICKS: u32 = 3;

/// Settings openraft runs with. Snapshots and purges are ours ([`crate::compact`]), so that their
/// settings can change while it runs.
pub(crate) fn openraft_config(cluster: &RaftConfig) -> Result<Config, StartError> {
    let heartbeat = cluster.heartbeat_tick.max(1);
    if cluster.election_tick < MIN_ELECTION_TICKS || cluster.election_tick / 2 <= heartbeat {
        let reason = format!(
            "election tick {} must be at least {MIN_ELECTION_TICKS}, and its half above heartbeat tick {heartbeat}",
            cluster.election_tick
        );
        return Err(StartError::Config { reason });
    }
    let config = Config {
        cluster_name: "shoal".to_owned(),
        election_timeout_min: ticks(cluster.election_tick) / 2,
        election_timeout_max: ticks(cluster.election_tick),
        heartbeat_interval: ticks(heartbeat),
        install_snapshot_timeout: millis(limits::SNAPSHOT_TIMEOUT),
        max_payload_entries: 1024,
        replication_lag_threshold: u64::MAX,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // A member whose disk is an old copy is sent what it lost; it does not vote meanwhile (`probation`).
        allow_log_reversion: Some(true),
        // A leader that restarts asks for votes: it lost nothing, but others may have moved on.
        enable_leader_restore: Some(false),
        backoff: "50ms 100ms 200ms ...1s".to_owned(),
        ..Config::default()
    };
    config.validate().map_err(|error| StartError::Config { reason: error.to_string() })
}

/// The longest election timeout.
pub(crate) fn election_timeout(cluster: &RaftConfig) -> Duration {
    limits::TICK * cluster.election_tick
}

fn ticks(count: u32) -> u64 {
    millis(limits::TICK * count)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The threads consensus runs on: its own, so that a busy manager does not delay heartbeats.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_name("raft")
        .on_thread_start(prefer)
        .enable_all()
        .build()
        .map_err(StartError::Threads)
}

/// Nice value of the raft threads: a busy machine must not cause elections.
const NICE: i32 = -5;

/// Prefers this thread over others. Without the capability it runs like them.
pub(crate) fn prefer() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

/// Nice value of work that can wait.
const NICE_BACKGROUND: i32 = 5;

/// Runs blocking work that must not slow anything else down.
pub(crate) fn in_background<T>(work: impl FnOnce() -> T) -> T {
    if shoal_base::single::is_on() {
        return work();
    }
    let thread = Some(rustix::thread::gettid());
    let lowered = rustix::process::setpriority_process(thread, NICE_BACKGROUND);
    let result = work();
    if lowered.is_ok() {
        // Without the capability the thread, which only ever does blocking work, stays behind others.
        let _ = rustix::process::setpriority_process(thread, NICE);
    }
    result
}

/// Spawns on the raft threads. Ends with consensus.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::runtime::Handle::current().spawn(task);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_timeouts() {
        let config = openraft_config(&RaftConfig::default()).unwrap();
        assert_eq!(
            (config.election_timeout_min, config.election_timeout_max, config.heartbeat_interval),
            (300, 600, 100)
        );
    }

    #[test]
    fn an_election_tick_near_the_heartbeat_is_refused() {
        let refused = RaftConfig { election_tick: 2, ..RaftConfig::default() };
        let refused = openraft_config(&refused).unwrap_err().to_string();
        assert_eq!(
            refused,
            "invalid raft configuration: election tick 2 must be at least 3, and its half above heartbeat tick 1"
        );
    }
}
