//! The main job, shown: one host, then a cluster.

use std::os::unix::process::CommandExt as _;

use anyhow::Context;

use crate::build;
use crate::run::{cargo, sh};

/// Builds optimised programs and plays the demo with them, in place of this process: what interrupts us interrupts
/// the demo, which cleans up before it ends.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::setup::demo()?;
    let directory = build::run(true)?;
    let example = ["-p", "shoal-chaos-tests", "--example", "demo"];
    let mut build = cargo();
    build::linker(&mut build);
    sh(build.args(["build", "--locked"]).args(example))?;
    let mut demo = cargo();
    build::linker(&mut demo);
    demo.env("SHOAL_BIN_DIR", directory).args(["run", "--locked", "--quiet"]).args(example);
    Err(demo.exec()).context("cannot run the demo")
}
