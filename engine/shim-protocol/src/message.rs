//! Requests, responses and events.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{TerminalSize, UserLookup};
use crate::spec;
use crate::state::Exit;

/// What the engine asks. One response follows each request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Agrees on a version; answered by [`Response::Hello`]. Optional with version 1.
    Hello {
        /// Versions the engine speaks.
        versions: Vec<u32>,
    },
    /// Makes the container, blocked before its exec; answered by [`Response::Created`].
    Create,
    /// Releases a created container; answered by [`Response::Started`] once the exec succeeded. A
    /// failure removes the container again.
    Start,
    /// `Create` and `Start` in one; answered by [`Response::Started`].
    Run,
    /// Answered by [`Response::State`].
    State,
    /// Pids of all processes of the container, in the shim's pid namespace; answered by
    /// [`Response::Pids`].
    Pids,
    /// Signals the init process, or every process of the container.
    Kill {
        /// Signal number.
        signal: i32,
        /// To all processes.
        #[serde(default)]
        all: bool,
    },
    /// Signals the process of an exec.
    KillExec {
        /// The exec.
        exec: String,
        /// Signal number.
        signal: i32,
    },
    /// Freezes all processes.
    Pause,
    /// Thaws them.
    Resume,
    /// Changes limits; only the given fields.
    Update {
        /// New limits.
        resources: Box<spec::Resources>,
    },
    /// Sets the size of a terminal.
    Resize {
        /// The exec; `None`: the init process.
        #[serde(default)]
        exec: Option<String>,
        /// New size.
        size: TerminalSize,
    },
    /// Attaches to the init process, or to an exec; answered by [`Response::Attached`], then a stream.
    Attach {
        /// The exec; `None`: the init process.
        #[serde(default)]
        exec: Option<String>,
        /// Which streams.
        streams: Streams,
    },
    /// Closes standard input for good.
    CloseStdin {
        /// The exec; `None`: the init process.
        #[serde(default)]
        exec: Option<String>,
    },
    /// Runs a process in the container; answered by [`Response::ExecStarted`], then a stream when
    /// `attach` is given.
    Exec(Box<Exec>),
    /// Answered by [`Response::ExecState`].
    ExecState {
        /// The exec.
        exec: String,
    },
    /// Forgets an exec that ended.
    ExecDelete {
        /// The exec.
        exec: String,
    },
    /// Turns the connection into a stream of [`Event`] frames, after [`Response::Subscribed`].
    Subscribe,
    /// Keeps the file descriptors that come with this frame, one per name, replacing older ones.
    PutFds {
        /// Their names.
        names: Vec<String>,
    },
    /// Gives copies back; answered by [`Response::Fds`] with the descriptors in the order of its
    /// names. Unknown names are left out.
    GetFds {
        /// Names; empty: all.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Closes kept file descriptors; unknown names are ignored.
    DropFds {
        /// Names; empty: all.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Ends the shim after its container has ended (or never was made). Refused with
    /// [`FailureKind::Conflict`] while the container lives, unless `kill` is set.
    Shutdown {
        /// Kill the container first.
        #[serde(default)]
        kill: bool,
    },
}

/// Streams of an attachment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Client → process.
    #[serde(default)]
    pub stdin: bool,
    /// Process → client.
    #[serde(default)]
    pub stdout: bool,
    /// Process → client. Of a terminal: nothing comes here.
    #[serde(default)]
    pub stderr: bool,
}

/// A process to run in the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// Its id.
    pub id: String,
    /// What to run. `process.terminal` decides about a terminal.
    pub process: spec::Process,
    /// See [`crate::config::ShimConfig::user`].
    #[serde(default)]
    pub user: Option<UserLookup>,
    /// Keep standard input open for clients (else `/dev/null`).
    #[serde(default)]
    pub open_stdin: bool,
    /// Attach this connection from the first byte.
    #[serde(default)]
    pub attach: Option<Streams>,
}

