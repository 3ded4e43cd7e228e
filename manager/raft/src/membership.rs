//! Changes of membership, one at a time, and the hand-over of leadership.
//!
//! Each change is waited for: rapid ones have made openraft panic (openraft#1544).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use tokio::sync::SemaphorePermit;

use crate::error::{MembershipError, TransferError};
use crate::handle::{Forward, Raft, stopped};
use crate::status::{self, Status};
use crate::types::{Place, Types};
use crate::{Member, RaftId, quorum};

/// Entries a learner may lack and still count as caught up: it gets them while it is promoted.
const CAUGHT_UP: u64 = 100;
/// How long a new leader may take to commit what it found in its log.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between looks at that.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);
/// How long a hand-over may take: more than two round trips and a write, less than an election.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

impl Raft {
    /// Adds a member that gets every entry and does not vote. Returns once that is committed. Adding the
    /// same member again is fine, and changes its address.
    ///
    /// # Errors
    /// When this member does not lead or has no quorum, or the node is a member under another raft id.
    pub async fn add_learner(&self, member: &Member) -> Result<(), MembershipError> {
        let _one = self.one_change().await?;
        let status = self.status_of_leader()?;
        if let Some(other) = status
            .members
            .values()
            .find(|other| other.member.node == member.node && other.member.id != member.id)
        {
            return Err(MembershipError::NodeTaken { node: member.node, id: other.member.id });
        }
        match status.members.get(&member.id) {
            Some(known) if known.member == *member => Ok(()),
            Some(_) => self.set_place(member).await,
            None => {
                let nodes = BTreeMap::from([(member.id.0, Place::from(member))]);
                self.change(ChangeMembers::AddNodes(nodes), Keep::AsLearner).await
            }
        }
    }

