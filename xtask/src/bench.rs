//! The budgets, measured.

use crate::build;
use crate::run::{cargo, sh};

/// All benches, with the packages they are of. Those of the first package need the programs.
const BENCHES: [(&str, &str); 7] = [
    ("host", "shoal-chaos-tests"),
    ("network", "shoal-chaos-tests"),
    ("services", "shoal-chaos-tests"),
    ("raft", "shoal-manager-raft"),
    ("store", "shoal-manager-core"),
    ("scheduler", "shoal-manager-core"),
    ("scale", "shoal-manager"),
];
const WITH_PROGRAMS: &str = "shoal-chaos-tests";

/// Names of benches.
pub(crate) const NAMES: [&str; 7] = {
    let mut names = [""; 7];
    let mut number = 0;
    while number < names.len() {
        names[number] = BENCHES[number].0;
        number += 1;
    }
    names
};

/// What is to be measured, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these: host, network, services, raft, store, scheduler, scale. None: all.
    #[arg(value_parser = NAMES)]
    names: Vec<String>,
    /// Build only, so that a later run is not disturbed by builds.
    #[arg(long)]
    no_run: bool,
    /// The sizes of the design instead of smaller ones: `scale` with 5,000 nodes and a million tasks (16 GB of memory,
    /// many minutes).
    #[arg(long)]
    full: bool,
}

/// Builds optimised programs and runs the benches.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    crate::setup::run()?;
    let wanted = BENCHES.iter().filter(|(name, _)| {
        options.names.is_empty() || options.names.iter().any(|wanted| wanted == name)
    });
    let wanted: Vec<_> = wanted.collect();
    let needs_programs = wanted.iter().any(|(_, package)| *package == WITH_PROGRAMS);
    let programs = if needs_programs { Some(build::run(true)?) } else { None };
    for (name, package) in wanted {
        let mut bench = cargo();
        build::linker(&mut bench);
        bench.args(["bench", "--locked", "-p", package, "--bench", name]);
        if let Some(programs) = &programs {
            bench.env("SHOAL_BIN_DIR", programs);
        }
        if options.no_run {
            bench.arg("--no-run");
        } else if options.full {
            bench.args(["--", "full"]);
        }
        sh(&mut bench)?;
    }
    Ok(())
}
