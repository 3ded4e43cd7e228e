//! openraft's view of the state machine.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use shoal_base::SharedClock;
use tokio::sync::watch;

use super::store::{SnapshotFile, SnapshotStore};
use crate::log::health::{self, Health};
use crate::settings;
use crate::types::{Command, LogId, Payload, SnapshotMeta, StoredMembership, Types};
use crate::{SnapshotView, StateMachine};

pub(crate) type Snapshot =
    openraft::Snapshot<crate::types::LeaderId, u64, crate::types::Place, SnapshotFile>;

/// A [`StateMachine`] with what consensus remembers beside it.
pub(crate) struct Machine {
    machine: Arc<Mutex<Box<dyn StateMachine>>>,
    store: SnapshotStore,
    applied: watch::Sender<Option<u64>>,
    clock: SharedClock,
    health: Health,
    last: Option<LogId>,
    membership: StoredMembership,
}

impl Machine {
    pub(crate) fn new(
        machine: Box<dyn StateMachine>,
        store: SnapshotStore,
        applied: watch::Sender<Option<u64>>,
        clock: SharedClock,
        health: Health,
    ) -> Self {
        Self {
            machine: Arc::new(Mutex::new(machine)),
            store,
            applied,
            clock,
            health,
            last: None,
            membership: StoredMembership::default(),
        }
    }

    fn apply_one(&mut self, id: LogId, payload: Payload) -> Bytes {
        let index = id.index();
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let response = match payload {
            Payload::Normal(Command(command)) => machine.apply(index, &command),
            Payload::Blank => {
                machine.skip(index);
                Bytes::new()
            }
            Payload::Membership(membership) => {
                machine.skip(index);
                self.membership = StoredMembership::new(Some(id), membership);
                Bytes::new()
            }
        };
        drop(machine);
        self.last = Some(id);
        response
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let response = self.apply_one(entry.log_id, entry.payload);
            self.applied.send_replace(Some(entry.log_id.index()));
            if let Some(responder) = responder {
                responder.send(response);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let meta =
            SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() };
        Builder {
            view: Arc::new(Mutex::new(machine.snapshot())),
            meta,
            store: self.store.clone(),
            clock: self.clock.clone(),
            health: self.health.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let (machine, store) = (Arc::clone(&self.machine), self.store.clone());
        let installed = shoal_base::blocking::run("install raft snapshot", move || {
            let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            store.restore(&snapshot, machine.as_mut())?;
            let (found, limit) =
                (machine.applied(), snapshot.meta.last_log_id.map_or(0, |id| id.index()));
            if found > limit {
                let message = format!(
                    "the restored state has applied entry {found}, its snapshot ends at {limit}"
                );
                return Err(io::Error::other(message));
            }
            store.adopt(&snapshot).map(drop).map_err(io::Error::other)
        });
        installed.await.map_err(io::Error::other)??;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.applied.send_replace(self.last.map(|id| id.index()));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.store.current().map(|file| Snapshot { meta: file.meta.clone(), snapshot: file }))
    }
}

impl From<super::Error> for io::Error {
    fn from(error: super::Error) -> Self {
        Self::other(error)
    }
}

/// Writes one snapshot in the background. While the disk is full it waits: openraft would stop at the error, though
/// nothing is lost but room.
pub(crate) struct Builder {
    view: Arc<Mutex<Box<dyn SnapshotView>>>,
    meta: SnapshotMeta,
    store: SnapshotStore,
    clock: SharedClock,
    health: Health,
}

impl Builder {
    async fn write(&self) -> Result<SnapshotFile, io::Error> {
        loop {
            let (view, meta, store) =
                (Arc::clone(&self.view), self.meta.clone(), self.store.clone());
            let written = shoal_base::blocking::run("write raft snapshot", move || {
                let view = view.lock().unwrap_or_else(PoisonError::into_inner);
                settings::in_background(|| store.write(&meta, view.as_ref()))
            });
            match written.await.map_err(io::Error::other)? {
                Err(error) if error.is_full() => {
                    self.health.set_full(&error);
                    self.clock.sleep(health::RETRY).await;
                }
                written => {
                    self.health.set_well();
                    return Ok(written?);
                }
            }
        }
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let file = self.write().await?;
        Ok(Snapshot { meta: file.meta.clone(), snapshot: file })
    }
}
