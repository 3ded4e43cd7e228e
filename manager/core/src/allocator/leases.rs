//! What each object holds, as the objects in the store say.

use std::net::IpAddr;

use shoal_model::Timestamp;
use shoal_model::cluster::service::{Protocol, PublishMode, Service};
use shoal_model::cluster::{
    ClusterNetwork, ClusterNetworkId, Node, NodeId, ServiceId, Task, TaskId, TaskState,
};

use super::error::Cause;
use super::network::is_overlay;
use super::numbers::Numbers;
use super::queue::Subject;
use super::space::Space;
use super::{Allocator, PORT_FIRST, PORT_LAST, is_waiting};
use crate::store::State;

/// One thing that an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Vni(u32),
    /// All subnets of the network.
    Subnets,
    Port(Protocol, u16),
    Address(ClusterNetworkId, IpAddr),
    Mesh(u32),
}

impl Allocator {
    pub(super) fn port_owner(&self, protocol: Protocol, port: u16) -> Option<ServiceId> {
        self.ports.get(&protocol).and_then(|ports| ports.owner(u32::from(port)))
    }

    pub(super) fn ports_of(&mut self, protocol: Protocol) -> &mut Numbers<ServiceId> {
        self.ports
            .entry(protocol)
            .or_insert_with(|| Numbers::new(u32::from(PORT_FIRST), u32::from(PORT_LAST)))
    }

    pub(super) fn set_network(&mut self, id: ClusterNetworkId, network: Option<&ClusterNetwork>) {
        let subject = Subject::Network(id);
        if network.is_some_and(|network| network.spec.ingress) {
            self.ingress = Some(id);
        } else if self.ingress == Some(id) {
            self.ingress = None;
        }
        let allocation = network.and_then(|network| network.allocation.as_ref());
        let items = match allocation {
            Some(allocation) => vec![Item::Vni(allocation.vni), Item::Subnets],
            None => Vec::new(),
        };
        let is_known = self.leases.get(&subject).is_some_and(|known| *known == items);
        if !is_known {
            self.release(subject);
            self.spaces.remove(&id);
            if let Some(space) = network.and_then(Space::of) {
                for prefix in space.prefixes() {
                    self.subnets.hold(prefix, id);
                }
                self.spaces.insert(id, space);
            }
            self.hold(subject, items);
        }
        match network {
            Some(network) if is_overlay(network) && network.allocation.is_none() => {
                self.queue.add(subject);
            }
            _ => self.queue.remove(subject),
        }
        self.queue.wake(Cause::Network(id));
        self.queue.wake(Cause::Networks);
    }

    pub(super) fn set_service(&mut self, id: ServiceId, service: Option<&Service>) {
        self.hold_service(id, service);
        if service.is_none() {
            self.endpoints.remove(&id);
        }
        match service.filter(|service| !service.removing) {
            Some(_) => self.queue.add(Subject::Service(id)),
            None => self.queue.remove(Subject::Service(id)),
        }
        self.queue.wake(Cause::Service(id));
    }

    /// A service that is being removed keeps its addresses until its tasks have gone, but not its ports.
    pub(super) fn hold_service(&mut self, id: ServiceId, service: Option<&Service>) {
        let mut items = Vec::new();
        if let Some((service, endpoint)) =
            service.and_then(|service| Some((service, service.endpoint.as_ref()?)))
        {
            let ports = endpoint.ports.iter().filter(|port| {
                !service.removing && port.mode == PublishMode::Ingress && port.published != 0
            });
            items.extend(ports.map(|port| Item::Port(port.protocol, port.published)));
            let addresses = endpoint
                .virtual_ips
                .iter()
                .flat_map(|vip| vip.addresses().map(|address| Item::Address(vip.network, address)));
            items.extend(addresses);
        }
        self.renew(Subject::Service(id), items);
    }

    pub(super) fn set_node(&mut self, id: NodeId, node: Option<&Node>) {
        let subject = Subject::Node(id);
        let index = node.and_then(|node| node.mesh_index).filter(|index| *index != 0);
        let items = index.map(|index| Item::Mesh(u32::from(index)));
        self.renew(subject, items.into_iter().collect());
        match node {
            Some(node) if node.mesh_index.is_none() => self.queue.add(subject),
            _ => self.queue.remove(subject),
        }
    }

