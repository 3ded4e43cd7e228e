//! Speed of the store over three managers: mTLS over loopback, logs on disk. Prints figure, budget, ratio.
//!
//! `cargo bench -p shoal-manager --bench cluster [-- writes|batches|snapshot|restart]`

#![allow(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

#[path = "../../core/benches/objects.rs"]
mod objects;
mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use shoal_base::{Clock as _, SystemClock};
use shoal_manager::assembly::Manager;
use shoal_manager_core::ids::SeededIds;
use shoal_manager_core::store::{Change, Transaction};
use shoal_model::cluster::manager::RaftConfig;
use shoal_model::cluster::{Annotations, ConfigSpec, TaskId};
use shoal_report::{Sheet, Sorted, millis};

use objects::{CHANGES_PER_ENTRY, TASKS_PER_SERVICE, running, service, task};
use rig::{Duties, Rig};

const CLIENTS: usize = 16;
const SECONDS: u64 = 10;

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
        if runs("batches") {
            batches(&mut sheet).await;
        }
        if runs("restart") {
            restart(&mut sheet).await;
        }
        if runs("snapshot") {
            snapshot(&mut sheet).await;
        }
    });
    sheet.finish();
}

/// Runs clients for a while; gives the time of each call and how long it took in all.
async fn clients<F: Future<Output = ()>>(
    count: usize,
    seconds: u64,
    call: impl Fn(u64) -> F,
) -> (Sorted, f64) {
    let next = AtomicU64::new(0);
    let begun = SystemClock.monotonic();
    let until = begun + Duration::from_secs(seconds);
    let one = || async {
        let mut times = Vec::new();
        while SystemClock.monotonic() < until {
            let begun = SystemClock.monotonic();
            call(next.fetch_add(1, Ordering::Relaxed)).await;
            times.push(SystemClock.monotonic() - begun);
        }
        times
    };
    let times = futures_util::future::join_all((0..count).map(|_| one())).await.concat();
    (Sorted::new(times), (SystemClock.monotonic() - begun).as_secs_f64())
}

fn per_second(count: usize, took: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took
}

async fn create_config(manager: &Manager, name: String) {
    let annotations = Annotations { name, ..Annotations::default() };
    let spec = ConfigSpec { annotations, data: vec![b'x'; 200], ..ConfigSpec::default() };
    manager.control.create_config(spec).await.unwrap();
}

/// What the API does for one `config create` after another, of 16 clients, leader's duties running.
async fn writes(sheet: &mut Sheet) {
    let rig = Rig::start(3, RaftConfig::default(), Duties::On).await;
    let leader = rig.leader();
    let term = leader.raft.status().term;
    clients(CLIENTS, 1, |number| create_config(leader, format!("warm{number}"))).await;
    let (times, took) =
        clients(CLIENTS, SECONDS, |number| create_config(leader, format!("c{number}"))).await;
    sheet
        .at_least(
            "three managers: single writes, 16 clients",
            per_second(times.count(), took),
            5000.0,
            "/s",
        )
        .unwrap();
    sheet.at_most("three managers: single write, median", times.median(), 10.0, "ms").unwrap();
    sheet.at_most("three managers: single write, p99", times.permille(990), 10.0, "ms").unwrap();
    assert_eq!(leader.raft.status().term, term, "no election under load");
    rig.stop().await;
}

/// Services and tasks, as one transaction each of 200 objects.
async fn fill(manager: &Manager, tasks: usize) -> Vec<TaskId> {
    let mut ids = SeededIds::new(1);
    let (mut services, mut puts, mut made) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..tasks.div_ceil(TASKS_PER_SERVICE) {
        let service = service(&mut ids, number);
        for slot in 1..=TASKS_PER_SERVICE.min(tasks) {
            let task = task(&mut ids, &service, slot as u64);
            made.push(task.id);
            puts.push(Change::PutTask(Arc::new(task)));
        }
        services.push(Change::PutService(Arc::new(service)));
    }
    for changes in [services, puts] {
        let transactions = changes
            .chunks(CHANGES_PER_ENTRY)
            .map(|changes| Transaction { changes: changes.to_vec(), ..Transaction::default() });
        futures_util::stream::iter(transactions)
            .for_each_concurrent(8, |transaction| async move {
                manager.store.commit(&transaction).await.unwrap();
            })
            .await;
    }
    made
}

/// Statuses of 200 tasks in each transaction, of 16 clients.
async fn batches(sheet: &mut Sheet) {
    let rig = Rig::start(3, RaftConfig::default(), Duties::Off).await;
    let leader = rig.leader();
    let tasks = fill(leader, 100_000).await;
    let statuses = |round: u64| {
        let from = usize::try_from(round).unwrap() * CHANGES_PER_ENTRY;
        let change = |at: usize| Change::TaskStatus {
            task: tasks[(from + at) % tasks.len()],
            status: running(2),
        };
        let changes = (0..CHANGES_PER_ENTRY).map(change).collect();
        let transaction = Transaction { changes, ..Transaction::default() };
        async move {
            leader.store.commit(&transaction).await.unwrap();
        }
    };
    let (times, took) = clients(CLIENTS, SECONDS, statuses).await;
    let changes = per_second(times.count() * CHANGES_PER_ENTRY, took);
    sheet
        .at_least("changes of objects, 200 in one write, 16 clients", changes, 50_000.0, "/s")
        .unwrap();
    sheet.at_most("p99 of such a write of 200", times.permille(990), 100.0, "ms").unwrap();
    rig.stop().await;
}

