//! The budgets, measured.

use crate::build;
use crate::run::{cargo, sh};

/// Groups of benches; `raft` is the crates of consensus and store, `cluster` daemons in a lab.
pub(crate) const GROUPS: [&str; 5] = ["host", "network", "services", "raft", "cluster"];

/// Crates and names of the group `raft`.
const RAFT: [(&str, &str); 3] =
    [("shoal-manager-core", "store"), ("shoal-manager-raft", "raft"), ("shoal-manager", "cluster")];

/// Builds optimised programs and runs these groups against them, or all.
pub(crate) fn run(chosen: &[String]) -> anyhow::Result<()> {
    crate::setup::run()?;
    let is_chosen = |group: &str| chosen.is_empty() || chosen.iter().any(|name| name == group);
    let daemons: Vec<_> =
        GROUPS.into_iter().filter(|group| *group != "raft" && is_chosen(group)).collect();
    if !daemons.is_empty() {
        let directory = build::run(true)?;
        let mut bench = linked();
        bench.env("SHOAL_BIN_DIR", directory).args(["-p", "shoal-chaos-tests"]);
        for group in daemons {
            bench.args(["--bench", group]);
        }
        sh(&mut bench)?;
    }
    if is_chosen("raft") {
        for (package, name) in RAFT {
            sh(linked().args(["-p", package, "--bench", name]))?;
        }
    }
    Ok(())
}

fn linked() -> std::process::Command {
    let mut bench = cargo();
    build::linker(&mut bench);
    bench.args(["bench", "--locked"]);
    bench
}
