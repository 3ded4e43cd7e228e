//! Whatever happens to a cluster, once nothing more does it becomes what its specs ask for: random sequences of spec changes,
//! node failures, task failures and leader changes. The invariants are checked after every transaction.

mod world;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use shoal_manager_core::ids::Ids;
use shoal_manager_core::store::Change;
use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::service::{
    FailureAction, JobStatus, ServiceMode, UpdateConfig, UpdateOrder,
};
use shoal_model::cluster::task::RestartPolicy;
use shoal_model::cluster::{NodeId, Service, ServiceId, TaskState};

use world::{World, invariants, objects};

const NODES: usize = 4;
const SERVICES: usize = 4;

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Op {
    Scale(usize, u64),
    /// To one of a few images, of which some fail.
    Image(usize, usize),
    Configure(usize, u64, bool, usize),
    RollBack(usize),
    Down(usize),
    Up(usize),
    Drain(usize),
    Pause(usize),
    Activate(usize),
    /// A running task fails.
    Fail(usize),
    NewLeader,
    /// A plan is made and lost: its leader died before the commit.
    LoseAgenda,
    Step,
    Settle,
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let service = 0..SERVICES;
    let node = || 0..NODES;
    prop_oneof![
        1 => (service.clone(), 0_u64..7).prop_map(|(service, count)| Op::Scale(service, count)),
        1 => (service.clone(), 0_usize..5).prop_map(|(service, image)| Op::Image(service, image)),
        1 => (service.clone(), 0_u64..4, any::<bool>(), 0_usize..3)
            .prop_map(|(service, lanes, first, action)| Op::Configure(service, lanes, first, action)),
        1 => service.prop_map(Op::RollBack),
        1 => node().prop_map(Op::Down),
        1 => node().prop_map(Op::Up),
        1 => node().prop_map(Op::Drain),
        1 => node().prop_map(Op::Pause),
        1 => node().prop_map(Op::Activate),
        1 => (0_usize..40).prop_map(Op::Fail),
        1 => Just(Op::NewLeader),
        1 => Just(Op::LoseAgenda),
        4 => Just(Op::Step),
        2 => Just(Op::Settle),
        3 => (0_u64..400).prop_map(Op::Pass),
    ]
}

const IMAGES: [&str; 5] = ["a", "b", "bad", "stuck", "c"];

