//! What figures depend on: the machine, and the state of the tree.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::number::with_unit;

/// Starts of the floor.
const STARTS: usize = 50;

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The commit that was measured; `-dirty` where files differed from it.
    pub commit: String,
    /// When it began, UTC.
    pub date: String,
    /// Of Linux.
    pub kernel: String,
    /// Processors.
    pub cores: usize,
    /// The least a container can cost here, in milliseconds: see [`floor`]. `None`: was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// As `/proc/loadavg` had it before the run.
    pub load: String,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit, date, kernel, cores, floor, load: _ } = self;
        write!(f, "{date}, commit {commit}, Linux {kernel}, {cores} cores")?;
        match floor {
            Some(floor) => write!(f, ", floor {}", with_unit(*floor, "ms")),
            None => Ok(()),
        }
    }
}

impl Machine {
    /// Looks at this machine and at the clone in a directory.
    ///
    /// # Errors
    /// When one of the programs that it asks fails.
    pub fn look(clone: &Path) -> anyhow::Result<Self> {
        let read = |path| std::fs::read_to_string(path).with_context(|| format!("reading {path}"));
        Ok(Self {
            commit: said(command("git").current_dir(clone).args([
                "describe",
                "--always",
                "--dirty",
                "--exclude=*",
            ]))?,
            date: said(command("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            load: read("/proc/loadavg")?.trim().to_owned(),
            floor: Some(floor()?),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "no crate of ours is beneath this one")]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {words}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The least a container can cost, in milliseconds: new namespaces and one exec, by util-linux's `unshare`, whose own start
/// is part of it. The minimum of fifty.
///
/// # Errors
/// When `unshare` or `busybox` fails; it takes root.
#[expect(clippy::disallowed_methods, reason = "it measures")]
pub fn floor() -> anyhow::Result<f64> {
    let arguments =
        ["--fork", "--pid", "--mount", "--net", "--ipc", "--uts", "--cgroup", "busybox", "true"];
    let mut least = f64::INFINITY;
    for _ in 0..STARTS {
        let begun = Instant::now();
        said(command("unshare").args(arguments))?;
        least = least.min(crate::millis(begun.elapsed()));
    }
    Ok(least)
}
