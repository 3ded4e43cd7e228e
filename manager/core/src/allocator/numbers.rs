//! Numbers that are handed out next-fit: VXLAN ids, mesh indexes, ports. One that was freed comes again only
//! after all others.

use std::collections::BTreeMap;

/// Numbers from `first` to `last` with their owners.
#[derive(Debug, Clone)]
pub(super) struct Numbers<O> {
    first: u32,
    last: u32,
    /// The one given last.
    cursor: u32,
    owners: BTreeMap<u32, O>,
}

impl<O: Copy + Eq> Numbers<O> {
    pub(super) fn new(first: u32, last: u32) -> Self {
        Self { first, last, cursor: first.saturating_sub(1), owners: BTreeMap::new() }
    }

    pub(super) fn owner(&self, number: u32) -> Option<O> {
        self.owners.get(&number).copied()
    }

    /// Goes on behind this number.
    pub(super) fn set_cursor(&mut self, number: u32) {
        self.cursor = number;
    }

    /// Records an owner. Numbers out of the range may be owned, but are never found. Of two owners, which
    /// only a fault brings about, the first stays.
    pub(super) fn hold(&mut self, number: u32, owner: O) {
        self.owners.entry(number).or_insert(owner);
    }

    /// Returns whether the number was the owner's.
    pub(super) fn release(&mut self, number: u32, owner: O) -> bool {
        let is_owner = self.owner(number) == Some(owner);
        if is_owner {
            self.owners.remove(&number);
        }
        is_owner
    }

    /// The next free number that `allowed` accepts; the cursor moves to it.
    pub(super) fn next(&mut self, allowed: impl Fn(u32) -> bool) -> Option<u32> {
        let start = if (self.first..self.last).contains(&self.cursor) {
            self.cursor + 1
        } else {
            self.first
        };
        let mut candidates = (start..=self.last).chain(self.first..start);
        let found =
            candidates.find(|number| !self.owners.contains_key(number) && allowed(*number))?;
        self.cursor = found;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_comes_again_last() {
        let mut numbers = Numbers::new(5, 7);
        let give = |numbers: &mut Numbers<u8>| {
            let next = numbers.next(|_| true)?;
            numbers.hold(next, 1);
            Some(next)
        };
        assert_eq!(give(&mut numbers), Some(5));
        assert!(numbers.release(5, 1));
        assert!(!numbers.release(5, 1));
        assert_eq!(give(&mut numbers), Some(6));
        assert_eq!(give(&mut numbers), Some(7));
        assert_eq!(give(&mut numbers), Some(5));
        assert_eq!(give(&mut numbers), None);
        assert!(!numbers.release(6, 2), "not the owner");
        assert!(numbers.release(6, 1));
        assert_eq!(numbers.next(|number| number != 6), None);
        assert_eq!(give(&mut numbers), Some(6));
    }

    #[test]
    fn numbers_out_of_the_range_are_only_owned() {
        let mut numbers = Numbers::new(10, 11);
        numbers.hold(3, 'a');
        numbers.hold(3, 'b');
        numbers.set_cursor(99);
        assert_eq!(numbers.owner(3), Some('a'));
        assert_eq!(numbers.next(|_| true), Some(10));
    }
}
