//! Listens on the configured addresses and serves the API there.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use rustls::ServerConfig;
use shoal_api::server::{Listener, serve};
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{Clock as _, SystemClock};
use tokio::net::{TcpListener, UnixListener};

use crate::config::{Config, Host};

/// How often an address that somebody holds is tried, and the pause between.
const SERVED_TRIES: u32 = 20;
const SERVED_PAUSE: Duration = Duration::from_millis(25);

/// Starts one task per address. All addresses are bound when this returns.
pub(crate) async fn start(
    config: &Config,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    for host in &config.hosts {
        let Some(listener) = listen(host, config, tls.clone()).await? else { continue };
        let (router, owner) = (router.clone(), tasks.clone());
        tasks.spawn(TaskKind::ApiListener, async move {
            serve(listener, router, owner, Arc::new(SystemClock)).await;
        });
    }
    Ok(())
}

async fn listen(
    host: &Host,
    config: &Config,
    tls: Option<Arc<ServerConfig>>,
) -> anyhow::Result<Option<Listener>> {
    match host {
        Host::Unix { path, optional } => {
            if served(path).await {
                if *optional {
                    tracing::info!(path = %path.display(), "is served by another daemon: left alone");
                    return Ok(None);
                }
                bail!("`{}` is served by another daemon", path.display());
            }
            let listener = unix(path, config.options.group.as_deref())
                .with_context(|| format!("cannot listen at `{}`", path.display()))?;
            Ok(Some(Listener::Unix(listener)))
        }
        Host::Tcp(address) => {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen at `tcp://{address}`"))?;
            if tls.is_none() {
                tracing::warn!(
                    address,
                    "served without TLS: whoever reaches it is root on this host"
                );
            }
            Ok(Some(match tls {
                Some(config) => Listener::Tls(listener, config),
                None => Listener::Tcp(listener),
            }))
        }
    }
}

/// Whether another daemon listens there. A child that a killed daemon had just forked holds the daemon's socket
/// until it executes its program, hence only who accepts for a while counts.
async fn served(path: &Path) -> bool {
    for _ in 0..SERVED_TRIES {
        if UnixStream::connect(path).is_err() {
            return false;
        }
        SystemClock.sleep(SERVED_PAUSE).await;
    }
    true
}

/// A socket for root and the group. What a dead daemon left is replaced.
fn unix(path: &Path, group: Option<&str>) -> anyhow::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, Some(0), Some(group_id(group)?))?;
    }
    Ok(listener)
}

fn group_id(name: &str) -> anyhow::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = std::fs::read_to_string("/etc/group").context("cannot read /etc/group")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split(':').nth(1)?.parse().ok());
    number.with_context(|| format!("there is no group `{name}`"))
}
