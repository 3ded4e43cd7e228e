//! RAFT-1: every manager applies the same entry at an index.

use std::collections::BTreeMap;

use shoal_manager_core::invariants::{Verdict, require};
use shoal_manager_core::store::watch::Batch;
use shoal_manager_core::store::{Diff, Event};

/// Entries that are remembered: far more than a manager falls behind without a snapshot.
const KEPT: usize = 4096;

/// What was applied.
#[derive(Debug, Default)]
pub struct Agreement {
    known: BTreeMap<u64, (u8, Vec<Event>)>,
}

impl Agreement {
    /// A manager applied an entry.
    ///
    /// # Errors
    /// When another one applied something else there.
    pub fn applied(&mut self, number: u8, batch: &Batch) -> Verdict {
        let version = batch.version.0;
        let Some((first, known)) = self.known.get(&version) else {
            self.known.insert(version, (number, batch.events.clone()));
            if self.known.len() > KEPT {
                self.known.pop_first();
            }
            return Ok(());
        };
        let same = known.len() == batch.events.len()
            && known.iter().zip(&batch.events).all(|(one, other)| same(one, other));
        require(same, "RAFT-1", || {
            format!("manager {number} applies something else at {version} than manager {first}")
        })
    }
}

fn same(one: &Event, other: &Event) -> bool {
    fn equal<T: PartialEq>(one: &Diff<T>, other: &Diff<T>) -> bool {
        one.old == other.old && one.new == other.new
    }
    match (one, other) {
        (Event::Cluster(one), Event::Cluster(other)) => equal(one, other),
        (Event::Node(one), Event::Node(other)) => equal(one, other),
        (Event::Service(one), Event::Service(other)) => equal(one, other),
        (Event::Task(one), Event::Task(other)) => equal(one, other),
        (Event::Network(one), Event::Network(other)) => equal(one, other),
        (Event::Secret(one), Event::Secret(other)) => equal(one, other),
        (Event::Config(one), Event::Config(other)) => equal(one, other),
        _ => false,
    }
}
