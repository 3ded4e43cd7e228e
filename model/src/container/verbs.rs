//! What verbs on containers take and give.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::filters::ContainerFilters;
use crate::image::Platform;
use crate::{ContainerId, Timestamp};

use super::{ContainerSpec, Resources, RestartPolicy};

/// Create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// Without the leading slash; `None`: chosen.
    pub name: Option<String>,
    /// Wanted platform of the image.
    pub platform: Option<Platform>,
    /// The wish.
    pub spec: ContainerSpec,
}

/// What create made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Id.
    pub id: ContainerId,
    /// Remarks for the user.
    pub warnings: Vec<String>,
}

/// Which containers to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// At most so many, the latest; implies `all`.
    pub limit: Option<usize>,
    /// Compute sizes.
    pub size: bool,
    /// Only these.
    pub filters: ContainerFilters,
}

/// How to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// `None`: the container's.
    pub signal: Option<String>,
    /// Seconds before SIGKILL; `None`: the container's; negative: wait for ever.
    pub timeout: Option<i64>,
}

/// How to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Also its anonymous volumes.
    pub volumes: bool,
    /// Kill it first.
    pub force: bool,
    /// Remove the legacy link of this name, not the container.
    pub link: bool,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitCondition {
    /// It does not run (at once when it never did).
    #[default]
    NotRunning,
    /// Its next exit.
    NextExit,
    /// It is removed.
    Removed,
}

/// How a wait ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitOutcome {
    /// Exit code.
    pub code: i64,
    /// Why there is none; a failed start or removal.
    pub error: Option<String>,
}

/// Changes to a running container; `None` keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateRequest {
    /// Limits. Zero, empty and `None` keep the present value.
    pub resources: Resources,
    /// Restart policy.
    pub restart_policy: Option<RestartPolicy>,
}

/// Commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitRequest {
    /// The container.
    pub container: String,
    /// Name of the image; `None`: none.
    pub reference: Option<crate::Reference>,
    /// Message.
    pub comment: String,
    /// Author.
    pub author: String,
    /// Freeze it meanwhile.
    pub pause: bool,
    /// Dockerfile instructions, one each.
    pub changes: Vec<String>,
    /// Values that replace those of the container's spec.
    pub overrides: Option<crate::image::ImageDefaults>,
}

/// `docker top`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopResult {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row for each process.
    pub processes: Vec<Vec<String>>,
}

/// One changed path of a container's file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathChange {
    /// Absolute, in the container.
    pub path: String,
    /// How.
    pub kind: PathChangeKind,
}

/// How a path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum PathChangeKind {
    Modified,
    Added,
    Deleted,
}

/// A file in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStat {
    /// Last component.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// `st_mode`: type and permission bits of the kernel.
    pub mode: u32,
    /// Last modification.
    pub modified: Timestamp,
    /// Target of a symbolic link, resolved within the container; else empty.
    pub link_target: String,
}

/// How to unpack an archive into a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivePutOptions {
    /// Refuse to replace a directory by a file or the reverse.
    pub no_overwrite_dir_non_dir: bool,
    /// Keep the archive's owners.
    pub copy_uid_gid: bool,
}

/// What prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids or names.
    pub removed: Vec<String>,
    /// Bytes.
    pub reclaimed: u64,
}

/// Which output a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum OutputKind {
    Stdout,
    Stderr,
}

/// A chunk of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Which; a terminal has stdout only.
    pub kind: OutputKind,
    /// Never empty.
    pub bytes: Vec<u8>,
}

/// What an attached client sends to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Bytes for stdin.
    Data(Vec<u8>),
    /// The client's stdin ended. A channel that closes without it means that the client vanished.
    End,
    /// The client typed the detach keys; stdin stays open.
    Detached,
}

/// How to attach to a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachOptions {
    /// First what was logged so far.
    pub logs: bool,
    /// Then what comes. Without it the stream ends after the logs.
    pub stream: bool,
    /// Send input.
    pub stdin: bool,
    /// Receive stdout.
    pub stdout: bool,
    /// Receive stderr.
    pub stderr: bool,
}

/// Which log records a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// stdout.
    pub stdout: bool,
    /// stderr.
    pub stderr: bool,
    /// Go on with what comes until the container ends.
    pub follow: bool,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Only the last so many; `None`: all.
    pub tail: Option<usize>,
}

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// When it was read from the process.
    pub at: Timestamp,
    /// From which output.
    pub kind: OutputKind,
    /// With its newline, when it had one.
    pub line: Vec<u8>,
    /// `--log-opt labels, env, tag`, shown with `--details`.
    pub attributes: BTreeMap<String, String>,
}
