//! Versioned protocol between `shoal-shim`, the parent of one container, and the engine.
//!
//! # Life of a shim
//! 1. The engine makes the run directory `<exec-root>/shim/<container>/`, writes [`config::ShimConfig`]
//!    to `shim.json` in it and the OCI runtime spec ([`spec::Spec`]) to `<bundle>/config.json`, binds a
//!    listening unix socket at `shim.sock`, and spawns `shoal-shim --dir <run dir>` with that socket as
//!    its **standard input**, `/dev/null` as output and a log file as standard error. Because the socket
//!    listens before the program runs, the engine connects at once and never polls. (A shim whose
//!    standard input is no listening socket binds `shim.sock` itself.) The shim makes its own session.
//! 2. [`message::Request::Create`] makes the container, blocked just before its exec; the network is
//!    configured through `/proc/<pid>/ns/net`; attach clients connect; [`message::Request::Start`]
//!    releases it. [`message::Request::Run`] does both in one round trip.
//! 3. When the init process ends, the shim writes [`state::OutcomeFile`] to the durable path of the
//!    configuration, tells the subscribers, removes the cgroups, and goes on answering until
//!    [`message::Request::Shutdown`], which removes the run directory's files and ends the program.
//! 4. A shim that was killed takes its init process with it (`PR_SET_PDEATHSIG`, invariant CTR-1).
//!    `shoal-shim --cleanup --dir <run dir>` then removes what it left, from [`state::StateFile`], and
//!    writes the outcome (137) when none was written.
//!
//! # Wire
//! Unix stream socket. A frame is a big-endian `u32` length and that many bytes of JSON ([`frame`]).
//! A connection carries any number of requests, one response each, in order. After a response to
//! `Attach` (or an `Exec` with attachment) the connection is a byte stream: towards the client
//! [`stdcopy`] frames, or raw bytes for a terminal; towards the shim raw standard input, ended by
//! half-closing. After `Subscribe` it carries [`message::Event`] frames until it is closed.
//! File descriptors travel as `SCM_RIGHTS` with the first byte of the frame that names them.
//!
//! # Streams
//! Any number of clients may be attached. Each has a queue of 256 KiB; while a living client's queue
//! is full the process's output is not read, so the process blocks in its write, as with docker. A
//! client with a full queue that takes nothing for 60 seconds is disconnected (Differs: docker waits
//! for ever). Clients that never attach, and logs, are not touched by that. Streams end when the
//! process ends and everything it wrote is delivered; what it left in the background may go on
//! writing, unheard, until the exec is deleted.
//!
//! Standard input of the init process closes with the first client's half-close or departure only
//! when `stdin_once` is set; of an exec, always. Detach keys are the engine's business.
//!
//! # Death of the shim
//! `PR_SET_PDEATHSIG` is set again after the change of user, and the kernel clears it when a program
//! with set-user-id bits or file capabilities is run as pid 1. Such a container, and one of a foreign
//! runtime, outlives its shim until `--cleanup` ends it.
//!
//! # Logs
//! The shim writes log files itself. Followers need no request: a reader watches the file with inotify
//! (`IN_MODIFY` on it, `IN_MOVED_TO | IN_CREATE` on its directory for rotation).
//!
//! Pure, besides the optional `client` module.

#[cfg(feature = "client")]
pub mod client;
pub mod config;
pub mod frame;
pub mod local_log;
pub mod message;
pub mod mount_options;
pub mod spec;
pub mod state;
pub mod stdcopy;

/// Protocol versions this crate speaks, newest first.
pub const VERSIONS: &[u32] = &[1];

/// File name of the socket in the run directory.
pub const SOCKET_FILE: &str = "shim.sock";
/// File name of [`config::ShimConfig`] in the run directory.
pub const CONFIG_FILE: &str = "shim.json";
/// File name of [`state::StateFile`] in the run directory.
pub const STATE_FILE: &str = "state.json";

/// Picks the newest version both sides speak.
pub fn negotiate(theirs: &[u32]) -> Option<u32> {
    VERSIONS.iter().copied().find(|version| theirs.contains(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_common_version_wins() {
        assert_eq!(negotiate(&[3, 2, 1]), Some(1));
        assert_eq!(negotiate(&[2]), None);
    }
}
