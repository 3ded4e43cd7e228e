//! Memory of processes.

use anyhow::Context;

/// Proportional set size in MB.
///
/// # Errors
/// When there is no such process.
pub fn pss(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1e3)
}
