//! The objects and their indexes; reading, and applying transactions.

use std::fmt;
use std::sync::Arc;

use shoal_model::Timestamp;
use shoal_model::cluster::task::{Slot, TaskStatus};
use shoal_model::cluster::{
    Cluster, ClusterNetwork, ClusterNetworkId, Config, ConfigId, Meta, Node, NodeId, Secret,
    SecretId, Service, ServiceId, Task, TaskId, Version,
};

use super::index::{Indexes, Queue, folded};
use super::table::Table;
use super::tree::Keys;
use super::watch::Diff;
use super::{Change, Event, Object, ObjectRef, Rejected, Transaction, rules};

/// All objects of the cluster at one raft index. A clone is cheap and never changes.
#[derive(Clone, Default)]
pub struct State {
    index: u64,
    pub(super) tables: Tables,
    pub(super) indexes: Indexes,
}

#[derive(Clone, Default)]
pub(super) struct Tables {
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) nodes: Table<Node>,
    pub(super) services: Table<Service>,
    pub(super) tasks: Table<Task>,
    pub(super) networks: Table<ClusterNetwork>,
    pub(super) secrets: Table<Secret>,
    pub(super) configs: Table<Config>,
}

impl fmt::Debug for State {
    /// Numbers only: objects hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("index", &self.index)
            .field("nodes", &self.tables.nodes.len())
            .field("services", &self.tables.services.len())
            .field("tasks", &self.tables.tasks.len())
            .field("networks", &self.tables.networks.len())
            .field("secrets", &self.tables.secrets.len())
            .field("configs", &self.tables.configs.len())
            .finish()
    }
}

/// What an applied transaction did.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// Version of all that was put.
    pub version: Version,
    /// What changed, in order.
    pub events: Vec<Event>,
    /// Tasks whose reported status came too late and was dropped.
    pub late: Vec<TaskId>,
}

/// What the store writes into `Meta`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) version: Version,
    pub(super) at: Timestamp,
}

const FIRST_TASK: TaskId = TaskId::from_bytes([0; 16]);
const LAST_TASK: TaskId = TaskId::from_bytes([0xff; 16]);
const FIRST_SERVICE: ServiceId = ServiceId::from_bytes([0; 16]);
const LAST_SERVICE: ServiceId = ServiceId::from_bytes([0xff; 16]);

