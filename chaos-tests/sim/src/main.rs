//! Runs seeds and prints what they came to. `cargo xtask sim` builds and calls it.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use shoal_base::{Clock as _, SystemClock};
use shoal_sim::faults::Coverage;
use shoal_sim::run::{ACKNOWLEDGED_MIN, FAULTS_MIN, Options, run};
use shoal_sim::stuck::Watch;

/// Simulates a cluster.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed, or the only one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Virtual seconds with users and faults.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Without faults.
    #[arg(long)]
    calm: bool,
    /// Prints what happens.
    #[arg(long)]
    trace: bool,
    /// Prints what the programs log, chosen as in `RUST_LOG`.
    #[arg(long)]
    log: Option<String>,
    /// Runs each seed twice and compares.
    #[arg(long)]
    twice: bool,
}

#[expect(clippy::print_stdout, reason = "this is its output")]
fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(filter) = &arguments.log {
        let filter = tracing_subscriber::EnvFilter::try_new(filter)?;
        tracing_subscriber::fmt().without_time().with_env_filter(filter).init();
    }
    let (mut coverage, mut broken, mut thin) = (Coverage::new(), Vec::new(), Vec::new());
    let (began, mut virtual_time) = (SystemClock.monotonic(), Duration::ZERO);
    for seed in arguments.seed..arguments.seed + arguments.count {
        let mut options = Options::new(seed);
        options.duration = Duration::from_secs(arguments.seconds);
        options.print = arguments.trace;
        if arguments.calm {
            options.faults.clear();
        }
        let _watched = Watch::begin(seed, Arc::clone(&options.passed));
        let outcome = run(&options)?;
        println!("seed {seed}: {outcome}");
        virtual_time += outcome.virtual_time;
        for (kind, count) in &outcome.coverage {
            *coverage.entry(*kind).or_default() += count;
        }
        if let Some(found) = &outcome.broken {
            println!("{}\n  BROKEN {found}", outcome.last.join("\n"));
            broken.push(seed);
        }
        if !arguments.calm && outcome.broken.is_none() && outcome.is_thin() {
            thin.push(seed);
        }
        if arguments.twice {
            let again = run(&options)?;
            virtual_time += again.virtual_time;
            anyhow::ensure!(again.digest == outcome.digest, "seed {seed} came to {again} again");
        }
    }
    let took = SystemClock.monotonic() - began;
    let ratio = virtual_time.as_secs_f64() / took.as_secs_f64().max(0.001);
    println!("faults: {coverage:?}");
    if !thin.is_empty() {
        println!("fewer than {FAULTS_MIN} faults or {ACKNOWLEDGED_MIN} answers: seeds {thin:?}");
    }
    println!("{:.0} virtual minutes, {ratio:.0} in each minute", virtual_time.as_secs_f64() / 60.0);
    anyhow::ensure!(
        broken.is_empty(),
        "broken: seeds {broken:?}; repeat with `cargo xtask sim --seed N --trace`"
    );
    Ok(())
}
