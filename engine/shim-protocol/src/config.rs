//! What the engine tells a shim about its container, besides the OCI runtime spec: file `shim.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Newest format of [`ShimConfig`] this crate knows; a shim refuses newer ones.
pub const CONFIG_FORMAT: u32 = 1;

/// Everything about one container that the runtime spec cannot say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimConfig {
    /// [`CONFIG_FORMAT`] of the writer.
    pub format: u32,
    /// The container's id, 64 hex digits; also its name for a foreign runtime.
    pub container: String,
    /// Directory with `config.json`, the OCI runtime spec. Its `root.path` is ignored.
    pub bundle: PathBuf,
    /// What becomes the container's `/`.
    pub rootfs: Rootfs,
    /// A user to look up in the container's own `/etc/passwd` and `/etc/group`. `None`: the runtime
    /// spec's numbers are used as they are.
    #[serde(default)]
    pub user: Option<UserLookup>,
    /// Standard input, output, error.
    #[serde(default)]
    pub stdio: StdioConfig,
    /// Every sink receives every record. Empty: driver `none`.
    #[serde(default)]
    pub logs: Vec<LogSink>,
    /// Records wait in a buffer of so many bytes, and are lost when it is full. `None`: the container waits.
    #[serde(default)]
    pub log_buffer: Option<u64>,
    /// Who makes the container.
    #[serde(default)]
    pub runtime: Runtime,
    /// How cgroups are made. The path is the runtime spec's `linux.cgroupsPath`.
    #[serde(default)]
    pub cgroup_driver: CgroupDriver,
    /// Compiled filter for the shim's own runtime. Foreign runtimes take `linux.seccomp` instead; the
    /// shim refuses a spec with `linux.seccomp` when this is absent, rather than run unconfined.
    #[serde(default)]
    pub seccomp: Option<SeccompProgram>,
    /// Program bound to `/sbin/docker-init` and run as pid 1 (`--init`); the engine writes
    /// `/sbin/docker-init -- <argv>` into `process.args`. `None`: no such program. The shim itself
    /// serves: [`InitProgram::Shim`].
    #[serde(default)]
    pub init: Option<InitProgram>,
    /// Where [`crate::state::OutcomeFile`] is written; on a durable disk.
    pub outcome_file: PathBuf,
}

/// What becomes the container's `/`. Mounted in the container's mount namespace only, never visible
/// on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Rootfs {
    /// An overlay of layer directories.
    Overlay {
        /// Read-only layers, **topmost first**.
        lower: Vec<PathBuf>,
        /// Writable layer.
        upper: PathBuf,
        /// Overlay's work directory, on the file system of `upper`.
        work: PathBuf,
        /// Further options, `name` or `name=value`, e.g. `userxattr`, `volatile`.
        #[serde(default)]
        options: Vec<String>,
    },
    /// A directory.
    Directory {
        /// The directory.
        path: PathBuf,
    },
}

/// A user as docker writes it, resolved in the container's files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLookup {
    /// `name|uid[:group|gid]`; empty means root.
    pub user: String,
    /// Names or numbers of `--group-add`.
    #[serde(default)]
    pub additional_groups: Vec<String>,
}

/// Standard input, output and error of the init process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdioConfig {
    /// A terminal instead of three pipes.
    #[serde(default)]
    pub tty: bool,
    /// Keep standard input open (else it is `/dev/null`, or for a terminal, never written).
    #[serde(default)]
    pub open_stdin: bool,
    /// Close it when the first client that attached it leaves.
    #[serde(default)]
    pub stdin_once: bool,
    /// First size of the terminal.
    #[serde(default)]
    pub console_size: Option<TerminalSize>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// A place where output is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case")]
pub enum LogSink {
    /// Docker's `json-file`.
    JsonFile {
        /// The file and its rotation.
        #[serde(flatten)]
        file: LogFile,
        /// Values of the `labels`, `env` and `tag` options: field `attrs` of every line.
        #[serde(default)]
        attributes: BTreeMap<String, String>,
    },
    /// Our compact format, [`crate::local_log`].
    Local {
        /// The file and its rotation.
        #[serde(flatten)]
        file: LogFile,
    },
    /// A syslog server.
    Syslog {
        /// Where it is.
        address: SyslogAddress,
        /// Message format.
        #[serde(default)]
        format: SyslogFormat,
        /// Facility number, 0–23. Docker's default is daemon, 3.
        facility: u8,
        /// Tag of each message (docker's default: the short container id).
        tag: String,
        /// Host name in each message.
        hostname: String,
    },
    /// The systemd journal.
    Journald {
        /// Its native socket, usually `/run/systemd/journal/socket`.
        socket: PathBuf,
        /// Fields of every entry, such as `CONTAINER_ID`; names are upper case.
        fields: BTreeMap<String, String>,
    },
}

/// A log file that is rotated to `<path>.1`, `<path>.2` …
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The current file.
    pub path: PathBuf,
    /// Rotate before the file grows beyond this many bytes. `None`: never.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// Number of files kept, the current one included; at least 1. Zero counts as 1.
    #[serde(default = "one")]
    pub max_files: u32,
    /// Rotated files are compressed, to `<path>.1.gz` …
    #[serde(default)]
    pub compress: bool,
}

fn one() -> u32 {
    1
}

/// Address of a syslog server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transport", rename_all = "snake_case")]
pub enum SyslogAddress {
    /// A datagram socket (`unixgram://`), or a stream one when datagrams are refused (`unix://`).
    Unix {
        /// Its path.
        path: PathBuf,
    },
    /// Datagrams.
    Udp {
        /// `address:port`; names are resolved by the engine.
        address: std::net::SocketAddr,
    },
    /// A connection, messages framed by a newline.
    Tcp {
        /// `address:port`; names are resolved by the engine.
        address: std::net::SocketAddr,
    },
}

/// Format of a syslog message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// Docker's default: the local form of RFC 3164, without a host name.
    #[default]
    Unix,
    /// RFC 3164 with a host name.
    Rfc3164,
    /// RFC 5424, time in seconds.
    Rfc5424,
    /// RFC 5424, time in microseconds.
    Rfc5424Micro,
}

/// Who makes the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Runtime {
    /// The shim itself.
    #[default]
    Own,
    /// An OCI runtime program.
    Oci {
        /// The program.
        path: PathBuf,
        /// Arguments before the subcommand.
        #[serde(default)]
        args: Vec<String>,
        /// Its state directory (`--root`).
        root: PathBuf,
    },
}

/// How cgroups are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupDriver {
    /// Directories made by the shim.
    #[default]
    Cgroupfs,
    /// Transient scopes. Served by foreign runtimes only.
    Systemd,
}

/// A compiled seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompProgram {
    /// File with an array of the kernel's `struct sock_filter` (8 bytes each, native order).
    pub path: PathBuf,
    /// Flags of `seccomp(2)` (`SECCOMP_FILTER_FLAG_*`), usually 0.
    #[serde(default)]
    pub flags: u32,
}

/// The program of `--init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InitProgram {
    /// The shim's own program, which acts as init when it is run as `docker-init`.
    Shim,
    /// Another static program, such as tini.
    Path {
        /// The program.
        path: PathBuf,
    },
}