    /// Makes a learner a voter, once it has caught up. Returns when the change is committed.
    ///
    /// # Errors
    /// When it has not caught up within `patience`, or the quorum with it would not be reachable.
    pub async fn promote(&self, id: RaftId, patience: Duration) -> Result<(), MembershipError> {
        let _one = self.one_change().await?;
        self.wait_caught_up(id, patience).await?;
        let status = self.status_of_leader()?;
        let voters = voters(&status);
        if voters.contains(&id) {
            return Ok(());
        }
        quorum::check_promotion(&voters, &status::reachable(status.id, &status.followers), id)?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id.0])), Keep::AsLearner).await
    }

    /// Adds a member and makes it a voter when it has caught up.
    ///
    /// # Errors
    /// Those of [`Raft::add_learner`] and [`Raft::promote`]; the member may be left as a learner.
    pub async fn add_voter(
        &self,
        member: &Member,
        patience: Duration,
    ) -> Result<(), MembershipError> {
        self.add_learner(member).await?;
        self.promote(member.id, patience).await
    }

    /// Removes a member. The leader may remove itself: it hands over and stops leading soon after.
    ///
    /// # Errors
    /// When that would lose quorum; see [`quorum::check_removal`].
    pub async fn remove(&self, id: RaftId) -> Result<(), MembershipError> {
        let _one = self.one_change().await?;
        let status = self.status_of_leader()?;
        let member = status.members.get(&id).ok_or(MembershipError::NoSuchMember { id })?;
        let reachable = status::reachable(status.id, &status.followers);
        quorum::check_removal(&voters(&status), &reachable, id)?;
        let ids = BTreeSet::from([id.0]);
        if member.voter {
            self.change(ChangeMembers::RemoveVoters(ids), Keep::No).await
        } else {
            self.change(ChangeMembers::RemoveNodes(ids), Keep::No).await
        }
    }

    /// Checks whether [`Raft::remove`] would be refused now, for a pre-flight answer.
    ///
    /// # Errors
    /// The refusal.
    pub fn check_removal(&self, id: RaftId) -> Result<(), MembershipError> {
        let status = self.status_of_leader()?;
        status.members.get(&id).ok_or(MembershipError::NoSuchMember { id })?;
        let reachable = status::reachable(status.id, &status.followers);
        Ok(quorum::check_removal(&voters(&status), &reachable, id)?)
    }

    async fn set_place(&self, member: &Member) -> Result<(), MembershipError> {
        let nodes = BTreeMap::from([(member.id.0, Place::from(member))]);
        self.change(ChangeMembers::SetNodes(nodes), Keep::AsLearner).await
    }

    async fn one_change(&self) -> Result<SemaphorePermit<'_>, MembershipError> {
        let closed = |_| MembershipError::Stopped { reason: "shut down".to_owned() };
        self.inner.change.acquire().await.map_err(closed)
    }

    fn status_of_leader(&self) -> Result<Status, MembershipError> {
        let status = self.status();
        if let Some(reason) = status.failure {
            return Err(MembershipError::Stopped { reason });
        }
        if !status.leads() {
            return Err(MembershipError::NotLeader { leader: status.leader });
        }
        Ok(status)
    }

    async fn wait_caught_up(&self, id: RaftId, patience: Duration) -> Result<(), MembershipError> {
        let mut watch = self.watch();
        let deadline = self.inner.clock.sleep(patience);
        tokio::pin!(deadline);
        loop {
            // Status values are published when something changes; this one is of now.
            watch.mark_unchanged();
            let status = self.status_of_leader()?;
            status.members.get(&id).ok_or(MembershipError::NoSuchMember { id })?;
            let lag = match status.followers.get(&id) {
                Some(follower) if follower.reachable && follower.lag <= CAUGHT_UP => return Ok(()),
                Some(follower) => follower.lag,
                None if id == status.id => return Ok(()),
                None => status.last.map_or(0, |last| last + 1),
            };
            tokio::select! {
                changed = watch.changed() => if changed.is_err() {
                    return Err(MembershipError::Stopped { reason: "shut down".to_owned() });
                },
                () = &mut deadline => return Err(MembershipError::NotCaughtUp { id, lag }),
            }
        }
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, Place>,
        keep: Keep,
    ) -> Result<(), MembershipError> {
        let retain = matches!(keep, Keep::AsLearner);
        let clock = &self.inner.clock;
        let deadline = clock.monotonic() + SETTLE_TIMEOUT;
        loop {
            match self.inner.core.change_membership(change.clone(), retain).await {
                Ok(response) => {
                    self.until_shown(response.log_id.index()).await;
                    return Ok(());
                }
                Err(RaftError::Fatal(fatal)) => {
                    return Err(MembershipError::Stopped { reason: stopped(&fatal) });
                }
                Err(RaftError::APIError(error)) => {
                    if !is_unsettled(&error) || clock.monotonic() >= deadline {
                        return Err(self.change_error(error));
                    }
                    clock.sleep(SETTLE_PAUSE).await;
                }
            }
        }
    }

    /// Waits until the status shows the members as of entry `index`, which is committed: openraft answers a
    /// change before it publishes what came of it.
    async fn until_shown(&self, index: u64) {
        let mut metrics = self.inner.core.metrics();
        let shown = metrics.wait_until(|metrics| {
            metrics.membership_config.log_id().as_ref().is_some_and(|id| id.index() >= index)
        });
        // An error: it was shut down meanwhile, and nobody looks at its status any more.
        let _ = shown.await;
    }

    fn change_error(&self, error: ClientWriteError<Types>) -> MembershipError {
        match error {
            ClientWriteError::ForwardToLeader(forward) => match self.leader(forward) {
                Forward::Elsewhere(leader) => MembershipError::NotLeader { leader },
                Forward::NoQuorum => MembershipError::Unavailable,
            },
            ClientWriteError::LogEntryDiscarded(_) => MembershipError::Unknown,
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::EmptyMembership(_)) => {
                quorum::Refusal::LastVoter.into()
            }
            ClientWriteError::ChangeMembershipError(error) => {
                MembershipError::Refused { reason: error.to_string() }
            }
            ClientWriteError::PreconditionFailed(error) => {
                MembershipError::Refused { reason: error.to_string() }
            }
        }
    }
}

