//! What a transaction changed, as subscribers see it.

use std::sync::Arc;

use shoal_model::cluster::{Cluster, ClusterNetwork, Config, Node, Secret, Service, Task, Version};

use super::{Object, ObjectRef};

/// An object before and after a change. Absent before: created; absent after: removed.
#[derive(Debug)]
pub struct Diff<T> {
    /// `None`: it was created.
    pub old: Option<Arc<T>>,
    /// `None`: it was removed.
    pub new: Option<Arc<T>>,
}

impl<T> Clone for Diff<T> {
    fn clone(&self) -> Self {
        Self { old: self.old.clone(), new: self.new.clone() }
    }
}

impl<T: Object> Diff<T> {
    /// The newest form of the object.
    pub fn latest(&self) -> Option<&Arc<T>> {
        self.new.as_ref().or(self.old.as_ref())
    }

    fn undone(&self) -> Self {
        Self { old: self.new.clone(), new: self.old.clone() }
    }
}

/// One changed object.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Event {
    Cluster(Diff<Cluster>),
    Node(Diff<Node>),
    Service(Diff<Service>),
    Task(Diff<Task>),
    Network(Diff<ClusterNetwork>),
    Secret(Diff<Secret>),
    Config(Diff<Config>),
}

impl Event {
    /// The object; `None` for a diff of nothing, which the store never makes.
    pub fn object(&self) -> Option<ObjectRef> {
        match self {
            Self::Cluster(diff) => diff.latest().map(|object| object.object_ref()),
            Self::Node(diff) => diff.latest().map(|object| object.object_ref()),
            Self::Service(diff) => diff.latest().map(|object| object.object_ref()),
            Self::Task(diff) => diff.latest().map(|object| object.object_ref()),
            Self::Network(diff) => diff.latest().map(|object| object.object_ref()),
            Self::Secret(diff) => diff.latest().map(|object| object.object_ref()),
            Self::Config(diff) => diff.latest().map(|object| object.object_ref()),
        }
    }

    /// The event that takes this one back.
    pub(super) fn undone(&self) -> Self {
        match self {
            Self::Cluster(diff) => Self::Cluster(diff.undone()),
            Self::Node(diff) => Self::Node(diff.undone()),
            Self::Service(diff) => Self::Service(diff.undone()),
            Self::Task(diff) => Self::Task(diff.undone()),
            Self::Network(diff) => Self::Network(diff.undone()),
            Self::Secret(diff) => Self::Secret(diff.undone()),
            Self::Config(diff) => Self::Config(diff.undone()),
        }
    }
}

/// All that one applied transaction changed, in order.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Raft index of the transaction.
    pub version: Version,
    /// Never empty.
    pub events: Vec<Event>,
}