/// A restart with 100,000 objects after a million entries, snapshots at the default interval.
async fn restart(sheet: &mut Sheet) {
    const ENTRIES: u64 = 1_000_000;
    let mut rig = Rig::start(1, RaftConfig::default(), Duties::Off).await;
    let manager = rig.managers.remove(0);
    let tasks = fill(&manager, 100_000).await;
    let begun = SystemClock.monotonic();
    futures_util::stream::iter(0..ENTRIES)
        .for_each_concurrent(1024, |number| {
            let task = tasks[usize::try_from(number).unwrap() % tasks.len()];
            let changes = vec![Change::TaskStatus { task, status: running(2) }];
            let transaction = Transaction { changes, ..Transaction::default() };
            let store = &manager.store;
            async move {
                store.commit(&transaction).await.unwrap();
            }
        })
        .await;
    let took = (SystemClock.monotonic() - begun).as_secs_f64();
    sheet
        .at_least("one manager, 1,024 writes at a time", per_second(1_000_000, took), 5000.0, "/s")
        .unwrap();
    let applied = manager.raft.applied();
    manager.shut_down().await;
    drop(manager);
    let begun = SystemClock.monotonic();
    let manager = rig.manager(1, Duties::Off).await;
    let opened = SystemClock.monotonic() - begun;
    let mut status = manager.raft.watch();
    status.wait_for(|status| status.leads()).await.unwrap();
    let read = manager.store.read().await.unwrap();
    let took = SystemClock.monotonic() - begun;
    assert!(manager.raft.applied() >= applied && read.tasks().count() == tasks.len());
    sheet
        .at_most("restart: 100,000 objects after 1 M entries", millis(opened), 3000.0, "ms")
        .unwrap();
    sheet
        .at_most(
            "restart to its first linearizable read, election included",
            millis(took),
            5000.0,
            "ms",
        )
        .unwrap();
    let log = directory_bytes(&rig.path(1).join("raft/log"));
    sheet.at_most("log directory after 1 M entries", log / 1e6, 64.0, "MB").unwrap();
    manager.shut_down().await;
}

fn directory_bytes(directory: &std::path::Path) -> f64 {
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len() as f64).sum()
}

/// Clients that write a hundred times a second each while all managers write a snapshot of a million tasks.
async fn snapshot(sheet: &mut Sheet) {
    const OBJECTS: usize = 1_000_000;
    const ROUNDS: usize = 3;
    let config = RaftConfig { snapshot_interval: 100_000_000, ..RaftConfig::default() };
    let rig = Rig::start(3, config, Duties::Off).await;
    fill(rig.leader(), OBJECTS).await;
    let (mut times, mut written) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let begun = SystemClock.monotonic();
        let done = AtomicBool::new(false);
        let snapshots = async {
            futures_util::future::join_all(rig.managers.iter().map(take_snapshot)).await;
            done.store(true, Ordering::Relaxed);
            SystemClock.monotonic() - begun
        };
        let writers = (0..CLIENTS).map(|client| {
            let (done, rig) = (&done, &rig);
            async move {
                let mut times = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let begun = SystemClock.monotonic();
                    create_config(rig.leader(), format!("{round}-{client}-{}", times.len())).await;
                    times.push(SystemClock.monotonic() - begun);
                    SystemClock.sleep(Duration::from_millis(10)).await;
                }
                times
            }
        });
        let (took, all) = tokio::join!(snapshots, futures_util::future::join_all(writers));
        written.push(took);
        times.extend(all.concat());
    }
    let times = Sorted::new(times);
    sheet
        .at_most("write while 1 M objects are written, p99", times.permille(990), 10.0, "ms")
        .unwrap();
    sheet
        .at_most("write while 1 M objects are written, median", times.median(), 10.0, "ms")
        .unwrap();
    sheet.at_most("write while 1 M objects are written, worst", times.worst(), 50.0, "ms").unwrap();
    let written = Sorted::new(written);
    sheet
        .at_most("three snapshots of 1 M objects, median", written.median(), 60_000.0, "ms")
        .unwrap();
    rig.stop().await;
}

/// Returns when a snapshot of what was applied before is on disk.
async fn take_snapshot(manager: &Manager) {
    let applied = manager.raft.applied();
    manager.raft.take_snapshot().await.unwrap();
    let mut status = manager.raft.watch();
    status.wait_for(|status| status.snapshot >= applied).await.unwrap();
}
