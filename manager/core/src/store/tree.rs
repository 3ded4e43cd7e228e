//! Persistent ordered maps and sets: a clone costs a reference count, and a change of one copies a path of the other.
//!
//! A B+ tree: entries are in leaves of the same depth, each in a vector of its own. Finding, changing and beginning a
//! range cost the logarithm of the size; the store begins a range for almost every question it is asked.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Most entries of a leaf, and children of a branch. A change copies as many while a view is held.
const WIDTH: usize = 64;
/// A node with fewer looks for a neighbour to join.
const FEW: usize = WIDTH / 4;
/// Nodes that are joined have room left.
const JOINED: usize = WIDTH * 3 / 4;

/// Ordered map.
#[derive(Debug, Clone)]
pub(super) struct Tree<K, V> {
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

#[derive(Debug, Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    /// Each child with a key that is not above any of its own, and above all of the child before.
    Branch(Vec<(K, Arc<Node<K, V>>)>),
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Tree<K, V> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
                    return Some(&entries[at].1);
                }
                Node::Branch(children) => {
                    let behind = children.partition_point(|(first, _)| first <= key);
                    node = &children[behind.checked_sub(1)?].1;
                }
            }
        }
    }

    /// Puts a value in the place of what the key had.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Node::Leaf(vec![(key, value)])));
            self.len = 1;
            return;
        };
        let (new, split) = insert(root, key, value);
        self.len += usize::from(new);
        if let Some(split) = split {
            let left = (root.first().clone(), Arc::clone(root));
            self.root = Some(Arc::new(Node::Branch(vec![left, split])));
        }
    }

    /// Forgets a key; one that is not there is fine.
    pub(super) fn remove(&mut self, key: &K) {
        // What is not there must not cost a copy.
        if self.get(key).is_none() {
            return;
        }
        let Some(root) = &mut self.root else { return };
        remove(root, key);
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
        }
        while let Some(Node::Branch(children)) = self.root.as_deref() {
            match &children[..] {
                [(_, only)] => self.root = Some(Arc::clone(only)),
                _ => return,
            }
        }
    }

    /// The entries within bounds, in order.
    pub(super) fn range(&self, bounds: impl RangeBounds<K>) -> Range<'_, K, V> {
        let mut range = Range {
            above: Vec::with_capacity(4),
            leaf: [].iter(),
            end: bounds.end_bound().cloned(),
        };
        let is_before = |key: &K| match bounds.start_bound() {
            Bound::Included(start) => key < start,
            Bound::Excluded(start) => key <= start,
            Bound::Unbounded => false,
        };
        let mut next = self.root.as_deref();
        while let Some(node) = next {
            next = match node {
                Node::Leaf(entries) => {
                    range.leaf =
                        entries[entries.partition_point(|(key, _)| is_before(key))..].iter();
                    None
                }
                Node::Branch(children) => {
                    let behind = children.partition_point(|(first, _)| is_before(first));
                    let mut rest = children[behind.saturating_sub(1)..].iter();
                    let child = rest.next().map(|(_, child)| child.as_ref());
                    range.above.push(rest);
                    child
                }
            };
        }
        range
    }

    /// All entries, in order.
    pub(super) fn iter(&self) -> Range<'_, K, V> {
        self.range(..)
    }
}

impl<K, V> Node<K, V> {
    /// A key that is not above any in it.
    fn first(&self) -> &K {
        match self {
            Self::Leaf(entries) => &entries.first().expect("only a root is ever empty").0,
            Self::Branch(children) => &children.first().expect("a branch has children").0,
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch(children) => children.len(),
        }
    }
}

/// A new neighbour to the right, with its lower bound.
type Split<K, V> = Option<(K, Arc<Node<K, V>>)>;

/// Says whether the key is new, and what no longer fitted.
fn insert<K: Ord + Clone, V: Clone>(
    node: &mut Arc<Node<K, V>>,
    key: K,
    value: V,
) -> (bool, Split<K, V>) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => match entries.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) => {
                entries[at].1 = value;
                (false, None)
            }
            Err(at) => {
                grow(entries);
                entries.insert(at, (key, value));
                let right = split(entries);
                (true, right.map(|right| (right[0].0.clone(), Arc::new(Node::Leaf(right)))))
            }
        },
        Node::Branch(children) => {
            let behind = children.partition_point(|(first, _)| *first <= key);
            let at = behind.saturating_sub(1);
            if behind == 0 {
                children[0].0 = key.clone();
            }
            let (new, added) = insert(&mut children[at].1, key, value);
            let right = added.and_then(|added| {
                grow(children);
                children.insert(at + 1, added);
                split(children)
            });
            (new, right.map(|right| (right[0].0.clone(), Arc::new(Node::Branch(right)))))
        }
    }
}

