//! The project's own commands: `cargo xtask <command>`.
//!
//! Only logic that needs no crate of ours but `report` lives here, so that it builds in seconds on a bare machine.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

mod bench;
mod build;
mod chaos;
mod demo;
mod lab;
mod run;
mod setup;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and shows Shoal")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what building and testing need on a fresh Debian machine (as root).
    Setup,
    /// Build shoald, shoal and the static shoal-shim.
    Build {
        /// Optimised.
        #[arg(long)]
        release: bool,
    },
    /// Everything CI checks: format, lints, arrows, unit, kernel, conformance and cluster tests, simulation and chaos.
    Test {
        /// Only these stages: fmt, tidy, clippy, unit, conformance, compose, network, cgroup2, crash, sim, cluster, linear,
        /// dockerd, soak, chaos.
        #[arg(value_parser = test::STAGES)]
        stages: Vec<String>,
    },
    /// Check the arrows between crates, where `unsafe` lives, and the links of the documentation.
    Tidy,
    /// Show the main job on this machine: a host, an image, containers, a daemon that is killed.
    Demo,
    /// Several hosts on this machine, each with its daemon: `lab` alone prints what it can do.
    Lab {
        /// up, ls, shell, kill, cut, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Simulate a cluster from a seed, `sim --seed 7 --trace`, or from many, `sim --seeds 1..10001`; `sim --help`.
    Sim {
        /// --seed, --seeds, --seconds, --trace, --journal, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Measure the budgets and print figure, budget and ratio; `bench plot FILE` draws figures that were kept.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match run(Options::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Setup => setup::run(),
        Command::Build { release } => build::run(release).map(|_| ()),
        Command::Test { stages } => test::run(&stages),
        Command::Tidy => tidy::run(),
        Command::Demo => demo::run(),
        Command::Lab { words } => lab::run(&words),
        Command::Sim { words } => sim::run(&words),
        Command::Bench(options) => bench::run(&options),
    }
}
