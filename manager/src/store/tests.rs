//! Tests of the store, over consensus of one.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use shoal_base::Clock;
use shoal_manager_core::ids::{Ids, SeededIds};
use shoal_manager_core::store::{Change, Rejected};
use shoal_model::Timestamp;
use shoal_model::cluster::{Annotations, Config, ConfigId, ConfigSpec, Meta, NodeId};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};

use super::forward::{Channels, Nowhere, Remote, Server};
use super::*;
use crate::consensus::memory::{Fault, Sole};
use crate::consensus::{Leader, Proposed};

/// Follows tokio's clock, which tests can pause; every look at the wall clock is later than the one before.
#[derive(Debug)]
pub(crate) struct TestClock {
    start: tokio::time::Instant,
    looks: std::sync::atomic::AtomicI64,
}

impl TestClock {
    pub(crate) fn shared() -> SharedClock {
        Arc::new(Self { start: tokio::time::Instant::now(), looks: 1.into() })
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        shoal_base::clock::SystemClock.sleep(duration)
    }
}

pub(crate) fn sole() -> (Store, Sole) {
    let objects = Objects::new();
    let sole = Sole::new(objects.clone());
    let store = Store::new(objects, Arc::new(sole.clone()), Arc::new(Nowhere), TestClock::shared());
    (store, sole)
}

fn config(id: ConfigId, name: &str) -> Config {
    let annotations = Annotations { name: name.to_owned(), ..Annotations::default() };
    let spec = ConfigSpec { annotations, data: b"text".to_vec(), ..ConfigSpec::default() };
    Config { id, meta: Meta::default(), spec }
}

async fn create(store: &Store, id: ConfigId, name: &str) -> Result<Committed<ConfigId>, Error> {
    store
        .update(|txn| {
            txn.put_config(config(id, name))?;
            Ok(id)
        })
        .await
}

fn ids() -> impl FnMut() -> ConfigId {
    let mut ids = SeededIds::new(1);
    move || ids.config()
}

#[tokio::test]
async fn a_writer_sees_its_write_and_watchers_get_it() {
    let (store, _) = sole();
    let (before, mut changes) = store.watch();
    let id = ids()();
    let committed = create(&store, id, "a").await.unwrap();
    assert_eq!(committed, Committed { value: id, version: 1 });
    assert!(before.config(id).is_none() && store.view().config(id).is_some());
    let batches = changes.next().await.unwrap();
    assert_eq!(batches.len(), 1);
    assert_eq!((batches[0].version.0, batches[0].events.len()), (1, 1));
}

#[tokio::test]
async fn nothing_is_proposed_for_no_changes() {
    let (store, _) = sole();
    let committed = store.update::<_, Error>(|_| Ok(())).await.unwrap();
    assert_eq!((committed.version, store.view().index()), (0, 0));
}

#[tokio::test]
async fn a_conflict_runs_the_closure_again_on_a_fresh_view() {
    let (store, _) = sole();
    let id = ids()();
    create(&store, id, "a").await.unwrap();
    let mut seen = Vec::new();
    let committed = store.update::<_, Error>(|txn| {
        seen.push(txn.config(id).unwrap().spec.annotations.name.clone());
        if seen.len() == 1 {
            create(&store, id, "b").now_or_never().unwrap().unwrap();
        }
        txn.put_config(config(id, "c"))?;
        Ok(())
    });
    assert_eq!(committed.await.unwrap().version, 4);
    assert_eq!(seen, ["a", "b"]);
    assert_eq!(store.view().config(id).unwrap().spec.annotations.name, "c");
}