struct Cluster {
    world: World,
    nodes: Vec<NodeId>,
    services: Vec<ServiceId>,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let mut nodes = Vec::new();
        for number in 1..=NODES {
            let id = world.ids.node();
            let name = format!("n{number}");
            world.names.insert(id.to_string(), name.clone());
            let node = objects::node(id, &name, world.now);
            world.commit(vec![Change::PutNode(Arc::new(node))]);
            nodes.push(id);
        }
        let mut services = Vec::new();
        let modes = [
            ServiceMode::Replicated { replicas: Some(3) },
            ServiceMode::Global,
            ServiceMode::Replicated { replicas: Some(1) },
            ServiceMode::ReplicatedJob { max_concurrent: Some(2), total_completions: Some(3) },
        ];
        for (number, mode) in modes.into_iter().enumerate() {
            let id = world.ids.service();
            let mut service = objects::service(id, &format!("s{number}"));
            service.spec.mode = mode;
            service.job = mode.is_job().then(JobStatus::default);
            let task = Arc::make_mut(&mut service.spec.task);
            task.container.image = "a".to_owned();
            task.restart = Some(RestartPolicy {
                delay: Some(Duration::from_secs(2)),
                max_attempts: (number == 2).then_some(3),
                window: Some(Duration::from_secs(100)),
                ..RestartPolicy::default()
            });
            world.names.insert(id.to_string(), format!("s{number}"));
            world.commit(vec![Change::PutService(Arc::new(service))]);
            services.push(id);
        }
        Self { world, nodes, services }
    }

    fn configure(&mut self, service: usize, lanes: u64, starts_first: bool, action: usize) {
        let actions = [FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback];
        let order = if starts_first { UpdateOrder::StartFirst } else { UpdateOrder::StopFirst };
        let config = UpdateConfig {
            parallelism: lanes,
            failure_action: actions[action],
            order,
            delay: Duration::from_secs(lanes),
            max_failure_ratio: 0.3,
            ..UpdateConfig::default()
        };
        self.revise(service, |service| {
            service.spec.update = Some(config.clone());
            service.spec.rollback = Some(config);
        });
    }

    fn revise(&mut self, service: usize, change: impl FnOnce(&mut Service)) {
        self.world.revise(self.services[service], change);
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Scale(service, count) => self.revise(service, |service| {
                if let ServiceMode::Replicated { replicas } = &mut service.spec.mode {
                    *replicas = Some(count);
                }
            }),
            Op::Image(service, image) => self.revise(service, |service| {
                let task = Arc::make_mut(&mut service.spec.task);
                task.container.image = IMAGES[image].to_owned();
            }),
            Op::Configure(service, lanes, first, action) => {
                self.configure(service, lanes, first, action);
            }
            Op::RollBack(service) => self.world.roll_back(self.services[service]),
            Op::Down(node) => {
                let (id, now) = (self.nodes[node], self.world.now);
                self.world.dead.insert(id);
                self.world.node(id, |node| {
                    (node.status.state, node.status.since) = (NodeState::Down, now);
                });
            }
            Op::Up(node) => self.raise(node),
            Op::Drain(node) => self.avail(node, Availability::Drain),
            Op::Pause(node) => self.avail(node, Availability::Pause),
            Op::Activate(node) => self.avail(node, Availability::Active),
            Op::Fail(which) => {
                let running: Vec<_> = self
                    .world
                    .state
                    .tasks()
                    .filter(|task| task.status.state == TaskState::Running)
                    .map(|task| task.id)
                    .collect();
                if !running.is_empty() {
                    self.world.report(running[which % running.len()], TaskState::Failed);
                }
            }
            Op::NewLeader => self.world.change_leader(),
            Op::LoseAgenda => {
                let first = self.world.agenda.first();
                if let Some(item) = first {
                    let (now, ids) = (self.world.now, &mut self.world.ids);
                    let lost = self.world.agenda.look(&self.world.state, item, now, ids);
                    drop(lost);
                }
                self.world.change_leader();
            }
            Op::Step => {
                self.world.step();
            }
            Op::Settle => {
                self.world.settle();
                self.rests();
            }
            Op::Pass(seconds) => self.world.pass(Duration::from_secs(seconds)),
        }
    }

    /// What events put on the agenda was all there was to do: a look at everything finds nothing more.
    fn rests(&mut self) {
        let agenda = self.world.agenda.clone();
        self.world.change_leader();
        assert!(!self.world.plan(), "{:#?}", self.world.log.iter().rev().take(20));
        // The new leader has found every deadline that the old one knew.
        let (old, new) = (agenda.next_deadline(), self.world.agenda.next_deadline());
        assert!(new.is_none() || old.is_some_and(|old| Some(old) <= new), "{old:?} {new:?}");
        self.world.agenda = agenda;
    }

    fn raise(&mut self, node: usize) {
        let (id, now) = (self.nodes[node], self.world.now);
        self.world.dead.remove(&id);
        self.world.node(id, |node| {
            (node.status.state, node.status.since) = (NodeState::Ready, now);
        });
    }

    fn avail(&mut self, node: usize, availability: Availability) {
        self.world.node(self.nodes[node], |node| node.spec.availability = availability);
    }

    /// Faults end, users ask for something that works, time passes; jobs do their work.
    fn recover(&mut self) {
        for node in 0..NODES {
            self.raise(node);
            self.avail(node, Availability::Active);
        }
        for service in 0..SERVICES {
            self.revise(service, |service| {
                let task = Arc::make_mut(&mut service.spec.task);
                task.container.image = "good".to_owned();
                task.force_update += 1;
            });
        }
        for _ in 0..6 {
            self.world.pass(Duration::from_secs(900));
            let jobs: Vec<_> = self
                .world
                .state
                .tasks()
                .filter(|task| task.job_iteration.is_some())
                .filter(|task| task.status.state == TaskState::Running)
                .map(|task| task.id)
                .collect();
            for task in jobs {
                self.world.report(task, TaskState::Complete);
            }
        }
    }
}

/// `PROPTEST_CASES` histories, or few enough for every run of the tests.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_ends_in_what_the_specs_ask_for(
        seed in any::<u64>(),
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        let mut cluster = Cluster::new(seed);
        for op in ops {
            cluster.run(op);
        }
        cluster.recover();
        invariants::converged(&cluster.world);

        // Nothing is left to do, neither for this leader nor for one that looks at everything.
        let log = std::mem::take(&mut cluster.world.log);
        prop_assert!(!cluster.world.plan(), "{:?} after {:#?}", cluster.world.log, &log[log.len().saturating_sub(20)..]);
        cluster.world.change_leader();
        prop_assert!(!cluster.world.plan(), "{:?}", cluster.world.log);
    }

    /// A leader that is replaced before every single step makes of a cluster what one that stays does: the same
    /// number of attempts in every place, the same end.
    #[test]
    fn leader_changes_lose_no_attempt(fails in proptest::collection::vec(0_u64..120, 1..8)) {
        let attempts = |replaced: bool| {
            let mut cluster = Cluster::new(7);
            for pause in &fails {
                cluster.world.settle();
                if replaced {
                    cluster.world.change_leader();
                }
                cluster.run(Op::Fail(2));
                cluster.run(Op::Step);
                if replaced {
                    cluster.world.change_leader();
                }
                cluster.run(Op::Pass(*pause));
            }
            let mut histories: Vec<_> = cluster
                .world
                .state
                .tasks()
                .map(|task| (task.service, task.slot, task.history.attempts.clone(), task.history.consecutive))
                .collect();
            histories.sort();
            histories
        };
        prop_assert_eq!(attempts(false), attempts(true));
    }
}
