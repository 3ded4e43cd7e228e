//! What a container is doing.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The phase of a container: exactly one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Never started.
    Created,
    /// Its init process runs.
    Running,
    /// Frozen.
    Paused,
    /// It exited and its policy will start it again.
    Restarting,
    /// It is being removed.
    Removing,
    /// Its init process ended.
    Exited,
    /// Removal failed half-way.
    Dead,
}

impl Phase {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// From docker's word.
    pub fn parse(word: &str) -> Option<Self> {
        use Phase::*;
        [Created, Running, Paused, Restarting, Removing, Exited, Dead]
            .into_iter()
            .find(|phase| phase.as_str() == word)
    }

    /// Whether an init process exists.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// How an init process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// As a shell shows it: the code, or 128 + signal; 126, 127, 128 when it could not be started.
    pub code: i32,
    /// Whether the kernel killed for memory.
    pub oom_killed: bool,
    /// When.
    pub at: Timestamp,
}

/// The observed state of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The phase.
    pub phase: Phase,
    /// Pid of the init process on the host; zero when none.
    pub pid: i32,
    /// Last start.
    pub started: Option<Timestamp>,
    /// Last exit.
    pub exit: Option<ExitStatus>,
    /// Error text of the last failed start, empty when none.
    pub error: String,
    /// Health, when a check is configured.
    pub health: Option<HealthState>,
}

/// Result of the health checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthState {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last five probes, oldest first.
    pub log: Vec<HealthProbe>,
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docker's words")]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthProbe {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// 0 healthy, 1 unhealthy, −1 timed out.
    pub exit_code: i32,
    /// At most 4096 bytes of its output.
    pub output: String,
}
