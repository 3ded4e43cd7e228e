//! What is known of each node: used resources, tasks per service, host ports, and the order in which nodes
//! are offered. Kept from changes of nodes and tasks; each change costs a logarithm.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::node::{GenericResource, Platform};
use shoal_model::cluster::service::{Endpoint, Protocol};
use shoal_model::cluster::{Node, NodeId, ServiceId, Task, TaskId, TaskSpec, TaskState, Version};

use super::demand::{host_ports, reserved};
use super::filter::is_ready;
use super::generic::Used;
use super::spread::{Spreads, Values};
use crate::constraint::Key;
use crate::platform::normalise;

/// A node with so many failures of a service's version …
const FAILURES: u32 = 5;
/// … within this time is asked last.
const FAILURE_WINDOW: Duration = Duration::from_secs(5 * 60);
/// Free resources are compared in pieces of a quarter CPU and 256 MiB, whichever runs out first, so that
/// differences of a few bytes decide nothing.
const CPU_PIECE: i64 = 250_000_000;
const MEMORY_PIECE: i64 = 256 << 20;

/// Where a node stands in the index. Stable while the node is known.
pub(super) type Position = u32;

/// Order of nodes among those without tasks of the service: fewer tasks, more free resources, id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) tasks: u32,
    pub(super) free: Reverse<u32>,
    pub(super) id: NodeId,
    pub(super) position: Position,
}

/// One node.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) position: Position,
    pub(super) id: NodeId,
    /// `None`: tasks name it, but it is not in the store.
    pub(super) node: Option<Arc<Node>>,
    /// Normalised; `None`: the node has not said.
    pub(super) platform: Option<Platform>,
    /// Tasks that hold something here.
    held: u32,
    /// Those of them that are not being stopped.
    active: u32,
    nano_cpus: i64,
    memory: i64,
    pub(super) generic: Used,
    /// How many tasks hold a port: more than one only after a fault.
    pub(super) ports: BTreeMap<(Protocol, u16), u32>,
}

impl Entry {
    /// CPUs in 1e-9 and bytes not reserved yet; may be negative when a node shrank.
    pub(super) fn free(&self) -> (i64, i64) {
        let about = self.node.as_ref().and_then(|node| node.description.as_ref());
        about.map_or((0, 0), |about| {
            let all = &about.resources;
            (all.nano_cpus.saturating_sub(self.nano_cpus), all.memory.saturating_sub(self.memory))
        })
    }

    pub(super) fn rank(&self) -> Rank {
        let (nano_cpus, memory) = self.free();
        let pieces = (nano_cpus / CPU_PIECE).min(memory / MEMORY_PIECE).max(0);
        let free = Reverse(u32::try_from(pieces).unwrap_or(u32::MAX));
        Rank { tasks: self.active, free, id: self.id, position: self.position }
    }

    /// Whether the node says that it has an image.
    pub(super) fn has_image(&self, image: u64) -> bool {
        let about = self.node.as_ref().and_then(|node| node.description.as_ref());
        about.is_some_and(|about| about.images.contains(&image))
    }

    fn is_ready(&self) -> bool {
        self.node.as_deref().is_some_and(is_ready)
    }

    /// Recent failures of a service's version here; zero below the number at which they count.
    pub(super) fn failures(&self, service: ServiceId, version: Version, now: Timestamp) -> u32 {
        let marks = self.node.iter().flat_map(|node| &node.failures);
        let recent = marks.filter(|mark| {
            mark.service == service
                && mark.spec_version == version
                && now.since(mark.at) < FAILURE_WINDOW
        });
        let count = u32::try_from(recent.count()).unwrap_or(u32::MAX);
        if count >= FAILURES { count } else { 0 }
    }
}

/// What one task holds.
#[derive(Debug, Clone)]
struct Account {
    position: Position,
    active: bool,
    service: Option<ServiceId>,
    spec: Arc<TaskSpec>,
    generic: Vec<GenericResource>,
    endpoint: Option<Arc<Endpoint>>,
}

