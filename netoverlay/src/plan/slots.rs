//! Backends in numbered slots, so that a change of one takes a handful of set elements whatever else there is. Pure.
//!
//! A backend that leaves gives its slot to the last one; one that comes takes the next. What was not touched stays
//! where it is, unless the service changes its class: then all its elements move to another map. Established connections do
//! not look at the slots.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::diff::Change;
use super::overlay::{self, Backends, Class};
use super::ruleset::Data;

/// The backends of one network, in their slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots(Backends);

/// What leads from one state of the slots to the next, the same in every namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Of elements.
    pub changes: Vec<Change>,
    /// Classes that there must be before.
    pub classes: BTreeSet<Class>,
    /// Virtual addresses and the backends that they no longer have.
    pub lost: BTreeSet<(IpAddr, IpAddr)>,
}

impl Slots {
    /// The backends by slot.
    pub fn backends(&self) -> &Backends {
        &self.0
    }

    /// Goes on to what is wanted of these virtual addresses; the others stay.
    pub fn follow(&mut self, wanted: &Backends, vips: &BTreeSet<IpAddr>) -> Step {
        let mut step = Step::default();
        let mut elements = Elements::default();
        for vip in vips.iter().copied() {
            let before = self.0.get(&vip).map(Vec::as_slice).unwrap_or_default();
            let now = wanted.get(&vip).map(Vec::as_slice).unwrap_or_default();
            if before == now {
                continue;
            }
            let after = rearranged(before, now);
            let kept: BTreeSet<&IpAddr> = after.iter().collect();
            let lost = before.iter().filter(|address| !kept.contains(address));
            step.lost.extend(lost.map(|address| (vip, *address)));
            elements.differ(vip, before, &after);
            if !after.is_empty() {
                step.classes.insert(Class::of(vip, &after));
            }
            match after.is_empty() {
                true => self.0.remove(&vip),
                false => self.0.insert(vip, after),
            };
        }
        step.changes = elements.changes();
        step
    }
}

/// The wanted backends, each where it was as far as that goes.
fn rearranged(before: &[IpAddr], wanted: &[IpAddr]) -> Vec<IpAddr> {
    let wish: BTreeSet<&IpAddr> = wanted.iter().collect();
    let mut after = before.to_vec();
    let mut slot = 0;
    while slot < after.len() {
        if wish.contains(&after[slot]) {
            slot += 1;
        } else {
            after.swap_remove(slot);
        }
    }
    let kept: BTreeSet<IpAddr> = after.iter().copied().collect();
    after.extend(wanted.iter().filter(|address| !kept.contains(address)));
    after
}

/// Elements by map.
#[derive(Debug, Default)]
struct Elements {
    removed: BTreeMap<String, Vec<Vec<u8>>>,
    added: BTreeMap<String, Vec<(Vec<u8>, Data)>>,
}

impl Elements {
    fn differ(&mut self, vip: IpAddr, before: &[IpAddr], after: &[IpAddr]) {
        let (left, joined) = (Class::of(vip, before), Class::of(vip, after));
        let stays = left == joined;
        for slot in 0..before.len().max(after.len()) {
            let (old, new) = (before.get(slot), after.get(slot));
            if stays && old == new {
                continue;
            }
            let key = overlay::slot_key(vip, slot);
            if old.is_some() {
                self.removed.entry(left.map()).or_default().push(key.clone());
            }
            if let Some(new) = new {
                let data = Data::Bytes(overlay::bytes(*new));
                self.added.entry(joined.map()).or_default().push((key, data));
            }
        }
    }

    fn changes(self) -> Vec<Change> {
        let removed = self.removed.into_iter();
        let added = self.added.into_iter();
        removed
            .map(|(map, keys)| Change::RemoveElements { map, keys })
            .chain(added.map(|(map, elements)| Change::AddElements { map, elements }))
            .collect()
    }
}

