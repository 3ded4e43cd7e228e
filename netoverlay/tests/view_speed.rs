//! Changes of a view beside a thousand services, connections through a virtual address beside direct ones, and the
//! overlay beside a VXLAN made by hand; printed. The limits are far above the budgets, so that only a change of kind
//! fails on a busy machine.
#![allow(clippy::print_stdout, reason = "the numbers are the point")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod lab;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lab::hosts::{Host, Hosts, echo, stream};
use lab::{id, inside};
use shoal_base::{Clock, SystemClock};
use shoal_model::Timestamp;
use shoal_model::cluster::view::{ViewEndpoint, ViewService, mac_of};
use shoal_model::cluster::{ClusterNetworkId, NetworkView, NodeId, ServiceId, TaskId};
use shoal_netoverlay::endpoint::EndpointRequest;
use shoal_netoverlay::network::{Driver, Network, NetworkSpec, OverlayOptions, Pool};
use shoal_netoverlay::network_id;
use shoal_netoverlay::sandbox::{Sandbox, SandboxRequest};
use shoal_report::{Row, Sheet};

const NET: ClusterNetworkId = ClusterNetworkId::from_bytes([1; 16]);
const CLIENTS: u16 = 50;
const CHANGES: u16 = 60;
const BACKENDS: u16 = 3;
const CONNECTIONS: u32 = 300;
const VOLUME: usize = 512 << 20;
const ROUNDS: usize = 9;

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn id_of(kind: u8, number: u16) -> [u8; 16] {
    let mut bytes = [kind; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// `10.block.high.low`.
fn address(block: u8, number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [10, block, high, low]
}

fn network() -> Network {
    let pool = Pool {
        subnet: "10.64.0.0/10".parse().unwrap(),
        range: None,
        gateway: "10.127.255.254".parse().unwrap(),
        auxiliary: BTreeMap::new(),
    };
    Network {
        id: network_id(NET),
        created: Timestamp::from_nanos(0),
        spec: NetworkSpec { driver: Driver::Overlay, ..NetworkSpec::bridge("net") },
        pools: vec![pool],
        bridge: None,
        parent: None,
        overlay: Some(OverlayOptions { vni: 4097, mtu: 1450 }),
        mesh: None,
    }
}

fn endpoint(number: u16, service: u16, on: u8, address: [u8; 4]) -> ViewEndpoint {
    let addresses = vec![format!("{}/10", std::net::Ipv4Addr::from(address)).parse().unwrap()];
    ViewEndpoint {
        task: TaskId::from_bytes(id_of(2, number)),
        service: Some(ServiceId::from_bytes(id_of(3, service))),
        node: node(on),
        data_path: Some([203, 0, 113, on].into()),
        mac: mac_of(&addresses),
        addresses,
        name: format!("s{service}.{number}"),
        aliases: Vec::new(),
        healthy: true,
    }
}

fn service(number: u16) -> ViewService {
    ViewService {
        id: ServiceId::from_bytes(id_of(3, number)),
        name: format!("s{number}"),
        aliases: Vec::new(),
        virtual_ips: vec![address(66, number).into()],
    }
}

/// Services from 1 on with three backends each on another node, but the one `without`, which has one less.
fn view(version: u64, services: u16, without: Option<u16>) -> NetworkView {
    let mut endpoints = Vec::new();
    for number in 1..=services {
        for backend in 0..BACKENDS {
            let task = number * BACKENDS + backend;
            if backend != 0 || without != Some(number) {
                endpoints.push(endpoint(task, number, 2, address(65, task)));
            }
        }
    }
    NetworkView {
        network: NET,
        version,
        data_path_port: 4789,
        endpoints,
        services: (1..=services).map(service).collect(),
        mesh: None,
    }
}

fn tell(host: &Host, own: u8, view: NetworkView) {
    let networks = host.networks();
    host.run(async move { networks.apply_view(Arc::new(view), node(own)).await }).unwrap();
}

fn join(host: &Host, name: &str, address: [u8; 4]) -> Sandbox {
    let request = EndpointRequest { ipv4: Some(address.into()), ..Default::default() };
    let endpoints = vec![(network_id(NET), request)];
    let request = SandboxRequest { id: id(name), endpoints, ports: Vec::new() };
    let networks = host.networks();
    host.run(async move { networks.attach(request).await }).unwrap()
}

fn begin(host: &Host) {
    let networks = host.networks();
    host.run(async move { networks.define_overlay(network()).await }).unwrap();
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn kilobytes(file: &str, field: &str) -> i64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A task goes, comes back, then one of another service.
fn without(change: u16, services: u16) -> Option<u16> {
    change.is_multiple_of(2).then(|| change / 2 % services + 1)
}

/// CPU of one change of one task, per attached namespace.
fn changes(host: &Host, version: &mut u64, services: u16) -> Duration {
    let next = |version: &mut u64| {
        *version += 1;
        *version
    };
    tell(host, 1, view(next(version), services, None));
    let before = cpu();
    for number in 0..CHANGES {
        tell(host, 1, view(next(version), services, without(number, services)));
    }
    let made = {
        // What the test itself takes to make a view.
        let before = cpu();
        for number in 0..CHANGES {
            drop(view(1, services, without(number, services)));
        }
        cpu() - before
    };
    (cpu() - before - made * 2) / u32::from(CHANGES) / u32::from(CLIENTS)
}

#[test]
#[ignore = "measures: `cargo xtask bench network`"]
fn a_change_of_one_task_beside_a_thousand_services() {
    let hosts = Hosts::new(1);
    let host = hosts.host(1);
    begin(host);
    let mut version = 1;
    tell(host, 1, view(version, 10, None));
    for number in 1..=CLIENTS {
        join(host, &format!("client{number}"), address(67, number));
    }
    let few = changes(host, &mut version, 10);
    let (own, kernel) = ("/proc/self/status", "/proc/meminfo");
    let before = (kilobytes(own, "VmRSS"), kilobytes(kernel, "Slab"));
    let many = changes(host, &mut version, 1_000);
    let after = (kilobytes(own, "VmRSS"), kilobytes(kernel, "Slab"));
    let mut sheet = Sheet::begin().unwrap();
    for (services, cost) in [("10", few), ("1,000", many)] {
        let what = format!("view change, {CLIENTS} clients × {services} services");
        let row = Row::at_most(what, "µs", &[cost.as_secs_f64() * 1e6], 100.0);
        sheet.add(row.how("CPU per namespace of the change of one task")).unwrap();
    }
    for (whose, kilobytes) in [("daemon", after.0 - before.0), ("kernel", after.1 - before.1)] {
        let what = format!("memory of 1,000 services for {CLIENTS} clients, {whose}");
        sheet.add(Row::told(what, "MB", &[kilobytes as f64 / 1e3])).unwrap();
    }
    sheet.finish();
}

/// Milliseconds of a connection with an answer, and megabytes a second.
fn measure(client: &Path, to: &str) -> (f64, f64) {
    let start = SystemClock.monotonic();
    for _ in 0..CONNECTIONS {
        let mut one = stream(client, to);
        one.write_all(b"x").unwrap();
        one.read_exact(&mut [0]).unwrap();
    }
    let latency = (SystemClock.monotonic() - start).as_secs_f64() * 1e3 / f64::from(CONNECTIONS);
    let mut one = stream(client, to);
    let mut back = one.try_clone().unwrap();
    let start = SystemClock.monotonic();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        let mut left = VOLUME;
        while left > 0 {
            left -= back.read(&mut buffer).unwrap();
        }
    });
    let chunk = vec![0; 256 << 10];
    for _ in 0..VOLUME / chunk.len() {
        one.write_all(&chunk).unwrap();
    }
    reader.join().unwrap();
    (latency, VOLUME as f64 / 1e6 / (SystemClock.monotonic() - start).as_secs_f64())
}

#[test]
#[ignore = "measures: `cargo xtask bench network`"]
fn beside_direct_connections_and_a_vxlan_by_hand() {
    let hosts = Hosts::new(2);
    let server = address(68, 1);
    // One service with one backend, and others beside it.
    let with = |version, others: u16| {
        let mut made = view(version, others, None);
        made.endpoints.push(endpoint(60_000, 60_000, 2, server));
        made.endpoints
            .push(ViewEndpoint { healthy: false, ..endpoint(60_001, 60_001, 1, address(67, 1)) });
        made.services.push(service(60_000));
        made
    };
    for number in 1..=2 {
        begin(hosts.host(number));
        tell(hosts.host(number), number as u8, with(1, 0));
    }
    let client = join(hosts.host(1), "client", address(67, 1));
    let sandbox = join(hosts.host(2), "server", server);
    echo(&sandbox.path, "10.68.0.1:80");
    // By hand: once between hosts, once between containers, which have a veth pair and a bridge on their way.
    let mut by_hand = Vec::new();
    for (own, other) in [(1, 2), (2, 1)] {
        let lines = format!(
            "ip link add hand type vxlan id 77 dstport 4799 local 203.0.113.{own} remote 203.0.113.{other} && \
             ip link set hand mtu 1450 up && ip addr add 192.168.77.{own}/24 dev hand && \
             ip link add handc type vxlan id 78 dstport 4798 local 203.0.113.{own} remote 203.0.113.{other} && \
             ip link set handc mtu 1450 up"
        );
        inside(&hosts.host(own).path, &lines);
        by_hand.push(hosts.container_by_hand(own, "handc", &format!("192.168.78.{own}/24")));
    }
    echo(&hosts.host(2).path, "192.168.77.2:80");
    echo(&by_hand[1], "192.168.78.2:80");
    let vip = std::net::Ipv4Addr::from(address(66, 60_000));
    let mut sheet = Sheet::begin().unwrap();
    for others in [0, 1_000] {
        tell(hosts.host(1), 1, with(2 + u64::from(others), others));
        let mut ratios = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let between_hosts = measure(&hosts.host(1).path, "192.168.77.2:80");
            let between_containers = measure(&by_hand[0], "192.168.78.2:80");
            let direct = measure(&client.path, "10.68.0.1:80");
            let by_vip = measure(&client.path, &format!("{vip}:80"));
            println!(
                "by hand between hosts {between_hosts:.3?}, containers {between_containers:.3?}; \
                 direct {direct:.3?}, VIP {by_vip:.3?} (ms, MB/s)"
            );
            ratios[0].push(by_vip.0 / direct.0);
            ratios[1].push(direct.1 / between_containers.1);
            ratios[2].push(direct.1 / between_hosts.1);
        }
        let beside = format!("{} services", others + 1);
        let what = format!("connect through a virtual address to a direct connect, {beside}");
        let latency = Row::at_most(what, "×", &ratios[0], 1.1);
        let what =
            format!("throughput between containers to VXLAN by hand between containers, {beside}");
        let volume = Row::at_least(what, "×", &ratios[1], 0.95);
        let what =
            format!("throughput between containers to VXLAN by hand between hosts, {beside}");
        let to_hosts = Row::at_least(what, "×", &ratios[2], 0.95);
        for row in [latency, volume, to_hosts] {
            sheet.add(row).unwrap();
        }
    }
    sheet.finish();
}
