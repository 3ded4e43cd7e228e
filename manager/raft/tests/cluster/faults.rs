//! Partitions and stops: nothing acknowledged is lost, a minority acknowledges nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use shoal_base::random::{Random, SystemRandom};
use shoal_base::{Clock, SystemClock};
use shoal_manager_raft::ReadError;

use crate::support::{Lab, Node, leader_of, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_acknowledges_nothing_and_joins_again() {
    let mut lab = Lab::new(3).await;
    let nodes = lab.cluster().await;
    nodes[0].write("before").await;
    lab.isolate(1);
    let minority = async {
        let lost = nodes[0].raft.propose(Bytes::from_static(b"lost"));
        tokio::time::timeout(Duration::from_secs(3), lost).await
    };
    let majority = async {
        let leader = leader_of(&[&nodes[1], &nodes[2]]).await;
        nodes[1 + leader].write("after").await
    };
    let (minority, index) = tokio::join!(minority, majority);
    assert!(!matches!(minority, Ok(Ok(_))), "acknowledged without a quorum");
    let read = tokio::time::timeout(Duration::from_secs(3), nodes[0].raft.read_index()).await;
    assert!(matches!(read, Err(_) | Ok(Err(ReadError::Unavailable | ReadError::NotLeader { .. }))));
    lab.heal();
    within(nodes[0].raft.wait_applied(index)).await.unwrap();
    assert_eq!(nodes[0].entries(), ["before", "after"]);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_cut_off_does_not_disturb_the_leader() {
    let mut lab = Lab::new(3).await;
    let nodes = lab.cluster().await;
    let index = nodes[0].write("a").await;
    within(nodes[2].raft.wait_applied(index)).await.unwrap();
    let term = nodes[0].raft.status().term;
    for _ in 0..3 {
        lab.isolate(3);
        SystemClock.sleep(Duration::from_millis(1500)).await;
        lab.heal();
        let index = nodes[0].write("b").await;
        within(nodes[2].raft.wait_applied(index)).await.unwrap();
    }
    assert_eq!((nodes[0].raft.status().term, nodes[0].raft.status().leads()), (term, true));
    for node in nodes {
        node.stop().await;
    }
}

/// One of three.
fn any() -> usize {
    usize::from(below(3) == 0) + usize::from(below(2) == 0)
}

fn below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes);
    u64::from_le_bytes(bytes) % limit
}

/// A write as its writer saw it: begun and acknowledged at these times, at this index.
struct Write {
    text: String,
    begun: Duration,
    acknowledged: Duration,
    index: u64,
}

/// Writes to whoever takes it, for a while. Gives what was acknowledged.
async fn writer(number: u64, nodes: &[Node], until: Duration) -> Vec<Write> {
    let clock = SystemClock;
    let mut written = Vec::new();
    let mut count = 0;
    while clock.monotonic() < until {
        count += 1;
        let text = format!("{number}/{count}");
        let node = &nodes[any()];
        let begun = clock.monotonic();
        let proposal = node.raft.propose(Bytes::from(text.clone()));
        if let Ok(Ok(proposed)) = tokio::time::timeout(Duration::from_millis(500), proposal).await {
            let acknowledged = clock.monotonic();
            written.push(Write { text, begun, acknowledged, index: proposed.index });
        } else {
            clock.sleep(Duration::from_millis(5)).await;
        }
    }
    written
}

/// Reads through the leader: an index that is read must hold every write acknowledged before.
async fn reader(nodes: &[Node], until: Duration) -> Vec<(Duration, u64)> {
    let clock = SystemClock;
    let mut reads = Vec::new();
    while clock.monotonic() < until {
        let node = &nodes[any()];
        let begun = clock.monotonic();
        let read = tokio::time::timeout(Duration::from_millis(500), node.raft.read_index()).await;
        if let Ok(Ok(index)) = read {
            reads.push((begun, index));
        }
        clock.sleep(Duration::from_millis(3)).await;
    }
    reads
}

/// The histories of writes and reads, checked: real time order is index order, and reads see it.
fn check_order(writes: &mut [Write], reads: &[(Duration, u64)]) {
    writes.sort_by_key(|write| write.index);
    for pair in writes.windows(2) {
        assert!(pair[0].index < pair[1].index, "one index twice");
        assert!(
            pair[1].acknowledged > pair[0].begun,
            "`{}` was acknowledged before `{}` began, but lies behind it",
            pair[1].text,
            pair[0].text
        );
    }
    for (begun, read) in reads {
        let seen = writes.iter().filter(|write| write.acknowledged < *begun);
        let newest = seen.map(|write| write.index).max().unwrap_or(0);
        assert!(*read >= newest, "a read gave index {read}, but {newest} was acknowledged before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_partitions_in_order() {
    let mut lab = Lab::new(3).await;
    lab.config.snapshot_interval = 300;
    lab.config.entries_for_slow_followers = 20;
    let nodes = lab.cluster().await;
    let until = SystemClock.monotonic() + Duration::from_secs(12);
    let faults = async {
        while SystemClock.monotonic() < until {
            lab.isolate(1 + any());
            SystemClock.sleep(Duration::from_millis(200 + below(1600))).await;
            lab.heal();
            SystemClock.sleep(Duration::from_millis(200 + below(1200))).await;
        }
    };
    let (a, b, c, d, reads, ()) = tokio::join!(
        writer(1, &nodes, until),
        writer(2, &nodes, until),
        writer(3, &nodes, until),
        writer(4, &nodes, until),
        reader(&nodes, until),
        faults
    );
    lab.heal();
    let all: Vec<&Node> = nodes.iter().collect();
    let leader = leader_of(&all).await;
    let last = nodes[leader].write("last").await;
    for node in &nodes {
        within(node.raft.wait_applied(last)).await.unwrap();
    }
    let mut writes: Vec<Write> = [a, b, c, d].into_iter().flatten().collect();
    assert!(
        writes.len() > 100 && reads.len() > 50,
        "{} writes, {} reads",
        writes.len(),
        reads.len()
    );
    check_order(&mut writes, &reads);
    let journals: Vec<_> = nodes.iter().map(|node| node.journal.lock().unwrap().clone()).collect();
    assert_eq!(journals[0], journals[1]);
    assert_eq!(journals[0], journals[2]);
    let entries: BTreeSet<(u64, &[u8])> =
        journals[0].entries.iter().map(|(index, entry)| (*index, &entry[..])).collect();
    for write in &writes {
        assert!(
            entries.contains(&(write.index, write.text.as_bytes())),
            "`{}` is lost",
            write.text
        );
    }
    let texts: BTreeSet<&[u8]> = entries.iter().map(|(_, text)| *text).collect();
    assert_eq!(texts.len(), entries.len(), "an entry was applied twice");
    for node in nodes {
        node.stop().await;
    }
}

#[test]
#[should_panic(expected = "lies behind it")]
fn the_check_finds_a_write_out_of_order() {
    let write = |text: &str, begun, acknowledged, index| Write {
        text: text.to_owned(),
        begun: Duration::from_secs(begun),
        acknowledged: Duration::from_secs(acknowledged),
        index,
    };
    check_order(&mut [write("second", 3, 4, 1), write("first", 1, 2, 2)], &[]);
}

#[test]
#[should_panic(expected = "was acknowledged before")]
fn the_check_finds_a_stale_read() {
    let write = Write {
        text: "a".to_owned(),
        begun: Duration::from_secs(1),
        acknowledged: Duration::from_secs(2),
        index: 7,
    };
    check_order(&mut [write], &[(Duration::from_secs(3), 6)]);
}
