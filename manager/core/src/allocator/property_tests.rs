//! Random creations, changes, ends and removals: nothing has two owners, nothing leaks, everything settles.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use shoal_model::cluster::service::{EndpointSpec, PortConfig, PublishMode};
use shoal_model::cluster::task::NetworkWish;
use shoal_model::cluster::{TaskId, TaskSpec};
use shoal_model::network::IpamPool;

use super::*;
use crate::samples;
use crate::store::Transaction;

#[derive(Debug, Clone)]
enum Step {
    Network { number: u64, subnet: Option<u8> },
    RemoveNetwork(u64),
    Service { number: u64, networks: Vec<u64>, ports: Vec<(u16, bool)> },
    EndService(u64),
    Task { service: u64, number: u64 },
    EndTask(u64),
    RemoveTask(u64),
    Node(u64),
    RemoveNode(u64),
    Plan { limit: usize, fails: bool },
    NewLeader,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let small = || 1..5_u64;
    let network = || 1..9_u64;
    let task = || 100..130_u64;
    let step = prop_oneof![
        2 => (network(), proptest::option::of(0..4_u8))
            .prop_map(|(number, subnet)| Step::Network { number, subnet }),
        1 => network().prop_map(Step::RemoveNetwork),
        4 => (
            small(),
            proptest::collection::vec(network(), 0..3),
            proptest::collection::vec((prop_oneof![Just(0), 80..83_u16], any::<bool>()), 0..3),
        )
            .prop_map(|(number, networks, ports)| Step::Service { number, networks, ports }),
        1 => small().prop_map(Step::EndService),
        8 => (small(), task()).prop_map(|(service, number)| Step::Task { service, number }),
        3 => task().prop_map(Step::EndTask),
        2 => task().prop_map(Step::RemoveTask),
        1 => small().prop_map(Step::Node),
        1 => small().prop_map(Step::RemoveNode),
        4 => (1..8_usize, proptest::bool::weighted(0.2))
            .prop_map(|(limit, fails)| Step::Plan { limit, fails }),
        1 => Just(Step::NewLeader),
    ];
    proptest::collection::vec(step, 1..80)
}

struct World {
    state: State,
    allocator: Allocator,
    index: u64,
    /// Networks that were removed: no two networks of a cluster's life have the same id.
    removed: BTreeSet<u64>,
}

impl World {
    /// Rules of the store decide; a change that it refuses is one that no user could make.
    fn commit(&mut self, changes: Vec<Change>) {
        self.index += 1;
        let at = Timestamp::from_parts(i64::try_from(self.index).unwrap(), 0);
        let transaction = Transaction { at, expect: Vec::new(), changes };
        if let Ok(applied) = self.state.apply(self.index, &transaction) {
            for event in &applied.events {
                self.allocator.observe(event);
            }
        }
    }

