//! The stages of the test command, cheapest first.

use crate::run::{cargo, sh};
use crate::{build, setup, tidy};

/// Stages that run only when they are named: docs/status.md says what keeps each out of CI.
const ON_REQUEST: [&str; 1] = ["crash"];

/// All stages, in order.
pub(crate) const STAGES: [&str; 7] =
    ["fmt", "tidy", "clippy", "unit", "conformance", "cgroup2", "crash"];

/// Runs the given stages, or all.
pub(crate) fn run(chosen: &[String]) -> anyhow::Result<()> {
    setup::run()?;
    for stage in STAGES {
        let named = chosen.iter().any(|name| name == stage);
        let default = chosen.is_empty() && !ON_REQUEST.contains(&stage);
        if !named && !default {
            continue;
        }
        println!("== {stage}");
        match stage {
            "fmt" => sh(cargo().args(["fmt", "--all", "--check"]))?,
            "tidy" => tidy::run()?,
            "clippy" => sh(linked()
                .args(["clippy", "--locked", "--workspace", "--all-targets"])
                .args(["--", "-D", "warnings"]))?,
            "unit" => unit()?,
            "conformance" => {
                programs(&["-p", "shoal-chaos-tests", "--test", "conformance", "--test", "outage"])?
            }
            "cgroup2" => programs(&["-p", "shoal-chaos-tests", "--test", "cgroup_v2"])?,
            "crash" => programs(&["-p", "shoal-chaos-tests", "--test", "crash"])?,
            other => anyhow::bail!("unknown stage {other}"),
        }
    }
    Ok(())
}

/// Unit and kernel tests of every crate; those that need a program get the directory of the built ones.
fn unit() -> anyhow::Result<()> {
    programs(&["--workspace", "--exclude", "shoal-chaos-tests"])?;
    programs(&["-p", "shoal-chaos-tests", "--lib"])
}

fn programs(arguments: &[&str]) -> anyhow::Result<()> {
    let directory = build::run(false)?;
    sh(linked()
        .env("SHOAL_BIN_DIR", &directory)
        .env("SHOAL_SHIM", directory.join("shoal-shim"))
        .args(["nextest", "run", "--locked"])
        .args(arguments))
}

fn linked() -> std::process::Command {
    let mut command = cargo();
    build::linker(&mut command);
    command
}
