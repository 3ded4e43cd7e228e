//! Transactions in the making.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use shoal_model::Timestamp;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{
    Cluster, ClusterNetwork, ClusterNetworkId, Config, ConfigId, Node, NodeId, Secret, SecretId,
    Service, ServiceId, Task, TaskId, TaskState, Version,
};

use super::state::Stamp;
use super::{Change, ObjectRef, Rejected, State, Transaction};

/// A view with pending changes, which it shows: the read API of [`State`] is here through `Deref`.
///
/// What is put has the version of the view's object until the transaction is applied; new objects have
/// version zero. Changes are checked at once by the rules that `apply` enforces later.
#[derive(Debug, Clone)]
pub struct Txn {
    base: State,
    view: State,
    at: Timestamp,
    expect: BTreeMap<ObjectRef, Version>,
    changes: Vec<Change>,
}

impl Deref for Txn {
    type Target = State;

    fn deref(&self) -> &State {
        &self.view
    }
}

impl Txn {
    /// A transaction on top of `base`, at the proposer's time.
    pub fn new(base: &State, at: Timestamp) -> Self {
        Self {
            base: base.clone(),
            view: base.clone(),
            at,
            expect: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// The proposer's time.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The state before the changes.
    pub fn base(&self) -> &State {
        &self.base
    }

    /// The changes so far.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Makes the transaction fail when `object` changes meanwhile, although it is only read.
    pub fn expect(&mut self, object: ObjectRef) {
        self.expect.entry(object).or_insert_with(|| self.base.version_of(object));
    }

    /// Makes a change, expecting the version of its object that the base has. Reports of a task's status
    /// expect nothing: they are dropped when they come late.
    ///
    /// # Errors
    /// When a rule of the store is broken; then the transaction is as before.
    pub fn change(&mut self, change: Change) -> Result<(), Rejected> {
        let change = self.shortened(change);
        let object = change.object();
        let stamp = Stamp { version: self.view.version_of(object), at: self.at };
        self.view.change(change.clone(), stamp)?;
        if !matches!(change, Change::TaskStatus { .. }) {
            self.expect(object);
        }
        self.changes.push(change);
        Ok(())
    }

    /// A task whose spec and annotations stay need not carry them.
    fn shortened(&self, change: Change) -> Change {
        let Change::PutTask(new) = change else { return change };
        match self.view.task(new.id) {
            Some(old)
                if Arc::ptr_eq(&old.spec, &new.spec)
                    && Arc::ptr_eq(&old.annotations, &new.annotations) =>
            {
                Change::EditTask(new)
            }
            _ => Change::PutTask(new),
        }
    }

    /// Makes several changes.
    ///
    /// # Errors
    /// As [`Txn::change`], at the first that breaks a rule; those before it are kept.
    pub fn change_all(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<(), Rejected> {
        changes.into_iter().try_for_each(|change| self.change(change))
    }

    /// The finished transaction.
    pub fn finish(self) -> Transaction {
        let expect = self.expect.into_iter().collect();
        Transaction { at: self.at, expect, changes: self.changes }
    }
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $verb:ident($name:ident: $argument:ty) => $change:expr;)*) => {
        /// Each as [`Txn::change`].
        #[allow(clippy::missing_errors_doc, reason = "as `change`")]
        impl Txn {
            $($(#[$doc])* pub fn $verb(&mut self, $name: $argument) -> Result<(), Rejected> {
                self.change($change)
            })*
        }
    };
}

verbs! {
    /// Creates or replaces the cluster.
    put_cluster(cluster: impl Into<Arc<Cluster>>) => Change::PutCluster(cluster.into());
    /// Creates or replaces a node.
    put_node(node: impl Into<Arc<Node>>) => Change::PutNode(node.into());
    /// Removes a node.
    remove_node(id: NodeId) => Change::RemoveNode(id);
    /// Creates or replaces a service.
    put_service(service: impl Into<Arc<Service>>) => Change::PutService(service.into());
    /// Removes a service that has no tasks left.
    remove_service(id: ServiceId) => Change::RemoveService(id);
    /// Removes a task.
    remove_task(id: TaskId) => Change::RemoveTask(id);
    /// Creates or replaces a task.
    put_task(task: impl Into<Arc<Task>>) => Change::PutTask(task.into());
    /// Creates or replaces a network.
    put_network(network: impl Into<Arc<ClusterNetwork>>) => Change::PutNetwork(network.into());
    /// Removes a network that is not in use.
    remove_network(id: ClusterNetworkId) => Change::RemoveNetwork(id);
    /// Creates or replaces a secret.
    put_secret(secret: impl Into<Arc<Secret>>) => Change::PutSecret(secret.into());
    /// Removes a secret that is not in use.
    remove_secret(id: SecretId) => Change::RemoveSecret(id);
    /// Creates or replaces a config.
    put_config(config: impl Into<Arc<Config>>) => Change::PutConfig(config.into());
    /// Removes a config that is not in use.
    remove_config(id: ConfigId) => Change::RemoveConfig(id);
}

impl Txn {
    /// As [`Txn::task_status`], for many at once: neither checked nor shown by the view, so that it costs what the report
    /// does. What comes late is dropped when the transaction is applied.
    pub fn note_status(&mut self, task: TaskId, status: TaskStatus) {
        self.changes.push(Change::TaskStatus { task, status });
    }

    /// Records what a worker reported.
    ///
    /// # Errors
    /// As [`Txn::change`].
    pub fn task_status(&mut self, task: TaskId, status: TaskStatus) -> Result<(), Rejected> {
        self.change(Change::TaskStatus { task, status })
    }

    /// Moves the desired state of a task forward.
    ///
    /// # Errors
    /// As [`Txn::change`].
    pub fn task_desired(&mut self, task: TaskId, desired: TaskState) -> Result<(), Rejected> {
        self.change(Change::TaskDesired { task, desired })
    }
}
