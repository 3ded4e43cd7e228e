//! Runs seeds and prints what they came to. `cargo xtask sim` builds and calls it.

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use shoal_manager_core::invariants::Broken;
use shoal_sim::many::{self, Plan, summary};
use shoal_sim::report::{Report, Verdict};
use shoal_sim::run::{Options, WHOLE, run};

/// A tenth of the time were allocations of the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulates a cluster.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed, or the only one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Many seeds, `FROM..TO` without TO, in processes of their own.
    #[arg(long, value_parser = seeds, conflicts_with_all = ["seed", "count", "trace", "log"])]
    seeds: Option<Range<u64>>,
    /// Processes at a time; by default one for each processor.
    #[arg(long, requires = "seeds")]
    jobs: Option<usize>,
    /// Keeps what seeds came to in a file; those that this build ran the same way are not run again.
    #[arg(long, requires = "seeds")]
    journal: Option<PathBuf>,
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
    /// Prints one line for each seed, for another process.
    #[arg(long, hide = true)]
    lines: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let ends = text.split_once("..").map(|(from, to)| (from.parse(), to.parse()));
    match ends {
        Some((Ok(from), Ok(to))) if from < to => Ok(from..to),
        _ => Err("write it as FROM..TO".to_owned()),
    }
}

impl Arguments {
    /// What repeats a run, besides its seed.
    fn words(&self) -> Vec<String> {
        let mut words = vec!["--seconds".to_owned(), self.seconds.to_string()];
        for (word, is_set) in [("--calm", self.calm), ("--twice", self.twice)] {
            if is_set {
                words.push(word.to_owned());
            }
        }
        words
    }

    fn repeat(&self, seed: u64) -> String {
        format!("cargo xtask sim --seed {seed} {} --trace", self.words().join(" "))
    }

    fn options(&self, seed: u64) -> Options {
        let mut options = Options::new(seed);
        options.duration = Duration::from_secs(self.seconds);
        options.print = self.trace;
        if self.calm {
            options.faults.clear();
        }
        options
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(filter) = &arguments.log {
        let filter = tracing_subscriber::EnvFilter::try_new(filter)?;
        tracing_subscriber::fmt().without_time().with_env_filter(filter).init();
    }
    let reports = match &arguments.seeds {
        Some(seeds) => many(&arguments, seeds.clone())?,
        None => few(&arguments)?,
    };
    if !arguments.lines {
        print!("{}", summary::of(&reports, |seed| arguments.repeat(seed)));
        anyhow::ensure!(many::is_well(&reports), "seeds failed, or too little happened");
    }
    Ok(())
}

fn many(arguments: &Arguments, seeds: Range<u64>) -> anyhow::Result<BTreeMap<u64, Report>> {
    let jobs =
        arguments.jobs.map_or_else(|| std::thread::available_parallelism().map(usize::from), Ok)?;
    let plan = Plan { seeds, jobs, words: arguments.words(), journal: arguments.journal.clone() };
    many::run(&plan, |report| {
        if let Verdict::Broken(what) = &report.verdict {
            println!("seed {} BROKEN {what}\n  {}", report.seed, arguments.repeat(report.seed));
        }
    })
}

/// On this thread, one after the other.
fn few(arguments: &Arguments) -> anyhow::Result<BTreeMap<u64, Report>> {
    let mut reports = BTreeMap::new();
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.count) {
        let report = one(arguments, seed)?;
        if arguments.lines {
            println!("{report}");
        }
        reports.insert(seed, report);
    }
    Ok(reports)
}

fn one(arguments: &Arguments, seed: u64) -> anyhow::Result<Report> {
    let options = arguments.options(seed);
    let began = processor_time();
    let mut outcome = run(&options)?;
    let took = processor_time().saturating_sub(began);
    if arguments.twice {
        let again = run(&options)?;
        if again.digest != outcome.digest && outcome.broken.is_none() {
            let what = format!("it came to {again} again, not to {outcome}");
            outcome.broken = Some(Broken { id: "DIGEST", what });
        }
    }
    if !arguments.lines {
        println!("seed {seed}: {outcome}, {} ms of processor time", took.as_millis());
        if let Some(found) = &outcome.broken {
            println!("{}\n  BROKEN {found}", outcome.last.join("\n"));
        }
    }
    let may_be_thin = arguments.calm || options.duration < WHOLE;
    Ok(Report::new(seed, &outcome, took, may_be_thin))
}

fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let part = |part| u64::try_from(part).unwrap_or(0);
    Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
}
