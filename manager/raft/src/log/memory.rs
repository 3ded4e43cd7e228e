//! The live part of the log, in memory. Pure.

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

use crate::types::{Command, Entry, LogId, Payload};

/// Entries that are neither purged nor void, without holes.
#[derive(Debug, Default, Clone)]
pub(crate) struct Memory {
    entries: VecDeque<Entry>,
    /// Of each entry, the bytes of all up to it since the beginning.
    ends: VecDeque<u64>,
    /// Bytes of all entries that were purged.
    gone: u64,
    purged: Option<LogId>,
}

/// An entry does not follow the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {found} does not follow: {expected} is next")]
pub(crate) struct Gap {
    /// Its index.
    pub found: u64,
    /// The index that was due.
    pub expected: u64,
}

impl Memory {
    pub(crate) fn new(purged: Option<LogId>) -> Self {
        Self { purged, ..Self::default() }
    }

    pub(crate) const fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id).or(self.purged)
    }

    /// The index the next entry will have.
    pub(crate) fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index() + 1)
    }

    /// Index of the first entry that is here, or would be.
    fn first(&self) -> u64 {
        let first = self.entries.front().map(|entry| entry.log_id.index());
        first.unwrap_or_else(|| self.purged.map_or(0, |purged| purged.index() + 1))
    }

    /// Nothing was ever purged and nothing is here: consensus decides where the log begins.
    pub(crate) fn is_blank(&self) -> bool {
        self.purged.is_none() && self.entries.is_empty()
    }

    pub(crate) fn push(&mut self, entry: Entry) -> Result<(), Gap> {
        let (found, expected) = (entry.log_id.index(), self.next());
        if found != expected && !self.is_blank() {
            return Err(Gap { found, expected });
        }
        self.ends.push_back(self.end_before(self.ends.len()) + weight(&entry) as u64);
        self.entries.push_back(entry);
        Ok(())
    }

    /// Voids entries from index `next` on.
    pub(crate) fn truncate(&mut self, next: u64) {
        let keep = usize::try_from(next.saturating_sub(self.first())).unwrap_or(usize::MAX);
        self.entries.truncate(keep);
        self.ends.truncate(keep);
    }

    /// Forgets entries up to `upto`, which may lie behind the last one.
    pub(crate) fn purge(&mut self, upto: LogId) {
        if self.purged >= Some(upto) {
            return;
        }
        let count = (upto.index() + 1).saturating_sub(self.first());
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.entries.len());
        self.gone = self.end_before(count);
        self.entries.drain(..count);
        self.ends.drain(..count);
        self.purged = Some(upto);
    }

    /// Bytes of all entries before the one at a position.
    fn end_before(&self, position: usize) -> u64 {
        position.checked_sub(1).map_or(self.gone, |before| self.ends[before])
    }

    /// Bytes of the entries of `range` that are here.
    pub(crate) fn bytes(&self, range: &impl RangeBounds<u64>) -> u64 {
        let (start, end) = self.positions(range);
        self.end_before(end) - self.end_before(start)
    }

    /// Index of the first of the entries before `next` that take no more than `bytes` together; `next` when there is none.
    pub(crate) fn first_within(&self, next: u64, bytes: u64) -> u64 {
        let (_, end) = self.positions(&(..next));
        let too_early = self.end_before(end).saturating_sub(bytes);
        // An entry begins where the one before it ends.
        let first = if self.gone >= too_early {
            0
        } else {
            self.ends.partition_point(|end| *end < too_early) + 1
        };
        next.min(self.first() + first as u64)
    }

    /// Entries of `range` that are here, in order.
    pub(crate) fn range(&self, range: &impl RangeBounds<u64>) -> Vec<Entry> {
        let (start, end) = self.positions(range);
        self.entries.range(start..end).cloned().collect()
    }

    /// As [`Memory::range`], but stops before the entries exceed `limit` bytes; at least one.
    pub(crate) fn limited(&self, range: &impl RangeBounds<u64>, limit: usize) -> Vec<Entry> {
        let (start, end) = self.positions(range);
        let mut size = 0;
        let fits = self.entries.range(start..end).take_while(|entry| {
            let first = size == 0;
            size += weight(entry);
            first || size <= limit
        });
        fits.cloned().collect()
    }

    fn positions(&self, range: &impl RangeBounds<u64>) -> (usize, usize) {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let position = |index: u64| {
            let offset = index.saturating_sub(self.first());
            usize::try_from(offset).unwrap_or(usize::MAX).min(self.entries.len())
        };
        let start = position(start);
        (start, position(end).max(start))
    }
}

