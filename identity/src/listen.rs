//! Accepts connections of nodes: TCP, then TLS, then who it is.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use rustix::net::sockopt;
use rustls::ServerConfig;
use shoal_base::SharedClock;
use shoal_base::tasks::{TaskKind, Tasks};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tower_layer::{Identity, Stack};

use crate::authorize::Authorize;
use crate::credentials::Credentials;
use crate::peer::{self, PeerInfo};
use crate::tls;
use crate::wire::End;

/// Handshakes at one time. A handshake costs about five milliseconds of a core; more at once only make all late.
const HANDSHAKES_MAX: usize = 64;
/// A handshake that takes longer is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// One that was refused may read why for so long.
const LINGER: Duration = Duration::from_secs(1);
/// Connections that wait for the server to take them.
const READY_MAX: usize = 64;
/// Wait after the kernel refused to accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A peer that answers nothing for the sum of these is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls of one connection that their caller gave up before the server saw them. Beyond that a connection counts as an
/// attack and is closed, with all that is on it: those who call are members of the cluster, and a server that was held up
/// finds at once what a busy one gave up meanwhile.
const ABANDONED_MAX: usize = 1024;

/// A server whose every call is checked; add services, then serve [`accept`]'s connections.
pub fn server(credentials: &Credentials) -> Server<Stack<Authorize, Identity>> {
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .http2_max_pending_accept_reset_streams(Some(ABANDONED_MAX))
        .layer(Authorize::new(credentials))
}

/// Connections of nodes, for `tonic`'s `serve_with_incoming`.
pub type Incoming = ReceiverStream<io::Result<PeerStream>>;

/// What connections come from.
pub enum Listener {
    /// TCP; TLS says who is there.
    Tcp(TcpListener),
    /// A [wire](crate::wire::Wire).
    Wire(BoxStream<'static, (End, PeerInfo)>),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Wire(_) => "Wire",
        })
    }
}

/// Listens, by the means that these credentials have.
///
/// # Errors
/// When the address is taken, or not of this host.
pub async fn bind(credentials: &Credentials, address: SocketAddr) -> io::Result<Listener> {
    match credentials.wire() {
        None => TcpListener::bind(address).await.map(Listener::Tcp),
        Some(wire) => wire.listen(credentials.identity(), address).map(Listener::Wire),
    }
}

/// Accepts on `listener` until the stream is dropped or the program stops.
pub fn accept(listener: impl Into<Listener>, credentials: &Credentials, tasks: &Tasks) -> Incoming {
    let (ready, incoming) = mpsc::channel(READY_MAX);
    let listener = match listener.into() {
        Listener::Tcp(listener) => listener,
        Listener::Wire(connections) => {
            tasks.spawn(TaskKind::ClusterListener, take_over(connections, ready));
            return ReceiverStream::new(incoming);
        }
    };
    let acceptor = Acceptor {
        config: tls::server(credentials),
        clock: credentials.clock(),
        tasks: tasks.clone(),
        slots: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        ready,
    };
    tasks.spawn(TaskKind::ClusterListener, acceptor.run(listener));
    ReceiverStream::new(incoming)
}

async fn take_over(
    mut connections: BoxStream<'static, (End, PeerInfo)>,
    ready: mpsc::Sender<io::Result<PeerStream>>,
) {
    while let Some((end, info)) = connections.next().await {
        if ready.send(Ok(PeerStream { stream: Either::Right(end), info })).await.is_err() {
            return;
        }
    }
}

