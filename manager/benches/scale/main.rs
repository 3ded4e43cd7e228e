//! A whole cluster without containers: figure, budget, ratio.
//!
//! `cargo bench -p shoal-manager --bench scale [-- full]`: 500 nodes and 50,000 tasks, or 5,000 and 1,000,000;
//! `NODES=…` and `TASKS=…` change that.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
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

use cluster::{Lab, Sessions};

/// Replicas of each service.
const REPLICAS: usize = 1_000;
/// Calls of the API at a time.
const CREATIONS: usize = 8;
/// Longer than any node may be silent before it counts as down, with a new leader's double grace.
const WATCHED: Duration = Duration::from_secs(40);

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let full = std::env::args().any(|argument| argument == "full");
    let nodes = number("NODES", if full { 5_000 } else { 500 });
    let tasks = number("TASKS", if full { 1_000_000 } else { 50_000 });
    let wanted = |name: &str| std::env::var("SESSIONS").map_or(true, |only| only == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("| what | figure | budget | ratio |\n|---|---|---|---|");
    if wanted("inprocess") {
        runtime.block_on(measure(Sessions::InProcess, nodes, tasks, 10_000.0));
    }
    if wanted("tls") {
        let tasks = tasks.min(number("TLS_TASKS", 200_000));
        runtime.block_on(measure(Sessions::MutualTls, nodes, tasks, 3_000.0));
    }
}

fn row(what: &str, figure: f64, budget: f64, unit: &str) {
    println!("| {what} | {figure:.1} {unit} | {budget} {unit} | {:.2} |", figure / budget);
}

async fn measure(sessions: Sessions, nodes: usize, tasks: usize, budget: f64) {
    let lab = Lab::up(nodes).await;
    let begun = SystemClock.monotonic();
    lab.connect(sessions).await;
    let took = (SystemClock.monotonic() - begun).as_secs_f64();
    println!("| {sessions:?}: {nodes} sessions with three managers begin | {took:.1} s | - | - |");
    let before = resident();
    let rate = fill(&lab, tasks).await;
    row(&format!("{tasks} tasks placed and running"), rate, budget, "/s");
    let memory = (resident() - before) / tasks as f64 / 3.0;
    row("memory per task on a manager, sessions included", memory, 1_500.0, "B");
    one_more(&lab).await;
    idle(tasks).await;
    leader_change(&lab).await;
    lab.down().await;
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

/// What one more task costs beside all the others.
async fn one_more(lab: &Lab) {
    let leader = lab.leader();
    let mut times = Vec::new();
    for number in 0..10 {
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
    times.sort_unstable();
    println!(
        "| one task more, create to running, median of 10 | {:.1} ms | - | - |",
        times[5].as_secs_f64() * 1e3
    );
}

/// CPU of everything in this process: three managers and all workers.
async fn idle(tasks: usize) {
    SystemClock.sleep(Duration::from_secs(2)).await;
    let (begun, before) = (SystemClock.monotonic(), cpu());
    SystemClock.sleep(Duration::from_secs(10)).await;
    let took = (SystemClock.monotonic() - begun).as_secs_f64();
    let share = (cpu() - before) / took * 100.0;
    println!(
        "| idle with {tasks} tasks: CPU of managers and workers together | {share:.1} % of a core | - | - |"
    );
}

/// Nodes that are taken for down although they are not, after the leader handed over.
async fn leader_change(lab: &Lab) {
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
    println!("| leadership moved in | {:.1} ms | - | - |", led.as_secs_f64() * 1e3);
    println!("| healthy nodes taken for down within {} s | {down} | 0 | - |", WATCHED.as_secs());
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
