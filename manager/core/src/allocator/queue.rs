//! What is to be decided, and what waits for a cause.

use std::collections::{BTreeMap, BTreeSet};

use shoal_model::cluster::{ClusterNetworkId, NodeId, ServiceId, TaskId};

use super::error::Cause;

/// What something is given to. In the order in which they are decided: tasks need their service, and both
/// need their networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Network(ClusterNetworkId),
    Service(ServiceId),
    Node(NodeId),
    Task(TaskId),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    due: BTreeSet<Subject>,
    parked: BTreeMap<Subject, Cause>,
    by_cause: BTreeMap<Cause, BTreeSet<Subject>>,
}

impl Queue {
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Subject> {
        self.due.pop_first()
    }

    pub(super) fn is_parked(&self, subject: Subject) -> bool {
        self.parked.contains_key(&subject)
    }

    pub(super) fn add(&mut self, subject: Subject) {
        self.remove(subject);
        self.due.insert(subject);
    }

    pub(super) fn remove(&mut self, subject: Subject) {
        self.due.remove(&subject);
        if let Some(cause) = self.parked.remove(&subject)
            && let Some(subjects) = self.by_cause.get_mut(&cause)
        {
            subjects.remove(&subject);
            if subjects.is_empty() {
                self.by_cause.remove(&cause);
            }
        }
    }

    /// Puts a subject aside until its cause is woken, or it is added anew.
    pub(super) fn park(&mut self, subject: Subject, cause: Cause) {
        self.remove(subject);
        self.parked.insert(subject, cause);
        self.by_cause.entry(cause).or_default().insert(subject);
    }

    pub(super) fn wake(&mut self, cause: Cause) {
        for subject in self.by_cause.remove(&cause).unwrap_or_default() {
            self.parked.remove(&subject);
            self.due.insert(subject);
        }
    }
}
