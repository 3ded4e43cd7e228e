//! A member that starts does not vote at once: its disk may be an old copy, and it may have forgotten a vote or entries
//! that it acknowledged.
//!
//! Until it has caught up with a leader it asks the other voters what they have. Once all have answered it votes only
//! for members that have at least what any of them has, in a later term than any of them has seen; so an entry that it
//! acknowledged and lost is not lost by its vote while another one that has it can be asked. After [`LIMIT`] it votes as
//! any member does: whoever did not answer until then counts as failed.
//!
//! What was asked is a pre-vote, which has no effect on the other and whose answer says all there is to know.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::{AppendEntriesRequest, VoteRequest, VoteResponse};
use shoal_base::SharedClock;
use tokio::sync::watch;

use crate::handle::Core;
use crate::net::client::Peers;
use crate::settings;
use crate::types::{LogId, Place, Types};

/// As long as this lasts at most.
const LIMIT: Duration = Duration::from_secs(3);
/// Between two questions to a member that did not answer.
const AGAIN: Duration = Duration::from_millis(100);

/// What the others had when they were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Floor {
    last: Option<LogId>,
    term: u64,
}

impl Floor {
    fn of(answers: &[VoteResponse<Types>]) -> Self {
        Self {
            last: answers.iter().filter_map(|answer| answer.last_log_id).max(),
            term: answers.iter().map(|answer| answer.vote.leader_id().term).max().unwrap_or(0),
        }
    }

    /// Whether a candidate may have the vote of a member that might have forgotten something.
    fn permits(&self, request: &VoteRequest<Types>) -> bool {
        request.last_log_id >= self.last && request.vote.leader_id().term > self.term
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The others have not all answered.
    Asking,
    Cautious(Floor),
    Over,
}

/// Whether this member votes yet. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Probation {
    stage: Arc<watch::Sender<Stage>>,
    /// What a leader had committed in its own term when it was first heard: who has that has all there was.
    goal: Arc<watch::Sender<Option<LogId>>>,
}

impl Probation {
    /// Begins it where there are other voters; ends by itself. On the raft threads.
    pub(crate) fn begin(core: &Core, id: u64, peers: Peers, clock: SharedClock) -> Self {
        let others: Vec<(u64, Place)> = {
            let metrics = core.server_metrics();
            let membership = Arc::clone(&metrics.borrow_watched().membership_config);
            let votes = membership.voter_ids().any(|voter| voter == id);
            let voters = membership.voter_ids().filter(|voter| votes && *voter != id);
            voters
                .filter_map(|id| Some((id, membership.membership().get_node(&id)?.clone())))
                .collect()
        };
        let stage = if others.is_empty() { Stage::Over } else { Stage::Asking };
        let probation = Self {
            stage: Arc::new(watch::Sender::new(stage)),
            goal: Arc::new(watch::Sender::new(None)),
        };
        if stage == Stage::Asking {
            core.runtime_config().elect(false);
            settings::spawn(probation.clone().run(core.clone(), others, peers, clock));
        }
        probation
    }

    /// Whether the candidate may have this member's vote, as far as this goes.
    pub(crate) fn permits(&self, request: &VoteRequest<Types>) -> bool {
        match *self.stage.borrow() {
            Stage::Asking => false,
            Stage::Cautious(floor) => floor.permits(request),
            Stage::Over => true,
        }
    }

    /// Notes what a leader says.
    pub(crate) fn heard(&self, request: &AppendEntriesRequest<Types>) {
        if *self.stage.borrow() == Stage::Over || self.goal.borrow().is_some() {
            return;
        }
        let term = request.vote.leader_id().term;
        let settled = request.leader_commit.filter(|id| id.committed_leader_id().term == term);
        if settled.is_some() {
            self.goal.send_replace(settled);
        }
    }

    async fn run(self, core: Core, others: Vec<(u64, Place)>, peers: Peers, clock: SharedClock) {
        let over = tokio::select! {
            () = clock.sleep(LIMIT) => "some managers did not answer",
            () = self.caught_up(&core) => "caught up with the leader",
            () = self.ask(&core, &others, &peers, &clock) => "consensus has stopped",
        };
        tracing::info!(reason = over, "votes from now on");
        self.stage.send_replace(Stage::Over);
        core.runtime_config().elect(true);
    }

    /// Completes when this member has on disk what a leader had committed.
    async fn caught_up(&self, core: &Core) {
        let mut goal = self.goal.subscribe();
        let Ok(goal) = goal.wait_for(Option::is_some).await.map(|goal| *goal) else { return };
        let mut metrics = core.data_metrics();
        while metrics.borrow_watched().local_committed < goal {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Asks all others; then this member may stand for election if it has what any of them has.
    async fn ask(&self, core: &Core, others: &[(u64, Place)], peers: &Peers, clock: &SharedClock) {
        let question = {
            let (server, data) = (core.server_metrics(), core.data_metrics());
            let (vote, last) = (server.borrow_watched().vote, data.borrow_watched().last_log);
            VoteRequest::new(vote, last)
        };
        let ask = |(id, place): &(u64, Place)| {
            let (mut peer, question) = (peers.heartbeats(*id, place), question.clone());
            async move {
                loop {
                    match peer.ask(question.clone()).await {
                        Ok(answer) => return answer,
                        Err(error) => tracing::debug!(%error, "a manager does not answer yet"),
                    }
                    clock.sleep(AGAIN).await;
                }
            }
        };
        let floor = Floor::of(&join_all(others.iter().map(ask)).await);
        self.stage.send_replace(Stage::Cautious(floor));
        if question.last_log_id >= floor.last {
            core.runtime_config().elect(true);
        } else {
            tracing::info!("others have more: does not stand for election yet");
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LeaderId, Vote};

    fn id(term: u64, index: u64) -> Option<LogId> {
        Some(LogId::new(LeaderId { term, node_id: 1 }, index))
    }

    fn answer(term: u64, last: Option<LogId>) -> VoteResponse<Types> {
        VoteResponse { vote: Vote::new(term, 1), vote_granted: false, last_log_id: last }
    }

    #[test]
    fn only_who_has_what_any_other_has_gets_the_vote() {
        let floor = Floor::of(&[answer(4, id(3, 9)), answer(3, id(2, 12)), answer(1, None)]);
        assert_eq!(floor, Floor { last: id(3, 9), term: 4 });
        let permits = |term, last| floor.permits(&VoteRequest::new(Vote::new(term, 2), last));
        assert!(permits(5, id(3, 9)));
        assert!(permits(5, id(4, 1)));
        assert!(!permits(4, id(3, 9)), "that vote may have been given before");
        assert!(!permits(5, id(2, 12)), "an entry may have been acknowledged that it lacks");
        assert!(!permits(5, None));
    }
}
