//! The budgets, measured.

use crate::build;
use crate::run::{cargo, sh};

/// All benches: group, package, name. `raft` is the crates of consensus and store, `cluster` daemons in a lab, `scale`
/// managers with workers that have no containers.
const BENCHES: [(&str, &str, &str); 10] = [
    ("host", WITH_PROGRAMS, "host"),
    ("network", WITH_PROGRAMS, "network"),
    ("services", WITH_PROGRAMS, "services"),
    ("stacks", WITH_PROGRAMS, "stacks"),
    ("cluster", WITH_PROGRAMS, "cluster"),
    ("raft", "shoal-manager-core", "store"),
    ("raft", "shoal-manager-raft", "raft"),
    ("raft", "shoal-manager", "cluster"),
    ("scale", "shoal-manager-core", "scheduler"),
    ("scale", "shoal-manager", "scale"),
];
/// Tests of group `network` that print figures with their budgets, in a kernel of three hosts.
const MEASURING_TESTS: (&str, [&str; 2]) = ("shoal-netoverlay", ["view_speed", "mesh_speed"]);
/// The package whose benches drive built programs.
const WITH_PROGRAMS: &str = "shoal-chaos-tests";
const GROUPS: [&str; 7] = ["host", "network", "services", "stacks", "cluster", "raft", "scale"];

/// What is to be measured, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these groups: host, network, services, stacks, cluster, raft, scale. None: all.
    #[arg(value_parser = GROUPS)]
    groups: Vec<String>,
    /// Build only, so that a later run is not disturbed by builds.
    #[arg(long)]
    no_run: bool,
    /// The sizes of the design instead of smaller ones: 5,000 nodes and a million tasks (16 GB of memory, many minutes), a
    /// thousand idle containers.
    #[arg(long)]
    full: bool,
}

/// Builds optimised programs and runs the benches.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    crate::setup::run()?;
    let is_chosen = |group: &str| {
        options.groups.is_empty() || options.groups.iter().any(|chosen| chosen == group)
    };
    let chosen: Vec<_> = BENCHES.into_iter().filter(|(group, ..)| is_chosen(group)).collect();
    let needs_programs = chosen.iter().any(|(_, package, _)| *package == WITH_PROGRAMS);
    let programs = if needs_programs { Some(build::run(true)?) } else { None };
    for (group, package, name) in chosen {
        let mut bench = cargo();
        build::linker(&mut bench);
        bench.args(["bench", "--locked", "-p", package, "--bench", name]);
        if let Some(programs) = &programs {
            bench.env("SHOAL_BIN_DIR", programs);
        }
        if options.no_run {
            bench.arg("--no-run");
        } else if options.full && ["scale", "services"].contains(&group) {
            bench.args(["--", "full"]);
        }
        sh(&mut bench)?;
    }
    if is_chosen("network") {
        let (package, tests) = MEASURING_TESTS;
        let mut measure = cargo();
        build::linker(&mut measure);
        measure.args(["test", "--release", "--locked", "-p", package]);
        for test in tests {
            measure.args(["--test", test]);
        }
        if options.no_run {
            measure.arg("--no-run");
        } else {
            measure.args(["--", "--nocapture", "--test-threads=1"]);
        }
        sh(&mut measure)?;
    }
    Ok(())
}
