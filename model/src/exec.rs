//! Execs: additional processes in running containers.

use serde::{Deserialize, Serialize};

use crate::{ContainerId, ExecId};

/// What the user asks for. The engine keeps it for the next daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    /// Program and arguments, not empty.
    pub command: Vec<String>,
    /// `NAME=value`, on top of the container's.
    pub env: Vec<String>,
    /// `user[:group]`; empty: the container's.
    pub user: String,
    /// Empty: the container's.
    pub working_dir: String,
    /// With all capabilities.
    pub privileged: bool,
    /// With a terminal.
    pub tty: bool,
    /// Give it a stdin.
    pub attach_stdin: bool,
    /// Deliver its stdout.
    pub attach_stdout: bool,
    /// Deliver its stderr.
    pub attach_stderr: bool,
    /// The client's detach keys, kept for the start.
    pub detach_keys: Option<String>,
    /// Rows and columns.
    pub console_size: Option<(u32, u32)>,
}

/// How an exec is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecStart {
    /// Do not attach; return when it runs.
    pub detach: bool,
    /// Must be as the spec says.
    pub tty: bool,
    /// Rows and columns.
    pub console_size: Option<(u32, u32)>,
}

/// An exec as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecDetails {
    /// Id.
    pub id: ExecId,
    /// Its container.
    pub container: ContainerId,
    /// The wish.
    pub spec: ExecSpec,
    /// Whether its process runs.
    pub running: bool,
    /// How it ended; 126 or 127 when it could not be started.
    pub exit_code: Option<i32>,
    /// On the host; zero when it never ran.
    pub pid: i32,
    /// Whether it could still be attached to.
    pub can_remove: bool,
}
