//! Speed of consensus: three members in one process over loopback, logs on disk. Prints figure, budget, ratio.
//!
//! `cargo bench -p shoal-manager-raft [-- writes|failover|handover|restart|busy]`

#![allow(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/cluster/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use shoal_base::random::SystemRandom;
use shoal_base::{Clock, SystemClock, SystemDisk};
use shoal_manager_raft::{
    Begin, Key, KeyId, Keyring, Member, Raft, RaftId, SnapshotView, Start, StateMachine,
    TcpConnector,
};
use shoal_model::cluster::NodeId;
use shoal_model::cluster::manager::RaftConfig;
use shoal_report::{Sheet, Sorted, millis};

use support::{Lab, Node, leader_of};

const CLIENTS: usize = 16;
const ENTRY: usize = 300;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let mut sheet = Sheet::begin().unwrap();
    runtime.block_on(async {
        if runs("writes") {
            writes(&mut sheet).await;
        }
        if runs("handover") {
            hand_over(&mut sheet).await;
        }
        if runs("failover") {
            fail_over(&mut sheet).await;
        }
        if runs("restart") {
            restart(&mut sheet).await;
        }
        if runs("busy") {
            busy(&mut sheet).await;
        }
    });
    sheet.finish();
}

async fn stop(nodes: Vec<Node>) {
    for node in nodes {
        node.stop().await;
    }
}

/// Single writes of 16 clients in turn.
async fn writes(sheet: &mut Sheet) {
    let mut lab = Lab::new(3).await;
    let nodes = lab.cluster().await;
    for (name, length) in [("warm-up", 1), ("", 10)] {
        let begun = SystemClock.monotonic();
        let until = begun + Duration::from_secs(length);
        let clients = (0..CLIENTS).map(|_| async {
            let mut times = Vec::new();
            while SystemClock.monotonic() < until {
                let begun = SystemClock.monotonic();
                nodes[0].raft.propose(vec![b'x'; ENTRY].into()).await.unwrap();
                times.push(SystemClock.monotonic() - begun);
            }
            times
        });
        let times = Sorted::new(futures_util::future::join_all(clients).await.concat());
        let took = (SystemClock.monotonic() - begun).as_secs_f64();
        if name.is_empty() {
            let count = u32::try_from(times.count()).unwrap();
            sheet
                .at_least("raft: single writes, 16 clients", f64::from(count) / took, 5000.0, "/s")
                .unwrap();
            sheet.at_most("raft: single write, median", times.median(), 10.0, "ms").unwrap();
            sheet.at_most("raft: single write, p99", times.permille(990), 10.0, "ms").unwrap();
        }
    }
    assert!(nodes[0].raft.status().leads(), "no election under load");
    stop(nodes).await;
}

async fn hand_over(sheet: &mut Sheet) {
    let mut lab = Lab::new(3).await;
    let nodes = lab.cluster().await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let leader = leader_of(&nodes.iter().collect::<Vec<_>>()).await;
        nodes[leader].until("all reachable", |status| status.quorum_margin == Some(1)).await;
        let begun = SystemClock.monotonic();
        let to = nodes[leader].raft.transfer_leadership(None).await.unwrap();
        let new = nodes.iter().find(|node| node.raft.member().id == to).unwrap();
        new.write("after").await;
        times.push(SystemClock.monotonic() - begun);
    }
    let times = Sorted::new(times);
    sheet
        .at_most("raft: hand-over to next write, median of 20", times.median(), 200.0, "ms")
        .unwrap();
    sheet
        .at_most("raft: hand-over to next write, worst of 20", times.worst(), 200.0, "ms")
        .unwrap();
    stop(nodes).await;
}

async fn fail_over(sheet: &mut Sheet) {
    let mut lab = Lab::new(3).await;
    let mut nodes = lab.cluster().await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let leader = leader_of(&nodes.iter().collect::<Vec<_>>()).await;
        nodes[leader].write("before").await;
        let begun = SystemClock.monotonic();
        let stopped = nodes.remove(leader);
        let number = usize::try_from(stopped.raft.member().id.0).unwrap();
        stopped.stop().await;
        // A client that tries one after the other.
        'written: loop {
            for node in &nodes {
                if node.raft.propose(Bytes::from_static(b"after")).await.is_ok() {
                    break 'written;
                }
            }
            SystemClock.sleep(Duration::from_millis(5)).await;
        }
        times.push(SystemClock.monotonic() - begun);
        nodes.push(lab.start(number).await);
    }
    let times = Sorted::new(times);
    sheet
        .at_most("raft: leader stops to next write, median of 20", times.median(), 1500.0, "ms")
        .unwrap();
    sheet
        .at_most("raft: leader stops to next write, worst of 20", times.worst(), 3000.0, "ms")
        .unwrap();
    stop(nodes).await;
}

