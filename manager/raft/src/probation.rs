//! A member that starts does not vote at once: its disk may be an old copy, and it may have forgotten a vote or entries
//! that it acknowledged.
//!
//! Until it has caught up with a leader it goes on asking the other voters what they have. Once all have answered it
//! votes only for members that have at least what any of them has, in a later term than any of them has seen; so an
//! entry that it acknowledged and lost is not lost by its vote while another one that has it can be asked. Who does not
//! answer for [`SILENCE`] counts as failed, and after [`LIMIT`] it votes as any member does.
//!
//! What was asked is a pre-vote, which has no effect on the other and whose answer says all there is to know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
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

/// Who has not answered for so long counts as failed: what it had last does not hold others back.
const SILENCE: Duration = Duration::from_secs(3);
/// As long as probation lasts at most: a member that has more but cannot lead must not stop the others for ever.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two questions to a member.
const AGAIN: Duration = Duration::from_millis(100);

const _: () = assert!(AGAIN.as_millis() < SILENCE.as_millis());
const _: () = assert!(SILENCE.as_millis() < LIMIT.as_millis());

/// What a voter had when it last answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    last: Option<LogId>,
    at: Duration,
}

/// What the other voters have.
#[derive(Debug, Clone)]
struct Survey {
    others: usize,
    begun: Duration,
    answers: BTreeMap<u64, Answer>,
    /// The latest term that any had seen when it answered first: what it sees later are elections of now.
    term: u64,
}

/// What a candidate must have, and must be beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Floor {
    last: Option<LogId>,
    term: u64,
}

impl Survey {
    fn new(others: usize, begun: Duration) -> Self {
        Self { others, begun, answers: BTreeMap::new(), term: 0 }
    }

    fn note(&mut self, voter: u64, answer: &VoteResponse<Types>, now: Duration) {
        let known = self.answers.insert(voter, Answer { last: answer.last_log_id, at: now });
        if known.is_none() {
            self.term = self.term.max(answer.vote.leader_id().term);
        }
    }

    /// `None` while some have not answered yet and do not count as failed either.
    fn floor(&self, now: Duration) -> Option<Floor> {
        if self.answers.len() < self.others && now < self.begun + SILENCE {
            return None;
        }
        let live = self.answers.values().filter(|answer| now < answer.at + SILENCE);
        Some(Floor { last: live.filter_map(|answer| answer.last).max(), term: self.term })
    }
}

impl Floor {
    /// Whether a candidate may have the vote of a member that might have forgotten something.
    fn permits(&self, request: &VoteRequest<Types>) -> bool {
        request.last_log_id >= self.last && request.vote.leader_id().term > self.term
    }
}

