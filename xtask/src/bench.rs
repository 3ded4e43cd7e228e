//! The main job, shown.

/// Placeholder until the daemon runs.
pub(crate) fn run() -> anyhow::Result<()> {
    anyhow::bail!("the daemon does not run yet")
}
