//! One run: a cluster, users and faults from a seed; then quiet, and a look at what is left.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shoal_base::random::Numbers;
use shoal_base::single;
use shoal_manager_core::invariants::Broken;
use tokio::sync::oneshot;

use crate::client::{self, Client, Counts};
use crate::faults::{self, Coverage, Faults, Kind};
use crate::invariants::{converged, roles};
use crate::planted::Planted;
use crate::settings::Settings;
use crate::stuck::Watch;
use crate::time::pass;
use crate::world::{MANAGERS, Plan, World};
use crate::{admin, panics, rogue};

/// Faults that a run of three minutes must have met to mean something.
pub const FAULTS_MIN: u64 = 20;
/// Such a run.
pub const WHOLE: Duration = Duration::from_secs(180);
/// Operations that must have been acknowledged in it.
pub const ACKNOWLEDGED_MIN: u64 = 200;
/// Users at a time.
const USERS: u8 = 4;
/// Of the operations those that users do when all is over, of each manager.
const READ_AT_END: u64 = client::READS * USERS as u64 * MANAGERS as u64;
/// Virtual time in which a healed cluster must come to what the specs ask for.
const LIVENESS: Duration = Duration::from_secs(180);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(500);

/// After so many of these looks the users look whether something keeps their services from running.
const LOOKS_OF_USERS: u32 = 40;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// All randomness.
    pub seed: u64,
    /// Virtual time with users and faults.
    pub duration: Duration,
    /// Kinds of faults.
    pub faults: Vec<Kind>,
    /// A bug.
    pub planted: Planted,
    /// Whether to print the trace as it comes.
    pub print: bool,
    /// Of cluster and users.
    pub settings: Settings,
    /// Virtual seconds that have passed, for who watches.
    pub passed: Arc<AtomicU64>,
}

impl Options {
    /// Three virtual minutes with all kinds of faults, with settings of the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            duration: WHOLE,
            faults: faults::ALL.to_vec(),
            planted: Planted::NONE,
            print: false,
            settings: Settings::of(seed),
            passed: Arc::default(),
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was broken first.
    pub broken: Option<Broken>,
    /// Of the whole trace.
    pub digest: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// The last of them.
    pub last: Vec<String>,
    /// Virtual time.
    pub virtual_time: Duration,
    /// How often each kind of fault happened.
    pub coverage: Coverage,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Whose answer was lost.
    pub lost: u64,
    /// That were refused.
    pub refused: u64,
    /// Entries that were checked.
    pub steps: u64,
}

impl Outcome {
    /// Whether too little happened for the run to mean something.
    pub fn is_thin(&self) -> bool {
        let faults: u64 = self.coverage.values().sum();
        faults < FAULTS_MIN || self.acknowledged < ACKNOWLEDGED_MIN
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.coverage.values().sum();
        write!(
            f,
            "{:?} virtual, {faults} faults, {} acknowledged, {} lost, {} refused, {} entries checked, digest {:016x}",
            Duration::from_secs(self.virtual_time.as_secs()),
            self.acknowledged,
            self.lost,
            self.refused,
            self.steps,
            self.digest
        )
    }
}

/// Runs a seed on this thread.
///
/// # Errors
/// When there is no such runtime: this was not built by `cargo xtask`.
pub fn run(options: &Options) -> anyhow::Result<Outcome> {
    let _watched = Watch::begin(options.seed, Arc::clone(&options.passed));
    let _single = single::enter(options.seed);
    panics::watch();
    let mut outcome = runtime(options.seed)?.block_on(simulate(options))?;
    let panicked = panics::first().map(|what| Broken { id: "PANIC", what });
    outcome.broken = outcome.broken.or(panicked);
    Ok(outcome)
}

/// One thread, virtual time, and the order of branches from the seed.
#[cfg(tokio_unstable)]
fn runtime(seed: u64) -> anyhow::Result<tokio::runtime::Runtime> {
    let seed = tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_time().start_paused(true).rng_seed(seed).build()?)
}

#[cfg(not(tokio_unstable))]
fn runtime(_: u64) -> anyhow::Result<tokio::runtime::Runtime> {
    anyhow::bail!(
        "a run would not be repeatable: build with `--cfg tokio_unstable`, as `cargo xtask sim` does"
    )
}

async fn simulate(options: &Options) -> anyhow::Result<Outcome> {
    let Options { seed, duration, faults: kinds, planted, print, settings, passed } = options;
    let mut numbers = Numbers::new(seed ^ 0x0051_4d00);
    let plan = Plan { seed: *seed, print: *print, planted: *planted, settings: *settings };
    let world = World::begin(&plan).await?;
    let passed = Arc::clone(passed);
    world.spawn(async move {
        loop {
            pass(Duration::from_secs(1)).await;
            passed.fetch_add(1, Ordering::Relaxed);
        }
    });
    let counts = Arc::new(Counts::default());
    let until = world.trace.now() + *duration;
    let enough = if *duration >= WHOLE { ACKNOWLEDGED_MIN - READ_AT_END } else { 0 };
    let mut users = Vec::new();
    for number in 1..=USERS {
        let (done, user) = oneshot::channel();
        let client = Client::new(&world, &counts, number, numbers.next());
        world.spawn(async move {
            // Nobody waits any more once something is broken.
            let _ = done.send(client.work(until, enough).await);
        });
        users.push(user);
    }
    world.spawn(roles::probe(Arc::clone(&world)));
    world.spawn(rogue::run(Arc::clone(&world)));
    world.spawn(admin::run(Arc::clone(&world), numbers.next(), until));
    let faults = Faults::new(&world, numbers.next());
    let checked = async {
        faults.run(kinds, until).await;
        let mut clients = Vec::new();
        for user in users {
            clients.push(user.await?);
        }
        finish(&world, clients).await;
        anyhow::Ok(())
    };
    tokio::select! {
        biased;
        () = world.checks.wait_broken() => {}
        checked = checked => checked?,
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let outcome = Outcome {
        broken: world.checks.broken(),
        digest: world.trace.digest(),
        lines: world.trace.lines(),
        last: world.trace.last(),
        virtual_time: world.trace.now(),
        coverage: faults.coverage(),
        acknowledged: count(&counts.acknowledged),
        lost: count(&counts.lost),
        refused: count(&counts.refused),
        steps: world.checks.steps(),
    };
    world.end().await;
    Ok(outcome)
}

/// Nothing goes wrong any more: the cluster must come to what the specs ask for, with all that was acknowledged.
async fn finish(world: &Arc<World>, mut clients: Vec<Client>) {
    let deadline = world.trace.now() + LIVENESS;
    for look in 0_u32.. {
        if look.is_multiple_of(LOOKS_OF_USERS) {
            for client in &mut clients {
                client.repair().await;
            }
        }
        pass(LOOK).await;
        let verdict = converged::check(world);
        if verdict.is_ok() {
            break;
        }
        if world.trace.now() >= deadline {
            return world.checks.verdict(verdict);
        }
    }
    for client in &mut clients {
        client.read_all().await;
    }
}
