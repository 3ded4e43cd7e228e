//! Our protobuf messages, which are also what the log and snapshot files hold, to openraft's types.

use std::collections::{BTreeMap, BTreeSet};

use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use openraft::raft::{VoteRequest, VoteResponse};
use shoal_model::cluster::NodeId;
use shoal_proto::raft as pb;

use crate::types::{
    Command, Entry, LeaderId, LogId, Membership, Payload, Place, SnapshotMeta, StoredMembership,
    Types, Vote,
};

/// A message lacks a field or has a wrong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("raft message: field `{field}` is missing or invalid")]
pub(crate) struct Malformed {
    /// Which.
    pub field: &'static str,
}

const fn malformed(field: &'static str) -> Malformed {
    Malformed { field }
}

pub(crate) fn log_id(id: &LogId) -> pb::LogId {
    let leader = id.committed_leader_id();
    pb::LogId { term: leader.term, leader: leader.node_id, index: id.index() }
}

pub(crate) fn to_log_id(id: pb::LogId) -> LogId {
    LogId::new(LeaderId { term: id.term, node_id: id.leader }, id.index)
}

pub(crate) fn vote(vote: &Vote) -> pb::Vote {
    let leader = vote.leader_id();
    pb::Vote { term: leader.term, candidate: leader.node_id, committed: vote.is_committed() }
}

pub(crate) fn to_vote(vote: Option<pb::Vote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(malformed("vote"))?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.candidate)
    } else {
        Vote::new(vote.term, vote.candidate)
    })
}

fn membership(membership: &Membership) -> pb::Membership {
    let configs = membership.get_joint_config().iter();
    let members = membership.nodes().map(|(id, place)| {
        let node = place.node.to_bytes().to_vec().into();
        (*id, pb::Member { node, address: place.address.clone() })
    });
    pb::Membership {
        configs: configs
            .map(|voters| pb::VoterSet { voters: voters.iter().copied().collect() })
            .collect(),
        members: members.collect(),
    }
}

fn to_membership(membership: pb::Membership) -> Result<Membership, Malformed> {
    let configs = membership.configs.into_iter();
    let configs: Vec<BTreeSet<u64>> = configs.map(|set| set.voters.into_iter().collect()).collect();
    let mut members = BTreeMap::new();
    for (id, member) in membership.members {
        let node = <[u8; 16]>::try_from(member.node.as_ref()).map_err(|_| malformed("node"))?;
        let place = Place { node: NodeId::from_bytes(node), address: member.address };
        members.insert(id, place);
    }
    if configs.is_empty() && members.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, members).map_err(|_| malformed("membership"))
}

pub(crate) fn stored_membership(stored: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id),
        membership: Some(membership(stored.membership())),
    }
}

fn to_stored_membership(stored: pb::StoredMembership) -> Result<StoredMembership, Malformed> {
    let membership = to_membership(stored.membership.ok_or(malformed("membership"))?)?;
    Ok(StoredMembership::new(stored.log_id.map(to_log_id), membership))
}

pub(crate) fn entry(entry: &Entry) -> pb::Entry {
    let content = match &entry.payload {
        Payload::Blank => None,
        Payload::Normal(command) => Some(pb::entry::Content::Command(command.0.clone())),
        Payload::Membership(change) => Some(pb::entry::Content::Membership(membership(change))),
    };
    pb::Entry { log_id: Some(log_id(&entry.log_id)), content }
}

pub(crate) fn to_entry(entry: pb::Entry) -> Result<Entry, Malformed> {
    let payload = match entry.content {
        None => Payload::Blank,
        Some(pb::entry::Content::Command(command)) => Payload::Normal(Command(command)),
        Some(pb::entry::Content::Membership(change)) => Payload::Membership(to_membership(change)?),
    };
    let log_id = to_log_id(entry.log_id.ok_or(malformed("log_id"))?);
    Ok(Entry { log_id, payload })
}

pub(crate) fn append_request(to: u64, request: &AppendEntriesRequest<Types>) -> pb::AppendRequest {
    pb::AppendRequest {
        to,
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id),
        entries: request.entries.iter().map(entry).collect(),
        committed: request.leader_commit.as_ref().map(log_id),
    }
}

/// Entries follow each other and the one before them. A leader of openraft 0.10.0-alpha.37 may begin again with a request
/// from before it purged what was to be sent: a member that took the rest would have a hole in its log, and stop.
pub(crate) fn to_append_request(
    request: pb::AppendRequest,
) -> Result<AppendEntriesRequest<Types>, Malformed> {
    let request = AppendEntriesRequest::<Types> {
        vote: to_vote(request.vote)?,
        prev_log_id: request.previous.map(to_log_id),
        entries: request.entries.into_iter().map(to_entry).collect::<Result<Vec<Entry>, _>>()?,
        leader_commit: request.committed.map(to_log_id),
    };
    let next = request.prev_log_id.map_or(0, |before| before.index() + 1);
    let follow = (next..).zip(&request.entries).all(|(index, entry)| entry.log_id.index() == index);
    if follow { Ok(request) } else { Err(malformed("entries")) }
}

