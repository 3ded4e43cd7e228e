//! What a cluster and its hosts show at a moment, as far as rules need it, read from answers of the API.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Label of a service: which write made it.
pub const VERSION: &str = "v";
/// Label of a service's containers: the last write that changed what they are.
pub const MADE: &str = "made";
const TASK_ID: &str = "com.docker.swarm.task.id";
const TASK_NAME: &str = "com.docker.swarm.task.name";
const SERVICE_ID: &str = "com.docker.swarm.service.id";
const SERVICE_NAME: &str = "com.docker.swarm.service.name";

/// The whole.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Those of each host, as its daemon tells them.
    pub containers: Vec<Container>,
    /// Containers of each host whose processes live, as the kernel tells it.
    pub alive: BTreeMap<u8, BTreeSet<String>>,
    /// What the cluster is to run.
    pub services: Vec<Service>,
    /// What it runs, ran and will run.
    pub tasks: Vec<Task>,
    /// Nodes as each manager tells them.
    pub nodes: BTreeMap<u8, Vec<Node>>,
    /// Who said when that it leads: term and host.
    pub reigns: Vec<(u64, u8)>,
}

/// A container of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Number of the host.
    pub host: u8,
    /// Its id.
    pub id: String,
    /// Its process runs.
    pub running: bool,
    /// What its labels say; `None`: no task's.
    pub task: Option<Wears>,
    /// Addresses with the ids of their networks.
    pub addresses: Vec<(String, IpAddr)>,
}

/// What the labels of a task's container say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wears {
    /// Id of the task.
    pub task: String,
    /// Service, and slot or node: two tasks of one place have the same.
    pub place: String,
    /// Id of the service.
    pub service: String,
    /// Name of the service.
    pub name: String,
    /// [`MADE`].
    pub made: String,
}

/// How many tasks a service has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// So many that run.
    Replicated(u64),
    /// One that runs on each node that its constraints permit.
    Global,
    /// So many that have come to their end.
    ReplicatedJob(u64),
    /// One on each node that has come to its end.
    GlobalJob,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many.
    pub mode: Mode,
    /// Only on workers.
    pub workers_only: bool,
    /// What its containers must wear.
    pub made: String,
    /// The iteration of a job; 0 for others.
    pub iteration: u64,
    /// Virtual addresses with the ids of their networks.
    pub addresses: Vec<(String, IpAddr)>,
}

/// A task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// Its service's.
    pub service: String,
    /// Its node's; empty: it has none yet.
    pub node: String,
    /// 0 for those of global services.
    pub slot: u64,
    /// How far it is.
    pub state: String,
    /// How far it shall come.
    pub desired: String,
    /// Of a job.
    pub iteration: u64,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Name of the host: `h` and its number.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Manager or worker.
    pub role: String,
    /// Whether it is there.
    pub state: String,
    /// Whether it takes tasks.
    pub availability: String,
    /// What a manager is to the others; empty: it is none.
    pub reachability: String,
    /// Among managers.
    pub leader: bool,
}

impl Node {
    /// Number of its host; `None`: it is no host of a lab.
    pub fn host(&self) -> Option<u8> {
        self.name.strip_prefix('h')?.parse().ok()
    }
}

