//! The leader's decisions against a store whose quorum goes away, in tokio's own time.

use shoal_model::cluster::node::NodeRole;

use super::*;
use crate::consensus::memory::Sole;
use crate::consensus::{Consensus as _, Leadership};
use crate::dispatcher::hub::Session;
use crate::store::tests::{TestClock, sole};

const PERIOD: Duration = Duration::from_secs(5);

fn node() -> NodeId {
    NodeId::from_bytes([1; 16])
}

fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

fn registered(number: u8) -> Event {
    Event::Registered { node: node(), session: session(number), period: PERIOD }
}

/// State of the node, and how often it was written.
fn told(store: &Store) -> (NodeState, u64) {
    let view = store.view();
    (view.node(node()).unwrap().status.state, view.index())
}

/// A leader that decides nothing yet, and a store with the node.
async fn leader() -> (SharedClock, Store, Sole, Leading) {
    let clock = TestClock::shared();
    let (store, sole) = sole();
    let put = store
        .update::<_, store::Error>(|txn| Ok(txn.put_node(Node::new(node(), NodeRole::Worker))?));
    put.await.unwrap();
    let leading = Leading::new(clock.clone());
    (clock, store, sole, leading)
}

/// Has it decide, of no node yet.
fn begin_empty(leading: &Leading, clock: &SharedClock) {
    let liveness = Liveness::new(monotonic(clock), PERIOD, []);
    *leading.state() = Some(Deciding::new(liveness));
}

#[tokio::test(start_paused = true)]
async fn silence_while_there_is_no_quorum_makes_no_node_down() {
    let (clock, store, sole, leading) = leader().await;
    let quorum = sole.leadership().borrow().clone();
    let story = async {
        clock.sleep(Duration::from_millis(1)).await;
        assert_eq!(leading.step(&[registered(1)]), Some(Vec::new()));
        clock.sleep(PERIOD).await;
        assert_eq!(told(&store), (NodeState::Ready, 2));
        // Sessions end and none begins.
        sole.set_leadership(Leadership { leader: None, is_self: false, ..quorum.clone() });
        clock.sleep(PERIOD * 20).await;
        sole.set_leadership(quorum.clone());
        // The node looks for a manager.
        clock.sleep(PERIOD * 2).await;
        assert_eq!(leading.step(&[registered(2)]), Some(vec![session(1)]));
        clock.sleep(PERIOD * 2).await;
        assert_eq!(told(&store), (NodeState::Ready, 2), "nothing was written");
        clock.sleep(PERIOD * 2).await;
        assert_eq!(told(&store), (NodeState::Down, 3), "now it is silent while the leader listens");
    };
    tokio::select! {
        () = lead(&store, &clock, &leading) => {}
        () = story => {}
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_dropped_by_a_sign_of_life() {
    let clock = TestClock::shared();
    let leading = Leading::new(clock.clone());
    begin_empty(&leading, &clock);
    let (ready, down) = (Effect::Ready { node: node() }, Effect::Down { node: node() });
    leading.step(&[registered(1)]);
    assert_eq!(leading.due(), [ready]);
    leading.tried(&[ready], true);
    for _ in 0..2 {
        clock.sleep(PERIOD).await;
        assert!(leading.due().is_empty());
    }
    clock.sleep(PERIOD).await;
    assert_eq!((leading.due(), leading.due()), (vec![down], vec![down]), "not written yet");
    leading.step(&[registered(2)]);
    assert_eq!(leading.due(), [ready]);
}

#[tokio::test(start_paused = true)]
async fn what_was_perhaps_written_is_overruled() {
    let (clock, store, _, leading) = leader().await;
    begin_empty(&leading, &clock);
    leading.step(&[registered(1)]);
    decide(&store, &leading).await.unwrap();
    assert_eq!(told(&store), (NodeState::Ready, 2));
    let down = Effect::Down { node: node() };
    leading.step(&[Event::Left { node: node(), session: session(1) }]);
    assert_eq!(leading.due(), [down]);
    // Nobody knows whether it is in the log.
    leading.tried(&[down], false);
    leading.step(&[registered(2)]);
    decide(&store, &leading).await.unwrap();
    assert_eq!(told(&store), (NodeState::Ready, 3), "written although the store said so");
    leading.step(&[registered(3)]);
    decide(&store, &leading).await.unwrap();
    assert_eq!(told(&store), (NodeState::Ready, 3), "known again");
}

#[test]
fn beats_of_sessions_that_are_over_say_nothing() {
    let hub = Hub::default();
    let heartbeat = Event::Heartbeat { node: node(), session: session(1), period: PERIOD };
    let left = Event::Left { node: node(), session: session(1) };
    hub.add(&Arc::new(Session::new(session(1), node(), PERIOD)));
    assert!(
        is_current(&hub, session(1), &registered(1)) && is_current(&hub, session(1), &heartbeat)
    );
    hub.end(session(1));
    assert!(
        !is_current(&hub, session(1), &registered(1)) && !is_current(&hub, session(1), &heartbeat)
    );
    assert!(is_current(&hub, session(1), &left), "that it left is news");
}
