//! Connections to other managers, with this node's certificate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, ready};
use shoal_identity::connect::{self, Connector};
use shoal_identity::credentials::{Credentials, Current};
use shoal_identity::tls::Expected;
use shoal_manager_raft::{ConnectError, Member};
use shoal_model::cluster::NodeId;
use tonic::transport::Channel;

use crate::consensus::Leader;
use crate::store::forward::Channels;

/// Connections to managers, by node and address. Clones share them.
///
/// A connection is used until the node's own certificate changes: then new calls take a new one, so that a role or
/// a root of the past does not live on.
#[derive(Debug, Clone)]
pub struct Peers {
    credentials: Credentials,
    open: Arc<Mutex<BTreeMap<(NodeId, String), Open>>>,
}

#[derive(Debug)]
struct Open {
    channel: Channel,
    made_with: Arc<Current>,
}

impl Peers {
    /// As the node of these credentials.
    pub fn new(credentials: &Credentials) -> Self {
        Self { credentials: credentials.clone(), open: Arc::default() }
    }

    /// The connection to a node at an address; it is made when it is first used.
    ///
    /// # Errors
    /// When the address is not `HOST:PORT`.
    pub fn channel_to(&self, node: NodeId, address: &str) -> Result<Channel, connect::Error> {
        let current = self.credentials.current();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // What was made with an older certificate, of whatever node, has no user that would miss it.
        open.retain(|_, open| Arc::ptr_eq(&open.made_with, &current));
        let key = (node, address.to_owned());
        if let Some(open) = open.get(&key) {
            return Ok(open.channel.clone());
        }
        let channel = connect::channel(&self.credentials, address, Expected::Node(node))?;
        open.insert(key, Open { channel: channel.clone(), made_with: current });
        Ok(channel)
    }

    /// Closes connections to a node that is gone, once nobody uses them.
    pub fn forget(&self, node: NodeId) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(other, _), _| *other != node);
    }
}

impl Channels for Peers {
    fn channel(
        &self,
        manager: &Leader,
    ) -> BoxFuture<'static, Result<Channel, Box<dyn std::error::Error + Send + Sync>>> {
        let channel = self.channel_to(manager.node, &manager.address);
        Box::pin(ready(channel.map_err(Into::into)))
    }
}

impl shoal_manager_raft::Connector for Peers {
    /// Not a shared one: raft keeps its own, with windows and deadlines that suit it.
    fn connect(&self, member: &Member) -> BoxFuture<'static, Result<Channel, ConnectError>> {
        let connector = Connector::new(&self.credentials, Expected::Node(member.node));
        let address = member.address.clone();
        let channel = shoal_manager_raft::endpoint(&address)
            .map(|endpoint| endpoint.connect_with_connector_lazy(connector))
            .map_err(|source| ConnectError { address, source: source.into() });
        Box::pin(ready(channel))
    }
}
