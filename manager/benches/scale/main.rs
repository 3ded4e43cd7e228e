//! A whole cluster without containers: figure, budget, ratio.
//!
//! `cargo bench -p shoal-manager --bench scale [-- full]`: 500 nodes and 50,000 tasks, or 5,000 and 1,000,000;
//! `NODES=…` and `TASKS=…` change that.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a bench stops at the first surprise and prints what it measured"
)]

mod cluster;
mod worker;

use std::time::Duration;

use futures_util::StreamExt as _;
use shoal_base::{Clock as _, SystemClock};
use shoal_manager::store::Store;
use shoal_manager_core::store::Event;
use shoal_model::cluster::TaskState;
use shoal_model::cluster::node::NodeState;
use shoal_model::cluster::service::{ServiceMode, ServiceSpec};
use shoal_report::{Row, Sheet, millis, milliseconds};

use cluster::{Lab, Sessions};

/// Replicas of each service.
const REPLICAS: usize = 1_000;
/// Calls of the API at a time.
const CREATIONS: usize = 8;
/// Longer than any node may be silent before it counts as down, with a new leader's double grace.
const WATCHED: Duration = Duration::from_secs(40);
/// The size of the design.
const DESIGNED_NODES: usize = 5_000;
/// Tasks that come one by one beside all others.
const MORE: usize = 100;
/// The size to which the cost of a change is compared.
const SMALLER: usize = 10;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let full = std::env::args().any(|argument| argument == "full");
    let nodes = number("NODES", if full { 5_000 } else { 500 });
    let tasks = number("TASKS", if full { 1_000_000 } else { 50_000 });
    let wanted = |name: &str| std::env::var("SESSIONS").map_or(true, |only| only == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut sheet = Sheet::begin().unwrap();
    if wanted("inprocess") {
        // In this order: what a smaller cluster frees would be missing in the memory of the larger one.
        let large = runtime.block_on(measure(&mut sheet, Sessions::InProcess, nodes, tasks));
        let small = runtime.block_on(change_in(nodes / SMALLER, tasks / SMALLER));
        let what = "CPU of one task more, to that beside a tenth of nodes and tasks";
        let row = Row::at_most(what, "×", &[large / small], 1.5).design("change");
        let how = "all managers and workers, what they take at rest deducted; 1 is asked, the rest is room for caches";
        sheet.add(row.how(how)).unwrap();
    }
    if wanted("tls") {
        let tasks = tasks.min(number("TLS_TASKS", 200_000));
        runtime.block_on(measure(&mut sheet, Sessions::MutualTls, nodes, tasks));
    }
    sheet.finish();
}

/// What one task more costs in a cluster of some size, in milliseconds of CPU.
async fn change_in(nodes: usize, tasks: usize) -> f64 {
    let lab = Lab::up(nodes).await;
    lab.connect(Sessions::InProcess).await;
    fill(&lab, tasks).await;
    let (_, change) = one_more(&lab, idle().await).await;
    lab.down().await;
    change
}

/// All rows of one kind of sessions; answers what one task more costs, in milliseconds of CPU.
async fn measure(sheet: &mut Sheet, sessions: Sessions, nodes: usize, tasks: usize) -> f64 {
    let (kind, budget, name) = match sessions {
        Sessions::InProcess => ("in process", 10_000.0, "tasks"),
        Sessions::MutualTls => ("mTLS", 3_000.0, "tasks-tls"),
    };
    let mut add = |row: Row| {
        let row = Row { what: format!("{kind}: {}", row.what), ..row };
        sheet.add(row.how(&format!("{nodes} nodes, {tasks} tasks, three managers"))).unwrap();
    };
    let lab = Lab::up(nodes).await;
    let begun = SystemClock.monotonic();
    lab.connect(sessions).await;
    let took = (SystemClock.monotonic() - begun).as_secs_f64();
    add(Row::told("all sessions begin", "s", &[took]));
    let (before, used) = (resident(), cpu());
    let rate = Row::at_least("tasks placed and running", "/s", &[fill(&lab, tasks).await], budget);
    let burnt = (cpu() - used) / tasks as f64;
    // The budget is of 5,000 nodes: fewer of them answer it not.
    add(if nodes >= DESIGNED_NODES { rate.design(name) } else { rate });
    add(Row::told("CPU of managers and workers per task placed and running", "µs", &[burnt * 1e6]));
    let memory = (resident() - before) / tasks as f64 / 3.0;
    // Whoever comes later in this process takes memory that was freed.
    if sessions == Sessions::InProcess {
        let what = "memory per task on a manager, sessions included";
        add(Row::at_most(what, "bytes", &[memory], 1_500.0));
    }
    let rest = idle().await;
    add(Row::told("CPU of managers and workers at rest", "%", &[rest]));
    let (times, change) = one_more(&lab, rest).await;
    add(Row::told("one task more, create to running", "ms", &times));
    add(Row::told("CPU of one task more, managers and workers", "ms", &[change]));
    let (led, down) = leader_change(&lab).await;
    add(Row::told("leadership moved in", "ms", &[led]));
    add(Row::at_most("healthy nodes taken for down after it", "", &[down], 0.0));
    lab.down().await;
    change
}

