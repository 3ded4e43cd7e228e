//! Networks of a simulated host as the API tells them, as the kernel has them, and as traffic shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::command::{command, stdout};
use crate::host::Host;
use crate::http::Connection;

/// The host's addresses on the link to the neighbour.
pub const HOST: [&str; 2] = ["203.0.113.1", "fd00:203::1"];
/// The neighbour's.
pub const NEIGHBOUR: [&str; 2] = ["203.0.113.2", "fd00:203::2"];
/// How long a path has to carry something.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A network as the API tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// No way out or in.
    pub internal: bool,
    /// Members reach each other.
    pub inter_container: bool,
}

/// A running container as the API tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its first process.
    pub pid: u32,
    /// Addresses by network.
    pub networks: BTreeMap<String, Vec<IpAddr>>,
    /// Published ports of the host.
    pub ports: BTreeSet<SocketAddr>,
}

impl Container {
    /// Whether one of its networks leads outside.
    pub fn leads_outside(&self, networks: &BTreeMap<String, Network>) -> bool {
        self.networks.keys().any(|name| networks.get(name).is_some_and(|one| !one.internal))
    }
}

/// Everything that the API tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// By name, without `host` and `none`.
    pub networks: BTreeMap<String, Network>,
    /// Running ones, by name.
    pub containers: BTreeMap<String, Container>,
}

/// Asks the API.
///
/// # Errors
/// When the daemon does not answer, or not as the API says.
pub fn observe(socket: &Path) -> anyhow::Result<Observed> {
    let mut api = Connection::open(socket)?;
    let mut get = |path: &str| -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&api.call("GET", path, b"")?)?)
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut observed = Observed::default();
    for network in get("/networks")?.as_array().context("no list of networks")? {
        if network["Driver"] == "bridge" {
            let option = &network["Options"]["com.docker.network.bridge.enable_icc"];
            let one = Network {
                id: text(&network["Id"]),
                internal: network["Internal"] == true,
                inter_container: option != "false",
            };
            observed.networks.insert(text(&network["Name"]), one);
        }
    }
    for summary in get("/containers/json")?.as_array().context("no list of containers")? {
        let inspected = get(&format!("/containers/{}/json", text(&summary["Id"])))?;
        let mut container = Container {
            id: text(&inspected["Id"]),
            pid: inspected["State"]["Pid"].as_u64().context("no Pid")?.try_into()?,
            networks: BTreeMap::new(),
            ports: BTreeSet::new(),
        };
        let settings = &inspected["NetworkSettings"];
        for (name, endpoint) in settings["Networks"].as_object().context("no Networks")? {
            let addresses = ["IPAddress", "GlobalIPv6Address"].map(|key| text(&endpoint[key]));
            let addresses = addresses.iter().filter_map(|address| address.parse().ok());
            container.networks.insert(name.clone(), addresses.collect());
        }
        let bindings = settings["Ports"].as_object().into_iter().flatten();
        for binding in bindings.flat_map(|(_, list)| list.as_array().into_iter().flatten()) {
            let address: IpAddr = text(&binding["HostIp"]).parse()?;
            container.ports.insert(SocketAddr::new(address, text(&binding["HostPort"]).parse()?));
        }
        let name = text(&inspected["Name"]).trim_start_matches('/').to_owned();
        observed.containers.insert(name, container);
    }
    Ok(observed)
}

/// Each difference between what the API tells and what the kernel of the host has.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn kernel_differences(host: &Host, observed: &Observed) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut expect = |what: &str, wanted: BTreeSet<String>, there: BTreeSet<String>| {
        if wanted != there {
            found.push(format!("{what}: expected {wanted:?}, found {there:?}"));
        }
    };
    let bridge = |(name, network): (&String, &Network)| match name.as_str() {
        "bridge" => "shoal0".to_owned(),
        _ => format!("br-{}", &network.id[..12]),
    };
    let bridges: BTreeSet<String> = observed.networks.iter().map(bridge).collect();
    expect("bridges", bridges.clone(), names(&ip(host, "link show type bridge")?, "ifname"));
    let endpoints: usize = observed.containers.values().map(|one| one.networks.len()).sum();
    let veths = names(&ip(host, "link show type veth")?, "ifname");
    let veths = veths.into_iter().filter(|name| name.starts_with("veth")).count();
    expect("veth pairs", [endpoints.to_string()].into(), [veths.to_string()].into());

    let ids: BTreeSet<String> = observed.containers.values().map(|one| one.id.clone()).collect();
    expect("namespaces", ids.clone(), files(&host.path().join("run/netns"), ""));
    expect("records", ids, files(&host.path().join("run/sandboxes"), ".json"));
    for (name, container) in &observed.containers {
        let wanted = container.networks.values().flatten().map(ToString::to_string).collect();
        let listed = nsenter(container.pid, &["ip", "-j", "addr", "show", "scope", "global"])?;
        expect(&format!("addresses of {name}"), wanted, addresses(&listed));
    }
    let table: Value = serde_json::from_str(&stdout(
        command("ip")
            .args(["netns", "exec", host.name()])
            .args(["nft", "-j", "list", "table", "inet", "shoal"]),
    )?)?;
    for map in ["forward-from", "forward-to", "nat-from", "nat-to"] {
        expect(map, bridges.clone(), elements(&table, map));
    }
    for (map, ipv4) in [("ports4-any", true), ("ports6-any", false)] {
        let rewritten = |container: &Container, port: &SocketAddr| {
            let addresses = container.networks.values().flatten();
            port.is_ipv4() == ipv4 && addresses.clone().any(|one| one.is_ipv4() == ipv4)
        };
        let wanted = observed.containers.values().flat_map(|container| {
            container.ports.iter().filter(move |port| rewritten(container, port))
        });
        let wanted: BTreeSet<String> = wanted.map(|port| port.port().to_string()).collect();
        let there = elements(&table, map);
        // A port that was relayed to an IPv4 address stays so when an IPv6 address comes later.
        let wanted = if ipv4 { wanted } else { wanted.intersection(&there).cloned().collect() };
        expect(map, wanted, there);
    }
    Ok(found)
}

