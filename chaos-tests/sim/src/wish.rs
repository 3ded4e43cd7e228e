//! What users want of their services.
//!
//! All that is wanted at once has room on the nodes of the simulation when all of them are active, however it is spread,
//! so that in the end every service must run; while nodes are away, it has not.

use std::sync::Arc;
use std::time::Duration;

use shoal_base::random::Numbers;
use shoal_model::cluster::node::GenericResource;
use shoal_model::cluster::service::{
    EndpointSpec, PortConfig, Protocol, PublishMode, Service, ServiceMode,
};
use shoal_model::cluster::task::{
    NetworkWish, Placement, Reservations, ResourceRequirements, RestartCondition, RestartPolicy,
};
use shoal_model::cluster::{Annotations, ClusterNetworkId, ServiceSpec, TaskSpec};

use crate::world::{MANAGERS, WORKERS};

/// Names that each user has for services.
pub(crate) const NAMES: u64 = 2;
/// CPUs of a worker in 1e-9. As many users as there are reserve two of them, each for at most three replicas: that is
/// what three workers have.
pub(crate) const NODE_CPUS: i64 = 8_000_000_000;
/// Devices of a worker. Each user wants one.
pub(crate) const NODE_DEVICES: i64 = 2;
/// Kind of those devices.
pub(crate) const DEVICE: &str = "gpu";
/// Ports that are published on all nodes: fewer than there are services.
const PORTS: u64 = 4;
/// Attempts that a restart policy counts; never reached.
const ATTEMPTS_MAX: u64 = 10_000;
/// Attempts that are soon used up.
const ATTEMPTS_FEW: u64 = 2;

/// What a service wants beside a number of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Nothing.
    Plain,
    /// Two CPUs for each replica.
    Cpus,
    /// A device.
    Device,
    /// A port of its node, which the service of another user wants, too.
    HostPort,
    /// A port of all nodes, which other services may have.
    Port,
    /// One node, or any but that.
    Node,
    /// No more than two replicas on a node.
    Spread,
    /// Soon no more attempts.
    FewAttempts,
    /// A program that fails at once.
    Failing,
    /// Programs that come to an end.
    Job,
}

impl Demand {
    /// All of them, with the word that images of such services begin with: so it is read back with the image.
    const WORDS: [(Self, &str); 10] = [
        (Self::Plain, "plain"),
        (Self::Cpus, "cpus"),
        (Self::Device, "device"),
        (Self::HostPort, "hostport"),
        (Self::Port, "port"),
        (Self::Node, "node"),
        (Self::Spread, "spread"),
        (Self::FewAttempts, "few"),
        (Self::Failing, FAILING),
        (Self::Job, JOB),
    ];
    /// For services with one task on every node.
    const GLOBAL: [Self; 4] = [Self::Port, Self::Node, Self::FewAttempts, Self::Failing];
    /// For the others, of a user's first name; what has room only once is not for the second.
    const FIRST: [Self; 7] = [
        Self::Device,
        Self::HostPort,
        Self::Port,
        Self::Node,
        Self::Spread,
        Self::FewAttempts,
        Self::Failing,
    ];
    const SECOND: [Self; 6] =
        [Self::Cpus, Self::Port, Self::Node, Self::Spread, Self::FewAttempts, Self::Failing];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(demand, _)| *demand == self).map_or("", |(_, word)| word)
    }

    fn of_image(image: &str) -> Self {
        let begins = |word: &str| image.split('-').next() == Some(word);
        Self::WORDS.iter().find(|(_, word)| begins(word)).map_or(Self::Plain, |(demand, _)| *demand)
    }

    const fn replicas_max(self) -> u64 {
        match self {
            Self::Device | Self::HostPort => 1,
            Self::Cpus => 3,
            _ => 4,
        }
    }
}

/// Images that fail at once begin so.
pub(crate) const FAILING: &str = "failing";
/// Images that come to an end begin so.
pub(crate) const JOB: &str = "job";

/// How a service is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// No two wishes have the same.
    image: String,
    /// `None`: on every node.
    replicas: Option<u64>,
    demand: Demand,
}

/// Who wants, and which of its names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) user: u8,
    pub(crate) name: u64,
}

impl Wish {
    /// The `made`th of a user, for a service that is now as `old` says: its mode stays.
    pub(crate) fn any(numbers: &mut Numbers, owner: Owner, made: u64, old: Option<&Self>) -> Self {
        let mode = numbers.below(8);
        let is_job = old.map_or(mode == 0, |old| old.demand == Demand::Job);
        let is_global = old.map_or(mode == 1, |old| old.replicas.is_none());
        let choices: &[Demand] = match (is_global, owner.name) {
            (true, _) => &Demand::GLOBAL,
            (false, 0) => &Demand::FIRST,
            (false, _) => &Demand::SECOND,
        };
        let chosen = usize::try_from(numbers.below(2 * choices.len() as u64)).unwrap_or(0);
        let demand = if is_job {
            Demand::Job
        } else {
            choices.get(chosen).copied().unwrap_or(Demand::Plain)
        };
        let replicas = (!is_global).then(|| 1 + numbers.below(demand.replicas_max()));
        Self::new(owner, made, demand, replicas)
    }

