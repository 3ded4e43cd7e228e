//! The budgets of stacks and of the command line.
//!
//! Run by `cargo xtask bench stacks`: a stack of fifty services with two replicas each in a lab of three hosts, and whole
//! processes of `shoal` that read its file, or only start.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use shoal_chaos_tests::command::{eventually, monotonic, run};
use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::service_lab::{ServiceLab, call};
use shoal_report::{Row, Sheet, milliseconds, seconds};

const SERVICES: usize = 50;
const REPLICAS: usize = 2;
const ROUNDS: usize = 3;
/// Runs of a short process.
const STARTS: usize = 50;
/// Nothing takes longer.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> anyhow::Result<()> {
    let files = tempfile::tempdir()?;
    let file = files.path().join("stack.yaml");
    std::fs::write(&file, stack()?)?;
    let shoal = bin_dir()?.join("shoal");
    let lab = ServiceLab::up(&format!("s{}", std::process::id()), 3, 3, &["--log-level", "warn"])?;
    let mut deployed = Vec::new();
    let mut again = Vec::new();
    for _ in 0..ROUNDS {
        deployed.push(deploy(&lab, &shoal, &file)?);
        again.push(timed(&mut client(&lab, &shoal, &file))?);
        remove(&lab, &shoal)?;
    }
    let starts = processes(|| {
        let mut start = lab.lab.client(1, &shoal);
        start.arg("--version");
        start
    })?;
    let reads = processes(|| {
        let mut read = lab.lab.client(1, &shoal);
        read.args(["stack", "config", "-c"]).arg(&file);
        read
    })?;
    let mut sheet = Sheet::begin()?;
    let deploy = seconds(&deployed);
    sheet.add(Row::at_most("stack of 50 services, deploy to all running", "s", &deploy, 6.0))?;
    let again = seconds(&again);
    sheet.add(Row::at_most("the same deployed again, nothing changes", "s", &again, 6.0))?;
    let reads = milliseconds(&reads);
    sheet.add(Row::at_most("read and print its file, whole process", "ms", &reads, 20.0))?;
    let starts = milliseconds(&starts);
    sheet.add(Row::at_most("`shoal --version`, whole process", "ms", &starts, 5.0))?;
    sheet.finish();
    Ok(())
}

/// A file as people write it: a network, variables, merged parts.
fn stack() -> anyhow::Result<String> {
    let mut text = String::from(
        "x-common: &common\n  image: busybox:latest\n  command: [sleep, \"1000\"]\n  stop_signal: SIGKILL\n  \
         networks: [back]\n  deploy: {replicas: 2}\nnetworks:\n  back: {}\nservices:\n",
    );
    for number in 0..SERVICES {
        writeln!(text, "  s{number}:\n    <<: *common\n    environment:")?;
        // As a digest does: no registry is asked.
        writeln!(text, "      DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: \"1\"")?;
        writeln!(text, "      NUMBER: \"{number}\"\n      PLACE: ${{PLACE:-here}}")?;
    }
    Ok(text)
}

fn client(lab: &ServiceLab, shoal: &Path, file: &Path) -> Command {
    let mut client = lab.lab.client(1, shoal);
    client.args(["stack", "deploy", "--resolve-image", "never", "-c"]).arg(file).arg("many");
    client
}

/// From the client's start until all tasks run.
fn deploy(lab: &ServiceLab, shoal: &Path, file: &Path) -> anyhow::Result<Duration> {
    let mut api = Connection::open(&lab.socket(1))?;
    let start = monotonic();
    succeed(&mut client(lab, shoal, file))?;
    let mut failure = None;
    eventually("the tasks to run", LIMIT, || match call(&mut api, "GET", "/tasks", "") {
        Ok(tasks) => running(&tasks) == SERVICES * REPLICAS,
        Err(error) => {
            failure = Some(error);
            true
        }
    })?;
    failure.map_or(Ok(monotonic() - start), Err)
}

fn running(tasks: &Value) -> usize {
    let runs = |task: &&Value| task["Status"]["State"] == "running";
    tasks.as_array().map_or(0, |tasks| tasks.iter().filter(runs).count())
}

fn remove(lab: &ServiceLab, shoal: &Path) -> anyhow::Result<()> {
    let mut rm = lab.lab.client(1, shoal);
    succeed(rm.args(["stack", "rm", "many"]))?;
    let mut hosts = lab
        .numbers()
        .map(|host| Connection::open(&lab.socket(host)))
        .collect::<Result<Vec<_>, _>>()?;
    eventually("the containers to go", LIMIT, || {
        hosts.iter_mut().all(|host| {
            call(host, "GET", "/containers/json?all=1", "")
                .is_ok_and(|list| list.as_array().is_some_and(Vec::is_empty))
        })
    })
}

fn processes(mut command: impl FnMut() -> Command) -> anyhow::Result<Vec<Duration>> {
    (0..STARTS).map(|_| timed(&mut command())).collect()
}

fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    let start = monotonic();
    succeed(command)?;
    Ok(monotonic() - start)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = run(command).context("cannot run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