#[tokio::test]
async fn a_broken_rule_is_told_and_not_tried_again() {
    let (store, _) = sole();
    let mut next = ids();
    create(&store, next(), "a").await.unwrap();
    let error = create(&store, next(), "A").await.unwrap_err();
    assert!(matches!(error, Error::Rejected(Rejected::NameTaken { .. })), "{error:?}");
    assert_eq!(store.view().index(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_found_out() {
    let (store, sole) = sole();
    let mut next = ids();
    for (fault, index) in [(Fault::Lost, 1), (Fault::Dropped, 2)] {
        sole.fail_next(fault);
        let id = next();
        let committed = create(&store, id, &format!("{fault:?}")).await.unwrap();
        assert_eq!(committed, Committed { value: id, version: index });
        assert_eq!(store.view().index(), index);
    }
}

/// Consensus that has ended: it answers, and tells of nothing any more.
#[derive(Debug)]
struct Ended;

impl Consensus for Ended {
    fn propose(&self, _: Bytes) -> BoxFuture<'static, Result<Proposed, consensus::Error>> {
        Box::pin(async { Err(consensus::Error::NotLeader { leader: None }) })
    }

    fn read_index(&self) -> BoxFuture<'static, Result<u64, consensus::Error>> {
        Box::pin(async { Err(consensus::Error::NotLeader { leader: None }) })
    }

    fn wait_applied(&self, _: u64) -> BoxFuture<'static, Result<(), consensus::Error>> {
        Box::pin(async { Ok(()) })
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        watch::channel(Leadership::default()).1
    }
}

#[tokio::test(start_paused = true)]
async fn calls_do_not_try_again_and_again_at_once() {
    let objects = Objects::new();
    let store = Store::new(objects, Arc::new(Ended), Arc::new(Nowhere), TestClock::shared());
    // Without a pause time would not pass, and this would not end.
    let error = create(&store, ids()(), "a").await.unwrap_err();
    assert!(matches!(error, Error::NoLeader), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_calls_fail_in_time() {
    let (store, sole) = sole();
    sole.set_leadership(Leadership::default());
    let start = tokio::time::Instant::now();
    let error = create(&store, ids()(), "a").await.unwrap_err();
    assert!(matches!(error, Error::NoLeader), "{error:?}");
    assert!((LEADER_WAIT..LEADER_WAIT * 2).contains(&start.elapsed()));
    assert!(matches!(store.read().await, Err(Error::NoLeader)));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_is_waited_for() {
    let (store, sole) = sole();
    let leading = store.leadership().borrow().clone();
    sole.set_leadership(Leadership::default());
    let (created, ()) = tokio::join!(create(&store, ids()(), "a"), async {
        tokio::time::advance(Duration::from_secs(1)).await;
        sole.set_leadership(leading);
    });
    assert_eq!(created.unwrap().version, 1);
}

/// Does not lead; applies what `leader` applies.
#[derive(Debug)]
struct Follower {
    sole: Sole,
    leader: Leader,
}

impl Consensus for Follower {
    fn propose(&self, _: Bytes) -> BoxFuture<'static, Result<Proposed, consensus::Error>> {
        let leader = Some(self.leader.clone());
        Box::pin(std::future::ready(Err(consensus::Error::NotLeader { leader })))
    }

    fn read_index(&self) -> BoxFuture<'static, Result<u64, consensus::Error>> {
        let leader = Some(self.leader.clone());
        Box::pin(std::future::ready(Err(consensus::Error::NotLeader { leader })))
    }

    fn wait_applied(&self, index: u64) -> BoxFuture<'static, Result<(), consensus::Error>> {
        self.sole.wait_applied(index)
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.sole.leadership()
    }
}

#[derive(Debug)]
struct Plain;

impl Channels for Plain {
    fn channel(
        &self,
        manager: &Leader,
    ) -> BoxFuture<'static, Result<Channel, Box<dyn std::error::Error + Send + Sync>>> {
        let endpoint = Endpoint::from_shared(format!("http://{}", manager.address));
        Box::pin(async move { Ok(endpoint?.connect().await?) })
    }
}

