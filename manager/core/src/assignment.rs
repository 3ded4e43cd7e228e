//! What one node must hold: its tasks, and the secrets, configs and networks that exactly those need.
//!
//! Pure. [`Tracker`] remembers what a session was told. Watch events only name what was touched; the change is made
//! from the state of the store alone, so that events may be merged, doubled or late. Cost is that of what was touched.
//!
//! A task belongs to the set from assigned until it leaves the store, as in swarmkit, so that the containers of ended
//! tasks stay for `logs`; what it references only until it has ended. Orphaned tasks do not belong to it: their
//! node must stop them when it comes back.
//!
//! Source: swarmkit `manager/dispatcher/assignments.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shoal_model::cluster::node::GenericResource;
use shoal_model::cluster::service::{Endpoint, OnDisconnect};
use shoal_model::cluster::task::{NetworkAttachment, RestartHistory, Slot, TaskStatus};
use shoal_model::cluster::{
    Annotations, AssignedTask, ClusterNetwork, ClusterNetworkId, Config, ConfigId, Meta, NodeId,
    Secret, SecretId, ServiceId, Task, TaskId, TaskSpec, TaskState, Version,
};

use crate::store::{Diff, State};

/// What is read of the store.
pub trait Source {
    /// A task.
    fn task(&self, id: TaskId) -> Option<Arc<Task>>;
    /// The tasks of a node.
    fn tasks_on_node(&self, node: NodeId) -> Vec<Arc<Task>>;
    /// A secret.
    fn secret(&self, id: SecretId) -> Option<Arc<Secret>>;
    /// A config.
    fn config(&self, id: ConfigId) -> Option<Arc<Config>>;
    /// A network.
    fn network(&self, id: ClusterNetworkId) -> Option<Arc<ClusterNetwork>>;
    /// The network of the routing mesh, which every node needs.
    fn ingress(&self) -> Option<ClusterNetworkId>;
    /// What a service wants for its tasks on nodes that are cut off.
    fn on_disconnect(&self, service: ServiceId) -> OnDisconnect;
}

impl Source for State {
    fn task(&self, id: TaskId) -> Option<Arc<Task>> {
        self.task(id).cloned()
    }

    fn tasks_on_node(&self, node: NodeId) -> Vec<Arc<Task>> {
        self.tasks_on_node(node).cloned().collect()
    }

    fn secret(&self, id: SecretId) -> Option<Arc<Secret>> {
        self.secret(id).cloned()
    }

    fn config(&self, id: ConfigId) -> Option<Arc<Config>> {
        self.config(id).cloned()
    }

    fn network(&self, id: ClusterNetworkId) -> Option<Arc<ClusterNetwork>> {
        self.network(id).cloned()
    }

    fn ingress(&self) -> Option<ClusterNetworkId> {
        crate::control::networks::ingress(self).map(|network| network.id)
    }

    fn on_disconnect(&self, service: ServiceId) -> OnDisconnect {
        let service = self.service(service);
        service.and_then(|service| service.spec.extensions.on_disconnect).unwrap_or_default()
    }
}

/// An object that a commit wrote or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Touched {
    Secret(SecretId),
    Config(ConfigId),
    Network(ClusterNetworkId),
    Service(ServiceId),
    Task(TaskId),
}

/// A part of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Key {
    Secret(SecretId),
    Config(ConfigId),
    Network(ClusterNetworkId),
    Task(TaskId),
}

impl From<Key> for Touched {
    fn from(key: Key) -> Self {
        match key {
            Key::Secret(id) => Self::Secret(id),
            Key::Config(id) => Self::Config(id),
            Key::Network(id) => Self::Network(id),
            Key::Task(id) => Self::Task(id),
        }
    }
}

/// One change of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// New, or different.
    Secret(Arc<Secret>),
    /// New, or different.
    Config(Arc<Config>),
    /// New, or different.
    Network(Arc<ClusterNetwork>),
    /// New, or different in what concerns the worker.
    Task {
        /// Without status, meta, history and runs.
        assigned: AssignedTask,
        /// As the store knows it.
        status: TaskStatus,
    },
    /// No longer part of the set.
    Remove(Key),
}

/// What one session was told.
#[derive(Debug, Clone)]
pub struct Tracker {
    node: NodeId,
    tasks: BTreeMap<TaskId, Box<Held>>,
    references: BTreeMap<Key, Reference>,
    /// The network of the routing mesh.
    ingress: Option<ClusterNetworkId>,
}

#[derive(Debug, Clone)]
struct Held {
    told: Told,
    /// It needs nothing any more.
    ended: bool,
}

/// What was told of a task: as much as is needed to see that it differs, which is what [`is_same_task`] compares. The task itself
/// would be kept in the form that it had then, beside the one in the store.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    on_disconnect: OnDisconnect,
    desired: TaskState,
    spec: Arc<TaskSpec>,
    annotations: Arc<Annotations>,
    endpoint: Option<Arc<Endpoint>>,
    networks: Vec<NetworkAttachment>,
    generic: Vec<GenericResource>,
    spec_version: Version,
    service: Option<ServiceId>,
    slot: Slot,
    job_iteration: Option<Version>,
}

