//! Random network operations with random kills of the daemon: afterwards the kernel has what the API tells,
//! nothing else is left, and traffic takes the permitted paths and no other.
//!
//! `SHOAL_NETWORK_OPERATIONS` says how many (500 on request; a short round by default), `SHOAL_SEED` repeats a run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; what it prints is its report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use shoal_chaos_tests::command::{command, eventually, monotonic, stdout};
use shoal_chaos_tests::host::Host;
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::image;
use shoal_chaos_tests::network::{
    Attempt, HOST, NEIGHBOUR, Observed, kernel_differences, observe, wrong_paths,
};

const NETWORKS: usize = 4;
const CONTAINERS: usize = 5;
/// Operations between two looks.
const LOOK_EVERY: usize = 25;
/// A network with room for five containers: what a lost lease takes is missed at the end.
const SMALL: &str = "10.99.0.0/29";

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

#[derive(Debug, Clone)]
enum Operation {
    CreateNetwork { name: String, body: Value },
    RemoveNetwork { name: String },
    Run { name: String, networks: Vec<String>, port: Option<u16> },
    Remove { name: String },
    Restart { name: String },
    Connect { name: String, network: String },
    Disconnect { name: String, network: String },
}

/// What was acknowledged: networks, and the networks of running containers. Ports follow from these: they are
/// tried by traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ledger {
    networks: BTreeSet<String>,
    containers: BTreeMap<String, BTreeSet<String>>,
}

impl Ledger {
    fn of(observed: &Observed) -> Self {
        let containers = observed
            .containers
            .iter()
            .map(|(name, one)| (name.clone(), one.networks.keys().cloned().collect()));
        Self {
            networks: observed.networks.keys().cloned().collect(),
            containers: containers.collect(),
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::CreateNetwork { name, .. } => drop(self.networks.insert(name.clone())),
            Operation::RemoveNetwork { name } => drop(self.networks.remove(name)),
            Operation::Run { name, networks, .. } => {
                self.containers.insert(name.clone(), networks.iter().cloned().collect());
            }
            Operation::Remove { name } => drop(self.containers.remove(name)),
            Operation::Restart { .. } => {}
            Operation::Connect { name, network } => {
                self.containers.get_mut(name).unwrap().insert(network.clone());
            }
            Operation::Disconnect { name, network } => {
                self.containers.get_mut(name).unwrap().remove(network);
            }
        }
    }

    fn choose(&self, chance: &mut Chance) -> Operation {
        let nth = |chance: &mut Chance, names: Vec<&String>| {
            (!names.is_empty()).then(|| names[chance.below(names.len())].clone())
        };
        let network = |chance: &mut Chance| nth(chance, self.networks.iter().collect()).unwrap();
        let container = nth(chance, self.containers.keys().collect());
        match (chance.below(10), container) {
            (0..=1, _) => {
                let name = format!("n{}", chance.below(NETWORKS));
                if self.networks.contains(&name) {
                    return Operation::RemoveNetwork { name };
                }
                let body = json!({
                    "Name": name,
                    "Internal": chance.one_in(4),
                    "EnableIPv6": chance.one_in(2),
                    "Options": {
                        "com.docker.network.bridge.enable_icc": (!chance.one_in(4)).to_string(),
                    },
                });
                Operation::CreateNetwork { name, body }
            }
            (2..=4, _) | (_, None) => {
                let name = format!("c{}", chance.below(CONTAINERS));
                if self.containers.contains_key(&name) {
                    return Operation::Remove { name };
                }
                let networks = vec![network(chance)];
                let port = chance.one_in(2).then(|| 20_000 + u16::from(name.as_bytes()[1] - b'0'));
                Operation::Run { name, networks, port }
            }
            (5, Some(name)) => Operation::Restart { name },
            (6..=7, Some(name)) => Operation::Connect { name, network: network(chance) },
            (_, Some(name)) => {
                let joined: Vec<&String> = self.containers[&name].iter().collect();
                match nth(chance, joined) {
                    Some(network) => Operation::Disconnect { name, network },
                    None => Operation::Remove { name },
                }
            }
        }
    }
}

