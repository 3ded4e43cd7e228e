//! Frames come back as they were, damaged ones do not.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use shoal_model::Timestamp;
use shoal_model::cluster::node::{NodeCertificate, NodeDescription};
use shoal_model::cluster::service::{Endpoint, PortConfig, PreviousSpec, Revision, Revisions};
use shoal_model::cluster::task::{ContainerStatus, NetworkAttachment, SecretReference, TaskStatus};
use shoal_model::cluster::{
    ClusterNetworkId, NodeId, SecretId, Service, ServiceId, Task, TaskId, TaskSpec, TaskState,
    Version,
};

use super::*;
use crate::store::tests::{apply, config, network, number, secret, service, task};
use crate::store::{Change, ObjectRef, Rejected, State, Transaction, Txn};

const STATES: [TaskState; 6] = [
    TaskState::New,
    TaskState::Pending,
    TaskState::Assigned,
    TaskState::Running,
    TaskState::Failed,
    TaskState::Orphaned,
];

fn web(id: u8, force: u64) -> Service {
    let secrets = (0..force % 3)
        .map(|id| SecretReference {
            id: SecretId::from_bytes(number(u8::try_from(id).unwrap())),
            name: format!("s{id}"),
            file: None,
        })
        .collect();
    let mut made = service(
        id,
        &format!("web{id}"),
        TaskSpec { force_update: force, secrets, ..TaskSpec::default() },
    );
    made.removing = force % 5 == 4;
    if force > 2 {
        let mut spec = made.spec.clone();
        spec.task = Arc::new(TaskSpec::default());
        let since = Some(Timestamp::from_nanos(5));
        let earlier = vec![Revision { number: 1, since, spec: spec.clone() }];
        made.revisions = Revisions { present: 2, since, earlier };
        made.previous = Some(Box::new(PreviousSpec { spec, spec_version: Version(force) }));
    }
    made
}

fn a_task(id: u8, of: &Service, slot: u64, state: usize, endpoint: Option<&Arc<Endpoint>>) -> Task {
    let mut made = task(id, of, slot);
    made.status = TaskStatus {
        state: STATES[state],
        message: "started".to_owned(),
        container: (state > 2).then(|| ContainerStatus {
            id: "ab".repeat(32),
            pid: 7,
            exit_code: 0,
        }),
        ..TaskStatus::default()
    };
    made.desired = STATES[5 - state].max(TaskState::Ready);
    made.node = (state > 1).then(|| NodeId::from_bytes(number(id % 3)));
    made.endpoint = endpoint.cloned();
    made.networks = (0..state % 3)
        .map(|network| NetworkAttachment {
            network: ClusterNetworkId::from_bytes(number(u8::try_from(network).unwrap())),
            addresses: vec!["10.0.0.3/24".parse().unwrap()],
            aliases: vec!["db".to_owned()],
            driver_opts: Default::default(),
        })
        .collect();
    made
}

prop_compose! {
    /// Three services; tasks with states, nodes and networks at random; other objects.
    fn objects()(
        forces in vec(0u64..6, 3),
        tasks in vec((any::<u8>(), 0usize..3, 0u64..4, 0usize..6, any::<bool>()), 0..40),
        names in vec(any::<u8>(), 0..6),
    ) -> Vec<Change> {
        let services: Vec<_> =
            forces.iter().zip(0..).map(|(force, id)| web(id, *force)).collect();
        let ports = vec![PortConfig { target: 80, published: 8080, ..PortConfig::default() }];
        let endpoint = Arc::new(Endpoint { ports, ..Endpoint::default() });
        let mut changes: Vec<_> =
            services.iter().map(|service| Change::PutService(Arc::new(service.clone()))).collect();
        for name in names {
            changes.push(Change::PutSecret(Arc::new(secret(name, &format!("s{name}")))));
            changes.push(Change::PutConfig(Arc::new(config(name, &format!("c{name}")))));
            changes.push(Change::PutNetwork(Arc::new(network(name, &format!("n{name}")))));
        }
        let mut taken = std::collections::BTreeSet::new();
        for (id, of, slot, state, exposed) in tasks {
            if taken.insert(id) {
                let made = a_task(id, &services[of], slot, state, exposed.then_some(&endpoint));
                changes.push(Change::PutTask(Arc::new(made)));
            }
        }
        changes
    }
}