/// Reading. Iterators are in the order of ids unless said otherwise.
impl State {
    /// Raft index of the last transaction that was seen, applied or rejected.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The cluster; `None` before it is initialised.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.tables.cluster.as_ref()
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.tables.nodes.get(id)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.tables.nodes.iter()
    }

    /// The nodes with this host name, regardless of case.
    pub fn nodes_by_name(&self, name: &str) -> impl Iterator<Item = &Arc<Node>> {
        let name = folded(name);
        let (first, last) = (NodeId::from_bytes([0; 16]), NodeId::from_bytes([0xff; 16]));
        let range = (Arc::clone(&name), first)..=(name, last);
        self.indexes.hostnames.range(range).filter_map(|(_, id)| self.tables.nodes.get(*id))
    }

    /// The nodes that are managers, are to become managers, or have not ceased to be managers.
    pub fn managers(&self) -> impl Iterator<Item = &Arc<Node>> {
        let ids = self.indexes.managers.range(..);
        ids.filter_map(|id| self.tables.nodes.get(*id))
    }

    /// The nodes whose request for a certificate waits for a signature.
    pub fn nodes_that_ask(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.indexes.asking.range(..).filter_map(|id| self.tables.nodes.get(*id))
    }

    /// A service; also one that is being removed.
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.tables.services.get(id)
    }

    /// All services; also those that are being removed.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.tables.services.iter()
    }

    /// The services with a task on each node that suits them; also those that are being removed.
    pub fn global_services(&self) -> impl Iterator<Item = &Arc<Service>> {
        let ids = self.indexes.globals.range(..);
        ids.filter_map(|id| self.tables.services.get(*id))
    }

    /// The service of this name, regardless of case, that is not being removed.
    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.tables.services.get(*self.indexes.services.get(&folded(name))?)
    }

    /// A task.
    pub fn task(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.tables.tasks.get(id)
    }

    /// All tasks.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tables.tasks.iter()
    }

    /// The tasks with this id or a later one.
    pub fn tasks_from(&self, first: TaskId) -> impl Iterator<Item = &Arc<Task>> {
        self.tables.tasks.from(first)
    }

    /// The tasks of a service, in the order of slot, then id.
    pub fn tasks_of_service(&self, service: ServiceId) -> impl Iterator<Item = &Arc<Task>> {
        let range = (service, Slot(0), FIRST_TASK)..=(service, Slot(u64::MAX), LAST_TASK);
        self.indexes.slots.range(range).filter_map(|(_, _, id)| self.tables.tasks.get(*id))
    }

    /// The tasks of one slot of a service.
    pub fn tasks_in_slot(
        &self,
        service: ServiceId,
        slot: Slot,
    ) -> impl Iterator<Item = &Arc<Task>> {
        let range = (service, slot, FIRST_TASK)..=(service, slot, LAST_TASK);
        self.indexes.slots.range(range).filter_map(|(_, _, id)| self.tables.tasks.get(*id))
    }

    /// The tasks on a node.
    pub fn tasks_on_node(&self, node: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        let range = (node, FIRST_TASK)..=(node, LAST_TASK);
        self.indexes.placed.range(range).filter_map(|(_, id)| self.tables.tasks.get(*id))
    }

    /// The tasks that wait for one component.
    pub fn tasks_in(&self, queue: Queue) -> impl Iterator<Item = &Arc<Task>> {
        let range = (queue, FIRST_TASK)..=(queue, LAST_TASK);
        self.indexes.queues.range(range).filter_map(|(_, id)| self.tables.tasks.get(*id))
    }

    /// The tasks with an attachment to a network.
    pub fn tasks_on_network(&self, network: ClusterNetworkId) -> impl Iterator<Item = &Arc<Task>> {
        let range = (network, FIRST_TASK)..=(network, LAST_TASK);
        self.indexes.attached.range(range).filter_map(|(_, id)| self.tables.tasks.get(*id))
    }

    /// The services that wish to join a network and are not being removed.
    pub fn services_on_network(&self, id: ClusterNetworkId) -> impl Iterator<Item = &Arc<Service>> {
        self.users(&self.indexes.network_users, id)
    }

    /// The services that use a secret and are not being removed.
    pub fn services_with_secret(&self, id: SecretId) -> impl Iterator<Item = &Arc<Service>> {
        self.users(&self.indexes.secret_users, id)
    }

    /// The services that use a config and are not being removed.
    pub fn services_with_config(&self, id: ConfigId) -> impl Iterator<Item = &Arc<Service>> {
        self.users(&self.indexes.config_users, id)
    }

    fn users<'a, K: Ord + Copy + 'a>(
        &'a self,
        keys: &'a Keys<(K, ServiceId)>,
        of: K,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        let range = (of, FIRST_SERVICE)..=(of, LAST_SERVICE);
        keys.range(range).filter_map(|(_, id)| self.tables.services.get(*id))
    }

    /// A network.
    pub fn network(&self, id: ClusterNetworkId) -> Option<&Arc<ClusterNetwork>> {
        self.tables.networks.get(id)
    }

    /// All networks.
    pub fn networks(&self) -> impl Iterator<Item = &Arc<ClusterNetwork>> {
        self.tables.networks.iter()
    }

    /// The network of this name, regardless of case.
    pub fn network_by_name(&self, name: &str) -> Option<&Arc<ClusterNetwork>> {
        self.tables.networks.get(*self.indexes.networks.get(&folded(name))?)
    }

    /// A secret.
    pub fn secret(&self, id: SecretId) -> Option<&Arc<Secret>> {
        self.tables.secrets.get(id)
    }

    /// All secrets.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.tables.secrets.iter()
    }

    /// The secret of this name, regardless of case.
    pub fn secret_by_name(&self, name: &str) -> Option<&Arc<Secret>> {
        self.tables.secrets.get(*self.indexes.secrets.get(&folded(name))?)
    }

    /// A config.
    pub fn config(&self, id: ConfigId) -> Option<&Arc<Config>> {
        self.tables.configs.get(id)
    }

    /// All configs.
    pub fn configs(&self) -> impl Iterator<Item = &Arc<Config>> {
        self.tables.configs.iter()
    }

    /// The config of this name, regardless of case.
    pub fn config_by_name(&self, name: &str) -> Option<&Arc<Config>> {
        self.tables.configs.get(*self.indexes.configs.get(&folded(name))?)
    }

    /// Version of an object; zero when there is none.
    pub fn version_of(&self, object: ObjectRef) -> Version {
        let meta = match object {
            ObjectRef::Cluster => self.tables.cluster.as_ref().map(|object| object.meta),
            ObjectRef::Node(id) => self.tables.nodes.get(id).map(|object| object.meta),
            ObjectRef::Service(id) => self.tables.services.get(id).map(|object| object.meta),
            ObjectRef::Task(id) => self.tables.tasks.get(id).map(|object| object.meta),
            ObjectRef::Network(id) => self.tables.networks.get(id).map(|object| object.meta),
            ObjectRef::Secret(id) => self.tables.secrets.get(id).map(|object| object.meta),
            ObjectRef::Config(id) => self.tables.configs.get(id).map(|object| object.meta),
        };
        meta.map(|meta| meta.version).unwrap_or_default()
    }
}

