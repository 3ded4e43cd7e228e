//! `shoal-shim`: parent of one container. Sets it up, holds its stdio, exit status and execs, and
//! outlives the daemon. Run as `docker-init` it is the container's pid 1 instead. One thread; the
//! protocol is described in `shoal-shim-protocol`.
#![allow(unsafe_code, reason = "namespaces, capabilities, seccomp and clone3 have no safe API")]

mod cgroup;
mod cleanup;
mod client;
mod container;
mod failure;
mod files;
mod foreign;
mod init;
mod init_mode;
mod logs;
mod oom;
mod own;
mod reaper;
mod requests;
mod server;
mod stdio;
mod sys;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use shoal_shim_protocol::SOCKET_FILE;

use crate::failure::{Context, Result};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(|text| text.to_string_lossy().into_owned());
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    if program.rsplit('/').next() == Some("docker-init") {
        return ExitCode::from(u8::try_from(init_mode::run(arguments)).unwrap_or(1));
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["--dir", directory] => serve(Path::new(directory)),
        [logs::behind::ARGUMENT, "--dir", directory] => logs::behind::run(Path::new(directory)),
        ["--cleanup", "--dir", directory] => cleanup::run(Path::new(directory)),
        ["--version"] => {
            say(rustix::stdio::stdout(), &format!("shoal-shim {}\n", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        _ => {
            say(rustix::stdio::stderr(), "usage: shoal-shim [--cleanup] --dir <run directory>\n");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            say(rustix::stdio::stderr(), &format!("shoal-shim: {failed}\n"));
            ExitCode::FAILURE
        }
    }
}

fn say(to: impl AsFd, text: &str) {
    let _unheard = rustix::io::write(to, text.as_bytes());
}

fn serve(directory: &Path) -> Result<()> {
    sys::ignore_signal(libc::SIGPIPE);
    let _leader_already = rustix::process::setsid();
    let directory: PathBuf = std::fs::canonicalize(directory)
        .doing(|| format!("find run directory `{}`", directory.display()))?;
    let config = files::read_config(&directory)?;
    rustix::process::chdir(&directory)
        .doing(|| format!("change to run directory `{}`", directory.display()))?;
    let listener = listener(&directory)?;
    server::Server::new(listener, container::Container::new(directory, config))?.run()
}

/// The socket given as standard input, or a new one.
fn listener(directory: &Path) -> Result<UnixListener> {
    let stdin = rustix::stdio::stdin();
    if rustix::net::sockopt::socket_acceptconn(stdin).unwrap_or(false) {
        let copy: OwnedFd =
            rustix::io::fcntl_dupfd_cloexec(stdin, 3).doing(|| "take the socket".to_owned())?;
        let null = init::setup::dev_null()?;
        sys::dup_to(null.as_fd(), 0).doing(|| "close standard input".to_owned())?;
        return Ok(copy.into());
    }
    let path = directory.join(SOCKET_FILE);
    let _absent = std::fs::remove_file(&path);
    UnixListener::bind(&path).doing(|| format!("listen at `{}`", path.display()))
}
