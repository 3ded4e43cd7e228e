//! Connections from this manager to others, over its own identity.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use shoal_identity::Credentials;
use shoal_identity::connect;
use shoal_identity::tls::Expected;
use shoal_manager_raft::{ConnectError, Connector, Member};
use shoal_model::error::{ErrorKind, Failure};
use shoal_proto::dispatcher::liveness_client::LivenessClient;
use shoal_proto::dispatcher::{ReportRequest, ReportResponse};
use tonic::transport::Channel;

use crate::consensus::Leader;
use crate::dispatcher::liveness::ReachLeader;
use crate::store::forward::Channels;

/// Makes connections, and keeps one for each manager that is called. A connection mends itself.
#[derive(Debug)]
pub(super) struct Reach {
    credentials: Credentials,
    kept: Mutex<BTreeMap<String, Channel>>,
}

impl Reach {
    pub(super) fn new(credentials: &Credentials) -> Self {
        Self { credentials: credentials.clone(), kept: Mutex::default() }
    }

    fn fresh(&self, address: &str) -> Result<Channel, connect::Error> {
        connect::channel(&self.credentials, address, Expected::Manager)
    }

    fn kept(&self, address: &str) -> Result<Channel, connect::Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = kept.get(address) {
            return Ok(channel.clone());
        }
        let channel = self.fresh(address)?;
        kept.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

impl Connector for Reach {
    fn connect(&self, member: &Member) -> BoxFuture<'static, Result<Channel, ConnectError>> {
        let address = member.address.clone();
        let channel = self.fresh(&address);
        Box::pin(async move {
            channel.map_err(|source| ConnectError { address, source: Box::new(source) })
        })
    }
}

impl Channels for Reach {
    fn channel(
        &self,
        manager: &Leader,
    ) -> BoxFuture<'static, Result<Channel, Box<dyn std::error::Error + Send + Sync>>> {
        let channel = self.kept(&manager.address);
        Box::pin(async move { Ok(channel?) })
    }
}

impl ReachLeader for Reach {
    fn report(
        &self,
        leader: &Leader,
        request: ReportRequest,
    ) -> BoxFuture<'static, Result<ReportResponse, Failure>> {
        let channel = self.kept(&leader.address);
        Box::pin(async move {
            let mut client = LivenessClient::new(channel?);
            let answer = client.report(request).await.map_err(|status| {
                Failure::new(ErrorKind::Unavailable, status.message().to_owned())
            })?;
            Ok(answer.into_inner())
        })
    }
}
