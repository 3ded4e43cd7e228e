//! The services of a network, each with the addresses of its healthy tasks. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use shoal_model::cluster::view::{ViewEndpoint, ViewService};
use shoal_model::cluster::{ServiceId, TaskId};

use super::turn::Turn;

/// By service. Follows the network turn by turn, at a cost of what turns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served(BTreeMap<ServiceId, Entry>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    service: Option<ViewService>,
    healthy: BTreeMap<TaskId, Vec<IpAddr>>,
}

/// Of an endpoint.
pub(crate) fn addresses(endpoint: &ViewEndpoint) -> impl Iterator<Item = IpAddr> {
    endpoint.addresses.iter().map(|prefix| prefix.address)
}

impl Served {
    /// Follows a turn; the services that it touches.
    pub fn take(&mut self, turn: &Turn<'_>) -> BTreeSet<ServiceId> {
        let mut touched = BTreeSet::new();
        let mut entry = |service: ServiceId, change: &dyn Fn(&mut Entry)| {
            change(self.0.entry(service).or_default());
            touched.insert(service);
        };
        for one in turn.left.iter().filter(|one| one.healthy) {
            if let Some(service) = one.service {
                entry(service, &|entry| drop(entry.healthy.remove(&one.task)));
            }
        }
        for one in turn.came.iter().filter(|one| one.healthy) {
            if let Some(service) = one.service {
                entry(service, &|entry| {
                    entry.healthy.insert(one.task, addresses(one).collect());
                });
            }
        }
        for service in &turn.services_left {
            entry(service.id, &|entry| entry.service = None);
        }
        for service in &turn.services_came {
            entry(service.id, &|entry| entry.service = Some(ViewService::clone(service)));
        }
        for service in &touched {
            let is_empty = |entry: &Entry| entry.service.is_none() && entry.healthy.is_empty();
            if self.0.get(service).is_some_and(is_empty) {
                self.0.remove(service);
            }
        }
        touched
    }

    /// All services that are known.
    pub fn ids(&self) -> impl Iterator<Item = ServiceId> {
        self.0.keys().copied()
    }

    /// What is said of a service.
    pub fn service(&self, id: ServiceId) -> Option<&ViewService> {
        self.0.get(&id)?.service.as_ref()
    }

    /// Addresses of a service's healthy tasks, by task.
    pub fn addresses(&self, id: ServiceId) -> impl Iterator<Item = IpAddr> {
        let healthy = self.0.get(&id).into_iter().flat_map(|entry| entry.healthy.values());
        healthy.flatten().copied()
    }
}
