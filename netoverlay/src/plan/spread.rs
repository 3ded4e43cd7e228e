//! Over which backends the connections of a network are spread. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use shoal_model::cluster::{NetworkView, ServiceId};

use super::overlay::Backends;
use super::served::{Served, addresses};
use super::slots::{Slots, Step};
use super::turn::Turn;

/// The same in all members of a network. Follows it turn by turn, at a cost of what turns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread {
    served: Served,
    slots: Slots,
    /// Addresses of all tasks.
    present: BTreeSet<IpAddr>,
}

/// What changes in all members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Of the tables.
    pub step: Step,
    /// Addresses of tasks that are gone.
    pub gone: BTreeSet<IpAddr>,
}

impl Spread {
    /// The backends, by slot.
    pub fn backends(&self) -> &Backends {
        self.slots.backends()
    }

    /// Addresses of all tasks.
    pub fn present(&self) -> &BTreeSet<IpAddr> {
        &self.present
    }

    /// Goes on to a view, whatever was before.
    pub fn follow(&mut self, view: &NetworkView) -> Change {
        let turn = Turn::to(view);
        self.served = Served::default();
        self.served.take(&turn);
        let wanted = self.wanted(self.served.ids());
        let vips = self.slots.backends().keys().chain(wanted.keys()).copied().collect();
        let step = self.slots.follow(&wanted, &vips);
        let present: BTreeSet<IpAddr> = turn.came.iter().flat_map(|one| addresses(one)).collect();
        let gone = self.present.difference(&present).copied().collect();
        self.present = present;
        Change { step, gone }
    }

    /// Goes on from the view that was followed last.
    pub fn take(&mut self, turn: &Turn<'_>) -> Change {
        let touched = self.served.take(turn);
        let wanted = self.wanted(touched.iter().copied());
        let left = turn.services_left.iter().flat_map(|service| &service.virtual_ips);
        let now = touched.iter().filter_map(|id| self.served.service(*id));
        let now = now.flat_map(|service| &service.virtual_ips);
        let vips: BTreeSet<IpAddr> = left.chain(now).copied().collect();
        let step = self.slots.follow(&wanted, &vips);
        let mut gone: BTreeSet<IpAddr> = turn.left.iter().flat_map(|one| addresses(one)).collect();
        for address in &gone {
            self.present.remove(address);
        }
        for address in turn.came.iter().flat_map(|one| addresses(one)) {
            self.present.insert(address);
            gone.remove(&address);
        }
        Change { step, gone }
    }

    fn wanted(&self, services: impl Iterator<Item = ServiceId>) -> Backends {
        let mut wanted = Backends::new();
        for service in services.filter_map(|id| self.served.service(id)) {
            for vip in &service.virtual_ips {
                let all = self.served.addresses(service.id);
                let same: Vec<IpAddr> =
                    all.filter(|address| address.is_ipv4() == vip.is_ipv4()).collect();
                if !same.is_empty() {
                    wanted.insert(*vip, same);
                }
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::view::{ViewEndpoint, ViewService, mac_of};
    use shoal_model::cluster::{ClusterNetworkId, NodeId, TaskId};

    use super::*;
    use crate::dns::ClusterNames;
    use crate::plan::overlay::{Forwarding, forwarding, steps};

    /// What is drawn of a task: service, node, health.
    type Drawn = (u8, u8, bool);

    fn view(tasks: &std::collections::BTreeMap<u8, Drawn>, services: &BTreeSet<u8>) -> NetworkView {
        let endpoint = |(number, (service, node, healthy)): (&u8, &Drawn)| {
            let texts = [format!("10.0.1.{number}/24"), format!("fd00::{number}/64")];
            let addresses: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
            ViewEndpoint {
                task: TaskId::from_bytes([*number; 16]),
                service: (*service > 0).then(|| ServiceId::from_bytes([*service; 16])),
                node: NodeId::from_bytes([*node; 16]),
                data_path: (*node < 4).then(|| [192, 0, 2, *node].into()),
                mac: mac_of(&addresses),
                addresses,
                name: format!("c{number}"),
                aliases: vec!["any".to_owned()],
                healthy: *healthy,
            }
        };
        let service = |number: &u8| ViewService {
            id: ServiceId::from_bytes([*number; 16]),
            name: format!("s{number}"),
            aliases: vec!["any".to_owned(), format!("tasks.s{number}")],
            virtual_ips: match number % 3 {
                0 => Vec::new(),
                1 => vec![[10, 0, 2, *number].into()],
                _ => vec![
                    [10, 0, 2, *number].into(),
                    [0xfd, 0, 0, 0, 0, 0, 1, u16::from(*number)].into(),
                ],
            },
        };
        NetworkView {
            network: ClusterNetworkId::from_bytes([1; 16]),
            version: 1,
            data_path_port: 4789,
            endpoints: tasks.iter().map(endpoint).collect(),
            services: services.iter().map(service).collect(),
            mesh: None,
        }
    }

    proptest::proptest! {
        /// Turn by turn everything is as if it had been made of the last view.
        #[test]
        fn turns_lead_to_what_the_view_says(
            states in proptest::collection::vec(
                (
                    proptest::collection::btree_map(
                        10_u8..18,
                        (0_u8..5, 1_u8..5, proptest::bool::ANY),
                        0..8,
                    ),
                    proptest::collection::btree_set(1_u8..5, 0..5),
                ),
                1..8,
            )
        ) {
            let own = NodeId::from_bytes([1; 16]);
            let mut before = view(&Default::default(), &Default::default());
            let (mut spread, mut whole) = (Spread::default(), Spread::default());
            let (mut names, mut entries) = (ClusterNames::default(), Forwarding::default());
            for (tasks, services) in states {
                let now = view(&tasks, &services);
                let turn = Turn::between(&before, &now);
                proptest::prop_assert_eq!(spread.take(&turn), whole.follow(&now));
                proptest::prop_assert_eq!(&spread, &whole);
                names.take(&turn);
                proptest::prop_assert_eq!(&names, &ClusterNames::of(&now));
                let expected = forwarding(&now.endpoints.iter().collect::<Vec<_>>(), own);
                let mut planned = steps(&entries, &expected);
                let mut made = entries.take(&turn, own);
                planned.sort();
                made.sort();
                proptest::prop_assert_eq!(made, planned);
                proptest::prop_assert_eq!(&entries, &expected);
                before = now;
            }
        }
    }
}
