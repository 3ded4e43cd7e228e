//! Whether a change of membership leaves a quorum. Pure.
//!
//! Source: swarmkit `manager/state/raft/raft.go` `CanRemoveMember`.

use std::collections::BTreeSet;

use crate::RaftId;

/// Voters that must agree among `voters`.
pub const fn needed(voters: usize) -> usize {
    voters / 2 + 1
}

/// How many more voters may fail before there is no quorum; negative: that many must come back.
pub fn margin(voters: &BTreeSet<RaftId>, reachable: &BTreeSet<RaftId>) -> i64 {
    let up = voters.intersection(reachable).count();
    signed(up) - signed(needed(voters.len()))
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("the last manager cannot be removed")]
    LastVoter,
    #[error(
        "the change would lose quorum: {needed} of {voters} managers must be reachable, {reachable} would be"
    )]
    QuorumLost { voters: usize, reachable: usize, needed: usize },
}

/// Checks the removal of a voter: both the set of now, which commits the change, and the one without
/// it need a reachable quorum. Removing who does not vote is always fine.
///
/// # Errors
/// When it would lose quorum.
pub fn check_removal(
    voters: &BTreeSet<RaftId>,
    reachable: &BTreeSet<RaftId>,
    removed: RaftId,
) -> Result<(), Refusal> {
    if !voters.contains(&removed) {
        return Ok(());
    }
    let mut after = voters.clone();
    after.remove(&removed);
    if after.is_empty() {
        return Err(Refusal::LastVoter);
    }
    check(voters, reachable)?;
    check(&after, reachable)
}

/// Checks the promotion of a learner: it must be among `reachable` to count.
///
/// # Errors
/// When it would lose quorum.
pub fn check_promotion(
    voters: &BTreeSet<RaftId>,
    reachable: &BTreeSet<RaftId>,
    promoted: RaftId,
) -> Result<(), Refusal> {
    check(voters, reachable)?;
    let mut after = voters.clone();
    after.insert(promoted);
    check(&after, reachable)
}

fn check(voters: &BTreeSet<RaftId>, reachable: &BTreeSet<RaftId>) -> Result<(), Refusal> {
    let up = voters.intersection(reachable).count();
    let needed = needed(voters.len());
    if up < needed {
        return Err(Refusal::QuorumLost { voters: voters.len(), reachable: up, needed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<RaftId> {
        ids.iter().copied().map(RaftId).collect()
    }

    #[test]
    fn quorum_is_a_majority() {
        let needs: Vec<_> = (1..=7).map(needed).collect();
        assert_eq!(needs, [1, 2, 2, 3, 3, 4, 4]);
    }

    #[test]
    fn margin_counts_failures_that_are_left() {
        assert_eq!(margin(&set(&[1]), &set(&[1])), 0);
        assert_eq!(margin(&set(&[1, 2]), &set(&[1, 2])), 0);
        assert_eq!(margin(&set(&[1, 2, 3]), &set(&[1, 2, 3])), 1);
        assert_eq!(margin(&set(&[1, 2, 3, 4, 5]), &set(&[1, 2, 3, 4, 5])), 2);
        assert_eq!(margin(&set(&[1, 2, 3]), &set(&[1])), -1);
        assert_eq!(margin(&set(&[1, 2, 3]), &set(&[1, 2, 9])), 0, "learners do not count");
    }

    #[test]
    fn the_last_voter_stays() {
        let one = set(&[1]);
        assert_eq!(check_removal(&one, &one, RaftId(1)), Err(Refusal::LastVoter));
    }

    #[test]
    fn a_voter_that_is_down_may_go_while_the_rest_has_quorum() {
        let voters = set(&[1, 2, 3]);
        assert_eq!(check_removal(&voters, &set(&[1, 2]), RaftId(3)), Ok(()));
        let lost = Refusal::QuorumLost { voters: 2, reachable: 1, needed: 2 };
        assert_eq!(check_removal(&voters, &set(&[1, 2]), RaftId(2)), Err(lost));
    }

    #[test]
    fn of_two_the_one_that_is_down_cannot_be_removed() {
        let lost = Refusal::QuorumLost { voters: 2, reachable: 1, needed: 2 };
        assert_eq!(check_removal(&set(&[1, 2]), &set(&[1]), RaftId(2)), Err(lost));
        assert_eq!(check_removal(&set(&[1, 2]), &set(&[1, 2]), RaftId(2)), Ok(()));
    }

    #[test]
    fn learners_are_removed_freely() {
        assert_eq!(check_removal(&set(&[1]), &set(&[1]), RaftId(2)), Ok(()));
    }

    #[test]
    fn only_a_reachable_learner_of_a_lone_manager_is_promoted() {
        let lost = Refusal::QuorumLost { voters: 2, reachable: 1, needed: 2 };
        assert_eq!(check_promotion(&set(&[1]), &set(&[1]), RaftId(2)), Err(lost));
        assert_eq!(check_promotion(&set(&[1]), &set(&[1, 2]), RaftId(2)), Ok(()));
    }
}
