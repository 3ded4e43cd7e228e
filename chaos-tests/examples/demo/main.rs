//! The main job, shown: what a user types and what comes back, each step checked. Run by `cargo xtask demo`.
//!
//! The play is a process of its own, so that the one that started it can clean up after it however it ends: by
//! itself, by an error, or by Ctrl-C.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it shows")]

mod cluster;
mod host;
mod stage;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use shoal_chaos_tests::command::{command, monotonic};
use shoal_chaos_tests::lab::Lab;
use tokio::signal::unix::{SignalKind, signal};

/// First word of the process that plays; the second is the directory of its labs.
const PLAY: &str = "play";
/// Directories of the labs. Short: sockets of containers live beneath them.
const LABS: [&str; 2] = ["o", "c"];

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [word, directory] if word == PLAY => play(Path::new(directory)).map(|()| ExitCode::SUCCESS),
        _ => supervise(),
    }
}

fn play(directory: &Path) -> anyhow::Result<()> {
    let began = monotonic();
    let mut checked = host::play(&directory.join(LABS[0]))?;
    checked.extend(cluster::play(directory, &directory.join(LABS[1]))?);
    println!("\nchecked, in {} seconds:", (monotonic() - began).as_secs());
    for what in checked {
        println!("  {what}");
    }
    Ok(())
}

/// How the play ended.
enum End {
    Exited(std::process::ExitStatus),
    Interrupted,
}

/// Runs the play and removes what it left, when it was interrupted, too.
fn supervise() -> anyhow::Result<ExitCode> {
    let directory = tempfile::Builder::new().prefix("sd-").tempdir_in("/tmp")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let end = runtime.block_on(watch(directory.path()));
    let cleaned = clean(directory.path());
    let end = end?;
    cleaned?;
    match end {
        End::Exited(status) if status.success() => Ok(ExitCode::SUCCESS),
        End::Exited(_) => Ok(ExitCode::FAILURE),
        End::Interrupted => {
            eprintln!("\ninterrupted; everything the demo made was removed");
            Ok(ExitCode::from(130))
        }
    }
}

async fn watch(directory: &Path) -> anyhow::Result<End> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut play = command(std::env::current_exe()?);
    // A group of its own, so that all its programs can be ended at once.
    play.arg(PLAY).arg(directory).process_group(0);
    let mut play = tokio::process::Command::from(play).spawn().context("cannot start the play")?;
    let group = play.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    tokio::select! {
        status = play.wait() => Ok(End::Exited(status?)),
        _ = interrupt.recv() => end(play, group).await,
        _ = terminate.recv() => end(play, group).await,
    }
}

async fn end(mut play: tokio::process::Child, group: Option<Pid>) -> anyhow::Result<End> {
    if let Some(group) = group {
        kill_process_group(group, Signal::KILL)?;
    }
    play.wait().await?;
    Ok(End::Interrupted)
}

/// Takes down the labs that the play left.
fn clean(directory: &Path) -> anyhow::Result<()> {
    let labs = LABS.map(|lab| directory.join(lab));
    let left: Vec<PathBuf> = labs.into_iter().filter(|lab| lab.join("hosts").exists()).collect();
    left.iter().try_for_each(|lab| Lab::open(lab)?.down())
}
