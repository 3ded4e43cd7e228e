//! Connections that do not go over TCP: a simulator's. It says itself who is at each end, where TLS does otherwise.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::peer::{PeerIdentity, PeerInfo};
use crate::tls::Expected;

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Debug + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin + 'static> Stream for T {}

/// One end of a connection.
pub type End = Box<dyn Stream>;

/// Makes and takes connections between nodes. Give it to [`crate::Credentials::set_wire`].
pub trait Wire: Debug + Send + Sync + 'static {
    /// A connection of the node `own` to `address`, where a node is that is as expected.
    fn connect(
        &self,
        own: PeerIdentity,
        address: &str,
        expected: Expected,
    ) -> BoxFuture<'static, io::Result<End>>;

    /// Connections to the node `own` at an address, until the stream is dropped.
    ///
    /// # Errors
    /// When the address is taken.
    fn listen(
        &self,
        own: PeerIdentity,
        address: SocketAddr,
    ) -> io::Result<BoxStream<'static, (End, PeerInfo)>>;
}

/// Shared by many owners.
pub type SharedWire = Arc<dyn Wire>;
