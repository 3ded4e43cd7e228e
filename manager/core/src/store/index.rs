//! Secondary indexes, kept up to date change by change.
//!
//! Services that are being removed are in no index but that of their tasks and that of their mode: their names, secrets, configs and
//! networks are free for others at once, as in Docker.

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_model::cluster::node::NodeRole;
use shoal_model::cluster::service::ServiceMode;
use shoal_model::cluster::task::{NetworkWish, Slot};
use shoal_model::cluster::{
    ClusterNetwork, ClusterNetworkId, Config, ConfigId, Node, NodeId, Secret, SecretId, Service,
    ServiceId, Task, TaskId, TaskState,
};

use super::Object;
use super::tree::{Keys, Tree};

/// Tasks that wait for a component of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Observed new: the allocator's.
    Unallocated,
    /// Observed pending: the scheduler's.
    Unplaced,
    /// Desired ready: held back by an update or a restart delay.
    Held,
    /// Desired remove: the reaper's.
    Removing,
}

#[derive(Clone, Default)]
#[cfg_attr(test, derive(PartialEq))]
pub(super) struct Indexes {
    pub(super) services: Tree<Arc<str>, ServiceId>,
    pub(super) networks: Tree<Arc<str>, ClusterNetworkId>,
    pub(super) secrets: Tree<Arc<str>, SecretId>,
    pub(super) configs: Tree<Arc<str>, ConfigId>,
    pub(super) hostnames: Keys<(Arc<str>, NodeId)>,
    pub(super) slots: Keys<(ServiceId, Slot, TaskId)>,
    pub(super) placed: Keys<(NodeId, TaskId)>,
    pub(super) queues: Keys<(Queue, TaskId)>,
    pub(super) attached: Keys<(ClusterNetworkId, TaskId)>,
    pub(super) network_users: Keys<(ClusterNetworkId, ServiceId)>,
    pub(super) secret_users: Keys<(SecretId, ServiceId)>,
    pub(super) config_users: Keys<(ConfigId, ServiceId)>,
    pub(super) managers: Keys<NodeId>,
    /// Nodes whose request for a certificate waits for a signature.
    pub(super) asking: Keys<NodeId>,
    pub(super) globals: Keys<ServiceId>,
}

/// Names are unique regardless of case.
pub(super) fn folded(name: &str) -> Arc<str> {
    name.to_lowercase().into()
}

/// Whether a node is a manager, is to become one, or has not ceased to be one.
fn is_manager(node: &Node) -> bool {
    node.spec.role == NodeRole::Manager || node.role == NodeRole::Manager || node.manager.is_some()
}

/// Networks that a service wishes to join.
pub(super) fn wished_networks(service: &Service) -> BTreeSet<ClusterNetworkId> {
    let id = |wish: &NetworkWish| ClusterNetworkId::parse(&wish.target);
    service.spec.task.networks.iter().chain(&service.spec.networks).filter_map(id).collect()
}

impl Indexes {
    pub(super) fn node(&mut self, old: Option<&Node>, new: Option<&Node>) {
        let key = |node: &Node| {
            let description = node.description.as_ref()?;
            Some((folded(&description.hostname), node.id))
        };
        moved(&mut self.hostnames, old.and_then(key), new.and_then(key));
        let manager = |node: &Node| is_manager(node).then_some(node.id);
        moved(&mut self.managers, old.and_then(manager), new.and_then(manager));
        let asking = |node: &Node| node.certificate.is_asked_for().then_some(node.id);
        moved(&mut self.asking, old.and_then(asking), new.and_then(asking));
    }

