//! The state machine: entries in, objects out.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shoal_manager_core::store::codec::{
    self, Accepted, SnapshotReader, SnapshotWriter, decode_transaction, encode_outcome,
};
use shoal_manager_core::store::watch::Batch;
use shoal_manager_core::store::{Applied, Rejected, State};

use super::proposals::Proposals;
use crate::watch::{Lagged, Ring, Subscription};

/// The objects as this manager has them, and who follows their changes. Clones share it.
///
/// Written by consensus alone, through [`Machine`]. A reader holds the lock as long as it takes to clone a
/// view, some hundred nanoseconds; the writer as long as it takes to apply one entry.
#[derive(Debug, Clone)]
pub struct Objects {
    state: Arc<Mutex<State>>,
    ring: Ring,
    proposals: Proposals,
}

impl Default for Objects {
    fn default() -> Self {
        Self { state: Arc::default(), ring: Ring::new(0), proposals: Proposals::default() }
    }
}

impl Objects {
    /// No objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// The objects as they are now.
    pub fn view(&self) -> State {
        self.state().clone()
    }

    /// The objects, and all that changes after.
    pub fn watch(&self) -> (State, Subscription) {
        let state = self.state();
        let subscription = self.ring.follow(state.index());
        (state.clone(), subscription)
    }

    /// The objects as they are now, and all changes that a subscription has not seen: those up to this view, no others.
    ///
    /// # Errors
    /// When the subscription missed changes.
    pub fn follow(&self, changes: &mut Subscription) -> Result<(State, Vec<Arc<Batch>>), Lagged> {
        // Changes are added while the state is locked.
        let state = self.state();
        let batches = changes.ready()?;
        Ok((state.clone(), batches))
    }

    /// The ring of changes.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// What this manager proposed and has not applied.
    pub(super) fn proposals(&self) -> &Proposals {
        &self.proposals
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies entries to the objects, for consensus.
#[derive(Debug)]
pub struct Machine {
    objects: Objects,
}

/// A snapshot cannot be written or restored.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SnapshotError {
    #[error("failed to write a raft snapshot")]
    Write(#[source] std::io::Error),
    #[error("failed to read a raft snapshot")]
    Read(#[source] std::io::Error),
    #[error(transparent)]
    Codec(#[from] codec::Error),
}

impl From<SnapshotError> for std::io::Error {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Write(source) | SnapshotError::Read(source) => source,
            SnapshotError::Codec(source) => Self::new(std::io::ErrorKind::InvalidData, source),
        }
    }
}

impl Machine {
    /// The writer of `objects`; there must be one only.
    pub fn new(objects: Objects) -> Self {
        Self { objects }
    }

    /// Applies an entry. The answer is the outcome as [`codec`] encodes it.
    ///
    /// # Panics
    /// When the entry cannot be decoded: a newer release wrote what this one does not know although the
    /// feature level forbids it. Going on without the entry would let this manager's state diverge.
    pub fn apply(&self, index: u64, entry: &[u8]) -> Bytes {
        let read = || {
            decode_transaction(entry).unwrap_or_else(|error| {
                let error = shoal_model::error::Chain(&error).to_string();
                panic!("raft entry {index} cannot be applied by this release: {error}");
            })
        };
        let transaction = self.objects.proposals.take(entry).unwrap_or_else(read);
        let outcome = self.apply_transaction(index, transaction);
        encode_outcome(&outcome).expect("an outcome is small and has no foreign parts").into()
    }

    fn apply_transaction(
        &self,
        index: u64,
        transaction: shoal_manager_core::store::Transaction,
    ) -> Result<Accepted, Rejected> {
        let mut state = self.objects.state();
        let applied = state.apply_owned(index, transaction)?;
        let accepted = Accepted::from(&applied);
        let Applied { version, events, .. } = applied;
        if !events.is_empty() {
            // While the state is locked: whoever sees the state finds its changes in the ring.
            self.objects.ring.push(Batch { version, events });
        }
        Ok(accepted)
    }

    /// Notes an entry of consensus itself.
    pub fn skip(&self, index: u64) {
        self.objects.state().skip(index);
    }

    /// Index of the last entry that was seen.
    pub fn applied(&self) -> u64 {
        self.objects.state().index()
    }

    /// The state now, for [`write_snapshot`] in the background.
    pub fn snapshot(&self) -> State {
        self.objects.view()
    }

    /// Replaces the objects by those of a snapshot. On failure they are as before.
    ///
    /// # Errors
    /// When the snapshot is damaged or of a newer format.
    pub fn restore(&self, reader: &mut dyn Read) -> Result<(), SnapshotError> {
        let mut snapshot = SnapshotReader::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => snapshot.push(&buffer[..length])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SnapshotError::Read(error)),
            }
        }
        let restored = snapshot.finish()?;
        let mut state = self.objects.state();
        self.objects.ring.restart(restored.index());
        *state = restored;
        Ok(())
    }
}

/// Writes a snapshot of `state`.
///
/// # Errors
/// Those of the writer.
pub fn write_snapshot(state: &State, writer: &mut dyn Write) -> Result<(), SnapshotError> {
    for part in SnapshotWriter::new(state.clone()) {
        writer.write_all(&part?).map_err(SnapshotError::Write)?;
    }
    Ok(())
}
