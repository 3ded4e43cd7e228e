//! How other members are reached.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tonic::transport::{Channel, Endpoint};

use crate::Member;

/// Makes connections to members. The composition root puts mTLS here.
pub trait Connector: Debug + Send + Sync + 'static {
    /// A connection to `member`; each call makes a new one. It should reconnect by itself, set
    /// `tcp_nodelay`, and detect a dead peer (HTTP/2 keep-alive).
    ///
    /// # Cancel safety
    /// Dropping the future gives up the connection.
    fn connect(&self, member: &Member) -> BoxFuture<'static, Result<Channel, ConnectError>>;
}

/// A member was not reached.
#[derive(Debug, thiserror::Error)]
#[error("failed to connect to raft member at `{address}`")]
pub struct ConnectError {
    /// Where.
    pub address: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Plain TCP, for tests and benches.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

/// An endpoint with what suits raft connections of any kind; a connector with TLS goes on top.
///
/// # Errors
/// When the address is no authority of a URI.
pub fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(Some(4 << 20))
        .initial_connection_window_size(Some(8 << 20)))
}

impl Connector for TcpConnector {
    fn connect(&self, member: &Member) -> BoxFuture<'static, Result<Channel, ConnectError>> {
        let address = member.address.clone();
        Box::pin(async move {
            match endpoint(&address) {
                Ok(endpoint) => Ok(endpoint.connect_lazy()),
                Err(source) => Err(ConnectError { address, source: source.into() }),
            }
        })
    }
}
