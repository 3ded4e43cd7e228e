//! What happens to the cluster.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use shoal_manager_core::ids::Ids as _;
use shoal_manager_core::store::Change;
use shoal_manager_core::update;
use shoal_model::cluster::node::{Availability, GenericResource, NodeState};
use shoal_model::cluster::service::{
    EndpointSpec, FailureAction, JobStatus, OnDisconnect, PortConfig, PublishMode, ServiceMode,
    UpdateConfig, UpdateOrder,
};
use shoal_model::cluster::task::{
    NetworkWish, Reservations, ResourceRequirements, RestartPolicy, TaskSpec,
};
use shoal_model::cluster::{Service, ServiceId, TaskState};

use crate::cluster::{Author, Model};
use crate::objects;
use crate::worker::Worker;

const SERVICES_MAX: usize = 5;
const NODES_MAX: usize = 6;
const NODES_MIN: usize = 2;

/// One thing that happens. Numbers name a service or node among those that are there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Create {
        mode: usize,
        count: u64,
        networked: bool,
    },
    Remove(usize),
    Scale(usize, u64),
    /// One of a few images, of which some fail.
    Image(usize, usize),
    Configure {
        service: usize,
        lanes: u64,
        first: bool,
        action: usize,
    },
    RollBack(usize),
    /// One of a few wishes to nodes.
    Wish(usize, usize),
    OnDisconnect(usize, Option<u64>),
    AddNode,
    RemoveNode(usize),
    CutOff(usize),
    Heal(usize),
    Avail(usize, Availability),
    Relabel(usize),
    Fail(usize),
    Complete(usize),
    NewLeader,
    LosePlans,
    Step,
    Settle,
    Pass(u64),
}

pub(crate) fn one() -> impl Strategy<Value = Op> {
    let service = || 0..SERVICES_MAX;
    let node = || 0..NODES_MAX;
    prop_oneof![
        3 => (0..4_usize, 0..6_u64, any::<bool>())
            .prop_map(|(mode, count, networked)| Op::Create { mode, count, networked }),
        1 => service().prop_map(Op::Remove),
        2 => (service(), 0..7_u64).prop_map(|(service, count)| Op::Scale(service, count)),
        2 => (service(), 0..IMAGES.len()).prop_map(|(service, image)| Op::Image(service, image)),
        2 => (service(), 0..4_u64, any::<bool>(), 0..3_usize).prop_map(
            |(service, lanes, first, action)| Op::Configure { service, lanes, first, action }
        ),
        1 => service().prop_map(Op::RollBack),
        2 => (service(), 0..7_usize).prop_map(|(service, wish)| Op::Wish(service, wish)),
        1 => (service(), proptest::option::of(0..60_u64))
            .prop_map(|(service, after)| Op::OnDisconnect(service, after)),
        1 => Just(Op::AddNode),
        1 => node().prop_map(Op::RemoveNode),
        2 => node().prop_map(Op::CutOff),
        2 => node().prop_map(Op::Heal),
        1 => node().prop_map(|node| Op::Avail(node, Availability::Drain)),
        1 => node().prop_map(|node| Op::Avail(node, Availability::Pause)),
        2 => node().prop_map(|node| Op::Avail(node, Availability::Active)),
        1 => node().prop_map(Op::Relabel),
        2 => (0..40_usize).prop_map(Op::Fail),
        2 => (0..40_usize).prop_map(Op::Complete),
        2 => Just(Op::NewLeader),
        1 => Just(Op::LosePlans),
        6 => Just(Op::Step),
        2 => Just(Op::Settle),
        4 => (0..200_u64).prop_map(Op::Pass),
    ]
}

const IMAGES: [&str; 6] = ["a", "b", "bad", "stuck", "gone", "c"];

impl Model {
    pub(crate) fn run(&mut self, op: Op) {
        self.trace.push(format!("{op:?}"));
        match op {
            Op::Create { mode, count, networked } => self.create(mode, count, networked),
            Op::Remove(service) => self.remove(service),
            Op::Scale(service, count) => self.revise(service, |service| scale(service, count)),
            Op::Image(service, image) => self.revise_task(service, |task| {
                task.container.image = IMAGES[image].to_owned();
            }),
            Op::Configure { service, lanes, first, action } => {
                self.configure(service, lanes, first, action);
            }
            Op::RollBack(service) => self.roll_back(service),
            Op::Wish(service, wish) => self.wish(service, wish),
            Op::OnDisconnect(service, after) => self.revise(service, |service| {
                let stop = after.map(|after| OnDisconnect::Stop(Duration::from_secs(after)));
                service.spec.extensions.on_disconnect = stop;
            }),
            Op::AddNode if self.workers.len() < NODES_MAX => self.add_node(),
            Op::AddNode => {}
            Op::RemoveNode(node) => self.remove_node(node),
            Op::CutOff(node) => self.cut_off(node),
            Op::Heal(node) => self.heal(node),
            Op::Avail(node, availability) => {
                self.edit_node(node, |node| node.spec.availability = availability);
            }
            Op::Relabel(node) => self.edit_node(node, |node| {
                let zone = node.spec.annotations.labels.entry("zone".to_owned()).or_default();
                *zone = if zone == "a" { "b" } else { "a" }.to_owned();
            }),
            Op::Fail(which) => self.end_one(which, TaskState::Failed),
            Op::Complete(which) => self.end_one(which, TaskState::Complete),
            Op::NewLeader => self.change_leader(),
            Op::LosePlans => self.lose_plans(),
            Op::Step => drop(self.step()),
            Op::Settle => self.settle(),
            Op::Pass(seconds) => self.pass(Duration::from_secs(seconds)),
        }
    }