/// Makes room for one more, and not for many: most nodes stay as they are.
fn grow<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 4).clamp(4, WIDTH / 4));
    }
}

fn split<T>(items: &mut Vec<T>) -> Option<Vec<T>> {
    if items.len() <= WIDTH {
        return None;
    }
    let right = items.split_off(items.len() / 2);
    items.shrink_to_fit();
    Some(right)
}

/// Removes a key that is there.
fn remove<K: Ord + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, key: &K) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => {
            let found = entries.binary_search_by(|(known, _)| known.cmp(key));
            entries.remove(found.expect("it was looked up before"));
        }
        Node::Branch(children) => {
            let behind = children.partition_point(|(first, _)| first <= key);
            let at = behind.checked_sub(1).expect("it was looked up before");
            remove(&mut children[at].1, key);
            let left = children[at].1.len();
            if left == 0 {
                children.remove(at);
            } else if left < FEW {
                join(children, at.min(children.len().saturating_sub(2)));
            }
        }
    }
}

/// Joins a child with the one behind it, if there is one and both fit well into one.
fn join<K: Clone, V: Clone>(children: &mut Vec<(K, Arc<Node<K, V>>)>, at: usize) {
    let joined = children.get(at + 1).map(|(_, right)| children[at].1.len() + right.len());
    if joined.is_none_or(|joined| joined > JOINED) {
        return;
    }
    let (_, right) = children.remove(at + 1);
    match (Arc::make_mut(&mut children[at].1), Arc::unwrap_or_clone(right)) {
        (Node::Leaf(left), Node::Leaf(mut right)) => left.append(&mut right),
        (Node::Branch(left), Node::Branch(mut right)) => left.append(&mut right),
        _ => unreachable!("all leaves have the same depth"),
    }
}

/// Children that are still to be walked.
type Rest<'a, K, V> = std::slice::Iter<'a, (K, Arc<Node<K, V>>)>;

/// Entries in order.
#[derive(Debug)]
pub(super) struct Range<'a, K, V> {
    /// Of the branches above the leaf, from the root on.
    above: Vec<Rest<'a, K, V>>,
    leaf: std::slice::Iter<'a, (K, V)>,
    end: Bound<K>,
}

impl<'a, K: Ord, V> Iterator for Range<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                let is_within = match &self.end {
                    Bound::Included(end) => key <= end,
                    Bound::Excluded(end) => key < end,
                    Bound::Unbounded => true,
                };
                if is_within {
                    return Some((key, value));
                }
                self.above.clear();
                self.leaf = [].iter();
                return None;
            }
            // The next child of the deepest branch that has one.
            let Some((_, child)) = self.above.last_mut()?.next() else {
                self.above.pop();
                continue;
            };
            let mut child = child.as_ref();
            while let Node::Branch(children) = child {
                let mut rest = children.iter();
                let (_, first) = rest.next()?;
                self.above.push(rest);
                child = first;
            }
            if let Node::Leaf(entries) = child {
                self.leaf = entries.iter();
            }
        }
    }
}

#[cfg(test)]
impl<K: Ord + Clone, V: Clone + PartialEq> PartialEq for Tree<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// Ordered set.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(PartialEq))]
pub(super) struct Keys<K: Ord + Clone>(Tree<K, ()>);

impl<K: Ord + Clone> Default for Keys<K> {
    fn default() -> Self {
        Self(Tree::default())
    }
}

impl<K: Ord + Clone> Keys<K> {
    pub(super) fn insert(&mut self, key: K) {
        self.0.insert(key, ());
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// The keys within bounds, in order.
    pub(super) fn range(&self, bounds: impl RangeBounds<K>) -> impl Iterator<Item = &K> {
        self.0.range(bounds).map(|(key, ())| key)
    }
}

#[cfg(test)]
mod tests;
