//! Tests of the rules, through `apply`.

use std::sync::Arc;

use shoal_model::Timestamp;
use shoal_model::cluster::node::IssueState;
use shoal_model::cluster::task::{
    ConfigReference, NetworkAttachment, NetworkWish, SecretReference, Slot, TaskStatus,
};
use shoal_model::cluster::{
    Annotations, ClusterNetwork, ClusterNetworkId, Config, ConfigId, ConfigSpec, Meta, NodeId,
    Secret, SecretId, SecretSpec, Service, ServiceId, ServiceSpec, Task, TaskId, TaskSpec,
    TaskState, Version,
};
use shoal_model::network::NetworkSpec;

use super::{Axis, Change, ObjectRef, Queue, Rejected, State, Transaction, Txn};

pub(super) fn number(value: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[15] = value;
    bytes
}

pub(super) fn service(id: u8, name: &str, task: TaskSpec) -> Service {
    let annotations = Annotations { name: name.to_owned(), ..Annotations::default() };
    Service {
        id: ServiceId::from_bytes(number(id)),
        meta: Meta::default(),
        spec: ServiceSpec { annotations, task: Arc::new(task), ..ServiceSpec::default() },
        spec_version: Version(0),
        previous: None,
        revisions: Default::default(),
        endpoint: None,
        endpoint_error: String::new(),
        update: None,
        job: None,
        removing: false,
    }
}

pub(super) fn task(id: u8, service: &Service, slot: u64) -> Task {
    Task {
        id: TaskId::from_bytes(number(id)),
        meta: Meta::default(),
        spec: Arc::clone(&service.spec.task),
        spec_version: service.spec_version,
        service: Some(service.id),
        slot: Slot(slot),
        node: None,
        annotations: Arc::new(service.spec.annotations.clone()),
        desired: TaskState::Running,
        status: TaskStatus::default(),
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: Default::default(),
        runs: 0,
    }
}

pub(super) fn secret(id: u8, name: &str) -> Secret {
    let annotations = Annotations { name: name.to_owned(), ..Annotations::default() };
    let spec = SecretSpec { annotations, data: b"hush".to_vec(), ..SecretSpec::default() };
    Secret { id: SecretId::from_bytes(number(id)), meta: Meta::default(), spec }
}

pub(super) fn config(id: u8, name: &str) -> Config {
    let annotations = Annotations { name: name.to_owned(), ..Annotations::default() };
    let spec = ConfigSpec { annotations, data: b"text".to_vec(), ..ConfigSpec::default() };
    Config { id: ConfigId::from_bytes(number(id)), meta: Meta::default(), spec }
}

pub(super) fn network(id: u8, name: &str) -> ClusterNetwork {
    ClusterNetwork::new(
        ClusterNetworkId::from_bytes(number(id)),
        NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() },
    )
}

/// Applies changes without expectations.
pub(super) fn apply(state: &mut State, changes: Vec<Change>) -> Result<(), Rejected> {
    let index = state.index() + 1;
    let at = Timestamp::from_nanos(i64::try_from(index).unwrap());
    state.apply(index, &Transaction { at, expect: Vec::new(), changes }).map(|_| ())
}

fn state_of(changes: Vec<Change>) -> State {
    let mut state = State::default();
    apply(&mut state, changes).unwrap();
    state
}

fn ids<'a>(tasks: impl Iterator<Item = &'a Arc<Task>>) -> Vec<u8> {
    tasks.map(|task| task.id.to_bytes()[15]).collect()
}

#[test]
fn the_store_stamps_what_is_put() {
    let mut state = state_of(vec![Change::PutSecret(Arc::new(secret(1, "a")))]);
    let put = Arc::clone(state.secret_by_name("A").unwrap());
    let at = Timestamp::from_nanos;
    assert_eq!(put.meta, Meta { version: Version(1), created: at(1), updated: at(1) });
    apply(&mut state, vec![Change::PutSecret(put)]).unwrap();
    let meta = state.secret_by_name("a").unwrap().meta;
    assert_eq!(meta, Meta { version: Version(2), created: at(1), updated: at(2) });
}

