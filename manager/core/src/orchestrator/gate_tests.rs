//! What holds services back.

use std::sync::Arc;
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::Version;
use shoal_model::cluster::service::JobStatus;

use super::*;
use crate::samples;
use crate::store::{Change, Transaction};

const DB: u64 = 1;
const WEB: u64 = 2;

/// A service, slot, observed and desired state.
type Row = (u64, u64, TaskState, TaskState);

/// What holds back a web service that waits for a database with this mode, when these tasks are there.
fn held(condition: Condition, mode: ServiceMode, rows: &[Row]) -> String {
    let mut db = samples::service(DB, "db");
    db.spec.mode = mode;
    db.job = mode.is_job().then(JobStatus::default);
    let mut web = samples::service(WEB, "web");
    let required = true;
    web.spec.extensions.depends_on =
        vec![Dependency { service: "db".to_owned(), condition, required }];
    let mut changes =
        vec![Change::PutService(Arc::new(db)), Change::PutService(Arc::new(web.clone()))];
    for (number, (service, slot, observed, desired)) in (10..).zip(rows) {
        let mut task = samples::task(number, *service, *slot);
        (task.status.state, task.desired) = (*observed, *desired);
        task.job_iteration = (*service == DB && mode.is_job()).then_some(Version(0));
        changes.push(Change::PutTask(Arc::new(task)));
    }
    let at = Timestamp::from_nanos(1);
    let mut state = State::default();
    state.apply(1, &Transaction { at, expect: Vec::new(), changes }).unwrap();
    let held = waits(&state, state.service(web.id).unwrap());
    if held.is_empty() { String::new() } else { Waiting(&held).to_string() }
}

use Condition::{Completed, Healthy, Started};
use TaskState::{Complete, Failed, Ready, Remove, Running, Shutdown, Starting};

const TWO: ServiceMode = ServiceMode::Replicated { replicas: Some(2) };
const FOR_HEALTH: &str = "waits for service db to be running and healthy";

#[test]
fn all_replicas_must_have_come_far_enough() {
    let rows = |one: TaskState, other: TaskState| [(DB, 1, one, Running), (DB, 2, other, Running)];
    assert_eq!(held(Healthy, TWO, &[]), FOR_HEALTH);
    assert_eq!(held(Healthy, TWO, &rows(Running, Starting)), FOR_HEALTH);
    assert_eq!(held(Started, TWO, &rows(Running, Starting)), "");
    assert_eq!(held(Started, TWO, &rows(Running, Ready)), "waits for service db to start");
    assert_eq!(held(Healthy, TWO, &rows(Running, Running)), "");
    // One that must go does not count.
    assert_eq!(
        held(Healthy, TWO, &[(DB, 1, Running, Running), (DB, 2, Running, Remove)]),
        FOR_HEALTH
    );
    assert_eq!(held(Completed, TWO, &rows(Complete, Running)), "waits for service db to complete");
    assert_eq!(
        held(Completed, TWO, &[(DB, 1, Complete, Shutdown), (DB, 2, Complete, Shutdown)]),
        ""
    );
}

#[test]
fn jobs_and_global_services_count_in_their_way() {
    let job = ServiceMode::ReplicatedJob { max_concurrent: Some(1), total_completions: Some(2) };
    assert_eq!(held(Started, job, &[(DB, 1, Running, Complete)]), "");
    assert_eq!(
        held(Completed, job, &[(DB, 1, Complete, Complete)]),
        "waits for service db to complete"
    );
    assert_eq!(
        held(Completed, job, &[(DB, 1, Complete, Complete), (DB, 2, Complete, Complete)]),
        ""
    );
    assert_eq!(held(Healthy, ServiceMode::Global, &[]), FOR_HEALTH);
}

#[test]
fn what_was_let_go_is_not_held_again() {
    let web = |observed, desired| held(Healthy, TWO, &[(WEB, 1, observed, desired)]);
    assert_eq!(web(Ready, Ready), FOR_HEALTH);
    assert_eq!(web(Ready, Running), "");
    assert_eq!(web(Running, Running), "");
    // Failed before it was let go.
    assert_eq!(web(Failed, Shutdown), FOR_HEALTH);
}

#[test]
fn what_ran_once_was_let_go() {
    let mut task = samples::task(1, WEB, 1);
    task.desired = Shutdown;
    task.status.state = Failed;
    task.status.at = Timestamp::from_nanos(5).after(Duration::from_secs(1));
    task.status.running_since = Some(Timestamp::from_nanos(5));
    let mut service = samples::service(WEB, "web");
    service.spec.extensions.depends_on =
        vec![Dependency { service: "db".to_owned(), condition: Healthy, required: true }];
    let changes =
        vec![Change::PutService(Arc::new(service.clone())), Change::PutTask(Arc::new(task))];
    let at = Timestamp::from_nanos(1);
    let mut state = State::default();
    state.apply(1, &Transaction { at, expect: Vec::new(), changes }).unwrap();
    assert_eq!(waits(&state, &service), []);
}

#[test]
fn what_need_not_exist_is_not_waited_for() {
    let mut service = samples::service(WEB, "web");
    service.spec.extensions.depends_on =
        vec![Dependency { service: "db".to_owned(), condition: Healthy, required: false }];
    assert_eq!(waits(&State::default(), &service), []);
}
