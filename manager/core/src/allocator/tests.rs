use expect_test::{Expect, expect};
use shoal_model::cluster::service::{EndpointMode, EndpointSpec, PortConfig, PublishMode};
use shoal_model::cluster::task::NetworkWish;
use shoal_model::cluster::{TaskId, TaskSpec};
use shoal_model::network::IpamPool;

use super::*;
use crate::samples;
use crate::store::Transaction;

/// A store, an allocator that follows it, and a clock that is moved by hand.
struct World {
    state: State,
    allocator: Allocator,
    index: u64,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let state = State::default();
        let allocator = Allocator::new(&state);
        let mut world = Self { state, allocator, index: 0, now: Timestamp::from_parts(1000, 0) };
        world.commit(vec![Change::PutCluster(Arc::new(samples::cluster()))]);
        world
    }

    /// With the ingress network and network 2, `net`, both allocated.
    fn with_networks() -> Self {
        let mut world = Self::new();
        world.network(1, "ingress", |network| network.spec = ingress_network());
        world.plan();
        world.network(2, "net", |_| {});
        world.plan();
        world
    }

    fn commit(&mut self, changes: Vec<Change>) {
        self.index += 1;
        let transaction = Transaction { at: self.now, expect: Vec::new(), changes };
        let applied = self.state.apply(self.index, &transaction).unwrap();
        for event in &applied.events {
            self.allocator.observe(event);
        }
    }

    fn network(&mut self, number: u64, name: &str, edit: impl FnOnce(&mut ClusterNetwork)) {
        let mut network = samples::network(number, name);
        edit(&mut network);
        self.commit(vec![Change::PutNetwork(Arc::new(network))]);
    }

    fn pool(&mut self, number: u64, name: &str, pool: IpamPool) {
        self.network(number, name, |network| network.spec.ipam.pools.push(pool));
    }

    /// Creates or changes a service.
    fn service(&mut self, number: u64, edit: impl FnOnce(&mut Service)) {
        let new = samples::service(number, &format!("s{number}"));
        let mut service = self.state.service(new.id).map_or(new, |known| Service::clone(known));
        edit(&mut service);
        self.commit(vec![Change::PutService(Arc::new(service))]);
    }

    /// Creates or changes task `number` of service `number` / 100.
    fn task(&mut self, number: u64, edit: impl FnOnce(&mut Task)) {
        let service = self.state.service(ServiceId::from_bytes(samples::bytes(number / 100)));
        let id = TaskId::from_bytes(samples::bytes(number));
        let mut task = self.state.task(id).map_or_else(
            || {
                let mut task = samples::task(number, number / 100, number % 100);
                task.status.state = TaskState::New;
                task.spec =
                    service.map(|service| Arc::clone(&service.spec.task)).unwrap_or_default();
                task.service = service.map(|service| service.id);
                task
            },
            |task| Task::clone(task),
        );
        edit(&mut task);
        self.commit(vec![Change::PutTask(Arc::new(task))]);
    }

    fn plan(&mut self) -> String {
        let plan = self.allocator.plan(&self.state, self.now, 100);
        let lines = plan.changes.iter().map(render).collect::<Vec<_>>().join("\n");
        self.commit(plan.changes);
        lines
    }

    #[track_caller]
    fn check(&mut self, expect: &Expect) {
        expect.assert_eq(&self.plan());
        assert_eq!(self.plan(), "", "a second plan changes nothing");
        let fresh = super::plan(&self.state, self.now);
        assert_eq!(fresh.changes, [], "neither does a new leader");
    }

    /// Leases that follow from the state are those that the events left.
    #[track_caller]
    fn check_leases(&self) {
        let fresh = Allocator::new(&self.state);
        assert_eq!(self.allocator.leases, fresh.leases);
        for (id, space) in &self.allocator.spaces {
            assert_eq!(space.held(), fresh.spaces[id].held(), "{id}");
        }
    }
}

fn number(bytes: [u8; 16]) -> u128 {
    u128::from_be_bytes(bytes)
}

