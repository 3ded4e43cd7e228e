//! Decisions per second of the scheduler, in memory.
//!
//! `cargo bench -p shoal-manager-core --bench scheduler`, with `NODES=…` and `TASKS=…` to change the size.

#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::sync::Arc;
use std::time::Instant;

use shoal_manager_core::scheduler::{Limits, Scheduler};
use shoal_manager_core::store::{Change, State, Transaction};
use shoal_model::Timestamp;
use shoal_model::cluster::node::{NodeDescription, NodeResources, NodeRole, NodeState, NodeStatus};
use shoal_model::cluster::task::{
    Placement, Reservations, ResourceRequirements, RestartHistory, Slot, TaskStatus,
};
use shoal_model::cluster::{
    Annotations, Meta, Node, NodeId, NodeSpec, Service, ServiceId, ServiceSpec, Task, TaskId,
    TaskSpec, TaskState, Version,
};
use shoal_report::{Row, Sheet};

/// DESIGN §8 asks for so many tasks through the whole chain; the scheduler alone must not be what limits it.
const BUDGET: f64 = 100_000.0;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Ids as random as real ones, the same in each run.
fn id(kind: u64, number: u64) -> [u8; 16] {
    let mut value = (u128::from(kind) << 64 | u128::from(number)).wrapping_add(1);
    for _ in 0..3 {
        value ^= value >> 61;
        value = value.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    }
    value.to_be_bytes()
}

fn node(number: u64) -> Node {
    let mut spec = NodeSpec::default();
    spec.annotations.labels.insert("zone".to_owned(), format!("z{}", number % 10));
    Node {
        spec,
        description: Some(NodeDescription {
            hostname: format!("n{number}"),
            resources: NodeResources {
                nano_cpus: 64_000_000_000,
                memory: 256 << 30,
                generic: Vec::new(),
            },
            ..NodeDescription::default()
        }),
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        ..Node::new(NodeId::from_bytes(id(1, number)), NodeRole::Worker)
    }
}

fn service(number: u64) -> Service {
    let annotations = Annotations { name: format!("s{number}"), ..Annotations::default() };
    Service {
        id: ServiceId::from_bytes(id(2, number)),
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

fn task(service: u64, slot: u64, spec: &Arc<TaskSpec>, annotations: &Arc<Annotations>) -> Task {
    Task {
        id: TaskId::from_bytes(id(3 + service, slot)),
        meta: Meta::default(),
        spec: Arc::clone(spec),
        spec_version: Version(1),
        service: Some(ServiceId::from_bytes(id(2, service))),
        slot: Slot(slot),
        node: None,
        annotations: Arc::clone(annotations),
        desired: TaskState::Running,
        status: TaskStatus { state: TaskState::Pending, ..TaskStatus::default() },
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    }
}

fn commit(state: &mut State, changes: Vec<Change>, scheduler: Option<&mut Scheduler>) {
    let index = state.index() + 1;
    let txn = Transaction { at: Timestamp::default(), expect: Vec::new(), changes };
    let applied = state.apply_owned(index, txn).expect("the plan is valid");
    if let Some(scheduler) = scheduler {
        for event in &applied.events {
            scheduler.observe(event);
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Reserving,
    Constrained,
    Spread,
}

fn spec(kind: Kind) -> TaskSpec {
    let mut spec = TaskSpec::default();
    match kind {
        Kind::Plain => {}
        Kind::Reserving => {
            let wish = Reservations { nano_cpus: 100_000_000, memory: 1 << 28, generic: vec![] };
            spec.resources = Some(ResourceRequirements {
                reservations: Some(wish),
                ..ResourceRequirements::default()
            });
        }
        Kind::Constrained => {
            let constraints = vec!["node.labels.zone==z3".to_owned()];
            spec.placement = Some(Placement { constraints, ..Placement::default() });
        }
        Kind::Spread => {
            let spread = vec!["node.labels.zone".to_owned()];
            spec.placement = Some(Placement { spread, ..Placement::default() });
        }
    }
    spec
}

fn measure(sheet: &mut Sheet, name: &str, services: u64, replicas: u64, kind: Kind) {
    let mut state = State::default();
    let nodes = number("NODES", 10_000);
    commit(&mut state, (0..nodes).map(|n| Change::PutNode(Arc::new(node(n)))).collect(), None);
    let (spec, annotations) = (Arc::new(spec(kind)), Arc::new(Annotations::default()));
    for number in 0..services {
        let tasks = (1..=replicas).map(|slot| task(number, slot, &spec, &annotations));
        let tasks = tasks.map(|task| Change::PutTask(Arc::new(task)));
        let service = Change::PutService(Arc::new(service(number)));
        commit(&mut state, std::iter::once(service).chain(tasks).collect(), None);
    }
    let began = now();
    let mut scheduler = Scheduler::new(&state);
    let started = began.elapsed();
    let (mut planning, mut observing) = (0.0, 0.0);
    let mut decisions = 0;
    loop {
        let began = now();
        let plan = scheduler.plan(&state, Timestamp::default(), Limits::default());
        planning += began.elapsed().as_secs_f64();
        decisions += plan.changes.len();
        let began = now();
        commit(&mut state, plan.changes, Some(&mut scheduler));
        observing += began.elapsed().as_secs_f64();
        if !plan.more {
            break;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    let rate = decisions as f64 / planning;
    let how = format!(
        "{services} services × {replicas} tasks on {nodes} nodes; with apply and index {:.0} /s; index at start {:.2} s",
        rate * planning / (planning + observing),
        started.as_secs_f64(),
    );
    let what = format!("scheduler: decisions, {name}");
    sheet.add(Row::at_least(what, "/s", &[rate], BUDGET).how(&how)).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let tasks = number("TASKS", 1_000_000);
    let mut sheet = Sheet::begin().unwrap();
    all(&mut sheet, tasks);
    sheet.finish();
}

fn all(sheet: &mut Sheet, tasks: u64) {
    measure(sheet, "large groups", tasks / 1_000, 1_000, Kind::Plain);
    measure(sheet, "medium groups", tasks / 100, 100, Kind::Plain);
    measure(sheet, "small groups", tasks / 10, 10, Kind::Plain);
    measure(sheet, "single tasks", tasks, 1, Kind::Plain);
    measure(sheet, "with reservations", tasks / 100, 100, Kind::Reserving);
    measure(sheet, "with a constraint", tasks / 1_000, 100, Kind::Constrained);
    measure(sheet, "one tenth, spread", tasks / 1_000, 100, Kind::Spread);
}
