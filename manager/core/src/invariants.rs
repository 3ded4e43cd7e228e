//! What is true of the store after every transaction; the names are those of docs/INVARIANTS.md. For tests and the
//! simulation: managers do not look here.

use std::collections::{BTreeMap, BTreeSet};

use shoal_model::cluster::node::{Availability, GenericResource, NodeState};
use shoal_model::cluster::service::{PublishMode, ServiceMode, UpdateState};
use shoal_model::cluster::{NodeId, Service, Task, TaskState};

use crate::orchestrator::Place;
use crate::store::{Diff, State};
use crate::{constraint, enforcer};

/// An invariant does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id}: {what}")]
pub struct Broken {
    /// The invariant.
    pub id: &'static str,
    /// What was found.
    pub what: String,
}

/// Whether something holds.
pub type Verdict = Result<(), Broken>;

/// Fails unless something holds.
///
/// # Errors
/// Names the invariant and what was found.
pub fn require(holds: bool, id: &'static str, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken { id, what: what() }) }
}

/// TASK-1, TASK-4: states never move back, and nothing is observed to be removed.
#[allow(clippy::missing_errors_doc, reason = "as the others")]
pub fn forward(diff: &Diff<Task>) -> Verdict {
    let (Some(old), Some(new)) = (&diff.old, &diff.new) else { return Ok(()) };
    require(new.status.state != TaskState::Remove, "TASK-4", || format!("{new:?}"))?;
    let back = new.status.state < old.status.state || new.desired < old.desired;
    require(!back, "TASK-1", || format!("{:?} after {:?}", new.status, old.status))
}

/// TASK-3, TASK-5, TASK-6: what is assigned has a node, and keeps it; and there is the service.
#[allow(clippy::missing_errors_doc, reason = "as the others")]
pub fn placed(state: &State, diff: &Diff<Task>) -> Verdict {
    let Some(new) = &diff.new else { return Ok(()) };
    let needs_node = new.status.state >= TaskState::Assigned;
    require(!needs_node || new.node.is_some(), "TASK-3", || format!("{new:?}"))?;
    let known = new.service.is_some_and(|service| state.service(service).is_some());
    require(known, "TASK-6", || format!("{new:?}"))?;
    let Some(old) = &diff.old else { return Ok(()) };
    let moved = old.node.is_some() && old.node != new.node;
    require(!moved, "TASK-5", || format!("{:?} after {:?}", new.node, old.node))
}

/// TASK-7: what leaves the store has stopped, never had a node, or its node is gone.
#[allow(clippy::missing_errors_doc, reason = "as the others")]
pub fn removal(before: &State, diff: &Diff<Task>) -> Verdict {
    let (Some(old), None) = (&diff.old, &diff.new) else { return Ok(()) };
    let over = old.status.state.is_terminal()
        || old.status.state < TaskState::Assigned
        || old.node.is_none_or(|node| before.node(node).is_none());
    require(over, "TASK-7", || format!("deleted while {:?}", old.status))
}

/// HIST-2: no more attempts are remembered than count.
#[allow(clippy::missing_errors_doc, reason = "as the others")]
pub fn history(diff: &Diff<Task>) -> Verdict {
    let Some(new) = &diff.new else { return Ok(()) };
    let most = new.spec.restart.as_ref().and_then(|policy| policy.max_attempts).unwrap_or(0);
    require(new.history.attempts.len() as u64 <= most, "HIST-2", || format!("{:?}", new.history))
}

