//! Spawning a shim and putting it away.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use shoal_shim_protocol::message::Request;
use shoal_shim_protocol::{CONFIG_FILE, SOCKET_FILE, STATE_FILE};

use super::record::Paths;
use crate::core::Core;
use crate::error::Error;
use crate::shim_client::Client;

/// File name of a shim's own log in its run directory.
const LOG_FILE: &str = "shim.log";

/// How often the clean-up after a killed shim is tried, and the pause between.
const CLEANUP_TRIES: u32 = 10;
const CLEANUP_PAUSE: Duration = Duration::from_millis(20);

/// Makes the run directory, writes the shim's configuration and the runtime spec into it, and spawns the
/// program with its listening socket as standard input. Nothing here is fsynced: a crash of the host ends
/// the container anyway. Blocking, but short: it never waits for the shim.
pub(crate) fn spawn(
    program: &Path,
    paths: &Paths,
    config: &[u8],
    spec: &[u8],
) -> Result<(Client, tokio::process::Child), Error> {
    std::fs::create_dir_all(&paths.run).map_err(Error::file("create", &paths.run))?;
    let config_file = paths.run.join(CONFIG_FILE);
    std::fs::write(&config_file, config).map_err(Error::file("write", &config_file))?;
    let spec_file = paths.run.join("config.json");
    std::fs::write(&spec_file, spec).map_err(Error::file("write", &spec_file))?;
    let socket = paths.socket();
    let listener = UnixListener::bind(&socket).map_err(Error::file("bind", &socket))?;
    let log_file = paths.run.join(LOG_FILE);
    let log = std::fs::File::create(&log_file).map_err(Error::file("create", &log_file))?;
    let mut command = shoal_base::command::new(program);
    command.arg("--dir").arg(&paths.run).stdin(Stdio::from(OwnedFd::from(listener))).stderr(log);
    let child = tokio::process::Command::from(command)
        .kill_on_drop(false)
        .spawn()
        .map_err(|source| Error::SpawnShim { program: program.to_owned(), source })?;
    Ok((Client::new(socket), child))
}

/// Ends a shim whose container has ended or never ran. One that is gone already is fine.
pub(crate) async fn shut_down(client: &Client) -> Result<(), crate::shim_client::Error> {
    match client.command(&Request::Shutdown { kill: true }).await {
        Err(error) if error.is_gone() => Ok(()),
        other => other,
    }
}

/// Removes what a killed shim left (processes, cgroups) and then its run directory. Tried again for a
/// moment, because a killed shim counts as living until its parent has reaped it.
pub(crate) async fn clean_up_after_killed(core: &Core, run: &Path) -> Result<(), Error> {
    // The daemon was killed before it spawned a shim: its socket comes first, and its state with its first cgroup.
    let never_lived = !run.join(SOCKET_FILE).exists() && !run.join(STATE_FILE).exists();
    if never_lived {
        return remove_run_directory(run);
    }
    let program = &core.config.shim;
    for _ in 0..CLEANUP_TRIES {
        let mut command = shoal_base::command::new(program);
        command.arg("--cleanup").arg("--dir").arg(run);
        let status = tokio::process::Command::from(command)
            .status()
            .await
            .map_err(|source| Error::SpawnShim { program: program.clone(), source })?;
        if status.success() {
            return remove_run_directory(run);
        }
        core.clock.sleep(CLEANUP_PAUSE).await;
    }
    tracing::warn!(run = %run.display(), "clean-up after a killed shim failed");
    remove_run_directory(run)
}

/// Removes a run directory; absent is fine.
pub(crate) fn remove_run_directory(run: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(run) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::file("remove", run)),
    }
}