struct Acceptor {
    config: Arc<ServerConfig>,
    clock: SharedClock,
    tasks: Tasks,
    slots: Arc<Semaphore>,
    ready: mpsc::Sender<io::Result<PeerStream>>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        loop {
            let slot = Arc::clone(&self.slots);
            let slot = slot.acquire_owned().await.expect("the semaphore is never closed");
            let accepted = tokio::select! {
                biased;
                () = self.ready.closed() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => self.shake_hands(stream, address, slot),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    self.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn shake_hands(&self, stream: TcpStream, address: SocketAddr, slot: OwnedSemaphorePermit) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        let ready = self.ready.clone();
        let clock = self.clock.clone();
        self.tasks.spawn(TaskKind::ClusterConnection, async move {
            let done = tokio::select! {
                done = handshake(acceptor, stream, address, &clock) => done,
                () = clock.sleep(HANDSHAKE_TIMEOUT) => Err(io::ErrorKind::TimedOut.into()),
            };
            drop(slot);
            match done {
                // The server going away is no failure of the connection.
                Ok(stream) => drop(ready.send(Ok(stream)).await),
                Err(error) => tracing::info!(%address, %error, "refused a connection"),
            }
        });
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    clock: &SharedClock,
) -> io::Result<PeerStream> {
    prepare(&stream)?;
    let accepted = acceptor.accept(stream).into_fallible().await;
    let stream = match accepted {
        Ok(stream) => stream,
        Err((error, stream)) => {
            linger(stream, clock).await;
            return Err(tls::explained(error));
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let identity = shown
        .map(|certificate| peer::facts(certificate).map(|facts| facts.identity))
        .transpose()
        .map_err(io::Error::other)?;
    Ok(PeerStream { stream: Either::Left(stream), info: PeerInfo { address, identity } })
}

/// Closes a connection in a way that lets the other end read why: closed with bytes unread, the kernel would throw away
/// the alert on its way.
async fn linger(mut stream: TcpStream, clock: &SharedClock) {
    let read_on = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    tokio::select! {
        // Whatever comes of it, the connection is refused.
        _ = read_on => {}
        () = clock.sleep(LINGER) => {}
    }
}

/// Small messages go at once (`serve_with_incoming` does not see to that), and a peer that vanished is noticed.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream.as_fd(), true)?;
    sockopt::set_tcp_keepidle(stream.as_fd(), Duration::from_secs(15))?;
    sockopt::set_tcp_keepintvl(stream.as_fd(), Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(stream.as_fd(), 3)?;
    Ok(())
}

/// A connection with a node, or with one that wants to become one.
#[derive(Debug)]
pub struct PeerStream {
    stream: Either<TlsStream<TcpStream>, End>,
    info: PeerInfo,
}

impl Connected for PeerStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tonic::service::Routes;

    use super::*;
    use crate::files::Stored;
    use crate::root::Signer;
    use crate::testing::{NOW, Standing, identity, node, root};
    use shoal_model::cluster::node::NodeRole;

    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;

    /// A frame of HTTP/2, RFC 9113 §4.1.
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        [&head, payload].concat()
    }

    /// The kinds of the frames that a server answers, up to the first that says whether it goes on.
    async fn answer(end: &mut (impl AsyncRead + Unpin)) -> u8 {
        loop {
            let mut head = [0; 9];
            end.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            end.read_exact(&mut payload).await.unwrap();
            if matches!(head[3], PING | GOAWAY) {
                return head[3];
            }
        }
    }

    #[tokio::test]
    async fn calls_that_were_given_up_close_no_connection() {
        let signer = Signer::new(root(), String::new()).unwrap();
        let (chain, key) = node(&signer, identity(NodeRole::Manager), NOW);
        let trust = signer.root().certificate().to_owned();
        let stored = Stored { trust, chain, key, data_keys: Vec::new(), unlock_version: 0 };
        let credentials = Credentials::new(&stored, Arc::new(Standing(NOW))).unwrap();
        // All is there before the server looks, as after a time in which it could not.
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        sent.extend(frame(SETTINGS, 0, 0, &[]));
        for stream in (1..200).step_by(2) {
            // `POST http /`, whole and without a body: RFC 7541, appendix A.
            sent.extend(frame(HEADERS, 5, stream, &[0x83, 0x86, 0x84]));
            sent.extend(frame(RESET, 0, stream, &8u32.to_be_bytes()));
        }
        sent.extend(frame(PING, 0, 0, b"are you?"));
        let (mut near, far) = tokio::io::duplex(1 << 16);
        near.write_all(&sent).await.unwrap();
        let incoming = futures_util::stream::iter([Ok::<_, io::Error>(far)]);
        let incoming = incoming.chain(futures_util::stream::pending());
        let serving = server(&credentials).add_routes(Routes::default());
        tokio::select! {
            answered = answer(&mut near) => assert_eq!(answered, PING),
            served = serving.serve_with_incoming(incoming) => served.unwrap(),
        }
    }
}
