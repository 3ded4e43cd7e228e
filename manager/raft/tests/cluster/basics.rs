//! Elections, proposals, reads, restarts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use shoal_base::{Clock, SystemClock};
use shoal_manager_raft::{BootstrapError, ProposeError, ReadError, Role};

use crate::support::{Lab, leader_of, within};

#[tokio::test(flavor = "multi_thread")]
async fn one_member_leads_itself_and_remembers() {
    let mut lab = Lab::new(1).await;
    let node = lab.start(1).await;
    assert_eq!(node.raft.status().role, Role::Learner);
    let refused = node.raft.propose(Bytes::from_static(b"early")).await.unwrap_err();
    assert!(matches!(refused, ProposeError::NotLeader { leader: None }), "{refused}");
    node.raft.bootstrap().await.unwrap();
    let again = node.raft.bootstrap().await.unwrap_err();
    assert!(matches!(again, BootstrapError::NotEmpty), "{again}");
    node.until("leads", |status| status.leads()).await;
    let first = node.write("a").await;
    let proposed = node.raft.propose(Bytes::from_static(b"b")).await.unwrap();
    assert_eq!((proposed.index, &proposed.response[..]), (first + 1, &b"2"[..]));
    assert_eq!(node.raft.status().quorum_margin, Some(0));
    let term = node.raft.status().term;
    node.stop().await;

    let node = lab.start(1).await;
    assert_eq!(node.entries(), ["a", "b"], "restored before start returns");
    node.until("leads again", |status| status.leads()).await;
    assert!(node.raft.status().term > term);
    node.write("c").await;
    assert_eq!(node.entries(), ["a", "b", "c"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_name_the_leader_and_apply_what_it_acknowledged() {
    let mut lab = Lab::new(3).await;
    let nodes = lab.cluster().await;
    let index = nodes[0].write("a").await;
    let refused = nodes[1].raft.propose(Bytes::from_static(b"x")).await.unwrap_err();
    let ProposeError::NotLeader { leader } = refused else { panic!("{refused}") };
    assert_eq!(leader.as_ref(), Some(lab.member(1)));
    let refused = nodes[1].raft.read_index().await.unwrap_err();
    assert!(matches!(refused, ReadError::NotLeader { leader: Some(_) }), "{refused}");
    let read = within(nodes[0].raft.read_index()).await.unwrap();
    assert!(read >= index);
    for node in &nodes {
        within(node.raft.wait_applied(read)).await.unwrap();
        assert_eq!(node.entries(), ["a"]);
    }
    let status = nodes[0].raft.status();
    assert_eq!(status.quorum_margin, Some(1), "{status:?}");
    assert!(status.followers.values().all(|follower| follower.reachable), "{status:?}");
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_over_the_limit_is_refused_and_one_at_it_is_replicated() {
    let mut lab = Lab::new(3).await;
    let nodes = lab.cluster().await;
    let limit = shoal_manager_raft::limits::ENTRY_BYTES;
    let refused = nodes[0].raft.propose(vec![0; limit + 1].into()).await.unwrap_err();
    assert!(matches!(refused, ProposeError::TooLarge { .. }), "{refused}");
    let entry = "x".repeat(limit);
    let index = nodes[0].write(&entry).await;
    within(nodes[2].raft.wait_applied(index)).await.unwrap();
    assert_eq!(nodes[2].entries(), [entry]);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_catches_up_from_its_disk() {
    let mut lab = Lab::new(3).await;
    let mut nodes = lab.cluster().await;
    nodes[0].write("a").await;
    nodes.pop().unwrap().stop().await;
    let index = nodes[0].write("b").await;
    let back = lab.start(3).await;
    within(back.raft.wait_applied(index)).await.unwrap();
    assert_eq!(back.entries(), ["a", "b"]);
    assert_eq!(leader_of(&[&nodes[0], &nodes[1], &back]).await, 0, "its return disturbs nobody");
    back.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leads_when_the_leader_stops() {
    let mut lab = Lab::new(3).await;
    let mut nodes = lab.cluster().await;
    nodes[0].write("a").await;
    nodes.remove(0).stop().await;
    let leader = leader_of(&[&nodes[0], &nodes[1]]).await;
    let index = nodes[leader].write("b").await;
    for node in &nodes {
        within(node.raft.wait_applied(index)).await.unwrap();
        assert_eq!(node.entries(), ["a", "b"]);
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over() {
    let mut lab = Lab::new(3).await;
    let nodes = lab.cluster().await;
    nodes[0].write("a").await;
    nodes[0].until("all reachable", |status| status.quorum_margin == Some(1)).await;
    let to = nodes[0].raft.transfer_leadership(Some(lab.member(2).id)).await.unwrap();
    nodes[1].write("b").await;
    assert_eq!(to, lab.member(2).id);
    let any = within(nodes[1].raft.transfer_leadership(None)).await.unwrap();
    assert!(any == lab.member(1).id || any == lab.member(3).id);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_members_directory_is_refused() {
    let mut lab = Lab::new(2).await;
    lab.start(1).await.stop().await;
    std::fs::rename(lab.path(1), lab.path(2)).unwrap();
    let refused = lab.try_start(2).await.unwrap_err().to_string();
    assert!(refused.contains("belongs to raft member `0000000000000001`"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_share_a_stream() {
    const HEARTBEATS: u32 = 30;
    let mut lab = Lab::new(2).await;
    let nodes = lab.cluster().await;
    let index = nodes[0].write("a").await;
    within(nodes[1].raft.wait_applied(index)).await.unwrap();
    let term = nodes[0].raft.status().term;
    let before = nodes[1].appends.load(Ordering::SeqCst);
    SystemClock.sleep(Duration::from_millis(100) * HEARTBEATS).await;
    let opened = nodes[1].appends.load(Ordering::SeqCst) - before;
    // On a starved machine there may be another leader meanwhile, or a stream that ends.
    let is_same = nodes[0].raft.status().term == term;
    assert!(!is_same || opened < HEARTBEATS as usize / 4, "{opened} streams");
    for node in nodes {
        node.stop().await;
    }
}
