//! Running other programs, loudly.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

/// The directory that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| "xtask".into(), PathBuf::from);
    here.parent().map_or_else(|| ".".into(), PathBuf::from)
}

/// Where Debian's docker CLI is unpacked.
pub(crate) fn docker_client() -> PathBuf {
    root().join("target/tools/docker.io")
}

/// A command that inherits the environment and runs in the workspace's root. `docker` is Debian's where the machine has
/// none.
#[expect(clippy::disallowed_methods, reason = "xtask depends on no crate of ours")]
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    // Where nothing is missing the path stays as it is: some build scripts run again when it changes.
    if !on_path("docker") {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let last = docker_client().join("usr/bin");
        if let Ok(path) = std::env::join_paths(std::env::split_paths(&path).chain([last])) {
            command.env("PATH", path);
        }
    }
    command
}

/// Cargo, the one that runs us.
pub(crate) fn cargo() -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}

/// Prints the command, runs it and fails when it fails.
pub(crate) fn sh(command: &mut Command) -> anyhow::Result<()> {
    println!("$ {}", render(command));
    let status = command.status().with_context(|| format!("cannot run {}", render(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", render(command));
    }
    Ok(())
}

/// Runs it quietly and returns what it printed.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", render(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}\n{}",
            render(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is on the search path.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory| directory.join(program).is_file())
}

fn render(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
