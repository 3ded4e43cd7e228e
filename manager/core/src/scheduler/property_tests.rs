//! Random nodes, tasks and ends: no node holds more than it has, no filter is broken, everything settles, and
//! an index that followed all events is that of a new leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use shoal_model::cluster::node::{Availability, GenericResource};
use shoal_model::cluster::service::{Endpoint, PortConfig, PublishMode};
use shoal_model::cluster::task::{Placement, Reservations, ResourceRequirements};
use shoal_model::cluster::{ServiceId, TaskSpec};

use super::*;
use crate::store::Transaction;
use crate::{constraint, samples};

#[derive(Debug, Clone)]
enum Step {
    Node { number: u64, zone: u8, availability: u8, cpus: i64, gpus: u8 },
    RemoveNode(u64),
    Task { number: u64, service: u64 },
    End(u64),
    Stop(u64),
    Remove(u64),
    Plan { changes: usize, fails: bool },
}

/// What the tasks of a service ask for.
#[derive(Debug, Clone)]
struct Kind {
    cpus: i64,
    gpus: i64,
    zone: Option<u8>,
    port: Option<u16>,
    max_replicas: u64,
    spread: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 1..5_u64;
    let task = || 100..140_u64;
    let step = prop_oneof![
        3 => (node(), 0..2_u8, 0..6_u8, 1..5_i64, 0..3_u8).prop_map(
            |(number, zone, availability, cpus, gpus)| Step::Node {
                number, zone, availability, cpus, gpus
            }
        ),
        1 => node().prop_map(Step::RemoveNode),
        8 => (task(), 1..5_u64).prop_map(|(number, service)| Step::Task { number, service }),
        3 => task().prop_map(Step::End),
        2 => task().prop_map(Step::Stop),
        1 => task().prop_map(Step::Remove),
        5 => (1..6_usize, proptest::bool::weighted(0.2))
            .prop_map(|(changes, fails)| Step::Plan { changes, fails }),
    ];
    proptest::collection::vec(step, 1..80)
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let kind = (
        0..3_i64,
        0..2_i64,
        proptest::option::weighted(0.3, 0..2_u8),
        proptest::option::weighted(0.3, 80..82_u16),
        0..3_u64,
        any::<bool>(),
    );
    let kind = kind.prop_map(|(cpus, gpus, zone, port, max_replicas, spread)| Kind {
        cpus,
        gpus,
        zone,
        port,
        max_replicas,
        spread,
    });
    proptest::collection::vec(kind, 4)
}

impl Kind {
    fn spec(&self) -> TaskSpec {
        let gpus = GenericResource::Discrete { kind: "gpu".to_owned(), value: self.gpus };
        let generic = if self.gpus > 0 { vec![gpus] } else { Vec::new() };
        let nano_cpus = self.cpus * 1_000_000_000;
        let zone = self.zone.map(|zone| format!("node.labels.zone==z{zone}"));
        let spread = self.spread.then(|| "node.labels.zone".to_owned());
        TaskSpec {
            resources: Some(ResourceRequirements {
                reservations: Some(Reservations { nano_cpus, generic, memory: 0 }),
                ..ResourceRequirements::default()
            }),
            placement: Some(Placement {
                constraints: zone.into_iter().collect(),
                spread: spread.into_iter().collect(),
                max_replicas: self.max_replicas,
                platforms: Vec::new(),
            }),
            ..TaskSpec::default()
        }
    }

    fn endpoint(&self) -> Endpoint {
        let ports = self.port.map(|published| PortConfig {
            published,
            mode: PublishMode::Host,
            ..PortConfig::default()
        });
        Endpoint { ports: ports.into_iter().collect(), ..Endpoint::default() }
    }
}

struct World {
    state: State,
    scheduler: Scheduler,
    index: u64,
    kinds: Vec<Kind>,
}

impl World {
    fn commit(&mut self, changes: Vec<Change>) {
        self.index += 1;
        let transaction = Transaction { changes, ..Transaction::default() };
        if let Ok(applied) = self.state.apply(self.index, &transaction) {
            for event in &applied.events {
                self.scheduler.observe(event);
            }
        }
    }

