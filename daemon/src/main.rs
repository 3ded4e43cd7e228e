//! `shoald`: the composition root. Reads options, takes the data root, composes, serves, and on SIGTERM goes away
//! without touching a container.

mod attachments;
mod cluster;
mod compose;
mod config;
mod executor;
mod facts;
mod generic;
mod lab;
mod lock;
mod memory;
mod networking;
mod options;
mod ports;
mod seal;
mod serve;
mod tls;

use std::path::Path;

use anyhow::Context;
use clap::Parser;
use shoal_base::tasks::Tasks;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::options::Options;

/// Storage driver as docker calls it.
const STORAGE_DRIVER: &str = "overlay2";
/// Threads for asynchronous work. The work is short; what blocks has threads of its own.
const WORKERS: usize = 2;

fn main() -> anyhow::Result<()> {
    shoal_engine::sys::keep_one_heap();
    let config = config::load(Options::parse())?;
    log_to_stderr(&config.options);
    check_length(&config.exec_root)?;
    check_root()?;
    make_directory(&config.data_root, 0o711)?;
    make_directory(&config.exec_root, 0o711)?;
    let _lock = lock::Lock::take(&config.data_root)?;
    let pidfile =
        config.options.pidfile.clone().unwrap_or_else(|| config.exec_root.join("shoald.pid"));
    let _pidfile = lock::PidFile::write(&pidfile)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(run(config));
    // A blocking job of a client that went away must not keep the daemon; the next start repairs.
    runtime.shutdown_background();
    result
}

async fn run(config: Config) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let tls = tls::server_config(&config.options)?;
    let (ports, closing) = compose::compose(&config, &tasks).await?;
    serve::start(&config, tls, shoal_api::router(ports), &tasks).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "serving");
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: leaving, containers stay"),
        _ = interrupt.recv() => tracing::info!("SIGINT: leaving, containers stay"),
        () = tasks.stopping().cancelled_owned() => {}
    }
    closing.cluster.stop().await;
    let failed = tasks.shut_down().await;
    seal::seal(&closing.images).await;
    if let Err(error) = closing.networks.leave().await {
        let error = shoal_model::error::Chain(&error).to_string();
        tracing::warn!(error, "rules left behind in other programs' tables");
    }
    match failed {
        Some(failure) => anyhow::bail!("a task that the daemon needs failed: {failure}"),
        None => Ok(()),
    }
}

/// Refuses to run where commands that are executed in containers would be beneath this host's root instead of theirs.
fn check_root() -> anyhow::Result<()> {
    let is_in_chroot = shoal_engine::sys::is_in_chroot();
    let is_in_chroot = is_in_chroot.context(
        "cannot look at the root of the mount namespace: shoald runs as root, with /proc",
    )?;
    anyhow::ensure!(
        !is_in_chroot,
        "this is a chroot: what is executed in containers would see the files outside of it; give the daemon a mount \
         namespace with this directory as its root (`unshare --mount` and `pivot_root`, or `systemd-nspawn`)"
    );
    Ok(())
}

/// Bytes of the exec root: sockets live beneath it, `/shim/<container>/shim.sock`, and the path of a socket has
/// 107 bytes at most.
const EXEC_ROOT_MAX: usize = 107 - "/shim/".len() - 64 - "/shim.sock".len();

/// Refuses an exec root under which no container could be started.
fn check_length(exec_root: &Path) -> anyhow::Result<()> {
    let length = exec_root.as_os_str().len();
    anyhow::ensure!(
        length <= EXEC_ROOT_MAX,
        "--exec-root `{}` has {length} bytes: at most {EXEC_ROOT_MAX}, since containers have sockets beneath it",
        exec_root.display()
    );
    Ok(())
}

fn log_to_stderr(options: &Options) {
    let level =
        if options.debug { "debug" } else { options.log_level.as_deref().unwrap_or("info") };
    // Consensus tells each of its steps at `info`; they are for its developers.
    let directives = if level == "info" { "info,openraft=warn" } else { level };
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn make_directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("cannot create `{}`", path.display()))
}