fn render(change: &Change) -> String {
    match change {
        Change::PutNetwork(network) => match &network.allocation {
            Some(given) => {
                let pools = given
                    .pools
                    .iter()
                    .map(|pool| format!("{} via {}", pool.subnet, pool.gateway.unwrap()));
                let pools = pools.collect::<Vec<_>>().join(", ");
                format!("{}: {pools}, vni {}, mtu {}", network.spec.name, given.vni, given.mtu)
            }
            None => format!("{}: {}", network.spec.name, network.error),
        },
        Change::PutService(service) if !service.endpoint_error.is_empty() => {
            format!("{}: {}", service.spec.annotations.name, service.endpoint_error)
        }
        Change::PutService(service) => {
            let endpoint = service.endpoint.as_ref().unwrap();
            let ports = endpoint.ports.iter().map(|port| format!(" {}", port.published));
            let vips = endpoint.virtual_ips.iter().flat_map(|vip| {
                vip.ipv4.into_iter().chain(vip.ipv6).map(|address| format!(" {address}"))
            });
            let name = service.spec.annotations.name.clone();
            format!("{name}:") + &ports.chain(vips).collect::<String>()
        }
        Change::EditTask(task) => {
            let networks = task.networks.iter().map(|network| {
                let addresses = network.addresses.iter().map(|address| format!(" {address}"));
                let id = number(network.network.to_bytes());
                format!(" net{id}") + &addresses.collect::<String>()
            });
            let networks = networks.collect::<String>();
            format!("t{} {}:{networks}", number(task.id.to_bytes()), task.status.state.as_str())
        }
        Change::TaskStatus { task, status } => {
            format!("t{}: {}", number(task.to_bytes()), status.error)
        }
        Change::PutNode(node) => {
            format!("n{}: mesh {}", number(node.id.to_bytes()), node.mesh_index.unwrap())
        }
        Change::PutCluster(cluster) => format!("mesh cursor {}", cluster.mesh_cursor),
        other => format!("{other:?}"),
    }
}

fn join(service: &mut Service, networks: &[u64]) {
    let wish = |number: &u64| NetworkWish {
        target: ClusterNetworkId::from_bytes(samples::bytes(*number)).to_string(),
        ..NetworkWish::default()
    };
    let networks = networks.iter().map(wish).collect();
    service.spec.task = Arc::new(TaskSpec { networks, ..TaskSpec::default() });
}

fn publish(service: &mut Service, ports: &[(u16, PublishMode)]) {
    let ports = ports.iter().zip(8000..).map(|((published, mode), target)| PortConfig {
        published: *published,
        target,
        mode: *mode,
        ..PortConfig::default()
    });
    service.spec.endpoint =
        Some(EndpointSpec { ports: ports.collect(), ..EndpointSpec::default() });
}

fn subnet(text: &str) -> IpamPool {
    IpamPool { subnet: text.to_owned(), ..IpamPool::default() }
}

#[test]
fn networks_get_subnets_gateways_and_ids() {
    let mut world = World::new();
    world.network(1, "ingress", |network| network.spec = ingress_network());
    world.check(&expect!["ingress: 10.0.0.0/24 via 10.0.0.1, vni 4096, mtu 1450"]);
    world.network(2, "dual", |network| network.spec.enable_ipv6 = Some(true));
    world.check(&expect![
        "dual: 10.0.1.0/24 via 10.0.1.1, fd88:201e:b960::/64 via fd88:201e:b960::1, vni 4097, mtu 1450"
    ]);
    world.network(3, "local", |network| network.spec.driver = "bridge".to_owned());
    world.check(&expect![""]);
    let mut mine = subnet("192.168.0.0/16");
    mine.ip_range = "192.168.4.0/24".to_owned();
    mine.auxiliary.insert("router".to_owned(), "192.168.4.0".to_owned());
    world.pool(4, "mine", mine);
    world.check(&expect!["mine: 192.168.0.0/16 via 192.168.4.1, vni 4098, mtu 1450"]);
}

#[test]
fn a_freed_subnet_is_given_last() {
    let mut world = World::with_networks();
    world.commit(vec![Change::RemoveNetwork(samples::network(2, "net").id)]);
    world.network(3, "next", |_| {});
    world.check(&expect!["next: 10.0.2.0/24 via 10.0.2.1, vni 4098, mtu 1450"]);
}