/// What makes classes that are not there.
pub fn classes(missing: impl IntoIterator<Item = Class>) -> Vec<Change> {
    let mut changes = Vec::new();
    for class in missing {
        let (key, data) = class.types();
        changes.push(Change::CreateMap { map: class.map(), key, data });
        let rules = class.rules().into_iter();
        changes
            .extend(rules.map(|rule| Change::AddRule { chain: overlay::CHAIN.to_owned(), rule }));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn backends(list: &[(&str, &[&str])]) -> Backends {
        let one = |(vip, addresses): &(&str, &[&str])| {
            (address(vip), addresses.iter().map(|one| address(one)).collect())
        };
        list.iter().map(one).collect()
    }

    /// Elements as they are after a step; a step that does not fit panics.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Table(BTreeMap<String, BTreeMap<Vec<u8>, Data>>);

    impl Table {
        fn of(backends: &Backends) -> Self {
            let maps = overlay::balancing(backends).maps.into_iter();
            let filled = maps.filter(|(_, map)| !map.elements.is_empty());
            Self(filled.map(|(name, map)| (name, map.elements)).collect())
        }

        fn take(&mut self, step: &Step) {
            for change in &step.changes {
                match change {
                    Change::RemoveElements { map, keys } => {
                        let elements = self.0.get_mut(map).unwrap();
                        keys.iter().for_each(|key| drop(elements.remove(key).unwrap()));
                    }
                    Change::AddElements { map, elements } => {
                        let there = self.0.entry(map.clone()).or_default();
                        for (key, data) in elements {
                            assert!(there.insert(key.clone(), data.clone()).is_none());
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            self.0.retain(|_, elements| !elements.is_empty());
        }
    }

    #[test]
    fn a_large_service_seldom_changes_its_class() {
        let vip = address("10.0.1.2");
        let all: Vec<IpAddr> = (0..=200).map(|number| [10, 0, 2, number].into()).collect();
        let wanted = |count: usize| Backends::from([(vip, all[..count].to_vec())]);
        let mut slots = Slots::default();
        slots.follow(&wanted(1), &[vip].into());
        let mut moves = Vec::new();
        for count in 2..=200 {
            let step = slots.follow(&wanted(count), &[vip].into());
            match &step.changes[..] {
                [Change::AddElements { elements, .. }] => assert_eq!(elements.len(), 1),
                _ => moves.push(count),
            }
        }
        let grown = [21, 26, 32, 39, 48, 59, 73, 91, 113, 141, 176];
        let expected: Vec<usize> = (2..=17).chain(grown).collect();
        assert_eq!(moves, expected);
    }

    #[test]
    fn one_backend_less_gives_its_slot_to_the_last() {
        let vips = ["10.0.1.2", "10.0.1.3"];
        let list: [&[&str]; 2] = [&["10.0.1.5", "10.0.1.6", "10.0.1.7"], &["10.0.1.8"]];
        let mut slots = Slots::default();
        let both = vips.map(address).into();
        slots.follow(&backends(&[(vips[0], list[0]), (vips[1], list[1])]), &both);
        let wanted = backends(&[(vips[0], &["10.0.1.6", "10.0.1.7"])]);
        let step = slots.follow(&wanted, &[address(vips[0])].into());
        let key = |slot| overlay::slot_key(address(vips[0]), slot);
        let data = |last| Data::Bytes(vec![10, 0, 1, last]);
        let expected = Step {
            changes: vec![
                Change::RemoveElements { map: "lb4_3".to_owned(), keys: (0..3).map(key).collect() },
                Change::AddElements {
                    map: "lb4_2".to_owned(),
                    elements: vec![(key(0), data(7)), (key(1), data(6))],
                },
            ],
            classes: [Class::of(address(vips[0]), &[address(vips[0]); 2])].into(),
            lost: [(address(vips[0]), address("10.0.1.5"))].into(),
        };
        assert_eq!(step, expected);
        assert_eq!(slots.follow(&slots.clone().0, &both), Step::default(), "the same again");
    }

    proptest::proptest! {
        #[test]
        fn steps_lead_to_the_table_of_the_slots(
            states in proptest::collection::vec(
                proptest::collection::btree_map(
                    0_u8..5,
                    proptest::collection::btree_set(10_u8..20, 1..6),
                    0..5,
                ),
                1..10,
            )
        ) {
            let (mut slots, mut table) = (Slots::default(), Table::default());
            for state in states {
                let one = |(vip, list): (u8, BTreeSet<u8>)| {
                    let family = vip % 2 == 0;
                    let address = |number: u8| -> IpAddr {
                        match family {
                            true => [10, 0, 0, number].into(),
                            false => [0xfd, 0, 0, 0, 0, 0, 0, u16::from(number)].into(),
                        }
                    };
                    (address(vip), list.into_iter().map(address).collect())
                };
                let wanted: Backends = state.into_iter().map(one).collect();
                let vips = slots.backends().keys().chain(wanted.keys()).copied().collect();
                table.take(&slots.follow(&wanted, &vips));
                proptest::prop_assert_eq!(&table, &Table::of(slots.backends()));
                let sorted = |backends: &Backends| -> BTreeMap<IpAddr, BTreeSet<IpAddr>> {
                    let one = |(vip, list): (&IpAddr, &Vec<IpAddr>)| {
                        (*vip, list.iter().copied().collect())
                    };
                    backends.iter().map(one).collect()
                };
                proptest::prop_assert_eq!(sorted(slots.backends()), sorted(&wanted));
            }
        }
    }
}