    /// One without demands in the place of this one. A job stays one.
    pub(crate) fn plain(&self, owner: Owner, made: u64) -> Self {
        let demand = if self.demand == Demand::Job { Demand::Job } else { Demand::Plain };
        Self::new(owner, made, demand, self.replicas)
    }

    fn new(owner: Owner, made: u64, demand: Demand, replicas: Option<u64>) -> Self {
        let image = format!("{}-{}.{made}", demand.word(), owner.user);
        Self { image, replicas, demand }
    }

    /// What a service shows.
    pub(crate) fn of(service: &Service) -> Self {
        let image = service.spec.task.container.image.clone();
        let replicas = match service.spec.mode {
            ServiceMode::Replicated { replicas } => Some(replicas.unwrap_or(1)),
            ServiceMode::ReplicatedJob { total_completions, .. } => {
                Some(total_completions.unwrap_or(1))
            }
            ServiceMode::Global | ServiceMode::GlobalJob => None,
        };
        Self { demand: Demand::of_image(&image), image, replicas }
    }

    /// Whether its tasks may never run.
    pub(crate) fn is_hopeless(&self) -> bool {
        matches!(self.demand, Demand::FewAttempts | Demand::Failing)
    }

    /// As it is asked for.
    pub(crate) fn spec(
        &self,
        name: &str,
        owner: Owner,
        made: u64,
        overlay: ClusterNetworkId,
    ) -> ServiceSpec {
        let attempts = match self.demand {
            Demand::FewAttempts => ATTEMPTS_FEW,
            _ => ATTEMPTS_MAX,
        };
        let restart = RestartPolicy {
            condition: (self.demand == Demand::Job).then_some(RestartCondition::OnFailure),
            delay: Some(Duration::from_millis(500)),
            max_attempts: Some(attempts),
            ..RestartPolicy::default()
        };
        let mut task = TaskSpec {
            restart: Some(restart),
            placement: self.placement(made),
            resources: self.resources(),
            ..TaskSpec::default()
        };
        task.container.image.clone_from(&self.image);
        if owner.name == 0 {
            task.networks =
                vec![NetworkWish { target: overlay.to_string(), ..NetworkWish::default() }];
        }
        let mode = match self.replicas {
            Some(replicas) if self.demand == Demand::Job => ServiceMode::ReplicatedJob {
                max_concurrent: Some(2),
                total_completions: Some(replicas),
            },
            Some(replicas) => ServiceMode::Replicated { replicas: Some(replicas) },
            None => ServiceMode::Global,
        };
        ServiceSpec {
            annotations: Annotations { name: name.to_owned(), ..Annotations::default() },
            task: Arc::new(task),
            mode,
            endpoint: self.endpoint(owner, made),
            ..ServiceSpec::default()
        }
    }

    fn placement(&self, made: u64) -> Option<Placement> {
        match self.demand {
            Demand::Node => {
                let node = u64::from(MANAGERS) + 1 + made % u64::from(WORKERS);
                let sign = if made.is_multiple_of(2) { "==" } else { "!=" };
                let constraints = vec![format!("node.hostname{sign}w{node}")];
                Some(Placement { constraints, ..Placement::default() })
            }
            Demand::Spread => Some(Placement { max_replicas: 2, ..Placement::default() }),
            _ => None,
        }
    }

    fn resources(&self) -> Option<ResourceRequirements> {
        let reservations = match self.demand {
            Demand::Cpus => Reservations { nano_cpus: NODE_CPUS / 4, ..Reservations::default() },
            Demand::Device => Reservations {
                generic: vec![GenericResource::Discrete { kind: DEVICE.to_owned(), value: 1 }],
                ..Reservations::default()
            },
            _ => return None,
        };
        Some(ResourceRequirements {
            reservations: Some(reservations),
            ..ResourceRequirements::default()
        })
    }

    fn endpoint(&self, owner: Owner, made: u64) -> Option<EndpointSpec> {
        let (published, mode) = match self.demand {
            // Two services with one replica each, so that there are nodes enough.
            Demand::HostPort => (9_000 + (u64::from(owner.user) - 1) / 2, PublishMode::Host),
            Demand::Port => (8_000 + made % PORTS, PublishMode::Ingress),
            _ => return None,
        };
        let port = PortConfig {
            name: String::new(),
            protocol: Protocol::Tcp,
            target: 80,
            published: u16::try_from(published).unwrap_or(u16::MAX),
            mode,
        };
        Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() })
    }
}
