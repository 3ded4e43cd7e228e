//! Figures of the store beside their budgets: memory per task, changes per second, snapshots.
//!
//! `cargo bench -p shoal-manager-core --bench store [tasks]`

#[path = "objects.rs"]
mod objects;
#[allow(dead_code, reason = "shared with other benches")]
use std::sync::Arc;
use std::time::Instant;

use shoal_manager_core::ids::SeededIds;
use shoal_manager_core::store::codec::{
    SnapshotReader, SnapshotWriter, decode_transaction, encode_transaction,
};
use shoal_manager_core::store::{Change, State, Transaction};
use shoal_model::cluster::{ServiceId, TaskId};
use shoal_report::{Row, Sheet, millis};

use objects::{CHANGES_PER_ENTRY, TASKS_PER_SERVICE, running, service, task};

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn now() -> Instant {
    Instant::now()
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
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
    let mut sheet = Sheet::begin().expect("rows are kept");
    let mut add = |row: Row| sheet.add(row).expect("a row is kept");
    let mut state = State::default();
    let before = resident();
    let start = now();
    let made = fill(&mut state, tasks);
    let filled = start.elapsed().as_secs_f64();
    let each = (resident() - before) / made.len() as f64;
    add(Row::at_most("store: memory per task", "bytes", &[each], 1_500.0)
        .how("resident memory of the store alone, without sessions and log")
        .design("memory-task"));
    add(Row::at_least("store: tasks created", "/s", &[made.len() as f64 / filled], 50_000.0));
    let changed = changes_per_second(&mut state, &made);
    add(Row::at_least("store: statuses, a view of each entry held", "/s", &[changed], 50_000.0));
    let start = now();
    for _ in 0..1_000 {
        std::hint::black_box(state.clone());
    }
    add(Row::at_most("store: a view", "ns", &[start.elapsed().as_nanos() as f64 / 1e3], 1_000.0));
    let start = now();
    let parts: Vec<_> = SnapshotWriter::new(state).collect::<Result<_, _>>().expect("writes");
    add(Row::at_most("store: snapshot encoded", "ms", &[millis(start.elapsed())], 10_000.0));
    let bytes = parts.iter().map(Vec::len).sum::<usize>() as f64;
    add(Row::at_most("store: snapshot per task", "bytes", &[bytes / made.len() as f64], 500.0));
    let start = now();
    let mut reader = SnapshotReader::new();
    for part in &parts {
        reader.push(part).expect("reads");
    }
    let restored = reader.finish().expect("is whole");
    assert_eq!(restored.tasks().count(), made.len());
    assert_eq!(restored.tasks_of_service(first(&restored)).count(), TASKS_PER_SERVICE);
    add(Row::at_most("store: snapshot restored", "ms", &[millis(start.elapsed())], 10_000.0));
    sheet.finish();
}

fn first(state: &State) -> ServiceId {
    state.services().next().expect("there are services").id
}
