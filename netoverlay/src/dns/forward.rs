//! Questions that the view cannot answer go to other name servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use shoal_base::{SharedClock, blocking};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::message::{Over, Query, is_failure};
use crate::kernel::namespace::Namespace;

/// Longest wait for one server. Source: moby `libnetwork/resolver.go` extIOTimeout.
const PATIENCE: Duration = Duration::from_secs(4);
/// Largest datagram that is taken.
const DATAGRAM_MAX: usize = 65_535;

/// A name server to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// Asked from the host's namespace, else from the sandbox's.
    pub on_host: bool,
}

/// The first answer of the servers, in their order; `None`: none gave one.
pub(super) async fn ask(
    upstreams: &[Upstream],
    namespace: &Arc<Namespace>,
    clock: &SharedClock,
    (query, bytes, over): (&Query, &[u8], Over),
) -> Option<Vec<u8>> {
    let mut last = None;
    for upstream in upstreams {
        let inside = (!upstream.on_host).then(|| Arc::clone(namespace));
        let asked = Box::pin(ask_one(upstream.address, inside, (query, bytes, over)));
        match select(asked, clock.sleep(PATIENCE)).await {
            Either::Left((Ok(message), _)) if !is_failure(&message) => return Some(message),
            Either::Left((Ok(message), _)) => last = Some(message),
            Either::Left((Err(error), _)) => {
                let error = error.to_string();
                tracing::debug!(server = %upstream.address, %query, error, "name server failed");
            }
            Either::Right(_) => {
                tracing::debug!(server = %upstream.address, %query, "name server is silent");
            }
        }
    }
    last
}

async fn ask_one(
    server: SocketAddr,
    inside: Option<Arc<Namespace>>,
    (query, bytes, over): (&Query, &[u8], Over),
) -> io::Result<Vec<u8>> {
    match over {
        Over::Udp => {
            let any = match server.ip() {
                IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let socket = within(inside, move || std::net::UdpSocket::bind(any)).await?;
            socket.set_nonblocking(true)?;
            let socket = UdpSocket::from_std(socket)?;
            socket.connect(server).await?;
            socket.send(bytes).await?;
            let mut answer = vec![0; DATAGRAM_MAX];
            loop {
                let length = socket.recv(&mut answer).await?;
                if query.is_answered_by(&answer[..length]) {
                    answer.truncate(length);
                    return Ok(answer);
                }
            }
        }
        Over::Tcp => {
            let connect = move || std::net::TcpStream::connect_timeout(&server, PATIENCE);
            let stream = within(inside, connect).await?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream)?;
            write_message(&mut stream, bytes).await?;
            let answer = read_message(&mut stream).await?;
            let answer = answer.filter(|answer| query.is_answered_by(answer));
            answer.ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
    }
}

/// Makes a socket, in a namespace or in the host's.
async fn within<T: Send + 'static>(
    inside: Option<Arc<Namespace>>,
    make: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let made = blocking::run("make a socket to a name server", move || match inside {
        None => make(),
        Some(namespace) => namespace.run(make).map_err(io::Error::other)?,
    });
    made.await.map_err(io::Error::other)?
}

/// A message with its length in front; `None`: the connection ended before it.
pub(super) async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Writes a message with its length in front.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes()[..], message].concat();
    stream.write_all(&framed).await
}
