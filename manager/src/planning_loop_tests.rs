//! The loop over consensus whose commits take as long as the test wants.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shoal_manager_core::store::{Change, Event, ObjectRef, State};
use shoal_model::Timestamp;
use shoal_model::cluster::{Annotations, Config, ConfigId, ConfigSpec, Meta};
use tokio::sync::{Semaphore, watch};

use super::{FLIGHTS_MAX, Planner, run};
use crate::consensus::memory::Sole;
use crate::consensus::{Consensus, Error, Leadership, Proposed};
use crate::store::forward::Nowhere;
use crate::store::tests::TestClock;
use crate::store::{self, Objects, Store};

/// Lets proposals wait for permits.
#[derive(Debug)]
struct Slow {
    sole: Sole,
    permits: Arc<Semaphore>,
    proposed: watch::Sender<usize>,
}

impl Consensus for Slow {
    fn propose(&self, entry: Bytes) -> BoxFuture<'static, Result<Proposed, Error>> {
        let (sole, permits) = (self.sole.clone(), Arc::clone(&self.permits));
        let proposed = self.proposed.clone();
        Box::pin(async move {
            proposed.send_modify(|count| *count += 1);
            permits.acquire().await.unwrap().forget();
            sole.propose(entry).await
        })
    }

    fn read_index(&self) -> BoxFuture<'static, Result<u64, Error>> {
        self.sole.read_index()
    }

    fn wait_applied(&self, index: u64) -> BoxFuture<'static, Result<(), Error>> {
        self.sole.wait_applied(index)
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.sole.leadership()
    }
}

/// Makes what is wanted, one a plan.
struct Maker {
    due: BTreeSet<ConfigId>,
}

fn config(number: u8, content: &str) -> Config {
    let annotations = Annotations { name: format!("c{number}"), ..Annotations::default() };
    let data = content.as_bytes().to_vec();
    let spec = ConfigSpec { annotations, data, ..ConfigSpec::default() };
    Config { id: ConfigId::from_bytes([number; 16]), meta: Meta::default(), spec }
}

impl Maker {
    fn set(&mut self, config: &Config) {
        if config.spec.data == b"wanted" {
            self.due.insert(config.id);
        } else {
            self.due.remove(&config.id);
        }
    }
}

impl Planner for Maker {
    const NAME: &'static str = "maker";
    type Plan = Vec<Change>;

    fn new(state: &State) -> Self {
        let mut maker = Self { due: BTreeSet::new() };
        state.configs().for_each(|config| maker.set(config));
        maker
    }

    fn observe(&mut self, event: &Event) {
        let Event::Config(diff) = event else { return };
        self.set(diff.new.as_ref().unwrap());
    }

    fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    fn plan(&mut self, state: &State, _now: Timestamp) -> Vec<Change> {
        let id = self.due.pop_first().unwrap();
        let mut config = Config::clone(state.config(id).unwrap());
        assert_eq!(config.spec.data, b"wanted", "it is planned once");
        config.spec.data = b"made".to_vec();
        vec![Change::PutConfig(Arc::new(config))]
    }

    fn changes(plan: &Vec<Change>) -> &[Change] {
        plan
    }

    fn decided_by(_plan: &Vec<Change>) -> Vec<ObjectRef> {
        Vec::new()
    }

    fn may_be_followed(plan: &Vec<Change>) -> bool {
        !matches!(&plan[..], [Change::PutConfig(config)] if config.spec.annotations.name == "c9")
    }

    fn forget(&mut self, state: &State, plan: &Vec<Change>) {
        let [Change::PutConfig(config)] = &plan[..] else { unreachable!("it plans nothing else") };
        self.set(state.config(config.id).unwrap());
    }
}

pub(crate) struct World {
    /// Commits at once.
    pub(crate) direct: Store,
    /// Waits for permits.
    slow: Store,
    pub(crate) permits: Arc<Semaphore>,
    proposed: watch::Receiver<usize>,
}

pub(crate) async fn world(numbers: &[u8]) -> World {
    let objects = Objects::new();
    let sole = Sole::new(objects.clone());
    let permits = Arc::new(Semaphore::new(0));
    let (sender, proposed) = watch::channel(0);
    let slow = Slow { sole: sole.clone(), permits: Arc::clone(&permits), proposed: sender };
    let store = |consensus: Arc<dyn Consensus>| {
        Store::new(objects.clone(), consensus, Arc::new(Nowhere), TestClock::shared())
    };
    let world =
        World { direct: store(Arc::new(sole)), slow: store(Arc::new(slow)), permits, proposed };
    for number in numbers {
        world.put(config(*number, "wanted")).await;
    }
    world
}

impl World {
    async fn put(&self, config: Config) {
        let put = |txn: &mut shoal_manager_core::store::Txn| -> Result<(), store::Error> {
            Ok(txn.put_config(config.clone())?)
        };
        self.direct.update(put).await.unwrap();
    }

    /// Waits until so many plans were proposed, and gives the loop every chance to propose more.
    pub(crate) async fn proposed(&self, count: usize) {
        self.proposed.clone().wait_for(|proposed| *proposed >= count).await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*self.proposed.borrow(), count);
    }

    fn made(&self) -> usize {
        self.direct.view().configs().filter(|config| config.spec.data == b"made").count()
    }

    /// Runs the loop beside the test.
    pub(crate) async fn beside<P: Planner>(&self, test: impl Future<Output = ()>) {
        tokio::select! {
            () = run::<P>(self.slow.clone(), TestClock::shared()) => unreachable!("it never ends"),
            () = test => {}
        }
    }
}

#[tokio::test]
async fn full_plans_follow_each_other_before_they_are_committed() {
    let world = world(&[1, 2, 3, 4, 5]).await;
    let test = async {
        world.proposed(FLIGHTS_MAX).await;
        assert_eq!(world.made(), 0);
        world.permits.add_permits(1);
        world.proposed(FLIGHTS_MAX + 1).await;
        assert_eq!(world.made(), 1);
        world.permits.add_permits(9);
        world.proposed(5).await;
        assert_eq!(world.made(), 5);
    };
    world.beside::<Maker>(test).await;
}

#[tokio::test]
async fn what_comes_meanwhile_waits_for_the_plan_before() {
    let world = world(&[1]).await;
    let test = async {
        world.proposed(1).await;
        world.put(config(2, "wanted")).await;
        world.proposed(1).await;
        world.permits.add_permits(9);
        world.proposed(2).await;
        assert_eq!(world.made(), 2);
    };
    world.beside::<Maker>(test).await;
}

#[tokio::test]
async fn a_plan_that_others_depend_on_is_waited_for() {
    let world = world(&[9, 10]).await;
    let test = async {
        world.proposed(1).await;
        world.permits.add_permits(9);
        world.proposed(2).await;
        assert_eq!(world.made(), 2);
    };
    world.beside::<Maker>(test).await;
}

#[tokio::test]
async fn after_a_refusal_all_plans_land_before_the_next() {
    let world = world(&[1, 2, 3, 4]).await;
    let test = async {
        world.proposed(3).await;
        // The plan for it is made from an older version.
        world.put(config(1, "wanted")).await;
        world.permits.add_permits(1);
        world.proposed(3).await;
        assert_eq!(world.made(), 0, "it was refused");
        world.permits.add_permits(1);
        world.proposed(3).await;
        assert_eq!(world.made(), 1);
        world.permits.add_permits(9);
        world.proposed(5).await;
        assert_eq!(world.made(), 4);
    };
    world.beside::<Maker>(test).await;
}