/// `Ok(false)`: refused for a reason that the API names.
fn perform(socket: &Path, operation: &Operation) -> anyhow::Result<bool> {
    let mut api = Connection::open(socket)?;
    let mut call = |method: &str, path: String, body: &Value| {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        match api.call(method, &path, &body) {
            Ok(_) => Ok(true),
            Err(error) if error.root_cause().to_string().starts_with('4') => Ok(false),
            Err(error) => Err(error),
        }
    };
    match operation {
        Operation::CreateNetwork { body, .. } => call("POST", "/networks/create".into(), body),
        Operation::RemoveNetwork { name } => {
            call("DELETE", format!("/networks/{name}"), &Value::Null)
        }
        Operation::Run { name, networks, port } => {
            let bound = port.map(|port| json!([{ "HostPort": port.to_string() }]));
            let body = json!({
                "Image": "busybox",
                "Cmd": ["httpd", "-f", "-p", "80", "-h", "/etc"],
                "StopSignal": "SIGKILL",
                "HostConfig": { "NetworkMode": networks[0], "PortBindings": { "80/tcp": bound } },
                "ExposedPorts": { "80/tcp": {} },
            });
            // A kill may have left it created: a second attempt begins anew.
            let gone = format!("/containers/{name}?force=1");
            call("DELETE", gone, &Value::Null)?;
            Ok(call("POST", format!("/containers/create?name={name}"), &body)?
                && call("POST", format!("/containers/{name}/start"), &Value::Null)?)
        }
        Operation::Remove { name } => {
            call("DELETE", format!("/containers/{name}?force=1"), &Value::Null)
        }
        Operation::Restart { name } => {
            call("POST", format!("/containers/{name}/restart?t=0"), &Value::Null)
        }
        Operation::Connect { name, network } => {
            call("POST", format!("/networks/{network}/connect"), &json!({ "Container": name }))
        }
        Operation::Disconnect { name, network } => {
            call("POST", format!("/networks/{network}/disconnect"), &json!({ "Container": name }))
        }
    }
}

/// A neighbour on a link, with a web server, that routes everything to the host.
struct Neighbour {
    name: String,
    server: std::process::Child,
}

impl Neighbour {
    fn start(host: &Host) -> Self {
        let name = format!("{}-n", host.name());
        let sh = |line: String| stdout(command("sh").args(["-ec", &line])).unwrap();
        let (host, there) = (host.name(), &name);
        sh(format!("ip netns add {there}; ip -n {there} link set lo up"));
        sh(format!("ip -n {host} link add up0 type veth peer name eth0 netns {there}"));
        for (name, link, [ipv4, ipv6]) in [(host, "up0", HOST), (there.as_str(), "eth0", NEIGHBOUR)]
        {
            sh(format!("ip -n {name} addr add {ipv4}/24 dev {link}"));
            sh(format!("ip -n {name} addr add {ipv6}/64 dev {link} nodad"));
            sh(format!("ip -n {name} link set {link} up"));
        }
        for (range, via) in [("172.16.0.0/12", 0), ("10.99.0.0/16", 0), ("fd00::/8", 1)] {
            sh(format!("ip -n {there} route add {range} via {}", HOST[via]));
        }
        let server = command("ip")
            .args(["netns", "exec", &name, "busybox", "httpd", "-f", "-p", "80", "-h", "/etc"])
            .spawn()
            .unwrap();
        Self { name, server }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = stdout(command("ip").args(["netns", "del", &self.name]));
    }
}

