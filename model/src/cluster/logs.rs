//! Logs of services and tasks.

use super::{NodeId, ServiceId, TaskId};
use crate::Timestamp;

/// What a client wants to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on with what comes.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Only later lines.
    pub since: Option<Timestamp>,
    /// Last lines of each task; `None`: all.
    pub tail: Option<u64>,
}

/// A line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it comes from.
    pub origin: LogOrigin,
    /// When it was written.
    pub at: Timestamp,
    /// Whether it was written to standard error.
    pub is_error: bool,
    /// With its line feed.
    pub line: Vec<u8>,
    /// Further attributes of the log driver.
    pub details: Vec<(String, String)>,
}

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LogOrigin {
    pub node: NodeId,
    /// `None`: the task has no service.
    pub service: Option<ServiceId>,
    pub task: TaskId,
}
