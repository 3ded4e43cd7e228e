//! `shoal-shim --cleanup`: removes what a killed shim left. Every step is attempted. Effects.

use std::path::Path;

use shoal_shim_protocol::STATE_FILE;
use shoal_shim_protocol::config::ShimConfig;
use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::state::{Exit, Outcome, StateFile};

use crate::cgroup;
use crate::failure::{Context, Result, failure};
use crate::foreign::Foreign;
use crate::{files, sys};

/// Cleans up after the shim of `directory`.
pub(crate) fn run(directory: &Path) -> Result<()> {
    let config = files::read_config(directory)?;
    let state = directory.join(STATE_FILE);
    let state: Option<StateFile> =
        if state.exists() { Some(files::read_json(&state)?) } else { None };
    let Some(state) = state else {
        files::remove_run_directory(directory);
        return Ok(());
    };
    if files::process_id(state.shim.pid) == Some(state.shim) {
        let message = format!("the shim of this container lives, as process {}", state.shim.pid);
        return Err(failure(FailureKind::Conflict, message));
    }
    if let Some(init) = state.init {
        for _ in 0..400 {
            if files::process_id(init.pid) != Some(init) {
                break;
            }
            let _gone = sys::kill(init.pid, libc::SIGKILL);
            sys::sleep_ms(5);
        }
    }
    if let Some(foreign) = Foreign::of(&config, directory) {
        let _absent = foreign.delete();
    }
    let mut removed = Ok(());
    for path in &state.cgroups {
        kill_processes(path);
        let one = cgroup::remove_tree(path).doing(|| format!("remove cgroup `{}`", path.display()));
        removed = removed.and(one);
    }
    let written = write_outcome(&config, &state);
    if removed.is_ok() && written.is_ok() {
        files::remove_run_directory(directory);
    }
    removed.and(written)
}

fn kill_processes(cgroup: &Path) {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in text.lines().filter_map(|line| line.parse().ok()) {
        let _gone = sys::kill(pid, libc::SIGKILL);
    }
}

/// A dead shim ends in `exited` (invariant CTR-1).
fn write_outcome(config: &ShimConfig, state: &StateFile) -> Result<()> {
    if config.outcome_file.exists() {
        return Ok(());
    }
    let exit = Exit {
        pid: state.init.map_or(0, |init| init.pid),
        code: 137,
        signal: Some(libc::SIGKILL),
        oom_killed: false,
        started_at_ns: state.started_at_ns.unwrap_or(0),
        finished_at_ns: sys::now_ns(),
    };
    files::write_outcome(config, Outcome::Exited(exit))
}
