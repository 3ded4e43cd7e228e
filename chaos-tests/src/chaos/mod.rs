//! Lab chaos: a cluster of real daemons with real containers is hurt at random while users change it and clients ask
//! its services; after each episode it must come to rest, and all rules must hold.
//!
//! All choices come from one seed. What happens does not: daemons, the kernel and the machine's other work have a say.

mod asking;
mod faults;
mod ledger;
mod moments;
mod objects;
pub mod observed;
pub mod rules;
mod users;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;

pub use self::ledger::{Ledger, Violation};
pub use self::world::World;

use self::asking::Asking;
use self::faults::{Bag, Fault};
use self::rules::Complaint;
use self::users::User;
use self::world::{LOOK, SHAPE};
use crate::chance::Chance;
use crate::command::monotonic;

/// Users that work at the same time.
const USERS: usize = 2;
/// What is asked for is there so long after the last fault at the latest, however busy the machine is.
pub const REST: Duration = Duration::from_secs(240);
/// After so long it is told what is missing, and again.
const TELL: Duration = Duration::from_secs(30);
/// Users work so long before the first fault.
const QUIET: Duration = Duration::from_secs(5);
/// Episodes of faults for each loss of the quorum, and for each damaged log.
const EPISODES: usize = 3;

/// What a run is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the lab.
    pub name: String,
    /// So long faults are begun.
    pub lasts: Duration,
    /// Of all choices.
    pub seed: u64,
    /// Directory of programs of another commit, with which all hosts begin.
    pub old: Option<PathBuf>,
    /// Where the daemons' logs are kept when something is found.
    pub logs: Option<PathBuf>,
}

impl Settings {
    /// `SHOAL_CHAOS_MINUTES` (60), `SHOAL_SEED`, `SHOAL_OLD_BIN_DIR`, `SHOAL_CHAOS_LOGS`.
    ///
    /// # Errors
    /// When a number is none.
    pub fn from_environment() -> anyhow::Result<Self> {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().with_context(|| format!("{name}={text} is no number")),
            Err(_) => Ok(default),
        };
        let directory = |name: &str| std::env::var_os(name).map(PathBuf::from);
        Ok(Self {
            name: "chaos".to_owned(),
            lasts: Duration::from_secs(number("SHOAL_CHAOS_MINUTES", 60)? * 60),
            seed: number("SHOAL_SEED", u64::from(std::process::id()))?,
            old: directory("SHOAL_OLD_BIN_DIR"),
            logs: directory("SHOAL_CHAOS_LOGS"),
        })
    }

    /// The command that makes the same choices.
    pub fn repeat(&self) -> String {
        let minutes = self.lasts.as_secs() / 60;
        let old = self.old.as_ref();
        let old = old.map(|path| format!("SHOAL_OLD_BIN_DIR={} ", path.display()));
        format!(
            "{}SHOAL_SEED={} SHOAL_CHAOS_MINUTES={minutes} cargo xtask test chaos",
            old.unwrap_or_default(),
            self.seed
        )
    }
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Faults,
    NoQuorum,
    Damage,
}

/// A run: the lab, those who work in it, and the choices.
#[derive(Debug)]
pub struct Run {
    settings: Settings,
    chance: Chance,
    bag: Bag,
    agenda: Vec<Next>,
    /// The feature level while all hosts had the older programs.
    old_level: Option<u64>,
    users: Vec<User>,
    asking: Arc<Asking>,
    /// The lab.
    pub world: Arc<World>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// For people.
    pub table: String,
    /// What must not have been.
    pub violations: Vec<Violation>,
}

