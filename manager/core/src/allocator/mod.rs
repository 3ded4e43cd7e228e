//! Gives networks their subnets, services their ports and virtual addresses, tasks their addresses, nodes
//! their index in the routing mesh: new → pending.
//!
//! Pure. What is in use follows from the objects in the store and from nothing else: [`Allocator`] reads
//! them when a manager becomes leader, and follows the store's events from then on, so that nothing leaks
//! with a task, a node or a leader. What cannot be given says so in the object's error field, and is tried
//! again when something was freed that could help. Addresses and numbers are chosen next-fit: one that was
//! freed is not given again at once.
//!
//! Source: swarmkit `manager/allocator`.

mod attachment;
mod endpoint;
mod error;
mod leases;
mod network;
mod numbers;
mod queue;
mod space;
mod subnets;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::service::{Endpoint, Protocol, Service};
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{
    Cluster, ClusterNetwork, ClusterNetworkId, Node, NodeId, ServiceId, Task, TaskState,
};
use shoal_model::network::NetworkSpec;

pub(crate) use endpoint::{endpoint_is_all, endpoint_of_nothing};
pub use error::Error;

use crate::store::{Change, Event, State, Txn};
use error::Cause;
use leases::Item;
use network::is_overlay;
use numbers::Numbers;
use queue::{Queue, Subject};
use space::Space;
use subnets::Subnets;

/// Docker begins here, because Windows keeps the ids below for itself.
const VNI_FIRST: u32 = 4096;
const VNI_LAST: u32 = (1 << 24) - 1;
/// Ports that are chosen.
const PORT_FIRST: u16 = 30_000;
const PORT_LAST: u16 = 32_767;
/// Marks carry the index in sixteen bits; zero means none.
const MESH_FIRST: u32 = 1;
const MESH_LAST: u32 = 65_535;
/// Connections outlive a node by so much at most.
const MESH_REST: Duration = Duration::from_secs(3600);

/// The network of the routing mesh, for who creates a cluster. It gets the first subnet of the pools.
pub fn ingress_network() -> NetworkSpec {
    NetworkSpec {
        name: "ingress".to_owned(),
        driver: "overlay".to_owned(),
        scope: "swarm".to_owned(),
        ingress: true,
        ..NetworkSpec::default()
    }
}

/// What is to be committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In one transaction.
    pub changes: Vec<Change>,
    /// The limit was reached: plan again after the commit.
    pub more: bool,
}

/// The allocator of a leader.
#[derive(Debug, Clone)]
pub struct Allocator {
    subnets: Subnets,
    vnis: Numbers<ClusterNetworkId>,
    ports: BTreeMap<Protocol, Numbers<ServiceId>>,
    meshes: Numbers<NodeId>,
    /// Indexes of nodes that are gone, since when; `None`: since before the next plan.
    resting: BTreeMap<u32, Option<Timestamp>>,
    spaces: BTreeMap<ClusterNetworkId, Space>,
    leases: BTreeMap<Subject, Vec<Item>>,
    queue: Queue,
    ingress: Option<ClusterNetworkId>,
    /// Shared by the tasks of a service.
    endpoints: BTreeMap<ServiceId, Arc<Endpoint>>,
}

/// Plans for a state that nothing is known of yet: what a new leader would do first.
pub fn plan(state: &State, now: Timestamp) -> Plan {
    Allocator::new(state).plan(state, now, usize::MAX)
}

impl Allocator {
    /// Reads all objects.
    pub fn new(state: &State) -> Self {
        let ports = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let numbers = || Numbers::new(u32::from(PORT_FIRST), u32::from(PORT_LAST));
        let mut allocator = Self {
            subnets: Subnets::default(),
            vnis: Numbers::new(VNI_FIRST, VNI_LAST),
            ports: ports.into_iter().map(|protocol| (protocol, numbers())).collect(),
            meshes: Numbers::new(MESH_FIRST, MESH_LAST),
            resting: BTreeMap::new(),
            spaces: BTreeMap::new(),
            leases: BTreeMap::new(),
            queue: Queue::default(),
            ingress: None,
            endpoints: BTreeMap::new(),
        };
        // Subnets come before the addresses in them.
        for network in state.networks() {
            allocator.set_network(network.id, Some(network));
        }
        for service in state.services() {
            allocator.set_service(service.id, Some(service));
        }
        for node in state.nodes() {
            allocator.set_node(node.id, Some(node));
        }
        for task in state.tasks() {
            allocator.set_task(task.id, Some(task));
        }
        allocator.restore_cursors(state);
        allocator
    }

