//! The lab of the soak: four hosts, two networks, services, a plain container as client on each host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use shoal_chaos_tests::names::Unknowing;
use shoal_chaos_tests::service_lab::ServiceLab;
use shoal_chaos_tests::traffic::{PORT, Place, Server};

pub(crate) const HOSTS: u8 = 4;
pub(crate) const MANAGERS: u8 = 3;
pub(crate) const NETWORKS: [&str; 2] = ["n0", "n1"];
pub(crate) const SERVICES: [&str; 4] = ["s0", "s1", "s2", "s3"];
/// A second after it was asked to, as a server that finishes its requests.
const GRACEFUL: &str = "trap 'sleep 1; exit 0' TERM; while :; do sleep 1000 & wait; done";
const PACE: Duration = Duration::from_millis(100);
/// Containers with the label `com.docker.swarm.service.name`.
const OF_SERVICES: &str =
    "/containers/json?filters=%7B%22label%22%3A%5B%22com.docker.swarm.service.name%22%5D%7D";
/// Nodes that were cut off come back within this time, and all tasks run.
const CONVERGENCE: Duration = Duration::from_secs(120);

/// What a service shall be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) replicas: usize,
    pub(crate) networks: BTreeSet<&'static str>,
}

/// A container of a service that is served.
#[derive(Debug)]
struct Served {
    host: u8,
    service: String,
    addresses: BTreeMap<String, BTreeSet<IpAddr>>,
    _server: Server,
}

type Attended = Arc<Mutex<BTreeMap<String, Served>>>;

pub(crate) struct World {
    pub(crate) wanted: Mutex<BTreeMap<&'static str, Wanted>>,
    attended: Attended,
    over: Arc<AtomicBool>,
    attendant: Option<JoinHandle<()>>,
    _outside: Vec<Unknowing>,
    /// Last: it goes when nobody looks at it any more.
    pub(crate) lab: Arc<ServiceLab>,
}

pub(crate) fn published(service: &str) -> u16 {
    9100 + u16::from(service.as_bytes()[1] - b'0')
}

fn client(host: u8) -> String {
    format!("client{host}")
}

impl World {
    pub(crate) fn up() -> Self {
        let lab = Arc::new(ServiceLab::up("soak", HOSTS, MANAGERS, &[]).unwrap());
        // The machine may have other work: what is asked for is that nobody is led to a task that has stopped.
        lab.said(1, &["swarm", "update", "--drain-wait", "1m"]).unwrap();
        for network in NETWORKS {
            let create = ["network", "create", "-d", "overlay", "--attachable", "--ipv6", network];
            lab.docker(&create).unwrap();
        }
        let mut outside = Vec::new();
        for host in 1..=HOSTS {
            let name = client(host);
            let dns = lab.address(host);
            let place = Place::named(&lab.netns(host)).unwrap();
            outside.push(Unknowing::start(&place, dns.parse().unwrap()).unwrap());
            let run = ["run", "-d", "--name", &name, "--dns", &dns, "--network", "n0"];
            let run = [&run[..], &["--network", "n1"]].concat();
            lab.run(host, &[&run[..], &["busybox", "sleep", "1000000"]].concat()).unwrap();
        }
        let (attended, over) = (Attended::default(), Arc::<AtomicBool>::default());
        let attendant = {
            let (lab, attended, over) = (lab.clone(), attended.clone(), over.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    attend(&lab, &attended);
                    std::thread::sleep(PACE);
                }
            })
        };
        let world = Self {
            wanted: Mutex::default(),
            attended,
            over,
            attendant: Some(attendant),
            _outside: outside,
            lab,
        };
        for (number, service) in SERVICES.into_iter().enumerate() {
            world.create(service, 2, [NETWORKS[number % 2]].into());
        }
        world.await_convergence("the start");
        world
    }

    pub(crate) fn wanted(&self) -> BTreeMap<&'static str, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn want(&self, service: &'static str, wanted: Option<Wanted>) {
        let mut all = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        match wanted {
            Some(wanted) => drop(all.insert(service, wanted)),
            None => drop(all.remove(service)),
        }
    }

    pub(crate) fn create(
        &self,
        service: &'static str,
        replicas: usize,
        networks: BTreeSet<&'static str>,
    ) {
        let port = published(service);
        let (tcp, udp) = (format!("{port}:{PORT}"), format!("{port}:{PORT}/udp"));
        let count = replicas.to_string();
        let mut flags = vec!["--publish", &tcp, "--publish", &udp, "--replicas", &count];
        flags.extend(["--stop-signal", "SIGTERM", "--health-cmd", "test -e /ready"]);
        // It begins to serve when the attendant comes to it.
        flags.extend([
            "--health-retries",
            "999",
            "--health-interval",
            "1s",
            "--update-order",
            "start-first",
        ]);
        flags.extend(["--update-monitor", "200ms", "--restart-delay", "200ms"]);
        networks.iter().for_each(|network| flags.extend(["--network", network]));
        self.patiently(&|| self.lab.begin(service, &flags, &["sh", "-c", GRACEFUL]).map(drop));
        self.want(service, Some(Wanted { replicas, networks }));
    }

    /// A daemon may be away for a moment, or the managers without a leader.
    pub(crate) fn patiently(&self, change: &dyn Fn() -> anyhow::Result<()>) {
        let mut last = None;
        let done = self.lab.until_within("a change", CONVERGENCE, || {
            last = change().err();
            Ok(last.is_none())
        });
        assert!(done.is_ok(), "{:#}", last.unwrap());
    }

    /// The namespace of the client of a host.
    pub(crate) fn client(&self, host: u8) -> Place {
        let format = ["inspect", "-f", "{{.State.Pid}}", &client(host)];
        Place::of(self.lab.run(host, &format).unwrap().parse().unwrap()).unwrap()
    }

    /// Those that serve, by host and container.
    pub(crate) fn containers(&self, service: &str) -> Vec<(u8, String)> {
        let attended = self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        let own = attended.iter().filter(|(_, served)| served.service == service);
        own.map(|(id, served)| (served.host, id.clone())).collect()
    }

    /// Addresses of what serves a service on a network.
    pub(crate) fn addresses(&self, service: &str, network: &str) -> BTreeSet<IpAddr> {
        let attended = self.attended.lock().unwrap_or_else(PoisonError::into_inner);
        let own = attended.values().filter(|served| served.service == service);
        own.filter_map(|served| served.addresses.get(network)).flatten().copied().collect()
    }

    /// Waits until all services are as they shall be and every client's names say so.
    pub(crate) fn await_convergence(&self, when: &str) {
        let mut missing = String::new();
        let done = self.lab.until_within("convergence", CONVERGENCE, || {
            missing = self.missing();
            Ok(missing.is_empty())
        });
        if done.is_err() {
            let logs: Vec<String> = (1..=HOSTS).map(|host| self.lab.log(host)).collect();
            panic!("after {when}: {missing}\n{}", logs.join("\n----\n"));
        }
    }

    fn missing(&self) -> String {
        for (service, wanted) in self.wanted() {
            let running = self.lab.ps(service, "{{.DesiredState}} {{.CurrentState}} {{.ID}}");
            let running = running.unwrap_or_default();
            let live = |line: &&String| !line.contains("Shutdown ") || line.contains("Running ");
            let live: Vec<&String> = running
                .iter()
                .filter(live)
                .filter(|line| !line.contains(" Failed ") && !line.contains(" Complete "))
                .collect();
            let fits = live.len() == wanted.replicas
                && live.iter().all(|line| line.starts_with("Running Running"));
            let served = self.containers(service).len();
            if !fits || served != wanted.replicas {
                return format!("{service}: {wanted:?}, {served} served, {running:?}");
            }
        }
        for host in 1..=HOSTS {
            let place = self.client(host);
            for service in SERVICES {
                for network in NETWORKS {
                    let wanted = self.addresses(service, network);
                    let said = place.resolve(&format!("tasks.{service}.{network}"));
                    if said.as_ref().ok() != Some(&wanted) {
                        return format!("host {host}: {service} on {network}: {said:?} {wanted:?}");
                    }
                }
            }
        }
        String::new()
    }
}

