//! Those who ask services all the time, by virtual address and through the mesh: whoever answers must be the one
//! that was asked.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use super::observed;
use super::rules::Complaint;
use super::world::{NETWORKS, PATIENCE, SHAPE, World};
use crate::chance::Chance;
use crate::command::{eventually, monotonic};
use crate::traffic::{PORT, Place};

/// Services that are there all the time, each with its port in the mesh.
pub(super) const ASKED: [(&str, u16); 2] = [("t0", 9100), ("t1", 9101)];
/// Between two requests of a client.
const PACE: Duration = Duration::from_millis(80);

/// How a service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By its virtual address on a network.
    Virtual(IpAddr),
    /// By its port on a host.
    Mesh(u8),
}

impl Way {
    fn kind(self) -> &'static str {
        match self {
            Self::Virtual(_) => "to a virtual address",
            Self::Mesh(_) => "to a port of the mesh",
        }
    }
}

/// A request that nobody answered.
#[derive(Debug, Clone)]
pub(super) struct Unanswered {
    begun: Duration,
    ended: Duration,
    what: String,
}

/// The clients. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Asking {
    world: Arc<World>,
    addresses: Arc<BTreeMap<&'static str, Vec<IpAddr>>>,
    over: Arc<AtomicBool>,
    unanswered: Arc<Mutex<Vec<Unanswered>>>,
    threads: Vec<JoinHandle<()>>,
}

/// Asks from a host; whether the right service answered. Another one that answers is a violation.
fn ask(world: &World, host: u8, (service, port): (&str, u16), way: Way) -> Result<(), String> {
    let answer = match way {
        Way::Virtual(address) => world
            .place(host)
            .context("the client's container is away")
            .and_then(|place| place.fetch(SocketAddr::new(address, PORT), "/name")),
        Way::Mesh(to) => Place::named(&world.lab.netns(host)).and_then(|place| {
            place.fetch(SocketAddr::new(world.lab.address(to).parse()?, port), "/name")
        }),
    };
    let what = format!("{service} asked from host {host} by {way:?}");
    match answer {
        Ok(name) if name == service => Ok(()),
        Ok(other) => {
            let complaint = Complaint::new("NET-11", format!("{what}: `{other}` answers"));
            world.ledger.violation(complaint.clone());
            Err(complaint.what)
        }
        Err(error) => Err(format!("{what}: {error:#}")),
    }
}

impl Asking {
    /// Begins, as soon as the services have their virtual addresses.
    ///
    /// # Errors
    /// When one gets none.
    pub(super) fn begin(world: &Arc<World>, chance: &mut Chance) -> anyhow::Result<Self> {
        let mut addresses = Err(anyhow::anyhow!("nobody looked"));
        let found = || {
            addresses = find(world);
            addresses.is_ok()
        };
        let waited = eventually("virtual addresses", PATIENCE, found);
        let addresses = addresses?;
        waited?;
        let mut asking = Self {
            world: Arc::clone(world),
            addresses: Arc::new(addresses),
            over: Arc::default(),
            unanswered: Arc::default(),
            threads: Vec::new(),
        };
        for host in world.lab.numbers() {
            let client = Client {
                world: Arc::clone(world),
                host,
                addresses: Arc::clone(&asking.addresses),
                over: Arc::clone(&asking.over),
                unanswered: Arc::clone(&asking.unanswered),
            };
            let chance = chance.fork();
            asking.threads.push(std::thread::spawn(move || client.run(chance)));
        }
        Ok(asking)
    }

    /// Asks all services on all ways from all hosts once; what was not answered.
    pub(super) fn all(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for host in self.world.lab.numbers() {
            for asked in ASKED {
                let ways = ways(&self.addresses, asked.0);
                wrong.extend(
                    ways.into_iter().filter_map(|way| ask(&self.world, host, asked, way).err()),
                );
            }
        }
        wrong
    }

    /// What was not answered of the requests that began and ended between two moments.
    pub(super) fn unanswered(&self, from: Duration, to: Duration) -> Vec<String> {
        let all = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        let within = all.iter().filter(|one| one.begun >= from && one.ended <= to);
        within.map(|one| one.what.clone()).collect()
    }

    /// Forgets what was not answered so far.
    pub(super) fn forget(&self) {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Virtual addresses of the services, on their own networks.
fn find(world: &World) -> anyhow::Result<BTreeMap<&'static str, Vec<IpAddr>>> {
    let services = observed::services(&world.told("/services")?)?;
    let ingress = world.told("/networks/ingress")?;
    let mut addresses = BTreeMap::new();
    for (name, _) in ASKED {
        let service = services.iter().find(|service| service.name == name);
        let service = service.with_context(|| format!("there is no service {name}"))?;
        let own = service.addresses.iter().filter(|(id, _)| ingress["Id"] != id.as_str());
        let own: Vec<IpAddr> = own.map(|(_, address)| *address).collect();
        anyhow::ensure!(!own.is_empty(), "service {name} has no virtual address");
        addresses.insert(name, own);
    }
    Ok(addresses)
}

/// All ways to a service. Each has one of the networks, and all have the mesh.
fn ways(addresses: &BTreeMap<&'static str, Vec<IpAddr>>, service: &str) -> Vec<Way> {
    let own = addresses.get(service).into_iter().flatten().map(|address| Way::Virtual(*address));
    own.chain((1..=SHAPE.hosts).map(Way::Mesh)).collect()
}

/// Network of an asked service.
pub(super) fn network(service: &str) -> &'static str {
    let at = ASKED.iter().position(|(name, _)| *name == service).unwrap_or_default();
    NETWORKS[at % NETWORKS.len()]
}

struct Client {
    world: Arc<World>,
    host: u8,
    addresses: Arc<BTreeMap<&'static str, Vec<IpAddr>>>,
    over: Arc<AtomicBool>,
    unanswered: Arc<Mutex<Vec<Unanswered>>>,
}

impl Client {
    fn run(self, mut chance: Chance) {
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(PACE);
            let Some(asked) = chance.one_of(&ASKED) else { return };
            // As often by address as through the mesh.
            let mut ways = ways(&self.addresses, asked.0);
            let by_mesh = chance.below(2) == 0;
            ways.retain(|way| matches!(way, Way::Mesh(_)) == by_mesh);
            let Some(way) = chance.one_of(&ways) else { continue };
            let begun = monotonic();
            let answer = ask(&self.world, self.host, asked, way);
            self.world.ledger.request(way.kind(), answer.is_ok());
            if let Err(what) = answer {
                let one = Unanswered { begun, ended: monotonic(), what };
                self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            }
        }
    }
}