#[test]
fn a_transaction_computed_from_an_old_view_is_out_of_sequence() {
    let mut state = state_of(vec![Change::PutSecret(Arc::new(secret(1, "a")))]);
    let mut first = Txn::new(&state, Timestamp::from_nanos(9));
    let mut second = first.clone();
    first.put_secret(secret(1, "b")).unwrap();
    second.put_secret(secret(1, "c")).unwrap();
    assert_eq!(second.secret_by_name("c").unwrap().meta.version, Version(1));
    state.apply(2, &first.finish()).unwrap();
    let object = ObjectRef::Secret(SecretId::from_bytes(number(1)));
    let (expected, actual) = (Version(1), Version(2));
    assert_eq!(
        state.apply(3, &second.finish()).unwrap_err(),
        Rejected::OutOfSequence { object, expected, actual }
    );
    assert!(state.secret_by_name("b").is_some());
    assert_eq!(state.index(), 3);
}

#[test]
fn an_object_that_is_only_read_can_be_expected() {
    let mut state = state_of(vec![Change::PutSecret(Arc::new(secret(1, "a")))]);
    let object = ObjectRef::Secret(SecretId::from_bytes(number(1)));
    let mut txn = Txn::new(&state, Timestamp::default());
    txn.expect(object);
    txn.put_service(service(1, "web", TaskSpec::default())).unwrap();
    apply(&mut state, vec![Change::RemoveSecret(SecretId::from_bytes(number(1)))]).unwrap();
    let (expected, actual) = (Version(1), Version(0));
    assert_eq!(
        state.apply(3, &txn.finish()).unwrap_err(),
        Rejected::OutOfSequence { object, expected, actual }
    );
}

#[test]
fn names_are_unique_regardless_of_case_and_free_after_a_rename() {
    let mut state = state_of(vec![Change::PutConfig(Arc::new(config(1, "Web")))]);
    let id = |value| ObjectRef::Config(ConfigId::from_bytes(number(value)));
    assert_eq!(
        apply(&mut state, vec![Change::PutConfig(Arc::new(config(2, "wEB")))]).unwrap_err(),
        Rejected::NameTaken { name: "wEB".to_owned(), object: id(2), by: id(1) }
    );
    apply(&mut state, vec![Change::PutConfig(Arc::new(config(1, "other")))]).unwrap();
    apply(&mut state, vec![Change::PutConfig(Arc::new(config(2, "wEB")))]).unwrap();
    assert_eq!(state.config_by_name("web").unwrap().id.to_bytes()[15], 2);
}

#[test]
fn a_rejected_transaction_leaves_nothing_behind() {
    let web = service(1, "web", TaskSpec::default());
    let mut state = state_of(vec![
        Change::PutService(Arc::new(web.clone())),
        Change::PutTask(Arc::new(task(1, &web, 1))),
    ]);
    let before = format!(
        "{:?}",
        state.tasks().chain(state.tasks_in(Queue::Unallocated)).collect::<Vec<_>>()
    );
    let rejected = apply(
        &mut state,
        vec![
            Change::PutTask(Arc::new(task(2, &web, 2))),
            Change::TaskDesired { task: TaskId::from_bytes(number(1)), desired: TaskState::Remove },
            Change::PutService(Arc::new(Service { removing: true, ..web.clone() })),
            Change::PutSecret(Arc::new(secret(1, "a"))),
            Change::RemoveService(web.id),
        ],
    );
    let by = [1, 2].map(|task| ObjectRef::Task(TaskId::from_bytes(number(task)))).to_vec();
    assert_eq!(rejected.unwrap_err(), Rejected::InUse { object: ObjectRef::Service(web.id), by });
    let after = format!(
        "{:?}",
        state.tasks().chain(state.tasks_in(Queue::Unallocated)).collect::<Vec<_>>()
    );
    assert_eq!(before, after);
    assert!(state.secret_by_name("a").is_none() && state.service_by_name("web").is_some());
    assert_eq!(state.tasks_in(Queue::Removing).count(), 0);
}