#[derive(Debug, Clone, Default)]
struct Reference {
    /// How many tasks need it.
    count: usize,
    /// What was sent; `None`: the store did not have it.
    sent: Option<Dependency>,
}

#[derive(Debug, Clone, PartialEq)]
enum Dependency {
    Secret(Arc<Secret>),
    Config(Arc<Config>),
    Network(Arc<ClusterNetwork>),
}

impl Tracker {
    /// The complete set of a node: what to send, and the memory of it.
    pub fn complete(source: &impl Source, node: NodeId) -> (Self, Vec<Change>) {
        let (tasks, references) = Default::default();
        let mut tracker = Self { node, tasks, references, ingress: None };
        let tasks = source.tasks_on_node(node);
        let ingress = source.ingress().map(Touched::Network);
        let touched = tasks.iter().map(|task| Touched::Task(task.id)).chain(ingress).collect();
        let changes = tracker.advance(source, &touched);
        (tracker, changes)
    }

    /// The changes that lead from what was told to what the store has now, as far as `touched` goes. What tasks need
    /// comes before them, and goes after them.
    pub fn advance(&mut self, source: &impl Source, touched: &BTreeSet<Touched>) -> Vec<Change> {
        let mut tasks = BTreeSet::new();
        let mut dependencies = BTreeSet::new();
        for &touched in touched {
            match touched {
                Touched::Task(id) => drop(tasks.insert(id)),
                Touched::Service(id) => tasks.extend(self.tasks_of(id)),
                Touched::Secret(id) => drop(dependencies.insert(Key::Secret(id))),
                Touched::Config(id) => drop(dependencies.insert(Key::Config(id))),
                Touched::Network(id) => {
                    dependencies.insert(Key::Network(id));
                    self.advance_ingress(source, id, &mut dependencies);
                }
            }
        }
        let mut task_changes = Vec::new();
        for id in tasks {
            self.advance_task(source, id, &mut dependencies, &mut task_changes);
        }
        let mut changes = Vec::new();
        let mut removed = Vec::new();
        for key in dependencies {
            match self.advance_dependency(source, key) {
                Some(change @ Change::Remove(_)) => removed.push(change),
                other => changes.extend(other),
            }
        }
        changes.append(&mut task_changes);
        changes.append(&mut removed);
        changes
    }

    /// Everything that may have changed: for a follower that missed changes.
    pub fn everything(&self, source: &impl Source) -> BTreeSet<Touched> {
        let there = source.tasks_on_node(self.node);
        let tasks = self.tasks.keys().copied().chain(there.iter().map(|task| task.id));
        let references = self.references.keys().copied().map(Touched::from);
        let ingress = source.ingress().map(Touched::Network);
        tasks.map(Touched::Task).chain(references).chain(ingress).collect()
    }

    /// The networks that the node needs: those of its tasks, and that of the routing mesh.
    pub fn networks(&self) -> impl Iterator<Item = ClusterNetworkId> {
        self.references.iter().filter_map(|(key, reference)| match *key {
            Key::Network(id) if reference.sent.is_some() => Some(id),
            _ => None,
        })
    }

    /// The secrets, configs and networks that the node's tasks name, in the store or not.
    pub fn references(&self) -> impl Iterator<Item = Key> {
        self.references.keys().copied()
    }

    /// Whether a change of this object may concern the node.
    pub fn holds(&self, touched: Touched) -> bool {
        match touched {
            Touched::Task(id) => self.tasks.contains_key(&id),
            Touched::Service(id) => self.tasks_of(id).next().is_some(),
            Touched::Secret(id) => self.references.contains_key(&Key::Secret(id)),
            Touched::Config(id) => self.references.contains_key(&Key::Config(id)),
            Touched::Network(id) => self.references.contains_key(&Key::Network(id)),
        }
    }

    fn tasks_of(&self, service: ServiceId) -> impl Iterator<Item = TaskId> {
        self.tasks
            .iter()
            .filter_map(move |(id, held)| (held.told.service == Some(service)).then_some(*id))
    }

    fn advance_task(
        &mut self,
        source: &impl Source,
        id: TaskId,
        dependencies: &mut BTreeSet<Key>,
        changes: &mut Vec<Change>,
    ) {
        let task = source.task(id).filter(|task| belongs(self.node, task));
        let now = task.as_deref().map(|task| {
            let policy = task.service.map(|service| source.on_disconnect(service));
            Held::new(task, policy.unwrap_or_default())
        });
        let before = self.tasks.remove(&id);
        for key in before.iter().flat_map(|held| held.needs()) {
            dependencies.insert(key);
            let reference = self.references.entry(key).or_default();
            reference.count = reference.count.saturating_sub(1);
        }
        for key in now.iter().flat_map(Held::needs) {
            dependencies.insert(key);
            self.references.entry(key).or_default().count += 1;
        }
        match (&before, task.zip(now.as_ref())) {
            (Some(before), Some((_, now))) if before.told == now.told => {}
            (_, Some((task, now))) => changes.push(to_change(&task, now.told.on_disconnect)),
            (Some(_), None) => changes.push(Change::Remove(Key::Task(id))),
            (None, None) => {}
        }
        if let Some(now) = now {
            self.tasks.insert(id, Box::new(now));
        }
    }

