//! The main job, shown on one host.

use crate::build;
use crate::run::{cargo, sh};

/// Builds optimised programs and plays the demo with them.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::setup::run()?;
    let directory = build::run(true)?;
    let mut demo = cargo();
    build::linker(&mut demo);
    sh(demo.env("SHOAL_BIN_DIR", directory).args([
        "run",
        "--locked",
        "--quiet",
        "-p",
        "shoal-chaos-tests",
        "--example",
        "demo",
    ]))
}
