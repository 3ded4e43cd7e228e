//! The lab that is hurt: three managers and two workers with small disks, and a client in a container on each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::observed::{self, Node, Observed};
use super::rules::{Complaint, Shape};
use crate::command::{eventually, run};
use crate::damage::SmallDisk;
use crate::host::bin_dir;
use crate::http::Connection;
use crate::lab::{Guard, Lab};
use crate::scratch::Scratch;
use crate::service_lab::ServiceLab;
use crate::traffic::Place;

/// Hosts, and managers among them.
pub(super) const SHAPE: Shape = Shape { hosts: 5, managers: 3 };
/// Networks of all services.
pub(super) const NETWORKS: [&str; 2] = ["n0", "n1"];
/// Room for all that a host has.
const DISK_MEGABYTES: u32 = 96;
/// A client does not wait longer for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// What must come by itself while nothing is wrong comes within this time, whatever else the machine does.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// Name of the container of a host's client.
const CLIENT: &str = "client";

/// What an API said.
#[derive(Debug)]
pub enum Said {
    /// Success, with what was asked for.
    Done(Value),
    /// A refusal: nothing was done.
    Refused(u16, String),
    /// Nobody knows what was done.
    Lost(String),
}

/// The lab.
#[derive(Debug)]
pub struct World {
    /// What is told about it.
    pub ledger: Ledger,
    disks: BTreeMap<u8, SmallDisk>,
    /// Namespaces of the clients' containers.
    places: Mutex<BTreeMap<u8, Place>>,
    /// Programs of an older commit, and the hosts that have them.
    old: Option<(PathBuf, Mutex<BTreeSet<u8>>)>,
    files: Scratch,
    /// Last: it goes when nothing hangs on it.
    pub lab: ServiceLab,
}

impl World {
    /// Makes it. With programs of an older commit all hosts begin with those.
    ///
    /// # Errors
    /// When a host does not start or join.
    pub fn up(name: &str, old: Option<&Path>) -> anyhow::Result<Arc<Self>> {
        let (directory, files) = (Scratch::new()?, Scratch::new()?);
        let mut disks = BTreeMap::new();
        let flags = ["--log-level", "info"];
        let prepare = |lab: &Lab, host: u8| {
            disks.insert(host, SmallDisk::mount(&lab.path(host).join("data"), DISK_MEGABYTES)?);
            lab.set_programs(host, old)
        };
        let lab = Lab::prepared(name, &directory.path().join("l"), SHAPE.hosts, &flags, prepare)?;
        let lab = ServiceLab::on(Guard(lab), directory, SHAPE.managers)?;
        let hosts = lab.numbers().collect();
        let world = Self {
            ledger: Ledger::default(),
            disks,
            places: Mutex::default(),
            old: old.map(|directory| (directory.to_owned(), Mutex::new(hosts))),
            files,
            lab,
        };
        for network in NETWORKS {
            world.lab.docker(&["network", "create", "-d", "overlay", "--attachable", network])?;
        }
        world.lab.numbers().try_for_each(|host| world.start_client(host))?;
        Ok(Arc::new(world))
    }

