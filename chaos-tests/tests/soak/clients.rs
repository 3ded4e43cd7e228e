//! Those who connect all the time, and what they met.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use shoal_chaos_tests::chance::Chance;
use shoal_chaos_tests::command::monotonic;
use shoal_chaos_tests::traffic::{PORT, Place};

use super::changes::{Change, Episode};
use super::world::{HOSTS, NETWORKS, SERVICES, World, published};

const PACE: Duration = Duration::from_millis(5);
/// Longer than any request takes.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How a service was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By its name on a network.
    Name { network: &'static str },
    /// By its port on a host.
    Mesh { to: u8 },
}

/// A request that did not go well.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) host: u8,
    pub(crate) service: &'static str,
    pub(crate) way: Way,
    /// What a server of another service answered, or why there was no answer.
    pub(crate) outcome: Result<String, String>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    asked: AtomicUsize,
    met: Mutex<Vec<Request>>,
    /// Services with the networks that they are on for certain.
    wanted: Mutex<Vec<(&'static str, &'static str)>>,
}

pub(crate) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    places: Vec<Asker>,
    /// Changes that requests may still have met.
    recent: Mutex<Vec<Episode>>,
}

/// Where a client asks from.
#[derive(Clone)]
struct Asker {
    host: u8,
    container: Place,
    outside: Place,
}

impl Asker {
    fn ask(&self, service: &'static str, way: Way, turn: usize) -> Option<Request> {
        let begun = monotonic();
        let outcome = match self.answer(service, way, turn) {
            Ok(answer) if answer.starts_with(&format!("{service}/")) => return None,
            other => other.map_err(|error| format!("{error:#}")),
        };
        Some(Request { begun, ended: monotonic(), host: self.host, service, way, outcome })
    }

    fn answer(&self, service: &str, way: Way, turn: usize) -> anyhow::Result<String> {
        let (place, address) = match way {
            Way::Name { network } => {
                let found = self.container.resolve(&format!("{service}.{network}"))?;
                let all: Vec<IpAddr> = found.into_iter().collect();
                let address =
                    all.get(turn / 2 % all.len().max(1)).context("the name is unknown")?;
                (&self.container, SocketAddr::new(*address, PORT))
            }
            Way::Mesh { to } => {
                let [ipv4, ipv6] = [format!("10.99.0.{to}"), format!("fd00:99::{to}")];
                let text = if (turn / 2).is_multiple_of(2) { ipv4 } else { ipv6 };
                (&self.outside, SocketAddr::new(text.parse()?, published(service)))
            }
        };
        let answer = if turn.is_multiple_of(2) {
            place.ask_at(address).with_context(|| format!("tcp {address}"))
        } else {
            place.ask_by_datagrams_at(address).with_context(|| format!("udp {address}"))
        }?;
        anyhow::ensure!(!answer.is_empty(), "{address} ended the connection without an answer");
        Ok(answer)
    }
}

fn ways() -> impl Iterator<Item = Way> {
    let names = NETWORKS.into_iter().map(|network| Way::Name { network });
    names.chain((1..=HOSTS).map(|to| Way::Mesh { to }))
}

impl Clients {
    pub(crate) fn begin(world: &World) -> Self {
        let shared = Arc::<Shared>::default();
        let places: Vec<Asker> = (1..=HOSTS)
            .map(|host| Asker {
                host,
                container: world.client(host),
                outside: Place::named(&world.lab.netns(host)).unwrap(),
            })
            .collect();
        let mut clients =
            Self { shared: shared.clone(), threads: Vec::new(), places, recent: Mutex::default() };
        clients.look(world);
        let threads = clients.places.iter().cloned().map(|asker| {
            let shared = shared.clone();
            std::thread::spawn(move || run(&asker, &shared))
        });
        clients.threads = threads.collect();
        clients
    }

    /// What all must find from now on.
    fn look(&self, world: &World) {
        let pairs = world.wanted().into_iter().flat_map(|(service, wanted)| {
            wanted.networks.into_iter().map(move |network| (service, network))
        });
        *self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner) = pairs.collect();
    }

    /// Looks at what was met since the last time, and asks everything once more: nothing may fail now.
    pub(crate) fn judge(&self, world: &World, change: &Change, begun: Duration) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|episode| episode.over + REMEMBERED > begun);
        let over = Duration::MAX;
        recent.push(Episode {
            change: change.clone(),
            replaced: change.replaced(world),
            begun,
            over,
        });
        let met =
            std::mem::take(&mut *self.shared.met.lock().unwrap_or_else(PoisonError::into_inner));
        // Nothing excuses a wrong service.
        let is_wrong = |request: &Request| {
            request.outcome.is_ok() || !recent.iter().any(|episode| episode.excuses(request))
        };
        let mut wrong: Vec<Request> = met.into_iter().filter(is_wrong).collect();
        let wanted = world.wanted();
        for asker in &self.places {
            for service in SERVICES {
                for way in ways() {
                    let there = match way {
                        Way::Name { network } => wanted[service].networks.contains(network),
                        Way::Mesh { .. } => true,
                    };
                    let asked = (0..4).filter(|_| there);
                    wrong.extend(asked.filter_map(|turn| asker.ask(service, way, turn)));
                }
            }
        }
        if !wrong.is_empty() {
            let logs: Vec<String> = (1..=HOSTS).map(|host| world.lab.log(host)).collect();
            panic!("{recent:#?}: {wrong:#?}\n{}", logs.join("\n----\n"));
        }
        self.look(world);
        // Until here a network was asked that a service has left.
        recent.last_mut().unwrap().over = monotonic();
    }

    /// How many requests there were.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn run(asker: &Asker, shared: &Shared) {
    let mut chance = Chance::new(u64::from(asker.host) << 32 | 0x5eed);
    let mut turn = 0;
    while !shared.over.load(Ordering::SeqCst) {
        turn += 1;
        let known = shared.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (service, network) = known[chance.below(known.len())];
        let to = u8::try_from(1 + chance.below(HOSTS.into())).unwrap();
        let way = if turn / 4 % 2 == 0 { Way::Name { network } } else { Way::Mesh { to } };
        if let Some(request) = asker.ask(service, way, turn) {
            shared.met.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        }
        shared.asked.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(PACE);
    }
}