fn parts(state: &State) -> Vec<Vec<u8>> {
    SnapshotWriter::new(state.clone()).collect::<Result<_, _>>().unwrap()
}

fn restore(bytes: &[u8], piece: usize) -> Result<State, Error> {
    let mut reader = SnapshotReader::new();
    bytes.chunks(piece).try_for_each(|piece| reader.push(piece))?;
    reader.finish()
}

/// What each task shares, as positions of the first task that has the same allocation.
fn sharing(state: &State) -> Vec<(usize, usize)> {
    let tasks: Vec<_> = state.tasks().collect();
    let first = |of: &dyn Fn(&Task) -> usize, task: &Task| {
        tasks.iter().position(|other| of(other) == of(task)).unwrap()
    };
    let spec = |task: &Task| Arc::as_ptr(&task.spec).addr();
    let annotations = |task: &Task| Arc::as_ptr(&task.annotations).addr();
    tasks.iter().map(|task| (first(&spec, task), first(&annotations, task))).collect()
}

fn same_objects(one: &State, other: &State) -> bool {
    one.cluster() == other.cluster()
        && one.nodes().eq(other.nodes())
        && one.services().eq(other.services())
        && one.tasks().eq(other.tasks())
        && one.networks().eq(other.networks())
        && one.secrets().eq(other.secrets())
        && one.configs().eq(other.configs())
}

proptest! {
    #[test]
    fn transactions_come_back(changes in objects(), at in any::<i64>()) {
        let expect = changes.iter().map(|change| (change.object(), Version(7))).collect();
        let transaction = Transaction { at: Timestamp::from_nanos(at), expect, changes };
        let bytes = encode_transaction(&transaction).unwrap();
        prop_assert_eq!(decode_transaction(&bytes).unwrap(), transaction);
    }

    /// A leader applies what it proposed without reading it.
    #[test]
    fn what_was_read_is_applied_as_what_was_written(first in objects(), second in objects()) {
        let mut written = State::default();
        apply(&mut written, first).unwrap();
        let mut read = written.clone();
        let steps = second.into_iter().flat_map(|change| {
            let Change::PutTask(task) = &change else { return vec![change] };
            let (id, status) = (task.id, task.status.clone());
            let desired = Change::TaskDesired { task: id, desired: TaskState::Remove };
            vec![change, Change::TaskStatus { task: id, status }, desired]
        });
        for (index, mut change) in (2..).zip(steps) {
            if let Change::PutTask(task) = &mut change {
                let task = Arc::make_mut(task);
                task.meta.version = Version(index);
                if let Some(known) = written.task(task.id) {
                    task.spec = Arc::clone(&known.spec);
                    task.annotations = Arc::clone(&known.annotations);
                }
            }
            let mut txn = Txn::new(&written, Timestamp::from_nanos(7));
            if txn.change(change).is_err() {
                continue;
            }
            let transaction = txn.finish();
            let bytes = encode_transaction(&transaction).unwrap();
            let applied = written.apply_owned(index, transaction).map(|it| Accepted::from(&it));
            let again = read.apply_owned(index, decode_transaction(&bytes).unwrap());
            prop_assert_eq!(again.map(|it| Accepted::from(&it)), applied);
        }
        prop_assert!(same_objects(&read, &written));
        prop_assert!(read.indexes == written.indexes);
    }

    #[test]
    fn snapshots_come_back_with_indexes_and_sharing(changes in objects(), piece in 1usize..5000) {
        let mut state = State::default();
        apply(&mut state, changes).unwrap();
        let restored = restore(&parts(&state).concat(), piece).unwrap();
        prop_assert_eq!(restored.index(), state.index());
        prop_assert!(same_objects(&restored, &state));
        prop_assert!(restored.indexes == state.indexes);
        prop_assert_eq!(sharing(&restored), sharing(&state));
    }

    #[test]
    fn indexes_follow_every_change(
        first in objects(),
        second in objects(),
        removals in vec(any::<u8>(), 0..60),
    ) {
        let mut state = State::default();
        apply(&mut state, first).unwrap();
        // Refusals are welcome: what they undo must be undone in the indexes too.
        for change in second {
            let _ = apply(&mut state, vec![change]);
        }
        for id in removals {
            let _ = apply(&mut state, vec![Change::RemoveTask(TaskId::from_bytes(number(id)))]);
            let report = TaskStatus { state: TaskState::Running, ..TaskStatus::default() };
            let task = TaskId::from_bytes(number(id.wrapping_add(1)));
            let service = ServiceId::from_bytes(number(id % 3));
            let _ = apply(&mut state, vec![
                Change::TaskStatus { task, status: report },
                Change::TaskDesired { task, desired: TaskState::Remove },
                Change::RemoveService(service),
            ]);
        }
        let rebuilt = restore(&parts(&state).concat(), 1 << 20).unwrap();
        prop_assert!(rebuilt.indexes == state.indexes);
    }

    #[test]
    fn a_cut_snapshot_is_refused(changes in objects(), at in any::<prop::sample::Index>()) {
        let mut state = State::default();
        apply(&mut state, changes).unwrap();
        let bytes = parts(&state).concat();
        prop_assert!(restore(&bytes[..at.index(bytes.len())], 1 << 20).is_err());
    }
}

