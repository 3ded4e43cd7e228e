//! Brings nodes to the roles their specs ask for, and managers into and out of consensus. Runs on the leader.
//!
//! Source: swarmkit `manager/role_manager.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_manager_core::store::{Event, State};
use shoal_manager_raft::{Member, Raft, RaftId, Status};
use shoal_model::cluster::node::{IssueState, NodeRole};
use shoal_model::cluster::{Node, NodeId};
use shoal_model::error::Chain;

use crate::store::{self, Store};

/// A manager has so long to catch up before it is tried again.
const CATCH_UP: Duration = Duration::from_secs(60);
/// After a step that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Into consensus.
    Add(Member),
    /// Out of consensus; its node is no manager, is gone, or has begun a new log.
    Remove(RaftId),
    /// The node gets a certificate with this role.
    Turn(NodeId, NodeRole),
}

/// What is to be done, in order. Removals come last, and of those this member's own: a quorum must be there first.
fn plan(nodes: &[Arc<Node>], members: &BTreeMap<RaftId, Member>, own: RaftId) -> Vec<Step> {
    let mut steps = Vec::new();
    let wanted: BTreeMap<RaftId, &Arc<Node>> = nodes
        .iter()
        .filter(|node| node.spec.role == NodeRole::Manager)
        .filter_map(|node| Some((RaftId(node.manager.as_ref()?.raft_id), node)))
        .collect();
    for node in nodes {
        match (node.spec.role, node.role) {
            (NodeRole::Manager, NodeRole::Worker) => {
                steps.push(Step::Turn(node.id, NodeRole::Manager));
            }
            // Only once it is out of consensus: see below.
            (NodeRole::Worker, NodeRole::Manager)
                if !members.values().any(|member| member.node == node.id) =>
            {
                steps.push(Step::Turn(node.id, NodeRole::Worker));
            }
            _ => {}
        }
    }
    for (id, node) in &wanted {
        let known = members.get(id);
        let address = node.manager.as_ref().map(|manager| manager.address.to_string());
        if known.is_none() && node.role == NodeRole::Manager {
            let address = address.unwrap_or_default();
            steps.push(Step::Add(Member { id: *id, node: node.id, address }));
        }
    }
    let mut gone: Vec<RaftId> =
        members.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
    gone.sort_by_key(|id| *id == own);
    steps.extend(gone.into_iter().map(Step::Remove));
    steps
}

fn members(status: &Status) -> BTreeMap<RaftId, Member> {
    status.members.iter().map(|(id, member)| (*id, member.member.clone())).collect()
}

/// A learner is to become a voter: the step of adding it was cut off.
fn is_unfinished(status: &Status, id: RaftId) -> bool {
    status.members.get(&id).is_some_and(|member| !member.voter)
}

/// Runs until it is dropped.
///
/// # Cancel safety
/// Dropping the future loses nothing: the next leader plans from store and consensus.
pub(super) async fn run(store: &Store, raft: &Raft, clock: &SharedClock) {
    let mut status = raft.watch();
    loop {
        let (state, mut changes) = store.watch();
        // The members that the plan is made for: a change of them by a step below is one to plan for anew.
        let planned = members(&status.borrow_and_update());
        let mut done = true;
        for step in steps(&state, raft) {
            if let Err(error) = take(store, raft, &step).await {
                tracing::warn!(?step, error, "a change of roles has to wait");
                done = false;
            }
        }
        if !done {
            clock.sleep(AGAIN).await;
            continue;
        }
        while members(&status.borrow_and_update()) == planned {
            tokio::select! {
                batches = changes.next() => {
                    let Ok(batches) = batches else { break };
                    let mut events = batches.iter().flat_map(|batch| &batch.events);
                    if events.any(concerns) {
                        break;
                    }
                }
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Whether a change can ask for a step.
fn concerns(event: &Event) -> bool {
    let Event::Node(diff) = event else { return false };
    let says = |node: &Option<Arc<Node>>| {
        node.as_ref().map(|node| (node.spec.role, node.role, node.manager.clone()))
    };
    says(&diff.old) != says(&diff.new)
}

fn steps(state: &State, raft: &Raft) -> Vec<Step> {
    let status = raft.status();
    let nodes: Vec<_> = state.managers().cloned().collect();
    // A cluster that is just being made has no nodes yet.
    if nodes.is_empty() {
        return Vec::new();
    }
    let mut known = members(&status);
    known.retain(|id, _| !is_unfinished(&status, *id));
    plan(&nodes, &known, raft.member().id)
}

async fn take(store: &Store, raft: &Raft, step: &Step) -> Result<(), String> {
    let said = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    };
    match step {
        Step::Add(member) => raft.add_voter(member, CATCH_UP).await.map_err(|error| said(&error)),
        Step::Remove(id) if *id == raft.member().id => {
            // The next leader removes this member.
            raft.transfer_leadership(None).await.map(|_| ()).map_err(|error| said(&error))
        }
        Step::Remove(id) => raft.remove(*id).await.map_err(|error| said(&error)),
        Step::Turn(node, role) => {
            turn(store, *node, *role).await.map_err(|error| Chain(&error).to_string())
        }
    }
}

/// Has a node's certificate made anew with another role.
async fn turn(store: &Store, id: NodeId, role: NodeRole) -> Result<(), store::Error> {
    let change = |txn: &mut shoal_manager_core::store::Txn| {
        let Some(node) = txn.node(id).cloned() else { return Ok(()) };
        if node.spec.role != role || node.role == role {
            return Ok(());
        }
        let mut node = (*node).clone();
        node.role = role;
        node.certificate.state = IssueState::Rotate;
        if role == NodeRole::Worker {
            node.manager = None;
        }
        txn.put_node(node).map_err(store::Error::Rejected)
    };
    store.update(change).await.map(|_| ())
}