/// SLOT-1: a place has no more than `most` tasks that shall run. SLOT-2: nor more that do, as `runs` says.
#[allow(clippy::missing_errors_doc, reason = "as the others")]
pub fn one_per_place(
    state: &State,
    service: &Service,
    most: usize,
    runs: impl Fn(&Task) -> bool,
) -> Verdict {
    let mut wanted = BTreeMap::<Place, usize>::new();
    let mut running = BTreeMap::<Place, usize>::new();
    for task in state.tasks_of_service(service.id) {
        let Some(place) = Place::of(task) else { continue };
        *wanted.entry(place).or_default() += usize::from(task.desired <= TaskState::Complete);
        *running.entry(place).or_default() += usize::from(runs(task));
    }
    let name = &service.spec.annotations.name;
    for (id, counts) in [("SLOT-1", wanted), ("SLOT-2", running)] {
        let many = counts.iter().find(|(_, count)| **count > most);
        require(many.is_none(), id, || format!("{many:?} in {name}"))?;
    }
    Ok(())
}

/// FIT-1: a task that gets a node may get that one. `state` is that after the step, `before` that before it.
#[allow(clippy::missing_errors_doc, reason = "as the others")]
pub fn fits(state: &State, before: &State, node: NodeId, task: &Task) -> Verdict {
    let Some(object) = before.node(node) else {
        return Err(Broken { id: "FIT-1", what: "a node that is not there".to_owned() });
    };
    let placement = task.spec.placement.clone().unwrap_or_default();
    let constraints = constraint::parse_all(&placement.constraints).unwrap_or_default();
    let fits = object.status.state == NodeState::Ready
        && object.spec.availability == Availability::Active
        && constraint::matches(&constraints, object);
    require(fits, "FIT-1", || format!("{task:?} on {:?} {:?}", object.status, object.spec))?;
    let active = state.tasks_on_node(object.id).filter(|other| {
        other.service == task.service
            && other.desired < TaskState::Shutdown
            && !other.status.state.is_terminal()
            && other.status.state >= TaskState::Assigned
            && !comes_unlimited(before, other)
    });
    let (count, most) = (active.count() as u64, placement.max_replicas);
    require(most == 0 || count <= most, "FIT-1", || format!("{count} replicas, not {most}"))
}

/// Whether a task that no limit of replicas binds, being of another spec, was placed just now: maybe after those that are
/// bound.
fn comes_unlimited(before: &State, task: &Task) -> bool {
    let most = task.spec.placement.as_ref().map_or(0, |placement| placement.max_replicas);
    let was_placed =
        before.task(task.id).is_some_and(|task| task.status.state >= TaskState::Assigned);
    most == 0 && !was_placed
}

