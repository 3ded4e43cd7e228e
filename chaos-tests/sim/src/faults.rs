//! What goes wrong: one thing after the other, each undone after a while.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_base::random::Numbers;
use tokio_util::sync::CancellationToken;

use crate::machines::{Death, Node, host};
use crate::note;
use crate::time::pass;
use crate::world::{MANAGERS, WORKERS, World};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Packets are lost everywhere.
    Loss,
    /// Messages take long, and of several connections overtake each other.
    Delay,
    /// What a node sends and gets takes long.
    SlowNode,
    /// Two groups of nodes do not reach each other.
    Partition,
    /// What one node sends does not arrive at another.
    OneWay,
    /// All connections of a node break.
    Resets,
    /// A manager is killed.
    KillManager,
    /// A manager's machine loses its power.
    PowerCutManager,
    /// It does so at one of the next writes to its disk.
    CrashAtWrite,
    /// All managers' machines lose their power.
    PowerCutAll,
    /// A worker is killed.
    KillWorker,
    /// A worker's machine loses its power.
    PowerCutWorker,
    /// The disk of a manager has no more room.
    FullDisk,
    /// A wall clock jumps.
    ClockJump,
    /// The leader is made to hand over.
    LeaderChurn,
    /// A container ends by itself.
    ContainerEnds,
}

/// All of them.
pub const ALL: [Kind; 16] = [
    Kind::Loss,
    Kind::Delay,
    Kind::SlowNode,
    Kind::Partition,
    Kind::OneWay,
    Kind::Resets,
    Kind::KillManager,
    Kind::PowerCutManager,
    Kind::CrashAtWrite,
    Kind::PowerCutAll,
    Kind::KillWorker,
    Kind::PowerCutWorker,
    Kind::FullDisk,
    Kind::ClockJump,
    Kind::LeaderChurn,
    Kind::ContainerEnds,
];

impl Kind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|kind| kind.to_string() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Between two faults, in milliseconds.
const BETWEEN: (u64, u64) = (1_000, 6_000);
/// A crash at a write that does not come happens after this.
const WRITES_PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked whether the write came.
const LOOK: Duration = Duration::from_millis(5);

/// How often each kind happened.
pub type Coverage = BTreeMap<Kind, u64>;

/// Makes faults.
#[derive(Debug, Clone)]
pub struct Faults {
    world: Arc<World>,
    numbers: Arc<Mutex<Numbers>>,
    coverage: Arc<Mutex<Coverage>>,
    over: CancellationToken,
}

impl Faults {
    /// From a seed.
    pub fn new(world: &Arc<World>, seed: u64) -> Self {
        Self {
            world: Arc::clone(world),
            numbers: Arc::new(Mutex::new(Numbers::new(seed))),
            coverage: Arc::default(),
            over: CancellationToken::new(),
        }
    }

    /// How often each kind happened.
    pub fn coverage(&self) -> Coverage {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn below(&self, limit: u64) -> u64 {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).below(limit)
    }

