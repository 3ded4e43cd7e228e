//! The objects of one kind.

use std::ops::Bound;
use std::sync::Arc;

use super::Object;
use super::tree::Tree;

/// The objects of one kind, by id.
#[derive(Clone)]
pub(super) struct Table<T: Object>(Tree<T::Id, Arc<T>>);

impl<T: Object> Default for Table<T> {
    fn default() -> Self {
        Self(Tree::default())
    }
}

impl<T: Object> Table<T> {
    pub(super) fn get(&self, id: T::Id) -> Option<&Arc<T>> {
        self.0.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.iter().map(|(_, object)| object)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those with ids after `id`, in order; `None`: all.
    pub(super) fn after(&self, id: Option<T::Id>) -> impl Iterator<Item = &Arc<T>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range((from, Bound::Unbounded)).map(|(_, object)| object)
    }

    /// Those with `id` or a later one, in order.
    pub(super) fn from(&self, id: T::Id) -> impl Iterator<Item = &Arc<T>> {
        self.0.range((Bound::Included(id), Bound::Unbounded)).map(|(_, object)| object)
    }

    /// Puts `new` in the place of `old`; either may be absent.
    pub(super) fn replace(&mut self, old: Option<&Arc<T>>, new: Option<&Arc<T>>) {
        match (old, new) {
            (_, Some(new)) => {
                self.0.insert(new.id(), Arc::clone(new));
            }
            (Some(old), None) => {
                self.0.remove(&old.id());
            }
            (None, None) => {}
        }
    }
}
