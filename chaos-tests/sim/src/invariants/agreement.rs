//! RAFT-1: every manager applies the same entry at an index.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use shoal_manager_core::invariants::{Verdict, require};
use shoal_manager_core::store::watch::Batch;

/// Entries that are remembered: far more than a manager falls behind without a snapshot.
const KEPT: usize = 4096;

/// What was applied.
#[derive(Debug, Default)]
pub struct Agreement {
    known: BTreeMap<u64, (u8, u64)>,
}

impl Agreement {
    /// A manager applied an entry.
    ///
    /// # Errors
    /// When another one applied something else there.
    pub fn applied(&mut self, number: u8, batch: &Batch) -> Verdict {
        let mut hasher = DefaultHasher::new();
        hasher.write(format!("{:?}", batch.events).as_bytes());
        let content = hasher.finish();
        let version = batch.version.0;
        let (first, known) = *self.known.entry(version).or_insert((number, content));
        while self.known.len() > KEPT {
            self.known.pop_first();
        }
        require(known == content, "RAFT-1", || {
            format!("manager {number} applies something else at {version} than manager {first}")
        })
    }
}
