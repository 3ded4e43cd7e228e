//! Tasks that wait for a node, in groups of equal ones; which groups are due, and what wakes the others.

use std::collections::{BTreeMap, BTreeSet};

use shoal_model::Timestamp;
use shoal_model::cluster::task::{Filter, FilterVerdict, Slot};
use shoal_model::cluster::{NodeId, ServiceId, Task, TaskId, Version};

use super::demand::host_ports;
use super::index::Freed;

/// Names a group. All its tasks ask the same of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) service: Option<ServiceId>,
    pub(super) version: Version,
    /// `Some`: that node or none.
    pub(super) node: Option<NodeId>,
    /// A task without a service is a group of its own.
    task: Option<TaskId>,
    /// What the allocator gave and the scheduler looks at: host ports and networks.
    shape: u64,
}

impl Group {
    fn of(task: &Task) -> Self {
        let alone = task.service.is_none().then_some(task.id);
        Self {
            service: task.service,
            version: task.spec_version,
            node: task.node,
            task: alone,
            shape: shape(task),
        }
    }
}

/// FNV-1a: the same on every machine and in every run.
fn shape(task: &Task) -> u64 {
    let networks = task.networks.iter().flat_map(|network| network.network.to_bytes());
    let ports = host_ports(task.endpoint.as_deref());
    let ports = ports.flat_map(|(protocol, port)| {
        let [high, low] = port.to_be_bytes();
        [protocol as u8, high, low]
    });
    networks.chain(ports).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[derive(Debug, Clone, Default)]
struct Waiting {
    tasks: BTreeSet<(Slot, TaskId)>,
    /// When the oldest was created.
    since: Timestamp,
    /// Where the next plan goes on.
    after: Option<(Slot, TaskId)>,
    /// Filters that turned nodes away.
    filters: BTreeSet<Filter>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    groups: BTreeMap<Group, Waiting>,
    by_task: BTreeMap<TaskId, (Group, Slot)>,
    due: BTreeSet<(Timestamp, Group)>,
    aside: BTreeSet<Group>,
    /// Due, but some of their tasks were refused already.
    begun: BTreeSet<Group>,
}

impl Queue {
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The group with the oldest task among those that are due.
    pub(super) fn first_due(&self) -> Option<Group> {
        self.due.first().map(|(_, group)| *group)
    }

    /// Adds a task; one that is there already stays as it is, and so does its group.
    pub(super) fn add(&mut self, task: &Task) {
        let group = Group::of(task);
        match self.by_task.get(&task.id) {
            Some((known, _)) if *known == group => return,
            Some(_) => self.remove(task.id),
            None => {}
        }
        self.by_task.insert(task.id, (group, task.slot));
        let waiting = self.groups.entry(group).or_default();
        self.due.remove(&(waiting.since, group));
        if waiting.tasks.is_empty() || task.meta.created < waiting.since {
            waiting.since = task.meta.created;
        }
        waiting.tasks.insert((task.slot, task.id));
        self.make_due(group);
    }

    pub(super) fn remove(&mut self, task: TaskId) {
        let Some((group, slot)) = self.by_task.remove(&task) else { return };
        let Some(waiting) = self.groups.get_mut(&group) else { return };
        waiting.tasks.remove(&(slot, task));
        if waiting.tasks.is_empty() {
            self.due.remove(&(waiting.since, group));
            self.aside.remove(&group);
            self.begun.remove(&group);
            self.groups.remove(&group);
        }
    }

    /// The next tasks of a group, in the order of their slots.
    pub(super) fn next_of(&self, group: Group, count: usize) -> Vec<TaskId> {
        let Some(waiting) = self.groups.get(&group) else { return Vec::new() };
        let from = waiting.after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = waiting.tasks.range((from, std::ops::Bound::Unbounded));
        range.take(count).map(|(_, task)| *task).collect()
    }

    /// Tasks up to `last` were refused: the next plan goes on behind it. When it was the last of all, the
    /// group waits until something helps.
    pub(super) fn refused(&mut self, group: Group, last: TaskId, verdict: &[FilterVerdict]) {
        let Some(waiting) = self.groups.get_mut(&group) else { return };
        waiting.after = self.by_task.get(&last).map(|(_, slot)| (*slot, last));
        waiting.filters.extend(verdict.iter().map(|verdict| verdict.filter));
        self.begun.insert(group);
        self.finish(group);
    }

    /// Puts a group aside when all its tasks were looked at. Those behind the last refused one may have gone.
    pub(super) fn finish(&mut self, group: Group) {
        if !self.next_of(group, 1).is_empty() {
            return;
        }
        let Some(waiting) = self.groups.get(&group) else { return };
        self.due.remove(&(waiting.since, group));
        self.begun.remove(&group);
        self.aside.insert(group);
    }

    /// Makes those groups due that what was freed could help.
    pub(super) fn wake(&mut self, freed: &Freed) {
        if *freed == Freed::default() {
            return;
        }
        let refused = self.aside.iter().chain(&self.begun).copied();
        let helped: Vec<_> = refused.filter(|group| self.is_helped(*group, freed)).collect();
        for group in helped {
            self.make_due(group);
        }
    }

    fn is_helped(&self, group: Group, freed: &Freed) -> bool {
        let Some(waiting) = self.groups.get(&group) else { return false };
        let needs = |filter| waiting.filters.contains(&filter);
        if let Some(node) = group.node
            && !freed.nodes.contains(&node)
            && !freed.room.contains(&node)
        {
            return needs(Filter::MaxReplicas) && is_freed(group, freed);
        }
        !freed.nodes.is_empty()
            || (!freed.room.is_empty() && (needs(Filter::Resources) || needs(Filter::HostPorts)))
            || (needs(Filter::MaxReplicas) && is_freed(group, freed))
    }

    fn make_due(&mut self, group: Group) {
        let Some(waiting) = self.groups.get_mut(&group) else { return };
        waiting.after = None;
        waiting.filters.clear();
        self.due.insert((waiting.since, group));
        self.begun.remove(&group);
        self.aside.remove(&group);
    }
}

fn is_freed(group: Group, freed: &Freed) -> bool {
    group.service.is_some_and(|service| freed.services.contains(&service))
}