/// A new leader has not committed yet what it found in its log.
fn is_unsettled(error: &ClientWriteError<Types>) -> bool {
    matches!(
        error,
        ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_)
        )
    )
}

/// What becomes of a voter that is removed from the voters.
enum Keep {
    AsLearner,
    No,
}

fn voters(status: &Status) -> BTreeSet<RaftId> {
    status.members.iter().filter(|(_, member)| member.voter).map(|(id, _)| *id).collect()
}

/// The voter to hand over to: reachable, furthest, lowest id.
pub(crate) fn successor(status: &Status) -> Option<RaftId> {
    let voters = voters(status);
    let candidates =
        status.followers.iter().filter(|(id, follower)| follower.reachable && voters.contains(id));
    candidates.min_by_key(|(id, follower)| (follower.lag, **id)).map(|(id, _)| *id)
}

pub(crate) async fn transfer(raft: &Raft, to: Option<RaftId>) -> Result<RaftId, TransferError> {
    let status = raft.status();
    if let Some(reason) = status.failure {
        return Err(TransferError::Stopped { reason });
    }
    if !status.leads() {
        return Err(TransferError::NotLeader { leader: status.leader });
    }
    let to = match to {
        Some(id) if voters(&status).contains(&id) => id,
        Some(id) => return Err(TransferError::NotVoter { id }),
        None => successor(&status).ok_or(TransferError::NoCandidate)?,
    };
    if to == status.id {
        return Ok(to);
    }
    let fatal =
        |fatal: openraft::errors::Fatal<Types>| TransferError::Stopped { reason: stopped(&fatal) };
    let mut watch = raft.watch();
    raft.inner.core.trigger().transfer_leader(to.0).await.map_err(fatal)?;
    let led = watch.wait_for(|seen| {
        seen.term > status.term && seen.leader.as_ref().is_some_and(|leader| leader.id == to)
    });
    tokio::select! {
        led = led => match led {
            Ok(_) => Ok(to),
            Err(_) => Err(TransferError::Stopped { reason: "shut down".to_owned() }),
        },
        () = raft.inner.clock.sleep(TRANSFER_TIMEOUT) => Err(TransferError::TimedOut { id: to }),
    }
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::NodeId;

    use super::*;
    use crate::{Follower, MemberStatus, Role};

    fn status(followers: &[(u64, u64, bool)], voters: &[u64]) -> Status {
        let member = |id: u64| Member {
            id: RaftId(id),
            node: NodeId::from_bytes([u8::try_from(id).unwrap(); 16]),
            address: String::new(),
        };
        let ids = followers.iter().map(|(id, ..)| *id).chain([1]);
        Status {
            id: RaftId(1),
            role: Role::Leader,
            leader: Some(member(1)),
            term: 1,
            last: Some(9),
            committed: Some(9),
            applied: Some(9),
            snapshot: None,
            members: ids
                .map(|id| {
                    let voter = voters.contains(&id);
                    (RaftId(id), MemberStatus { member: member(id), voter })
                })
                .collect(),
            followers: followers
                .iter()
                .map(|&(id, lag, reachable)| {
                    (RaftId(id), Follower { matched: Some(9 - lag), lag, reachable })
                })
                .collect(),
            quorum_margin: None,
            disk_full: None,
            failure: None,
        }
    }

    #[test]
    fn leadership_goes_to_the_furthest_reachable_voter() {
        let all = [1, 2, 3, 4];
        assert_eq!(successor(&status(&[(2, 3, true), (3, 1, true)], &all)), Some(RaftId(3)));
        assert_eq!(successor(&status(&[(2, 3, true), (3, 1, false)], &all)), Some(RaftId(2)));
        assert_eq!(successor(&status(&[(2, 0, true), (3, 0, true)], &all)), Some(RaftId(2)));
        assert_eq!(successor(&status(&[(2, 0, true)], &[1])), None, "a learner cannot lead");
    }
}
