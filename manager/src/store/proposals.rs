//! Transactions that this manager proposed and has not applied yet: it need not read its own entries again.
//!
//! An entry is known by its allocation, which consensus hands on from the proposal to the state machine. It is held here for
//! as long as it is known, so that no other entry can take its place. An entry that is not known is read, as on every other
//! manager: what is held here saves time and decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shoal_manager_core::store::{Change, Transaction};

/// Where an entry lies.
type Place = (usize, usize);

fn place(entry: &[u8]) -> Place {
    (entry.as_ptr().addr(), entry.len())
}

/// The transactions. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Proposals {
    known: Arc<Mutex<BTreeMap<Place, (Bytes, Transaction)>>>,
}

impl Proposals {
    fn known(&self) -> MutexGuard<'_, BTreeMap<Place, (Bytes, Transaction)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what an entry says until the guard is dropped.
    #[must_use]
    pub(super) fn keep(&self, entry: &Bytes, transaction: Transaction) -> Kept {
        if reads_as_it_is(&transaction) {
            self.known().insert(place(entry), (entry.clone(), transaction));
        }
        Kept { proposals: self.clone(), place: place(entry) }
    }

    /// What an entry says, if it is known. Known no more: an entry is applied once.
    pub(super) fn take(&self, entry: &[u8]) -> Option<Transaction> {
        self.known().remove(&place(entry)).map(|(_, transaction)| transaction)
    }
}

/// Whether a transaction that was written and read again is applied as it is itself. All of a task is written, but some objects
/// have parts that belong to one manager.
fn reads_as_it_is(transaction: &Transaction) -> bool {
    transaction.changes.iter().all(|change| {
        matches!(
            change,
            Change::PutTask(_)
                | Change::EditTask(_)
                | Change::RemoveTask(_)
                | Change::TaskStatus { .. }
                | Change::TaskDesired { .. }
        )
    })
}

/// An entry that is known.
#[derive(Debug)]
pub(super) struct Kept {
    proposals: Proposals,
    place: Place,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let forgotten = self.proposals.known().remove(&self.place);
        // Not while the others wait.
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::{ServiceId, TaskId};

    use super::*;

    fn transaction(change: Change) -> Transaction {
        Transaction { changes: vec![change], ..Transaction::default() }
    }

    #[test]
    fn an_entry_is_known_by_where_it_is_and_once() {
        let proposals = Proposals::default();
        let removes = transaction(Change::RemoveTask(TaskId::from_bytes([1; 16])));
        let (entry, equal) = (Bytes::from(vec![1, 2, 3]), Bytes::from(vec![1, 2, 3]));
        let kept = proposals.keep(&entry, removes.clone());
        assert_eq!(proposals.take(&equal), None);
        assert_eq!(proposals.take(&entry[..2]), None);
        assert_eq!(proposals.take(&entry.clone()), Some(removes.clone()));
        assert_eq!(proposals.take(&entry), None);
        drop(kept);
        let kept = proposals.keep(&entry, removes);
        drop(kept);
        assert_eq!(proposals.take(&entry), None, "its proposer is gone");
    }

    #[test]
    fn what_may_be_written_in_part_is_read() {
        let proposals = Proposals::default();
        let entry = Bytes::from(vec![1]);
        let removes = transaction(Change::RemoveService(ServiceId::from_bytes([1; 16])));
        let _kept = proposals.keep(&entry, removes);
        assert_eq!(proposals.take(&entry), None);
    }
}
