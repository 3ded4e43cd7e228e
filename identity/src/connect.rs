//! Connects to nodes: TCP, then TLS with the certificate that this node has at that moment.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use shoal_model::error::{Classified, ErrorKind};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use crate::credentials::Credentials;
use crate::tls::{self, Expected};
use crate::told::Told;
use crate::wire::{End, SharedWire};
use crate::{listen, peer};

/// A dead address is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that answers nothing for the sum of these is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A node was not reached.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("`{address}` is not an address of the form HOST:PORT")]
    Address { address: String },
    #[error("failed to connect to `{address}`")]
    Tcp {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("failed to agree on TLS with `{address}`")]
    Tls {
        address: String,
        #[source]
        source: io::Error,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Address { .. } => ErrorKind::InvalidArgument,
            Self::Tcp { .. } => ErrorKind::Unavailable,
            Self::Tls { .. } => ErrorKind::Forbidden,
        }
    }
}

/// Makes TLS connections for any `tonic` endpoint: give it to `connect_with_connector_lazy`. The endpoint's scheme
/// must be `http`: the TLS is ours, not `tonic`'s.
#[derive(Debug, Clone)]
pub struct Connector(Means);

#[derive(Debug, Clone)]
enum Means {
    Tls(Arc<ClientConfig>),
    Wire { wire: SharedWire, own: Credentials, expected: Expected },
}

impl Connector {
    /// As this node, to the node that is expected.
    pub fn new(credentials: &Credentials, expected: Expected) -> Self {
        Self(match credentials.wire() {
            None => Means::Tls(tls::client(credentials, expected)),
            Some(wire) => Means::Wire { wire, own: credentials.clone(), expected },
        })
    }

    /// With another configuration of [`crate::tls`].
    pub fn with(config: Arc<ClientConfig>) -> Self {
        Self(Means::Tls(config))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Either<Told, End>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = uri.authority().map(ToString::to_string).unwrap_or_default();
        let config = match &self.0 {
            Means::Tls(config) => Arc::clone(config),
            Means::Wire { wire, own, expected } => {
                let connecting = wire.connect(own.identity(), &address, *expected);
                return Box::pin(async move {
                    let end = connecting.await.map_err(|source| Error::Tcp { address, source })?;
                    Ok(TokioIo::new(Either::Right(end)))
                });
            }
        };
        let connector = TlsConnector::from(config);
        Box::pin(async move {
            let stream = tcp(&address)
                .await
                .map_err(|source| Error::Tcp { address: address.clone(), source })?;
            // The name says nothing here: who it is, is checked by the node's id and role (see `tls`).
            let name =
                ServerName::try_from(peer::unit(shoal_model::cluster::node::NodeRole::Manager))
                    .expect("the unit of managers is a name");
            connector
                .connect(name, stream)
                .await
                .map(|stream| TokioIo::new(Either::Left(Told(stream))))
                .map_err(|source| Error::Tls { address, source: tls::explained(source) })
        })
    }
}

async fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    listen::prepare(&stream)?;
    Ok(stream)
}

/// What suits connections between nodes.
///
/// # Errors
/// When `address` is not `HOST:PORT`.
pub fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let bad = || Error::Address { address: address.to_owned() };
    let uri = format!("http://{address}").parse::<Uri>().map_err(|_| bad())?;
    if uri.port().is_none() || uri.path() != "/" {
        return Err(bad());
    }
    Ok(Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// A connection that is made when it is first used, and again when it breaks.
///
/// # Errors
/// When `address` is not `HOST:PORT`.
pub fn channel(
    credentials: &Credentials,
    address: &str,
    expected: Expected,
) -> Result<Channel, Error> {
    Ok(endpoint(address)?.connect_with_connector_lazy(Connector::new(credentials, expected)))
}
