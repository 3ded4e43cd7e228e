//! The loops over consensus of one: objects go in, nodes and addresses come out.

use std::sync::Arc;
use std::time::Duration;

use shoal_manager_core::store::Change;
use shoal_model::cluster::node::{Availability, NodeDescription, NodeRole, NodeState, NodeStatus};
use shoal_model::cluster::task::{RestartHistory, Slot, TaskStatus};
use shoal_model::cluster::{
    Annotations, ClusterNetwork, ClusterNetworkId, Meta, Node, NodeId, Service, ServiceId,
    ServiceSpec, Task, TaskId, TaskSpec, TaskState, Version,
};
use shoal_model::network::NetworkSpec;

use crate::consensus::Leadership;
use crate::consensus::memory::{Fault, Sole};
use crate::planning;
use crate::store::tests::{TestClock, sole};
use crate::store::{Error, Store};

fn node() -> Node {
    Node {
        description: Some(NodeDescription {
            plugins: [("Network".to_owned(), "overlay".to_owned())].into_iter().collect(),
            ..NodeDescription::default()
        }),
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        ..Node::new(NodeId::from_bytes([7; 16]), NodeRole::Worker)
    }
}

fn service(network: &ClusterNetwork) -> Service {
    let wish = shoal_model::cluster::task::NetworkWish {
        target: network.id.to_string(),
        ..Default::default()
    };
    let task = Arc::new(TaskSpec { networks: vec![wish], ..TaskSpec::default() });
    let annotations = Annotations { name: "web".to_owned(), ..Annotations::default() };
    Service {
        id: ServiceId::from_bytes([2; 16]),
        meta: Meta::default(),
        spec: ServiceSpec { annotations, task, ..ServiceSpec::default() },
        spec_version: Version(1),
        previous: None,
        revisions: Default::default(),
        endpoint: None,
        endpoint_error: String::new(),
        update: None,
        job: None,
        removing: false,
    }
}

fn network() -> ClusterNetwork {
    ClusterNetwork::new(
        ClusterNetworkId::from_bytes([3; 16]),
        NetworkSpec { name: "net".to_owned(), ..NetworkSpec::default() },
    )
}

fn task(number: u8, service: &Service) -> Task {
    Task {
        id: TaskId::from_bytes([number; 16]),
        meta: Meta::default(),
        spec: Arc::clone(&service.spec.task),
        spec_version: Version(1),
        service: Some(service.id),
        slot: Slot(number.into()),
        node: None,
        annotations: Arc::new(Annotations::default()),
        desired: TaskState::Running,
        status: TaskStatus::default(),
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    }
}

async fn put(store: &Store, changes: Vec<Change>) {
    store.update::<(), Error>(|txn| Ok(txn.change_all(changes.clone())?)).await.unwrap();
}

/// Runs both loops until the tasks are placed.
async fn until_assigned(store: &Store, tasks: usize) {
    let (_, mut changes) = store.watch();
    let assigned = async {
        loop {
            let view = store.view();
            let count =
                view.tasks().filter(|task| task.status.state == TaskState::Assigned).count();
            if count == tasks {
                return;
            }
            changes.next().await.unwrap();
        }
    };
    let clock = TestClock::shared();
    tokio::select! {
        () = super::run(store.clone(), clock.clone()) => unreachable!("it never ends"),
        () = crate::allocate::run(store.clone(), clock.clone()) => unreachable!("it never ends"),
        () = assigned => {}
        () = clock.sleep(Duration::from_secs(30)) => {
            let view = store.view();
            panic!("not placed: {:?}", view.tasks().map(|task| &task.status).collect::<Vec<_>>())
        }
    }
}

fn objects(tasks: u8) -> Vec<Change> {
    let network = network();
    let service = service(&network);
    let tasks: Vec<_> = (1..=tasks).map(|number| task(number, &service)).collect();
    let first = [
        Change::PutNode(Arc::new(node())),
        Change::PutNetwork(Arc::new(network)),
        Change::PutService(Arc::new(service)),
    ];
    first.into_iter().chain(tasks.into_iter().map(|task| Change::PutTask(Arc::new(task)))).collect()
}