/// What the shim answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Response {
    /// Done.
    Done,
    /// The agreed version.
    Hello {
        /// Protocol version.
        version: u32,
        /// Release of the shim.
        release: String,
    },
    /// The container exists, blocked.
    Created {
        /// Init process.
        pid: u32,
    },
    /// The container runs.
    Started {
        /// Init process.
        pid: u32,
        /// Nanoseconds since 1970.
        started_at_ns: i64,
    },
    /// State of the container.
    State(Box<State>),
    /// Its processes.
    Pids {
        /// Pids, ascending.
        pids: Vec<u32>,
    },
    /// The stream follows.
    Attached {
        /// The stream is a terminal: raw bytes.
        tty: bool,
    },
    /// An exec runs. When it was to be attached, the stream follows.
    ExecStarted {
        /// Its process.
        pid: u32,
        /// The stream is a terminal: raw bytes.
        tty: bool,
    },
    /// State of an exec.
    ExecState(ExecState),
    /// Events follow; this is the state they continue.
    Subscribed(Box<State>),
    /// Kept file descriptors, attached to this frame.
    Fds {
        /// Their names, in order.
        names: Vec<String>,
    },
    /// It failed; nothing changed unless the request says so.
    Failed(Failure),
}

/// State of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Where in its life.
    pub phase: Phase,
    /// All its processes are frozen.
    pub paused: bool,
    /// Init process, while it lives.
    pub pid: Option<u32>,
    /// Nanoseconds since 1970.
    pub started_at_ns: Option<i64>,
    /// Directories of its cgroups, for statistics: controllers (v1; `unified` for v2) and path.
    pub cgroups: Vec<CgroupPath>,
    /// Execs not yet deleted.
    pub execs: Vec<ExecState>,
    /// Log records that could not be written.
    pub log_records_dropped: u64,
}

/// One cgroup of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPath {
    /// `memory`, `cpu,cpuacct`, `name=systemd` … or `unified`.
    pub controllers: String,
    /// Directory on the host.
    pub path: PathBuf,
}

/// Where in its life a container is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Phase {
    /// Nothing was made yet.
    New,
    /// Made and blocked.
    Created,
    /// Its program runs.
    Running,
    /// It ended.
    Exited(Exit),
    /// It could not be made or started.
    Failed(Failure),
}

/// State of an exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// Its id.
    pub id: String,
    /// Its process.
    pub pid: u32,
    /// How it ended; `None` while it runs.
    pub exit: Option<Exit>,
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The container's program runs.
    Started {
        /// Init process.
        pid: u32,
        /// Nanoseconds since 1970.
        started_at_ns: i64,
    },
    /// The memory killer struck; the init process may still live.
    Oom,
    /// The init process ended. The outcome is on disk already.
    Exited(Exit),
    /// An exec ended.
    ExecExited {
        /// The exec.
        exec: String,
        /// How.
        exit: Exit,
    },
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Kind, for decisions.
    pub kind: FailureKind,
    /// For people; for the kinds of a program that cannot run it is what runc prints after
    /// `unable to start container process: `, e.g. `exec: "foo": executable file not found in $PATH`.
    pub message: String,
    /// The kernel's error number, if it was its.
    #[serde(default)]
    pub errno: Option<i32>,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The configuration or request makes no sense; the message names the field.
    InvalidArgument,
    /// No such exec.
    NotFound,
    /// Not possible in this phase.
    Conflict,
    /// This shim or host cannot do it.
    NotImplemented,
    /// The program does not exist: docker's exit code 127.
    CommandNotFound,
    /// The program cannot be run: docker's exit code 126.
    CommandNotExecutable,
    /// The user or group is unknown in the container: docker's exit code 126.
    UnknownUser,
    /// A log driver could not be started.
    LogDriver,
    /// A mount could not be made: source or target is named.
    Mount,
    /// Anything else.
    Internal,
}

impl FailureKind {
    /// Exit code docker gives a container or exec that failed so.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::CommandNotFound => 127,
            Self::CommandNotExecutable | Self::UnknownUser => 126,
            Self::InvalidArgument
            | Self::NotFound
            | Self::Conflict
            | Self::NotImplemented
            | Self::LogDriver
            | Self::Mount
            | Self::Internal => 128,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
