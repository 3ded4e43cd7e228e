//! Networks of the cluster.
//!
//! Source: swarmkit `manager/controlapi/network.go`, `manager/allocator/networkallocator`.

use std::net::IpAddr;

use shoal_model::ErrorKind;
use shoal_model::cluster::service::PublishMode;
use shoal_model::cluster::{ClusterNetwork, ClusterNetworkId, IpPrefix, ServiceSpec};
use shoal_model::network::{IpamPool, NetworkSpec};

use super::{Error, Result, validate};
use crate::ids::Ids;
use crate::prefix;
use crate::store::{State, Txn, holds_networks};

/// Drivers that come with the engine.
const DRIVERS: [&str; 7] = ["", "overlay", "bridge", "host", "macvlan", "ipvlan", "null"];

/// Option of networks whose traffic between nodes is encrypted.
const ENCRYPTED: &str = "encrypted";

/// Creates a network.
///
/// # Errors
/// When the spec is malformed, the name is taken, or a second ingress network is asked for.
pub fn create(txn: &mut Txn, ids: &mut dyn Ids, spec: NetworkSpec) -> Result<ClusterNetworkId> {
    validate_spec(&spec)?;
    if txn.network_by_name(&spec.name).is_some() {
        let text = format!("network with name {} already exists", spec.name);
        return Err(Error::Plain { kind: ErrorKind::Conflict, text });
    }
    if let Some(present) = ingress(txn).filter(|_| spec.ingress) {
        let id = present.id;
        return Err(Error::exists(format!("ingress network ({id}) is already present")));
    }
    let id = ids.network();
    txn.put_network(ClusterNetwork::new(id, spec))?;
    Ok(id)
}

/// Removes a network that is not in use.
///
/// # Errors
/// When a service or a live task uses it, or the system made it.
pub fn remove(txn: &mut Txn, id: ClusterNetworkId) -> Result<()> {
    let Some(network) = txn.network(id) else {
        let object = shoal_model::ObjectKind::Network;
        return Err(Error::NotFound { object, name: id.to_string() });
    };
    if network.predefined && !network.spec.ingress {
        let name = &network.spec.name;
        return Err(Error::denied(format!(
            "{name} ({id}) is a pre-defined network and cannot be removed"
        )));
    }
    if network.spec.ingress {
        let mut services = txn.services().filter(|service| !service.removing);
        if let Some(service) = services.find(|service| needs_ingress(&service.spec)) {
            return Err(Error::precondition(format!(
                "ingress network cannot be removed because service {} depends on it",
                service.id
            )));
        }
    }
    if let Some(service) = txn.services_on_network(id).next() {
        let service = service.id;
        return Err(Error::precondition(format!("network {id} is in use by service {service}")));
    }
    let live = |task: &&std::sync::Arc<shoal_model::cluster::Task>| {
        holds_networks(task, |id| txn.service(id).is_some_and(|service| !service.removing))
    };
    if let Some(task) = txn.tasks_on_network(id).find(live) {
        let task = task.id;
        return Err(Error::precondition(format!("network {id} is in use by task {task}")));
    }
    Ok(txn.remove_network(id)?)
}

/// The network of the routing mesh.
pub fn ingress(state: &State) -> Option<&ClusterNetwork> {
    state.networks().map(|network| &**network).find(|network| network.spec.ingress)
}

/// Whether a service publishes ports by the routing mesh.
pub(super) fn needs_ingress(spec: &ServiceSpec) -> bool {
    let ports = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    ports.into_iter().any(|port| port.mode == PublishMode::Ingress)
}

fn validate_spec(spec: &NetworkSpec) -> Result<()> {
    if spec.ingress && !matches!(spec.driver.as_str(), "" | "overlay") {
        return Err(Error::unimplemented(
            "only overlay driver is currently supported for ingress network",
        ));
    }
    if spec.attachable && spec.ingress {
        return Err(Error::invalid("ingress network cannot be attachable"));
    }
    validate::dns_name(&spec.name)?;
    if !DRIVERS.contains(&spec.driver.as_str()) {
        return Err(Error::invalid(format!("plugin {} not supported", spec.driver)));
    }
    if !matches!(spec.ipam.driver.as_str(), "" | "default") {
        return Err(Error::invalid(format!("plugin {} not supported", spec.ipam.driver)));
    }
    if spec.options.contains_key(ENCRYPTED) {
        return Err(Error::unimplemented(
            "encrypted overlay networks (--opt encrypted) are not implemented by Shoal yet: the traffic between \
             nodes would not be encrypted",
        ));
    }
    spec.ipam.pools.iter().try_for_each(pool)
}

fn pool(pool: &IpamPool) -> Result<()> {
    let invalid = |what: &str, value: &str| {
        Error::invalid(format!("ipam configuration: invalid {what} {value}"))
    };
    if pool.subnet.is_empty() && pool.ip_range.is_empty() && pool.gateway.is_none() {
        return Ok(());
    }
    let subnet: IpPrefix = pool.subnet.parse().map_err(|_| invalid("subnet", &pool.subnet))?;
    let outside = |what: &str, value: &str| {
        let subnet = &pool.subnet;
        Error::invalid(format!(
            "ipam configuration: subnet {subnet} does not contain {what} {value}"
        ))
    };
    let contains = |address: IpAddr| prefix::contains(subnet, address);
    if !pool.ip_range.is_empty() {
        let range: IpPrefix =
            pool.ip_range.parse().map_err(|_| invalid("range", &pool.ip_range))?;
        if !contains(range.address) {
            return Err(outside("range", &pool.ip_range));
        }
    }
    match pool.gateway {
        Some(gateway) if !contains(gateway) => Err(outside("gateway", &gateway.to_string())),
        _ => Ok(()),
    }
}