/// What changed, for tasks that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Freed {
    /// These appeared, went, or are otherwise than before.
    pub(super) nodes: BTreeSet<NodeId>,
    /// Tasks left these nodes.
    pub(super) room: BTreeSet<NodeId>,
    /// Tasks of these services ended or are ending.
    pub(super) services: BTreeSet<ServiceId>,
}

/// All nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    entries: Vec<Option<Entry>>,
    vacant: Vec<Position>,
    positions: BTreeMap<NodeId, Position>,
    order: BTreeSet<Rank>,
    spreads: Spreads,
    services: BTreeMap<ServiceId, BTreeMap<Position, u32>>,
    accounts: BTreeMap<TaskId, Account>,
    freed: Freed,
}

impl Index {
    pub(super) fn entry(&self, position: Position) -> &Entry {
        self.entries[position as usize].as_ref().expect("positions name known nodes")
    }

    pub(super) fn entry_of(&self, node: NodeId) -> Option<&Entry> {
        self.positions.get(&node).map(|position| self.entry(*position))
    }

    /// All nodes of the store, ready or not.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten().filter(|entry| entry.node.is_some())
    }

    /// Ready nodes, best first.
    pub(super) fn ranks(&self) -> &BTreeSet<Rank> {
        &self.order
    }

    /// The nodes by the values of labels, if they are kept.
    pub(super) fn spread(&self, labels: &[Key]) -> Option<&Values> {
        self.spreads.get(labels)
    }

    /// Keeps the nodes by the values of labels from now on.
    pub(super) fn keep_spread(&mut self, labels: &[Key]) {
        if !self.spreads.ask(labels) {
            self.spreads.keep(labels.to_vec(), self.values(labels));
        }
    }

    fn values(&self, labels: &[Key]) -> Values {
        let mut values = Values::default();
        for entry in self.nodes() {
            values.set_node(labels, entry.position, entry.node.as_deref());
            if entry.is_ready() {
                values.rank(entry.rank());
            }
        }
        values
    }

    /// Whether the nodes by the values of labels are what they would be if they were read now.
    #[cfg(test)]
    pub(super) fn is_as_new(&self) -> bool {
        self.spreads.all(|labels, values| values.is_equal(&self.values(labels)))
    }

    /// Nodes with active tasks of a service, and how many.
    pub(super) fn nodes_of(&self, service: ServiceId) -> Option<&BTreeMap<Position, u32>> {
        self.services.get(&service)
    }

    /// Active tasks of a service on a node.
    pub(super) fn tasks_of(&self, service: ServiceId, position: Position) -> u32 {
        self.services.get(&service).and_then(|nodes| nodes.get(&position)).copied().unwrap_or(0)
    }

    /// What became free since the last call.
    pub(super) fn take_freed(&mut self) -> Freed {
        std::mem::take(&mut self.freed)
    }

    pub(super) fn set_node(&mut self, id: NodeId, node: Option<&Arc<Node>>) {
        let Some(position) = self.position(id, node.is_some()) else { return };
        self.unrank(position);
        let entry = self.entry_mut(position);
        let before = std::mem::replace(&mut entry.node, node.cloned());
        let about = node.and_then(|node| node.description.as_ref());
        entry.platform = about.map(|about| normalise(&about.platform));
        let is_new = before.as_deref().zip(node.map(|node| &**node)).is_none_or(|(before, now)| {
            before.spec != now.spec
                || before.status.state != now.status.state
                || before.status.address != now.status.address
                || before.role != now.role
                || before.description != now.description
        });
        if is_new {
            self.freed.nodes.insert(id);
            self.spreads.set_node(position, node.map(|node| &**node));
        }
        self.rank(position);
        self.drop_if_empty(position);
    }

    /// Counts a task where it is, or no longer. A task holds its node from `assigned` until it has ended.
    pub(super) fn set_task(&mut self, id: TaskId, task: Option<&Task>) {
        let held = task.and_then(|task| {
            let holds = (TaskState::Assigned..=TaskState::Running).contains(&task.status.state);
            task.node.filter(|_| holds).map(|node| (task, node))
        });
        if let (Some(account), Some((task, node))) = (self.accounts.get(&id), held)
            && account.active == is_active(task)
            && self.entry(account.position).id == node
        {
            return;
        }
        self.release(id);
        if let Some((task, node)) = held {
            self.hold(task, node);
        }
    }

    fn hold(&mut self, task: &Task, node: NodeId) {
        let position = self.position(node, true).expect("it is made where it is missing");
        let account = Account {
            position,
            active: is_active(task),
            service: task.service,
            spec: Arc::clone(&task.spec),
            generic: task.generic.clone(),
            endpoint: task.endpoint.clone(),
        };
        self.unrank(position);
        let entry = self.entry_mut(position);
        let (nano_cpus, memory) = reserved(&account.spec);
        entry.held += 1;
        entry.nano_cpus += nano_cpus;
        entry.memory += memory;
        entry.generic.add(&account.generic);
        for port in host_ports(account.endpoint.as_deref()) {
            *entry.ports.entry(port).or_default() += 1;
        }
        if account.active {
            entry.active += 1;
            if let Some(service) = account.service {
                *self.services.entry(service).or_default().entry(position).or_default() += 1;
            }
        }
        self.rank(position);
        self.accounts.insert(task.id, account);
    }

    fn release(&mut self, id: TaskId) {
        let Some(account) = self.accounts.remove(&id) else { return };
        let position = account.position;
        self.unrank(position);
        let entry = self.entry_mut(position);
        let (nano_cpus, memory) = reserved(&account.spec);
        entry.held -= 1;
        entry.nano_cpus -= nano_cpus;
        entry.memory -= memory;
        entry.generic.remove(&account.generic);
        let mut room = nano_cpus != 0 || memory != 0 || !account.generic.is_empty();
        for port in host_ports(account.endpoint.as_deref()) {
            room = true;
            if let Some(holders) = entry.ports.get_mut(&port) {
                *holders -= 1;
                if *holders == 0 {
                    entry.ports.remove(&port);
                }
            }
        }
        if account.active {
            entry.active -= 1;
        }
        let node = entry.id;
        if room {
            self.freed.room.insert(node);
        }
        if let Some(service) = account.service.filter(|_| account.active) {
            self.uncount(service, position);
            self.freed.services.insert(service);
        }
        self.rank(position);
        self.drop_if_empty(position);
    }

    fn uncount(&mut self, service: ServiceId, position: Position) {
        let Some(nodes) = self.services.get_mut(&service) else { return };
        if let Some(count) = nodes.get_mut(&position) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(&position);
            }
        }
        if nodes.is_empty() {
            self.services.remove(&service);
        }
    }

    fn position(&mut self, id: NodeId, make: bool) -> Option<Position> {
        if let Some(position) = self.positions.get(&id) {
            return Some(*position);
        }
        if !make {
            return None;
        }
        let position = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Position::try_from(self.entries.len() - 1).expect("fewer than 2³² nodes")
        });
        self.positions.insert(id, position);
        self.entries[position as usize] = Some(Entry {
            position,
            id,
            node: None,
            platform: None,
            held: 0,
            active: 0,
            nano_cpus: 0,
            memory: 0,
            generic: Used::default(),
            ports: BTreeMap::new(),
        });
        Some(position)
    }

    fn drop_if_empty(&mut self, position: Position) {
        let entry = self.entry(position);
        if entry.node.is_none() && entry.held == 0 {
            let id = entry.id;
            self.entries[position as usize] = None;
            self.positions.remove(&id);
            self.vacant.push(position);
        }
    }

    fn entry_mut(&mut self, position: Position) -> &mut Entry {
        self.entries[position as usize].as_mut().expect("positions name known nodes")
    }

    fn rank(&mut self, position: Position) {
        let entry = self.entry(position);
        if entry.is_ready() {
            let rank = entry.rank();
            self.order.insert(rank);
            self.spreads.rank(rank);
        }
    }

    fn unrank(&mut self, position: Position) {
        let entry = self.entry(position);
        if entry.is_ready() {
            let rank = entry.rank();
            self.order.remove(&rank);
            self.spreads.unrank(rank);
        }
    }
}

/// Whether a task is not being stopped: tasks of jobs are to complete.
fn is_active(task: &Task) -> bool {
    task.desired < TaskState::Shutdown
}
