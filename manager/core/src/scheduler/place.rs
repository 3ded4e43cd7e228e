//! Finds nodes for the equal tasks of a group.
//!
//! The order of nodes: fewer failures of this service's version where they are many; spread preferences;
//! fewer tasks of the service; fewer tasks in all; more free resources; id. Nodes without tasks and
//! failures of the service come straight from the index, which is ordered by the rest; the others, and
//! those that just got a task, wait in a heap of the group. So a decision for a small group costs the few
//! nodes that are looked at, and one for a large group a logarithm of its nodes, whichever the size.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use shoal_model::Timestamp;
use shoal_model::cluster::task::{Filter, FilterVerdict};
use shoal_model::cluster::{NodeId, ServiceId, Version};

use super::demand::Demand;
use super::filter::{check, verdict};
use super::index::{Entry, Index, Position, Rank};
use crate::constraint::Key;

/// What tells the tasks of a group from others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) service: Option<ServiceId>,
    pub(super) version: Version,
    pub(super) demand: &'a Demand,
    pub(super) now: Timestamp,
}

/// The whole order of nodes for one group, within a branch of the spread tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    failures: u32,
    tasks: u32,
    rank: Rank,
}

impl Wish<'_> {
    pub(super) fn check(&self, index: &Index, entry: &Entry) -> Result<(), Filter> {
        check(index, entry, self.demand, self.service)
    }

    /// Counts all nodes by the first filter that turned them away.
    pub(super) fn verdict(&self, index: &Index) -> Vec<FilterVerdict> {
        verdict(index.nodes().filter_map(|entry| self.check(index, entry).err()))
    }

    fn failures(&self, entry: &Entry) -> u32 {
        self.service.map_or(0, |service| entry.failures(service, self.version, self.now))
    }

    fn tasks(&self, index: &Index, position: Position) -> u32 {
        self.service.map_or(0, |service| index.tasks_of(service, position))
    }

    /// `None`: a filter turns the node away.
    fn preference(&self, index: &Index, position: Position) -> Option<Preference> {
        let entry = index.entry(position);
        self.check(index, entry).ok()?;
        let failures = self.failures(entry);
        Some(Preference { failures, tasks: self.tasks(index, position), rank: entry.rank() })
    }
}

/// Gives nodes to up to `count` tasks: `assign` is told the node of each, must count it in the index, and
/// returns whether it did. The fewer calls than `count`, the fewer nodes there were.
pub(super) fn place(
    index: &mut Index,
    wish: Wish<'_>,
    count: usize,
    assign: &mut dyn FnMut(&mut Index, NodeId),
) {
    if wish.demand.spread.is_empty() {
        place_anywhere(index, wish, count, assign);
    } else {
        let placed = place_spread(index, wish, count, Health::Sound, assign);
        place_spread(index, wish, count - placed, Health::Failing, assign);
    }
}

fn place_anywhere(
    index: &mut Index,
    wish: Wish<'_>,
    count: usize,
    assign: &mut dyn FnMut(&mut Index, NodeId),
) {
    let mut heap = BinaryHeap::new();
    let mut fresh = Vec::new();
    let others = wish.service.and_then(|service| index.nodes_of(service));
    for rank in index.ranks() {
        if fresh.len() == count {
            break;
        }
        if others.is_some_and(|others| others.contains_key(&rank.position)) {
            continue;
        }
        let entry = index.entry(rank.position);
        if wish.check(index, entry).is_err() {
            continue;
        }
        match wish.failures(entry) {
            0 => fresh.push(rank.position),
            failures => heap.push(Reverse(Preference { failures, tasks: 0, rank: *rank })),
        }
    }
    let more = fresh.len() < count;
    if more {
        let others = others.into_iter().flat_map(BTreeMap::keys);
        heap.extend(others.filter_map(|position| wish.preference(index, *position)).map(Reverse));
    }
    let mut left = count - fresh.len();
    for position in fresh {
        assign(index, index.entry(position).id);
        if more {
            heap.extend(wish.preference(index, position).map(Reverse));
        }
    }
    while left > 0
        && let Some(Reverse(best)) = heap.pop()
    {
        left -= 1;
        assign(index, best.rank.id);
        heap.extend(wish.preference(index, best.rank.position).map(Reverse));
    }
}

/// Which nodes a spread tree holds: those where the service fails often come after all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Sound,
    Failing,
}

/// Spreads over the values of labels. Returns how many tasks got a node.
fn place_spread(
    index: &mut Index,
    wish: Wish<'_>,
    count: usize,
    health: Health,
    assign: &mut dyn FnMut(&mut Index, NodeId),
) -> usize {
    if count == 0 {
        return 0;
    }
    let mut tree = Branch::default();
    for entry in index.nodes() {
        let preference = wish
            .preference(index, entry.position)
            .filter(|preference| (preference.failures == 0) == (health == Health::Sound));
        let tasks = u64::from(wish.tasks(index, entry.position));
        if preference.is_none() && tasks == 0 {
            continue;
        }
        tree.insert(&path(entry, &wish.demand.spread), tasks, preference);
    }
    let mut placed = 0;
    while placed < count
        && let Some(best) = tree.best()
    {
        let position = best.rank.position;
        assign(index, best.rank.id);
        tree.replace_best(wish.preference(index, position));
        placed += 1;
    }
    placed
}

/// The values of the labels that tasks are spread over; a node without one has the empty value.
fn path(entry: &Entry, spread: &[Key]) -> Vec<String> {
    let node = entry.node.as_deref();
    spread.iter().map(|key| node.map(|node| key.value(node)).unwrap_or_default()).collect()
}

/// One value of a label, with all nodes that have it; or, at the bottom, the nodes themselves.
#[derive(Debug, Default)]
struct Branch {
    /// Tasks of the service on all nodes of the branch, those that take no more tasks included.
    tasks: u64,
    branches: BTreeMap<String, Branch>,
    nodes: BinaryHeap<Reverse<Preference>>,
    /// Where the next task goes; `None`: no node of the branch takes one.
    next: Option<Preference>,
}

impl Branch {
    fn insert(&mut self, path: &[String], tasks: u64, preference: Option<Preference>) {
        self.tasks += tasks;
        match path.split_first() {
            Some((value, rest)) => {
                let branch = self.branches.entry(value.clone()).or_default();
                branch.insert(rest, tasks, preference);
            }
            None => self.nodes.extend(preference.map(Reverse)),
        }
        self.next = None;
    }

    /// The branch with the fewest tasks among those that take one; of equal ones that with the best node.
    fn choose(&mut self) -> Option<&mut Self> {
        let branches = self.branches.values_mut();
        let open = branches.filter_map(|branch| Some(((branch.tasks, branch.best()?), branch)));
        open.min_by_key(|(order, _)| *order).map(|(_, branch)| branch)
    }

    fn best(&mut self) -> Option<Preference> {
        if self.next.is_none() {
            self.next = if self.branches.is_empty() {
                self.nodes.peek().map(|Reverse(best)| *best)
            } else {
                self.choose().and_then(Self::best)
            };
        }
        self.next
    }

    /// Counts a task on the best node, and puts the node back as it is now, if it takes another one.
    fn replace_best(&mut self, preference: Option<Preference>) {
        self.tasks += 1;
        if self.branches.is_empty() {
            self.nodes.pop();
            self.nodes.extend(preference.map(Reverse));
        } else if let Some(branch) = self.choose() {
            branch.replace_best(preference);
        }
        self.next = None;
    }
}
