//! What is true after every transaction, and at the end. The names are those of docs/INVARIANTS.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use shoal_manager_core::orchestrator::Place;
use shoal_manager_core::store::{Diff, Event, State};
use shoal_manager_core::{constraint, enforcer, update};
use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::service::{PublishMode, ServiceMode, UpdateState, UpdateStatus};
use shoal_model::cluster::{NodeId, Service, Task, TaskState};

use crate::cluster::{Author, Model};

/// An invariant that does not hold.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) id: &'static str,
    what: String,
    pub(crate) trace: Vec<String>,
}

impl Broken {
    pub(crate) fn new(id: &'static str, what: String) -> Self {
        Self { id, what, trace: Vec::new() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.id, self.what)?;
        self.trace.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

type Verdict = Result<(), Broken>;

fn require(holds: bool, id: &'static str, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken::new(id, what())) }
}

pub(crate) fn check(model: &Model, before: &State, author: Author, events: &[Event]) -> Verdict {
    let mut services = BTreeSet::new();
    for event in events {
        match event {
            Event::Task(diff) => {
                forward(diff)?;
                owners(author, diff)?;
                places(model, diff)?;
                removal(before, diff)?;
                history(diff)?;
                delay(model, diff)?;
                services.extend(diff.latest().and_then(|task| task.service));
            }
            Event::Service(diff) => {
                spec_is_the_users(author, diff)?;
                services.extend(diff.new.as_ref().map(|service| service.id));
            }
            _ => {}
        }
    }
    for service in services.into_iter().filter_map(|id| model.state.service(id)) {
        one_per_place(model, service)?;
        lanes(model, before, service, events)?;
    }
    match author {
        Author::Scheduler => placed(model, before, events),
        Author::Allocator => given_once(&model.state),
        Author::User | Author::Orchestrator | Author::Worker | Author::Liveness => Ok(()),
    }
}

/// TASK-1, TASK-4.
fn forward(diff: &Diff<Task>) -> Verdict {
    let (Some(old), Some(new)) = (&diff.old, &diff.new) else { return Ok(()) };
    require(new.status.state != TaskState::Remove, "TASK-4", || format!("{new:?}"))?;
    let back = new.status.state < old.status.state || new.desired < old.desired;
    require(!back, "TASK-1", || format!("{:?} after {:?}", new.status, old.status))
}

/// TASK-2: each step is made by its owner.
fn owners(author: Author, diff: &Diff<Task>) -> Verdict {
    use TaskState::{Assigned, New, Orphaned, Pending};
    let owner = match (&diff.old, &diff.new) {
        (None, Some(new)) if new.status.state == New => Author::Orchestrator,
        (Some(_), None) | (None, _) => Author::Orchestrator,
        (Some(old), Some(new)) => {
            if old.desired != new.desired {
                Author::Orchestrator
            } else {
                match (old.status.state, new.status.state) {
                    (old, new) if old == new => return Ok(()),
                    (New, Pending) => Author::Allocator,
                    (Pending, Assigned) => Author::Scheduler,
                    (_, Orphaned) => Author::Orchestrator,
                    (old, _) if old >= Assigned => Author::Worker,
                    (old, new) => {
                        let what = format!("{author:?} made {new:?} of {old:?}");
                        return Err(Broken::new("TASK-2", what));
                    }
                }
            }
        }
    };
    require(owner == author, "TASK-2", || format!("{author:?} did what is {owner:?}'s: {diff:?}"))
}

/// TASK-3, TASK-5, TASK-6.
fn places(model: &Model, diff: &Diff<Task>) -> Verdict {
    let Some(new) = &diff.new else { return Ok(()) };
    let needs_node = new.status.state >= TaskState::Assigned;
    require(!needs_node || new.node.is_some(), "TASK-3", || format!("{new:?}"))?;
    let known = new.service.is_some_and(|service| model.state.service(service).is_some());
    require(known, "TASK-6", || format!("{new:?}"))?;
    let Some(old) = &diff.old else { return Ok(()) };
    let moved = old.node.is_some() && old.node != new.node;
    require(!moved, "TASK-5", || format!("{:?} after {:?}", new.node, old.node))
}

/// TASK-7.
fn removal(before: &State, diff: &Diff<Task>) -> Verdict {
    let (Some(old), None) = (&diff.old, &diff.new) else { return Ok(()) };
    let over = old.status.state.is_terminal()
        || old.status.state < TaskState::Assigned
        || old.node.is_none_or(|node| before.node(node).is_none());
    require(over, "TASK-7", || format!("deleted while {:?}", old.status))
}

/// HIST-2: no more attempts are remembered than count.
fn history(diff: &Diff<Task>) -> Verdict {
    let Some(new) = &diff.new else { return Ok(()) };
    let most = new.spec.restart.as_ref().and_then(|policy| policy.max_attempts).unwrap_or(0);
    require(new.history.attempts.len() as u64 <= most, "HIST-2", || format!("{:?}", new.history))
}

/// RESTART-1: what follows a task that failed does not run before its delay is over.
fn delay(model: &Model, diff: &Diff<Task>) -> Verdict {
    let Some(new) = &diff.new else { return Ok(()) };
    let before = diff.old.as_ref().is_some_and(|old| old.status.state < TaskState::Starting);
    if !before || !matches!(new.status.state, TaskState::Starting | TaskState::Running) {
        return Ok(());
    }
    let Some(failed) = new.history.predecessor.and_then(|id| model.state.task(id)) else {
        return Ok(());
    };
    // An update may replace at once what failed; a move that was under way goes on.
    let follows = model.followers.contains(&new.id) && failed.spec_version == new.spec_version;
    let policy = failed.spec.restart.as_ref();
    let wait = policy.and_then(|policy| policy.delay).unwrap_or(Duration::from_secs(5));
    let ran = model.now.since(failed.status.at);
    require(!follows || ran >= wait, "RESTART-1", || {
        format!("{ran:?} after a failure, {wait:?} were due: {:?} {:?}", new.id, new.history)
    })
}

/// SPEC-1: only users change specs; the updater may go back to the one before.
fn spec_is_the_users(author: Author, diff: &Diff<Service>) -> Verdict {
    let (Some(old), Some(new)) = (&diff.old, &diff.new) else { return Ok(()) };
    let goes_back = old.previous.as_ref().is_some_and(|previous| previous.spec == new.spec);
    let allowed = author == Author::User || old.spec == new.spec || goes_back;
    require(allowed, "SPEC-1", || format!("{author:?} changed the spec of {:?}", new.spec))
}

/// SLOT-1: a place has one task that shall run; two only where an update or a move starts first. SLOT-2: nor do more
/// containers run, but on nodes that were taken for dead and were not.
fn one_per_place(model: &Model, service: &Service) -> Verdict {
    let most = if model.overlapping.contains(&service.id) { 2 } else { 1 };
    let mut wanted = BTreeMap::<Place, usize>::new();
    let mut running = BTreeMap::<Place, usize>::new();
    for task in model.state.tasks_of_service(service.id) {
        let Some(place) = Place::of(task) else { continue };
        *wanted.entry(place).or_default() += usize::from(task.desired <= TaskState::Complete);
        let runs = task.node.filter(|node| !model.suspect.contains(node)).is_some_and(|node| {
            model.workers.get(&node).is_some_and(|worker| worker.runs(task.id))
        });
        *running.entry(place).or_default() += usize::from(runs);
    }
    let name = &service.spec.annotations.name;
    for (id, counts) in [("SLOT-1", wanted), ("SLOT-2", running)] {
        let many = counts.iter().find(|(_, count)| **count > most);
        require(many.is_none(), id, || format!("{many:?} in {name}"))?;
    }
    Ok(())
}

/// UPDATE-1: an update begins no place while as many are under way as its parallelism says. What must be replaced anyway
/// (it ended, its node is lost or drained) waits for no lane of the update.
fn lanes(model: &Model, before: &State, service: &Service, events: &[Event]) -> Verdict {
    let Some(update) = &service.update else { return Ok(()) };
    let lanes = match update.state {
        UpdateState::Updating => model.lanes.get(&service.id).copied(),
        UpdateState::RollbackStarted => service.spec.rollback.as_ref().map(|it| it.parallelism),
        _ => return Ok(()),
    };
    let lanes = lanes.unwrap_or(1);
    let begins = events.iter().any(|event| match event {
        Event::Task(Diff { old: None, new: Some(task) }) => begins(model, before, service, task),
        _ => false,
    });
    if !begins || lanes == 0 || service.spec.mode.is_job() {
        return Ok(());
    }
    let tasks = || model.state.tasks_of_service(service.id);
    let busy: BTreeSet<Place> = tasks()
        .filter(|task| is_under_way(model, service, update, task))
        .filter_map(|task| Place::of(task))
        .collect();
    let failed: BTreeSet<Place> = tasks()
        .filter(|task| is_of(service, update, task) && has_ended_itself(task))
        .filter_map(|task| Place::of(task))
        .collect();
    let (busy, name) = (busy.difference(&failed).count() as u64, &service.spec.annotations.name);
    require(busy <= lanes, "UPDATE-1", || format!("{busy} places of {name} in {lanes} lanes"))
}

/// Whether a new task is the updater's: it brings the present spec to where another one could have gone on running.
fn begins(model: &Model, before: &State, service: &Service, task: &Task) -> bool {
    let old = task.history.predecessor.and_then(|id| model.state.task(id));
    task.service == Some(service.id)
        && task.spec_version == service.spec_version
        && !had_present_spec(before, service, task)
        && old.is_some_and(|old| {
            let node = old.node.and_then(|node| before.node(node));
            old.spec_version != service.spec_version
                && !has_ended_itself(old)
                && node.is_some_and(|node| {
                    node.status.state == NodeState::Ready
                        && node.spec.availability != Availability::Drain
                })
        })
}

/// Whether the present spec was in the place of a task before: then the task is a restart.
fn had_present_spec(before: &State, service: &Service, task: &Task) -> bool {
    let endpoint = service.spec.endpoint.clone().unwrap_or_default();
    before.tasks_of_service(service.id).any(|other| {
        Place::of(other) == Place::of(task)
            && other.desired <= TaskState::Complete
            && other.spec == service.spec.task
            && other.endpoint.as_ref().is_none_or(|other| other.spec == endpoint)
    })
}

/// Whether a task holds a lane: it is to run and does not yet, and may still be waited for. The place of a global service on a
/// node that takes nothing now holds none.
fn is_under_way(model: &Model, service: &Service, update: &UpdateStatus, task: &Task) -> bool {
    let waits = task.status.state < TaskState::Assigned;
    let advanced = if waits { task.meta.created } else { task.meta.updated };
    let is_global = task.slot.0 == 0;
    let node = task.node.and_then(|node| model.state.node(node));
    let takes = node.is_some_and(|node| {
        node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
    });
    is_of(service, update, task)
        && task.desired <= TaskState::Running
        && task.status.state < TaskState::Running
        && model.now.since(advanced) < update::DEFAULT_DEADLINE
        && (takes || !is_global)
}

fn is_of(service: &Service, update: &UpdateStatus, task: &Task) -> bool {
    task.spec_version == service.spec_version
        && task.history.predecessor.is_some()
        && task.meta.created >= update.started
}

fn has_ended_itself(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Complete | TaskState::Failed | TaskState::Rejected)
}

/// FIT-1: a node gets only tasks that it may get. RES-1: and never holds more than it has.
fn placed(model: &Model, before: &State, events: &[Event]) -> Verdict {
    let mut nodes = BTreeSet::new();
    for event in events {
        let Event::Task(Diff { old: Some(old), new: Some(new) }) = event else { continue };
        let (TaskState::Pending, TaskState::Assigned) = (old.status.state, new.status.state) else {
            continue;
        };
        let Some(node) = new.node else { continue };
        nodes.insert(node);
        let Some(object) = before.node(node) else {
            return Err(Broken::new("FIT-1", "a node that is not there".to_owned()));
        };
        let placement = new.spec.placement.clone().unwrap_or_default();
        let constraints = constraint::parse_all(&placement.constraints).unwrap_or_default();
        let fits = object.status.state == NodeState::Ready
            && object.spec.availability == Availability::Active
            && constraint::matches(&constraints, object);
        require(fits, "FIT-1", || format!("{new:?} on {:?} {:?}", object.status, object.spec))?;
        let active = model.state.tasks_on_node(node).filter(|task| {
            task.service == new.service
                && task.desired < TaskState::Shutdown
                && !task.status.state.is_terminal()
                && task.status.state >= TaskState::Assigned
                && !comes_unlimited(before, task)
        });
        let (count, most) = (active.count() as u64, placement.max_replicas);
        require(most == 0 || count <= most, "FIT-1", || format!("{count} replicas, not {most}"))?;
    }
    nodes.into_iter().try_for_each(|node| holds(&model.state, node))
}

/// Whether a task that no limit of replicas binds, being of another spec, was placed just now: maybe after those that are bound.
fn comes_unlimited(before: &State, task: &Task) -> bool {
    let most = task.spec.placement.as_ref().map_or(0, |placement| placement.max_replicas);
    let was_placed =
        before.task(task.id).is_some_and(|task| task.status.state >= TaskState::Assigned);
    most == 0 && !was_placed
}

fn holds(state: &State, id: NodeId) -> Verdict {
    let Some(about) = state.node(id).and_then(|node| node.description.as_ref()) else {
        return Ok(());
    };
    let held = || {
        let states = TaskState::Assigned..=TaskState::Running;
        state.tasks_on_node(id).filter(move |task| states.contains(&task.status.state))
    };
    let reserved = held().filter_map(|task| task.spec.resources.as_ref()?.reservations.as_ref());
    let cpus: i64 = reserved.map(|wish| wish.nano_cpus).sum();
    let has = about.resources.nano_cpus;
    require(cpus <= has, "RES-1", || format!("{cpus} nano CPUs of {has}"))?;
    let (mut pieces, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for task in held() {
        let piece = task.generic.iter().find(|piece| !pieces.insert((*piece).clone()));
        require(piece.is_none(), "RES-1", || format!("{piece:?} twice on a node"))?;
        let endpoint = task.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        let mut host = endpoint.filter(|port| port.mode == PublishMode::Host);
        let port = host.find(|port| !ports.insert(port.published));
        require(port.is_none(), "RES-1", || format!("{port:?} twice on a node"))?;
    }
    Ok(())
}

/// IPAM-2: no address of a cluster network and no published port of the cluster has two owners.
fn given_once(state: &State) -> Verdict {
    let mut addresses = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for service in state.services() {
        let Some(endpoint) = &service.endpoint else { continue };
        for address in endpoint.virtual_ips.iter().flat_map(|vip| {
            vip.addresses().map(|address| (vip.network, address)).collect::<Vec<_>>()
        }) {
            require(addresses.insert(address), "IPAM-2", || format!("{address:?} twice"))?;
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

/// CONV-1, when nothing has happened for long: what runs is what the specs ask for, in the store and on the nodes.
pub(crate) fn converged(model: &Model) -> Verdict {
    let state = &model.state;
    for service in state.services() {
        let name = &service.spec.annotations.name;
        let end = |what: String| {
            let from = model.trace.len().saturating_sub(60);
            let trace = model.trace[from..].to_vec();
            Err(Broken { id: "CONV-1", what: format!("{name}: {what}"), trace })
        };
        if service.removing {
            return end("a removed service is left".to_owned());
        }
        let tasks: Vec<_> = state.tasks_of_service(service.id).collect();
        let running: Vec<_> =
            tasks.iter().filter(|task| task.status.state == TaskState::Running).collect();
        let places: BTreeSet<_> = running.iter().filter_map(|task| Place::of(task)).collect();
        let suiting = state.nodes().filter(|node| enforcer::suits(&service.spec.task, node));
        let iteration = service.job.map(|job| job.iteration);
        let complete = tasks.iter().filter(|task| {
            task.status.state == TaskState::Complete && task.job_iteration == iteration
        });
        let (wanted, there) = match service.spec.mode {
            ServiceMode::Replicated { replicas } => (replicas.unwrap_or(1), places.len()),
            ServiceMode::Global => (suiting.count() as u64, places.len()),
            ServiceMode::ReplicatedJob { total_completions, .. } => {
                (total_completions.unwrap_or(1), complete.count())
            }
            ServiceMode::GlobalJob => (suiting.count() as u64, complete.count()),
        };
        if wanted != there as u64 || running.len() != places.len() {
            return end(format!("{there} instead of {wanted}, {:?}", service.update));
        }
        if let Some(old) = running.iter().find(|task| task.spec != service.spec.task) {
            return end(format!(
                "an old spec runs: {:?}, {:?}",
                old.spec.container.image, service.update
            ));
        }
    }
    for (node, worker) in &model.workers {
        let store: BTreeSet<_> = state
            .tasks_on_node(*node)
            .filter(|task| task.status.state == TaskState::Running)
            .map(|task| task.id)
            .collect();
        let real: BTreeSet<_> =
            worker.tasks.keys().copied().filter(|id| worker.runs(*id)).collect();
        require(store == real, "CONV-1", || format!("a node runs {real:?}, not {store:?}"))?;
    }
    Ok(())
}
