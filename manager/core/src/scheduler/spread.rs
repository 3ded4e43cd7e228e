//! Spreads tasks over the values of labels.
//!
//! [`Spreads`] keeps the nodes by value for each list of labels that was asked for lately, each value's nodes in the
//! order of the index. A decision then costs the values and the nodes that are looked at, not all nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use shoal_model::cluster::{Node, NodeId};

use super::index::{Index, Position, Rank};
use super::place::{Fresh, Preference, Wish};
use crate::constraint::Key;

/// Lists of labels that are kept; the one that was not asked for longest goes first.
const LISTS_MAX: usize = 8;

/// The nodes by the values of labels.
#[derive(Debug, Clone, Default)]
pub(super) struct Spreads {
    lists: BTreeMap<Vec<Key>, Values>,
    asked: u64,
}

/// The nodes by the values of one list of labels.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    asked: u64,
    numbers: BTreeMap<Vec<String>, usize>,
    /// Ready nodes, best first, by number of the values.
    orders: Vec<BTreeSet<Rank>>,
    /// All nodes of the store.
    of_node: BTreeMap<Position, usize>,
}

impl Spreads {
    /// Whether a list is kept; it counts as asked for.
    pub(super) fn ask(&mut self, labels: &[Key]) -> bool {
        self.asked += 1;
        let asked = self.asked;
        self.lists.get_mut(labels).map(|values| values.asked = asked).is_some()
    }

    /// Keeps a list from now on.
    pub(super) fn keep(&mut self, labels: Vec<Key>, mut values: Values) {
        if self.lists.len() >= LISTS_MAX {
            let oldest = self.lists.iter().min_by_key(|(_, values)| values.asked);
            if let Some(oldest) = oldest.map(|(labels, _)| labels.clone()) {
                self.lists.remove(&oldest);
            }
        }
        values.asked = self.asked;
        self.lists.insert(labels, values);
    }

    pub(super) fn get(&self, labels: &[Key]) -> Option<&Values> {
        self.lists.get(labels)
    }

    /// A node has other labels, or is gone. It must not be ranked meanwhile.
    pub(super) fn set_node(&mut self, position: Position, node: Option<&Node>) {
        for (labels, values) in &mut self.lists {
            values.set_node(labels, position, node);
        }
    }

    pub(super) fn rank(&mut self, rank: Rank) {
        for values in self.lists.values_mut() {
            values.rank(rank);
        }
    }

    pub(super) fn unrank(&mut self, rank: Rank) {
        for values in self.lists.values_mut() {
            if let Some(number) = values.of_node.get(&rank.position) {
                values.orders[*number].remove(&rank);
            }
        }
    }
}

#[cfg(test)]
impl Spreads {
    pub(super) fn all(&self, check: impl Fn(&[Key], &Values) -> bool) -> bool {
        self.lists.iter().all(|(labels, values)| check(labels, values))
    }
}

#[cfg(test)]
impl Values {
    /// Regardless of numbers, and of values that no node has any more.
    pub(super) fn is_equal(&self, other: &Self) -> bool {
        let orders = |values: &Self| {
            let orders = values
                .numbers
                .iter()
                .map(|(path, number)| (path.clone(), values.orders[*number].clone()));
            orders.filter(|(_, order)| !order.is_empty()).collect::<BTreeMap<_, _>>()
        };
        orders(self) == orders(other) && self.of_node.keys().eq(other.of_node.keys())
    }
}

impl Values {
    pub(super) fn set_node(&mut self, labels: &[Key], position: Position, node: Option<&Node>) {
        let Some(node) = node else {
            self.of_node.remove(&position);
            return;
        };
        // A node without a label has the empty value.
        let path: Vec<String> = labels.iter().map(|key| key.value(node)).collect();
        let next = self.orders.len();
        let number = *self.numbers.entry(path).or_insert(next);
        if number == next {
            self.orders.push(BTreeSet::new());
        }
        self.of_node.insert(position, number);
    }

    pub(super) fn rank(&mut self, rank: Rank) {
        if let Some(number) = self.of_node.get(&rank.position) {
            self.orders[*number].insert(rank);
        }
    }
}

/// Which nodes get tasks: those where the service fails often come after all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Sound,
    Failing,
}

/// Spreads up to `count` tasks. Returns how many got a node.
pub(super) fn place_spread(
    index: &mut Index,
    wish: Wish<'_>,
    count: usize,
    health: Health,
    assign: &mut dyn FnMut(&mut Index, NodeId),
) -> usize {
    if count == 0 {
        return 0;
    }
    index.keep_spread(&wish.demand.spread);
    let mut tree = tree(index, wish, health);
    let mut best = tree.begin(index, wish);
    let mut placed = 0;
    while placed < count
        && let Some(node) = best
    {
        assign(index, node.id);
        placed += 1;
        best = tree.count(index, wish, wish.preference(index, node.position));
    }
    placed
}