impl Run {
    /// Makes the lab with the services that are asked all the time, and waits until all is well.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(settings: Settings) -> anyhow::Result<Self> {
        let mut chance = Chance::new(settings.seed);
        let world = World::up(&settings.name, settings.old.as_deref())?;
        let mut users: Vec<User> =
            (0..USERS).map(|number| User::new(&world, number, chance.fork())).collect();
        users.iter_mut().try_for_each(User::begin)?;
        let asking = Arc::new(Asking::begin(&world, &mut chance)?);
        let old_level = world.has_old().then(|| world.feature_level()).transpose()?;
        let (bag, agenda) = (Bag::default(), Vec::new());
        let mut run = Self { settings, chance, bag, agenda, old_level, users, asking, world };
        run.rest(REST);
        Ok(run)
    }

    fn is_well(&self) -> bool {
        self.world.ledger.violations().is_empty()
    }

    /// Users work while something happens on this thread; without a quorum nothing may be acknowledged.
    fn beside_users<T>(&mut self, without_quorum: bool, job: impl FnOnce(&mut Self) -> T) -> T {
        let stop = Arc::<AtomicBool>::default();
        let working: Vec<_> = std::mem::take(&mut self.users)
            .into_iter()
            .map(|user| user.without_quorum(without_quorum).work(&stop))
            .collect();
        let done = job(self);
        stop.store(true, Ordering::SeqCst);
        for user in working {
            match user.join() {
                Ok(user) => self.users.push(user.without_quorum(false)),
                Err(_) => self.problem(&anyhow::anyhow!("a user panicked")),
            }
        }
        done
    }

    fn problem(&self, error: &anyhow::Error) {
        self.world.ledger.violation(Complaint::new("LAB", format!("{error:#}")));
    }

    /// Users work undisturbed.
    pub fn work(&mut self, lasts: Duration) {
        self.beside_users(false, |_| std::thread::sleep(lasts));
    }

    /// One lane of an episode.
    fn lane(world: &World, faults: &[Fault], may_downgrade: bool) -> anyhow::Result<()> {
        for fault in faults {
            fault.happen(world, SHAPE, may_downgrade)?;
            // Never are two of three hurt.
            world.await_managers()?;
        }
        Ok(())
    }

    fn episode(&mut self) -> anyhow::Result<()> {
        let exchanges = self.world.has_old();
        let level = exchanges.then(|| self.world.feature_level()).transpose()?;
        let may_downgrade = exchanges && level == self.old_level;
        let episode = faults::episode(&mut self.chance, &mut self.bag, SHAPE, exchanges);
        self.beside_users(false, |run| {
            let world = &run.world;
            std::thread::scope(|scope| {
                let workers = scope.spawn(|| Self::lane(world, &episode.workers, may_downgrade));
                let managers = Self::lane(world, &episode.managers, may_downgrade);
                let panicked = |_| Err(anyhow::anyhow!("a lane panicked"));
                let workers = workers.join().unwrap_or_else(panicked);
                managers.and(workers)
            })
        })
    }

    fn no_quorum(&mut self) -> anyhow::Result<()> {
        let mut chance = self.chance.fork();
        let (world, asking) = (Arc::clone(&self.world), Arc::clone(&self.asking));
        moments::no_quorum(&world, &asking, &mut chance, |lasts| {
            self.beside_users(true, |_| std::thread::sleep(lasts));
        })
    }

    /// Waits until everything is as it is asked for and no rule is broken, then reads what users know. What is not so in
    /// time is a violation.
    pub fn rest(&mut self, limit: Duration) {
        let began = monotonic();
        let mut told = Duration::ZERO;
        let complaints = loop {
            let complaints = self.complaints();
            let took = monotonic() - began;
            if complaints.is_empty() || took > limit {
                break complaints;
            }
            if took > told + TELL {
                told = took;
                self.world.ledger.say(&format!("not yet: {}", complaints[0]));
            }
            std::thread::sleep(LOOK);
        };
        if complaints.is_empty() {
            self.world.ledger.rest(monotonic() - began);
        }
        complaints.into_iter().for_each(|complaint| self.world.ledger.violation(complaint));
        let mut users = std::mem::take(&mut self.users);
        for user in &mut users {
            if let Err(error) = user.read_all() {
                self.problem(&error);
            }
        }
        self.users = users;
        self.asking.forget();
    }

    fn complaints(&self) -> Vec<Complaint> {
        let seen = match self.world.observe() {
            Ok(seen) => seen,
            Err(error) => return vec![Complaint::new("LAB", format!("{error:#}"))],
        };
        let complaints = rules::at_rest(SHAPE, &seen);
        if !complaints.is_empty() {
            return complaints;
        }
        let unanswered = self.asking.all().into_iter();
        unanswered.map(|what| Complaint::new("CONV-1", what)).collect()
    }

    /// What comes next: all kinds in random order, before one comes again.
    fn next(&mut self) -> Next {
        if self.agenda.is_empty() {
            self.agenda = vec![Next::Faults; EPISODES];
            self.agenda.extend([Next::NoQuorum, Next::Damage]);
            self.chance.shuffle(&mut self.agenda);
        }
        self.agenda.pop().unwrap_or(Next::Faults)
    }

    /// Hurts the cluster for so long as the settings say, or until something is found.
    pub fn hurt(&mut self) {
        let end = monotonic() + self.settings.lasts;
        self.work(QUIET);
        self.rest(REST);
        while monotonic() < end && self.is_well() {
            let done = match self.next() {
                Next::Faults => self.episode(),
                Next::NoQuorum => self.no_quorum(),
                Next::Damage => {
                    let mut chance = self.chance.fork();
                    self.beside_users(false, |run| moments::damage(&run.world, &mut chance))
                }
            };
            if let Err(error) = done {
                self.problem(&error);
            }
            self.rest(REST);
        }
    }

    /// Upgrades what is not yet.
    fn upgrade_all(&mut self) {
        for host in self.world.old_hosts() {
            let world = &self.world;
            world.ledger.fault("upgrade in place", &format!("h{host}"));
            let upgraded = world
                .set_old(host, false)
                .and_then(|()| world.lab.stop(host))
                .and_then(|()| world.lab.start(host))
                .and_then(|()| world.await_managers());
            if let Err(error) = upgraded {
                return self.problem(&error);
            }
        }
        self.rest(REST);
    }

    /// Takes everything down, and reports.
    ///
    /// # Errors
    /// When the logs that were asked for are not kept.
    pub fn finish(mut self) -> anyhow::Result<Report> {
        if self.is_well() && !self.world.old_hosts().is_empty() {
            self.upgrade_all();
        }
        if let Some(directory) = self.settings.logs.as_ref().filter(|_| !self.is_well()) {
            self.world.keep_logs(directory)?;
            println!("the daemons' logs are in {}", directory.display());
        }
        let Self { settings, world, users, asking, .. } = self;
        drop((users, asking));
        let world = Arc::try_unwrap(world).ok().context("somebody still works in the lab")?;
        let ledger = world.finish();
        let table = ledger.table(&settings.repeat());
        Ok(Report { table, violations: ledger.violations() })
    }
}

/// A whole run.
///
/// # Errors
/// When the lab does not come up.
pub fn run(settings: Settings) -> anyhow::Result<Report> {
    println!("{}", settings.repeat());
    let mut run = Run::up(settings)?;
    run.hurt();
    run.finish()
}
