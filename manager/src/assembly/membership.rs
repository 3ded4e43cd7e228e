//! Managers that come: what they call, and who answers.

use std::time::Duration;

use shoal_base::SharedClock;
use shoal_identity::tls::Expected;
use shoal_identity::{Credentials, authorize, connect};
use shoal_manager_raft::Raft;
use shoal_model::cluster::Node;
use shoal_model::cluster::node::ManagerAddress;
use shoal_model::error::{Chain, Failure};
use shoal_proto::membership::membership_client::MembershipClient;
use shoal_proto::membership::membership_server::Membership;
use shoal_proto::membership::{ConsensusRequest, ConsensusResponse, JoinRequest, JoinResponse};
use tonic::{Request, Response, Status};

use crate::consensus::Overview;
use crate::feature;
use crate::store::{self, Store};

/// Between two rounds over all known managers.
const AGAIN: Duration = Duration::from_millis(500);
/// A manager that does not answer within this time is passed over.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers managers that come.
#[derive(Debug)]
pub(super) struct Handler {
    store: Store,
    raft: Raft,
}

impl Handler {
    pub(super) fn new(store: Store, raft: Raft) -> Self {
        Self { store, raft }
    }
}

#[tonic::async_trait]
impl Membership for Handler {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let caller = authorize::caller(request.extensions())?.node;
        let JoinRequest { raft_id, address, feature_level } = request.into_inner();
        let needed = feature::needed(&self.store.view());
        if feature_level.max(1) < needed {
            return Err(Status::failed_precondition(format!(
                "the cluster is at feature level {needed}, and node `{caller}` knows level {feature_level}: \
                 install a newer release there"
            )));
        }
        let address = address
            .parse()
            .map_err(|_| Status::invalid_argument(format!("`{address}` is not ADDRESS:PORT")))?;
        let committed = self.store.update(|txn| {
            let Some(node) = txn.node(caller).cloned() else { return Ok(false) };
            let manager = Some(ManagerAddress { raft_id, address });
            if node.manager != manager {
                let changed = Node { manager, ..(*node).clone() };
                txn.put_node(changed).map_err(store::Error::Rejected)?;
            }
            Ok::<_, store::Error>(true)
        });
        match committed.await {
            Ok(committed) if committed.value => Ok(Response::new(JoinResponse {})),
            Ok(_) => Err(Status::permission_denied(format!(
                "node `{caller}` is not a member of the cluster"
            ))),
            Err(error) => Err(Status::unavailable(Chain(&error).to_string())),
        }
    }

    async fn consensus(
        &self,
        _: Request<ConsensusRequest>,
    ) -> Result<Response<ConsensusResponse>, Status> {
        let seen = Overview::of_leader(&self.raft.status());
        let seen = seen.ok_or_else(|| Status::failed_precondition("this manager does not lead"))?;
        Ok(Response::new(seen.encode()))
    }
}

/// Tells one of `managers` where this manager is.
pub(super) async fn join(
    raft: &Raft,
    feature_level: u32,
    credentials: &Credentials,
    managers: &[String],
    clock: &SharedClock,
) {
    let member = raft.member();
    loop {
        for address in managers.iter().filter(|address| **address != member.address) {
            let call = async {
                let channel = connect::channel(credentials, address, Expected::Manager)?;
                let request = JoinRequest {
                    raft_id: member.id.0,
                    address: member.address.clone(),
                    feature_level,
                };
                MembershipClient::new(channel).join(request).await.map_err(|status| {
                    Failure::new(
                        shoal_model::ErrorKind::Unavailable,
                        format!("manager at `{address}`: {}", status.message()),
                    )
                })?;
                Ok::<(), Failure>(())
            };
            let answer = tokio::select! {
                answer = call => answer,
                () = clock.sleep(PATIENCE) => Err(Failure::new(
                    shoal_model::ErrorKind::DeadlineExceeded,
                    format!("manager at `{address}` did not answer"),
                )),
            };
            match answer {
                Ok(()) => return,
                Err(error) => tracing::info!(%error, "not yet known as a manager"),
            }
        }
        clock.sleep(AGAIN).await;
    }
}
