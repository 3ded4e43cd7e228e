use proptest::prelude::*;
use shoal_model::cluster::object::Annotations;
use shoal_model::cluster::task::{SecretReference, Slot, TaskSpec};
use shoal_model::cluster::{SecretSpec, Version};

use super::*;

#[derive(Debug, Default, Clone)]
struct World {
    tasks: BTreeMap<TaskId, Arc<Task>>,
    secrets: BTreeMap<SecretId, Arc<Secret>>,
    stop: BTreeSet<ServiceId>,
    ingress: Option<Arc<ClusterNetwork>>,
}

impl Source for World {
    fn task(&self, id: TaskId) -> Option<Arc<Task>> {
        self.tasks.get(&id).cloned()
    }
    fn tasks_on_node(&self, node: NodeId) -> Vec<Arc<Task>> {
        self.tasks.values().filter(|task| task.node == Some(node)).cloned().collect()
    }
    fn secret(&self, id: SecretId) -> Option<Arc<Secret>> {
        self.secrets.get(&id).cloned()
    }
    fn config(&self, _: ConfigId) -> Option<Arc<Config>> {
        None
    }
    fn network(&self, id: ClusterNetworkId) -> Option<Arc<ClusterNetwork>> {
        self.ingress.clone().filter(|network| network.id == id)
    }
    fn ingress(&self) -> Option<ClusterNetworkId> {
        self.ingress.as_ref().map(|network| network.id)
    }
    fn on_disconnect(&self, service: ServiceId) -> OnDisconnect {
        match self.stop.contains(&service) {
            true => OnDisconnect::Stop(std::time::Duration::from_secs(60)),
            false => OnDisconnect::Keep,
        }
    }
}

fn id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn service(number: u8) -> ServiceId {
    ServiceId::from_bytes([number; 16])
}

fn secret_id(number: u8) -> SecretId {
    SecretId::from_bytes([number; 16])
}

fn task(number: u8, on: u8, secrets: &[u8], state: TaskState) -> Task {
    let secrets = secrets
        .iter()
        .map(|&number| SecretReference { id: secret_id(number), name: String::new(), file: None })
        .collect();
    Task {
        id: id(number),
        meta: Meta::default(),
        spec: Arc::new(TaskSpec { secrets, ..TaskSpec::default() }),
        spec_version: Version(1),
        service: Some(service(number % 2)),
        slot: Slot(u64::from(number)),
        node: Some(node(on)),
        annotations: Arc::new(Annotations::default()),
        desired: TaskState::Running,
        status: TaskStatus { state, ..TaskStatus::default() },
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    }
}

fn secret(number: u8, data: u8) -> Secret {
    let spec = SecretSpec { data: vec![data], ..SecretSpec::default() };
    Secret { id: secret_id(number), meta: Meta::default(), spec }
}

impl World {
    fn put(&mut self, task: Task) -> Touched {
        let touched = Touched::Task(task.id);
        self.tasks.insert(task.id, Arc::new(task));
        touched
    }
    fn put_secret(&mut self, secret: Secret) -> Touched {
        let touched = Touched::Secret(secret.id);
        self.secrets.insert(secret.id, Arc::new(secret));
        touched
    }
}

/// The whole change as text.
fn show(changes: &[Change]) -> Vec<String> {
    let first = |bytes: [u8; 16]| bytes[0];
    changes
        .iter()
        .map(|change| match change {
            Change::Secret(secret) => {
                format!("secret {}={}", first(secret.id.to_bytes()), secret.spec.data[0])
            }
            Change::Config(_) | Change::Network(_) => "unexpected".to_owned(),
            Change::Task { assigned, status } => format!(
                "task {} {} {} {:?}",
                first(assigned.task.id.to_bytes()),
                assigned.task.desired.as_str(),
                status.state.as_str(),
                assigned.on_disconnect
            ),
            Change::Remove(Key::Task(id)) => format!("-task {}", first(id.to_bytes())),
            Change::Remove(Key::Secret(id)) => format!("-secret {}", first(id.to_bytes())),
            Change::Remove(_) => "unexpected".to_owned(),
        })
        .collect()
}

#[test]
fn the_complete_set_holds_assigned_tasks_and_what_they_need() {
    let mut world = World::default();
    for number in 1..=4 {
        world.put_secret(secret(number, number));
    }
    world.put(task(1, 1, &[1], TaskState::Assigned));
    world.put(task(2, 1, &[1, 2], TaskState::Running));
    world.put(task(3, 1, &[3], TaskState::Failed));
    world.put(task(4, 1, &[4], TaskState::Pending));
    world.put(task(5, 2, &[4], TaskState::Running));
    world.put(task(6, 1, &[4], TaskState::Orphaned));
    let (_, changes) = Tracker::complete(&world, node(1));
    assert_eq!(
        show(&changes),
        [
            "secret 1=1",
            "secret 2=2",
            "task 1 running assigned Keep",
            "task 2 running running Keep",
            "task 3 running failed Keep",
        ]
    );
}

#[test]
fn a_status_alone_is_not_sent_but_its_end_frees_the_secrets() {
    let mut world = World::default();
    world.put_secret(secret(1, 1));
    world.put(task(1, 1, &[1], TaskState::Assigned));
    let (mut tracker, _) = Tracker::complete(&world, node(1));
    let touched = world.put(task(1, 1, &[1], TaskState::Running));
    assert_eq!(show(&tracker.advance(&world, &[touched].into())), [""; 0]);
    let touched = world.put(task(1, 1, &[1], TaskState::Failed));
    assert_eq!(show(&tracker.advance(&world, &[touched].into())), ["-secret 1"]);
    world.tasks.clear();
    assert_eq!(show(&tracker.advance(&world, &[touched].into())), ["-task 1"]);
    assert_eq!(show(&tracker.advance(&world, &[touched].into())), [""; 0]);
}

