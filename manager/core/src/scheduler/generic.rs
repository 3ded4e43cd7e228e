//! Generic resources of a node: what is used, what still fits, which pieces a task gets.
//!
//! A kind is either counted (`Discrete`) or a set of named pieces on a node; a task asks for a number of
//! either, or for one piece by name.
//!
//! Source: swarmkit `api/genericresource/resource_management.go`.

use std::collections::{BTreeMap, BTreeSet};

use shoal_model::cluster::node::GenericResource;

/// What tasks on one node hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Used {
    discrete: BTreeMap<String, i64>,
    /// How many tasks hold a piece: more than one only where a node came back with fewer pieces.
    named: BTreeMap<(String, String), u32>,
}

impl Used {
    pub(super) fn add(&mut self, given: &[GenericResource]) {
        for resource in given {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    *self.discrete.entry(kind.clone()).or_default() += value;
                }
                GenericResource::Named { kind, value } => {
                    *self.named.entry((kind.clone(), value.clone())).or_default() += 1;
                }
            }
        }
    }

    pub(super) fn remove(&mut self, given: &[GenericResource]) {
        for resource in given {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    if let Some(used) = self.discrete.get_mut(kind) {
                        *used -= value;
                        if *used == 0 {
                            self.discrete.remove(kind);
                        }
                    }
                }
                GenericResource::Named { kind, value } => {
                    let piece = (kind.clone(), value.clone());
                    if let Some(holders) = self.named.get_mut(&piece) {
                        *holders -= 1;
                        if *holders == 0 {
                            self.named.remove(&piece);
                        }
                    }
                }
            }
        }
    }

    /// The pieces that a task gets of what the node declares; `None`: they do not fit.
    pub(super) fn claim(
        &self,
        declared: &[GenericResource],
        wishes: &[GenericResource],
    ) -> Option<Vec<GenericResource>> {
        if wishes.is_empty() {
            return Some(Vec::new());
        }
        let mut free = self.free(declared);
        let mut given = Vec::new();
        // Pieces asked for by name go first, or a number of the same kind could take them away.
        for wish in wishes {
            if let GenericResource::Named { kind, value } = wish {
                if !free.named.get_mut(kind.as_str())?.remove(value.as_str()) {
                    return None;
                }
                given.push(wish.clone());
            }
        }
        for wish in wishes {
            if let GenericResource::Discrete { kind, value } = wish {
                free.take(kind, *value, &mut given)?;
            }
        }
        Some(given)
    }

    fn free<'a>(&self, declared: &'a [GenericResource]) -> Free<'a> {
        let mut free = Free::default();
        for resource in declared {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    let amount = free
                        .discrete
                        .entry(kind)
                        .or_insert_with(|| -self.discrete.get(kind).copied().unwrap_or(0));
                    *amount += value;
                }
                GenericResource::Named { kind, value } => {
                    let pieces = free.named.entry(kind).or_default();
                    if !self.named.contains_key(&(kind.clone(), value.clone())) {
                        pieces.insert(value);
                    }
                }
            }
        }
        free
    }
}

#[derive(Debug, Default)]
struct Free<'a> {
    discrete: BTreeMap<&'a str, i64>,
    named: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl Free<'_> {
    fn take(&mut self, kind: &str, amount: i64, given: &mut Vec<GenericResource>) -> Option<()> {
        if amount <= 0 {
            return Some(());
        }
        if let Some(pieces) = self.named.get_mut(kind) {
            for _ in 0..amount {
                let value = pieces.pop_first()?.to_owned();
                given.push(GenericResource::Named { kind: kind.to_owned(), value });
            }
            return Some(());
        }
        let left = self.discrete.get_mut(kind).filter(|left| **left >= amount)?;
        *left -= amount;
        given.push(GenericResource::Discrete { kind: kind.to_owned(), value: amount });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(value: &str) -> GenericResource {
        GenericResource::Named { kind: "gpu".to_owned(), value: value.to_owned() }
    }

    fn discrete(kind: &str, value: i64) -> GenericResource {
        GenericResource::Discrete { kind: kind.to_owned(), value }
    }

    #[test]
    fn a_number_takes_named_pieces_in_order() {
        let declared = [named("a"), named("b"), named("c"), discrete("ssd", 2)];
        let mut used = Used::default();
        let given = used.claim(&declared, &[discrete("gpu", 1), discrete("ssd", 2)]).unwrap();
        assert_eq!(given, [named("a"), discrete("ssd", 2)]);
        used.add(&given);
        assert_eq!(used.claim(&declared, &[discrete("gpu", 3)]), None);
        assert_eq!(used.claim(&declared, &[discrete("ssd", 1)]), None);
        assert_eq!(
            used.claim(&declared, &[discrete("gpu", 1), named("b")]),
            Some(vec![named("b"), named("c")])
        );
        assert_eq!(used.claim(&declared, &[named("a")]), None);
        used.remove(&given);
        assert_eq!(used, Used::default());
    }

    #[test]
    fn wishes_of_one_kind_add_up_and_unknown_kinds_never_fit() {
        let used = Used::default();
        let declared = [discrete("ssd", 3)];
        assert_eq!(used.claim(&declared, &[discrete("ssd", 2), discrete("ssd", 2)]), None);
        assert_eq!(used.claim(&declared, &[discrete("fpga", 1)]), None);
        assert_eq!(used.claim(&declared, &[discrete("fpga", 0)]), Some(vec![]));
        assert_eq!(used.claim(&[], &[named("a")]), None);
    }
}