impl Observed {
    /// The nodes as one manager tells them; empty: none told.
    pub fn any_nodes(&self) -> &[Node] {
        self.nodes.values().next().map_or(&[], Vec::as_slice)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// An address, with or without the length of its network's prefix.
fn address(text: &str) -> anyhow::Result<IpAddr> {
    let plain = text.split('/').next().unwrap_or_default();
    plain.parse().with_context(|| format!("`{text}` is no address"))
}

/// Containers of a list of all.
///
/// # Errors
/// When the answer is none.
pub fn containers(host: u8, answer: &Value) -> anyhow::Result<Vec<Container>> {
    ensure!(answer.is_array(), "host {host} tells no containers: {answer}");
    let read = |one: &Value| {
        let label = |name: &str| one["Labels"][name].as_str().map(str::to_owned);
        let wears = |task: String| {
            let name = label(TASK_NAME).unwrap_or_default();
            let place = name.rsplit_once('.').map_or(name.as_str(), |(place, _)| place);
            Wears {
                task,
                place: place.to_owned(),
                service: label(SERVICE_ID).unwrap_or_default(),
                name: label(SERVICE_NAME).unwrap_or_default(),
                made: label(MADE).unwrap_or_default(),
            }
        };
        let mut addresses = Vec::new();
        let networks = one["NetworkSettings"]["Networks"].as_object();
        for network in networks.into_iter().flat_map(|networks| networks.values()) {
            for family in ["IPAddress", "GlobalIPv6Address"] {
                let own = text(&network[family]);
                if !own.is_empty() {
                    addresses.push((text(&network["NetworkID"]), address(&own)?));
                }
            }
        }
        Ok(Container {
            host,
            id: text(&one["Id"]),
            running: one["State"] == "running",
            task: label(TASK_ID).map(wears),
            addresses,
        })
    };
    each(answer).map(read).collect()
}

fn mode(service: &Value) -> anyhow::Result<Mode> {
    let mode = &service["Spec"]["Mode"];
    if let Some(replicated) = mode.get("Replicated") {
        return Ok(Mode::Replicated(replicated["Replicas"].as_u64().unwrap_or(1)));
    }
    if let Some(job) = mode.get("ReplicatedJob") {
        let at_once = job["MaxConcurrent"].as_u64().unwrap_or(1);
        return Ok(Mode::ReplicatedJob(job["TotalCompletions"].as_u64().unwrap_or(at_once)));
    }
    if mode.get("GlobalJob").is_some() {
        return Ok(Mode::GlobalJob);
    }
    ensure!(mode.get("Global").is_some(), "a service without a mode: {service}");
    Ok(Mode::Global)
}

/// Services of a list.
///
/// # Errors
/// When the answer is none.
pub fn services(answer: &Value) -> anyhow::Result<Vec<Service>> {
    ensure!(answer.is_array(), "no list of services: {answer}");
    let read = |one: &Value| {
        let task = &one["Spec"]["TaskTemplate"];
        let own = |pair: &Value| Ok((text(&pair["NetworkID"]), address(&text(&pair["Addr"]))?));
        let assigned = each(&one["Endpoint"]["VirtualIPs"]).filter(|pair| pair["Addr"].is_string());
        Ok(Service {
            id: text(&one["ID"]),
            name: text(&one["Spec"]["Name"]),
            mode: mode(one)?,
            workers_only: each(&task["Placement"]["Constraints"]).next().is_some(),
            made: text(&task["ContainerSpec"]["Labels"][MADE]),
            iteration: one["JobStatus"]["JobIteration"]["Index"].as_u64().unwrap_or(0),
            addresses: assigned.map(own).collect::<anyhow::Result<_>>()?,
        })
    };
    each(answer).map(read).collect()
}

/// Tasks of a list.
///
/// # Errors
/// When the answer is none.
pub fn tasks(answer: &Value) -> anyhow::Result<Vec<Task>> {
    ensure!(answer.is_array(), "no list of tasks: {answer}");
    let read = |one: &Value| Task {
        id: text(&one["ID"]),
        service: text(&one["ServiceID"]),
        node: text(&one["NodeID"]),
        slot: one["Slot"].as_u64().unwrap_or(0),
        state: text(&one["Status"]["State"]),
        desired: text(&one["DesiredState"]),
        iteration: one["JobIteration"]["Index"].as_u64().unwrap_or(0),
    };
    Ok(each(answer).map(read).collect())
}

/// Nodes of a list, by name.
///
/// # Errors
/// When the answer is none.
pub fn nodes(answer: &Value) -> anyhow::Result<Vec<Node>> {
    ensure!(answer.is_array(), "no list of nodes: {answer}");
    let read = |one: &Value| Node {
        name: text(&one["Description"]["Hostname"]),
        id: text(&one["ID"]),
        role: text(&one["Spec"]["Role"]),
        state: text(&one["Status"]["State"]),
        availability: text(&one["Spec"]["Availability"]),
        reachability: text(&one["ManagerStatus"]["Reachability"]),
        leader: one["ManagerStatus"]["Leader"] == true,
    };
    let mut nodes: Vec<Node> = each(answer).map(read).collect();
    nodes.sort();
    Ok(nodes)
}

/// Terms in which a daemon's log says that it began to lead.
pub fn reigns(host: u8, log: &str) -> Vec<(u64, u8)> {
    let lines = log.lines().filter(|line| line.contains("leads the cluster"));
    let term = |line: &str| {
        let (_, after) = line.rsplit_once("term=")?;
        after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    lines.filter_map(term).map(|term| (term, host)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tasks_container_is_read() {
        let answer = json!([{
            "Id": "c1", "State": "running",
            "Labels": {
                "com.docker.swarm.task.id": "t1", "com.docker.swarm.task.name": "web.2.t1",
                "com.docker.swarm.service.id": "s1", "com.docker.swarm.service.name": "web", "made": "7",
            },
            "NetworkSettings": {"Networks": {
                "n0": {"NetworkID": "net", "IPAddress": "10.0.1.3", "GlobalIPv6Address": ""},
            }},
        }, {"Id": "c2", "State": "exited", "Labels": {}}]);
        let wears = Wears {
            task: "t1".to_owned(),
            place: "web.2".to_owned(),
            service: "s1".to_owned(),
            name: "web".to_owned(),
            made: "7".to_owned(),
        };
        let expected = [
            Container {
                host: 3,
                id: "c1".to_owned(),
                running: true,
                task: Some(wears),
                addresses: vec![("net".to_owned(), "10.0.1.3".parse().unwrap())],
            },
            Container { host: 3, id: "c2".to_owned(), ..Container::default() },
        ];
        assert_eq!(containers(3, &answer).unwrap(), expected);
        assert!(containers(3, &json!({"message": "no"})).is_err());
    }

    #[test]
    fn services_of_all_modes_are_read() {
        let service = |mode: Value| {
            json!({
                "ID": "s1",
                "Spec": {
                    "Name": "web", "Mode": mode,
                    "TaskTemplate": {
                        "ContainerSpec": {"Labels": {"made": "2"}},
                        "Placement": {"Constraints": ["node.role==worker"]},
                    },
                },
                "Endpoint": {"VirtualIPs": [{"NetworkID": "net", "Addr": "10.0.1.2/24"}, {"NetworkID": "new"}]},
                "JobStatus": {"JobIteration": {"Index": 40}},
            })
        };
        let all = [
            (json!({"Replicated": {"Replicas": 3}}), Mode::Replicated(3)),
            (json!({"Global": {}}), Mode::Global),
            (json!({"ReplicatedJob": {"MaxConcurrent": 2}}), Mode::ReplicatedJob(2)),
            (
                json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 4}}),
                Mode::ReplicatedJob(4),
            ),
            (json!({"GlobalJob": {}}), Mode::GlobalJob),
        ];
        for (said, mode) in all {
            let expected = Service {
                id: "s1".to_owned(),
                name: "web".to_owned(),
                mode,
                workers_only: true,
                made: "2".to_owned(),
                iteration: 40,
                addresses: vec![("net".to_owned(), "10.0.1.2".parse().unwrap())],
            };
            assert_eq!(services(&json!([service(said)])).unwrap(), [expected]);
        }
        assert!(services(&json!([service(json!({}))])).is_err());
    }

    #[test]
    fn terms_are_found_in_a_log() {
        let log = "INFO shoal: leads the cluster term=4\nINFO leads no more term=4\n\
                   INFO leads the cluster term=11 since=now\n";
        assert_eq!(reigns(2, log), [(4, 2), (11, 2)]);
    }
}