    fn plan(&mut self, limit: usize, fails: bool) -> Plan {
        let now = Timestamp::from_parts(i64::try_from(self.index).unwrap(), 0);
        let plan = self.allocator.plan(&self.state, now, limit);
        if fails {
            self.allocator.forget(&self.state, &plan);
        } else {
            self.commit(plan.changes.clone());
        }
        plan
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            if !self.allocator.is_due() {
                return;
            }
            self.plan(7, false);
        }
        panic!("it never settles");
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Network { number, subnet } => {
                let mut network = samples::network(number, &format!("net{number}"));
                if self.removed.contains(&number) || self.state.network(network.id).is_some() {
                    return;
                }
                network.spec.ingress = number == 1;
                network.spec.enable_ipv6 = Some(number == 2);
                if let Some(subnet) = subnet {
                    let subnet = format!("10.0.{subnet}.0/29");
                    network.spec.ipam.pools.push(IpamPool { subnet, ..IpamPool::default() });
                }
                self.commit(vec![Change::PutNetwork(Arc::new(network))]);
            }
            Step::RemoveNetwork(number) => {
                let id = samples::network(number, "").id;
                let was_there = self.state.network(id).is_some();
                self.commit(vec![Change::RemoveNetwork(id)]);
                if was_there && self.state.network(id).is_none() {
                    self.removed.insert(number);
                }
            }
            Step::Service { number, networks, ports } => self.service(number, &networks, &ports),
            Step::EndService(number) => {
                let id = ServiceId::from_bytes(samples::bytes(number));
                let Some(service) = self.state.service(id) else { return };
                let service = Service { removing: true, ..Service::clone(service) };
                self.commit(vec![Change::PutService(Arc::new(service))]);
                self.commit(vec![Change::RemoveService(id)]);
            }
            Step::Task { service, number } => {
                let Some(owner) =
                    self.state.service(ServiceId::from_bytes(samples::bytes(service)))
                else {
                    return;
                };
                let mut task = samples::task(number, service, number);
                task.spec = Arc::clone(&owner.spec.task);
                task.status.state = TaskState::New;
                if self.state.task(task.id).is_none() {
                    self.commit(vec![Change::PutTask(Arc::new(task))]);
                }
            }
            Step::EndTask(number) => {
                let id = TaskId::from_bytes(samples::bytes(number));
                let Some(task) = self.state.task(id) else { return };
                let status = TaskStatus { state: TaskState::Failed, ..task.status.clone() };
                self.commit(vec![Change::TaskStatus { task: id, status }]);
            }
            Step::RemoveTask(number) => {
                self.commit(vec![Change::RemoveTask(TaskId::from_bytes(samples::bytes(number)))]);
            }
            Step::Node(number) => {
                let node = samples::node(number);
                if self.state.node(node.id).is_none() {
                    self.commit(vec![Change::PutNode(Arc::new(node))]);
                }
            }
            Step::RemoveNode(number) => {
                self.commit(vec![Change::RemoveNode(samples::node(number).id)]);
            }
            Step::Plan { limit, fails } => {
                self.plan(limit, fails);
            }
            Step::NewLeader => self.allocator = Allocator::new(&self.state),
        }
    }

    fn service(&mut self, number: u64, networks: &[u64], ports: &[(u16, bool)]) {
        let new = samples::service(number, &format!("s{number}"));
        let mut service = self.state.service(new.id).map_or(new, |known| Service::clone(known));
        let wishes = networks.iter().map(|number| NetworkWish {
            target: samples::network(*number, "").id.to_string(),
            ..NetworkWish::default()
        });
        service.spec.task =
            Arc::new(TaskSpec { networks: wishes.collect(), ..TaskSpec::default() });
        let ports = ports.iter().zip(1..).map(|((published, is_ingress), target)| PortConfig {
            published: *published,
            target,
            mode: if *is_ingress { PublishMode::Ingress } else { PublishMode::Host },
            ..PortConfig::default()
        });
        service.spec.endpoint =
            Some(EndpointSpec { ports: ports.collect(), ..EndpointSpec::default() });
        self.commit(vec![Change::PutService(Arc::new(service))]);
    }

    /// Looks at the objects alone, not at the allocator's books.
    fn check_owners(&self) {
        let mut addresses: BTreeSet<(ClusterNetworkId, IpAddr)> = BTreeSet::new();
        let mut vnis = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for network in self.state.networks() {
            let Some(given) = &network.allocation else { continue };
            assert!(vnis.insert(given.vni), "VXLAN id {} has two owners", given.vni);
            for pool in &given.pools {
                assert!(addresses.insert((network.id, pool.gateway.unwrap())));
            }
        }
        for service in self.state.services() {
            let Some(endpoint) = &service.endpoint else { continue };
            for address in endpoint
                .virtual_ips
                .iter()
                .flat_map(|vip| vip.addresses().map(|address| (vip.network, address)))
            {
                // Of a service that is being removed, the network may go before the service.
                if self.state.network(address.0).is_some() {
                    assert!(addresses.insert(address), "{address:?} has two owners");
                }
            }
            // The ports of a service that is being removed are free for others, whichever of them has the lower id.
            let ingress =
                |port: &&PortConfig| !service.removing && port.mode == PublishMode::Ingress;
            for port in endpoint.ports.iter().filter(ingress) {
                let is_new = ports.insert((port.protocol, port.published));
                assert!(is_new, "port {} has two owners", port.published);
            }
        }
        let live = self.state.tasks().filter(|task| !task.status.state.is_terminal());
        for attachment in live.flat_map(|task| &task.networks) {
            for address in &attachment.addresses {
                let address = (attachment.network, address.address);
                if self.state.network(address.0).is_some() {
                    assert!(addresses.insert(address), "{address:?} has two owners");
                }
            }
        }
        let meshes: Vec<_> = self.state.nodes().filter_map(|node| node.mesh_index).collect();
        assert_eq!(meshes.iter().collect::<BTreeSet<_>>().len(), meshes.len());
    }

    /// What the events left is what the objects say.
    fn check_books(&self) {
        let fresh = Allocator::new(&self.state);
        assert_eq!(self.allocator.leases, fresh.leases);
        for (id, space) in &fresh.spaces {
            assert_eq!(self.allocator.spaces[id].held(), space.held(), "{id}");
        }
        assert_eq!(self.allocator.spaces.len(), fresh.spaces.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_has_two_owners_and_nothing_leaks(steps in steps()) {
        let state = State::default();
        let allocator = Allocator::new(&state);
        let mut world = World { state, allocator, index: 0, removed: BTreeSet::new() };
        let cluster = Cluster { subnet_size: 29, ..samples::cluster() };
        world.commit(vec![Change::PutCluster(Arc::new(cluster))]);
        for step in steps {
            world.run(step);
            world.check_owners();
            world.check_books();
        }
        world.settle();
        world.check_owners();
        world.check_books();
        // Where several things are missing, another one may be named, but nothing is left to give.
        let fresh = plan(&world.state, Timestamp::default());
        let given = fresh.changes.iter().find(|change| match change {
            Change::PutNetwork(network) => network.error.is_empty(),
            Change::PutService(service) => service.endpoint_error.is_empty(),
            Change::TaskStatus { .. } => false,
            _ => true,
        });
        prop_assert_eq!(given, None);
        for task in 100..130 {
            world.run(Step::RemoveTask(task));
        }
        for number in 1..5 {
            world.run(Step::EndService(number));
        }
        world.check_books();
        let leaked = world.allocator.leases.keys().find(|subject| {
            !matches!(subject, Subject::Network(_) | Subject::Node(_))
        });
        prop_assert_eq!(leaked, None);
    }
}