    pub(super) fn service(&mut self, old: Option<&Service>, new: Option<&Service>) {
        let global = |service: &Service| {
            let mode = service.spec.mode;
            matches!(mode, ServiceMode::Global | ServiceMode::GlobalJob).then_some(service.id)
        };
        moved(&mut self.globals, old.and_then(global), new.and_then(global));
        let old = old.filter(|service| !service.removing);
        let new = new.filter(|service| !service.removing);
        renamed(
            &mut self.services,
            old.map(|service| (service.spec.annotations.name.as_str(), service.id)),
            new.map(|service| (service.spec.annotations.name.as_str(), service.id)),
        );
        let same_task = |(old, new): (&Service, &Service)| {
            Arc::ptr_eq(&old.spec.task, &new.spec.task) && old.spec.networks == new.spec.networks
        };
        if old.zip(new).is_some_and(same_task) {
            return;
        }
        all_moved(&mut self.network_users, old, new, |service| {
            wished_networks(service).into_iter().map(|network| (network, service.id)).collect()
        });
        all_moved(&mut self.secret_users, old, new, |service| {
            service.spec.task.secrets.iter().map(|secret| (secret.id, service.id)).collect()
        });
        all_moved(&mut self.config_users, old, new, |service| {
            service.spec.task.configs.iter().map(|config| (config.id, service.id)).collect()
        });
    }

    pub(super) fn task(&mut self, old: Option<&Task>, new: Option<&Task>) {
        let slot = |task: &Task| task.service.map(|service| (service, task.slot, task.id));
        moved(&mut self.slots, old.and_then(slot), new.and_then(slot));
        let placed = |task: &Task| task.node.map(|node| (node, task.id));
        moved(&mut self.placed, old.and_then(placed), new.and_then(placed));
        let observed = |task: &Task| match task.status.state {
            TaskState::New => Some((Queue::Unallocated, task.id)),
            TaskState::Pending => Some((Queue::Unplaced, task.id)),
            _ => None,
        };
        moved(&mut self.queues, old.and_then(observed), new.and_then(observed));
        let desired = |task: &Task| match task.desired {
            TaskState::Ready => Some((Queue::Held, task.id)),
            TaskState::Remove => Some((Queue::Removing, task.id)),
            _ => None,
        };
        moved(&mut self.queues, old.and_then(desired), new.and_then(desired));
        if old.map(|task| &task.networks) != new.map(|task| &task.networks) {
            all_moved(&mut self.attached, old, new, |task| {
                task.networks.iter().map(|attachment| (attachment.network, task.id)).collect()
            });
        }
    }

    pub(super) fn network(&mut self, old: Option<&ClusterNetwork>, new: Option<&ClusterNetwork>) {
        let key = |network: &ClusterNetwork| (network.spec.name.clone(), network.id);
        let (old, new) = (old.map(key), new.map(key));
        renamed(
            &mut self.networks,
            old.as_ref().map(|(name, id)| (name.as_str(), *id)),
            new.as_ref().map(|(name, id)| (name.as_str(), *id)),
        );
    }

    pub(super) fn secret(&mut self, old: Option<&Secret>, new: Option<&Secret>) {
        renamed(
            &mut self.secrets,
            old.map(|secret| (secret.spec.annotations.name.as_str(), secret.id())),
            new.map(|secret| (secret.spec.annotations.name.as_str(), secret.id())),
        );
    }

    pub(super) fn config(&mut self, old: Option<&Config>, new: Option<&Config>) {
        renamed(
            &mut self.configs,
            old.map(|config| (config.spec.annotations.name.as_str(), config.id())),
            new.map(|config| (config.spec.annotations.name.as_str(), config.id())),
        );
    }
}

fn moved<K: Ord + Clone>(keys: &mut Keys<K>, old: Option<K>, new: Option<K>) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        keys.remove(&old);
    }
    if let Some(new) = new {
        keys.insert(new);
    }
}

fn all_moved<K: Ord + Clone, T>(
    keys: &mut Keys<K>,
    old: Option<&T>,
    new: Option<&T>,
    of: impl Fn(&T) -> BTreeSet<K>,
) {
    let (old, new) = (old.map(&of).unwrap_or_default(), new.map(&of).unwrap_or_default());
    for key in old.difference(&new) {
        keys.remove(key);
    }
    for key in new.difference(&old) {
        keys.insert(key.clone());
    }
}

fn renamed<I: Copy + Ord>(
    names: &mut Tree<Arc<str>, I>,
    old: Option<(&str, I)>,
    new: Option<(&str, I)>,
) {
    if old == new {
        return;
    }
    if let Some((name, id)) = old {
        let name = folded(name);
        if names.get(&name) == Some(&id) {
            names.remove(&name);
        }
    }
    if let Some((name, id)) = new {
        names.insert(folded(name), id);
    }
}