/// Writing.
impl State {
    /// Applies the transaction at raft index `index`, whole or not at all.
    ///
    /// # Errors
    /// When a rule is broken; then only [`State::index`] has changed.
    pub fn apply(&mut self, index: u64, transaction: &Transaction) -> Result<Applied, Rejected> {
        self.apply_owned(index, transaction.clone())
    }

    /// As [`State::apply`], without copying objects that nobody else holds.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn apply_owned(&mut self, index: u64, txn: Transaction) -> Result<Applied, Rejected> {
        self.index = index;
        for (object, expected) in txn.expect {
            let actual = self.version_of(object);
            if actual != expected {
                return Err(Rejected::OutOfSequence { object, expected, actual });
            }
        }
        let stamp = Stamp { version: Version(index), at: txn.at };
        let mut applied = Applied { version: stamp.version, ..Applied::default() };
        for change in txn.changes {
            match self.change(change, stamp) {
                Ok(Outcome::Changed(event)) => applied.events.push(event),
                Ok(Outcome::Late(task)) => applied.late.push(task),
                Err(rejected) => {
                    for event in applied.events.iter().rev() {
                        self.install(&event.undone());
                    }
                    return Err(rejected);
                }
            }
        }
        Ok(applied)
    }

    /// Checks and makes one change.
    pub(super) fn change(&mut self, change: Change, stamp: Stamp) -> Result<Outcome, Rejected> {
        let object = change.object();
        let event = match change {
            Change::PutCluster(new) => {
                Event::Cluster(put(self.tables.cluster.as_ref(), new, stamp))
            }
            Change::PutNode(new) => Event::Node(put(self.tables.nodes.get(new.id), new, stamp)),
            Change::RemoveNode(id) => Event::Node(removed(self.tables.nodes.get(id), object)?),
            Change::PutService(new) => {
                Event::Service(put(self.tables.services.get(new.id), new, stamp))
            }
            Change::RemoveService(id) => {
                Event::Service(removed(self.tables.services.get(id), object)?)
            }
            Change::PutTask(new) => {
                let new = self.shared(new);
                Event::Task(put(self.tables.tasks.get(new.id), new, stamp))
            }
            Change::EditTask(edited) => {
                let old = self.tables.tasks.get(edited.id).ok_or(Rejected::Missing { object })?;
                let new = self.shared(following(old, edited));
                Event::Task(put(Some(old), new, stamp))
            }
            Change::RemoveTask(id) => Event::Task(removed(self.tables.tasks.get(id), object)?),
            Change::TaskStatus { task, status } => {
                let old = self.tables.tasks.get(task).filter(|task| !rules::is_late(task, &status));
                let Some(old) = old else { return Ok(Outcome::Late(task)) };
                let new = Arc::new(reported(old, status.following(&old.status)));
                Event::Task(put(Some(old), new, stamp))
            }
            Change::TaskDesired { task, desired } => {
                let old = self.tables.tasks.get(task).ok_or(Rejected::Missing { object })?;
                let new = Arc::new(Task { desired, ..Task::clone(old) });
                Event::Task(put(Some(old), new, stamp))
            }
            Change::PutNetwork(new) => {
                Event::Network(put(self.tables.networks.get(new.id), new, stamp))
            }
            Change::RemoveNetwork(id) => {
                Event::Network(removed(self.tables.networks.get(id), object)?)
            }
            Change::PutSecret(new) => {
                Event::Secret(put(self.tables.secrets.get(new.id), new, stamp))
            }
            Change::RemoveSecret(id) => {
                Event::Secret(removed(self.tables.secrets.get(id), object)?)
            }
            Change::PutConfig(new) => {
                Event::Config(put(self.tables.configs.get(new.id), new, stamp))
            }
            Change::RemoveConfig(id) => {
                Event::Config(removed(self.tables.configs.get(id), object)?)
            }
        };
        rules::check(self, &event)?;
        self.install(&event);
        Ok(Outcome::Changed(event))
    }

    /// Lets a task share what equals its former self's, its service's or its neighbour's.
    ///
    /// Without it each frame that is decoded would bring another copy of the spec.
    fn shared(&self, mut task: Arc<Task>) -> Arc<Task> {
        let Some(service) = task.service else { return task };
        let service_spec = self.tables.services.get(service).map(|service| &service.spec.task);
        let kin = self.tables.tasks.get(task.id).or_else(|| self.tasks_of_service(service).next());
        let spec = kin.map(|kin| &kin.spec).into_iter().chain(service_spec);
        let spec = twin(&task.spec, spec);
        let annotations = twin(&task.annotations, kin.map(|kin| &kin.annotations).into_iter());
        let endpoint = task.endpoint.as_ref().and_then(|endpoint| {
            twin(endpoint, kin.and_then(|kin| kin.endpoint.as_ref()).into_iter())
        });
        if spec.is_some() || annotations.is_some() || endpoint.is_some() {
            let task = Arc::make_mut(&mut task);
            task.spec = spec.unwrap_or_else(|| Arc::clone(&task.spec));
            task.annotations = annotations.unwrap_or_else(|| Arc::clone(&task.annotations));
            task.endpoint = endpoint.or_else(|| task.endpoint.take());
        }
        task
    }

    /// Notes that the entry at `index` changed nothing: it was one of consensus itself.
    pub fn skip(&mut self, index: u64) {
        self.index = index;
    }

    /// Puts the event's new object in the place of the old one, in table and indexes.
    pub(super) fn install(&mut self, event: &Event) {
        match event {
            Event::Cluster(Diff { new, .. }) => self.tables.cluster.clone_from(new),
            Event::Node(Diff { old, new }) => {
                self.indexes.node(old.as_deref(), new.as_deref());
                self.tables.nodes.replace(old.as_ref(), new.as_ref());
            }
            Event::Service(Diff { old, new }) => {
                self.indexes.service(old.as_deref(), new.as_deref());
                self.tables.services.replace(old.as_ref(), new.as_ref());
            }
            Event::Task(Diff { old, new }) => {
                self.indexes.task(old.as_deref(), new.as_deref());
                self.tables.tasks.replace(old.as_ref(), new.as_ref());
            }
            Event::Network(Diff { old, new }) => {
                self.indexes.network(old.as_deref(), new.as_deref());
                self.tables.networks.replace(old.as_ref(), new.as_ref());
            }
            Event::Secret(Diff { old, new }) => {
                self.indexes.secret(old.as_deref(), new.as_deref());
                self.tables.secrets.replace(old.as_ref(), new.as_ref());
            }
            Event::Config(Diff { old, new }) => {
                self.indexes.config(old.as_deref(), new.as_deref());
                self.tables.configs.replace(old.as_ref(), new.as_ref());
            }
        }
    }
}