    fn create(&mut self, mode: usize, count: u64, networked: bool) {
        if self.services.len() >= SERVICES_MAX {
            return;
        }
        let id = self.ids.service();
        let mut service = objects::service(id, &format!("s{}", &id.to_string()[..8]));
        service.spec.mode = match mode {
            0 => ServiceMode::Replicated { replicas: Some(count) },
            1 => ServiceMode::Global,
            2 => {
                let total_completions = Some(count.max(1));
                ServiceMode::ReplicatedJob { max_concurrent: Some(2), total_completions }
            }
            _ => ServiceMode::GlobalJob,
        };
        service.job = service.spec.mode.is_job().then(JobStatus::default);
        let task = Arc::make_mut(&mut service.spec.task);
        task.container.image = "a".to_owned();
        // Some say nothing of restarts.
        task.restart = (!count.is_multiple_of(3)).then(|| RestartPolicy {
            delay: Some(Duration::from_secs(count)),
            max_attempts: count.is_multiple_of(2).then_some(3),
            window: Some(Duration::from_secs(100)),
            ..RestartPolicy::default()
        });
        if networked {
            let target = self.network.to_string();
            task.networks = vec![NetworkWish { target, ..NetworkWish::default() }];
        }
        self.services.push(id);
        self.commit(Author::User, vec![Change::PutService(Arc::new(service))]);
    }

    fn service(&self, which: usize) -> Option<Arc<Service>> {
        let id = self.services.get(which % self.services.len().max(1))?;
        self.state.service(*id).cloned()
    }

    fn remove(&mut self, which: usize) {
        let Some(service) = self.service(which) else { return };
        self.services.retain(|id| *id != service.id);
        let service = Service { removing: true, ..Service::clone(&service) };
        self.commit(Author::User, vec![Change::PutService(Arc::new(service))]);
    }

    fn revise(&mut self, which: usize, change: impl FnOnce(&mut Service)) {
        let Some(service) = self.service(which) else { return };
        let mut wish = Service::clone(&service);
        change(&mut wish);
        if let Some(revised) = update::revise(&service, wish.spec, self.now) {
            self.put(revised);
        }
    }

    fn revise_task(&mut self, which: usize, change: impl FnOnce(&mut TaskSpec)) {
        self.revise(which, |service| change(Arc::make_mut(&mut service.spec.task)));
    }

    fn roll_back(&mut self, which: usize) {
        let Some(service) = self.service(which) else { return };
        if let Ok(back) = update::roll_back(&service, "as the user wants", self.now) {
            self.put(back);
        }
    }

    fn put(&mut self, service: Service) {
        let lanes = service.spec.update.as_ref().map_or(1, |config| config.parallelism);
        self.lanes.insert(service.id, lanes);
        self.commit(Author::User, vec![Change::PutService(Arc::new(service))]);
    }

    fn configure(&mut self, which: usize, lanes: u64, first: bool, action: usize) {
        let actions = [FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback];
        let config = UpdateConfig {
            parallelism: lanes,
            failure_action: actions[action],
            order: if first { UpdateOrder::StartFirst } else { UpdateOrder::StopFirst },
            delay: Duration::from_secs(lanes),
            max_failure_ratio: 0.3,
            ..UpdateConfig::default()
        };
        self.revise(which, |service| {
            service.spec.update = Some(config.clone());
            service.spec.rollback = Some(config);
        });
    }

