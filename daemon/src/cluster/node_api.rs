//! Where this node's node API listens.

use std::net::SocketAddr;

use shoal_model::error::Failure;
use shoal_worker::node_api;
use tokio::net::TcpListener;

use super::record::{Directory, Record};

/// A socket that nobody is served on yet.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: TcpListener,
    /// As managers reach it.
    pub(super) advertise: SocketAddr,
}

/// Listens where the manager of this node listens or would listen, on the port that was used before, and writes down
/// another one. `None`: the host has no such address now; the node is a member without a node API until its next start.
pub(super) async fn listen(
    record: &mut Record,
    directory: &Directory,
) -> Result<Option<Listening>, Failure> {
    let (listen, advertise) = (record.listen, record.advertise);
    let bound = match node_api::bind(listen.ip(), record.node_api_port).await {
        Ok(listener) => listener.local_addr().map(|local| (listener, local.port())),
        Err(error) => Err(error),
    };
    let (listener, port) = match bound {
        Ok(bound) => bound,
        Err(error) => {
            tracing::error!(%error, address = %listen.ip(), "the node API does not listen");
            return Ok(None);
        }
    };
    if port != record.node_api_port {
        record.node_api_port = port;
        directory.write(record)?;
    }
    let advertise = SocketAddr::new(advertise.ip(), port);
    Ok(Some(Listening { listener, advertise }))
}
