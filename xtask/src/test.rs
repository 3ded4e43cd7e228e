//! The stages of the test command, cheapest first.

use crate::run::{cargo, sh};
use crate::{build, chaos, setup, sim, tidy};

/// Kills of the crash stage where nobody named it; by name it is as long as the test says.
const FEW_KILLS: &str = "40";

/// All stages, in order.
/// Stage `network` is a short round; `SHOAL_NETWORK_OPERATIONS=500` makes it the long one.
pub(crate) const STAGES: [&str; 15] = [
    "fmt",
    "tidy",
    "clippy",
    "unit",
    "conformance",
    "compose",
    "network",
    "cgroup2",
    "crash",
    "sim",
    "cluster",
    "linear",
    "dockerd",
    "soak",
    "chaos",
];

/// Stages that run only when they are named: they need Docker's daemon, or take half an hour.
const ON_REQUEST: [&str; 2] = ["dockerd", "soak"];

/// Of the labs' tests those that run where nobody named the stage, or `SHOAL_FEW_LABS` is set: each subject once, in some minutes.
const FEW_LABS: &str = "binary(swarm) or test(a_minority_acknowledges_nothing) \
     or test(a_locked_clusters_backup) or test(what_would_lose_the_quorum) \
     or test(a_replicated_service_is_created) or test(a_stack_lives_from_deploy_to_rm) \
     or test(a_service_publishes_a_port_on_every_host) or test(services_reach_each_other_by_name) \
     or test(logs_of_a_service_come_from_all_hosts)";
/// All of them.
const ALL_LABS: &str = "all()";

/// Lab chaos where nobody named the stage: minutes and seed.
const SHORT_CHAOS: (&str, &str) = ("3", "3");

/// Runs of the linearizability check where it was asked for by name.
const MANY_RUNS: &str = "20";

/// Runs the given stages, or all but those on request; after one that fails, the others too.
///
/// # Errors
/// Names the stages that failed.
pub(crate) fn run(chosen: &[String]) -> anyhow::Result<()> {
    if let Some(unknown) = chosen.iter().find(|name| !STAGES.contains(&name.as_str())) {
        anyhow::bail!("unknown stage {unknown}; there are: {}", STAGES.join(", "));
    }
    setup::run()?;
    let mut failed = Vec::new();
    for name in STAGES {
        let named = chosen.iter().any(|chosen| chosen == name);
        if !named && (!chosen.is_empty() || ON_REQUEST.contains(&name)) {
            continue;
        }
        println!("== {name}");
        if let Err(error) = stage(name, named) {
            println!("== {name} failed: {error:#}");
            failed.push(name);
        }
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn stage(name: &str, named: bool) -> anyhow::Result<()> {
    let of_chaos_tests = |arguments: &[&str]| {
        let package = ["-p", "shoal-chaos-tests"];
        programs(&[&package[..], arguments].concat())
    };
    match name {
        "fmt" => sh(cargo().args(["fmt", "--all", "--check"])),
        "tidy" => tidy::run(),
        "clippy" => sh(linked()
            .args(["clippy", "--locked", "--workspace", "--all-targets"])
            .args(["--", "-D", "warnings"])),
        "unit" => unit(),
        "conformance" => of_chaos_tests(&[
            "--test",
            "conformance",
            "--test",
            "outage",
            "-E",
            "not test(shoal_drives_dockerd)",
        ]),
        "dockerd" => {
            setup::dockerd()?;
            of_chaos_tests(&["--test", "conformance", "-E", "test(shoal_drives_dockerd)"])
        }
        "compose" | "network" => of_chaos_tests(&["--test", name]),
        "cgroup2" => of_chaos_tests(&["--test", "cgroup_v2"]),
        "crash" => crash(named),
        "sim" => sim::test(named),
        "cluster" => cluster(named),
        "linear" => linear(named),
        "soak" => of_chaos_tests(&["--test", "soak", "--no-capture"]),
        "chaos" => {
            of_chaos_tests(&["--test", "chaos"])?;
            chaos::run((!named).then_some(SHORT_CHAOS))
        }
        other => anyhow::bail!("stage {other} does nothing"),
    }
}

/// Labs of several hosts: all tests when named, few otherwise.
fn cluster(named: bool) -> anyhow::Result<()> {
    let is_short = !named || std::env::var_os("SHOAL_FEW_LABS").is_some();
    programs(&[
        "-p",
        "shoal-chaos-tests",
        "--test",
        "swarm",
        "--test",
        "swarm_input",
        "--test",
        "swarm_faults",
        "--test",
        "swarm_recovery",
        "--test",
        "swarm_disks",
        "--test",
        "swarm_odd",
        "--test",
        "services",
        "--test",
        "stack",
        "--test",
        "mesh",
        "--test",
        "overlay",
        "--test",
        "logs",
        "-E",
        if is_short { FEW_LABS } else { ALL_LABS },
    ])
}

/// Unit and kernel tests of every crate; those that need a program get the directory of the built ones.
fn unit() -> anyhow::Result<()> {
    programs(&["--workspace", "--exclude", "shoal-chaos-tests", "--exclude", "shoal-sim"])?;
    programs(&["-p", "shoal-chaos-tests", "--lib"])
}

/// Kills of the daemon under a workload: 200 when named, few otherwise; `SHOAL_CRASH_ROUNDS` overrules both.
fn crash(named: bool) -> anyhow::Result<()> {
    let rounds = std::env::var("SHOAL_CRASH_ROUNDS").ok();
    let rounds = rounds.or_else(|| (!named).then(|| FEW_KILLS.to_owned()));
    let mut test = programs_command(&["-p", "shoal-chaos-tests", "--test", "crash"])?;
    test.envs(rounds.map(|rounds| ("SHOAL_CRASH_ROUNDS", rounds)));
    sh(&mut test)
}

/// Concurrent clients through kills and cuts of managers: many runs when named, one otherwise; `SHOAL_LINEAR_RUNS`
/// overrules both.
fn linear(named: bool) -> anyhow::Result<()> {
    let runs = std::env::var("SHOAL_LINEAR_RUNS").ok();
    let runs = runs.or_else(|| named.then(|| MANY_RUNS.to_owned()));
    let mut test = programs_command(&["-p", "shoal-chaos-tests", "--test", "linear"])?;
    test.envs(runs.map(|runs| ("SHOAL_LINEAR_RUNS", runs))).arg("--no-capture");
    sh(&mut test)
}

fn programs(arguments: &[&str]) -> anyhow::Result<()> {
    sh(&mut programs_command(arguments)?)
}

fn programs_command(arguments: &[&str]) -> anyhow::Result<std::process::Command> {
    let directory = build::run(false)?;
    let mut command = linked();
    command
        .env("SHOAL_BIN_DIR", &directory)
        .env("SHOAL_SHIM", directory.join("shoal-shim"))
        .args(["nextest", "run", "--locked", "--no-fail-fast"])
        .args(arguments);
    Ok(command)
}

fn linked() -> std::process::Command {
    let mut command = cargo();
    build::linker(&mut command);
    command
}