/// RES-1: a node never holds more than it has.
#[allow(clippy::missing_errors_doc, reason = "as the others")]
pub fn holds(state: &State, id: NodeId) -> Verdict {
    let Some(about) = state.node(id).and_then(|node| node.description.as_ref()) else {
        return Ok(());
    };
    let held = || {
        let states = TaskState::Assigned..=TaskState::Running;
        state.tasks_on_node(id).filter(move |task| states.contains(&task.status.state))
    };
    let reserved = || held().filter_map(|task| task.spec.resources.as_ref()?.reservations.as_ref());
    let cpus: i64 = reserved().map(|wish| wish.nano_cpus).sum();
    let memory: i64 = reserved().map(|wish| wish.memory).sum();
    let has = &about.resources;
    require(cpus <= has.nano_cpus, "RES-1", || format!("{cpus} nano CPUs of {}", has.nano_cpus))?;
    require(memory <= has.memory, "RES-1", || format!("{memory} bytes of {}", has.memory))?;
    for piece in &has.generic {
        let GenericResource::Discrete { kind, value } = piece else { continue };
        let of_kind = |given: &GenericResource| match given {
            GenericResource::Discrete { kind: its, value } if its == kind => *value,
            _ => 0,
        };
        let given: i64 = held().flat_map(|task| &task.generic).map(of_kind).sum();
        require(given <= *value, "RES-1", || format!("{given} {kind} of {value}"))?;
    }
    let (mut pieces, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for task in held() {
        let named = |piece: &&GenericResource| matches!(piece, GenericResource::Named { .. });
        let mut named = task.generic.iter().filter(named);
        let piece = named.find(|piece| !pieces.insert((*piece).clone()));
        require(piece.is_none(), "RES-1", || format!("{piece:?} twice on a node"))?;
        let endpoint = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        let mut host = endpoint.filter(|port| port.mode == PublishMode::Host);
        let port = host.find(|port| !ports.insert(port.published));
        require(port.is_none(), "RES-1", || format!("{port:?} twice on a node"))?;
    }
    Ok(())
}

/// IPAM-2: no address of a cluster network and no published port of the cluster has two owners.
#[allow(clippy::missing_errors_doc, reason = "as the others")]
pub fn given_once(state: &State) -> Verdict {
    let mut addresses = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for service in state.services() {
        let Some(endpoint) = &service.endpoint else { continue };
        for vip in &endpoint.virtual_ips {
            for address in vip.addresses() {
                let fresh = addresses.insert((vip.network, address));
                require(fresh, "IPAM-2", || format!("{address:?} twice"))?;
            }
        }
        let ingress = endpoint.ports.iter().filter(|port| {
            port.mode == PublishMode::Ingress && port.published != 0 && !service.removing
        });
        for port in ingress {
            let key = (port.protocol, port.published);
            require(ports.insert(key), "IPAM-2", || format!("port {key:?} twice"))?;
        }
    }
    let holds = TaskState::Pending..=TaskState::Running;
    for task in state.tasks().filter(|task| holds.contains(&task.status.state)) {
        for attachment in &task.networks {
            for prefix in &attachment.addresses {
                let key = (attachment.network, prefix.address);
                require(addresses.insert(key), "IPAM-2", || format!("{key:?} twice"))?;
            }
        }
    }
    Ok(())
}

/// CONV-1 for one service in the store, when nothing has happened for long: what runs is what its spec asks for, or what
/// ran before an update that was paused as tasks failed.
#[allow(clippy::missing_errors_doc, reason = "as the others")]
pub fn converged(state: &State, service: &Service) -> Verdict {
    let name = &service.spec.annotations.name;
    let end = |what: String| Err(Broken { id: "CONV-1", what: format!("{name}: {what}") });
    if service.removing {
        return end("a removed service is left".to_owned());
    }
    let tasks: Vec<_> = state.tasks_of_service(service.id).collect();
    let running: Vec<_> =
        tasks.iter().filter(|task| task.status.state == TaskState::Running).collect();
    let places: BTreeSet<_> = running.iter().filter_map(|task| Place::of(task)).collect();
    let suiting = state.nodes().filter(|node| {
        node.spec.availability != Availability::Drain && enforcer::suits(&service.spec.task, node)
    });
    let iteration = service.job.map(|job| job.iteration);
    let complete = tasks
        .iter()
        .filter(|task| task.status.state == TaskState::Complete && task.job_iteration == iteration);
    // One that was replaced as its node was away may come to its end beside the other.
    let complete: BTreeSet<_> = complete.filter_map(|task| Place::of(task)).collect();
    let (wanted, there) = match service.spec.mode {
        ServiceMode::Replicated { replicas } => (replicas.unwrap_or(1), places.len()),
        ServiceMode::Global => (suiting.count() as u64, places.len()),
        ServiceMode::ReplicatedJob { total_completions, .. } => {
            (total_completions.unwrap_or(1), complete.len())
        }
        ServiceMode::GlobalJob => (suiting.count() as u64, complete.len()),
    };
    if wanted != there as u64 || running.len() != places.len() {
        return end(format!("{there} instead of {wanted}, {:?}", service.update));
    }
    let is_paused = service.update.as_ref().is_some_and(|update| {
        matches!(update.state, UpdateState::Paused | UpdateState::RollbackPaused)
            && update.failed > 0
    });
    match running.iter().find(|task| task.spec != service.spec.task) {
        Some(old) if !is_paused => {
            end(format!("an old spec runs: {:?}, {:?}", old.spec.container.image, service.update))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_model::Timestamp;
    use shoal_model::cluster::TaskSpec;
    use shoal_model::cluster::node::{NodeDescription, NodeResources};
    use shoal_model::cluster::service::UpdateStatus;
    use shoal_model::cluster::task::{Reservations, ResourceRequirements};

    use super::*;
    use crate::samples;
    use crate::store::{Change, Transaction};

    /// What is said of a service whose only task runs with a spec of before, while its update stands so.
    fn verdict(update: UpdateState, failed: u32) -> Verdict {
        let now = Timestamp::from_nanos(1);
        let mut service = samples::service(1, "web");
        service.spec.mode = ServiceMode::Replicated { replicas: Some(1) };
        service.update = Some(UpdateStatus {
            state: update,
            started: now,
            completed: None,
            message: String::new(),
            total: 1,
            failed,
            progressed: now,
        });
        let mut task = samples::task(2, 1, 1);
        let mut old = TaskSpec::default();
        old.container.image = "old".to_owned();
        task.spec = Arc::new(old);
        task.status.state = TaskState::Running;
        let changes = vec![Change::PutService(Arc::new(service)), Change::PutTask(Arc::new(task))];
        let mut state = State::default();
        state.apply(1, &Transaction { at: now, expect: Vec::new(), changes }).unwrap();
        let service = state.services().next().unwrap();
        converged(&state, service)
    }

    #[test]
    fn an_old_spec_runs_only_while_its_update_is_paused() {
        assert_eq!(verdict(UpdateState::Paused, 1), Ok(()));
        assert_eq!(verdict(UpdateState::RollbackPaused, 1), Ok(()));
        for (update, failed) in [(UpdateState::Completed, 1), (UpdateState::Paused, 0)] {
            let broken = verdict(update, failed).unwrap_err();
            assert!(broken.what.starts_with("web: an old spec runs: \"old\""), "{broken}");
        }
    }

    /// What is said of a node with two devices and 100 bytes, whose tasks were given so many devices and reserve so many
    /// bytes each.
    fn verdict_of_node(tasks: &[(i64, i64)]) -> Verdict {
        let devices = |value| GenericResource::Discrete { kind: "gpu".to_owned(), value };
        let mut node = samples::node(1);
        let resources = NodeResources { nano_cpus: 0, memory: 100, generic: vec![devices(2)] };
        node.description = Some(NodeDescription { resources, ..NodeDescription::default() });
        let id = node.id;
        let service = Arc::new(samples::service(1, "web"));
        let mut changes = vec![Change::PutNode(Arc::new(node)), Change::PutService(service)];
        for (number, (given, memory)) in (2_u64..).zip(tasks) {
            let mut task = samples::task(number, 1, number);
            let reservations = Reservations { memory: *memory, ..Reservations::default() };
            let resources = ResourceRequirements {
                reservations: Some(reservations),
                ..ResourceRequirements::default()
            };
            task.spec = Arc::new(TaskSpec { resources: Some(resources), ..TaskSpec::default() });
            task.generic = vec![devices(*given)];
            task.node = Some(id);
            task.status.state = TaskState::Running;
            changes.push(Change::PutTask(Arc::new(task)));
        }
        let mut state = State::default();
        let at = Timestamp::from_nanos(1);
        state.apply(1, &Transaction { at, expect: Vec::new(), changes }).unwrap();
        holds(&state, id)
    }

    #[test]
    fn counted_pieces_and_memory_have_an_end() {
        let broken = |what: &str| Err(Broken { id: "RES-1", what: what.to_owned() });
        assert_eq!(verdict_of_node(&[(1, 50), (1, 50)]), Ok(()));
        assert_eq!(verdict_of_node(&[(1, 0), (2, 0)]), broken("3 gpu of 2"));
        assert_eq!(verdict_of_node(&[(0, 50), (0, 51)]), broken("101 bytes of 100"));
    }
}
