//! Disks without room: nothing is acknowledged that is not written, it is said, and it goes on when there is room.

use std::time::Duration;

use bytes::Bytes;
use shoal_manager_raft::ProposeError;

use crate::support::{Lab, leader_of, within};

const NO_ROOM: &str = "failed to append to";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_says_so_and_goes_on() {
    let mut lab = Lab::in_memory(1).await;
    let disk = lab.disks[&1].clone();
    let node = lab.cluster().await.remove(0);
    node.write("a").await;
    disk.set_capacity(Some(disk.used()));
    let raft = node.raft.clone();
    let mut waiting = Box::pin(raft.propose(Bytes::from_static(b"b")));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut waiting).await;
    assert!(early.is_err(), "acknowledged, or given up: {early:?}");
    node.until("says so", |status| status.disk_full.is_some()).await;
    let refused = node.raft.propose(Bytes::from_static(b"c")).await.unwrap_err();
    let ProposeError::DiskFull { reason } = &refused else { panic!("{refused}") };
    assert!(reason.starts_with(NO_ROOM), "{reason}");
    assert!(refused.certainly_not_committed());
    assert_eq!(node.entries(), ["a"]);
    disk.set_capacity(None);
    within(waiting).await.unwrap();
    node.until("is well", |status| status.disk_full.is_none()).await;
    node.write("d").await;
    node.stop().await;
    let node = lab.start(1).await;
    assert_eq!(node.entries(), ["a", "b", "d"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stops_while_its_disk_is_full_keeps_what_it_acknowledged() {
    let mut lab = Lab::in_memory(1).await;
    let disk = lab.disks[&1].clone();
    let node = lab.cluster().await.remove(0);
    node.write("a").await;
    // Room for a part of the entry.
    disk.set_capacity(Some(disk.used() + 100));
    let raft = node.raft.clone();
    let lost = raft.propose(vec![b'x'; 200].into());
    let lost = tokio::time::timeout(Duration::from_millis(300), lost).await;
    assert!(!matches!(lost, Ok(Ok(_))));
    within(node.stop()).await;
    disk.set_capacity(None);
    let node = lab.start(1).await;
    assert_eq!(node.entries(), ["a"]);
    node.write("b").await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_without_room_stops_no_write_and_comes_later() {
    let mut lab = Lab::in_memory(1).await;
    let disk = lab.disks[&1].clone();
    let node = lab.cluster().await.remove(0);
    for number in 0..20 {
        node.write(&format!("{number}{}", "x".repeat(1000))).await;
    }
    // A snapshot takes as much as all entries so far.
    disk.set_capacity(Some(disk.used() + 5000));
    node.raft.take_snapshot().await.unwrap();
    node.until("says so", |status| status.disk_full.is_some()).await;
    assert_eq!(node.raft.status().snapshot, None);
    node.write("small").await;
    disk.set_capacity(None);
    node.until("it is written", |status| status.snapshot.is_some()).await;
    node.until("is well", |status| status.disk_full.is_none()).await;
    node.stop().await;
    let node = lab.start(1).await;
    assert_eq!((node.entries().len(), node.entries()[20].as_str()), (21, "small"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_room_stops_when_it_is_told_to() {
    let mut lab = Lab::in_memory(3).await;
    let disk = lab.disks[&3].clone();
    let mut nodes = lab.cluster().await;
    let index = nodes[0].write("before").await;
    within(nodes[2].raft.wait_applied(index)).await.unwrap();
    disk.set_capacity(Some(disk.used()));
    nodes[0].write("during").await;
    nodes[2].until("says so", |status| status.disk_full.is_some()).await;
    // Another leader's term is to be written down, too: consensus itself waits.
    nodes[0].raft.transfer_leadership(Some(lab.member(2).id)).await.unwrap();
    nodes[1].until("leads", |status| status.leads()).await;
    within(nodes.remove(2).stop()).await;
    disk.set_capacity(None);
    nodes.push(lab.start(3).await);
    let index = nodes[1].write("after").await;
    within(nodes[2].raft.wait_applied(index)).await.unwrap();
    assert_eq!(nodes[2].entries(), ["before", "during", "after"]);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_room_hands_over_and_follows_again() {
    let mut lab = Lab::in_memory(3).await;
    let disk = lab.disks[&1].clone();
    let nodes = lab.cluster().await;
    let index = nodes[0].write("before").await;
    within(nodes[1].raft.wait_applied(index)).await.unwrap();
    disk.set_capacity(Some(disk.used()));
    // The others may acknowledge it; this member alone may not.
    let during = nodes[0].raft.propose(Bytes::from_static(b"during"));
    let during = tokio::time::timeout(Duration::from_millis(200), during).await;
    let leader = 1 + leader_of(&[&nodes[1], &nodes[2]]).await;
    let index = nodes[leader].write("after").await;
    let written = nodes[leader].entries();
    assert!(!matches!(during, Ok(Ok(_))) || written.contains(&"during".to_owned()));
    assert_eq!(written.last().map(String::as_str), Some("after"));
    disk.set_capacity(None);
    within(nodes[0].raft.wait_applied(index)).await.unwrap();
    assert_eq!(nodes[0].entries(), written);
    for node in nodes {
        node.stop().await;
    }
}