    /// A container on all networks, from which services are asked.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_client(&self, host: u8) -> anyhow::Result<()> {
        drop(run(self.lab.limited(host, Path::new("docker")).args(["rm", "-f", CLIENT]))?);
        let mut arguments = vec!["run", "-d", "--name", CLIENT, "--stop-signal", "SIGKILL"];
        NETWORKS.iter().for_each(|network| arguments.extend(["--network", network]));
        self.lab.run(host, &[&arguments[..], &["busybox", "sleep", "1000000"]].concat())?;
        let pid = self.lab.run(host, &["inspect", "-f", "{{.State.Pid}}", CLIENT])?;
        self.places().insert(host, Place::of(pid.parse()?)?);
        Ok(())
    }

    /// Takes the client of a host away.
    ///
    /// # Errors
    /// When its container does not go.
    pub fn stop_client(&self, host: u8) -> anyhow::Result<()> {
        self.places().remove(&host);
        self.lab.run(host, &["rm", "-f", CLIENT]).map(drop)
    }

    fn places(&self) -> std::sync::MutexGuard<'_, BTreeMap<u8, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the client of a host is; `None`: it has none for a moment.
    pub fn place(&self, host: u8) -> Option<Place> {
        self.places().get(&host).cloned()
    }

    /// The small disk of a host.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn disk(&self, host: u8) -> anyhow::Result<&SmallDisk> {
        self.disks.get(&host).with_context(|| format!("host {host} has no disk"))
    }

    /// Writes a file for a client program.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> anyhow::Result<String> {
        crate::service_lab::file(self.files.path(), name, text)
    }

    /// Asks the API of a host.
    pub fn call(&self, host: u8, method: &str, path: &str, body: &Value) -> Said {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // Who is not there does nothing.
        let Ok(mut connection) = Connection::open(&self.lab.socket(host)) else {
            return Said::Refused(0, "no daemon".to_owned());
        };
        let asked = connection
            .patience(ANSWER)
            .and_then(|()| connection.exchange(method, path, body.as_bytes()));
        let (code, answer) = match asked {
            Ok(answer) => answer,
            Err(error) => return Said::Lost(format!("{error:#}")),
        };
        let text = String::from_utf8_lossy(&answer).trim().to_owned();
        match code {
            200..300 if text.is_empty() => Said::Done(Value::Null),
            200..300 => match serde_json::from_str(&text) {
                Ok(value) => Said::Done(value),
                Err(error) => Said::Lost(format!("{error}: {text}")),
            },
            // What dockerd says with 500 of a version that is not the last one.
            _ if text.contains("update out of sequence") => Said::Refused(code, text),
            500.. => Said::Lost(format!("{code}: {text}")),
            _ => Said::Refused(code, text),
        }
    }

    /// What the API of a host tells.
    ///
    /// # Errors
    /// When it does not.
    pub fn get(&self, host: u8, path: &str) -> anyhow::Result<Value> {
        match self.call(host, "GET", path, &Value::Null) {
            Said::Done(value) => Ok(value),
            other => anyhow::bail!("GET {path} of host {host}: {other:?}"),
        }
    }

    /// What a manager that answers tells.
    ///
    /// # Errors
    /// When none does.
    pub fn told(&self, path: &str) -> anyhow::Result<Value> {
        let mut last = Err(anyhow::anyhow!("there is no manager"));
        for host in 1..=SHAPE.managers {
            last = self.get(host, path);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// The nodes.
    ///
    /// # Errors
    /// When no manager tells.
    pub fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        observed::nodes(&self.told("/nodes")?)
    }

    /// The manager that leads.
    ///
    /// # Errors
    /// When none does.
    pub fn leader(&self) -> anyhow::Result<u8> {
        let nodes = self.nodes()?;
        nodes.iter().find(|node| node.leader).and_then(Node::host).context("no manager leads")
    }

    /// Waits until all managers reach each other.
    ///
    /// # Errors
    /// When they do not in time.
    pub fn await_managers(&self) -> anyhow::Result<()> {
        let mut last = Ok(Vec::new());
        let all = || {
            last = self.nodes();
            let there = last.iter().flatten().filter(|node| node.reachability == "reachable");
            let enough = there.count() == usize::from(SHAPE.managers);
            if !enough {
                std::thread::sleep(LOOK);
            }
            enough
        };
        let waited = eventually("all managers", PATIENCE, all);
        waited.with_context(|| format!("{last:?}"))
    }

    /// Everything that rules look at.
    ///
    /// # Errors
    /// When a host does not tell.
    pub fn observe(&self) -> anyhow::Result<Observed> {
        let mut seen = Observed::default();
        for host in self.lab.numbers() {
            let list = self.get(host, "/containers/json?all=1")?;
            seen.containers.extend(observed::containers(host, &list)?);
            seen.alive.insert(host, self.alive(host));
            let log = std::fs::read_to_string(self.lab.path(host).join("shoald.log"));
            seen.reigns.extend(observed::reigns(host, &log.unwrap_or_default()));
        }
        for manager in 1..=SHAPE.managers {
            seen.nodes.insert(manager, observed::nodes(&self.get(manager, "/nodes")?)?);
        }
        seen.services = observed::services(&self.told("/services")?)?;
        seen.tasks = observed::tasks(&self.told("/tasks")?)?;
        Ok(seen)
    }

    /// Containers of a host that have a living shim.
    pub fn alive(&self, host: u8) -> BTreeSet<String> {
        let shims = self.lab.path(host).join("run/shim");
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let container = |line: Vec<u8>| {
            let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            words.find(|word| word == "--dir")?;
            let directory = PathBuf::from(words.next()?.into_owned());
            Some(directory.strip_prefix(&shims).ok()?.display().to_string())
        };
        lines.filter_map(container).collect()
    }

    /// Hosts with the older programs.
    pub fn old_hosts(&self) -> Vec<u8> {
        let old = self.old.iter().flat_map(|(_, hosts)| {
            hosts.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect::<Vec<_>>()
        });
        old.collect()
    }

    /// Whether older programs are at hand.
    pub fn has_old(&self) -> bool {
        self.old.is_some()
    }

    /// Gives a host the older programs or those that are tested, from its next start on.
    ///
    /// # Errors
    /// When there are none.
    pub fn set_old(&self, host: u8, old: bool) -> anyhow::Result<()> {
        let (directory, hosts) = self.old.as_ref().context("there are no older programs")?;
        self.lab.set_programs(host, old.then_some(directory))?;
        let mut hosts = hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if old {
            hosts.insert(host)
        } else {
            hosts.remove(&host)
        };
        Ok(())
    }

    /// The feature level of the cluster.
    ///
    /// # Errors
    /// When no manager tells.
    pub fn feature_level(&self) -> anyhow::Result<u64> {
        for host in 1..=SHAPE.managers {
            let mut shoal = self.lab.limited(host, &bin_dir()?.join("shoal"));
            let output = run(shoal.args(["swarm", "status", "--format", "json"]))?;
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if let Some(level) = status["FeatureLevel"].as_u64() {
                return Ok(level);
            }
        }
        anyhow::bail!("no manager tells its feature level")
    }

    /// Copies the logs of all daemons to a directory.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn keep_logs(&self, directory: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(directory)?;
        for host in self.lab.numbers() {
            let log = self.lab.path(host).join("shoald.log");
            std::fs::copy(log, directory.join(format!("h{host}.log")))?;
        }
        Ok(())
    }

    /// Removes all that users made, and then the hosts, which must leave nothing on the machine. Where something is
    /// wrong already only the latter.
    pub fn finish(self) -> Ledger {
        if self.ledger.violations().is_empty()
            && let Err(error) = self.take_down()
        {
            self.ledger.violation(Complaint::new("LEAK-1", format!("{error:#}")));
        }
        self.ledger
    }

    fn take_down(&self) -> anyhow::Result<()> {
        for list in ["/services", "/secrets", "/configs"] {
            for one in self.told(list)?.as_array().into_iter().flatten() {
                let path = format!("{list}/{}", one["ID"].as_str().unwrap_or_default());
                let said = self.call(1, "DELETE", &path, &Value::Null);
                ensure!(matches!(said, Said::Done(_)), "DELETE {path}: {said:?}");
            }
        }
        self.lab.until_within("the containers of services to go", PATIENCE, || {
            std::thread::sleep(LOOK);
            let seen = self.observe()?;
            Ok(seen.containers.iter().all(|container| container.task.is_none()))
        })?;
        for host in self.lab.numbers() {
            self.stop_client(host)?;
        }
        for host in self.lab.numbers() {
            self.lab.stop(host)?;
            self.unmount(host)?;
        }
        self.lab.finish()
    }

    /// Takes the disk of a host away, whose daemon ends a moment after its pid file has gone.
    fn unmount(&self, host: u8) -> anyhow::Result<()> {
        let disk = self.disk(host)?;
        let mut last = Ok(());
        let unmounted = || {
            last = disk.unmount();
            if last.is_err() {
                std::thread::sleep(LOOK);
            }
            last.is_ok()
        };
        let waited = eventually("a disk that nobody uses", PATIENCE, unmounted);
        waited.with_context(|| {
            let (name, path) = (self.lab.netns(host), self.lab.path(host));
            let left = crate::leaks::of_host(&name, &path, Duration::ZERO, |_| false);
            format!("host {host}: {last:?}, left are:\n  {}", left.join("\n  "))
        })
    }
}

