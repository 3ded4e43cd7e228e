//! Persistent ordered maps.

use std::ops::Bound;
use std::sync::Arc;

use immutable_chunkmap::map::Map;
use immutable_chunkmap::set::Set;

use super::Object;

/// Entries per chunk: a change copies one chunk when a view of it is held.
pub(super) const CHUNK: usize = 64;

/// Ordered set of keys.
pub(super) type Keys<K> = Set<K, CHUNK>;
/// Ordered map.
pub(super) type Tree<K, V> = Map<K, V, CHUNK>;

/// The objects of one kind, by id.
#[derive(Clone)]
pub(super) struct Table<T: Object>(Tree<T::Id, Arc<T>>);

impl<T: Object> Default for Table<T> {
    fn default() -> Self {
        Self(Tree::new())
    }
}

impl<T: Object> Table<T> {
    pub(super) fn get(&self, id: T::Id) -> Option<&Arc<T>> {
        self.0.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        (&self.0).into_iter().map(|(_, object)| object)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those with ids after `id`, in order; `None`: all.
    pub(super) fn after(&self, id: Option<T::Id>) -> impl Iterator<Item = &Arc<T>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range((from, Bound::Unbounded)).map(|(_, object)| object)
    }

    /// Puts `new` in the place of `old`; either may be absent.
    pub(super) fn replace(&mut self, old: Option<&Arc<T>>, new: Option<&Arc<T>>) {
        match (old, new) {
            (_, Some(new)) => {
                self.0.insert_cow(new.id(), Arc::clone(new));
            }
            (Some(old), None) => {
                self.0.remove_cow(&old.id());
            }
            (None, None) => {}
        }
    }
}
