//! Files of the run directory and the outcome. Effects.

use std::fs::{self, File};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_shim_protocol::config::{CONFIG_FORMAT, ShimConfig};
use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::state::{OUTCOME_FORMAT, Outcome, OutcomeFile, ProcessId};
use shoal_shim_protocol::{CONFIG_FILE, SOCKET_FILE, STATE_FILE};

use crate::failure::{Context, Result, failure};

/// Name of the mount point, in the run directory.
pub(crate) const ROOTFS: &str = "rootfs";

/// Reads the configuration; refuses newer formats.
pub(crate) fn read_config(directory: &Path) -> Result<ShimConfig> {
    let config: ShimConfig = read_json(&directory.join(CONFIG_FILE))?;
    if config.format > CONFIG_FORMAT {
        let message = format!(
            "`{CONFIG_FILE}` has format {}, this shim knows formats up to {CONFIG_FORMAT}",
            config.format
        );
        return Err(failure(FailureKind::InvalidArgument, message));
    }
    Ok(config)
}

/// Reads a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).doing(|| format!("read `{}`", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("failed to parse `{}`: {error}", path.display());
        failure(FailureKind::InvalidArgument, message)
    })
}

/// Writes a JSON file, whole or not at all. It survives the death of any process; of the machine only
/// after [`sync`].
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let failed = || format!("write `{}`", path.display());
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let bytes = serde_json::to_vec(value).map_err(std::io::Error::from).doing(failed)?;
    fs::write(&temporary, bytes).doing(failed)?;
    fs::rename(&temporary, path).doing(failed)
}

/// Brings a written file to the disk. Called after the exit was reported, because it takes long.
pub(crate) fn sync(path: &Path) {
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    for path in [path, directory] {
        let _unsynced = File::open(path).and_then(|file| file.sync_all());
    }
}

/// Writes how the container ended.
pub(crate) fn write_outcome(config: &ShimConfig, outcome: Outcome) -> Result<()> {
    let container = config.container.clone();
    write_json(&config.outcome_file, &OutcomeFile { format: OUTCOME_FORMAT, container, outcome })
}

/// Reads a process's identity. `None`: it does not exist.
pub(crate) fn process_id(pid: u32) -> Option<ProcessId> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; field 22 is the 20th after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let start_ticks = fields.split_whitespace().nth(19)?.parse().ok()?;
    Some(ProcessId { pid, start_ticks })
}

/// Removes the run directory's files; and the directory, when nothing else is in it.
pub(crate) fn remove_run_directory(directory: &Path) {
    for name in [SOCKET_FILE, CONFIG_FILE, STATE_FILE] {
        let _absent = fs::remove_file(directory.join(name));
    }
    let _absent = fs::remove_dir_all(directory.join("oci"));
    // A foreign runtime's root is mounted there in this process's namespace only.
    let rootfs = directory.join(ROOTFS);
    let _not_mounted = rustix::mount::unmount(&rootfs, rustix::mount::UnmountFlags::DETACH);
    let _absent = fs::remove_dir(rootfs);
    let _kept = fs::remove_dir(directory);
}
