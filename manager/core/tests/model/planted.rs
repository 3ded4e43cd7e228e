//! Bugs that are planted, so that each check is seen to fail.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use shoal_manager_core::store::{Change, Diff, Event};
use shoal_model::cluster::task::RestartHistory;
use shoal_model::cluster::{NodeId, Service, Task, TaskId, TaskState};

use crate::cluster::{Author, Model};
use crate::operations;

/// Histories that are tried until a bug shows.
const HISTORIES: u64 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A report moves a task back.
    Back,
    /// The allocator places tasks.
    Usurper,
    /// A task is assigned to no node.
    Nowhere,
    /// A task is observed as removed.
    ObservedRemove,
    /// A running task changes its node.
    Mover,
    /// A task is made for a service that is not there.
    Stranger,
    /// Tasks are deleted although they run.
    Hasty,
    /// Tasks are made twice.
    Twin,
    /// Successors start before their predecessors stopped.
    Early,
    /// The updater changes the spec.
    Editor,
    /// An update ignores its parallelism.
    Eager,
    /// The scheduler looks at no resources.
    Overbook,
    /// The scheduler looks at nothing.
    Blind,
    /// Every task gets the same address.
    SameAddress,
    /// Successors do not inherit when they may start.
    Forgetful,
    /// Attempts are remembered that do not count.
    Hoarder,
    /// Events about tasks wake nobody.
    MissedWake,
    /// Prepared tasks are never started.
    Lazy,
}

const ALL: [(Bug, &str); 18] = [
    (Bug::Back, "TASK-1"),
    (Bug::Usurper, "TASK-2"),
    (Bug::Nowhere, "TASK-3"),
    (Bug::ObservedRemove, "TASK-4"),
    (Bug::Mover, "TASK-5"),
    (Bug::Stranger, "TASK-6"),
    (Bug::Hasty, "TASK-7"),
    (Bug::Twin, "SLOT-1"),
    (Bug::Early, "SLOT-2"),
    (Bug::Editor, "SPEC-1"),
    (Bug::Eager, "UPDATE-1"),
    (Bug::Overbook, "RES-1"),
    (Bug::Blind, "FIT-1"),
    (Bug::SameAddress, "IPAM-2"),
    (Bug::Forgetful, "RESTART-1"),
    (Bug::Hoarder, "HIST-2"),
    (Bug::MissedWake, "WAKE-1"),
    (Bug::Lazy, "CONV-1"),
];

impl Bug {
    /// What the planner with this bug would have committed.
    pub(crate) fn in_changes(
        self,
        model: &Model,
        author: Author,
        changes: Vec<Change>,
    ) -> Vec<Change> {
        let mut twins = Vec::new();
        let changed = changes.into_iter().filter_map(|change| match (self, author, change) {
            (Self::Usurper, Author::Allocator, Change::EditTask(task)) => {
                let node = task.node.or_else(|| model.workers.keys().next().copied());
                Some(edited(task, |task| {
                    (task.node, task.status.state) = (node, TaskState::Assigned)
                }))
            }
            (Self::Nowhere, Author::Scheduler, Change::EditTask(task)) => {
                let is_global = task.slot.0 == 0;
                Some(edited(task, |task| task.node = task.node.filter(|_| is_global)))
            }
            (Self::Overbook | Self::Blind, Author::Scheduler, Change::EditTask(task)) => {
                let node = self.favourite(model).filter(|_| task.slot.0 > 0).or(task.node);
                Some(edited(task, |task| task.node = node))
            }
            (
                Self::Hasty,
                Author::Orchestrator,
                Change::TaskDesired { task, desired: TaskState::Remove },
            ) => Some(Change::RemoveTask(task)),
            (Self::Twin, Author::Orchestrator, Change::PutTask(task)) => {
                let mut bytes = task.id.to_bytes();
                bytes[0] ^= 1;
                twins.push(Change::PutTask(Arc::new(Task {
                    id: TaskId::from_bytes(bytes),
                    ..Task::clone(&task)
                })));
                Some(Change::PutTask(task))
            }
            (Self::Early, Author::Orchestrator, Change::PutTask(task)) => {
                Some(put(task, |task| task.desired = TaskState::Running))
            }
            (Self::Forgetful, Author::Orchestrator, Change::PutTask(task)) => {
                Some(put(task, |task| {
                    let predecessor = task.history.predecessor;
                    task.history = RestartHistory { predecessor, ..RestartHistory::default() };
                }))
            }
            (Self::Hoarder, Author::Orchestrator, Change::PutTask(task)) => {
                let at = model.now;
                Some(put(task, |task| task.history.attempts.extend([at; 4])))
            }
            (Self::Editor, Author::Orchestrator, Change::PutService(service)) => {
                let mut service = Service::clone(&service);
                service.spec.annotations.labels.insert("edited".to_owned(), String::new());
                Some(Change::PutService(Arc::new(service)))
            }
            (Self::Eager, Author::User, Change::PutService(service)) => {
                let mut service = Service::clone(&service);
                service.spec.update.get_or_insert_default().parallelism = 0;
                Some(Change::PutService(Arc::new(service)))
            }
            (Self::SameAddress, Author::Allocator, Change::EditTask(task)) => {
                Some(edited(task, |task| {
                    for attachment in &mut task.networks {
                        attachment.addresses = vec!["10.0.1.77/24".parse().expect("an address")];
                    }
                }))
            }
            (
                Self::Lazy,
                Author::Orchestrator,
                Change::TaskDesired { desired: TaskState::Running, .. },
            ) => None,
            (_, _, change) => Some(change),
        });
        let mut changed: Vec<_> = changed.collect();
        changed.append(&mut twins);
        changed
    }

