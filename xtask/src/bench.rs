//! The budgets of one host, measured.

use crate::build;
use crate::run::{cargo, sh};

/// Builds optimised programs and runs the benches against them.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::setup::run()?;
    let directory = build::run(true)?;
    let mut bench = cargo();
    build::linker(&mut bench);
    sh(bench.env("SHOAL_BIN_DIR", directory).args([
        "bench",
        "--locked",
        "-p",
        "shoal-chaos-tests",
        "--bench",
        "host",
        "--bench",
        "network",
        "--bench",
        "services",
    ]))
}