#[test]
fn a_shared_secret_goes_with_its_last_task() {
    let mut world = World::default();
    world.put_secret(secret(1, 1));
    let first = world.put(task(1, 1, &[1], TaskState::Running));
    let second = world.put(task(2, 1, &[1, 1], TaskState::Running));
    let (mut tracker, _) = Tracker::complete(&world, node(1));
    world.tasks.remove(&id(1));
    assert_eq!(show(&tracker.advance(&world, &[first].into())), ["-task 1"]);
    world.tasks.remove(&id(2));
    assert_eq!(show(&tracker.advance(&world, &[second].into())), ["-task 2", "-secret 1"]);
}

#[test]
fn a_changed_policy_reaches_the_tasks_of_its_service() {
    let mut world = World::default();
    world.put(task(1, 1, &[], TaskState::Running));
    world.put(task(2, 1, &[], TaskState::Running));
    let (mut tracker, _) = Tracker::complete(&world, node(1));
    world.stop.insert(service(1));
    let changes = tracker.advance(&world, &[Touched::Service(service(1))].into());
    assert_eq!(show(&changes), ["task 1 running running Stop(60s)"]);
}

/// What a worker makes of changes.
fn apply(set: &mut BTreeMap<Key, Change>, changes: Vec<Change>) {
    for change in changes {
        match &change {
            Change::Remove(key) => {
                assert!(set.remove(key).is_some(), "{key:?} was never part of the set");
            }
            Change::Secret(secret) => drop(set.insert(Key::Secret(secret.id), change)),
            Change::Config(config) => drop(set.insert(Key::Config(config.id), change)),
            Change::Network(network) => drop(set.insert(Key::Network(network.id), change)),
            Change::Task { assigned, .. } => {
                let blank =
                    Change::Task { assigned: assigned.clone(), status: TaskStatus::default() };
                drop(set.insert(Key::Task(assigned.task.id), blank));
            }
        }
    }
}

fn state() -> impl Strategy<Value = TaskState> {
    prop::sample::select(vec![
        TaskState::Pending,
        TaskState::Assigned,
        TaskState::Running,
        TaskState::Failed,
        TaskState::Orphaned,
    ])
}

#[derive(Debug, Clone)]
enum Op {
    Task(u8, u8, Vec<u8>, TaskState),
    RemoveTask(u8),
    Secret(u8, u8),
    RemoveSecret(u8),
    Policy(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..6u8, 1..3u8, prop::collection::vec(0..4u8, 0..3), state())
            .prop_map(|(task, node, secrets, state)| Op::Task(task, node, secrets, state)),
        1 => (0..6u8).prop_map(Op::RemoveTask),
        1 => (0..4u8, 0..3u8).prop_map(|(secret, data)| Op::Secret(secret, data)),
        1 => (0..4u8).prop_map(Op::RemoveSecret),
        1 => (0..2u8).prop_map(Op::Policy),
    ]
}

proptest! {
    #[test]
    fn applied_changes_give_the_complete_set(steps in prop::collection::vec(prop::collection::vec(op(), 1..5), 1..30)) {
        let mut world = World::default();
        let (mut tracker, changes) = Tracker::complete(&world, node(1));
        let mut set = BTreeMap::new();
        apply(&mut set, changes);
        for ops in steps {
            let mut touched = BTreeSet::new();
            for op in ops {
                touched.insert(match op {
                    Op::Task(number, on, secrets, state) => {
                        world.put(task(number, on, &secrets, state))
                    }
                    Op::RemoveTask(number) => {
                        world.tasks.remove(&id(number));
                        Touched::Task(id(number))
                    }
                    Op::Secret(number, data) => world.put_secret(secret(number, data)),
                    Op::RemoveSecret(number) => {
                        world.secrets.remove(&secret_id(number));
                        Touched::Secret(secret_id(number))
                    }
                    Op::Policy(number) => {
                        if !world.stop.remove(&service(number)) {
                            world.stop.insert(service(number));
                        }
                        Touched::Service(service(number))
                    }
                });
            }
            let mut behind = tracker.clone();
            let all = behind.everything(&world);
            let caught_up = behind.advance(&world, &all);
            let changes = tracker.advance(&world, &touched);
            prop_assert_eq!(&caught_up, &changes, "who missed the events sees the same changes");
            apply(&mut set, changes);
            prop_assert!(tracker.advance(&world, &touched).is_empty(), "a second time is empty");
            let (_, complete) = Tracker::complete(&world, node(1));
            let mut expected = BTreeMap::new();
            apply(&mut expected, complete);
            prop_assert_eq!(&set, &expected);
        }
    }
}

#[test]
fn every_node_needs_the_network_of_the_routing_mesh() {
    let ingress = || {
        let mut network = crate::samples::network(9, "ingress");
        network.spec.ingress = true;
        Arc::new(network)
    };
    let id = ingress().id;
    let touched = BTreeSet::from([Touched::Network(id)]);
    let mut world = World { ingress: Some(ingress()), ..World::default() };
    let (mut tracker, changes) = Tracker::complete(&world, node(1));
    assert_eq!(changes, [Change::Network(ingress())]);
    assert_eq!(tracker.networks().collect::<Vec<_>>(), [id]);
    assert_eq!(tracker.advance(&world, &touched), [], "it is the same");
    world.ingress = None;
    assert_eq!(tracker.advance(&world, &touched), [Change::Remove(Key::Network(id))]);
    assert_eq!(tracker.networks().next(), None);
    world.ingress = Some(ingress());
    assert_eq!(tracker.advance(&world, &touched), [Change::Network(ingress())]);
}
