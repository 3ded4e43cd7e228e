//! The names of a network of the cluster, made from its view. Pure.
//!
//! Source: moby `libnetwork/service_common.go` (names of services, `tasks.` and containers).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use shoal_model::cluster::view::ViewService;
use shoal_model::cluster::{NetworkView, ServiceId, TaskId};

use crate::plan::served::{self, Served};
use crate::plan::turn::Turn;

/// Names on one network. A name leads to the virtual addresses of its service, or to the addresses of its healthy
/// tasks where it has none, as `tasks.<name>` always does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterNames {
    served: Served,
    /// Lower-case name to addresses by owner.
    names: BTreeMap<String, BTreeMap<Owner, Vec<IpAddr>>>,
    /// Names of addresses.
    pointers: BTreeMap<IpAddr, String>,
}

/// Whose name it is. Services answer before tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Service(ServiceId),
    Task(TaskId),
}

impl ClusterNames {
    /// What a view says.
    pub fn of(view: &NetworkView) -> Self {
        let mut found = Self::default();
        found.take(&Turn::to(view));
        found
    }

    /// Addresses of a lower-case name; `None`: there is no such name.
    pub fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let owners = self.names.get(name)?;
        let mut found = Vec::new();
        owners.values().for_each(|addresses| add(&mut found, addresses));
        Some(found)
    }

    /// Name of an address.
    pub fn pointer(&self, address: IpAddr) -> Option<&str> {
        self.pointers.get(&address).map(String::as_str)
    }

    /// Goes on from the view whose names these are.
    pub fn take(&mut self, turn: &Turn<'_>) {
        let touched = self.served.take(turn);
        // Those that did not turn themselves have the names that they had.
        let came: BTreeSet<ServiceId> = turn.services_came.iter().map(|one| one.id).collect();
        let stayed = touched.iter().filter(|id| !came.contains(id));
        let stayed: Vec<ViewService> =
            stayed.filter_map(|id| self.served.service(*id)).cloned().collect();
        for service in turn.services_left.iter().copied().chain(&stayed) {
            for name in names_of(service) {
                self.remove(&name, Owner::Service(service.id));
            }
            for vip in &service.virtual_ips {
                self.forget_pointer(*vip, &service.name);
            }
        }
        for endpoint in turn.left.iter().filter(|endpoint| endpoint.healthy) {
            for name in endpoint.aliases.iter().chain([&endpoint.name]) {
                self.remove(name, Owner::Task(endpoint.task));
            }
            for address in served::addresses(endpoint) {
                self.forget_pointer(address, &endpoint.name);
            }
        }
        for service in turn.services_came.iter().copied().chain(&stayed) {
            let tasks: Vec<IpAddr> = self.served.addresses(service.id).collect();
            let shown = if service.virtual_ips.is_empty() { &tasks } else { &service.virtual_ips };
            for name in service.aliases.iter().chain([&service.name]) {
                self.add(name, Owner::Service(service.id), shown);
            }
            self.add(&format!("tasks.{}", service.name), Owner::Service(service.id), &tasks);
            for vip in &service.virtual_ips {
                self.pointers.insert(*vip, service.name.clone());
            }
        }
        for endpoint in turn.came.iter().filter(|endpoint| endpoint.healthy) {
            let addresses: Vec<IpAddr> = served::addresses(endpoint).collect();
            for name in endpoint.aliases.iter().chain([&endpoint.name]) {
                self.add(name, Owner::Task(endpoint.task), &addresses);
            }
            for address in addresses {
                self.pointers.insert(address, endpoint.name.clone());
            }
        }
    }

    fn add(&mut self, name: &str, owner: Owner, addresses: &[IpAddr]) {
        let owners = self.names.entry(name.to_ascii_lowercase()).or_default();
        add(owners.entry(owner).or_default(), addresses);
    }

    fn remove(&mut self, name: &str, owner: Owner) {
        let name = name.to_ascii_lowercase();
        if let Some(owners) = self.names.get_mut(&name) {
            owners.remove(&owner);
            if owners.is_empty() {
                self.names.remove(&name);
            }
        }
    }

    fn forget_pointer(&mut self, address: IpAddr, name: &str) {
        if self.pointers.get(&address).is_some_and(|known| known == name) {
            self.pointers.remove(&address);
        }
    }
}

/// All names of a service.
fn names_of(service: &ViewService) -> impl Iterator<Item = String> {
    let own = [service.name.clone(), format!("tasks.{}", service.name)];
    service.aliases.iter().cloned().chain(own)
}

/// Each address once.
fn add(known: &mut Vec<IpAddr>, addresses: &[IpAddr]) {
    for address in addresses {
        if !known.contains(address) {
            known.push(*address);
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::view::ViewEndpoint;
    use shoal_model::cluster::{ClusterNetworkId, NodeId};

    use super::*;

    fn endpoint(service: u8, number: u8, healthy: bool) -> ViewEndpoint {
        ViewEndpoint {
            task: TaskId::from_bytes([number; 16]),
            service: Some(ServiceId::from_bytes([service; 16])),
            node: NodeId::from_bytes([1; 16]),
            data_path: None,
            addresses: vec![format!("10.0.1.{number}/24").parse().unwrap()],
            mac: [0; 6],
            name: format!("s{service}.{number}"),
            aliases: Vec::new(),
            healthy,
        }
    }

    fn service(number: u8, name: &str, aliases: &[&str], vips: &[[u8; 4]]) -> ViewService {
        ViewService {
            id: ServiceId::from_bytes([number; 16]),
            name: name.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            virtual_ips: vips.iter().map(|vip| IpAddr::from(*vip)).collect(),
        }
    }

    #[test]
    fn services_tasks_and_containers_have_names() {
        let view = NetworkView {
            network: ClusterNetworkId::from_bytes([1; 16]),
            version: 1,
            data_path_port: 4789,
            endpoints: vec![
                endpoint(1, 11, true),
                endpoint(1, 12, true),
                endpoint(1, 13, false),
                endpoint(2, 21, true),
            ],
            services: vec![
                service(1, "Web", &["www"], &[[10, 0, 1, 2]]),
                service(2, "db", &["www"], &[]),
            ],
            mesh: None,
        };
        let found = ClusterNames::of(&view);
        let shown: Vec<String> = found
            .names
            .keys()
            .map(|name| {
                let list = found.addresses(name).unwrap();
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("{name} {}", list.join(" "))
            })
            .collect();
        let expected = [
            "db 10.0.1.21",
            "s1.11 10.0.1.11",
            "s1.12 10.0.1.12",
            "s2.21 10.0.1.21",
            "tasks.db 10.0.1.21",
            "tasks.web 10.0.1.11 10.0.1.12",
            "web 10.0.1.2",
            "www 10.0.1.2 10.0.1.21",
        ];
        assert_eq!(shown, expected);
        assert_eq!(found.pointer([10, 0, 1, 2].into()), Some("Web"));
    }
}