/// Every path there is, with the answer that the rules of networks give.
fn attempts(host: &Host, neighbour: &str, observed: &Observed) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let namespace = |name: &str| PathBuf::from(format!("/run/netns/{name}"));
    let outside = [("host", namespace(host.name())), ("neighbour", namespace(neighbour))];
    let mut add = |from: (&str, &PathBuf), what: String, to: (IpAddr, u16), permitted| {
        attempts.push(Attempt {
            what: format!("{} to {what} at {}", from.0, SocketAddr::from(to)),
            from: from.1.clone(),
            to: to.into(),
            permitted,
        });
    };
    for (name, server) in &observed.containers {
        for (network, addresses) in &server.networks {
            for address in addresses {
                let what = || format!("{name} on {network}");
                add((outside[0].0, &outside[0].1), what(), (*address, 80), true);
                add((outside[1].0, &outside[1].1), what(), (*address, 80), false);
                for (client_name, client) in &observed.containers {
                    if client_name == name {
                        continue;
                    }
                    let from = PathBuf::from(format!("/proc/{}/ns/net", client.pid));
                    let same = client.networks.get(network).is_some_and(|theirs| {
                        theirs.iter().any(|theirs| theirs.is_ipv4() == address.is_ipv4())
                    });
                    let permitted = same && observed.networks[network].inter_container;
                    add((client_name, &from), what(), (*address, 80), permitted);
                }
            }
        }
        // Published ports: from outside, from the host by all its addresses, and from containers.
        let port = 20_000 + u16::from(name.as_bytes()[1] - b'0');
        let published = server.ports.iter().any(|one| one.port() == port);
        let what = || format!("published port of {name}");
        let loopback = ["127.0.0.1", "::1"];
        for address in HOST.iter().chain(&loopback).map(|one| one.parse::<IpAddr>().unwrap()) {
            add((outside[0].0, &outside[0].1), what(), (address, port), published);
            if !address.is_loopback() {
                add((outside[1].0, &outside[1].1), what(), (address, port), published);
            }
        }
    }
    for (name, client) in &observed.containers {
        let from = PathBuf::from(format!("/proc/{}/ns/net", client.pid));
        let leads = client.leads_outside(&observed.networks);
        let to = NEIGHBOUR[0].parse::<IpAddr>().unwrap();
        add((name, &from), "the neighbour".to_owned(), (to, 80), leads);
        for (server_name, server) in &observed.containers {
            let what = format!("published port of {server_name}");
            for port in server.ports.iter().filter(|port| port.is_ipv4()) {
                add((name, &from), what.clone(), (HOST[0].parse().unwrap(), port.port()), leads);
            }
        }
    }
    attempts
}

/// The ledger is true, the kernel has what the API tells, and traffic goes where it may.
fn look(host: &Host, neighbour: &str, ledger: &Ledger, when: &str) {
    let mut differences = Vec::new();
    let settled = eventually("kernel and ledger", Duration::from_secs(10), || {
        let observed = observe(&host.socket()).unwrap();
        // A container that goes while the kernel is looked at is no finding.
        differences =
            kernel_differences(host, &observed).unwrap_or_else(|error| vec![format!("{error:#}")]);
        let found = Ledger::of(&observed);
        if found != *ledger {
            differences.push(format!("acknowledged {ledger:?}\nfound {found:?}"));
        }
        differences.is_empty()
    });
    assert!(settled.is_ok(), "{when}:\n{}\n{}", differences.join("\n"), host.log());
    let observed = observe(&host.socket()).unwrap();
    let attempts = attempts(host, neighbour, &observed);
    // Servers of containers that were just started may not listen yet.
    let permitted = attempts.iter().filter(|one| one.permitted).cloned().collect::<Vec<_>>();
    let _ =
        eventually("servers", Duration::from_secs(5), || wrong_paths(permitted.clone()).is_empty());
    let wrong = wrong_paths(attempts);
    assert!(wrong.is_empty(), "{when}:\n{}\n{observed:#?}\n{}", wrong.join("\n"), host.log());
}