    /// A task holds its addresses until it has ended, wherever it is wanted by then.
    pub(super) fn set_task(&mut self, id: TaskId, task: Option<&Task>) {
        let subject = Subject::Task(id);
        let mut items = Vec::new();
        let holder = task
            .filter(|task| (TaskState::Pending..=TaskState::Running).contains(&task.status.state));
        for network in holder.iter().flat_map(|task| &task.networks) {
            let addresses = network.addresses.iter();
            items.extend(addresses.map(|prefix| Item::Address(network.network, prefix.address)));
        }
        self.renew(subject, items);
        match task {
            Some(task) if is_waiting(task) => {
                if !self.queue.is_parked(subject) {
                    self.queue.add(subject);
                }
            }
            _ => self.queue.remove(subject),
        }
    }

    /// Goes on behind what was given last before this manager led, as far as the objects tell.
    pub(super) fn restore_cursors(&mut self, state: &State) {
        let mut networks: Vec<_> = state.networks().collect();
        networks.sort_by_key(|network| (network.meta.created, network.id));
        for network in networks {
            let Some(allocation) = &network.allocation else { continue };
            self.vnis.set_cursor(allocation.vni);
            let is_given =
                |subnet: &str| network.spec.ipam.pools.iter().any(|pool| pool.subnet == subnet);
            let chosen = allocation.pools.iter().filter(|pool| !is_given(&pool.subnet));
            for subnet in chosen.filter_map(|pool| pool.subnet.parse().ok()) {
                self.subnets.set_cursor(subnet);
            }
        }
        let mut services: Vec<_> = state.services().collect();
        services.sort_by_key(|service| (service.meta.created, service.id));
        for service in services {
            for port in service.endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
                let is_chosen = (PORT_FIRST..=PORT_LAST).contains(&port.published);
                if port.mode == PublishMode::Ingress && is_chosen {
                    self.ports_of(port.protocol).set_cursor(u32::from(port.published));
                }
            }
            for item in self.leases.get(&Subject::Service(service.id)).into_iter().flatten() {
                given_at(&mut self.spaces, *item, service.meta.created);
            }
        }
        for task in state.tasks() {
            for item in self.leases.get(&Subject::Task(task.id)).into_iter().flatten() {
                given_at(&mut self.spaces, *item, task.meta.created);
            }
        }
        if let Some(cluster) = state.cluster() {
            self.meshes.set_cursor(u32::from(cluster.mesh_cursor));
        }
    }

    /// Makes an object hold these items and no others.
    fn renew(&mut self, subject: Subject, items: Vec<Item>) {
        let known = self.leases.get(&subject).map(Vec::as_slice).unwrap_or_default();
        if known != items {
            self.release(subject);
            self.hold(subject, items);
        }
    }

    fn hold(&mut self, subject: Subject, items: Vec<Item>) {
        for item in &items {
            match (*item, subject) {
                (Item::Vni(vni), Subject::Network(id)) => self.vnis.hold(vni, id),
                (Item::Port(protocol, port), Subject::Service(id)) => {
                    self.ports_of(protocol).hold(u32::from(port), id);
                }
                (Item::Mesh(index), Subject::Node(id)) => {
                    self.resting.remove(&index);
                    self.meshes.hold(index, id);
                }
                (Item::Address(network, address), _) => {
                    if let Some(space) = self.spaces.get_mut(&network) {
                        space.hold(address);
                    }
                }
                _ => {}
            }
        }
        if !items.is_empty() {
            self.leases.insert(subject, items);
        }
    }

    fn release(&mut self, subject: Subject) {
        for item in self.leases.remove(&subject).unwrap_or_default() {
            match (item, subject) {
                (Item::Vni(vni), Subject::Network(id)) => {
                    self.vnis.release(vni, id);
                }
                (Item::Subnets, Subject::Network(id)) => self.subnets.release(id),
                (Item::Port(protocol, port), Subject::Service(id)) => {
                    let is_free = self.ports_of(protocol).release(u32::from(port), id);
                    if is_free {
                        self.queue.wake(Cause::Ports);
                    }
                }
                (Item::Mesh(index), Subject::Node(id)) => {
                    let is_free = self.meshes.release(index, id);
                    if is_free {
                        self.resting.insert(index, None);
                    }
                }
                (Item::Address(network, address), _) => {
                    if let Some(space) = self.spaces.get_mut(&network) {
                        space.release(address);
                        self.queue.wake(Cause::Network(network));
                    }
                }
                _ => {}
            }
        }
    }
}

fn given_at(
    spaces: &mut std::collections::BTreeMap<ClusterNetworkId, Space>,
    item: Item,
    at: Timestamp,
) {
    if let Item::Address(network, address) = item
        && let Some(space) = spaces.get_mut(&network)
    {
        space.given_at(address, at);
    }
}