    /// Takes note of a change. Returns whether there may be something to plan now.
    pub fn observe(&mut self, event: &Event) -> bool {
        match event {
            Event::Cluster(_) => self.queue.wake(Cause::Networks),
            Event::Network(diff) => {
                if let Some(network) = diff.latest() {
                    self.set_network(network.id, diff.new.as_deref());
                }
            }
            Event::Service(diff) => {
                if let Some(service) = diff.latest() {
                    self.set_service(service.id, diff.new.as_deref());
                }
            }
            Event::Node(diff) => {
                if let Some(node) = diff.latest() {
                    self.set_node(node.id, diff.new.as_deref());
                }
            }
            Event::Task(diff) => {
                if let Some(task) = diff.latest() {
                    self.set_task(task.id, diff.new.as_deref());
                }
            }
            Event::Secret(_) | Event::Config(_) => {}
        }
        self.is_due()
    }

    /// Whether there may be something to plan.
    pub fn is_due(&self) -> bool {
        self.queue.is_due()
    }

    /// Reads the objects of a plan that was not committed from the state again.
    pub fn forget(&mut self, state: &State, plan: &Plan) {
        for change in &plan.changes {
            match change {
                Change::PutNetwork(network) => {
                    self.set_network(network.id, state.network(network.id).map(|object| &**object));
                }
                Change::PutService(service) => {
                    self.set_service(service.id, state.service(service.id).map(|object| &**object));
                }
                Change::PutNode(node) => {
                    self.set_node(node.id, state.node(node.id).map(|object| &**object));
                }
                Change::EditTask(task) => {
                    self.set_task(task.id, state.task(task.id).map(|object| &**object));
                }
                Change::TaskStatus { task, .. } => {
                    // It is parked, but what was to be said of it was not.
                    self.queue.remove(Subject::Task(*task));
                    self.set_task(*task, state.task(*task).map(|object| &**object));
                }
                _ => {}
            }
        }
    }

    /// Gives what is wished for and can be given, up to `limit` changes. Applied to the state, the plan
    /// changes nothing that a second plan would change again.
    pub fn plan(&mut self, state: &State, now: Timestamp, limit: usize) -> Plan {
        for since in self.resting.values_mut() {
            since.get_or_insert(now);
        }
        self.resting.retain(|_, since| since.is_none_or(|since| now.since(since) < MESH_REST));
        let mut view = Txn::new(state, now);
        let mut changes = Vec::new();
        let mut more = false;
        while let Some(subject) = self.queue.pop() {
            changes.extend(self.decide(&mut view, subject, now));
            if changes.len() >= limit && self.queue.is_due() {
                more = true;
                break;
            }
        }
        changes.extend(self.keep_cursor(&view));
        Plan { changes, more }
    }

    /// The view shows what was decided of everything but tasks, which nothing else depends on.
    fn decide(&mut self, view: &mut Txn, subject: Subject, now: Timestamp) -> Vec<Change> {
        let changes = match subject {
            Subject::Network(id) => view.network(id).cloned().map(|it| self.network(view, &it)),
            Subject::Service(id) => view.service(id).cloned().map(|it| self.service(view, &it)),
            Subject::Node(id) => view.node(id).cloned().map(|it| self.node(&it)),
            Subject::Task(id) => {
                let task = view.task(id).cloned();
                return task.map(|task| self.task(view, &task, now)).unwrap_or_default();
            }
        };
        let changes = changes.unwrap_or_default();
        view.change_all(changes.iter().cloned()).expect("what is put was read from the same view");
        changes
    }

    fn network(&mut self, view: &Txn, network: &Arc<ClusterNetwork>) -> Vec<Change> {
        if !is_overlay(network) || network.allocation.is_some() {
            return Vec::new();
        }
        let mut decided = ClusterNetwork::clone(network);
        match self.decide_network(view, network) {
            Ok(allocation) => {
                decided.allocation = Some(allocation);
                decided.error = String::new();
                self.set_network(network.id, Some(&decided));
            }
            Err(error) => {
                self.queue.park(Subject::Network(network.id), error.cause());
                decided.error = error.text();
                self.queue.wake(Cause::Network(network.id));
            }
        }
        changed(network, decided, Change::PutNetwork)
    }

