//! What nodes are told about a network: made from the state alone, the same on every manager.
//!
//! A task is there from assigned until it has ended, so that it is reached while it starts and while it drains; only
//! one that runs and is wanted to run gets connections. A name exists while something healthy has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use shoal_model::cluster::node::NodeState;
use shoal_model::cluster::view::{NetworkView, ViewEndpoint, ViewService, mac_of};
use shoal_model::cluster::{ClusterNetworkId, Node, ServiceId, Task, TaskState};

use crate::store::State;

/// Where a node takes what is sent to its containers.
pub fn data_path(node: &Node) -> Option<IpAddr> {
    node.data_path.or(node.status.address)
}

/// The view of a network.
pub fn network_view(state: &State, network: ClusterNetworkId) -> NetworkView {
    let mut endpoints = Vec::new();
    let mut aliases = BTreeMap::<ServiceId, BTreeSet<String>>::new();
    for task in state.tasks_on_network(network) {
        let Some(endpoint) = endpoint(state, network, task) else { continue };
        if let Some(service) = endpoint.service.filter(|_| endpoint.healthy) {
            let attachments = task.networks.iter().filter(|one| one.network == network);
            let names = attachments.flat_map(|one| one.aliases.iter().cloned());
            aliases.entry(service).or_default().extend(names);
        }
        endpoints.push(endpoint);
    }
    let services = aliases.into_iter().filter_map(|(id, aliases)| {
        let service = state.service(id)?;
        let endpoint = service.endpoint.as_ref();
        let vips = endpoint.into_iter().flat_map(|endpoint| &endpoint.virtual_ips);
        let vips = vips.filter(|vip| vip.network == network);
        Some(ViewService {
            id,
            name: service.spec.annotations.name.clone(),
            aliases: aliases.into_iter().collect(),
            virtual_ips: vips.flat_map(|vip| vip.addresses()).collect(),
        })
    });
    NetworkView {
        network,
        version: state.index(),
        data_path_port: state.cluster().map_or(0, |cluster| cluster.data_path_port),
        services: services.collect(),
        endpoints,
        mesh: crate::mesh::mesh(state, network),
    }
}

fn endpoint(state: &State, network: ClusterNetworkId, task: &Task) -> Option<ViewEndpoint> {
    let node = task.node?;
    let observed = task.status.state;
    if observed < TaskState::Assigned || observed.is_terminal() {
        return None;
    }
    let attachment = task.networks.iter().find(|attachment| attachment.network == network)?;
    Some(ViewEndpoint {
        task: task.id,
        service: task.service,
        node,
        data_path: state.node(node).and_then(|node| data_path(node)),
        addresses: attachment.addresses.clone(),
        mac: mac_of(&attachment.addresses),
        name: container_name(task),
        aliases: if task.service.is_none() { attachment.aliases.clone() } else { Vec::new() },
        healthy: observed == TaskState::Running
            && task.desired == TaskState::Running
            && state.node(node).is_some_and(|node| node.status.state != NodeState::Down),
    })
}

/// Docker's name of a task's container; that of a plain one is its own.
pub fn container_name(task: &Task) -> String {
    let name = &task.annotations.name;
    if task.service.is_none() {
        return name.clone();
    }
    match (task.slot.0, task.node) {
        (0, Some(node)) => format!("{name}.{node}.{}", task.id),
        (slot, _) => format!("{name}.{slot}.{}", task.id),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_model::cluster::service::{Endpoint, VirtualIp};
    use shoal_model::cluster::task::NetworkAttachment;
    use shoal_model::cluster::{Annotations, IpPrefix, NodeId};

    use super::*;
    use crate::samples;
    use crate::store::{Change, Transaction};

    fn prefix(text: &str) -> IpPrefix {
        text.parse().unwrap()
    }

    fn task(number: u64, on: u64, observed: TaskState, desired: TaskState) -> Arc<Task> {
        let mut task = samples::task(number, 1, number);
        task.node = Some(NodeId::from_bytes(samples::bytes(on)));
        task.annotations =
            Arc::new(Annotations { name: "web".to_owned(), ..Annotations::default() });
        task.status.state = observed;
        task.desired = desired;
        task.networks = vec![NetworkAttachment {
            network: ClusterNetworkId::from_bytes(samples::bytes(9)),
            addresses: vec![prefix(&format!("10.0.1.{number}/24"))],
            aliases: vec!["www".to_owned()],
            driver_opts: BTreeMap::new(),
        }];
        Arc::new(task)
    }

    fn state(tasks: &[Arc<Task>]) -> State {
        let network = samples::network(9, "net");
        let mut service = samples::service(1, "web");
        service.endpoint = Some(Endpoint {
            virtual_ips: vec![VirtualIp {
                network: network.id,
                ipv4: Some(prefix("10.0.1.2/24")),
                ipv6: None,
            }],
            ..Endpoint::default()
        });
        let mut node = samples::node(1);
        node.status.address = Some([192, 0, 2, 1].into());
        let mut changes = vec![
            Change::PutCluster(Arc::new(samples::cluster())),
            Change::PutNode(Arc::new(node)),
            Change::PutNetwork(Arc::new(network)),
            Change::PutService(Arc::new(service)),
        ];
        changes.extend(tasks.iter().cloned().map(Change::PutTask));
        let mut state = State::default();
        let transaction = Transaction { changes, ..Transaction::default() };
        state.apply(7, &transaction).unwrap();
        state
    }

    fn shown(view: &NetworkView) -> Vec<(String, bool)> {
        view.endpoints
            .iter()
            .map(|one| (one.addresses[0].address.to_string(), one.healthy))
            .collect()
    }

    #[test]
    fn only_what_runs_and_shall_run_gets_connections() {
        use TaskState::{Failed, Pending, Running, Shutdown, Starting};
        let view = network_view(
            &state(&[
                task(11, 1, Running, Running),
                task(12, 1, Running, Shutdown),
                task(13, 1, Starting, Running),
                task(14, 1, Pending, Running),
                task(15, 1, Failed, Running),
            ]),
            ClusterNetworkId::from_bytes(samples::bytes(9)),
        );
        let expected = [("10.0.1.11", true), ("10.0.1.12", false), ("10.0.1.13", false)];
        assert_eq!(shown(&view), expected.map(|(address, healthy)| (address.to_owned(), healthy)));
        assert_eq!((view.version, view.data_path_port), (7, 4789));
        let first = &view.endpoints[0];
        assert_eq!(first.data_path, Some([192, 0, 2, 1].into()));
        assert_eq!(first.mac, [0x02, 0x42, 10, 0, 1, 11]);
        assert_eq!(first.name, format!("web.11.{}", first.task));
        let expected = ViewService {
            id: ServiceId::from_bytes(samples::bytes(1)),
            name: "web".to_owned(),
            aliases: vec!["www".to_owned()],
            virtual_ips: vec![[10, 0, 1, 2].into()],
        };
        assert_eq!(view.services, [expected]);
    }

    #[test]
    fn a_service_without_anything_healthy_has_no_name() {
        let starting = task(11, 1, TaskState::Starting, TaskState::Running);
        let network = ClusterNetworkId::from_bytes(samples::bytes(9));
        let view = network_view(&state(&[starting]), network);
        assert_eq!(shown(&view), [("10.0.1.11".to_owned(), false)]);
        assert_eq!(view.services, []);
    }
}
