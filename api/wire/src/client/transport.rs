//! Connections.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, Join, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Endpoint, Error};

/// Makes connections to one endpoint, for who speaks on them himself.
#[derive(Clone)]
pub struct Dialer {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dialer").field(&self.endpoint).finish()
    }
}

impl Dialer {
    /// Reads certificates, where the endpoint has some. Does not connect yet.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, Error> {
        let tls = match &endpoint {
            Endpoint::Tcp { tls: Some(options), .. } => Some(super::tls::connector(options)?),
            Endpoint::Tcp { .. } | Endpoint::Unix(_) | Endpoint::Ssh { .. } => None,
        };
        Ok(Self { endpoint, tls })
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody answers, or with a certificate that is not trusted.
    pub async fn connect(&self) -> Result<Transport, Error> {
        connect(&self.endpoint, self.tls.as_ref()).await
    }
}

/// A connection of any kind.
#[allow(missing_docs, reason = "as endpoints")]
pub enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// The child is killed when the connection is dropped.
    Ssh {
        stdio: Join<ChildStdout, ChildStdin>,
        _child: Box<Child>,
    },
}

/// Connects.
pub(super) async fn connect(
    endpoint: &Endpoint,
    tls: Option<&TlsConnector>,
) -> Result<Transport, Error> {
    open(endpoint, tls)
        .await
        .map_err(|source| Error::Connect { endpoint: endpoint.to_string(), source })
}

async fn open(endpoint: &Endpoint, tls: Option<&TlsConnector>) -> io::Result<Transport> {
    match endpoint {
        Endpoint::Unix(path) => UnixStream::connect(path).await.map(Transport::Unix),
        Endpoint::Tcp { host, port, .. } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            let Some(tls) = tls else { return Ok(Transport::Tcp(stream)) };
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            Ok(Transport::Tls(Box::new(tls.connect(name, stream).await?)))
        }
        Endpoint::Ssh { user, host, port, command } => ssh(user.as_deref(), host, *port, command),
    }
}

/// Runs `ssh`; what it says on stderr goes to the user's.
fn ssh(
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    command: &[String],
) -> io::Result<Transport> {
    let mut ssh = Command::new("ssh");
    ssh.args(["-T", "-o", "ConnectTimeout=30"]);
    user.iter().for_each(|user| {
        ssh.args(["-l", user]);
    });
    port.iter().for_each(|port| {
        ssh.args(["-p", &port.to_string()]);
    });
    ssh.arg("--").arg(host).args(command);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut child = ssh.spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(io::Error::other("ssh has no stdio"));
    };
    Ok(Transport::Ssh { stdio: tokio::io::join(stdout, stdin), _child: Box::new(child) })
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Transport::Unix($stream) => $call,
            Transport::Tcp($stream) => $call,
            Transport::Tls($stream) => $call,
            Transport::Ssh { stdio: $stream, .. } => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