/// Between two looks at the whole cluster.
pub(super) const LOOK: Duration = Duration::from_millis(300);

/// A service that answers by its name, as the API takes it. `published`: its port in the mesh.
pub(super) fn answering(name: &str, published: Option<u16>) -> Value {
    // A second after it was asked to end it ends, as a server that finishes its requests.
    let script = "set -e; mkdir -p /w; echo \"$NAME\" > /w/name; httpd -p 9000 -h /w; \
                  trap 'sleep 1; exit 0' TERM; while :; do sleep 1000 & wait $! || :; done";
    let ports: Vec<Value> = published
        .map(|port| json!({"Protocol": "tcp", "TargetPort": 9000, "PublishedPort": port}))
        .into_iter()
        .collect();
    json!({
        "Name": name,
        "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "busybox",
                "Command": ["sh", "-c", script],
                "Env": [format!("NAME={name}")],
                "Labels": {},
            },
            "RestartPolicy": {"Condition": "any", "Delay": 200_000_000},
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "UpdateConfig": {
            "Parallelism": 1, "FailureAction": "continue", "Monitor": 100_000_000, "Order": "start-first",
        },
        "RollbackConfig": {
            "Parallelism": 1, "FailureAction": "continue", "Monitor": 100_000_000, "Order": "start-first",
        },
        "EndpointSpec": {"Mode": "vip", "Ports": ports},
    })
}
