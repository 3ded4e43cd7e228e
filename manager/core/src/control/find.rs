//! Objects by reference: the whole id, then the name, then a prefix of the id.
//!
//! Source: moby `daemon/cluster/helpers.go`.

use std::sync::Arc;

use shoal_model::ObjectKind;
use shoal_model::cluster::{
    ClusterNetwork, ClusterNetworkId, Config, ConfigId, Node, NodeId, Secret, SecretId, Service,
    ServiceId, Task, TaskId,
};

use super::{Error, Result};
use crate::store::{Object, State};

/// Picks the only one, or says what docker says.
fn only<'a, T: Object>(
    object: ObjectKind,
    reference: &str,
    mut matches: impl Iterator<Item = &'a Arc<T>>,
) -> Result<&'a Arc<T>> {
    let name = || reference.to_owned();
    match (matches.next(), matches.count()) {
        (None, _) => Err(Error::NotFound { object, name: name() }),
        (Some(found), 0) => Ok(found),
        (Some(_), more) => Err(Error::Ambiguous { object, name: name(), count: more + 1 }),
    }
}

fn has_prefix(id: &impl ToString, prefix: &str) -> bool {
    !prefix.is_empty() && id.to_string().starts_with(prefix)
}

/// A node; its name is its host name, which several may have.
///
/// # Errors
/// When none or several match.
pub fn node<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<Node>> {
    if let Some(node) = NodeId::parse(reference).and_then(|id| state.node(id)) {
        return Ok(node);
    }
    let hostname = |node: &&Arc<Node>| {
        node.description.as_ref().is_some_and(|description| description.hostname == reference)
    };
    if state.nodes_by_name(reference).any(|node| hostname(&node)) {
        let named = state.nodes_by_name(reference).filter(hostname);
        return only(ObjectKind::Node, reference, named);
    }
    let by_prefix = state.nodes().filter(|node| has_prefix(&node.id, reference));
    only(ObjectKind::Node, reference, by_prefix)
}

/// A service that is not being removed.
///
/// # Errors
/// When none or several match.
pub fn service<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<Service>> {
    let live = |service: &&Arc<Service>| !service.removing;
    let whole = ServiceId::parse(reference).and_then(|id| state.service(id)).filter(live);
    let named = || {
        let found = state.service_by_name(reference);
        found.filter(|service| service.spec.annotations.name == reference)
    };
    if let Some(service) = whole.or_else(named) {
        return Ok(service);
    }
    let by_prefix = state.services().filter(live).filter(|one| has_prefix(&one.id, reference));
    only(ObjectKind::Service, reference, by_prefix)
}

/// A task, by its id or a prefix of it.
///
/// # Errors
/// When none or several match.
pub fn task<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<Task>> {
    if let Some(task) = TaskId::parse(reference).and_then(|id| state.task(id)) {
        return Ok(task);
    }
    let by_prefix = state.tasks().filter(|task| has_prefix(&task.id, reference));
    only(ObjectKind::Task, reference, by_prefix)
}

/// A network of the cluster.
///
/// # Errors
/// When none or several match.
pub fn network<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<ClusterNetwork>> {
    let whole = ClusterNetworkId::parse(reference).and_then(|id| state.network(id));
    let named =
        || state.network_by_name(reference).filter(|network| network.spec.name == reference);
    if let Some(network) = whole.or_else(named) {
        return Ok(network);
    }
    let by_prefix = state.networks().filter(|network| has_prefix(&network.id, reference));
    only(ObjectKind::Network, reference, by_prefix)
}

/// A secret.
///
/// # Errors
/// When none or several match.
pub fn secret<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<Secret>> {
    let whole = SecretId::parse(reference).and_then(|id| state.secret(id));
    let named = || {
        let found = state.secret_by_name(reference);
        found.filter(|secret| secret.spec.annotations.name == reference)
    };
    if let Some(secret) = whole.or_else(named) {
        return Ok(secret);
    }
    let by_prefix = state.secrets().filter(|secret| has_prefix(&secret.id, reference));
    only(ObjectKind::Secret, reference, by_prefix)
}

/// A config.
///
/// # Errors
/// When none or several match.
pub fn config<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<Config>> {
    let whole = ConfigId::parse(reference).and_then(|id| state.config(id));
    let named = || {
        let found = state.config_by_name(reference);
        found.filter(|config| config.spec.annotations.name == reference)
    };
    if let Some(config) = whole.or_else(named) {
        return Ok(config);
    }
    let by_prefix = state.configs().filter(|config| has_prefix(&config.id, reference));
    only(ObjectKind::Config, reference, by_prefix)
}