/// Whether this member votes yet. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Probation {
    /// `None` when it is over.
    survey: Arc<Mutex<Option<Survey>>>,
    /// What a leader had committed in its own term when it was first heard: who has that has all there was.
    goal: Arc<watch::Sender<Option<LogId>>>,
    clock: SharedClock,
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
        let survey = (!others.is_empty()).then(|| Survey::new(others.len(), clock.monotonic()));
        let begins = survey.is_some();
        let probation = Self {
            survey: Arc::new(Mutex::new(survey)),
            goal: Arc::new(watch::Sender::new(None)),
            clock,
        };
        if begins {
            core.runtime_config().elect(false);
            settings::spawn(probation.clone().run(core.clone(), others, peers));
        }
        probation
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Option<Survey>) -> T) -> T {
        use_it(&mut self.survey.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the candidate may have this member's vote, as far as this goes.
    pub(crate) fn permits(&self, request: &VoteRequest<Types>) -> bool {
        let now = self.clock.monotonic();
        self.with(|survey| match survey {
            None => true,
            Some(survey) => survey.floor(now).is_some_and(|floor| floor.permits(request)),
        })
    }

    /// Notes what a leader says.
    pub(crate) fn heard(&self, request: &AppendEntriesRequest<Types>) {
        if self.goal.borrow().is_some() || self.with(|survey| survey.is_none()) {
            return;
        }
        let term = request.vote.leader_id().term;
        let settled = request.leader_commit.filter(|id| id.committed_leader_id().term == term);
        if settled.is_some() {
            self.goal.send_replace(settled);
        }
    }

    async fn run(self, core: Core, others: Vec<(u64, Place)>, peers: Peers) {
        let over = tokio::select! {
            () = self.clock.sleep(LIMIT) => "it took too long",
            () = self.caught_up(&core) => "caught up with the leader",
            () = self.ask(&core, &others, &peers) => "consensus has stopped",
        };
        tracing::info!(reason = over, "votes from now on");
        self.with(|survey| *survey = None);
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

    /// Asks all others, again and again.
    async fn ask(&self, core: &Core, others: &[(u64, Place)], peers: &Peers) {
        let all = join_all(others.iter().map(|(id, place)| self.ask_one(core, *id, place, peers)));
        let silence = async {
            self.clock.sleep(SILENCE).await;
            self.review(core);
            std::future::pending::<()>().await;
        };
        tokio::join!(all, silence);
    }

    async fn ask_one(&self, core: &Core, id: u64, place: &Place, peers: &Peers) {
        let mut peer = peers.heartbeats(id, place);
        loop {
            match peer.ask(question(core)).await {
                Ok(answer) => {
                    let now = self.clock.monotonic();
                    self.with(|survey| survey.as_mut().map(|survey| survey.note(id, &answer, now)));
                }
                Err(error) => tracing::debug!(%error, "a manager does not answer yet"),
            }
            self.review(core);
            self.clock.sleep(AGAIN).await;
        }
    }

    /// Stands for election while this member has what any of the others has.
    fn review(&self, core: &Core) {
        let now = self.clock.monotonic();
        let floor = self.with(|survey| survey.as_ref().and_then(|survey| survey.floor(now)));
        let last = core.data_metrics().borrow_watched().last_log;
        core.runtime_config().elect(floor.is_some_and(|floor| last >= floor.last));
    }
}

/// A pre-vote of this member as it is now.
fn question(core: &Core) -> VoteRequest<Types> {
    let vote = core.server_metrics().borrow_watched().vote;
    let last = core.data_metrics().borrow_watched().last_log;
    VoteRequest::new(vote, last)
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

    const BEGUN: Duration = Duration::from_secs(1000);

    fn seconds(after: u64) -> Duration {
        BEGUN + Duration::from_secs(after)
    }

    #[test]
    fn only_who_has_what_any_other_has_gets_the_vote() {
        let mut survey = Survey::new(3, BEGUN);
        survey.note(2, &answer(4, id(3, 9)), BEGUN);
        survey.note(3, &answer(3, id(2, 12)), BEGUN);
        assert_eq!(survey.floor(seconds(1)), None, "one is to be heard yet");
        survey.note(4, &answer(1, None), seconds(1));
        let floor = survey.floor(seconds(1)).unwrap();
        assert_eq!(floor, Floor { last: id(3, 9), term: 4 });
        let permits = |term, last| floor.permits(&VoteRequest::new(Vote::new(term, 2), last));
        assert!(permits(5, id(3, 9)));
        assert!(permits(5, id(4, 1)));
        assert!(!permits(4, id(3, 9)), "that vote may have been given before");
        assert!(!permits(5, id(2, 12)), "an entry may have been acknowledged that it lacks");
        assert!(!permits(5, None));
    }

    #[test]
    fn who_has_more_counts_for_as_long_as_it_answers() {
        let mut survey = Survey::new(2, BEGUN);
        survey.note(2, &answer(4, id(3, 9)), BEGUN);
        survey.note(3, &answer(3, id(2, 12)), BEGUN);
        // The second one answers on, in terms of elections that nobody wins; the first one is gone.
        survey.note(3, &answer(6, id(2, 12)), seconds(2));
        assert_eq!(survey.floor(seconds(2)), Some(Floor { last: id(3, 9), term: 4 }));
        assert_eq!(survey.floor(seconds(3)), Some(Floor { last: id(2, 12), term: 4 }));
        survey.note(2, &answer(4, id(3, 9)), seconds(4));
        assert_eq!(survey.floor(seconds(4)), Some(Floor { last: id(3, 9), term: 4 }));
        assert_eq!(survey.floor(seconds(20)), Some(Floor { last: None, term: 4 }));
    }

    #[test]
    fn who_never_answers_counts_as_failed() {
        let mut survey = Survey::new(2, BEGUN);
        assert_eq!(survey.floor(seconds(2)), None);
        survey.note(3, &answer(3, id(2, 12)), seconds(2));
        assert_eq!(survey.floor(seconds(2)), None);
        assert_eq!(survey.floor(seconds(3)), Some(Floor { last: id(2, 12), term: 3 }));
    }
}