#[tokio::test(start_paused = true)]
async fn tasks_get_addresses_and_nodes() {
    let (store, _) = sole();
    put(&store, objects(3)).await;
    until_assigned(&store, 3).await;
    let view = store.view();
    let addresses: Vec<_> =
        view.tasks().map(|task| task.networks[0].addresses[0].to_string()).collect();
    assert_eq!(addresses, ["10.0.0.3/24", "10.0.0.4/24", "10.0.0.5/24"]);
    assert!(view.tasks().all(|task| task.node == Some(node().id)));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_goes_on_and_what_comes_later_is_seen() {
    let (store, _) = sole();
    put(&store, objects(1)).await;
    until_assigned(&store, 1).await;
    let service = Service::clone(store.view().services().next().unwrap());
    let later = store.clone();
    tokio::join!(until_assigned(&store, 2), async {
        tokio::task::yield_now().await;
        put(&later, vec![Change::PutTask(Arc::new(task(9, &service)))]).await;
    });
    let view = store.view();
    let last = view.task(TaskId::from_bytes([9; 16])).unwrap();
    assert_eq!(last.networks[0].addresses[0].to_string(), "10.0.0.4/24");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_lost_is_planned_again() {
    let (store, consensus) = sole();
    put(&store, objects(2)).await;
    consensus.fail_next(Fault::Dropped);
    until_assigned(&store, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_drained_meanwhile_gets_nothing() {
    let world = planning::tests::world(&[]).await;
    put(&world.direct, objects(1)).await;
    let waiting = Task {
        status: TaskStatus { state: TaskState::Pending, ..TaskStatus::default() },
        networks: Vec::new(),
        ..task(1, &service(&network()))
    };
    put(&world.direct, vec![Change::PutTask(Arc::new(waiting.clone()))]).await;
    let state = || world.direct.view().task(waiting.id).unwrap().status.clone();
    let test = async {
        world.proposed(1).await;
        let mut drained = node();
        drained.spec.availability = Availability::Drain;
        put(&world.direct, vec![Change::PutNode(Arc::new(drained))]).await;
        world.permits.add_permits(1);
        world.proposed(2).await;
        assert_eq!(state().state, TaskState::Pending, "the plan from before the drain is refused");
        world.permits.add_permits(1);
        let (_, mut changes) = world.direct.watch();
        while state().error.is_empty() {
            changes.next().await.unwrap();
        }
        let error = "no suitable node (1 node not available for new tasks)";
        assert_eq!((state().state, &*state().error), (TaskState::Pending, error));
    };
    let played = world.beside::<super::Placing>(test);
    tokio::time::timeout(Duration::from_secs(30), played).await.expect("it is planned again");
}

#[tokio::test]
async fn plans_of_an_earlier_term_are_not_committed() {
    let (store, consensus): (Store, Sole) = sole();
    let transaction = shoal_manager_core::store::Transaction {
        changes: vec![Change::PutNode(Arc::new(node()))],
        ..Default::default()
    };
    let leadership = store.leadership().borrow().clone();
    consensus.set_leadership(Leadership { term: leadership.term + 1, ..leadership.clone() });
    let refused = store.commit_leading(leadership.term, transaction.clone()).await;
    assert!(matches!(refused, Err(Error::NoLeader)), "{refused:?}");
    consensus.set_leadership(Leadership { is_self: false, ..leadership.clone() });
    let refused = store.commit_leading(leadership.term, transaction.clone()).await;
    assert!(matches!(refused, Err(Error::NoLeader)), "{refused:?}");
    consensus.set_leadership(leadership.clone());
    store.commit_leading(leadership.term, transaction).await.unwrap();
    assert_eq!(store.view().nodes().count(), 1);
}
