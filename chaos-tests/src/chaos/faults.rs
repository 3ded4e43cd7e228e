//! What goes wrong: which faults an episode has, and how each is begun and undone.
//!
//! An episode has two lanes that go on at the same time: at most one manager is hurt at once, and at most one worker.

use std::time::Duration;

use super::rules::Shape;
use super::world::World;
use crate::chance::Chance;

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The daemon dies, and starts again later.
    Kill,
    /// The daemon ends in good order, and starts again later.
    Restart,
    /// The daemon hangs.
    Pause,
    /// The host is off the network.
    Unplug,
    /// What another host sends does not arrive.
    OneWay,
    /// Packets to the host are lost at random.
    Loss,
    /// The disk with all that the daemon has is full.
    FullDisk,
    /// The process of one of the host's containers dies.
    KillContainer,
    /// The programs are replaced by those of another commit.
    Exchange,
}

/// Kinds of faults that touch the network: there is one at a time, because mending mends all.
const OF_NETWORK: [Kind; 3] = [Kind::Unplug, Kind::OneWay, Kind::Loss];
/// All kinds that need nothing.
const ALWAYS: [Kind; 8] = [
    Kind::Kill,
    Kind::Restart,
    Kind::Pause,
    Kind::Unplug,
    Kind::OneWay,
    Kind::Loss,
    Kind::FullDisk,
    Kind::KillContainer,
];
/// Faults of a lane in an episode.
const FAULTS_MAX: usize = 2;
/// A fault lasts so long; long enough for other leaders, and for nodes to be taken for down.
const LASTS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Before a fault begins.
const BEFORE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(4));
/// Of a hundred packets.
const LOSS: (usize, usize) = (5, 40);

/// Which host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    /// The manager that leads when it begins.
    Leader,
    /// A manager that does not.
    Follower(u8),
    /// This worker.
    Worker(u8),
}

/// A fault that is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// What.
    pub(super) kind: Kind,
    /// Whom.
    pub(super) victim: Victim,
    /// Among other hosts, and among the host's containers.
    pub(super) other: usize,
    /// Packets of a hundred that are lost.
    pub(super) percent: u8,
    /// Nothing happens for so long before it.
    pub(super) before: Duration,
    /// It lasts so long.
    pub(super) lasts: Duration,
}

/// Faults that happen one after the other, beside those of the other lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Episode {
    /// To managers.
    pub(super) managers: Vec<Fault>,
    /// To workers.
    pub(super) workers: Vec<Fault>,
}

/// Chooses kinds so that all come about as often: each comes once before one comes again.
#[derive(Debug, Default)]
pub(super) struct Bag(Vec<(Kind, Role)>);

/// Whom a kind of faults hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Leader,
    Follower,
    Worker,
}

impl Bag {
    fn draw(&mut self, chance: &mut Chance, exchanges: bool) -> (Kind, Role) {
        if self.0.is_empty() {
            let kinds = ALWAYS.into_iter().chain(exchanges.then_some(Kind::Exchange));
            let roles = [Role::Leader, Role::Follower, Role::Worker];
            self.0 = kinds.flat_map(|kind| roles.map(|role| (kind, role))).collect();
            chance.shuffle(&mut self.0);
        }
        self.0.pop().unwrap_or((Kind::Kill, Role::Worker))
    }
}

/// The next episode. `exchanges`: there are programs of another commit.
pub(super) fn episode(
    chance: &mut Chance,
    bag: &mut Bag,
    shape: Shape,
    exchanges: bool,
) -> Episode {
    let mut episode = Episode::default();
    let (mut manager_cut, mut worker_cut) = (false, false);
    for _ in 0..=chance.below(2 * FAULTS_MAX) {
        let (kind, role) = bag.draw(chance, exchanges);
        let victim = match role {
            Role::Leader => Victim::Leader,
            Role::Follower => Victim::Follower(number(chance, 0, shape.managers - 1)),
            Role::Worker => {
                Victim::Worker(number(chance, shape.managers + 1, shape.hosts - shape.managers))
            }
        };
        let percent = LOSS.0 + chance.below(LOSS.1 - LOSS.0);
        let fault = Fault {
            kind,
            victim,
            other: chance.below(usize::MAX),
            percent: u8::try_from(percent).unwrap_or(100),
            before: chance.between(BEFORE.0, BEFORE.1),
            lasts: chance.between(LASTS.0, LASTS.1),
        };
        let cuts = OF_NETWORK.contains(&kind);
        let (lane, own, others) = if role == Role::Worker {
            (&mut episode.workers, &mut worker_cut, manager_cut)
        } else {
            (&mut episode.managers, &mut manager_cut, worker_cut)
        };
        // Back into the bag: it comes in one of the next episodes.
        if (cuts && others) || lane.len() == FAULTS_MAX {
            bag.0.insert(0, (kind, role));
            continue;
        }
        *own |= cuts;
        lane.push(fault);
    }
    episode
}