    fn between(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least))
    }

    fn index(&self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap_or(0)
    }

    /// Makes faults of these kinds until a time, then undoes all of them.
    pub async fn run(&self, kinds: &[Kind], until: Duration) {
        while self.world.trace.now() < until && !kinds.is_empty() {
            pass(self.between(BETWEEN.0, BETWEEN.1)).await;
            let kind = kinds[self.index(kinds.len())];
            *self
                .coverage
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(kind)
                .or_default() += 1;
            note!(self.world.trace, "fault {kind:?}");
            let faults = self.clone();
            self.world.spawn(async move { faults.happen(kind).await });
        }
        self.heal().await;
    }

    /// Undoes everything: all nodes live, all ways are open, clocks are right.
    async fn heal(&self) {
        note!(self.world.trace, "all is healed");
        self.over.cancel();
        self.world.network.heal();
        for manager in &self.world.managers {
            manager.node.disk.set_capacity(None);
            manager.node.clock.set_offset(0);
        }
        for worker in &self.world.workers {
            worker.node.clock.set_offset(0);
        }
        for index in 0..self.world.managers.len() {
            self.world.start_manager(index).await;
        }
        for index in 0..self.world.workers.len() {
            self.world.start_worker(index).await;
        }
        self.world.network.heal();
    }

    /// Waits, or until all faults are to be undone.
    async fn lasts(&self, least: u64, most: u64) {
        let duration = self.between(least, most);
        tokio::select! {
            biased;
            () = self.over.cancelled() => {}
            () = pass(duration) => {}
        }
    }

    async fn happen(&self, kind: Kind) {
        let world = &self.world;
        let manager = self.index(world.managers.len());
        let worker = self.index(world.workers.len());
        match kind {
            Kind::Loss => {
                world.network.set_loss(20 + self.below(280));
                self.lasts(500, 8_000).await;
                world.network.set_loss(0);
            }
            Kind::Delay => {
                world.network.set_latency(10, 500 + self.below(4_000));
                self.lasts(500, 8_000).await;
                world.network.set_latency(5, 30);
            }
            Kind::SlowNode => {
                let node = self.any_host();
                world.network.set_slow(node, 20 + self.below(800));
                self.lasts(500, 10_000).await;
                world.network.set_fast(node);
            }
            Kind::Partition => self.partition().await,
            Kind::OneWay => {
                let (from, to) = (self.any_host(), self.any_host());
                world.network.cut(from, to);
                self.lasts(500, 12_000).await;
                world.network.mend(from, to);
            }
            Kind::Resets => world.network.reset_all(self.any_host()),
            Kind::KillManager => {
                self.crash_manager(manager, Death::Killed).await;
            }
            Kind::PowerCutManager => {
                let death = Death::PowerCut(self.below(u64::MAX));
                self.crash_manager(manager, death).await;
            }
            Kind::CrashAtWrite => self.crash_at_write(manager).await,
            Kind::PowerCutAll => {
                let deaths = (0..world.managers.len()).map(|index| {
                    let death = Death::PowerCut(self.below(u64::MAX));
                    self.crash_manager(index, death)
                });
                futures_util::future::join_all(deaths).await;
            }
            Kind::KillWorker => self.crash_worker(worker, Death::Killed).await,
            Kind::PowerCutWorker => {
                let death = Death::PowerCut(self.below(u64::MAX));
                self.crash_worker(worker, death).await;
            }
            // While one starts, a full disk would only keep it from that.
            Kind::FullDisk if world.managers[manager].life().is_none() => {}
            Kind::FullDisk => {
                let disk = &world.managers[manager].node.disk;
                disk.set_capacity(Some(disk.used() + self.below(4_000)));
                self.lasts(1_000, 8_000).await;
                disk.set_capacity(None);
            }
            Kind::ClockJump => self.clock_jump().await,
            Kind::LeaderChurn => {
                if let Some(life) = world.leader().and_then(|index| world.managers[index].life()) {
                    // Others may not be able to take it over: then it stays.
                    life.died.run_until_cancelled(life.process.hand_over()).await;
                }
            }
            Kind::ContainerEnds => {
                let code = i32::try_from(self.below(3)).unwrap_or(0);
                if let Some(task) = world.workers[worker].machine.end_one(code) {
                    note!(world.trace, "the container of {task} ends with {code}");
                }
            }
        }
    }

    fn any_host(&self) -> std::net::IpAddr {
        host(1 + u8::try_from(self.below(u64::from(MANAGERS + WORKERS))).unwrap_or(0))
    }

    fn any_node(&self) -> &Node {
        let number = self.index(usize::from(MANAGERS + WORKERS));
        match number.checked_sub(usize::from(MANAGERS)) {
            Some(worker) => &self.world.workers[worker].node,
            None => &self.world.managers[number].node,
        }
    }

    async fn partition(&self) {
        let all: Vec<_> = (1..=MANAGERS + WORKERS).map(host).collect();
        let here: Vec<_> = all.iter().filter(|_| self.below(2) == 0).copied().collect();
        let mut cut = Vec::new();
        for from in &all {
            for to in &all {
                if here.contains(from) != here.contains(to) {
                    cut.push((*from, *to));
                }
            }
        }
        cut.iter().for_each(|(from, to)| self.world.network.cut(*from, *to));
        self.lasts(500, 12_000).await;
        cut.iter().for_each(|(from, to)| self.world.network.mend(*from, *to));
    }

    async fn crash_manager(&self, index: usize, death: Death) {
        self.world.kill_manager(index, death).await;
        self.lasts(200, 8_000).await;
        self.world.start_manager(index).await;
    }

    async fn crash_worker(&self, index: usize, death: Death) {
        self.world.kill_worker(index, death).await;
        self.lasts(200, 20_000).await;
        self.world.start_worker(index).await;
    }

    async fn crash_at_write(&self, index: usize) {
        let world = &self.world;
        if world.managers[index].life().is_none() {
            return;
        }
        let disk = &world.managers[index].node.disk;
        let at = disk.steps() + self.below(60);
        disk.die_at(at);
        let written = async {
            while disk.steps() <= at {
                pass(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = self.over.cancelled() => {}
            () = written => {}
            () = pass(WRITES_PATIENCE) => {}
        }
        let death = Death::PowerCut(self.below(u64::MAX));
        self.crash_manager(index, death).await;
    }

    async fn clock_jump(&self) {
        let node = self.any_node();
        let jump = i64::try_from(self.below(120_000)).unwrap_or(0) - 60_000;
        note!(self.world.trace, "the clock of node {} is {jump} ms off", node.number);
        node.clock.set_offset(jump);
        self.lasts(2_000, 20_000).await;
        node.clock.set_offset(0);
    }
}
