//! A member that goes on alone, after the others are lost.
//!
//! Source: etcd `server/etcdserver/bootstrap.go` (force-new-cluster); unlike there, entries that are not known to be
//! committed stay: they may have been acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use openraft::storage::{RaftLogReader as _, RaftLogStorage as _, RaftLogStorageExt as _};

use super::store::LogStore;
use crate::Member;
use crate::error::StartError;
use crate::types::{Entry, LeaderId, LogId, Membership, Payload, Place, Vote};

/// Appends a membership of `member` alone, in a term of its own. An empty log stays empty.
pub(crate) async fn make_sole_member(
    log: &mut LogStore,
    member: &Member,
) -> Result<(), StartError> {
    let failed =
        |error: &dyn std::fmt::Display| StartError::Consensus { reason: error.to_string() };
    let state = log.get_log_state().await.map_err(|error| failed(&error))?;
    let Some(last) = state.last_log_id else { return Ok(()) };
    let vote = log.read_vote().await.map_err(|error| failed(&error))?;
    let voted = vote.map_or(0, |vote| vote.leader_id().term);
    let term = voted.max(last.committed_leader_id().term) + 1;
    let id = member.id.0;
    let members = BTreeMap::from([(id, Place::from(member))]);
    let membership =
        Membership::new(vec![BTreeSet::from([id])], members).expect("its only voter is a member");
    let log_id = LogId::new(LeaderId { term, node_id: id }, last.index() + 1);
    let entry = Entry { log_id, payload: Payload::Membership(membership) };
    log.save_vote(&Vote::new(term, id)).await.map_err(|error| failed(&error))?;
    log.blocking_append([entry]).await.map_err(|error| failed(&error))?;
    log.save_committed(Some(log_id)).await.map_err(|error| failed(&error))
}