#[test]
fn an_edited_task_carries_neither_spec_nor_annotations() {
    let mut web = web(1, 3);
    Arc::make_mut(&mut web.spec.task).registry_auth = "x".repeat(1_000);
    let edited = Arc::new(a_task(1, &web, 1, 3, None));
    let change = |change| Transaction { changes: vec![change], ..Transaction::default() };
    let whole = encode_transaction(&change(Change::PutTask(Arc::clone(&edited)))).unwrap();
    let small = encode_transaction(&change(Change::EditTask(Arc::clone(&edited)))).unwrap();
    assert!(small.len() < 400 && whole.len() > 2 * small.len(), "{} {}", small.len(), whole.len());
    let mut state = State::default();
    let mut before = Task::clone(&edited);
    (before.status, before.desired) = (TaskStatus::default(), TaskState::Ready);
    apply(&mut state, vec![Change::PutService(Arc::new(web)), Change::PutTask(Arc::new(before))])
        .unwrap();
    let decoded = decode_transaction(&small).unwrap();
    state.apply(2, &decoded).unwrap();
    let mut now = Task::clone(state.task(edited.id).unwrap());
    now.meta = edited.meta;
    assert_eq!(now, *edited);
}

#[test]
fn a_report_is_small() {
    let task = TaskId::from_bytes(number(1));
    let status = TaskStatus {
        state: TaskState::Running,
        at: Timestamp::from_nanos(1_790_000_000_000_000_000),
        message: "started".to_owned(),
        container: Some(ContainerStatus { id: "ab".repeat(32), pid: 4711, exit_code: 0 }),
        ..TaskStatus::default()
    };
    let changes = vec![Change::TaskStatus { task, status }];
    let bytes = encode_transaction(&Transaction { changes, ..Transaction::default() }).unwrap();
    assert!(bytes.len() < 256, "{} bytes", bytes.len());
}