    fn edit(&mut self, number: u64, edit: impl FnOnce(&mut Task)) {
        let id = TaskId::from_bytes(samples::bytes(number));
        let Some(task) = self.state.task(id) else { return };
        let mut task = Task::clone(task);
        edit(&mut task);
        self.commit(vec![Change::PutTask(Arc::new(task))]);
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Node { number, zone, availability, cpus, gpus } => {
                let mut node = samples::node(number);
                node.spec.annotations.labels.insert("zone".to_owned(), format!("z{zone}"));
                node.spec.availability = match availability {
                    0 => Availability::Pause,
                    1 => Availability::Drain,
                    _ => Availability::Active,
                };
                let about = node.description.as_mut().unwrap();
                about.resources.nano_cpus = cpus * 1_000_000_000;
                let gpu = |gpu| GenericResource::Named {
                    kind: "gpu".to_owned(),
                    value: format!("g{gpu}"),
                };
                about.resources.generic = (0..gpus).map(gpu).collect();
                self.commit(vec![Change::PutNode(Arc::new(node))]);
            }
            Step::RemoveNode(number) => {
                self.commit(vec![Change::RemoveNode(samples::node(number).id)]);
            }
            Step::Task { number, service } => {
                let mut task = samples::task(number, service, number);
                if self.state.task(task.id).is_some() {
                    return;
                }
                let kind = &self.kinds[usize::try_from(service).unwrap() - 1];
                task.spec = Arc::new(kind.spec());
                task.endpoint = Some(Arc::new(kind.endpoint()));
                self.commit(vec![Change::PutTask(Arc::new(task))]);
            }
            Step::End(number) => self.edit(number, |task| task.status.state = TaskState::Orphaned),
            Step::Stop(number) => {
                self.edit(number, |task| task.desired = task.desired.max(TaskState::Shutdown));
            }
            Step::Remove(number) => {
                self.commit(vec![Change::RemoveTask(TaskId::from_bytes(samples::bytes(number)))]);
            }
            Step::Plan { changes, fails } => {
                let limits = Limits { changes, failures: 2 };
                self.plan(limits, fails);
            }
        }
    }

    fn plan(&mut self, limits: Limits, fails: bool) {
        let plan = self.scheduler.plan(&self.state, Timestamp::default(), limits);
        if fails {
            self.scheduler.forget(&self.state, &plan);
            return;
        }
        let before = self.state.clone();
        self.commit(plan.changes.clone());
        for change in &plan.changes {
            let Change::EditTask(task) = change else { continue };
            self.check_node(task.node.unwrap());
            let node = before.node(task.node.unwrap()).unwrap();
            let placement = task.spec.placement.as_ref().unwrap();
            let constraints = constraint::parse_all(&placement.constraints).unwrap();
            assert!(filter::is_ready(node) && constraint::matches(&constraints, node));
            let max = placement.max_replicas;
            assert!(max == 0 || self.replicas(task) <= max, "{max} replicas per node");
        }
    }

    fn replicas(&self, task: &Task) -> u64 {
        let tasks = self.state.tasks_on_node(task.node.unwrap());
        let active = tasks.filter(|other| {
            other.service == task.service
                && other.desired < TaskState::Shutdown
                && !other.status.state.is_terminal()
        });
        u64::try_from(active.count()).unwrap()
    }

    /// A node on which something was just placed holds no more than it has.
    fn check_node(&self, id: NodeId) {
        let node = self.state.node(id).unwrap();
        let live = || {
            self.state.tasks_on_node(id).filter(|task| {
                !task.status.state.is_terminal() && task.status.state >= TaskState::Assigned
            })
        };
        let about = &node.description.as_ref().unwrap().resources;
        let reserved = |task: &Arc<Task>| {
            let wish = task.spec.resources.as_ref().unwrap().reservations.as_ref().unwrap();
            wish.nano_cpus
        };
        let used: i64 = live().map(reserved).sum();
        let newest_wants_none =
            live().max_by_key(|task| task.meta.version).is_some_and(|task| reserved(task) == 0);
        assert!(used <= about.nano_cpus || newest_wants_none, "CPUs of {id}");
        let mut ports = BTreeSet::new();
        let mut pieces: BTreeMap<&GenericResource, TaskId> = BTreeMap::new();
        for task in live() {
            for port in &task.endpoint.as_ref().unwrap().ports {
                assert!(ports.insert(port.published), "port {} of {id}", port.published);
            }
            for piece in &task.generic {
                assert_eq!(pieces.insert(piece, task.id), None, "{piece:?} of {id}");
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            if !self.scheduler.is_due() {
                return;
            }
            self.plan(Limits { changes: 3, failures: 2 }, false);
        }
        panic!("it never settles");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_node_holds_too_much_and_all_settles(kinds in kinds(), steps in steps()) {
        let (state, scheduler) = (State::default(), Scheduler::default());
        let mut world = World { state, scheduler, index: 0, kinds };
        for number in 1..5 {
            let service = samples::service(number, &format!("s{number}"));
            world.commit(vec![Change::PutService(Arc::new(service))]);
        }
        for step in steps {
            world.run(step);
        }
        world.settle();
        let fresh = plan(&world.state, Timestamp::default());
        // A verdict is that of the attempt: since then other tasks may have taken what was there. But no task
        // that could be placed waits.
        let followed = &world.scheduler.index;
        prop_assert!(followed.is_as_new(), "an order of nodes by labels is not what it would be anew");
        let missed = fresh.changes.iter().find(|change| matches!(change, Change::EditTask(_)));
        prop_assert_eq!(missed, None);
        for number in 100..140 {
            world.run(Step::Remove(number));
        }
        let id = ServiceId::from_bytes(samples::bytes(1));
        prop_assert!(world.scheduler.index.nodes_of(id).is_none());
        let idle = world.scheduler.index.nodes().all(|entry| {
            entry.rank().tasks == 0 && entry.generic == Used::default() && entry.ports.is_empty()
        });
        prop_assert!(idle, "something leaked");
    }
}
