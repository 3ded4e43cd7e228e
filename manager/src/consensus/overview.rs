//! What consensus looks like from its leader, as a value that travels between managers.

use std::collections::BTreeSet;

use shoal_manager_core::control::nodes::Seat;
use shoal_manager_raft::{RaftId, Status, quorum};
use shoal_model::cluster::NodeId;
use shoal_model::cluster::overview::Quorum;
use shoal_model::cluster::request::ManagerView;
use shoal_proto::membership as pb;

/// What consensus looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// Term of the leader.
    pub term: u64,
    /// Last entry of the leader's log.
    pub last: Option<u64>,
    /// Last entry that a quorum has.
    pub committed: Option<u64>,
    /// The members.
    pub seats: Vec<Seated>,
}

/// A member of consensus.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Seated {
    pub raft_id: RaftId,
    pub node: NodeId,
    pub address: String,
    pub leader: bool,
    pub voter: bool,
    /// It answered the leader lately.
    pub reachable: bool,
    /// Entries that it lacks.
    pub lag: u64,
}

impl Overview {
    /// As the leader sees it; `None`: this member does not lead.
    pub fn of_leader(status: &Status) -> Option<Self> {
        status.leads().then(|| Self::from_status(status))
    }

    /// As a member sees it that has found no leader: of the others it knows nothing.
    pub fn alone(status: &Status) -> Self {
        let mut seen = Self::from_status(status);
        for seat in &mut seen.seats {
            seat.leader = false;
            seat.reachable = seat.raft_id == status.id;
        }
        seen
    }

    fn from_status(status: &Status) -> Self {
        let leader = status.leader.as_ref().map(|leader| leader.id);
        let seats = status.members.iter().map(|(id, known)| {
            let follower = status.followers.get(id);
            Seated {
                raft_id: *id,
                node: known.member.node,
                address: known.member.address.clone(),
                leader: leader == Some(*id),
                voter: known.voter,
                reachable: follower.is_none_or(|follower| follower.reachable),
                lag: follower.map_or(0, |follower| follower.lag),
            }
        });
        let seats = seats.collect();
        Self { term: status.term, last: status.last, committed: status.committed, seats }
    }

    fn voters(&self) -> BTreeSet<RaftId> {
        self.seats.iter().filter(|seat| seat.voter).map(|seat| seat.raft_id).collect()
    }

    fn reachable(&self) -> BTreeSet<RaftId> {
        self.seats.iter().filter(|seat| seat.reachable).map(|seat| seat.raft_id).collect()
    }

    /// Who votes, and who of them answers.
    pub fn quorum(&self) -> Quorum {
        let voters = self.voters();
        let reachable = voters.intersection(&self.reachable()).count();
        Quorum { voters: voters.len(), reachable, needed: quorum::needed(voters.len()) }
    }

    /// The part of a node in consensus; `None`: it has none.
    pub fn manager(&self, node: NodeId) -> Option<ManagerView> {
        let seat = self.seats.iter().find(|seat| seat.node == node)?;
        Some(ManagerView { is_leader: seat.leader, is_reachable: seat.reachable })
    }

    /// Whether a node may leave consensus.
    pub fn seat(&self, node: NodeId) -> Seat {
        let Some(seat) = self.seats.iter().find(|seat| seat.node == node) else {
            return Seat::None;
        };
        match quorum::check_removal(&self.voters(), &self.reachable(), seat.raft_id) {
            Ok(()) => Seat::Free,
            Err(quorum::Refusal::LastVoter) => Seat::Needed { voters: 0, reachable: 0, needed: 1 },
            Err(quorum::Refusal::QuorumLost { voters, reachable, needed }) => {
                Seat::Needed { voters, reachable, needed }
            }
        }
    }

    /// As a message.
    pub fn encode(&self) -> pb::ConsensusResponse {
        let leader = self.seats.iter().find(|seat| seat.leader).map_or(0, |seat| seat.raft_id.0);
        let seats = self.seats.iter().map(|seat| pb::Seat {
            raft_id: seat.raft_id.0,
            node: seat.node.to_bytes().to_vec().into(),
            address: seat.address.clone(),
            voter: seat.voter,
            reachable: seat.reachable,
            lag: seat.lag,
        });
        let (term, last, committed) = (self.term, self.last, self.committed);
        pb::ConsensusResponse { term, last, committed, leader, seats: seats.collect() }
    }

    /// From a message; `None`: it is damaged.
    pub fn decode(message: pb::ConsensusResponse) -> Option<Self> {
        let pb::ConsensusResponse { term, last, committed, leader, seats } = message;
        let seats = seats.into_iter().map(|seat| {
            let node: [u8; 16] = seat.node.as_ref().try_into().ok()?;
            Some(Seated {
                raft_id: RaftId(seat.raft_id),
                node: NodeId::from_bytes(node),
                address: seat.address,
                leader: seat.raft_id == leader,
                voter: seat.voter,
                reachable: seat.reachable,
                lag: seat.lag,
            })
        });
        Some(Self { term, last, committed, seats: seats.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Voters 1…, of which the first leads; `down` do not answer.
    pub(crate) fn of(voters: u8, down: &[u8]) -> Overview {
        let seat = |number: u8| Seated {
            raft_id: RaftId(number.into()),
            node: NodeId::from_bytes([number; 16]),
            address: format!("10.0.0.{number}:2377"),
            leader: number == 1,
            voter: true,
            reachable: !down.contains(&number),
            lag: if down.contains(&number) { 7 } else { 0 },
        };
        Overview {
            term: 3,
            last: Some(9),
            committed: Some(9),
            seats: (1..=voters).map(seat).collect(),
        }
    }

    #[test]
    fn it_travels() {
        let here = of(3, &[2]);
        assert_eq!(Overview::decode(here.encode()), Some(here.clone()));
        let mut damaged = here.encode();
        damaged.seats[0].node = vec![1].into();
        assert_eq!(Overview::decode(damaged), None);
    }

    #[test]
    fn a_manager_that_the_quorum_needs_stays() {
        let node = |number: u8| NodeId::from_bytes([number; 16]);
        assert_eq!(of(3, &[]).seat(node(2)), Seat::Free);
        assert_eq!(of(3, &[2]).seat(node(2)), Seat::Free, "it is down, the others are enough");
        assert_eq!(of(3, &[2]).seat(node(3)), Seat::Needed { voters: 2, reachable: 1, needed: 2 });
        assert_eq!(of(3, &[]).seat(node(9)), Seat::None);
        assert_eq!(of(2, &[2]).quorum(), Quorum { voters: 2, reachable: 1, needed: 2 });
        assert_eq!(of(5, &[2]).quorum().margin(), 1);
    }
}