#[test]
fn newer_formats_are_refused() {
    let mut bytes = encode_transaction(&Transaction::default()).unwrap();
    bytes[0] = FORMAT + 1;
    let found = FORMAT + 1;
    assert!(
        matches!(decode_transaction(&bytes), Err(Error::Newer { found: at, .. }) if at == found)
    );
    let mut bytes = parts(&State::default()).concat();
    bytes[0] = found;
    assert!(matches!(restore(&bytes, 7), Err(Error::Newer { found: at, .. }) if at == found));
    assert!(matches!(decode_outcome(&[]), Err(Error::Empty { .. })));
}

#[test]
fn what_follows_the_end_of_a_snapshot_is_refused() {
    let mut bytes = parts(&State::default()).concat();
    bytes.extend_from_within(1..);
    assert!(matches!(restore(&bytes, 1 << 20), Err(Error::Trailing)));
}

#[test]
fn outcomes_come_back() {
    let rejected = Rejected::OutOfSequence {
        object: ObjectRef::Task(TaskId::from_bytes(number(1))),
        expected: Version(1),
        actual: Version(2),
    };
    let late = vec![TaskId::from_bytes(number(9))];
    for outcome in [Err(rejected), Ok(Accepted { version: Version(3), late })] {
        assert_eq!(decode_outcome(&encode_outcome(&outcome).unwrap()).unwrap(), outcome);
    }
}

#[test]
fn a_large_state_is_written_in_blocks() {
    let web = web(1, 1);
    let mut state = State::default();
    apply(&mut state, vec![Change::PutService(Arc::new(web.clone()))]).unwrap();
    for id in 0..=255 {
        let tasks = (0..10u8).map(|of| {
            let mut made = a_task(0, &web, 1, 3, None);
            let mut bytes = number(id);
            bytes[0] = of;
            made.id = TaskId::from_bytes(bytes);
            Change::PutTask(Arc::new(made))
        });
        apply(&mut state, tasks.collect()).unwrap();
    }
    let parts = parts(&state);
    assert!(parts.iter().all(|part| part.len() < 256 * 1024));
    assert!(parts.len() > 10, "{} parts", parts.len());
    assert_eq!(restore(&parts.concat(), 1000).unwrap().tasks().count(), 2560);
}

/// What differs where a node's bytes are written as bytes, not as arrays of numbers.
#[derive(serde::Serialize)]
struct Certificate<'a> {
    #[serde(with = "serde_bytes")]
    request: &'a [u8],
    #[serde(with = "serde_bytes")]
    chain: &'a [u8],
}

#[derive(serde::Serialize)]
struct Description<'a> {
    #[serde(with = "serde_bytes")]
    issuer_subject: &'a [u8],
    #[serde(with = "serde_bytes")]
    issuer_public_key: &'a [u8],
}

#[test]
fn bytes_of_nodes_are_read_in_both_forms() {
    let certificate = NodeCertificate {
        request: b"request".to_vec(),
        chain: vec![0, 127, 128, 255],
        ..NodeCertificate::default()
    };
    let description = NodeDescription {
        issuer_subject: vec![255, 1],
        issuer_public_key: b"key".to_vec(),
        ..NodeDescription::default()
    };
    let numbers = rmp_serde::to_vec_named(&(&certificate, &description)).unwrap();
    // A fixed array of four numbers: what was written before stays what is written.
    assert!(numbers.windows(7).any(|part| part == [0x94, 0, 127, 0xcc, 128, 0xcc, 255]));
    let (request, chain) = (&certificate.request, &certificate.chain);
    let (issuer_subject, issuer_public_key) =
        (&description.issuer_subject, &description.issuer_public_key);
    let bytes = rmp_serde::to_vec_named(&(
        Certificate { request, chain },
        Description { issuer_subject, issuer_public_key },
    ))
    .unwrap();
    for form in [numbers, bytes] {
        let read: (NodeCertificate, NodeDescription) = rmp_serde::from_slice(&form).unwrap();
        assert_eq!(read, (certificate.clone(), description.clone()));
    }
}