fn tree(index: &Index, wish: Wish<'_>, health: Health) -> Branch {
    let mut tree = Branch::default();
    let Some(values) = index.spread(&wish.demand.spread) else { return tree };
    let mut paths = vec![&[] as &[String]; values.orders.len()];
    for (path, number) in &values.numbers {
        paths[*number] = path;
        tree.leaf(path).source = (health == Health::Sound).then(|| (*number, Fresh::default()));
    }
    let path_of = |position| values.of_node.get(&position).map(|number| paths[*number]);
    let suits = |preference: &Preference| (preference.failures == 0) == (health == Health::Sound);
    for (position, tasks) in wish.others(index) {
        let Some(path) = path_of(position) else { continue };
        tree.add(path, u64::from(tasks));
        let preference = wish.preference(index, position).filter(suits);
        tree.leaf(path).nodes.extend(preference.map(Reverse));
    }
    if health == Health::Failing {
        let others: BTreeSet<_> = wish.others(index).map(|(position, _)| position).collect();
        for entry in index.nodes().filter(|entry| !others.contains(&entry.position)) {
            let preference = wish.preference(index, entry.position).filter(suits);
            if let (Some(preference), Some(path)) = (preference, path_of(entry.position)) {
                tree.leaf(path).nodes.push(Reverse(preference));
            }
        }
    }
    tree
}

/// One value of a label with the values of the next, or, at the bottom, the nodes themselves.
#[derive(Debug, Default)]
struct Branch {
    /// Tasks of the service on all nodes of the branch, those that take no more tasks included.
    tasks: u64,
    numbers: BTreeMap<String, usize>,
    branches: Vec<Branch>,
    /// Branches that take a task: that with the fewest first, of equal ones that with the best node.
    order: BTreeSet<(u64, Preference, usize)>,
    leaf: Leaf,
}

/// The nodes of a branch at the bottom.
#[derive(Debug, Default)]
struct Leaf {
    /// Nodes without tasks of the service; `None`: there are none to look for.
    source: Option<(usize, Fresh)>,
    /// The best of them, which is not in `nodes`.
    fresh: Option<Preference>,
    /// The others.
    nodes: BinaryHeap<Reverse<Preference>>,
}

impl Leaf {
    /// Takes the best node out.
    fn take(&mut self, index: &Index, wish: Wish<'_>) -> Option<Preference> {
        if self.fresh.is_none()
            && let Some((number, source)) = &mut self.source
        {
            let values = index.spread(&wish.demand.spread)?;
            self.fresh = source.next(&values.orders[*number], index, wish);
        }
        let other = self.nodes.peek().map(|Reverse(best)| *best);
        match (self.fresh, other) {
            (Some(fresh), other) if other.is_none_or(|other| fresh < other) => self.fresh.take(),
            _ => self.nodes.pop().map(|Reverse(best)| best),
        }
    }
}

impl Branch {
    fn leaf(&mut self, path: &[String]) -> &mut Leaf {
        match path.split_first() {
            None => &mut self.leaf,
            Some((value, rest)) => {
                let next = self.branches.len();
                let number = *self.numbers.entry(value.clone()).or_insert(next);
                if number == next {
                    self.branches.push(Self::default());
                }
                self.branches[number].leaf(rest)
            }
        }
    }

    /// Counts tasks that are there already.
    fn add(&mut self, path: &[String], tasks: u64) {
        self.tasks += tasks;
        if let Some((value, rest)) = path.split_first()
            && let Some(number) = self.numbers.get(value)
        {
            self.branches[*number].add(rest, tasks);
        }
    }

    /// Orders the branches; where the first task goes.
    fn begin(&mut self, index: &Index, wish: Wish<'_>) -> Option<Preference> {
        if self.branches.is_empty() {
            return self.leaf.take(index, wish);
        }
        for (number, branch) in self.branches.iter_mut().enumerate() {
            if let Some(best) = branch.begin(index, wish) {
                self.order.insert((branch.tasks, best, number));
            }
        }
        self.best()
    }

    /// Counts a task on the node that was best, and puts the node back as it is now, if it takes another one. Gives the
    /// node of the next task.
    fn count(
        &mut self,
        index: &Index,
        wish: Wish<'_>,
        again: Option<Preference>,
    ) -> Option<Preference> {
        self.tasks += 1;
        if self.branches.is_empty() {
            self.leaf.nodes.extend(again.map(Reverse));
            return self.leaf.take(index, wish);
        }
        if let Some((_, _, number)) = self.order.pop_first() {
            let branch = &mut self.branches[number];
            if let Some(best) = branch.count(index, wish, again) {
                self.order.insert((branch.tasks, best, number));
            }
        }
        self.best()
    }

    fn best(&self) -> Option<Preference> {
        self.order.first().map(|(_, best, _)| *best)
    }
}
