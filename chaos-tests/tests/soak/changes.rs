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
    KillDaemon { host: u8, pause: Duration },
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
            6 | 7 => Self::KillDaemon { host, pause: seconds(chance, 2) },
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
            Self::KillDaemon { host, pause } => {
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

    /// Whether a request may have failed because of it.
    pub(crate) fn permits(&self, request: &Request) -> bool {
        match self {
            Self::Scale { .. } | Self::Update { .. } | Self::Drain { .. } => false,
            // Names are answered by the daemon: questions wait for it, but not for ever.
            Self::KillDaemon { host, .. } => {
                request.host == *host && matches!(request.way, Way::Name { .. })
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

fn held(world: &World, host: u8) -> Held {
    let is_there =
        |service: &&'static str| world.containers(service).iter().any(|(on, _)| *on == host);
    SERVICES.into_iter().filter(is_there).collect()
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
