//! Figures of the store beside their budgets: memory per task, changes per second, snapshots.
//!
//! `cargo bench -p shoal-manager-core --bench store [tasks]`

use std::sync::Arc;
use std::time::Instant;

use shoal_manager_core::ids::{Ids, SeededIds};
use shoal_manager_core::store::codec::{
    SnapshotReader, SnapshotWriter, decode_transaction, encode_transaction,
};
use shoal_manager_core::store::{Change, State, Transaction};
use shoal_model::Timestamp;
use shoal_model::cluster::task::{
    ContainerStatus, NetworkAttachment, RestartHistory, Slot, TaskStatus,
};
use shoal_model::cluster::{
    Annotations, ClusterNetworkId, Meta, NodeId, Service, ServiceId, ServiceSpec, Task, TaskId,
    TaskState, Version,
};

const TASKS_PER_SERVICE: usize = 1_000;
const CHANGES_PER_ENTRY: usize = 200;

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn now() -> Instant {
    Instant::now()
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}

#[expect(clippy::print_stdout, reason = "a bench prints")]
fn report(what: &str, figure: f64, unit: &str, budget: f64) {
    println!("{what}: {figure:.0} {unit}, budget {budget:.0}, ratio {:.2}", figure / budget);
}

fn service(ids: &mut SeededIds, number: usize) -> Service {
    let annotations = Annotations { name: format!("s{number}"), ..Annotations::default() };
    Service {
        id: ids.service(),
        meta: Meta::default(),
        spec: ServiceSpec { annotations, ..ServiceSpec::default() },
        spec_version: Version(1),
        previous: None,
        revisions: Default::default(),
        endpoint: None,
        endpoint_error: String::new(),
        update: None,
        job: None,
        removing: false,
    }
}

/// A running task on one network, as it comes out of a frame: nothing shared with others but in its frame.
fn task(ids: &mut SeededIds, service: &Service, slot: u64) -> Task {
    Task {
        id: ids.task(),
        meta: Meta::default(),
        spec: Arc::clone(&service.spec.task),
        spec_version: Version(1),
        service: Some(service.id),
        slot: Slot(slot),
        node: Some(NodeId::from_bytes(u128::from(slot % 10_000).to_be_bytes())),
        annotations: Arc::new(service.spec.annotations.clone()),
        desired: TaskState::Running,
        status: running(1),
        networks: vec![NetworkAttachment {
            network: ClusterNetworkId::from_bytes([1; 16]),
            addresses: vec!["10.0.0.3/24".parse().expect("an address")],
            aliases: Vec::new(),
            driver_opts: std::collections::BTreeMap::new(),
        }],
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    }
}

fn running(pid: u32) -> TaskStatus {
    TaskStatus {
        state: TaskState::Running,
        at: Timestamp::from_nanos(1_790_000_000_000_000_000),
        message: "started".to_owned(),
        container: Some(ContainerStatus { id: "ab".repeat(32), pid, exit_code: 0 }),
        ..TaskStatus::default()
    }
}

fn entry(changes: Vec<Change>) -> Vec<u8> {
    let transaction = Transaction { changes, ..Transaction::default() };
    encode_transaction(&transaction).expect("encodes")
}

fn apply(state: &mut State, entry: &[u8]) {
    let transaction = decode_transaction(entry).expect("decodes");
    state.apply_owned(state.index() + 1, transaction).expect("applies");
}

fn fill(state: &mut State, tasks: usize) -> Vec<TaskId> {
    let mut ids = SeededIds::new(1);
    let mut made = Vec::with_capacity(tasks);
    for number in 0..tasks.div_ceil(TASKS_PER_SERVICE) {
        let service = service(&mut ids, number);
        apply(state, &entry(vec![Change::PutService(Arc::new(service.clone()))]));
        for chunk in 0..TASKS_PER_SERVICE / CHANGES_PER_ENTRY {
            let slots = (0..CHANGES_PER_ENTRY).map(|slot| chunk * CHANGES_PER_ENTRY + slot + 1);
            let tasks: Vec<_> = slots.map(|slot| task(&mut ids, &service, slot as u64)).collect();
            made.extend(tasks.iter().map(|task| task.id));
            let put = tasks.into_iter().map(|task| Change::PutTask(Arc::new(task)));
            apply(state, &entry(put.collect()));
        }
    }
    made
}

fn changes_per_second(state: &mut State, tasks: &[TaskId]) -> f64 {
    let rounds = 500;
    let entries: Vec<_> = (0..rounds)
        .map(|round| {
            let picked = (0..CHANGES_PER_ENTRY).map(|pick| {
                let at = (round * CHANGES_PER_ENTRY + pick) * 7919 % tasks.len();
                Change::TaskStatus { task: tasks[at], status: running(2) }
            });
            entry(picked.collect())
        })
        .collect();
    let start = now();
    let mut held = state.clone();
    for entry in &entries {
        apply(state, entry);
        // A reader holds a view of each entry: the dearest case.
        held = state.clone();
    }
    drop(held);
    (rounds * CHANGES_PER_ENTRY) as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let tasks = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let mut state = State::default();
    let before = resident();
    let start = now();
    let made = fill(&mut state, tasks);
    let filled = start.elapsed().as_secs_f64();
    report("memory per task", (resident() - before) / made.len() as f64, "bytes", 1_500.0);
    report("tasks created", made.len() as f64 / filled, "per second", 50_000.0);
    let changed = changes_per_second(&mut state, &made);
    report("statuses applied, a view of each entry held", changed, "per second", 50_000.0);
    let start = now();
    for _ in 0..1_000 {
        std::hint::black_box(state.clone());
    }
    report("a view", start.elapsed().as_nanos() as f64 / 1_000.0, "ns", 1_000.0);
    let start = now();
    let parts: Vec<_> = SnapshotWriter::new(state).collect::<Result<_, _>>().expect("writes");
    report("snapshot written", start.elapsed().as_secs_f64() * 1e3, "ms", 10_000.0);
    let bytes = parts.iter().map(Vec::len).sum::<usize>() as f64;
    report("snapshot", bytes / made.len() as f64, "bytes per task", 500.0);
    let start = now();
    let mut reader = SnapshotReader::new();
    for part in &parts {
        reader.push(part).expect("reads");
    }
    let restored = reader.finish().expect("is whole");
    assert_eq!(restored.tasks().count(), made.len());
    assert_eq!(restored.tasks_of_service(first(&restored)).count(), TASKS_PER_SERVICE);
    report("snapshot restored", start.elapsed().as_secs_f64() * 1e3, "ms", 10_000.0);
}

fn first(state: &State) -> ServiceId {
    state.services().next().expect("there are services").id
}