fn spec(name: String, replicas: usize) -> ServiceSpec {
    let mut spec = ServiceSpec::default();
    spec.annotations.name = name;
    spec.mode = ServiceMode::Replicated { replicas: Some(replicas as u64) };
    std::sync::Arc::make_mut(&mut spec.task).container.image = "busybox:latest".to_owned();
    spec
}

/// Tasks per second, from the first call to the last task running in the leader's store.
async fn fill(lab: &Lab, tasks: usize) -> f64 {
    let control = &lab.leader().control;
    let waiting = until_running(&lab.leader().store, tasks);
    let begun = SystemClock.monotonic();
    let creations = futures_util::stream::iter(0..tasks.div_ceil(REPLICAS))
        .map(|number| control.create_service(spec(format!("s{number}"), REPLICAS.min(tasks))))
        .buffer_unordered(CREATIONS)
        .for_each(async |created| drop(created.unwrap()));
    tokio::join!(creations, waiting);
    tasks as f64 / (SystemClock.monotonic() - begun).as_secs_f64()
}

async fn until_running(store: &Store, wanted: usize) {
    let count = |store: &Store| {
        let view = store.view();
        view.tasks().filter(|task| task.status.state == TaskState::Running).count()
    };
    let mut begun = SystemClock.monotonic();
    loop {
        let (view, mut changes) = store.watch();
        drop(view);
        let mut running = count(store);
        while running < wanted {
            let Ok(batches) = changes.next().await else { break };
            for event in batches.iter().flat_map(|batch| &batch.events) {
                let Event::Task(diff) = event else { continue };
                let runs = |task: &Option<std::sync::Arc<shoal_model::cluster::Task>>| {
                    task.as_ref().is_some_and(|task| task.status.state == TaskState::Running)
                };
                running += usize::from(!runs(&diff.old) && runs(&diff.new));
            }
            if SystemClock.monotonic() - begun > Duration::from_secs(5) {
                begun = SystemClock.monotonic();
                eprintln!("{running} of {wanted} tasks run");
            }
        }
        if count(store) >= wanted {
            return;
        }
    }
}

/// What one more task costs beside all the others, in milliseconds: until it runs, each; and of CPU beyond what all take at
/// rest, in percent of a core.
async fn one_more(lab: &Lab, rest: f64) -> (Vec<f64>, f64) {
    let leader = lab.leader();
    let mut times = Vec::new();
    let (start, used) = (SystemClock.monotonic(), cpu());
    for number in 0..MORE {
        let begun = SystemClock.monotonic();
        let before = leader.store.view().index();
        let (id, _) =
            leader.control.create_service(spec(format!("more{number}"), 1)).await.unwrap();
        let mut changes = leader.store.watch_from(before).unwrap();
        let runs = || {
            let view = leader.store.view();
            view.tasks_of_service(id).any(|task| task.status.state == TaskState::Running)
        };
        while !runs() {
            changes.next().await.unwrap();
        }
        times.push(SystemClock.monotonic() - begun);
    }
    let took = (SystemClock.monotonic() - start).as_secs_f64();
    let burnt = cpu() - used - took * rest / 100.0;
    (milliseconds(&times), burnt * 1e3 / MORE as f64)
}

/// CPU of everything in this process, three managers and all workers, in percent of a core.
async fn idle() -> f64 {
    SystemClock.sleep(Duration::from_secs(2)).await;
    let (begun, before) = (SystemClock.monotonic(), cpu());
    SystemClock.sleep(Duration::from_secs(10)).await;
    let took = (SystemClock.monotonic() - begun).as_secs_f64();
    (cpu() - before) / took * 100.0
}

/// How long the leader takes to hand over, in milliseconds; and how many nodes are taken for down after it although they are
/// not.
async fn leader_change(lab: &Lab) -> (f64, f64) {
    let store = &lab.managers[0].store;
    let mut changes = store.watch().1;
    let begun = SystemClock.monotonic();
    lab.leader().raft.transfer_leadership(None).await.unwrap();
    let led = SystemClock.monotonic() - begun;
    let end = begun + WATCHED;
    let mut down = 0.0;
    while SystemClock.monotonic() < end {
        let left = end.saturating_sub(SystemClock.monotonic());
        tokio::select! {
            batches = changes.next() => {
                for event in batches.unwrap().iter().flat_map(|batch| &batch.events) {
                    if let Event::Node(diff) = event
                        && diff.new.as_ref().is_some_and(|node| node.status.state == NodeState::Down)
                    {
                        down += 1.0;
                    }
                }
            }
            () = SystemClock.sleep(left) => {}
        }
    }
    (millis(led), down)
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

/// Seconds of CPU that this process used.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
