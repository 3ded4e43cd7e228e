//! Asks the leader what consensus looks like: it alone knows who answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use shoal_base::SharedClock;
use shoal_manager_raft::Raft;
use shoal_proto::membership::ConsensusRequest;
use shoal_proto::membership::membership_client::MembershipClient;

use crate::consensus::{Leader, Overview};
use crate::control::Managers;
use crate::store::forward::{CALL_TIMEOUT, Channels};
use crate::store::{self, LEADER_WAIT};

/// Between two attempts while no one leads.
const AGAIN: Duration = Duration::from_millis(50);

/// Consensus as the leader sees it, asked for from any manager. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    pub(super) raft: Raft,
    pub(super) channels: Arc<dyn Channels>,
    pub(super) clock: SharedClock,
}

impl Seats {
    async fn ask(&self) -> Option<Overview> {
        let status = self.raft.status();
        if let Some(seen) = Overview::of_leader(&status) {
            return Some(seen);
        }
        let leader = status.leader?;
        let leader = Leader { node: leader.node, address: leader.address };
        let call = async {
            let channel = self.channels.channel(&leader).await.ok()?;
            let answer =
                MembershipClient::new(channel).consensus(ConsensusRequest {}).await.ok()?;
            Overview::decode(answer.into_inner())
        };
        tokio::select! {
            answer = call => answer,
            () = self.clock.sleep(CALL_TIMEOUT) => None,
        }
    }
}

impl Managers for Seats {
    fn overview(&self) -> BoxFuture<'static, Result<Overview, store::Error>> {
        let seats = self.clone();
        Box::pin(async move {
            let deadline = seats.clock.monotonic() + LEADER_WAIT;
            loop {
                if let Some(seen) = seats.ask().await {
                    return Ok(seen);
                }
                if seats.clock.monotonic() >= deadline {
                    return Err(store::Error::NoLeader);
                }
                seats.clock.sleep(AGAIN).await;
            }
        })
    }
}
