//! Power that fails at any write of a member: what it acknowledged is there afterwards.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use shoal_base::SystemClock;
use shoal_base::disk::MemoryDisk;
use shoal_base::random::SystemRandom;
use shoal_manager_raft::{
    Begin, Key, KeyId, Keyring, Member, Raft, RaftId, Start, StartError, TcpConnector,
};
use shoal_model::cluster::NodeId;
use shoal_model::cluster::manager::RaftConfig;

use crate::support::{Machine, SharedJournal, within};

async fn start(disk: &MemoryDisk) -> Result<(Raft, SharedJournal), StartError> {
    let journal = SharedJournal::default();
    let key = Key::from_bytes([7; 32]);
    let raft = Raft::start(Start {
        member: Member {
            id: RaftId(1),
            node: NodeId::from_bytes([1; 16]),
            address: "127.0.0.1:1".to_owned(),
        },
        config: RaftConfig {
            entries_for_slow_followers: 0,
            election_tick: 4,
            ..RaftConfig::default()
        },
        directory: "/raft".into(),
        sealer: Arc::new(Keyring::new(KeyId(1), &key, Arc::new(SystemRandom))),
        connector: Arc::new(TcpConnector),
        machine: Box::new(Machine::new(&journal)),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock),
        begin: Begin::AsStored,
    })
    .await?;
    Ok((raft, journal))
}

async fn leading(raft: &Raft) -> bool {
    let mut status = raft.watch();
    let led = status.wait_for(|status| status.leads() || status.failure.is_some());
    within(led).await.is_ok_and(|status| status.leads())
}

/// Begins a cluster where there is none and writes, with snapshots between; until the disk dies. Gives what was
/// acknowledged.
async fn script(disk: &MemoryDisk) -> u64 {
    let mut acknowledged = 0;
    let Ok((raft, _)) = start(disk).await else { return 0 };
    let begun = raft.bootstrap().await.is_ok() && leading(&raft).await;
    for number in 0..14u64 {
        if !begun || raft.propose(number.to_string().into()).await.is_err() {
            break;
        }
        acknowledged = number + 1;
        if number % 5 == 4 {
            let applied = raft.applied();
            let taken = raft.take_snapshot().await.is_ok();
            let mut status = raft.watch();
            let written =
                status.wait_for(|seen| seen.snapshot >= applied || seen.failure.is_some());
            let written = tokio::time::timeout(Duration::from_secs(10), written).await;
            assert!(!taken || matches!(written, Ok(_)), "neither written nor failed");
        }
    }
    raft.shutdown().await;
    acknowledged
}

/// What is there after the power failed at a step.
async fn after_failure_at(step: u64) {
    let disk = MemoryDisk::new();
    disk.die_at(step);
    let acknowledged = script(&disk).await;
    disk.cut_power(step);
    let (raft, journal) = start(&disk).await.unwrap_or_else(|error| panic!("step {step}: {error}"));
    if !within(raft.is_initialized()).await.unwrap() {
        assert_eq!(acknowledged, 0, "step {step}");
        raft.bootstrap().await.unwrap();
    }
    assert!(leading(&raft).await, "step {step}");
    within(raft.propose(Bytes::from_static(b"after"))).await.unwrap();
    let entries: Vec<Bytes> =
        journal.lock().unwrap().entries.iter().map(|(_, entry)| entry.clone()).collect();
    let (last, before) = entries.split_last().unwrap();
    assert_eq!(last, "after");
    let wanted: Vec<Bytes> = (0..before.len()).map(|number| number.to_string().into()).collect();
    assert_eq!(before, wanted, "step {step}: in order, once, nothing else");
    assert!(before.len() as u64 >= acknowledged, "step {step}: {acknowledged} were acknowledged");
    raft.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_power_failure_at_every_write() {
    let disk = MemoryDisk::new();
    assert_eq!(script(&disk).await, 14);
    let steps = disk.steps();
    assert!(steps > 50, "{steps}");
    stream::iter(0..=steps).for_each_concurrent(16, after_failure_at).await;
}