#[test]
fn what_a_service_uses_is_not_removed_until_the_service_goes() {
    let wish = NetworkWish {
        target: ClusterNetworkId::from_bytes(number(3)).to_string(),
        ..NetworkWish::default()
    };
    let spec = TaskSpec {
        secrets: vec![SecretReference {
            id: SecretId::from_bytes(number(1)),
            name: "a".to_owned(),
            file: None,
        }],
        configs: vec![ConfigReference {
            id: ConfigId::from_bytes(number(2)),
            name: "b".to_owned(),
            file: None,
        }],
        networks: vec![wish],
        ..TaskSpec::default()
    };
    let web = service(1, "web", spec);
    let mut state = state_of(vec![
        Change::PutSecret(Arc::new(secret(1, "a"))),
        Change::PutConfig(Arc::new(config(2, "b"))),
        Change::PutNetwork(Arc::new(network(3, "c"))),
        Change::PutService(Arc::new(web.clone())),
    ]);
    let removals = [
        Change::RemoveSecret(SecretId::from_bytes(number(1))),
        Change::RemoveConfig(ConfigId::from_bytes(number(2))),
        Change::RemoveNetwork(ClusterNetworkId::from_bytes(number(3))),
    ];
    let by = vec![ObjectRef::Service(web.id)];
    for removal in &removals {
        assert_eq!(
            apply(&mut state, vec![removal.clone()]).unwrap_err(),
            Rejected::InUse { object: removal.object(), by: by.clone() }
        );
    }
    apply(&mut state, vec![Change::PutService(Arc::new(Service { removing: true, ..web }))])
        .unwrap();
    apply(&mut state, removals.to_vec()).unwrap();
}

#[test]
fn a_network_with_a_live_task_is_not_removed() {
    let web = service(1, "web", TaskSpec::default());
    let id = ClusterNetworkId::from_bytes(number(3));
    let mut joined = task(1, &web, 1);
    joined.networks = vec![NetworkAttachment {
        network: id,
        addresses: Vec::new(),
        aliases: Vec::new(),
        driver_opts: Default::default(),
    }];
    let mut state = state_of(vec![
        Change::PutNetwork(Arc::new(network(3, "c"))),
        Change::PutService(Arc::new(web)),
        Change::PutTask(Arc::new(joined.clone())),
    ]);
    let by = vec![ObjectRef::Task(joined.id)];
    assert_eq!(
        apply(&mut state, vec![Change::RemoveNetwork(id)]).unwrap_err(),
        Rejected::InUse { object: ObjectRef::Network(id), by }
    );
    let shutdown = Change::TaskDesired { task: joined.id, desired: TaskState::Shutdown };
    apply(&mut state, vec![shutdown, Change::RemoveNetwork(id)]).unwrap();
}

#[test]
fn the_name_of_a_service_that_is_being_removed_is_free() {
    let web = service(1, "web", TaskSpec::default());
    let mut state = state_of(vec![Change::PutService(Arc::new(Service { removing: true, ..web }))]);
    assert!(state.service_by_name("web").is_none());
    apply(&mut state, vec![Change::PutService(Arc::new(service(2, "web", TaskSpec::default())))])
        .unwrap();
    apply(&mut state, vec![Change::RemoveService(ServiceId::from_bytes(number(1)))]).unwrap();
    assert_eq!(state.service_by_name("web").unwrap().id.to_bytes()[15], 2);
}

