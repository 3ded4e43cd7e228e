//! What is true of every state that the planners make. Each check panics with what broke it.

use std::collections::{BTreeMap, BTreeSet};

use shoal_manager_core::orchestrator::Place;
use shoal_model::cluster::service::{ServiceMode, UpdateState};
use shoal_model::cluster::{Service, Task, TaskState};

use super::World;

pub(crate) fn check(world: &World) {
    for service in world.state.services() {
        let tasks: Vec<&Task> =
            world.state.tasks_of_service(service.id).map(AsRef::as_ref).collect();
        one_per_place(world, service, &tasks);
        history_is_kept(&tasks);
    }
}

/// SLOT-1: a place has one task that shall run; a second one only where an update or a move starts first. And no two
/// run, but on nodes that were taken for dead and were not.
fn one_per_place(world: &World, service: &Service, tasks: &[&Task]) {
    let most = if world.overlapping.contains(&service.id) { 2 } else { 1 };
    let (mut wanted, mut running) =
        (BTreeMap::<Place, usize>::new(), BTreeMap::<Place, usize>::new());
    for task in tasks {
        let place = Place::of(task).expect("a place");
        let suspect = task.node.is_some_and(|node| world.suspect.contains(&node));
        *wanted.entry(place).or_default() += usize::from(task.desired <= TaskState::Complete);
        *running.entry(place).or_default() +=
            usize::from(task.status.state == TaskState::Running && !suspect);
    }
    for (what, counts) in [("shall run", wanted), ("run", running)] {
        for (place, count) in counts.into_iter().filter(|(_, count)| *count > most) {
            let name = &service.spec.annotations.name;
            let last: Vec<_> = world.log.iter().rev().take(30).collect();
            panic!("{count} tasks {what} in {place} of {name}: {last:#?}");
        }
    }
}

/// A task knows whom it replaces unless it is the first, and never more attempts than there is room for.
fn history_is_kept(tasks: &[&Task]) {
    for task in tasks {
        let policy = task.spec.restart.as_ref();
        if let Some(most) = policy.and_then(|policy| policy.max_attempts).filter(|most| *most > 0) {
            assert!(task.history.attempts.len() as u64 <= most, "{:?}", task.history);
        }
    }
}

/// CONV-1, when nothing has happened for long: what runs is what the spec asks for.
pub(crate) fn converged(world: &World) {
    for service in world.state.services() {
        assert!(!service.removing, "a removed service is left");
        let name = &service.spec.annotations.name;
        let tasks: Vec<&Task> =
            world.state.tasks_of_service(service.id).map(AsRef::as_ref).collect();
        let running: Vec<&&Task> =
            tasks.iter().filter(|task| task.status.state == TaskState::Running).collect();
        let places: BTreeSet<Place> =
            running.iter().map(|task| Place::of(task).expect("a place")).collect();
        let context = || {
            let last: Vec<_> = world.log.iter().rev().take(60).rev().collect();
            format!("{name}: {:?} {last:#?}", service.update)
        };
        match service.spec.mode {
            ServiceMode::Replicated { replicas } => {
                assert_eq!(places.len() as u64, replicas.unwrap_or(1), "{}", context());
            }
            ServiceMode::Global => {
                assert_eq!(places.len(), world.state.nodes().count(), "{}", context());
            }
            ServiceMode::ReplicatedJob { total_completions, .. } => {
                let iteration = service.job.map(|job| job.iteration);
                let complete = tasks.iter().filter(|task| {
                    task.status.state == TaskState::Complete && task.job_iteration == iteration
                });
                assert_eq!(Some(complete.count() as u64), total_completions, "{}", context());
            }
            ServiceMode::GlobalJob => {}
        }
        assert_eq!(running.len(), places.len(), "one each: {}", context());
        let halted = service.update.as_ref().is_some_and(|update| {
            matches!(update.state, UpdateState::Paused | UpdateState::RollbackPaused)
        });
        for task in running {
            assert!(halted || task.spec == service.spec.task, "an old spec runs: {}", context());
        }
    }
}