    /// The node that gets everything.
    fn favourite(self, model: &Model) -> Option<NodeId> {
        match self {
            Self::Blind => model.workers.keys().next_back().copied(),
            _ => {
                let open = |id: &&NodeId| {
                    model
                        .state
                        .node(**id)
                        .is_some_and(|node| shoal_manager_core::orchestrator::board::is_open(node))
                };
                model.workers.keys().find(open).copied()
            }
        }
    }

    /// What a store with this bug would have let through.
    pub(crate) fn in_events(self, author: Author, events: &mut [Event]) {
        for event in events {
            let Event::Task(diff) = event else { continue };
            let is_created = diff.old.is_none();
            match self {
                Self::Back if author == Author::Worker => {
                    let Diff { old: Some(old), new: Some(new) } = diff else { continue };
                    std::mem::swap(old, new);
                }
                Self::ObservedRemove if author == Author::Worker => {
                    change(diff, |task| task.status.state = TaskState::Remove);
                }
                Self::Mover if author == Author::Worker => {
                    change(diff, |task| task.node = Some(NodeId::from_bytes([0xee; 16])));
                }
                Self::Stranger if is_created => {
                    change(diff, |task| task.service = Some(operations::stranger()));
                }
                _ => {}
            }
        }
    }
}

fn change(diff: &mut Diff<Task>, change: impl FnOnce(&mut Task)) {
    if let Some(new) = &mut diff.new {
        change(Arc::make_mut(new));
    }
}

fn edited(mut task: Arc<Task>, change: impl FnOnce(&mut Task)) -> Change {
    change(Arc::make_mut(&mut task));
    Change::EditTask(task)
}

fn put(mut task: Arc<Task>, change: impl FnOnce(&mut Task)) -> Change {
    change(Arc::make_mut(&mut task));
    Change::PutTask(task)
}

/// Each bug shows as what it breaks, in some of a number of histories that are the same in every run.
#[test]
fn every_check_finds_the_bug_that_is_planted_for_it() {
    for (bug, expected) in ALL {
        let mut runner = TestRunner::deterministic();
        let strategy = proptest::collection::vec(operations::one(), 40..80);
        let mut found = BTreeSet::new();
        for seed in 0..HISTORIES {
            let ops = strategy.new_tree(&mut runner).expect("operations").current();
            if let Err(broken) = crate::history(seed, &ops, Some(bug)) {
                found.insert(broken.id);
            }
            if found.contains(expected) {
                break;
            }
        }
        assert!(found.contains(expected), "{bug:?} was not found by {expected}, but by {found:?}");
    }
}