/// Bytes an entry takes, about.
fn weight(entry: &Entry) -> usize {
    const FIXED: usize = 40;
    match &entry.payload {
        Payload::Blank => FIXED,
        Payload::Normal(Command(bytes)) => FIXED + bytes.len(),
        Payload::Membership(membership) => FIXED + 80 * membership.nodes().count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LeaderId;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    fn filled(indexes: std::ops::Range<u64>) -> Memory {
        let purged = indexes.start.checked_sub(1).map(id);
        let mut memory = Memory::new(purged);
        for index in indexes {
            memory.push(Entry { log_id: id(index), payload: Payload::Blank }).unwrap();
        }
        memory
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index()).collect()
    }

    #[test]
    fn entries_follow_each_other() {
        let mut memory = filled(0..3);
        let gap = memory.push(Entry { log_id: id(4), payload: Payload::Blank });
        assert_eq!(gap, Err(Gap { found: 4, expected: 3 }));
    }

    #[test]
    fn ranges_are_clipped_to_what_is_here() {
        let memory = filled(5..8);
        assert_eq!(indexes(&memory.range(&(..))), [5, 6, 7]);
        assert_eq!(indexes(&memory.range(&(0..6))), [5]);
        assert_eq!(indexes(&memory.range(&(6..=9))), [6, 7]);
        assert_eq!(indexes(&memory.range(&(8..9))), [0; 0]);
        assert_eq!(indexes(&memory.limited(&(5..8), 80)), [5, 6]);
        assert_eq!(indexes(&memory.limited(&(5..8), 1)), [5]);
    }

    #[test]
    fn bytes_are_counted() {
        let mut memory = filled(5..8);
        assert_eq!(
            (memory.bytes(&(..)), memory.bytes(&(6..7)), memory.bytes(&(8..))),
            (120, 40, 0)
        );
        let first = |memory: &Memory, bytes| memory.first_within(8, bytes);
        assert_eq!(
            [0, 39, 40, 79, 80, 119, 120, 999].map(|bytes| first(&memory, bytes)),
            [8, 8, 7, 7, 6, 6, 5, 5]
        );
        assert_eq!((memory.first_within(7, 40), memory.first_within(3, 40)), (6, 3));
        memory.purge(id(5));
        assert_eq!((memory.bytes(&(..)), first(&memory, 40), first(&memory, 999)), (80, 7, 6));
        memory.truncate(7);
        assert_eq!((memory.bytes(&(..)), memory.bytes(&(..=5))), (40, 0));
        memory.purge(id(9));
        assert_eq!((memory.bytes(&(..)), memory.first_within(10, 40)), (0, 10));
    }

    #[test]
    fn purging_beyond_the_end_empties_the_log() {
        let mut memory = filled(0..3);
        memory.purge(id(9));
        assert_eq!((memory.last(), memory.next()), (Some(id(9)), 10));
        memory.purge(id(4));
        assert_eq!(memory.purged(), Some(id(9)), "never back");
    }

    #[test]
    fn truncation_keeps_what_is_before() {
        let mut memory = filled(5..8);
        memory.truncate(6);
        assert_eq!((indexes(&memory.range(&(..))), memory.next()), (vec![5], 6));
        memory.truncate(0);
        assert_eq!((memory.last(), memory.next()), (Some(id(4)), 5));
    }
}
