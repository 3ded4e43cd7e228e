//! Lab chaos: a cluster that is hurt at random, also while it is upgraded from an older commit.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::build;
use crate::run::{cargo, command, output, sh};

/// Builds the programs and hurts them for `SHOAL_CHAOS_MINUTES` with `SHOAL_SEED`, or else for as long and with the seed
/// that is `usual`. `SHOAL_UPGRADE_FROM` names a commit whose programs all hosts begin with.
///
/// # Errors
/// When something does not build, or a rule was broken.
pub(crate) fn run(usual: Option<(&str, &str)>) -> anyhow::Result<()> {
    let older = std::env::var_os("SHOAL_UPGRADE_FROM");
    let older = older.map(|commit| older_programs(&commit)).transpose()?;
    let programs = build::run(false)?;
    if let Some(older) = &older {
        let [older, newer] = [older, &programs].map(|it| std::fs::read(it.join("shoald")));
        anyhow::ensure!(older? != newer?, "the daemon to upgrade from is the one to upgrade to");
    }
    let mut chaos = cargo();
    build::linker(&mut chaos);
    // Cargo passes an interruption on: the program cleans up before it ends.
    chaos.env("SHOAL_BIN_DIR", programs).env("RUST_LIB_BACKTRACE", "0").args([
        "run",
        "--locked",
        "--quiet",
        "-p",
        "shoal-chaos-tests",
        "--example",
        "chaos",
    ]);
    if let Some((minutes, seed)) = usual {
        for (name, value) in [("SHOAL_CHAOS_MINUTES", minutes), ("SHOAL_SEED", seed)] {
            if std::env::var_os(name).is_none() {
                chaos.env(name, value);
            }
        }
    }
    if let Some(older) = older {
        chaos.env("SHOAL_OLD_BIN_DIR", older);
    }
    if std::env::var_os("SHOAL_CHAOS_LOGS").is_none() {
        chaos.env("SHOAL_CHAOS_LOGS", build::target().join("chaos-logs"));
    }
    sh(&mut chaos)
}

/// Builds the programs of a commit, in a work tree beneath the target directory; answers their directory.
fn older_programs(commit: &OsStr) -> anyhow::Result<PathBuf> {
    let mut revision = commit.to_owned();
    revision.push("^{commit}");
    let id = output(command("git").args(["rev-parse", "--verify", "--short=12"]).arg(&revision))?;
    let is_same = sh(command("git").args(["diff", "--quiet"]).arg(id.trim())).is_ok();
    anyhow::ensure!(!is_same, "the commit to upgrade from is the one to upgrade to");
    let directory = build::target().join("upgrade").join(id.trim());
    let sources = directory.join("sources");
    if !sources.exists() {
        // Target directories are removed as a whole: git forgets work trees that are gone.
        sh(command("git").args(["worktree", "prune"]))?;
        sh(command("git").args(["worktree", "add", "--detach"]).arg(&sources).arg(id.trim()))?;
    }
    build::run_in(&sources, false, &directory.join("target"), directory.join("programs"))
}