    fn service(&mut self, view: &Txn, service: &Arc<Service>) -> Vec<Change> {
        if service.removing {
            return Vec::new();
        }
        let mut decided = Service::clone(service);
        match self.decide_endpoint(view, service) {
            Ok(endpoint) => {
                decided.endpoint = Some(endpoint);
                decided.endpoint_error = String::new();
                self.hold_service(service.id, Some(&decided));
            }
            Err(error) => {
                self.queue.park(Subject::Service(service.id), error.cause());
                decided.endpoint_error = error.text();
            }
        }
        let changes = changed(service, decided, Change::PutService);
        if !changes.is_empty() {
            self.queue.wake(Cause::Service(service.id));
        }
        changes
    }

    fn node(&mut self, node: &Arc<Node>) -> Vec<Change> {
        if node.mesh_index.is_some() {
            return Vec::new();
        }
        let resting = &self.resting;
        let index = self.meshes.next(|index| !resting.contains_key(&index));
        let Some((index, number)) =
            index.and_then(|index| Some((index, u16::try_from(index).ok()?)))
        else {
            self.queue.park(Subject::Node(node.id), Cause::Networks);
            return Vec::new();
        };
        self.meshes.set_cursor(index);
        let decided = Node { mesh_index: Some(number), ..Node::clone(node) };
        self.set_node(node.id, Some(&decided));
        changed(node, decided, Change::PutNode)
    }

    /// Keeps the mesh index that was given last, for the next leader.
    fn keep_cursor(&self, view: &Txn) -> Option<Change> {
        let cluster = view.cluster()?;
        let given = view.changes().iter().rev().find_map(|change| match change {
            Change::PutNode(node) => node.mesh_index,
            _ => None,
        });
        let mesh_cursor = given.filter(|given| *given != cluster.mesh_cursor)?;
        let cluster = Cluster { mesh_cursor, ..Cluster::clone(cluster) };
        Some(Change::PutCluster(Arc::new(cluster)))
    }

    fn task(&mut self, view: &Txn, task: &Arc<Task>, now: Timestamp) -> Vec<Change> {
        if !is_waiting(task) {
            return Vec::new();
        }
        match self.decide_task(view, task) {
            Ok(mut decided) => {
                decided.status = pending(now);
                self.set_task(task.id, Some(&decided));
                vec![Change::EditTask(Arc::new(decided))]
            }
            Err(error) => {
                self.queue.park(Subject::Task(task.id), error.cause());
                let error = error.text();
                if task.status.error == error {
                    return Vec::new();
                }
                let status = TaskStatus { at: now, error, ..task.status.clone() };
                vec![Change::TaskStatus { task: task.id, status }]
            }
        }
    }

    fn decide_task(&mut self, view: &Txn, task: &Task) -> Result<Task, Error> {
        let mut decided = task.clone();
        let mut service = None;
        if let Some(id) = task.service {
            let found = view.service(id).filter(|service| !service.removing);
            let found = found.ok_or(Error::Service { service: id, reason: String::new() })?;
            let reason = found.endpoint_error.clone();
            let endpoint = found.endpoint.as_ref().filter(|_| reason.is_empty());
            let endpoint = endpoint.ok_or(Error::Service { service: id, reason })?;
            decided.endpoint = Some(self.shared(id, endpoint));
            service = Some(Arc::clone(found));
        }
        decided.networks = self.decide_attachments(view, task, service.as_deref())?;
        Ok(decided)
    }

    /// One copy for all tasks of a service.
    fn shared(&mut self, service: ServiceId, endpoint: &Endpoint) -> Arc<Endpoint> {
        match self.endpoints.get(&service) {
            Some(shared) if **shared == *endpoint => Arc::clone(shared),
            _ => {
                let shared = Arc::new(endpoint.clone());
                self.endpoints.insert(service, Arc::clone(&shared));
                shared
            }
        }
    }
}

/// Of a task that has all that the allocator gives.
pub(crate) fn pending(now: Timestamp) -> TaskStatus {
    TaskStatus {
        state: TaskState::Pending,
        at: now,
        message: "pending task scheduling".to_owned(),
        ..TaskStatus::default()
    }
}

/// New, and wanted to run.
fn is_waiting(task: &Task) -> bool {
    task.status.state == TaskState::New && task.desired < TaskState::Shutdown
}

fn changed<T: Eq>(before: &Arc<T>, after: T, change: fn(Arc<T>) -> Change) -> Vec<Change> {
    if **before == after { Vec::new() } else { vec![change(Arc::new(after))] }
}
