//! Members that come and go, and snapshots for those that are far behind.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shoal_base::{Clock, SystemClock};
use shoal_manager_raft::quorum::Refusal;
use shoal_manager_raft::{Begin, Key, KeyId, MembershipError, RaftId, Role};

use crate::support::{Lab, PATIENCE, changed, leader_of, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_gets_entries_and_votes_once_promoted() {
    let mut lab = Lab::new(2).await;
    let first = lab.start(1).await;
    first.raft.bootstrap().await.unwrap();
    let index = first.write("a").await;
    let second = lab.start(2).await;
    first.raft.add_learner(lab.member(2)).await.unwrap();
    first.raft.add_learner(lab.member(2)).await.unwrap();
    within(second.raft.wait_applied(index)).await.unwrap();
    assert_eq!(
        (second.entries(), second.raft.status().role),
        (vec!["a".to_owned()], Role::Learner)
    );
    assert!(!first.raft.status().members[&lab.member(2).id].voter);
    changed(async || first.raft.promote(lab.member(2).id, PATIENCE).await).await;
    assert!(first.raft.status().members[&lab.member(2).id].voter);
    second.until("follows", |status| status.role == Role::Follower).await;
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_is_not_there_is_not_promoted() {
    let mut lab = Lab::new(2).await;
    let first = lab.start(1).await;
    first.raft.bootstrap().await.unwrap();
    first.until("leads", |status| status.leads()).await;
    first.raft.add_learner(lab.member(2)).await.unwrap();
    let refused =
        first.raft.promote(lab.member(2).id, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(refused, MembershipError::NotCaughtUp { .. }), "{refused}");
    first.write("still writable").await;
    changed(async || first.raft.remove(lab.member(2).id).await).await;
    assert_eq!(first.raft.status().members.len(), 1, "and it is shown at once");
    let unknown = first.raft.remove(RaftId(99)).await.unwrap_err();
    assert!(matches!(unknown, MembershipError::NoSuchMember { id: RaftId(99) }), "{unknown}");
    let last = first.raft.remove(lab.member(1).id).await.unwrap_err();
    assert!(matches!(last, MembershipError::Quorum(Refusal::LastVoter)), "{last}");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_that_would_lose_quorum_is_refused() {
    let mut lab = Lab::new(3).await;
    let mut nodes = lab.cluster().await;
    nodes.pop().unwrap().stop().await;
    nodes[0].until("sees it gone", |status| status.quorum_margin == Some(0)).await;
    let refused = nodes[0].raft.remove(lab.member(2).id).await.unwrap_err();
    let expected = Refusal::QuorumLost { voters: 2, reachable: 1, needed: 2 };
    assert!(
        matches!(refused, MembershipError::Quorum(refusal) if refusal == expected),
        "{refused}"
    );
    // The one that is down may go.
    changed(async || nodes[0].raft.remove(lab.member(3).id).await).await;
    nodes[0].write("a").await;
    assert_eq!(nodes[0].raft.status().members.len(), 2);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_leader_stops_leading() {
    let mut lab = Lab::new(3).await;
    let mut nodes = lab.cluster().await;
    nodes[0].until("all reachable", |status| status.quorum_margin == Some(1)).await;
    changed(async || nodes[0].raft.remove(lab.member(1).id).await).await;
    let gone = nodes.remove(0);
    let leader = leader_of(&[&nodes[0], &nodes[1]]).await;
    nodes[leader].write("a").await;
    assert_eq!(nodes[leader].raft.status().members.len(), 2);
    gone.until("does not lead", |status| !status.leads()).await;
    gone.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_member_gets_a_snapshot_and_the_entries_behind_it() {
    let mut lab = Lab::new(3).await;
    lab.config.snapshot_interval = 50;
    lab.config.entries_for_slow_followers = 5;
    let first = lab.start(1).await;
    first.raft.bootstrap().await.unwrap();
    for number in 0..220 {
        first.write(&format!("entry {number} {}", "x".repeat(2000))).await;
    }
    within(async {
        while first.raft.status().snapshot < Some(150) {
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let second = lab.start(2).await;
    changed(async || first.raft.add_voter(lab.member(2), PATIENCE).await).await;
    let index = first.write("last").await;
    within(second.raft.wait_applied(index)).await.unwrap();
    assert_eq!(second.entries(), first.entries());
    assert!(second.raft.status().snapshot >= Some(100), "it was installed");

    // It restarts from that snapshot, and its files do not pile up.
    second.stop().await;
    let second = lab.start(2).await;
    within(second.raft.wait_applied(index)).await.unwrap();
    assert_eq!(second.entries(), first.entries());
    within(async {
        while std::fs::read_dir(lab.path(2).join("snapshots")).unwrap().count() != 1 {
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_settings_change_while_it_runs() {
    let mut lab = Lab::new(1).await;
    let first = lab.start(1).await;
    first.raft.bootstrap().await.unwrap();
    for number in 0..20 {
        first.write(&number.to_string()).await;
    }
    assert_eq!(first.raft.status().snapshot, None);
    let mut config = lab.config.clone();
    config.snapshot_interval = 10;
    config.keep_old_snapshots = Some(1);
    first.raft.configure(&config);
    first.until("takes a snapshot", |status| status.snapshot.is_some()).await;
    for number in 20..60 {
        first.write(&number.to_string()).await;
        SystemClock.sleep(Duration::from_millis(5)).await;
    }
    // The newest and one more, once the one that is being written is done.
    within(async {
        while std::fs::read_dir(lab.path(1).join("snapshots")).unwrap().count() != 2 {
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moved_is_reached_at_its_new_address() {
    let mut lab = Lab::new(2).await;
    let mut nodes = lab.cluster().await;
    nodes.pop().unwrap().stop().await;
    // One of two is gone: the address change commits once it is back, which is at the new address.
    let moved = lab.relocate(2).await;
    let second = lab.start(2).await;
    let change = tokio::time::timeout(PATIENCE, nodes[0].raft.add_learner(&moved)).await;
    change.expect("commits").unwrap();
    let index = nodes[0].write("a").await;
    within(second.raft.wait_applied(index)).await.unwrap();
    assert_eq!(nodes[0].raft.status().members[&moved.id].member, moved);
    second.stop().await;
    nodes.pop().unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_goes_on_alone_when_the_others_are_lost() {
    let mut lab = Lab::new(3).await;
    let mut nodes = lab.cluster().await;
    nodes[0].write("a").await;
    for node in nodes.drain(..).rev() {
        node.stop().await;
    }
    let one = lab.start(1).await;
    SystemClock.sleep(Duration::from_millis(1500)).await;
    assert!(!one.raft.status().leads(), "no quorum");
    one.stop().await;
    lab.begin = Begin::Alone;
    let one = lab.start(1).await;
    one.until("leads", |status| status.leads()).await;
    one.write("b").await;
    assert_eq!((one.entries(), one.raft.status().members.len()), (vec!["a".into(), "b".into()], 1));
    // It grows again, with members that begin anew.
    lab.begin = Begin::AsStored;
    std::fs::remove_dir_all(lab.path(2)).unwrap();
    let two = lab.start(2).await;
    changed(async || one.raft.add_voter(lab.member(2), PATIENCE).await).await;
    let index = one.write("c").await;
    within(two.raft.wait_applied(index)).await.unwrap();
    assert_eq!(two.entries(), ["a", "b", "c"]);
    two.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_key_goes_out_of_use() {
    let mut lab = Lab::new(1).await;
    let one = lab.start(1).await;
    one.raft.bootstrap().await.unwrap();
    for number in 0..10 {
        one.write(&number.to_string()).await;
    }
    assert_eq!(one.raft.keys_in_use(), BTreeSet::from([KeyId(1)]));
    lab.keyring.rotate(KeyId(2), &Key::from_bytes([8; 32]));
    one.write("new").await;
    assert_eq!(one.raft.keys_in_use(), BTreeSet::from([KeyId(1), KeyId(2)]));
    within(one.raft.reseal()).await.unwrap();
    one.write("newer").await;
    assert_eq!(one.raft.keys_in_use(), BTreeSet::from([KeyId(2)]));
    let entries = one.entries();
    one.stop().await;
    lab.keyring.forget(KeyId(1));
    let one = lab.start(1).await;
    assert_eq!(one.entries(), entries);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_for_another_member_are_refused() {
    let mut lab = Lab::new(2).await;
    let mut nodes = lab.cluster().await;
    nodes.pop().unwrap().stop().await;
    // Its host comes back with an empty disk, under a new id.
    std::fs::remove_dir_all(lab.path(2)).unwrap();
    let known = lab.member(2).clone();
    lab.rename(2, RaftId(22));
    let stranger = lab.start(2).await;
    let write = nodes[0].raft.propose("x".into());
    let write = tokio::time::timeout(Duration::from_secs(2), write).await;
    assert!(!matches!(write, Ok(Ok(_))), "acknowledged by a stranger");
    assert_eq!(stranger.raft.status().last, None);
    assert!(nodes[0].raft.status().members.contains_key(&known.id));
    stranger.stop().await;
    nodes.pop().unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_while_a_snapshot_is_written() {
    let mut lab = Lab::new(1).await;
    lab.hold.store(true, Ordering::Relaxed);
    let one = lab.start(1).await;
    one.raft.bootstrap().await.unwrap();
    one.until("leads", |status| status.leads()).await;
    let before = one.write("before").await;
    one.raft.take_snapshot().await.unwrap();
    for number in 0..100 {
        one.write(&number.to_string()).await;
    }
    assert_eq!(one.raft.status().snapshot, None);
    lab.hold.store(false, Ordering::Relaxed);
    one.until("has a snapshot", |status| status.snapshot.is_some()).await;
    let snapshot = one.raft.status().snapshot.unwrap();
    assert!((before..before + 50).contains(&snapshot), "{snapshot}: the state as it was then");
    one.stop().await;
}
