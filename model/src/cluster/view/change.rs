//! Views in parts, so that a change of one costs what changed. Pure.

use serde::{Deserialize, Serialize};

use super::{NetworkView, ViewEndpoint, ViewService};
use crate::cluster::mesh::Mesh;
use crate::cluster::{ServiceId, TaskId};

/// What concerns a network as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewHead {
    /// UDP port of VXLAN, cluster-wide.
    pub data_path_port: u16,
}

/// One part of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the types say it")]
pub enum ViewPart {
    Head(ViewHead),
    Endpoint(ViewEndpoint),
    Service(ViewService),
    /// Of the network of the routing mesh.
    Mesh(Mesh),
}

/// Names a part among those of its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ViewKey {
    Head,
    Endpoint(TaskId),
    Service(ServiceId),
    Mesh,
}

/// What leads from one view of a network to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewChange {
    /// New or different.
    pub put: Vec<ViewPart>,
    /// No longer there.
    pub removed: Vec<ViewKey>,
}

impl ViewPart {
    /// Its name.
    pub fn key(&self) -> ViewKey {
        match self {
            Self::Head(_) => ViewKey::Head,
            Self::Endpoint(endpoint) => ViewKey::Endpoint(endpoint.task),
            Self::Service(service) => ViewKey::Service(service.id),
            Self::Mesh(_) => ViewKey::Mesh,
        }
    }
}

impl ViewChange {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.removed.is_empty()
    }
}

impl NetworkView {
    /// What concerns the network as a whole.
    pub fn head(&self) -> ViewHead {
        ViewHead { data_path_port: self.data_path_port }
    }

    /// All parts.
    pub fn parts(&self) -> impl Iterator<Item = ViewPart> {
        std::iter::once(ViewPart::Head(self.head()))
            .chain(self.endpoints.iter().cloned().map(ViewPart::Endpoint))
            .chain(self.services.iter().cloned().map(ViewPart::Service))
            .chain(self.mesh.iter().cloned().map(ViewPart::Mesh))
    }

    /// What leads from `before` to this view, whatever their versions.
    pub fn change_since(&self, before: &Self) -> ViewChange {
        let mut change = ViewChange::default();
        if self.head() != before.head() {
            change.put.push(ViewPart::Head(self.head()));
        }
        for (old, now) in differing(&before.endpoints, &self.endpoints, |one| one.task) {
            match now {
                Some(now) => change.put.push(ViewPart::Endpoint(now.clone())),
                None => change.removed.extend(old.map(|old| ViewKey::Endpoint(old.task))),
            }
        }
        for (old, now) in differing(&before.services, &self.services, |one| one.id) {
            match now {
                Some(now) => change.put.push(ViewPart::Service(now.clone())),
                None => change.removed.extend(old.map(|old| ViewKey::Service(old.id))),
            }
        }
        if self.mesh != before.mesh {
            match &self.mesh {
                Some(mesh) => change.put.push(ViewPart::Mesh(mesh.clone())),
                None => change.removed.push(ViewKey::Mesh),
            }
        }
        change
    }

    /// Takes a change in. What is removed and not there is left out.
    pub fn take(&mut self, change: ViewChange) {
        for key in change.removed {
            match key {
                ViewKey::Head => {}
                ViewKey::Mesh => self.mesh = None,
                ViewKey::Endpoint(task) => remove(&mut self.endpoints, task, |one| one.task),
                ViewKey::Service(service) => remove(&mut self.services, service, |one| one.id),
            }
        }
        for part in change.put {
            match part {
                ViewPart::Head(head) => self.data_path_port = head.data_path_port,
                ViewPart::Endpoint(one) => put(&mut self.endpoints, one, |one| one.task),
                ViewPart::Service(one) => put(&mut self.services, one, |one| one.id),
                ViewPart::Mesh(mesh) => self.mesh = Some(mesh),
            }
        }
    }
}

