//! What nodes are told of the routing mesh: made from the state alone, the same on every manager.

use std::collections::BTreeMap;
use std::net::IpAddr;

use shoal_model::cluster::mesh::{Mesh, MeshNode, MeshPort, MeshSubnet};
use shoal_model::cluster::service::{PortConfig, PortExtension, PublishMode};
use shoal_model::cluster::{ClusterNetwork, ClusterNetworkId, Node, Service};

use crate::store::State;
use crate::view::data_path;

/// The mesh, when the network is its own and has its subnets.
pub fn mesh(state: &State, network: ClusterNetworkId) -> Option<Mesh> {
    let network = state.network(network).filter(|network| network.spec.ingress)?;
    let allocation = network.allocation.as_ref()?;
    let mut ports = BTreeMap::new();
    for service in state.services().filter(|service| !service.removing) {
        for port in published(service) {
            // Of two services with one port, which only a fault brings about, the first has it.
            ports.entry((port.protocol, port.published)).or_insert(port);
        }
    }
    Some(Mesh {
        name: network.spec.name.clone(),
        vni: allocation.vni,
        mtu: allocation.mtu,
        subnets: subnets(network),
        nodes: state.nodes().filter_map(|one| node(one)).collect(),
        ports: ports.into_values().collect(),
    })
}

/// The first subnet of each family: tasks get one address of each.
fn subnets(network: &ClusterNetwork) -> Vec<MeshSubnet> {
    let pools = network.allocation.iter().flat_map(|allocation| &allocation.pools);
    let mut subnets: Vec<MeshSubnet> = Vec::new();
    for pool in pools {
        let (Ok(subnet), Some(gateway)) = (pool.subnet.parse(), pool.gateway) else { continue };
        if !subnets.iter().any(|other| other.gateway.is_ipv4() == gateway.is_ipv4()) {
            subnets.push(MeshSubnet { subnet, gateway });
        }
    }
    subnets
}

fn node(node: &Node) -> Option<MeshNode> {
    let told = node.description.iter().flat_map(|description| &description.addresses).copied();
    let mut addresses: Vec<IpAddr> =
        node.status.address.into_iter().chain(node.data_path).chain(told).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Some(MeshNode {
        id: node.id,
        index: node.mesh_index.filter(|index| *index != 0)?,
        data_path: data_path(node),
        addresses,
    })
}

fn published(service: &Service) -> impl Iterator<Item = MeshPort> {
    let ports = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let ports = ports.filter(|port| port.mode == PublishMode::Ingress && port.published != 0);
    ports.map(|port| {
        let extension = extension(service, port).cloned().unwrap_or_default();
        MeshPort {
            protocol: port.protocol,
            published: port.published,
            target: port.target,
            service: service.id,
            policy: extension.policy,
            address: extension.address,
            interface: extension.interface,
        }
    })
}

fn extension<'a>(service: &'a Service, port: &PortConfig) -> Option<&'a PortExtension> {
    let extensions = &service.spec.extensions.ports;
    extensions.iter().find(|one| one.target == port.target && one.protocol == port.protocol)
}

/// Whether a change of a node is one of the mesh.
pub fn concerns(old: Option<&Node>, new: Option<&Node>) -> bool {
    old.and_then(node) != new.and_then(node)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_model::cluster::network::NetworkAllocation;
    use shoal_model::cluster::node::NodeDescription;
    use shoal_model::cluster::service::{Endpoint, PortPolicy, Protocol};
    use shoal_model::network::IpamPool;

    use super::*;
    use crate::samples;
    use crate::store::{Change, Transaction};

    fn state(service: Service, allocated: bool) -> State {
        let mut network = samples::network(9, "ingress");
        network.spec.ingress = true;
        let pool = |subnet: &str, gateway: &str| IpamPool {
            subnet: subnet.to_owned(),
            gateway: Some(gateway.parse().unwrap()),
            ..IpamPool::default()
        };
        network.allocation = allocated.then(|| NetworkAllocation {
            driver: "overlay".to_owned(),
            pools: vec![
                pool("10.0.0.0/24", "10.0.0.1"),
                pool("10.9.0.0/24", "10.9.0.1"),
                pool("fd00::/64", "fd00::1"),
            ],
            vni: 4096,
            mtu: 1450,
        });
        let mut node = samples::node(1);
        node.mesh_index = Some(7);
        node.status.address = Some([192, 0, 2, 1].into());
        let addresses = vec![[192, 0, 2, 1].into(), [198, 51, 100, 1].into()];
        node.description = Some(NodeDescription { addresses, ..NodeDescription::default() });
        let mut without = samples::node(2);
        without.mesh_index = None;
        let changes = vec![
            Change::PutCluster(Arc::new(samples::cluster())),
            Change::PutNetwork(Arc::new(network)),
            Change::PutNode(Arc::new(node)),
            Change::PutNode(Arc::new(without)),
            Change::PutService(Arc::new(service)),
        ];
        let mut state = State::default();
        state.apply(1, &Transaction { changes, ..Transaction::default() }).unwrap();
        state
    }

    fn service() -> Service {
        let port =
            |published, mode| PortConfig { target: 80, published, mode, ..Default::default() };
        let mut service = samples::service(1, "web");
        let ports = vec![port(8080, PublishMode::Ingress), port(81, PublishMode::Host)];
        service.endpoint = Some(Endpoint { ports, ..Endpoint::default() });
        let policy = PortPolicy::LocalFirst;
        let extension = PortExtension { target: 80, policy, ..PortExtension::default() };
        service.spec.extensions.ports = vec![extension];
        service
    }

    #[test]
    fn nodes_with_an_index_and_published_ports_are_told() {
        let id = samples::network(9, "ingress").id;
        let mesh = mesh(&state(service(), true), id).unwrap();
        let subnets: Vec<String> = mesh.subnets.iter().map(|one| one.subnet.to_string()).collect();
        assert_eq!(subnets, ["10.0.0.0/24", "fd00::/64"]);
        let nodes: Vec<_> = mesh.nodes.iter().map(|one| (one.index, one.data_path)).collect();
        assert_eq!(nodes, [(7, Some([192, 0, 2, 1].into()))]);
        let own: [IpAddr; 2] = [[192, 0, 2, 1].into(), [198, 51, 100, 1].into()];
        assert_eq!(mesh.nodes[0].addresses, own, "each once");
        let expected = MeshPort {
            protocol: Protocol::Tcp,
            published: 8080,
            target: 80,
            service: service().id,
            policy: PortPolicy::LocalFirst,
            address: None,
            interface: String::new(),
        };
        assert_eq!(mesh.ports, [expected]);
    }

    #[test]
    fn what_goes_is_not_told() {
        let id = samples::network(9, "ingress").id;
        let removing = Service { removing: true, ..service() };
        assert_eq!(mesh(&state(removing, true), id).unwrap().ports, []);
        assert_eq!(mesh(&state(service(), false), id), None, "it has no subnet yet");
    }
}
