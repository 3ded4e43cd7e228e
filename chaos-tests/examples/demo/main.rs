//! The main job, shown: what a user types and what comes back, each step checked. Run by `cargo xtask demo`.

#![allow(clippy::print_stdout, reason = "it shows")]

mod cluster;
mod host;

fn main() -> anyhow::Result<()> {
    let mut checked = host::play()?;
    checked.extend(cluster::play()?);
    println!(
        "\nchecked: {}; no process, cgroup, mount, link or namespace was left",
        checked.join("; ")
    );
    Ok(())
}
