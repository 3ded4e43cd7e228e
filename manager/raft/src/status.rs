//! What a member knows of the cluster's consensus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, RaftMetrics, ServerState};
use shoal_base::SharedClock;
use tokio::sync::watch;

use crate::handle::Core;
use crate::log::health::Health;
use crate::types::Types;
use crate::{Member, RaftId, quorum, settings};

/// Part of a member in consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Role {
    Learner,
    Follower,
    Candidate,
    Leader,
    /// Shut down, or its disk failed.
    Stopped,
}

/// A member and whether it votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// Counts for the quorum. While a change is under way, of the old set or the new.
    pub voter: bool,
}

/// What the leader knows of another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// Entries it has; `None`: nothing heard yet.
    pub matched: Option<u64>,
    /// Entries of the leader it has not acknowledged.
    pub lag: u64,
    /// It answered within two election timeouts.
    pub reachable: bool,
}

/// State of consensus as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub id: RaftId,
    /// Its part.
    pub role: Role,
    /// Who leads, as far as this member knows. `None`: no one, or not known.
    pub leader: Option<Member>,
    /// Term.
    pub term: u64,
    /// Last index of the log; `None`: empty.
    pub last: Option<u64>,
    /// Last committed index.
    pub committed: Option<u64>,
    /// Last applied index.
    pub applied: Option<u64>,
    /// Index of the last entry in the newest raft snapshot.
    pub snapshot: Option<u64>,
    /// Everyone, by raft id.
    pub members: BTreeMap<RaftId, MemberStatus>,
    /// On the leader: the others.
    pub followers: BTreeMap<RaftId, Follower>,
    /// On the leader: how many more voters may fail before writes stop. Negative: that many must
    /// come back. `None` elsewhere.
    pub quorum_margin: Option<i64>,
    /// Why nothing, or no snapshot, is written at the moment: no room on the disk.
    pub disk_full: Option<String>,
    /// Why it stopped.
    pub failure: Option<String>,
}

impl Status {
    /// Whether this member leads.
    pub fn leads(&self) -> bool {
        self.role == Role::Leader
    }
}

/// Indexes are published this often at most; role, leader and members at once.
const PERIOD: Duration = Duration::from_millis(50);

/// Publishes the status from the raft threads.
pub(crate) fn spawn(
    core: &Core,
    election_timeout: Duration,
    disk: [Health; 2],
    clock: SharedClock,
) -> watch::Receiver<Status> {
    let (mut metrics, mut server) = (core.metrics(), core.server_metrics());
    let first = compute(&metrics.borrow_watched(), election_timeout);
    let (sender, receiver) = watch::channel(first);
    let [mut log_disk, mut snapshot_disk] = disk.each_ref().map(Health::watch);
    settings::spawn(async move {
        loop {
            let indexes = async {
                clock.sleep(PERIOD).await;
                metrics.changed().await.is_ok()
            };
            let changed = tokio::select! {
                changed = server.changed() => changed.is_ok(),
                changed = log_disk.changed() => changed.is_ok(),
                changed = snapshot_disk.changed() => changed.is_ok(),
                changed = indexes => changed,
            };
            if !changed {
                break;
            }
            let mut status = compute(&metrics.borrow_watched(), election_timeout);
            status.disk_full = disk.iter().find_map(Health::full);
            sender.send_if_modified(|old| {
                let changed = *old != status;
                *old = status;
                changed
            });
        }
        // Whoever still watches sees that it is over.
        sender.send_modify(|status| status.role = Role::Stopped);
    });
    receiver
}

pub(crate) fn compute(metrics: &RaftMetrics<Types>, election_timeout: Duration) -> Status {
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<RaftId> = membership.voter_ids().map(RaftId).collect();
    let members: BTreeMap<RaftId, MemberStatus> = membership
        .nodes()
        .map(|(id, place)| {
            let status =
                MemberStatus { member: place.member(*id), voter: voters.contains(&RaftId(*id)) };
            (RaftId(*id), status)
        })
        .collect();
    let leads = metrics.state == ServerState::Leader && metrics.running_state.is_ok();
    let followers = if leads { followers(metrics, election_timeout) } else { BTreeMap::new() };
    let id = RaftId(metrics.id);
    let quorum_margin = leads.then(|| quorum::margin(&voters, &reachable(id, &followers)));
    Status {
        id,
        role: role(metrics),
        leader: metrics
            .current_leader
            .and_then(|leader| members.get(&RaftId(leader)))
            .map(|status| status.member.clone()),
        term: metrics.current_term,
        last: metrics.last_log_index,
        committed: metrics.local_committed.map(|id| id.index()),
        applied: metrics.last_applied.map(|id| id.index()),
        snapshot: metrics.snapshot.map(|id| id.index()),
        members,
        followers,
        quorum_margin,
        disk_full: None,
        failure: metrics.running_state.as_ref().err().map(ToString::to_string),
    }
}

fn role(metrics: &RaftMetrics<Types>) -> Role {
    if metrics.running_state.is_err() {
        return Role::Stopped;
    }
    match metrics.state {
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    }
}

/// Members that answer, the leader `id` among them.
pub(crate) fn reachable(id: RaftId, followers: &BTreeMap<RaftId, Follower>) -> BTreeSet<RaftId> {
    let answering = followers.iter().filter(|(_, follower)| follower.reachable).map(|(id, _)| *id);
    answering.chain([id]).collect()
}

fn followers(
    metrics: &RaftMetrics<Types>,
    election_timeout: Duration,
) -> BTreeMap<RaftId, Follower> {
    let next = metrics.last_log_index.map_or(0, |last| last + 1);
    let heard = |id: &u64| {
        let at = metrics.heartbeat.as_ref().and_then(|acks| acks.get(id)).copied().flatten();
        at.is_some_and(|at| at.elapsed() < election_timeout * 2)
    };
    let others = metrics.replication.iter().flatten().filter(|(id, _)| **id != metrics.id);
    others
        .map(|(id, matched)| {
            let matched = matched.map(|log_id| log_id.index());
            let lag = next.saturating_sub(matched.map_or(0, |index| index + 1));
            (RaftId(*id), Follower { matched, lag, reachable: heard(id) })
        })
        .collect()
}
