//! What a service's spec refers to, checked against the cluster.
//!
//! Source: swarmkit `manager/controlapi/service.go`, moby `daemon/cluster/services.go populateNetworkID`.

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_model::cluster::service::{PortConfig, Protocol, PublishMode};
use shoal_model::cluster::task::NetworkWish;
use shoal_model::cluster::{ServiceId, ServiceSpec, TaskSpec};

use super::{Error, Result, find, networks};
use crate::store::{ObjectRef, State, Txn};

/// Turns the names of networks into ids, as they are stored. When the task names none, those of old
/// clients are looked at, as in Docker.
pub(super) fn resolve_networks(state: &State, spec: &mut ServiceSpec) -> Result<()> {
    if spec.task.networks.is_empty() {
        return resolve(state, &mut spec.networks);
    }
    let mut wishes = spec.task.networks.clone();
    resolve(state, &mut wishes)?;
    if wishes != spec.task.networks {
        let task = TaskSpec { networks: wishes, ..TaskSpec::clone(&spec.task) };
        spec.task = Arc::new(task);
    }
    Ok(())
}

fn resolve(state: &State, wishes: &mut [NetworkWish]) -> Result<()> {
    for wish in wishes {
        let network = find::network(state, &wish.target)?;
        if network.spec.ingress {
            return Err(Error::invalid(format!(
                "Service cannot be explicitly attached to the ingress network {:?}",
                network.spec.name
            )));
        }
        wish.target = network.id.to_string();
    }
    Ok(())
}

/// Checks that all that the spec names exists, and makes the transaction fail when it goes meanwhile.
pub(super) fn check(txn: &mut Txn, spec: &ServiceSpec) -> Result<()> {
    let mut used = Vec::new();
    let mut missing = Vec::new();
    for secret in &spec.task.secrets {
        match txn.secret(secret.id) {
            Some(found) if found.spec.annotations.name == secret.name => {
                used.push(ObjectRef::Secret(secret.id));
            }
            _ => missing.push(secret.name.as_str()),
        }
    }
    none_missing("secret", &missing)?;
    missing.clear();
    for config in &spec.task.configs {
        match txn.config(config.id) {
            Some(found) if found.spec.annotations.name == config.name => {
                used.push(ObjectRef::Config(config.id));
            }
            _ => missing.push(config.name.as_str()),
        }
    }
    none_missing("config", &missing)?;
    for wish in spec.task.networks.iter().chain(&spec.networks) {
        used.push(ObjectRef::Network(find::network(txn, &wish.target)?.id));
    }
    if networks::needs_ingress(spec) {
        let Some(ingress) = networks::ingress(txn) else {
            return Err(Error::precondition(
                "service needs ingress network, but no ingress network is present",
            ));
        };
        used.push(ObjectRef::Network(ingress.id));
    }
    used.into_iter().for_each(|object| txn.expect(object));
    Ok(())
}

fn none_missing(kind: &str, missing: &[&str]) -> Result<()> {
    let plural = match missing.len() {
        0 => return Ok(()),
        1 => "",
        _ => "s",
    };
    Err(Error::invalid(format!("{kind}{plural} not found: {}", missing.join(", "))))
}

/// Checks that no other service has the published ports. Ports in host mode may repeat: the scheduler keeps
/// them apart. What two requests at the same time both pass, the allocator finds.
pub(super) fn check_ports(state: &State, spec: &ServiceSpec, own: Option<ServiceId>) -> Result<()> {
    let wanted = |mode: PublishMode| -> BTreeSet<(u16, Protocol)> {
        let ports = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        let ports = ports.filter(|port| port.mode == mode && port.published != 0);
        ports.map(|port| (port.published, port.protocol)).collect()
    };
    let (ingress, host) = (wanted(PublishMode::Ingress), wanted(PublishMode::Host));
    if ingress.is_empty() && host.is_empty() {
        return Ok(());
    }
    let conflict = |port: &PortConfig| {
        let key = (port.published, port.protocol);
        match port.mode {
            _ if port.published == 0 => None,
            PublishMode::Host => ingress.contains(&key).then_some("a host-published port"),
            PublishMode::Ingress => {
                (ingress.contains(&key) || host.contains(&key)).then_some("an ingress port")
            }
        }
    };
    for service in state.services().filter(|service| !service.removing && Some(service.id) != own) {
        let wished = service.spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        let given = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        for port in wished.chain(given) {
            if let Some(how) = conflict(port) {
                return Err(Error::invalid(format!(
                    "port '{}' is already in use by service '{}' ({}) as {how}",
                    port.published, service.spec.annotations.name, service.id
                )));
            }
        }
    }
    Ok(())
}