#[test]
fn overlap_is_refused_and_tried_again() {
    let mut world = World::with_networks();
    world.pool(3, "wide", subnet("10.0.0.0/16"));
    world.check(&expect!["wide: subnet `10.0.0.0/16` overlaps `10.0.0.0/24` of network `ingress`"]);
    world.commit(vec![Change::RemoveNetwork(samples::network(1, "ingress").id)]);
    world.check(&expect!["wide: subnet `10.0.0.0/16` overlaps `10.0.1.0/24` of network `net`"]);
    world.commit(vec![Change::RemoveNetwork(samples::network(2, "net").id)]);
    world.check(&expect!["wide: 10.0.0.0/16 via 10.0.0.1, vni 4098, mtu 1450"]);
}

#[test]
fn bad_wishes_of_networks_are_named() {
    let mut world = World::with_networks();
    world.pool(10, "bits", subnet("10.9.0.1/16"));
    world.pool(11, "text", subnet("ten"));
    world.pool(12, "tiny", subnet("10.9.0.0/31"));
    let gateway = Some("10.8.0.1".parse().unwrap());
    world.pool(13, "gateway", IpamPool { gateway, ..subnet("10.9.0.0/24") });
    world.network(14, "mtu", |network| {
        let option = ("com.docker.network.driver.mtu".to_owned(), "many".to_owned());
        network.spec.options.extend([option]);
    });
    world.network(15, "vni", |network| {
        let name = "com.docker.network.driver.overlay.vxlanid_list";
        network.spec.options.extend([(name.to_owned(), "4096".to_owned())]);
    });
    world.network(16, "ipam", |network| network.spec.ipam.driver = "dhcp".to_owned());
    world.network(17, "none", |network| network.spec.enable_ipv4 = Some(false));
    world.check(&expect![[r#"
        bits: invalid subnet `10.9.0.1/16`: host bits are set
        text: invalid subnet `ten`: it is not an address with a prefix length
        tiny: invalid subnet `10.9.0.0/31`: it has no room for addresses
        gateway: address `10.8.0.1` is not within subnet `10.9.0.0/24`
        mtu: invalid value `many` of network option `com.docker.network.driver.mtu`
        vni: VXLAN id 4096 is taken by network `ingress`
        ipam: address management driver `dhcp` is not available in a cluster
        none: a network needs IPv4 or IPv6"#]]);
}

#[test]
fn pools_are_used_in_order_and_run_out() {
    let mut world = World::new();
    let mut cluster = samples::cluster();
    cluster.default_address_pool = ["10.20.0.0/25", "10.30.0.0/26"].map(str::to_owned).to_vec();
    cluster.subnet_size = 26;
    world.commit(vec![Change::PutCluster(Arc::new(cluster))]);
    let mut node = samples::node(1);
    node.mesh_index = Some(1);
    node.status.address = Some("10.20.0.9".parse().unwrap());
    node.description.as_mut().unwrap().underlay_mtu = 9000;
    world.commit(vec![Change::PutNode(Arc::new(node))]);
    for number in 1..4 {
        world.network(number, &format!("a{number}"), |_| {});
    }
    world.check(&expect![[r#"
        a1: 10.20.0.64/26 via 10.20.0.65, vni 4096, mtu 8950
        a2: 10.30.0.0/26 via 10.30.0.1, vni 4097, mtu 8950
        a3: no free subnet is left in the address pools `10.20.0.0/25`, `10.30.0.0/26`"#]]);
    world.commit(vec![Change::RemoveNetwork(samples::network(1, "a1").id)]);
    world.check(&expect!["a3: 10.20.0.64/26 via 10.20.0.65, vni 4098, mtu 8950"]);
}

#[test]
fn services_get_ports_and_addresses_and_tasks_follow() {
    let mut world = World::with_networks();
    world.service(1, |service| {
        join(service, &[2]);
        publish(
            service,
            &[(80, PublishMode::Ingress), (0, PublishMode::Ingress), (0, PublishMode::Host)],
        );
    });
    world.task(101, |_| {});
    world.task(102, |_| {});
    world.check(&expect![[r#"
        s1: 80 30000 0 10.0.0.2/24 10.0.1.2/24
        t101 pending: net1 10.0.0.3/24 net2 10.0.1.3/24
        t102 pending: net1 10.0.0.4/24 net2 10.0.1.4/24"#]]);
    let task = world.state.task(TaskId::from_bytes(samples::bytes(101))).unwrap();
    assert_eq!(task.endpoint.as_deref(), world.state.services().next().unwrap().endpoint.as_ref());
    assert_eq!(task.status.message, "pending task scheduling");
    world.service(1, |service| {
        publish(service, &[(81, PublishMode::Ingress), (0, PublishMode::Ingress)]);
    });
    world.check(&expect!["s1: 81 30000 10.0.0.2/24 10.0.1.2/24"]);
    world.service(1, |service| service.spec.endpoint = None);
    world.check(&expect!["s1: 10.0.1.2/24"]);
    world.check_leases();
}

#[test]
fn names_without_virtual_address() {
    let mut world = World::with_networks();
    world.service(1, |service| {
        join(service, &[2]);
        let mode = EndpointMode::DnsRoundRobin;
        service.spec.endpoint = Some(EndpointSpec { mode, ports: Vec::new() });
    });
    world.task(101, |_| {});
    world.check(&expect![[r#"
        s1:
        t101 pending: net2 10.0.1.2/24"#]]);
}

#[test]
fn networks_of_one_host_are_attached_without_addresses() {
    let mut world = World::with_networks();
    world.network(3, "host", |network| {
        network.spec.driver = "host".to_owned();
        network.predefined = true;
    });
    world.service(1, |service| join(service, &[3]));
    world.task(101, |_| {});
    world.check(&expect![[r#"
        s1:
        t101 pending: net3"#]]);
}

#[test]
fn a_port_has_one_service() {
    let mut world = World::with_networks();
    world.service(1, |service| publish(service, &[(80, PublishMode::Ingress)]));
    world.service(2, |service| publish(service, &[(80, PublishMode::Ingress)]));
    world.service(3, |service| publish(service, &[(80, PublishMode::Host)]));
    world.task(201, |_| {});
    world.check(&expect![[r#"
        s1: 80 10.0.0.2/24
        s2: port '80' is already in use by service 's1' (0000000000000000000000001) as an ingress port
        s3: 80
        t201: port '80' is already in use by service 's1' (0000000000000000000000001) as an ingress port"#]]);
    world.service(1, |service| service.removing = true);
    world.check(&expect![[r#"
        s2: 80 10.0.0.3/24
        t201 pending: net1 10.0.0.4/24"#]]);
    world.commit(vec![Change::RemoveService(ServiceId::from_bytes(samples::bytes(1)))]);
    world.check_leases();
}

#[test]
fn exhaustion_is_seen_and_ends() {
    let mut world = World::with_networks();
    world.pool(3, "small", subnet("10.5.0.0/29"));
    world.service(1, |service| join(service, &[3]));
    for task in 101..=106 {
        world.task(task, |_| {});
    }
    world.check(&expect![[r#"
        small: 10.5.0.0/29 via 10.5.0.1, vni 4098, mtu 1450
        s1: 10.5.0.2/29
        t101 pending: net3 10.5.0.3/29
        t102 pending: net3 10.5.0.4/29
        t103 pending: net3 10.5.0.5/29
        t104 pending: net3 10.5.0.6/29
        t105: network `small` has no free address left in `10.5.0.0/29`
        t106: network `small` has no free address left in `10.5.0.0/29`"#]]);
    world.service(2, |service| join(service, &[3]));
    world.check(&expect!["s2: network `small` has no free address left in `10.5.0.0/29`"]);
    world.task(102, |task| task.status.state = TaskState::Failed);
    world.check(&expect!["s2: 10.5.0.4/29"]);
    world.commit(vec![Change::RemoveTask(TaskId::from_bytes(samples::bytes(103)))]);
    world.check(&expect!["t105 pending: net3 10.5.0.5/29"]);
    world.check_leases();
}

#[test]
fn an_address_that_was_freed_is_given_last() {
    let mut world = World::with_networks();
    world.service(1, |service| join(service, &[2]));
    world.task(101, |_| {});
    world.plan();
    world.task(101, |task| task.status.state = TaskState::Failed);
    world.task(102, |_| {});
    world.check(&expect!["t102 pending: net2 10.0.1.4/24"]);
    world.allocator = Allocator::new(&world.state);
    world.task(103, |_| {});
    world.check(&expect!["t103 pending: net2 10.0.1.5/24"]);
}

#[test]
fn attachments_may_ask_for_an_address() {
    let mut world = World::with_networks();
    let attach = |task: &mut Task, address: &str| {
        let mut spec = TaskSpec::default();
        spec.networks.push(NetworkWish {
            target: "net".to_owned(),
            addresses: vec![address.to_owned()],
            ..NetworkWish::default()
        });
        (task.service, task.spec) = (None, Arc::new(spec));
    };
    world.task(1, |task| attach(task, "10.0.1.77"));
    world.task(2, |task| attach(task, "10.0.1.77"));
    world.task(3, |task| attach(task, "10.0.9.1/24"));
    world.check(&expect![[r#"
        t1 pending: net2 10.0.1.77/24
        t2: address `10.0.1.77` is in use on network `net`
        t3: `10.0.9.1/24` is no address of network `net`"#]]);
    world.task(1, |task| task.status.state = TaskState::Complete);
    world.check(&expect!["t2 pending: net2 10.0.1.77/24"]);
}

#[test]
fn tasks_wait_for_their_network() {
    let mut world = World::with_networks();
    world.service(1, |service| join(service, &[3]));
    world.task(101, |_| {});
    world.check(&expect![[r#"
        s1: no network `0000000000000000000000003`
        t101: no network `0000000000000000000000003`"#]]);
    world.pool(3, "late", subnet("10.0.1.0/24"));
    world.check(&expect![[r#"
        late: subnet `10.0.1.0/24` overlaps `10.0.1.0/24` of network `net`
        s1: network `late` could not be set up: subnet `10.0.1.0/24` overlaps `10.0.1.0/24` of network `net`
        t101: network `late` could not be set up: subnet `10.0.1.0/24` overlaps `10.0.1.0/24` of network `net`"#]]);
    world.commit(vec![Change::RemoveNetwork(samples::network(2, "net").id)]);
    world.check(&expect![[r#"
        late: 10.0.1.0/24 via 10.0.1.1, vni 4098, mtu 1450
        s1: 10.0.1.2/24
        t101 pending: net3 10.0.1.3/24"#]]);
}

#[test]
fn both_families_are_given() {
    let mut world = World::new();
    world.network(1, "dual", |network| {
        network.spec.enable_ipv6 = Some(true);
        network.spec.ipam.pools.push(subnet("fd00:1::/64"));
    });
    world.service(1, |service| join(service, &[1]));
    world.task(101, |_| {});
    world.check(&expect![[r#"
        dual: fd00:1::/64 via fd00:1::1, 10.0.0.0/24 via 10.0.0.1, vni 4096, mtu 1450
        s1: 10.0.0.2/24 fd00:1::2/64
        t101 pending: net1 10.0.0.3/24 fd00:1::3/64"#]]);
}

#[test]
fn nodes_get_an_index_that_rests_for_an_hour() {
    let mut world = World::new();
    for number in [1, 2] {
        world.commit(vec![Change::PutNode(Arc::new(samples::node(number)))]);
    }
    world.check(&expect![[r#"
        n1: mesh 1
        n2: mesh 2
        mesh cursor 2"#]]);
    world.commit(vec![Change::RemoveNode(samples::node(2).id)]);
    world.allocator = Allocator::new(&world.state);
    world.commit(vec![Change::PutNode(Arc::new(samples::node(3)))]);
    world.check(&expect![[r#"
        n3: mesh 3
        mesh cursor 3"#]]);
    world.allocator.meshes = Numbers::new(1, 3);
    world.allocator.meshes.hold(3, samples::node(3).id);
    world.allocator.resting = BTreeMap::from([(1, Some(world.now)), (2, None)]);
    world.commit(vec![Change::PutNode(Arc::new(samples::node(4)))]);
    assert_eq!(world.plan(), "", "all others rest");
    world.now = world.now.after(MESH_REST);
    world.network(1, "any", |network| network.spec.driver = "bridge".to_owned());
    assert_eq!(world.plan(), "n4: mesh 1\nmesh cursor 1");
}

#[test]
fn a_plan_is_bounded_and_may_be_forgotten() {
    let mut world = World::with_networks();
    world.service(1, |service| join(service, &[2]));
    for task in 101..104 {
        world.task(task, |_| {});
    }
    let plan = world.allocator.plan(&world.state, world.now, 2);
    assert_eq!((plan.changes.len(), plan.more), (2, true));
    world.allocator.forget(&world.state, &plan);
    world.check_leases();
    world.check(&expect![[r#"
        s1: 10.0.1.4/24
        t101 pending: net2 10.0.1.5/24
        t102 pending: net2 10.0.1.6/24
        t103 pending: net2 10.0.1.7/24"#]]);
    world.check_leases();
}
