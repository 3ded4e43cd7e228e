//! Serves the API on listeners that the daemon gives: unix sockets, TCP, TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use shoal_base::SharedClock;
use shoal_base::tasks::{TaskKind, Tasks};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

/// How long a client may take for its request's head; so long a connection that is kept may rest, too.
///
/// Source: moby `cmd/dockerd/daemon.go` ReadHeaderTimeout.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);
/// How long the TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener.
pub enum Listener {
    /// A unix socket; who may connect is decided by its file mode.
    Unix(UnixListener),
    /// TCP without protection.
    Tcp(TcpListener),
    /// TCP with TLS; the configuration decides whether clients need a certificate.
    Tls(TcpListener, Arc<rustls::ServerConfig>),
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unix(_) => "Unix",
            Self::Tcp(_) => "Tcp",
            Self::Tls(..) => "Tls",
        })
    }
}

/// Accepts connections until the tasks stop, and serves each in a task of its own.
pub async fn serve(listener: Listener, router: Router, tasks: Tasks, clock: SharedClock) {
    loop {
        if let Err(error) = accept(&listener, &router, &tasks, &clock).await {
            tracing::warn!(%error, ?listener, "cannot accept a connection");
            clock.sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn accept(
    listener: &Listener,
    router: &Router,
    tasks: &Tasks,
    clock: &SharedClock,
) -> io::Result<()> {
    match listener {
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            tasks.spawn(TaskKind::ApiConnection, connection(stream, router.clone()));
        }
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tasks.spawn(TaskKind::ApiConnection, connection(stream, router.clone()));
        }
        Listener::Tls(listener, config) => {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let handshake = TlsAcceptor::from(Arc::clone(config)).accept(stream);
            let (router, timeout) = (router.clone(), clock.sleep(HANDSHAKE_TIMEOUT));
            tasks.spawn(TaskKind::ApiConnection, async move {
                tokio::select! {
                    accepted = handshake => match accepted {
                        Ok(stream) => connection(stream, router).await,
                        Err(error) => tracing::info!(%peer, %error, "TLS handshake failed"),
                    },
                    () = timeout => tracing::info!(%peer, "TLS handshake took too long"),
                }
            });
        }
    }
    Ok(())
}

/// Serves one connection: requests in turn, upgrades, streams without limit of time.
///
/// A client that closes its connection while an answer is streaming ends the stream: its producer is dropped.
async fn connection<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended early");
    }
}
