//! Changes and transactions.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_model::Timestamp;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{
    Cluster, ClusterNetwork, ClusterNetworkId, Config, ConfigId, Node, NodeId, Secret, SecretId,
    Service, ServiceId, Task, TaskId, TaskState, Version,
};

use super::State;

/// Names one object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ObjectRef {
    /// There is one per store.
    Cluster,
    Node(NodeId),
    Service(ServiceId),
    Task(TaskId),
    Network(ClusterNetworkId),
    Secret(SecretId),
    Config(ConfigId),
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Node(id) => write!(f, "node `{id}`"),
            Self::Service(id) => write!(f, "service `{id}`"),
            Self::Task(id) => write!(f, "task `{id}`"),
            Self::Network(id) => write!(f, "network `{id}`"),
            Self::Secret(id) => write!(f, "secret `{id}`"),
            Self::Config(id) => write!(f, "config `{id}`"),
        }
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One change. `Put` creates or replaces; `meta` of what is put is not read, the store writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    PutCluster(Arc<Cluster>),
    PutNode(Arc<Node>),
    RemoveNode(NodeId),
    PutService(Arc<Service>),
    RemoveService(ServiceId),
    PutTask(Arc<Task>),
    /// As `PutTask` of a task that exists; spec and annotations are those that it has. [`super::Txn`] makes it
    /// of `PutTask` by itself: it takes far fewer bytes.
    EditTask(Arc<Task>),
    RemoveTask(TaskId),
    /// What a worker reports. Dropped when the task is gone or already further: reports may come late.
    TaskStatus {
        task: TaskId,
        status: TaskStatus,
    },
    /// What a manager wants of a task, when nothing else of it changes.
    TaskDesired {
        task: TaskId,
        desired: TaskState,
    },
    PutNetwork(Arc<ClusterNetwork>),
    RemoveNetwork(ClusterNetworkId),
    PutSecret(Arc<Secret>),
    RemoveSecret(SecretId),
    PutConfig(Arc<Config>),
    RemoveConfig(ConfigId),
}

impl Change {
    /// The object that is changed.
    pub fn object(&self) -> ObjectRef {
        match self {
            Self::PutCluster(_) => ObjectRef::Cluster,
            Self::PutNode(node) => ObjectRef::Node(node.id),
            Self::RemoveNode(id) => ObjectRef::Node(*id),
            Self::PutService(service) => ObjectRef::Service(service.id),
            Self::RemoveService(id) => ObjectRef::Service(*id),
            Self::PutTask(task) | Self::EditTask(task) => ObjectRef::Task(task.id),
            Self::RemoveTask(task)
            | Self::TaskStatus { task, .. }
            | Self::TaskDesired { task, .. } => ObjectRef::Task(*task),
            Self::PutNetwork(network) => ObjectRef::Network(network.id),
            Self::RemoveNetwork(id) => ObjectRef::Network(*id),
            Self::PutSecret(secret) => ObjectRef::Secret(secret.id),
            Self::RemoveSecret(id) => ObjectRef::Secret(*id),
            Self::PutConfig(config) => ObjectRef::Config(config.id),
            Self::RemoveConfig(id) => ObjectRef::Config(*id),
        }
    }
}

/// Changes that happen together or not at all. One raft entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The proposer's clock; becomes `created` and `updated` of what is put.
    pub at: Timestamp,
    /// Versions that the changes were computed from. `Version(0)`: must not exist.
    pub expect: Vec<(ObjectRef, Version)>,
    /// In this order.
    pub changes: Vec<Change>,
}

impl Transaction {
    /// Changes that were decided from a state: applied only to objects that are as they were there. Reports of a task's
    /// status expect nothing: they are dropped when they come late.
    pub fn on(state: &State, at: Timestamp, changes: Vec<Change>) -> Self {
        let reports = |change: &&Change| !matches!(change, Change::TaskStatus { .. });
        let expect = changes.iter().filter(reports).map(|change| {
            let object = change.object();
            (object, state.version_of(object))
        });
        Self { at, expect: expect.collect(), changes }
    }

    /// Applied only while `objects`, which it does not change, are as they were in `state` too.
    #[must_use]
    pub fn reading(mut self, state: &State, objects: impl IntoIterator<Item = ObjectRef>) -> Self {
        let versions = objects.into_iter().map(|object| (object, state.version_of(object)));
        self.expect.extend(versions);
        self
    }
}
