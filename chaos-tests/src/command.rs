//! Running programs and waiting for conditions.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, bail};

/// A command with the caller's environment.
#[expect(clippy::disallowed_methods, reason = "tests drive programs as a user's shell does")]
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

/// Runs a program and returns its standard output; fails when it fails.
///
/// # Errors
/// When it cannot be run or exits with another code than zero.
pub fn stdout(command: &mut Command) -> anyhow::Result<String> {
    let output = run(command)?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program whatever its exit code.
///
/// # Errors
/// When it cannot be run.
pub fn run(command: &mut Command) -> anyhow::Result<Output> {
    command.output().with_context(|| format!("cannot run {command:?}"))
}

/// Asks `condition` again and again until it holds.
///
/// # Errors
/// When `limit` passed before it did; the message names `what`.
pub fn eventually(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let deadline = monotonic() + limit;
    while !condition() {
        if monotonic() > deadline {
            bail!("waited {limit:?} for {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Monotonic time.
pub fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