/// One of `count` numbers from `first` on.
fn number(chance: &mut Chance, first: u8, count: u8) -> u8 {
    first + u8::try_from(chance.below(count.into())).unwrap_or_default()
}

impl Fault {
    /// The host that it hits now.
    ///
    /// # Errors
    /// When nobody says who leads.
    fn host(&self, world: &World, shape: Shape) -> anyhow::Result<u8> {
        match self.victim {
            Victim::Worker(host) => Ok(host),
            Victim::Leader => world.leader(),
            Victim::Follower(index) => {
                let leader = world.leader()?;
                let mut followers = (1..=shape.managers).filter(|host| *host != leader);
                Ok(followers.nth(index.into()).unwrap_or(leader))
            }
        }
    }

    fn name(&self, upgrades: bool) -> String {
        let what = match self.kind {
            Kind::Kill => "kill -9 of",
            Kind::Restart => "restart of",
            Kind::Pause => "SIGSTOP of",
            Kind::Unplug => "cut of",
            Kind::OneWay => "one-way cut to",
            Kind::Loss => "packet loss at",
            Kind::FullDisk => "full disk of",
            Kind::KillContainer => return "kill -9 of a container".to_owned(),
            Kind::Exchange if upgrades => return "upgrade in place".to_owned(),
            Kind::Exchange => return "downgrade in place".to_owned(),
        };
        let whom = match self.victim {
            Victim::Leader => "the leader",
            Victim::Follower(_) => "a follower",
            Victim::Worker(_) => "a worker",
        };
        format!("{what} {whom}")
    }

    /// Lets it happen, waits, and undoes it.
    ///
    /// # Errors
    /// When it cannot be begun or undone.
    pub(super) fn happen(
        &self,
        world: &World,
        shape: Shape,
        may_downgrade: bool,
    ) -> anyhow::Result<()> {
        std::thread::sleep(self.before);
        let host = self.host(world, shape)?;
        let is_old = world.old_hosts().contains(&host);
        if self.kind == Kind::Exchange && !is_old && !may_downgrade {
            return Ok(());
        }
        let lab = &world.lab;
        let about = format!("h{host}, {:.1} s", self.lasts.as_secs_f64());
        world.ledger.fault(&self.name(is_old), &about);
        let wait = || std::thread::sleep(self.lasts);
        match self.kind {
            Kind::Kill => {
                lab.kill(host)?;
                wait();
                lab.start(host)
            }
            Kind::Restart => {
                lab.stop(host)?;
                wait();
                lab.start(host)
            }
            Kind::Pause => {
                lab.pause(host)?;
                wait();
                lab.resume(host)
            }
            Kind::Unplug => {
                lab.unplug(host)?;
                wait();
                lab.heal()
            }
            Kind::OneWay => {
                let others: Vec<u8> = lab.numbers().filter(|other| *other != host).collect();
                let from = others.get(self.other % others.len().max(1)).copied();
                lab.cut_one_way(from.unwrap_or(host), host)?;
                wait();
                lab.heal()
            }
            Kind::Loss => {
                lab.lose(host, self.percent)?;
                wait();
                lab.heal()
            }
            Kind::FullDisk => {
                world.disk(host)?.fill()?;
                wait();
                world.disk(host)?.make_room()
            }
            Kind::KillContainer => world.kill_container(host, self.other),
            Kind::Exchange => {
                world.set_old(host, !is_old)?;
                lab.stop(host)?;
                lab.start(host)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn all_kinds_come_and_networks_are_cut_in_one_lane_only() {
        let (mut chance, mut bag) = (Chance::new(3), Bag::default());
        let shape = Shape { hosts: 5, managers: 3 };
        let mut counts = BTreeMap::<String, usize>::new();
        for _ in 0..60 {
            let episode = episode(&mut chance, &mut bag, shape, true);
            let cuts = |lane: &[Fault]| lane.iter().any(|it| OF_NETWORK.contains(&it.kind));
            assert!(!(cuts(&episode.managers) && cuts(&episode.workers)), "{episode:?}");
            for fault in &episode.managers {
                assert!(!matches!(fault.victim, Victim::Worker(_)), "{fault:?}");
                assert!(!matches!(fault.victim, Victim::Follower(index) if index > 1), "{fault:?}");
            }
            for fault in &episode.workers {
                assert!(matches!(fault.victim, Victim::Worker(4 | 5)), "{fault:?}");
            }
            for fault in episode.managers.iter().chain(&episode.workers) {
                *counts.entry(fault.name(true)).or_default() += 1;
            }
        }
        assert_eq!(counts.len(), 7 * 3 + 2, "{counts:?}");
        assert!(counts.values().all(|count| *count >= 3), "{counts:?}");
    }
}
