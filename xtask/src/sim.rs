//! The simulation, built so that tokio takes seeds: in a target directory of its own, as all crates are built anew for it.

use std::path::PathBuf;
use std::process::Command;

use crate::run::{cargo, command, on_path, output, root, sh};

const UNSTABLE: &str = "--cfg tokio_unstable";
/// What is built for many seeds runs here and nowhere else.
const NATIVE: &str = "-C target-cpu=native";

/// Passes words on to the simulator. For many seeds it is built with more care.
///
/// # Errors
/// When it does not build, or finds something.
pub(crate) fn run(words: &[String]) -> anyhow::Result<()> {
    let is_many = words.iter().any(|word| word.starts_with("--seeds"));
    let (profile, flags) = if is_many { ("sim-many", NATIVE) } else { ("sim", "") };
    let build = ["run", "--quiet", "--locked", "--profile", profile, "-p", "shoal-sim", "--"];
    sh(prepared(&build, flags)?.args(words))
}

/// The fixed seeds, each twice, and the planted bugs. When named, `SHOAL_SEED` runs one seed instead.
///
/// # Errors
/// Names what failed.
pub(crate) fn test(named: bool) -> anyhow::Result<()> {
    if named && let Ok(seed) = std::env::var("SHOAL_SEED") {
        return run(&["--seed".to_owned(), seed, "--twice".to_owned()]);
    }
    let words = ["nextest", "run", "--locked", "--no-fail-fast", "--cargo-profile", "sim"];
    sh(prepared(&words, "")?.args(["-p", "shoal-sim", "--features", "planted"]))
}

fn prepared(words: &[&str], more_flags: &str) -> anyhow::Result<Command> {
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    if flags.is_empty() && on_path("mold") {
        "-C link-arg=-fuse-ld=mold".clone_into(&mut flags);
    }
    let mut command = cargo();
    command
        .env("RUSTFLAGS", format!("{flags} {UNSTABLE} {more_flags}").trim())
        .env("CARGO_TARGET_DIR", target()?.join("simulation"))
        .args(words);
    Ok(command)
}

/// The workspace's target directory.
fn target() -> anyhow::Result<PathBuf> {
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        return Ok(root().join(target));
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let metadata =
        output(command(&cargo).args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    Ok(metadata["target_directory"].as_str().unwrap_or("target").into())
}