/// What is not the same in both lists, as it is in each of them. They are in the order of their keys.
pub fn differing<'a, T: PartialEq, K: Ord>(
    before: &'a [T],
    now: &'a [T],
    key: impl Fn(&T) -> K,
) -> Vec<(Option<&'a T>, Option<&'a T>)> {
    let mut found = Vec::new();
    let mut left = before.iter().peekable();
    for one in now {
        while let Some(gone) = left.next_if(|other| key(other) < key(one)) {
            found.push((Some(gone), None));
        }
        let old = left.next_if(|other| key(other) == key(one));
        if old != Some(one) {
            found.push((old, Some(one)));
        }
    }
    found.extend(left.map(|gone| (Some(gone), None)));
    found
}

fn put<T, K: Ord>(list: &mut Vec<T>, one: T, key: impl Fn(&T) -> K) {
    match list.binary_search_by_key(&key(&one), key) {
        Ok(position) => list[position] = one,
        Err(position) => list.insert(position, one),
    }
}

fn remove<T, K: Ord>(list: &mut Vec<T>, wanted: K, key: impl Fn(&T) -> K) {
    if let Ok(position) = list.binary_search_by_key(&wanted, key) {
        list.remove(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{ClusterNetworkId, NodeId};

    fn endpoint(number: u8, healthy: bool) -> ViewEndpoint {
        ViewEndpoint {
            task: TaskId::from_bytes([number; 16]),
            service: None,
            node: NodeId::from_bytes([1; 16]),
            data_path: None,
            addresses: Vec::new(),
            mac: [0; 6],
            name: format!("c{number}"),
            aliases: Vec::new(),
            healthy,
        }
    }

    fn service(number: u8, name: &str) -> ViewService {
        ViewService {
            id: ServiceId::from_bytes([number; 16]),
            name: name.to_owned(),
            aliases: Vec::new(),
            virtual_ips: Vec::new(),
        }
    }

    fn view(endpoints: &[(u8, bool)], services: &[(u8, &str)]) -> NetworkView {
        NetworkView {
            network: ClusterNetworkId::from_bytes([1; 16]),
            version: 1,
            data_path_port: 4789,
            endpoints: endpoints.iter().map(|(number, ok)| endpoint(*number, *ok)).collect(),
            services: services.iter().map(|(number, name)| service(*number, name)).collect(),
            mesh: None,
        }
    }

    #[test]
    fn only_what_differs_is_part_of_a_change() {
        let before = view(&[(1, true), (2, true), (4, true)], &[(1, "web"), (2, "db")]);
        let after = view(&[(2, false), (3, true), (4, true)], &[(1, "web"), (3, "new")]);
        let expected = ViewChange {
            put: vec![
                ViewPart::Endpoint(endpoint(2, false)),
                ViewPart::Endpoint(endpoint(3, true)),
                ViewPart::Service(service(3, "new")),
            ],
            removed: vec![
                ViewKey::Endpoint(TaskId::from_bytes([1; 16])),
                ViewKey::Service(ServiceId::from_bytes([2; 16])),
            ],
        };
        assert_eq!(after.change_since(&before), expected);
        assert!(after.change_since(&after).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn a_change_that_is_taken_in_leads_to_the_view(
            steps in proptest::collection::vec(
                (
                    proptest::collection::btree_map(0_u8..12, proptest::bool::ANY, 0..12),
                    proptest::collection::btree_map(0_u8..12, "[ab]", 0..12),
                    1_u16..4,
                    proptest::option::of(1_u32..3),
                ),
                1..8,
            )
        ) {
            let mut held = view(&[], &[]);
            for (endpoints, services, port, vni) in steps {
                let endpoints: Vec<_> = endpoints.into_iter().collect();
                let services: Vec<_> =
                    services.iter().map(|(number, name)| (*number, name.as_str())).collect();
                let mut wanted = view(&endpoints, &services);
                wanted.data_path_port = port;
                wanted.mesh = vni.map(|vni| Mesh { vni, ..Mesh::default() });
                held.take(wanted.change_since(&held));
                proptest::prop_assert_eq!(&held, &wanted);
                let mut afresh = view(&[], &[]);
                let put = wanted.parts().collect();
                afresh.take(ViewChange { put, removed: Vec::new() });
                proptest::prop_assert_eq!(&afresh, &wanted);
            }
        }
    }
}