fn ip(host: &Host, arguments: &str) -> anyhow::Result<Value> {
    let text = stdout(command("ip").args(["-n", host.name(), "-j"]).args(arguments.split(' ')))?;
    Ok(serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text })?)
}

fn nsenter(pid: u32, line: &[&str]) -> anyhow::Result<Value> {
    let text = stdout(command("nsenter").arg(format!("--net=/proc/{pid}/ns/net")).args(line))?;
    Ok(serde_json::from_str(&text)?)
}

fn names(list: &Value, key: &str) -> BTreeSet<String> {
    let entries = list.as_array().into_iter().flatten();
    entries.filter_map(|entry| entry[key].as_str().map(str::to_owned)).collect()
}

fn addresses(list: &Value) -> BTreeSet<String> {
    let links = list.as_array().into_iter().flatten();
    let infos = links.flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
    infos.filter_map(|info| info["local"].as_str().map(str::to_owned)).collect()
}

fn files(directory: &Path, suffix: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect()
}

/// The keys of a map of our table: names of links, or the last part of a sequence, the port.
fn elements(table: &Value, map: &str) -> BTreeSet<String> {
    let entries = table["nftables"].as_array().into_iter().flatten();
    let found = entries.map(|entry| &entry["map"]).find(|entry| entry["name"] == map);
    let elements = found.and_then(|map| map["elem"].as_array()).into_iter().flatten();
    let key = |element: &Value| match &element[0] {
        Value::String(name) => name.clone(),
        key => key["concat"]
            .as_array()
            .and_then(|parts| parts.last())
            .map_or_else(|| key.to_string(), Value::to_string),
    };
    elements.map(key).collect()
}

/// One path that traffic is to try.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Readable.
    pub what: String,
    /// Namespace that asks.
    pub from: PathBuf,
    /// Server that should answer or not.
    pub to: SocketAddr,
    /// It should.
    pub permitted: bool,
}

/// Tries all paths at once; answers those on which traffic was not as it should be.
pub fn wrong_paths(paths: Vec<Attempt>) -> Vec<String> {
    let mut by_source = BTreeMap::<PathBuf, Vec<Attempt>>::new();
    for path in paths {
        by_source.entry(path.from.clone()).or_default().push(path);
    }
    let threads = by_source.into_iter().map(|(from, paths)| {
        std::thread::spawn(move || {
            if let Err(error) = enter(&from) {
                return vec![format!("cannot enter {}: {error:#}", from.display())];
            }
            // Threads inherit the namespace.
            let asking: Vec<_> =
                paths.into_iter().map(|path| std::thread::spawn(move || try_path(&path))).collect();
            asking.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
        })
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
}

/// Takes the calling thread into a network namespace, for good.
///
/// # Errors
/// When there is none.
pub fn enter(namespace: &Path) -> anyhow::Result<()> {
    let file = std::fs::File::open(namespace)?;
    let kind = rustix::thread::LinkNameSpaceType::Network;
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(kind))?;
    Ok(())
}

fn try_path(path: &Attempt) -> Option<String> {
    let answer = ask(path.to);
    let Attempt { what, permitted, .. } = path;
    (answer.is_ok() != *permitted).then(|| match answer {
        Ok(()) => format!("{what}: carries traffic and must not"),
        Err(error) => format!("{what}: carries no traffic: {error}"),
    })
}

/// Asks a web server for anything.
fn ask(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /passwd HTTP/1.0\r\n\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    if &answer == b"HTTP/" { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}