#[test]
fn random_operations_and_kills_leave_networks_as_acknowledged() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap())
    };
    let operations = usize::try_from(number("SHOAL_NETWORK_OPERATIONS", 50)).unwrap();
    let seed = number("SHOAL_SEED", 0x5eed_cafe);
    println!("{operations} operations, SHOAL_SEED={seed}");
    let begin = monotonic();
    let mut chance = Chance(seed);
    let mut host = Host::start(&[]).unwrap();
    let neighbour = Neighbour::start(&host);
    let rootfs = host.path().join("rootfs.tar");
    image::busybox_rootfs(&rootfs).unwrap();
    host.docker(&["import", &rootfs.display().to_string(), "busybox"]).unwrap();
    host.docker(&["network", "create", "--subnet", SMALL, "small"]).unwrap();
    let mut ledger = Ledger::of(&observe(&host.socket()).unwrap());
    let (mut kills, mut refused) = (0, 0);
    for number in 1..=operations {
        let operation = ledger.choose(&mut chance);
        if chance.one_in(5) {
            kills += 1;
            let moment = chance.below(25_000);
            println!("{number}: {operation:?}, killed after {moment} µs");
            let socket = host.socket();
            let interrupted = operation.clone();
            let worker = std::thread::spawn(move || perform(&socket, &interrupted));
            std::thread::sleep(Duration::from_micros(u64::try_from(moment).unwrap()));
            host.kill().unwrap();
            let _ = worker.join().unwrap();
            host.launch().unwrap();
            let found = Ledger::of(&observe(&host.socket()).unwrap());
            // The interrupted operation may have happened or not; nothing else may have.
            let object = |ledger: &Ledger| match &operation {
                Operation::CreateNetwork { name, .. } | Operation::RemoveNetwork { name } => {
                    format!("{:?}", ledger.networks.contains(name))
                }
                Operation::Run { name, .. }
                | Operation::Remove { name }
                | Operation::Restart { name }
                | Operation::Connect { name, .. }
                | Operation::Disconnect { name, .. } => {
                    format!("{:?}", ledger.containers.get(name))
                }
            };
            if object(&found) != object(&ledger) {
                ledger = found;
            }
        } else {
            println!("{number}: {operation:?}");
            match perform(&host.socket(), &operation) {
                Ok(true) => ledger.apply(&operation),
                Ok(false) => refused += 1,
                Err(error) => {
                    panic!("operation {number}, {operation:?}: {error:#}\n{}", host.log())
                }
            }
            if let Operation::Run { .. } = operation {
                // Refused after its container was created: it stays, and does not run.
                ledger = Ledger::of(&observe(&host.socket()).unwrap());
            }
        }
        if number % LOOK_EVERY == 0 || number == operations {
            look(
                &host,
                &neighbour.name,
                &ledger,
                &format!("after operation {number}, {operation:?}"),
            );
        }
    }
    finish(host, &neighbour);
    let took = (monotonic() - begin).as_secs();
    println!("{kills} kills, {refused} operations refused, {took} s");
}

/// Removes everything and counts what is left: links, rules, leases, files.
fn finish(host: Host, neighbour: &Neighbour) {
    let api = |method: &str, path: &str, body: &str| {
        Connection::open(&host.socket()).unwrap().call(method, path, body.as_bytes())
    };
    let all: Value =
        serde_json::from_slice(&api("GET", "/containers/json?all=1", "").unwrap()).unwrap();
    for container in all.as_array().unwrap() {
        let id = container["Id"].as_str().unwrap();
        api("DELETE", &format!("/containers/{id}?force=1"), "").unwrap();
    }
    host.docker(&["network", "ls", "--filter", "type=custom"]).unwrap();
    // Six addresses, one of them the gateway's: five containers, whatever was leased before.
    for number in 0..6 {
        let body = json!({
            "Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": { "NetworkMode": "small" },
        });
        let name = format!("/containers/create?name=l{number}");
        api("POST", &name, &body.to_string()).unwrap();
        let started = api("POST", &format!("/containers/l{number}/start"), "");
        assert_eq!(started.is_ok(), number < 5, "{number}: {started:?}");
    }
    for number in 0..6 {
        api("DELETE", &format!("/containers/l{number}?force=1"), "").unwrap();
    }
    let names = host.docker(&["network", "ls", "-q", "--filter", "type=custom"]).unwrap();
    for id in names.lines() {
        host.docker(&["network", "rm", id]).unwrap();
    }
    let observed = observe(&host.socket()).unwrap();
    assert_eq!(observed.networks.keys().collect::<Vec<_>>(), ["bridge"]);
    let emptied = eventually("an empty kernel", Duration::from_secs(5), || {
        kernel_differences(&host, &observed).is_ok_and(|left| left.is_empty())
    });
    assert!(emptied.is_ok(), "{:?}", kernel_differences(&host, &observed));
    stdout(command("ip").args(["-n", &neighbour.name, "link", "del", "eth0"])).unwrap();
    host.finish().unwrap();
}
