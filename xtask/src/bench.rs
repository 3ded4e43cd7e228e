//! The budgets, measured: benches by group, their rows as one file of results, plots.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use shoal_report::{Machine, ROWS_FILE, Results, Run, plot::plot, rows_of};

use crate::run::{cargo, root, sh};
use crate::{build, setup};

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
/// The results and plots that the documentation shows.
const DOCUMENTED: &str = "docs/plots";
const RESULTS: &str = "results.json";

/// What is to be measured, and how.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only these groups: host, network, services, stacks, cluster, raft, scale. None: all.
    #[arg(value_parser = GROUPS)]
    groups: Vec<String>,
    /// Build only, so that a later run is not disturbed by builds.
    #[arg(long)]
    no_run: bool,
    /// The sizes of the design instead of smaller ones: 5,000 nodes and a million tasks (16 GB of memory, many minutes), a
    /// thousand idle containers, ten minutes without elections.
    #[arg(long)]
    full: bool,
    /// Put the figures of these groups into `docs/plots`, and draw its plots anew.
    #[arg(long)]
    plots: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Draw the plots of a file of results, and measure nothing.
    Plot {
        /// As `bench` writes it.
        file: PathBuf,
        /// The directory for them; without it that of the file.
        #[arg(long)]
        into: Option<PathBuf>,
    },
}

/// Builds optimised programs and runs the benches, or draws.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    match &options.action {
        Some(Action::Plot { file, into }) => {
            let results = Results::read(file)?;
            draw(
                &results,
                into.as_deref().or_else(|| file.parent()).context("the file has no directory")?,
            )
        }
        None => measure(options),
    }
}

/// All chosen groups, whether one of them fails or not.
fn measure(options: &Options) -> anyhow::Result<()> {
    setup::run()?;
    let is_chosen =
        |group: &&str| options.groups.is_empty() || options.groups.iter().any(|one| one == group);
    let groups: Vec<&str> = GROUPS.into_iter().filter(|group| is_chosen(group)).collect();
    if groups.contains(&"host") {
        // Measured beside Shoal in the same run.
        setup::dockerd()?;
    }
    // All builds come before the first figure.
    let mut programs = None;
    let mut commands = Vec::new();
    for group in groups {
        for mut build in commands_of(group, Step::Build, options, &mut programs)? {
            sh(&mut build)?;
        }
        let measuring = commands_of(group, Step::Measure, options, &mut programs)?;
        commands.extend(measuring.into_iter().map(|command| (group, command)));
    }
    if options.no_run {
        return Ok(());
    }
    let (results, failed) = figures(commands)?;
    print!("\n{}", results.summary());
    if options.groups.is_empty() {
        print!("{}", results.gaps());
    }
    if options.plots {
        document(&results, &failed)?;
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Build,
    Measure,
}

/// What builds, or measures, a group.
fn commands_of(
    group: &str,
    step: Step,
    options: &Options,
    programs: &mut Option<PathBuf>,
) -> anyhow::Result<Vec<Command>> {
    let mut commands = Vec::new();
    for (_, package, name) in BENCHES.into_iter().filter(|(of, ..)| *of == group) {
        let mut bench = built();
        bench.args(["bench", "--locked", "-p", package, "--bench", name]);
        if package == WITH_PROGRAMS {
            let directory = match programs {
                Some(directory) => directory,
                None => programs.insert(build::run(true)?),
            };
            bench.env("SHOAL_BIN_DIR", directory);
        }
        if group == "scale" {
            // One heap, as the daemon asks for.
            bench.env("MALLOC_ARENA_MAX", "1");
        }
        if options.full && group == "cluster" {
            bench.env("SHOAL_IDLE_SECONDS", "600");
        }
        if step == Step::Build {
            bench.arg("--no-run");
        } else if options.full && ["scale", "services"].contains(&group) {
            bench.args(["--", "full"]);
        }
        commands.push(bench);
    }
    if group == "network" {
        let (package, tests) = MEASURING_TESTS;
        let mut tests_of = built();
        tests_of.args(["test", "--release", "--locked", "-p", package]);
        for test in tests {
            tests_of.args(["--test", test]);
        }
        if step == Step::Build {
            tests_of.arg("--no-run");
        } else {
            tests_of.args(["--", "--include-ignored", "--nocapture", "--test-threads=1"]);
        }
        commands.push(tests_of);
    }
    Ok(commands)
}

fn built() -> Command {
    let mut command = cargo();
    build::linker(&mut command);
    command
}

/// Runs them in order; the rows of each group are on disk before the next one begins. Answers the groups that failed, too.
fn figures(commands: Vec<(&str, Command)>) -> anyhow::Result<(Results, Vec<String>)> {
    let directory = build::target().join("bench");
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let (mut results, mut failed) = (Results::default(), Vec::new());
    let mut commands = commands.into_iter().peekable();
    while let Some((group, _)) = commands.peek() {
        let group = *group;
        let rows = directory.join(format!("{group}.jsonl"));
        std::fs::write(&rows, "").with_context(|| format!("cannot write {}", rows.display()))?;
        let machine = Machine::look(&root())?;
        println!("== {group}: {machine}, load {}", machine.load);
        while let Some((_, mut command)) = commands.next_if(|(of, _)| *of == group) {
            if let Err(error) = sh(command.env(ROWS_FILE, &rows)) {
                println!("== {group} failed: {error:#}");
                failed.push(group.to_owned());
            }
        }
        let (group, note) = (group.to_owned(), String::new());
        results.put(Run { group, machine, note, rows: rows_of(&rows)? });
        results.write(&directory.join(RESULTS))?;
    }
    println!("figures: {}", directory.join(RESULTS).display());
    Ok((results, failed))
}

/// Puts runs in the place of those that the documentation shows; groups that were not measured, or not to their end, stay as
/// they are.
fn document(measured: &Results, failed: &[String]) -> anyhow::Result<()> {
    let directory = root().join(DOCUMENTED);
    let file = directory.join(RESULTS);
    let mut documented = if file.exists() { Results::read(&file)? } else { Results::default() };
    for run in measured.runs.iter().filter(|run| !failed.contains(&run.group)) {
        documented.put(run.clone());
    }
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    documented.write(&file)?;
    draw(&documented, &directory)
}

/// A plot of each group, and one page with all tables.
fn draw(results: &Results, directory: &Path) -> anyhow::Result<()> {
    let write = |name: String, text: String| {
        let path = directory.join(name);
        println!("writing {}", path.display());
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for run in &results.runs {
        if let Some(svg) = plot(run) {
            write(format!("{}.svg", run.group), svg)?;
        }
    }
    write("figures.md".to_owned(), results.page())
}