#[test]
fn states_of_tasks_only_move_forward() {
    let web = service(1, "web", TaskSpec::default());
    let mut one = task(1, &web, 1);
    one.status.state = TaskState::Running;
    let id = one.id;
    let mut state =
        state_of(vec![Change::PutService(Arc::new(web)), Change::PutTask(Arc::new(one.clone()))]);
    let mut back = one.clone();
    back.status.state = TaskState::Ready;
    let (from, to) = (TaskState::Running, TaskState::Ready);
    assert_eq!(
        apply(&mut state, vec![Change::PutTask(Arc::new(back))]).unwrap_err(),
        Rejected::MovedBack { task: id, axis: Axis::Observed, from, to }
    );
    assert_eq!(
        apply(&mut state, vec![Change::TaskDesired { task: id, desired: TaskState::Ready }])
            .unwrap_err(),
        Rejected::MovedBack { task: id, axis: Axis::Desired, from, to }
    );
    one.status.state = TaskState::Remove;
    let (axis, removed) = (Axis::Observed, TaskState::Remove);
    assert_eq!(
        apply(&mut state, vec![Change::PutTask(Arc::new(one))]).unwrap_err(),
        Rejected::NoSuchState { task: id, axis, state: removed }
    );
}

#[test]
fn late_reports_are_dropped_and_the_rest_of_the_transaction_is_not() {
    let web = service(1, "web", TaskSpec::default());
    let mut one = task(1, &web, 1);
    one.status.state = TaskState::Running;
    let two = task(2, &web, 2);
    let mut state = state_of(vec![
        Change::PutService(Arc::new(web)),
        Change::PutTask(Arc::new(one)),
        Change::PutTask(Arc::new(two)),
    ]);
    let report = |task, state| Change::TaskStatus {
        task: TaskId::from_bytes(number(task)),
        status: TaskStatus { state, ..TaskStatus::default() },
    };
    let changes = vec![
        report(1, TaskState::Starting),
        report(2, TaskState::Accepted),
        report(3, TaskState::Running),
    ];
    let applied = state.apply(2, &Transaction { changes, ..Transaction::default() }).unwrap();
    assert_eq!(applied.late, [1, 3].map(|id| TaskId::from_bytes(number(id))));
    assert_eq!(applied.events.len(), 1);
    let states: Vec<_> = state.tasks().map(|task| task.status.state).collect();
    assert_eq!(states, [TaskState::Running, TaskState::Accepted]);
}

#[test]
fn a_task_keeps_its_node_and_needs_its_service() {
    let web = service(1, "web", TaskSpec::default());
    let mut one = task(1, &web, 1);
    one.node = Some(NodeId::from_bytes(number(1)));
    let put = |task: &Task| vec![Change::PutTask(Arc::new(task.clone()))];
    assert_eq!(
        apply(&mut State::default(), put(&one)).unwrap_err(),
        Rejected::Missing { object: ObjectRef::Service(web.id) }
    );
    let mut state = state_of(vec![Change::PutService(Arc::new(web))]);
    apply(&mut state, put(&one)).unwrap();
    one.node = Some(NodeId::from_bytes(number(2)));
    assert_eq!(apply(&mut state, put(&one)).unwrap_err(), Rejected::TaskMoved { task: one.id });
}

#[test]
fn tasks_are_found_by_service_slot_node_and_queue() {
    let (web, db) = (service(1, "web", TaskSpec::default()), service(2, "db", TaskSpec::default()));
    let mut changes =
        vec![Change::PutService(Arc::new(web.clone())), Change::PutService(Arc::new(db.clone()))];
    let mut placed = task(5, &web, 1);
    placed.node = Some(NodeId::from_bytes(number(9)));
    placed.status.state = TaskState::Pending;
    placed.desired = TaskState::Ready;
    for task in [task(1, &web, 2), task(2, &web, 1), task(3, &db, 1), placed] {
        changes.push(Change::PutTask(Arc::new(task)));
    }
    let mut state = state_of(changes);
    assert_eq!(ids(state.tasks_of_service(web.id)), [2, 5, 1]);
    assert_eq!(ids(state.tasks_in_slot(web.id, Slot(1))), [2, 5]);
    assert_eq!(ids(state.tasks_on_node(NodeId::from_bytes(number(9)))), [5]);
    assert_eq!(ids(state.tasks_in(Queue::Unallocated)), [1, 2, 3]);
    assert_eq!(ids(state.tasks_in(Queue::Unplaced)), [5]);
    assert_eq!(ids(state.tasks_in(Queue::Held)), [5]);
    apply(&mut state, vec![Change::RemoveTask(TaskId::from_bytes(number(5)))]).unwrap();
    assert_eq!(ids(state.tasks_of_service(web.id)), [2, 1]);
    assert_eq!(state.tasks_in(Queue::Held).count() + state.tasks_in(Queue::Unplaced).count(), 0);
    assert_eq!(state.tasks_on_node(NodeId::from_bytes(number(9))).count(), 0);
}