/// What became of one change.
pub(super) enum Outcome {
    Changed(Event),
    Late(TaskId),
}

/// An edited task with the spec and the annotations that it has.
fn following(old: &Task, mut edited: Arc<Task>) -> Arc<Task> {
    let is_same =
        Arc::ptr_eq(&old.spec, &edited.spec) && Arc::ptr_eq(&old.annotations, &edited.annotations);
    if !is_same {
        let edited = Arc::make_mut(&mut edited);
        edited.spec = Arc::clone(&old.spec);
        edited.annotations = Arc::clone(&old.annotations);
    }
    edited
}

/// A task with another status; the old one, which has texts, is not copied.
fn reported(task: &Task, status: TaskStatus) -> Task {
    Task {
        id: task.id,
        meta: task.meta,
        spec: Arc::clone(&task.spec),
        spec_version: task.spec_version,
        service: task.service,
        slot: task.slot,
        node: task.node,
        annotations: Arc::clone(&task.annotations),
        desired: task.desired,
        status,
        networks: task.networks.clone(),
        endpoint: task.endpoint.clone(),
        generic: task.generic.clone(),
        job_iteration: task.job_iteration,
        history: task.history.clone(),
        runs: task.runs,
    }
}

/// The one of `others` that equals `value` and is not it.
fn twin<'a, T: Eq + 'a>(
    value: &Arc<T>,
    mut others: impl Iterator<Item = &'a Arc<T>>,
) -> Option<Arc<T>> {
    others.find(|other| *other == value).filter(|other| !Arc::ptr_eq(other, value)).cloned()
}

fn put<T: Object>(old: Option<&Arc<T>>, mut new: Arc<T>, stamp: Stamp) -> Diff<T> {
    let created = old.map_or(stamp.at, |old| old.meta().created);
    *Arc::make_mut(&mut new).meta_mut() =
        Meta { version: stamp.version, created, updated: stamp.at };
    Diff { old: old.cloned(), new: Some(new) }
}

fn removed<T: Object>(old: Option<&Arc<T>>, object: ObjectRef) -> Result<Diff<T>, Rejected> {
    let old = old.ok_or(Rejected::Missing { object })?;
    Ok(Diff { old: Some(Arc::clone(old)), new: None })
}
