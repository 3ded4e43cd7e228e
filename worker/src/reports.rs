//! Statuses on their way to a manager: the newest of each task, until it is acknowledged. Pure.

use std::collections::{BTreeMap, BTreeSet};

use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{TaskId, TaskState};

/// Statuses per call.
pub const BATCH_MAX: usize = 1000;

/// What is reported of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was observed.
    pub status: TaskStatus,
    /// How often the worker ran it again by itself.
    pub runs: u32,
}

impl Report {
    /// Whether managers wait for this state. The others are steps on the way to one of these, and soon replaced.
    fn is_urgent(&self) -> bool {
        match self.status.state {
            TaskState::New
            | TaskState::Pending
            | TaskState::Assigned
            | TaskState::Accepted
            | TaskState::Preparing
            | TaskState::Starting => false,
            TaskState::Ready
            | TaskState::Running
            | TaskState::Complete
            | TaskState::Shutdown
            | TaskState::Failed
            | TaskState::Rejected
            | TaskState::Remove
            | TaskState::Orphaned => true,
        }
    }
}

/// How soon what waits is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Nothing waits.
    Idle,
    /// Only steps on the way.
    Lazy,
    /// A state that managers wait for.
    Urgent,
}

/// Statuses that no manager has acknowledged.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: BTreeMap<TaskId, (u64, Report)>,
    /// Those of them that managers wait for.
    urgent: BTreeSet<TaskId>,
    next: u64,
}

/// One call's worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// With the number that tells whether it is still the newest when it is acknowledged.
    pub reports: Vec<(TaskId, u64, Report)>,
}

impl Reports {
    /// Takes the newest report of a task in, in place of an older one.
    pub fn put(&mut self, task: TaskId, report: Report) {
        self.next += 1;
        if report.is_urgent() {
            self.urgent.insert(task);
        }
        self.waiting.insert(task, (self.next, report));
    }

    /// The task is gone; nobody wants to know any more.
    pub fn forget(&mut self, task: TaskId) {
        self.waiting.remove(&task);
        self.urgent.remove(&task);
    }

    /// How soon what waits is to be sent.
    pub fn urgency(&self) -> Urgency {
        match (self.waiting.is_empty(), self.urgent.is_empty()) {
            (true, _) => Urgency::Idle,
            (false, true) => Urgency::Lazy,
            (false, false) => Urgency::Urgent,
        }
    }

    /// The oldest reports, at most [`BATCH_MAX`]. They stay until acknowledged.
    pub fn batch(&self) -> Batch {
        let mut reports: Vec<_> = self.waiting.iter().collect();
        reports.sort_by_key(|(_, (number, _))| *number);
        reports.truncate(BATCH_MAX);
        let owned =
            |(task, (number, report)): (&TaskId, &(u64, Report))| (*task, *number, report.clone());
        Batch { reports: reports.into_iter().map(owned).collect() }
    }

    /// A manager has taken the batch; what changed meanwhile stays.
    pub fn acknowledge(&mut self, batch: &Batch) {
        for (task, number, _) in &batch.reports {
            if self.waiting.get(task).is_some_and(|(newest, _)| newest == number) {
                self.forget(*task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::TaskState;

    use super::*;

    fn report(state: TaskState) -> Report {
        Report { status: TaskStatus { state, ..TaskStatus::default() }, runs: 0 }
    }

    fn states(batch: &Batch) -> Vec<(u8, TaskState)> {
        let show =
            |(task, _, report): &(TaskId, u64, Report)| (task.to_bytes()[0], report.status.state);
        batch.reports.iter().map(show).collect()
    }

    #[test]
    fn the_newest_is_sent_until_it_is_acknowledged() {
        let (one, two) = (TaskId::from_bytes([1; 16]), TaskId::from_bytes([2; 16]));
        let mut reports = Reports::default();
        reports.put(one, report(TaskState::Preparing));
        reports.put(two, report(TaskState::Ready));
        reports.put(one, report(TaskState::Ready));
        let batch = reports.batch();
        assert_eq!(states(&batch), [(2, TaskState::Ready), (1, TaskState::Ready)]);
        assert_eq!(reports.batch(), batch, "a lost batch is sent again");
        reports.put(one, report(TaskState::Running));
        reports.acknowledge(&batch);
        assert_eq!(states(&reports.batch()), [(1, TaskState::Running)]);
        reports.forget(one);
        assert_eq!(reports.urgency(), Urgency::Idle);
    }

    #[test]
    fn steps_on_the_way_wait_for_what_they_lead_to() {
        let (one, two) = (TaskId::from_bytes([1; 16]), TaskId::from_bytes([2; 16]));
        let mut reports = Reports::default();
        assert_eq!(reports.urgency(), Urgency::Idle);
        reports.put(one, report(TaskState::Preparing));
        reports.put(two, report(TaskState::Starting));
        assert_eq!(reports.urgency(), Urgency::Lazy);
        reports.put(one, report(TaskState::Running));
        assert_eq!(reports.urgency(), Urgency::Urgent);
        let batch = reports.batch();
        assert_eq!(states(&batch), [(2, TaskState::Starting), (1, TaskState::Running)]);
        reports.put(two, report(TaskState::Failed));
        reports.acknowledge(&batch);
        assert_eq!(reports.urgency(), Urgency::Urgent, "the second one failed meanwhile");
        reports.acknowledge(&reports.batch());
        assert_eq!(reports.urgency(), Urgency::Idle);
    }
}