impl Drop for World {
    /// The lab goes when nobody attends to it any more.
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(self.attendant.take().map(JoinHandle::join));
        self.attended.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Serves in each container as soon as it is there, until it is there no more.
fn attend(lab: &ServiceLab, attended: &Attended) {
    for host in 1..=HOSTS {
        // A daemon that does not answer says nothing about its containers.
        let Ok(answer) = lab.api(host, "GET", OF_SERVICES, None) else { continue };
        let named = answer.as_array().into_iter().flatten().filter_map(|container| {
            let service = &container["Labels"]["com.docker.swarm.service.name"];
            Some((container["Id"].as_str()?, service.as_str()?))
        });
        let live: BTreeMap<&str, &str> = named.collect();
        let known: BTreeSet<String> = {
            let mut all = attended.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|id, served| served.host != host || live.contains_key(&**id));
            all.keys().cloned().collect()
        };
        for (id, service) in live.into_iter().filter(|(id, _)| !known.contains(*id)) {
            if let Ok(served) = serve(lab, host, id, service) {
                attended
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(id.to_owned(), served);
            }
        }
    }
}

fn serve(lab: &ServiceLab, host: u8, id: &str, service: &str) -> anyhow::Result<Served> {
    let format = "{{.State.Pid}}{{range $k, $v := .NetworkSettings.Networks}} {{$k}}={{$v.IPAddress}},\
                  {{$v.GlobalIPv6Address}}{{end}}";
    let text = lab.run(host, &["inspect", "-f", format, id])?;
    let mut words = text.split(' ');
    let place = Place::of(words.next().unwrap_or_default().parse()?)?;
    let mut addresses = BTreeMap::new();
    for (network, list) in words.filter_map(|word| word.split_once('=')) {
        let parsed: Result<_, _> =
            list.split(',').filter(|one| !one.is_empty()).map(str::parse).collect();
        addresses.insert(network.to_owned(), parsed?);
    }
    let server = Server::start(&place, &format!("{service}/{}", &id[..12]))?;
    lab.run(host, &["exec", id, "touch", "/ready"])?;
    Ok(Served { host, service: service.to_owned(), addresses, _server: server })
}