#[test]
fn equal_specs_of_separate_frames_are_shared() {
    let web = service(1, "web", TaskSpec { force_update: 3, ..TaskSpec::default() });
    let mut state = state_of(vec![Change::PutService(Arc::new(web.clone()))]);
    for id in 1..=3 {
        let mut apart = task(id, &web, u64::from(id));
        apart.spec = Arc::new(TaskSpec::clone(&apart.spec));
        apply(&mut state, vec![Change::PutTask(Arc::new(apart))]).unwrap();
    }
    let kept = &state.service(web.id).unwrap().spec.task;
    let tasks: Vec<_> = state.tasks().collect();
    assert!(tasks.iter().all(|task| Arc::ptr_eq(&task.spec, kept)));
    assert!(tasks.iter().all(|task| Arc::ptr_eq(&task.annotations, &tasks[0].annotations)));
}

#[test]
fn a_view_never_changes() {
    let mut state = state_of(vec![Change::PutSecret(Arc::new(secret(1, "a")))]);
    let view = state.clone();
    apply(&mut state, vec![Change::RemoveSecret(SecretId::from_bytes(number(1)))]).unwrap();
    assert!(view.secret_by_name("a").is_some() && state.secret_by_name("a").is_none());
}

#[test]
fn a_task_remembers_since_when_it_runs() {
    let web = service(1, "web", TaskSpec::default());
    let task = task(1, &web, 1);
    let id = task.id;
    let put = [Change::PutService(Arc::new(web)), Change::PutTask(Arc::new(task))];
    let mut state = state_of(put.to_vec());
    let report = |state, at| Change::TaskStatus {
        task: id,
        status: TaskStatus { state, at: Timestamp::from_nanos(at), ..TaskStatus::default() },
    };
    let reports = [(TaskState::Starting, 5), (TaskState::Running, 6), (TaskState::Failed, 9)];
    let seen: Vec<_> = reports
        .into_iter()
        .map(|(observed, at)| {
            apply(&mut state, vec![report(observed, at)]).unwrap();
            let status = &state.task(id).unwrap().status;
            (status.running_since.map(Timestamp::nanos), status.ran_for())
        })
        .collect();
    let ran = |nanos| Some(std::time::Duration::from_nanos(nanos));
    assert_eq!(seen, [(None, None), (Some(6), ran(0)), (Some(6), ran(3))]);
}

#[test]
fn nodes_that_ask_for_a_certificate_are_found_until_they_are_answered() {
    let mut state = State::default();
    let mut put = |number, issue: IssueState, request: &[u8]| {
        let mut node = crate::samples::node(number);
        (node.certificate.state, node.certificate.request) = (issue, request.to_vec());
        let changes = vec![Change::PutNode(Arc::new(node))];
        let at = state.index() + 1;
        state.apply(at, &Transaction { changes, ..Transaction::default() }).unwrap();
        state.nodes_that_ask().map(|node| node.id).collect::<Vec<_>>()
    };
    let id = |number| crate::samples::node(number).id;
    assert_eq!(put(1, IssueState::Issued, b"request"), []);
    assert_eq!(put(2, IssueState::Pending, b""), []);
    assert_eq!(put(3, IssueState::Pending, b"request"), [id(3)]);
    assert_eq!(put(2, IssueState::Pending, b"request"), [id(2), id(3)]);
    assert_eq!(put(3, IssueState::Failed, b"request"), [id(2)]);
}
