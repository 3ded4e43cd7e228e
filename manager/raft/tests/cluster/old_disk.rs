//! Members that come back with an old copy of their disk: they have forgotten what they acknowledged.

use crate::support::{Lab, Node, leader_of, within};

async fn write_many(node: &Node, what: &str, count: u32) -> u64 {
    let mut index = 0;
    for number in 0..count {
        index = node.write(&format!("{what}{number}")).await;
    }
    index
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_with_an_old_disk_gets_what_it_lost() {
    let mut lab = Lab::in_memory(3).await;
    let mut nodes = lab.cluster().await;
    let index = write_many(&nodes[0], "old", 5).await;
    within(nodes[2].raft.wait_applied(index)).await.unwrap();
    let old = lab.disks[&3].copied();
    let index = write_many(&nodes[0], "new", 20).await;
    within(nodes[2].raft.wait_applied(index)).await.unwrap();
    nodes.remove(2).stop().await;
    lab.disks.insert(3, old);
    lab.isolate(3);
    nodes.push(lab.start(3).await);
    // How far it was committed is stored a moment after the entries: the last of them may wait for the leader.
    let kept = nodes[2].entries();
    assert!((4..=5).contains(&kept.len()), "that is what an old disk has: {kept:?}");
    lab.heal();
    within(nodes[2].raft.wait_applied(index)).await.unwrap();
    assert!(nodes[0].raft.status().leads(), "and nobody is disturbed");
    let index = nodes[0].write("after").await;
    for node in &nodes {
        within(node.raft.wait_applied(index)).await.unwrap();
        assert_eq!(node.entries(), nodes[0].entries());
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_an_old_disk_does_not_lead_from_it() {
    let mut lab = Lab::in_memory(3).await;
    let mut nodes = lab.cluster().await;
    write_many(&nodes[0], "old", 5).await;
    let old = lab.disks[&1].copied();
    let index = write_many(&nodes[0], "new", 20).await;
    for node in &nodes[1..] {
        within(node.raft.wait_applied(index)).await.unwrap();
    }
    nodes.remove(0).stop().await;
    lab.disks.insert(1, old);
    nodes.insert(0, lab.start(1).await);
    let leader = leader_of(&nodes.iter().collect::<Vec<_>>()).await;
    assert_ne!(leader, 0, "the others have what it forgot");
    let index = nodes[leader].write("after").await;
    for node in &nodes {
        within(node.raft.wait_applied(index)).await.unwrap();
        assert_eq!((node.entries().len(), node.entries()), (26, nodes[leader].entries()));
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_log_beside_a_newer_snapshot_is_no_harm() {
    let mut lab = Lab::new(1).await;
    lab.config.entries_for_slow_followers = 0;
    let node = lab.cluster().await.remove(0);
    write_many(&node, "old", 5).await;
    node.stop().await;
    let copy = tempfile::tempdir().unwrap();
    let log = lab.path(1).join("log");
    for file in std::fs::read_dir(&log).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let node = lab.start(1).await;
    node.until("leads", |status| status.leads()).await;
    write_many(&node, "new", 20).await;
    let last = node.raft.applied();
    node.raft.take_snapshot().await.unwrap();
    node.until("snapshot", |status| status.snapshot >= last).await;
    let entries = node.entries();
    node.stop().await;
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    for file in std::fs::read_dir(copy.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), log.join(file.file_name())).unwrap();
    }
    let node = lab.start(1).await;
    assert_eq!(node.entries(), entries, "the snapshot has it");
    node.until("leads", |status| status.leads()).await;
    node.write("after").await;
    assert_eq!(node.entries().len(), 26);
    node.stop().await;
}
