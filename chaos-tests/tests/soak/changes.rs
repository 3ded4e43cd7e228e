//! What is changed at random, and which requests may fail because of it.

use std::time::Duration;

use shoal_chaos_tests::chance::Chance;
use shoal_chaos_tests::command::{command, stdout};

use super::clients::{Request, Way};
use super::world::{HOSTS, NETWORKS, SERVICES, Wanted, World};

const REPLICAS_MAX: usize = 4;

/// One change.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Scale { service: &'static str, replicas: usize },
    Update { service: &'static str },
    Drain { host: u8 },
    KillDaemon { host: u8, pause: Duration, held: Vec<(&'static str, String)> },
    KillContainer { service: &'static str },
    Recreate { service: &'static str, replicas: usize },
    Join { service: &'static str, network: &'static str },
    Leave { service: &'static str, network: &'static str },
    Cut { a: u8, b: u8, pause: Duration },
    Unplug { host: u8, pause: Duration, held: Held },
    Flush { host: u8, held: Held },
}

/// Services with a container on a host.
type Held = Vec<&'static str>;

impl Change {
    pub(crate) fn choose(chance: &mut Chance, world: &World) -> Self {
        let service = SERVICES[chance.below(SERVICES.len())];
        let replicas = 1 + chance.below(REPLICAS_MAX);
        let host = u8::try_from(1 + chance.below(HOSTS.into())).unwrap();
        let seconds = |chance: &mut Chance, most: u64| {
            chance.between(Duration::ZERO, Duration::from_secs(most))
        };
        match chance.below(14) {
            0..=2 => Self::Scale { service, replicas },
            3 | 4 => Self::Update { service },
            5 => Self::Drain { host },
            6 | 7 => {
                let pause = seconds(chance, 2);
                Self::KillDaemon { host, pause, held: containers(world, host) }
            }
            8 => Self::KillContainer { service },
            9 => Self::Recreate { service, replicas },
            10 => {
                let wanted = &world.wanted()[service];
                let network = NETWORKS[chance.below(NETWORKS.len())];
                match (wanted.networks.contains(network), wanted.networks.len()) {
                    (false, _) => Self::Join { service, network },
                    (true, 1) => Self::Update { service },
                    (true, _) => Self::Leave { service, network },
                }
            }
            11 => {
                let b = 1 + (host + u8::try_from(chance.below(3)).unwrap()) % HOSTS;
                Self::Cut { a: host, b, pause: seconds(chance, 10) }
            }
            12 => Self::Unplug { host, pause: seconds(chance, 25), held: held(world, host) },
            _ => Self::Flush { host, held: held(world, host) },
        }
    }

    pub(crate) fn make(&self, world: &World) {
        let docker = |arguments: &[&str]| {
            world.patiently(&|| world.lab.docker(arguments).map(drop));
        };
        match self {
            Self::Scale { service, replicas } => {
                docker(&["service", "scale", "-d", &format!("{service}={replicas}")]);
                let wanted = world.wanted()[service].clone();
                world.want(service, Some(Wanted { replicas: *replicas, ..wanted }));
            }
            Self::Update { service } => docker(&["service", "update", "-d", "--force", service]),
            Self::Drain { host } => {
                let name = format!("h{host}");
                docker(&["node", "update", "--availability", "drain", &name]);
                world.await_convergence("a drain");
                docker(&["node", "update", "--availability", "active", &name]);
            }
            Self::KillDaemon { host, pause, .. } => {
                world.lab.kill(*host).unwrap();
                std::thread::sleep(*pause);
                world.lab.start(*host).unwrap();
            }
            Self::KillContainer { service } => {
                let (host, container) = world.containers(service).remove(0);
                world.lab.run(host, &["kill", &container]).unwrap();
            }
            Self::Recreate { service, replicas } => {
                let networks = world.wanted()[service].networks.clone();
                world.want(service, None);
                docker(&["service", "rm", service]);
                world.await_convergence("a removal");
                world.create(service, *replicas, networks);
            }
            Self::Join { service, network } => {
                let wanted = world.wanted()[service].clone();
                docker(&["service", "update", "-d", "--network-add", network, service]);
                let networks = wanted.networks.iter().copied().chain([*network]).collect();
                world.want(service, Some(Wanted { networks, ..wanted }));
            }
            Self::Leave { service, network } => {
                let mut wanted = world.wanted()[service].clone();
                wanted.networks.remove(network);
                world.want(service, Some(wanted));
                docker(&["service", "update", "-d", "--network-rm", network, service]);
            }
            Self::Cut { a, b, pause } => {
                world.lab.cut(*a, *b).unwrap();
                std::thread::sleep(*pause);
                world.lab.heal().unwrap();
            }
            Self::Unplug { host, pause, .. } => {
                world.lab.unplug(*host).unwrap();
                std::thread::sleep(*pause);
                world.lab.heal().unwrap();
            }
            Self::Flush { host, .. } => flush(world, *host),
        }
    }

    /// Services that lost a container with the host that was hurt, because it was taken for dead: by what is there now.
    pub(crate) fn replaced(&self, world: &World) -> Held {
        let Self::KillDaemon { held, .. } = self else { return Held::new() };
        let is_gone = |(service, container): &&(&'static str, String)| {
            !world.containers(service).iter().any(|(_, there)| there == container)
        };
        held.iter().filter(is_gone).map(|(service, _)| *service).collect()
    }

    /// Whether a request may have failed because of it.
    fn permits(&self, request: &Request, replaced: &Held) -> bool {
        match self {
            Self::Scale { .. } | Self::Update { .. } | Self::Drain { .. } => false,
            // Names are answered by the daemon: questions wait for it, but not for ever. A host that is slow to come
            // back is taken for dead.
            Self::KillDaemon { host, .. } => {
                request.host == *host && matches!(request.way, Way::Name { .. })
                    || replaced.contains(&request.service)
            }
            Self::KillContainer { service } | Self::Recreate { service, .. } => {
                request.service == *service
            }
            Self::Join { service, network } | Self::Leave { service, network } => {
                let there =
                    matches!(request.way, Way::Name { network: asked } if asked == *network);
                request.service == *service && there
            }
            Self::Cut { a, b, .. } => touches(request, *a) || touches(request, *b),
            Self::Unplug { host, held, .. } => {
                touches(request, *host) || held.contains(&request.service)
            }
            Self::Flush { host, held } => match request.way {
                Way::Name { .. } => request.host == *host,
                // Rules of the host that asks, of that which is asked, and of the one with the task.
                Way::Mesh { .. } => touches(request, *host) || held.contains(&request.service),
            },
        }
    }
}

/// A change that was made, with what came of it.
#[derive(Debug)]
pub(crate) struct Episode {
    pub(crate) change: Change,
    pub(crate) replaced: Held,
    pub(crate) begun: Duration,
    /// When all was as it shall be again.
    pub(crate) over: Duration,
}

impl Episode {
    /// Whether a request may have failed because of it: one that was under way meanwhile.
    pub(crate) fn excuses(&self, request: &Request) -> bool {
        request.begun < self.over
            && request.ended >= self.begun
            && self.change.permits(request, &self.replaced)
    }
}

fn held(world: &World, host: u8) -> Held {
    let mut services: Held =
        containers(world, host).into_iter().map(|(service, _)| service).collect();
    services.dedup();
    services
}

/// What serves on a host, by service.
fn containers(world: &World, host: u8) -> Vec<(&'static str, String)> {
    let of = |service: &'static str| {
        let all = world.containers(service).into_iter().filter(move |(on, _)| *on == host);
        all.map(move |(_, container)| (service, container))
    };
    SERVICES.into_iter().flat_map(of).collect()
}

/// Whether a host asks or is asked.
fn touches(request: &Request, host: u8) -> bool {
    request.host == host || request.way == Way::Mesh { to: host }
}

/// Somebody else's firewall begins with a flush of everything, on the host and in a container.
fn flush(world: &World, host: u8) {
    let format = ["inspect", "-f", "{{.State.Pid}}", &format!("client{host}")];
    let pid = world.lab.run(host, &format).unwrap();
    let within = ["-t", &pid, "-n", "nft", "flush", "ruleset"];
    stdout(command("nsenter").args(within)).unwrap();
    stdout(world.lab.inside(host).args(["nft", "flush", "ruleset"])).unwrap();
}

#[test]
fn requests_are_excused_by_what_was_under_way_beside_them() {
    let seconds = Duration::from_secs;
    let request = |begun: u64, ended: u64, host: u8, service, way| Request {
        begun: seconds(begun),
        ended: seconds(ended),
        host,
        service,
        way,
        outcome: Err(String::new()),
    };
    let episode =
        |change, replaced| Episode { change, replaced, begun: seconds(10), over: seconds(20) };
    let (mesh, name) = (Way::Mesh { to: 3 }, Way::Name { network: "n0" });

    let flush = episode(Change::Flush { host: 3, held: vec!["s1"] }, vec![]);
    assert!(flush.excuses(&request(5, 10, 2, "s0", mesh)), "it ended within");
    assert!(flush.excuses(&request(19, 40, 2, "s0", mesh)), "it began within");
    assert!(!flush.excuses(&request(5, 9, 2, "s0", mesh)), "over before");
    assert!(!flush.excuses(&request(20, 21, 2, "s0", mesh)), "begun after");
    assert!(!flush.excuses(&request(12, 13, 2, "s0", Way::Mesh { to: 4 })), "not touched");
    assert!(!flush.excuses(&request(12, 13, 2, "s0", name)), "by another way");

    let kill = |replaced| {
        let held = vec![("s0", "c1".to_owned())];
        episode(Change::KillDaemon { host: 3, pause: seconds(1), held }, replaced)
    };
    assert!(!kill(vec![]).excuses(&request(12, 13, 2, "s0", name)), "its container lives on");
    assert!(kill(vec!["s0"]).excuses(&request(12, 13, 2, "s0", name)), "it was replaced");
    assert!(!kill(vec!["s0"]).excuses(&request(12, 13, 2, "s1", name)), "another service");
    assert!(kill(vec![]).excuses(&request(12, 13, 3, "s1", name)), "the daemon answers names");
}
