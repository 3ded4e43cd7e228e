//! What is true after every transaction, and at the end. The names are those of docs/INVARIANTS.md.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use shoal_manager_core::invariants as shared;
use shoal_manager_core::orchestrator::Place;
use shoal_manager_core::store::{Diff, Event, State};
use shoal_manager_core::update;
use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::service::{UpdateState, UpdateStatus};
use shoal_model::cluster::{Service, Task, TaskState};

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

impl From<shared::Broken> for Broken {
    fn from(broken: shared::Broken) -> Self {
        Self::new(broken.id, broken.what)
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
                shared::forward(diff)?;
                owners(author, diff)?;
                shared::placed(&model.state, diff)?;
                shared::removal(before, diff)?;
                shared::history(diff)?;
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
        Author::Allocator => Ok(shared::given_once(&model.state)?),
        Author::User | Author::Orchestrator | Author::Worker | Author::Liveness => Ok(()),
    }
}

/// TASK-2: each step is made by its owner.
fn owners(author: Author, diff: &Diff<Task>) -> Verdict {
    use TaskState::{Assigned, New, Orphaned, Pending};
    let owner = match (&diff.old, &diff.new) {
        (None, Some(new)) if !is_made_right(new) => {
            return Err(Broken::new("TASK-2", format!("{author:?} made {new:?}")));
        }
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

/// A new task waits for the allocator, unless that has nothing to give.
fn is_made_right(task: &Task) -> bool {
    match task.status.state {
        TaskState::New => true,
        TaskState::Pending => task.networks.is_empty() && task.endpoint.is_some(),
        _ => false,
    }
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
    let runs = |task: &Task| {
        task.node
            .filter(|node| !model.suspect.contains(node))
            .is_some_and(|node| model.workers.get(&node).is_some_and(|worker| worker.runs(task.id)))
    };
    Ok(shared::one_per_place(&model.state, service, most, runs)?)
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
        shared::fits(&model.state, before, node, new)?;
    }
    nodes.into_iter().try_for_each(|node| Ok(shared::holds(&model.state, node)?))
}

/// CONV-1, when nothing has happened for long: what runs is what the specs ask for, in the store and on the nodes.
pub(crate) fn converged(model: &Model) -> Verdict {
    let state = &model.state;
    for service in state.services() {
        if let Err(broken) = shared::converged(state, service) {
            let from = model.trace.len().saturating_sub(60);
            let trace = model.trace[from..].to_vec();
            return Err(Broken { id: broken.id, what: broken.what, trace });
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