/// Elections while other programs want both cores, twice over.
async fn busy(sheet: &mut Sheet) {
    const SECONDS: u64 = 120;
    let mut lab = Lab::new(3).await;
    let nodes = lab.cluster().await;
    let term = nodes[0].raft.status().term;
    let burning = Arc::new(AtomicBool::new(true));
    let burners: Vec<_> = std::iter::repeat_with(|| {
        let burning = Arc::clone(&burning);
        std::thread::spawn(move || {
            while burning.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    })
    .take(4)
    .collect();
    SystemClock.sleep(Duration::from_secs(SECONDS)).await;
    burning.store(false, Ordering::Relaxed);
    for burner in burners {
        burner.join().unwrap();
    }
    let elections = u32::try_from(nodes[0].raft.status().term - term).unwrap();
    let what = format!("raft: elections in {SECONDS} s with four threads at full load");
    sheet.at_most(&what, f64::from(elections), 0.0, "").unwrap();
    stop(nodes).await;
}

/// 100,000 objects of 300 bytes.
#[derive(Clone, Default)]
struct Objects {
    objects: BTreeMap<u32, Bytes>,
    applied: u64,
}

impl SnapshotView for Objects {
    fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(&self.applied.to_le_bytes())?;
        for (id, object) in &self.objects {
            writer.write_all(&id.to_le_bytes())?;
            writer.write_all(object)?;
        }
        Ok(())
    }
}

impl StateMachine for Objects {
    fn apply(&mut self, index: u64, entry: &Bytes) -> Bytes {
        let id = u32::from_le_bytes(*entry.first_chunk().unwrap());
        self.objects.insert(id, entry.slice(4..));
        self.applied = index;
        Bytes::new()
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        Box::new(self.clone())
    }

    fn restore(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        self.applied = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        let count = (bytes.len() - 8) / (ENTRY + 4);
        let object = |at: usize| {
            let at = 8 + at * (ENTRY + 4);
            let id = u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
            (id, bytes.slice(at + 4..at + 4 + ENTRY))
        };
        self.objects = (0..count).map(object).collect();
        Ok(())
    }

    fn applied(&self) -> u64 {
        self.applied
    }
}

async fn start(directory: &Path) -> Raft {
    let keyring = Keyring::new(KeyId(1), &Key::from_bytes([7; 32]), Arc::new(SystemRandom));
    Raft::start(Start {
        member: Member {
            id: RaftId(1),
            node: NodeId::from_bytes([1; 16]),
            address: "127.0.0.1:1".to_owned(),
        },
        config: RaftConfig::default(),
        directory: directory.to_owned(),
        sealer: Arc::new(keyring),
        connector: Arc::new(TcpConnector),
        machine: Box::<Objects>::default(),
        disk: Arc::new(SystemDisk),
        clock: Arc::new(SystemClock),
        begin: Begin::AsStored,
    })
    .await
    .unwrap()
}

/// A restart after a million entries, snapshots at the default interval.
async fn restart(sheet: &mut Sheet) {
    const ENTRIES: u32 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let raft = start(dir.path()).await;
    raft.bootstrap().await.unwrap();
    let mut watch = raft.watch();
    watch.wait_for(|status| status.leads()).await.unwrap();
    let begun = SystemClock.monotonic();
    let raft_ref = &raft;
    futures_util::stream::iter(0..ENTRIES)
        .map(|number| async move {
            let mut entry = (number % 100_000).to_le_bytes().to_vec();
            entry.resize(4 + ENTRY, b'x');
            raft_ref.propose(entry.into()).await.unwrap();
        })
        .buffer_unordered(1024)
        .count()
        .await;
    let took = (SystemClock.monotonic() - begun).as_secs_f64();
    sheet
        .at_least(
            "raft: one member, 1024 writes at a time",
            f64::from(ENTRIES) / took,
            5000.0,
            "/s",
        )
        .unwrap();
    raft.shutdown().await;
    drop(raft);
    let begun = SystemClock.monotonic();
    let raft = start(dir.path()).await;
    let took = SystemClock.monotonic() - begun;
    assert!(raft.applied() >= Some(u64::from(ENTRIES)), "{:?}", raft.status());
    sheet.at_most("raft: restart, 100,000 entries of state", millis(took), 3000.0, "ms").unwrap();
    raft.shutdown().await;
}
