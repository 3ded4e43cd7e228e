//! Files a shim leaves on disk: the outcome of a container (durable) and its state (run directory).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::message::Failure;

/// Newest format of [`OutcomeFile`].
pub const OUTCOME_FORMAT: u32 = 1;
/// Newest format of [`StateFile`].
pub const STATE_FORMAT: u32 = 1;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Pid in the shim's pid namespace.
    pub pid: u32,
    /// Exit code as docker shows it: 128 + signal for a killed process.
    pub code: u8,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// The kernel's memory killer struck in the container's cgroup. For an exec: always `false`.
    #[serde(default)]
    pub oom_killed: bool,
    /// Nanoseconds since 1970; 0 when it is unknown, because the shim was killed.
    pub started_at_ns: i64,
    /// Nanoseconds since 1970.
    pub finished_at_ns: i64,
}

/// The end of a container, written atomically to [`crate::config::ShimConfig::outcome_file`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeFile {
    /// [`OUTCOME_FORMAT`] of the writer.
    pub format: u32,
    /// The container.
    pub container: String,
    /// What happened.
    pub outcome: Outcome,
}

/// What became of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    /// Its init process ran and ended.
    Exited(Exit),
    /// It never ran.
    StartFailed(Failure),
}

/// What someone needs to clean up after a shim that was killed: `state.json` in the run directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// [`STATE_FORMAT`] of the writer.
    pub format: u32,
    /// The container.
    pub container: String,
    /// The shim.
    pub shim: ProcessId,
    /// The init process, once it exists.
    #[serde(default)]
    pub init: Option<ProcessId>,
    /// Start of the init process in nanoseconds since 1970.
    #[serde(default)]
    pub started_at_ns: Option<i64>,
    /// Directories made in the cgroup hierarchies.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
}

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Pid.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: start in clock ticks since boot.
    pub start_ticks: u64,
}