    /// Whatever its tasks are, a node needs the network of the routing mesh.
    fn advance_ingress(
        &mut self,
        source: &impl Source,
        touched: ClusterNetworkId,
        dependencies: &mut BTreeSet<Key>,
    ) {
        let is_ingress = source.network(touched).is_some_and(|network| network.spec.ingress);
        let now = match self.ingress {
            Some(known) if known == touched => is_ingress.then_some(touched),
            known if !is_ingress => known,
            _ => Some(touched),
        };
        if now == self.ingress {
            return;
        }
        if let Some(id) = std::mem::replace(&mut self.ingress, now) {
            dependencies.insert(Key::Network(id));
            let reference = self.references.entry(Key::Network(id)).or_default();
            reference.count = reference.count.saturating_sub(1);
        }
        if let Some(id) = now {
            dependencies.insert(Key::Network(id));
            self.references.entry(Key::Network(id)).or_default().count += 1;
        }
    }

    fn advance_dependency(&mut self, source: &impl Source, key: Key) -> Option<Change> {
        let reference = self.references.get_mut(&key)?;
        let now = if reference.count == 0 { None } else { find(source, key) };
        let changed = reference.sent != now;
        reference.sent.clone_from(&now);
        if reference.count == 0 {
            self.references.remove(&key);
        }
        changed.then_some(match now {
            Some(Dependency::Secret(secret)) => Change::Secret(secret),
            Some(Dependency::Config(config)) => Change::Config(config),
            Some(Dependency::Network(network)) => Change::Network(network),
            None => Change::Remove(key),
        })
    }
}

impl Held {
    fn new(task: &Task, on_disconnect: OnDisconnect) -> Self {
        let told = Told {
            on_disconnect,
            desired: task.desired,
            spec: Arc::clone(&task.spec),
            annotations: Arc::clone(&task.annotations),
            endpoint: task.endpoint.clone(),
            networks: task.networks.clone(),
            generic: task.generic.clone(),
            spec_version: task.spec_version,
            service: task.service,
            slot: task.slot,
            job_iteration: task.job_iteration,
        };
        Self { told, ended: task.status.state.is_terminal() }
    }

    /// What the task needs as long as it has not ended, each once.
    fn needs(&self) -> BTreeSet<Key> {
        if self.ended {
            return BTreeSet::new();
        }
        let Told { spec, networks, .. } = &self.told;
        let secrets = spec.secrets.iter().map(|reference| Key::Secret(reference.id));
        let configs = spec.configs.iter().map(|reference| Key::Config(reference.id));
        let networks = networks.iter().map(|attachment| Key::Network(attachment.network));
        secrets.chain(configs).chain(networks).collect()
    }
}

fn to_change(task: &Task, on_disconnect: OnDisconnect) -> Change {
    let status = task.status.clone();
    let mut task = Task::clone(task);
    task.status = TaskStatus::default();
    task.meta = Meta::default();
    task.history = RestartHistory::default();
    task.runs = 0;
    Change::Task { assigned: AssignedTask { task: Arc::new(task), on_disconnect }, status }
}

/// Whether a change of a task can change the set of its node. Most are news from the node itself, which cannot.
pub fn concerns_node(diff: &Diff<Task>) -> bool {
    let (Some(old), Some(new)) = (&diff.old, &diff.new) else { return true };
    let stage = |task: &Task| (is_set(task), task.status.state.is_terminal());
    stage(old) != stage(new) || !is_same_task(old, new)
}

fn belongs(node: NodeId, task: &Task) -> bool {
    task.node == Some(node) && is_set(task)
}

/// Whether a task belongs to the set of its node.
fn is_set(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned && task.status.state != TaskState::Orphaned
}

fn find(source: &impl Source, key: Key) -> Option<Dependency> {
    match key {
        Key::Secret(id) => source.secret(id).map(Dependency::Secret),
        Key::Config(id) => source.config(id).map(Dependency::Config),
        Key::Network(id) => source.network(id).map(Dependency::Network),
        Key::Task(_) => None,
    }
}

/// Whether two states of a task are the same for its worker: what is compared is what [`to_change`] keeps.
fn is_same_task(a: &Task, b: &Task) -> bool {
    a.desired == b.desired
        && (Arc::ptr_eq(&a.spec, &b.spec) || a.spec == b.spec)
        && (Arc::ptr_eq(&a.annotations, &b.annotations) || a.annotations == b.annotations)
        && a.endpoint == b.endpoint
        && a.networks == b.networks
        && a.generic == b.generic
        && a.spec_version == b.spec_version
        && (a.service, a.slot, a.node, a.job_iteration)
            == (b.service, b.slot, b.node, b.job_iteration)
}

#[cfg(test)]
mod tests;
