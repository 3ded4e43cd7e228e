//! Finds nodes for the equal tasks of a group.
//!
//! The order of nodes: fewer failures of this service's version where they are many; spread preferences;
//! fewer tasks of the service; fewer tasks in all; more free resources; the image at hand; id. Nodes without tasks and
//! failures of the service come straight from the index, which is ordered by the rest; the others, and
//! those that just got a task, wait in a heap of the group. So a decision for a small group costs the few
//! nodes that are looked at, and one for a large group a logarithm of its nodes, whichever the size.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::ops::Bound;

use shoal_model::Timestamp;
use shoal_model::cluster::task::{Filter, FilterVerdict};
use shoal_model::cluster::{NodeId, ServiceId, Version};

use super::demand::Demand;
use super::filter::{check, verdict};
use super::index::{Entry, Index, Position, Rank};
use super::spread::{Health, place_spread};

/// Of nodes that are otherwise equal, so many are looked at for one that has the image.
const IMAGE_LOOKS_MAX: usize = 64;

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
pub(super) struct Preference {
    pub(super) failures: u32,
    tasks: u32,
    all_tasks: u32,
    free: Reverse<u32>,
    lacks_image: bool,
    pub(super) id: NodeId,
    pub(super) position: Position,
}

impl Wish<'_> {
    pub(super) fn check(&self, index: &Index, entry: &Entry) -> Result<(), Filter> {
        check(index, entry, self.demand, self.service)
    }

    /// Counts all nodes by the first filter that turned them away.
    pub(super) fn verdict(&self, index: &Index) -> Vec<FilterVerdict> {
        verdict(index.nodes().filter_map(|entry| self.check(index, entry).err()))
    }

    fn tasks(&self, index: &Index, position: Position) -> u32 {
        self.service.map_or(0, |service| index.tasks_of(service, position))
    }

    /// The nodes with tasks of the service, and how many.
    pub(super) fn others<'a>(
        &self,
        index: &'a Index,
    ) -> impl Iterator<Item = (Position, u32)> + use<'a> {
        let nodes = self.service.and_then(|service| index.nodes_of(service));
        nodes.into_iter().flatten().map(|(position, tasks)| (*position, *tasks))
    }

    /// `None`: a filter turns the node away.
    pub(super) fn preference(&self, index: &Index, position: Position) -> Option<Preference> {
        let entry = index.entry(position);
        self.check(index, entry).ok()?;
        let failures =
            self.service.map_or(0, |service| entry.failures(service, self.version, self.now));
        let Rank { tasks: all_tasks, free, id, position } = entry.rank();
        let lacks_image = self.demand.image.is_some_and(|image| !entry.has_image(image));
        let tasks = self.tasks(index, position);
        Some(Preference { failures, tasks, all_tasks, free, lacks_image, id, position })
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
    let mut left = count;
    let mut fresh = Fresh::default();
    while left > 0
        && let Some(best) = fresh.next(index.ranks(), index, wish)
    {
        left -= 1;
        assign(index, best.id);
    }
    if left == 0 {
        return;
    }
    // No node is without tasks and failures any more: those with tasks are the rest.
    let others = wish.others(index).filter_map(|(position, _)| wish.preference(index, position));
    let mut heap: BinaryHeap<_> = others.chain(fresh.failing).map(Reverse).collect();
    while left > 0
        && let Some(Reverse(best)) = heap.pop()
    {
        left -= 1;
        assign(index, best.id);
        heap.extend(wish.preference(index, best.position).map(Reverse));
    }
}

/// Goes through an order of the index, best node first, and finds those without tasks and failures of the service.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    after: Option<Rank>,
    found: VecDeque<Preference>,
    /// Those that were passed because the service fails there.
    failing: Vec<Preference>,
}

impl Fresh {
    /// The next one. A node that was given a task since is passed: it has a task of the service.
    pub(super) fn next(
        &mut self,
        order: &BTreeSet<Rank>,
        index: &Index,
        wish: Wish<'_>,
    ) -> Option<Preference> {
        if self.found.is_empty() {
            self.look(order, index, wish);
        }
        self.found.pop_front()
    }

    /// Finds one node, or several that differ in the image only, in the order in which they are taken.
    fn look(&mut self, order: &BTreeSet<Rank>, index: &Index, wish: Wish<'_>) {
        let from = self.after.map_or(Bound::Unbounded, Bound::Excluded);
        let looks = if wish.demand.image.is_none() { 1 } else { IMAGE_LOOKS_MAX };
        let mut found = Vec::new();
        for rank in order.range((from, Bound::Unbounded)) {
            let is_equal =
                |first: &Preference| (first.all_tasks, first.free) == (rank.tasks, rank.free);
            if found.len() == looks || !found.first().is_none_or(is_equal) {
                break;
            }
            self.after = Some(*rank);
            if wish.tasks(index, rank.position) > 0 {
                continue;
            }
            match wish.preference(index, rank.position) {
                Some(failing) if failing.failures > 0 => self.failing.push(failing),
                preference => found.extend(preference),
            }
        }
        found.sort_unstable();
        self.found = found.into();
    }
}
