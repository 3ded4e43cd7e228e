//! A cluster is hurt at random, and must bear it: `cargo xtask test chaos`.

#![allow(clippy::print_stdout, reason = "what it prints is its report")]

use std::process::ExitCode;

use shoal_chaos_tests::chaos::{Settings, run};

fn main() -> anyhow::Result<ExitCode> {
    let report = run(Settings::from_environment()?)?;
    println!("\n{}", report.table);
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