pub(crate) fn append_response(result: &StreamAppendResult<Types>) -> pb::AppendResponse {
    use pb::append_response::Outcome;
    let outcome = match result {
        Ok(last) => Outcome::Matched(pb::Matched { last: last.as_ref().map(log_id) }),
        Err(StreamAppendError::Conflict(at)) => Outcome::Conflict(log_id(at)),
        Err(StreamAppendError::HigherVote(higher)) => Outcome::HigherVote(vote(higher)),
    };
    pb::AppendResponse { outcome: Some(outcome) }
}

pub(crate) fn to_append_result(
    response: pb::AppendResponse,
) -> Result<StreamAppendResult<Types>, Malformed> {
    use pb::append_response::Outcome;
    Ok(match response.outcome.ok_or(malformed("outcome"))? {
        Outcome::Matched(matched) => Ok(matched.last.map(to_log_id)),
        Outcome::Conflict(at) => Err(StreamAppendError::Conflict(to_log_id(at))),
        Outcome::HigherVote(higher) => Err(StreamAppendError::HigherVote(to_vote(Some(higher))?)),
    })
}

pub(crate) fn vote_request(to: u64, request: &VoteRequest<Types>) -> pb::VoteRequest {
    pb::VoteRequest {
        to,
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn to_vote_request(request: pb::VoteRequest) -> Result<VoteRequest<Types>, Malformed> {
    Ok(VoteRequest {
        vote: to_vote(request.vote)?,
        last_log_id: request.last.map(to_log_id),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(crate) fn vote_response(response: &VoteResponse<Types>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id),
    }
}

pub(crate) fn to_vote_response(
    response: pb::VoteResponse,
) -> Result<VoteResponse<Types>, Malformed> {
    Ok(VoteResponse {
        vote: to_vote(response.vote)?,
        vote_granted: response.granted,
        last_log_id: response.last.map(to_log_id),
    })
}

pub(crate) fn snapshot_meta(meta: &SnapshotMeta) -> pb::SnapshotMeta {
    pb::SnapshotMeta {
        last: meta.last_log_id.as_ref().map(log_id),
        membership: Some(stored_membership(&meta.last_membership)),
    }
}

pub(crate) fn to_snapshot_meta(meta: pb::SnapshotMeta) -> Result<SnapshotMeta, Malformed> {
    Ok(SnapshotMeta {
        last_log_id: meta.last.map(to_log_id),
        last_membership: to_stored_membership(meta.membership.ok_or(malformed("membership"))?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(original: Entry) {
        assert_eq!(to_entry(entry(&original)).unwrap(), original);
    }

    #[test]
    fn entries_come_back_equal() {
        let log_id = LogId::new(LeaderId { term: 3, node_id: u64::MAX }, 7);
        round_trip(Entry { log_id, payload: Payload::Blank });
        round_trip(Entry { log_id, payload: Payload::Normal(Command((&b""[..]).into())) });
        round_trip(Entry { log_id, payload: Payload::Normal(Command((&b"x"[..]).into())) });
        let place = Place { node: NodeId::from_bytes([9; 16]), address: "[::1]:4242".to_owned() };
        let sets = vec![BTreeSet::from([1]), BTreeSet::from([1, 2])];
        let members = BTreeMap::from([(1, place.clone()), (2, place.clone()), (3, place)]);
        let membership = Membership::new(sets, members).unwrap();
        round_trip(Entry { log_id, payload: Payload::Membership(membership) });
    }

    #[test]
    fn entries_with_a_hole_are_refused() {
        let id = |index| LogId::new(LeaderId { term: 3, node_id: 1 }, index);
        let received = |previous: Option<u64>, entries: &[u64]| {
            let entry = |index: &u64| Entry { log_id: id(*index), payload: Payload::Blank };
            let request = AppendEntriesRequest::<Types> {
                vote: Vote::new_committed(3, 1),
                prev_log_id: previous.map(id),
                entries: entries.iter().map(entry).collect(),
                leader_commit: None,
            };
            let received = to_append_request(append_request(2, &request));
            received.map(|request| request.entries.len()).map_err(|error| error.field)
        };
        assert_eq!(received(Some(753), &[754, 755]), Ok(2));
        assert_eq!(received(Some(753), &[]), Ok(0));
        assert_eq!(received(None, &[0, 1]), Ok(2));
        assert_eq!(received(Some(753), &[1172]), Err("entries"));
        assert_eq!(received(Some(753), &[754, 756]), Err("entries"));
        assert_eq!(received(None, &[1]), Err("entries"));
    }

    #[test]
    fn votes_keep_whether_they_are_committed() {
        for original in [Vote::new(2, 5), Vote::new_committed(2, 5)] {
            assert_eq!(to_vote(Some(vote(&original))).unwrap(), original);
        }
        assert_eq!(
            to_vote(None).unwrap_err().to_string(),
            "raft message: field `vote` is missing or invalid"
        );
    }
}