    /// What a service wants of its nodes.
    fn wish(&mut self, which: usize, wish: usize) {
        let number = u16::try_from(which % SERVICES_MAX).unwrap_or(0);
        let port = |mode| PortConfig {
            target: 80,
            published: 8_000 + number,
            mode,
            ..PortConfig::default()
        };
        let endpoint = |mode| EndpointSpec { ports: vec![port(mode)], ..EndpointSpec::default() };
        self.revise(which, |service| {
            let task = Arc::make_mut(&mut service.spec.task);
            let placement = task.placement.get_or_insert_default();
            let reservations = Reservations { nano_cpus: 1_500_000_000, ..Reservations::default() };
            match wish {
                0 => placement.constraints = vec!["node.labels.zone==a".to_owned()],
                1 => placement.spread = vec!["node.labels.zone".to_owned()],
                2 => placement.max_replicas = 1,
                3 => task.resources = Some(resources(reservations)),
                4 => {
                    let gpu = GenericResource::Discrete { kind: "gpu".to_owned(), value: 1 };
                    let wish = Reservations { generic: vec![gpu], ..Reservations::default() };
                    task.resources = Some(resources(wish));
                }
                5 => service.spec.endpoint = Some(endpoint(PublishMode::Host)),
                _ => service.spec.endpoint = Some(endpoint(PublishMode::Ingress)),
            }
        });
    }

    fn node(&self, which: usize) -> shoal_model::cluster::NodeId {
        let position = which % self.workers.len();
        *self.workers.keys().nth(position).expect("there are nodes")
    }

    fn edit_node(&mut self, which: usize, change: impl FnOnce(&mut shoal_model::cluster::Node)) {
        let id = self.node(which);
        self.change_node(Author::User, id, change);
    }

    fn remove_node(&mut self, which: usize) {
        let id = self.node(which);
        if self.workers.len() <= NODES_MIN {
            return;
        }
        self.workers.remove(&id);
        self.commit(Author::User, vec![Change::RemoveNode(id)]);
    }

    fn cut_off(&mut self, which: usize) {
        let (id, now) = (self.node(which), self.now);
        let worker: &mut Worker = self.workers.entry(id).or_default();
        worker.cut_off.get_or_insert(now);
    }

    fn heal(&mut self, which: usize) {
        let (id, now) = (self.node(which), self.now);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.give_up(now);
        if worker.cut_off.take().is_some() {
            self.change_node(Author::Liveness, id, |node| {
                (node.status.state, node.status.since) = (NodeState::Ready, now);
            });
        }
    }

    fn end_one(&mut self, which: usize, state: TaskState) {
        let running = self.running();
        if let Some(task) = running.get(which % running.len().max(1)) {
            self.end(task, state);
        }
    }

    /// Faults end, users ask for what can be had, time passes; jobs do their work.
    pub(crate) fn recover(&mut self) {
        self.trace.push("everything recovers".to_owned());
        for which in 0..self.workers.len() {
            self.heal(which);
            self.edit_node(which, |node| node.spec.availability = Availability::Active);
        }
        let nodes = self.workers.len() as u64;
        for which in 0..self.services.len() {
            let number = 9_000 + u16::try_from(which).unwrap_or(0);
            self.revise(which, |service| {
                for port in service.spec.endpoint.iter_mut().flat_map(|it| &mut it.ports) {
                    port.published = number;
                }
                settle_for(service, nodes);
            });
        }
        for _ in 0..6 {
            self.pass(Duration::from_secs(900));
            for task in self.running().iter().filter(|task| task.job_iteration.is_some()) {
                self.end(task, TaskState::Complete);
            }
        }
        self.pass(Duration::from_secs(900));
    }
}

/// A spec that a cluster of so many healthy nodes can satisfy.
fn settle_for(service: &mut Service, nodes: u64) {
    let most = service.spec.task.placement.as_ref().map_or(0, |placement| placement.max_replicas);
    let holds_ports =
        service.spec.endpoint.as_ref().is_some_and(|endpoint| {
            endpoint.ports.iter().any(|port| port.mode == PublishMode::Host)
        });
    if most == 1 || holds_ports {
        let ServiceMode::Replicated { replicas } = &mut service.spec.mode else {
            return tame(service);
        };
        *replicas = replicas.map(|replicas| replicas.min(nodes));
    }
    tame(service);
}

fn tame(service: &mut Service) {
    service.spec.update = None;
    service.spec.rollback = None;
    let task = Arc::make_mut(&mut service.spec.task);
    task.container.image = "good".to_owned();
    task.force_update += 1;
    task.resources = None;
    if let Some(placement) = &mut task.placement {
        placement.constraints.clear();
    }
}

fn scale(service: &mut Service, count: u64) {
    if let ServiceMode::Replicated { replicas } = &mut service.spec.mode {
        *replicas = Some(count);
    }
}

fn resources(reservations: Reservations) -> ResourceRequirements {
    ResourceRequirements { reservations: Some(reservations), ..ResourceRequirements::default() }
}

/// For planted bugs, which forge ids.
pub(crate) fn stranger() -> ServiceId {
    ServiceId::from_bytes([0xee; 16])
}