/// A follower's store beside the leader's, over a real connection.
async fn follower() -> (Store, Sole) {
    let (leading, sole) = sole();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder()
        .add_service(Server::service(Arc::clone(leading.consensus())))
        .serve_with_incoming(TcpIncoming::from(listener));
    shoal_base::tasks::Tasks::new().spawn(shoal_base::tasks::TaskKind::ClusterListener, async {
        server.await.unwrap();
    });
    let leader = Leader { node: NodeId::from_bytes([1; 16]), address };
    let consensus = Follower { sole: sole.clone(), leader };
    let clock = TestClock::shared();
    let remote = Remote::new(Arc::new(Plain), Arc::clone(&clock));
    let objects = leading.inner.objects.clone();
    (Store::new(objects, Arc::new(consensus), Arc::new(remote), clock), sole)
}

#[tokio::test]
async fn a_follower_writes_and_reads_through_the_leader() {
    let (store, _sole) = follower().await;
    let mut next = ids();
    let id = next();
    assert_eq!(create(&store, id, "a").await.unwrap().version, 1);
    let error = create(&store, next(), "A").await.unwrap_err();
    assert!(matches!(error, Error::Rejected(Rejected::NameTaken { .. })), "{error:?}");
    assert!(store.read().await.unwrap().config(id).is_some());
}

#[tokio::test]
async fn a_follower_is_told_what_the_leader_lacks() {
    let (store, sole) = follower().await;
    let leader = Leader { node: NodeId::from_bytes([1; 16]), address: String::new() };
    sole.set_leadership(Leadership { term: 2, leader: None, is_self: false });
    let error = store.propose(Bytes::new()).await.unwrap_err();
    // An entry that cannot be applied is refused before it is proposed; nothing tells that to the caller.
    assert!(matches!(error, Error::Unknown), "{error:?}");
    let entry = encode_transaction(&Transaction::default()).unwrap();
    let error = store.propose(entry.into()).await.unwrap_err();
    assert!(matches!(error, Error::NoLeader), "{error:?}");
    sole.fail_next(Fault::Lost);
    sole.set_leadership(Leadership { term: 3, leader: Some(leader), is_self: true });
    let id = ids()();
    assert_eq!(create(&store, id, "a").await.unwrap().value, id);
}

#[test]
fn the_fate_of_a_transaction_is_read_from_versions_and_times() {
    let id = ids()();
    let change = Change::PutConfig(Arc::new(config(id, "a")));
    let mut view = State::default();
    let mut txn = Txn::new(&view, Timestamp::from_nanos(5));
    txn.change(change).unwrap();
    let transaction = txn.finish();
    assert_eq!(settle::fate(&view, &transaction), Fate::NotCommitted);
    let unexpected = Transaction { expect: Vec::new(), ..transaction.clone() };
    assert_eq!(settle::fate(&view, &unexpected), Fate::Unclear);
    let mut others = view.clone();
    others.apply(7, &Transaction { at: Timestamp::from_nanos(6), ..transaction.clone() }).unwrap();
    assert_eq!(settle::fate(&others, &transaction), Fate::Unclear);
    view.apply(7, &transaction).unwrap();
    let version = shoal_model::cluster::Version(7);
    assert_eq!(settle::fate(&view, &transaction), Fate::Committed(version));
}

#[test]
fn a_machine_restores_what_another_wrote() {
    let objects = Objects::new();
    let machine = machine::Machine::new(objects.clone());
    let id = ids()();
    let mut txn = Txn::new(&objects.view(), Timestamp::from_nanos(5));
    txn.put_config(config(id, "a")).unwrap();
    machine.apply(9, &encode_transaction(&txn.finish()).unwrap());
    let mut bytes = Vec::new();
    machine::write_snapshot(&machine.snapshot(), &mut bytes).unwrap();
    let other = Objects::new();
    let (_, mut changes) = other.watch();
    let restoring = machine::Machine::new(other.clone());
    restoring.restore(&mut bytes.as_slice()).unwrap();
    assert_eq!(other.view().config(id), objects.view().config(id));
    assert_eq!(restoring.applied(), 9);
    let lagged = changes.next().now_or_never().unwrap().unwrap_err();
    assert_eq!(lagged, Lagged { seen: 0, oldest: 9 });
    assert!(restoring.restore(&mut &bytes[..bytes.len() - 1]).is_err());
    assert_eq!(restoring.applied(), 9);
}
