//! How far a node that is being drained has come.
//!
//! Pure. The moving itself is the restart supervisor's: it keeps the update order of each service.

use std::sync::Arc;

use shoal_model::cluster::node::Availability;
use shoal_model::cluster::report::DrainReport;
use shoal_model::cluster::{NodeId, Task, TaskState};

use crate::explain::{node_name, task_name};
use crate::orchestrator::board::{is_lost, is_wanted};
use crate::store::State;

/// What is left on a node that is being drained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Run on until their successors run elsewhere.
    pub waiting: Vec<Arc<Task>>,
    /// Were told to stop and have not stopped yet.
    pub stopping: Vec<Arc<Task>>,
}

impl Progress {
    /// Whether the node is empty.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.stopping.is_empty()
    }
}

/// The tasks that a node still holds. Attachments of plain containers are not the cluster's to move.
pub fn progress(state: &State, node: NodeId) -> Progress {
    let mut progress = Progress::default();
    for task in state.tasks_on_node(node) {
        let holds = task.status.state >= TaskState::Assigned && !task.status.state.is_terminal();
        if task.service.is_none() || !holds {
            continue;
        }
        if is_wanted(task) {
            progress.waiting.push(Arc::clone(task));
        } else {
            progress.stopping.push(Arc::clone(task));
        }
    }
    progress
}

/// The same in words; `None`: there is no such node. What a node that is down was told to stop counts as stopped, as
/// for the tasks that take its place.
pub fn report(state: &State, id: NodeId) -> Option<DrainReport> {
    let node = state.node(id)?;
    let Progress { waiting, stopping } = progress(state, id);
    let stopping = if is_lost(node) { Vec::new() } else { stopping };
    let names = |tasks: &[Arc<Task>]| {
        let name = |task: &Arc<Task>| {
            let service = task.service.and_then(|service| state.service(service));
            service.map_or_else(|| task.id.to_string(), |service| task_name(service, task))
        };
        let mut names: Vec<_> = tasks.iter().map(name).collect();
        names.sort();
        names
    };
    Some(DrainReport {
        node: id,
        hostname: node_name(state, id),
        draining: node.spec.availability == Availability::Drain,
        waiting: names(&waiting),
        stopping: names(&stopping),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::samples;
    use crate::store::{Change, Transaction};

    #[test]
    fn what_a_node_still_holds_is_told_apart() {
        let node = samples::node(1);
        let at = |number, state, desired| {
            let mut task = samples::task(number, 1, number);
            (task.node, task.status.state, task.desired) = (Some(node.id), state, desired);
            task
        };
        let runs = at(1, TaskState::Running, TaskState::Running);
        let stops = at(2, TaskState::Running, TaskState::Shutdown);
        let stopped = at(3, TaskState::Shutdown, TaskState::Shutdown);
        let mut attachment = at(4, TaskState::Running, TaskState::Running);
        attachment.service = None;
        let tasks = [runs, stops, stopped, attachment].map(|task| Change::PutTask(Arc::new(task)));
        let service = Change::PutService(Arc::new(samples::service(1, "web")));
        let changes = [Change::PutNode(Arc::new(node.clone())), service].into_iter().chain(tasks);
        let mut state = State::default();
        let transaction = Transaction { changes: changes.collect(), ..Transaction::default() };
        state.apply(1, &transaction).unwrap();

        let progress = progress(&state, node.id);
        let slots = |tasks: &[Arc<Task>]| tasks.iter().map(|task| task.slot.0).collect::<Vec<_>>();
        assert_eq!((slots(&progress.waiting), slots(&progress.stopping)), (vec![1], vec![2]));
        assert!(!progress.is_done());
        let report = report(&state, node.id).unwrap();
        assert_eq!(
            (report.hostname.as_str(), report.waiting, report.stopping),
            ("n1", vec!["web.1".to_owned()], vec!["web.2".to_owned()])
        );
        assert!(super::progress(&state, samples::node(2).id).is_done());
    }
}
