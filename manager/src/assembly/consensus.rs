//! Raft as the store sees it.

use std::io::{self, Read, Write};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_manager_core::store::State;
use shoal_manager_raft::{
    Member, ProposeError, Raft, ReadError, SnapshotView, StateMachine, Status,
};
use tokio::sync::watch;

use crate::consensus::{Consensus, Error, Leader, Leadership, Proposed};
use crate::store::Objects;
use crate::store::machine::{self, write_snapshot};

/// The objects as raft's state machine.
pub(super) struct Machine(machine::Machine);

impl Machine {
    pub(super) fn new(objects: Objects) -> Self {
        Self(machine::Machine::new(objects))
    }
}

struct View(State);

impl SnapshotView for View {
    fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        Ok(write_snapshot(&self.0, writer)?)
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, index: u64, entry: &Bytes) -> Bytes {
        self.0.apply(index, entry)
    }

    fn skip(&mut self, index: u64) {
        self.0.skip(index);
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        Box::new(View(self.0.snapshot()))
    }

    fn restore(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        Ok(self.0.restore(reader)?)
    }

    fn applied(&self) -> u64 {
        self.0.applied()
    }
}

/// Consensus by raft.
#[derive(Debug)]
pub(super) struct RaftConsensus {
    raft: Raft,
    leadership: watch::Receiver<Leadership>,
}

impl RaftConsensus {
    pub(super) fn new(raft: Raft, tasks: &Tasks) -> Self {
        let mut status = raft.watch();
        let (sender, leadership) = watch::channel(seen(&status.borrow_and_update()));
        tasks.spawn(TaskKind::Raft, async move {
            while status.changed().await.is_ok() {
                let now = seen(&status.borrow_and_update());
                sender.send_if_modified(|old| {
                    let changed = *old != now;
                    *old = now;
                    changed
                });
            }
        });
        Self { raft, leadership }
    }
}

fn leader(member: Member) -> Leader {
    Leader { node: member.node, address: member.address }
}

fn seen(status: &Status) -> Leadership {
    Leadership {
        term: status.term,
        leader: status.leader.clone().map(leader),
        is_self: status.leads(),
    }
}

fn proposing(error: ProposeError) -> Error {
    match error {
        ProposeError::NotLeader { leader: found } => Error::NotLeader { leader: found.map(leader) },
        ProposeError::Unavailable => Error::NoQuorum,
        ProposeError::Unknown { .. } => Error::Unknown,
        ProposeError::TooLarge { size, limit } => Error::TooLarge { size, limit },
        ProposeError::Stopped { reason } => Error::Stopped { reason },
    }
}

fn reading(error: ReadError) -> Error {
    match error {
        ReadError::NotLeader { leader: found } => Error::NotLeader { leader: found.map(leader) },
        ReadError::Unavailable => Error::NoQuorum,
        ReadError::Stopped { reason } => Error::Stopped { reason },
    }
}

impl Consensus for RaftConsensus {
    fn propose(&self, entry: Bytes) -> BoxFuture<'static, Result<Proposed, Error>> {
        let raft = self.raft.clone();
        Box::pin(async move {
            let proposed = raft.propose(entry).await.map_err(proposing)?;
            Ok(Proposed { index: proposed.index, response: proposed.response })
        })
    }

    fn read_index(&self) -> BoxFuture<'static, Result<u64, Error>> {
        let raft = self.raft.clone();
        Box::pin(async move { raft.read_index().await.map_err(reading) })
    }

    fn wait_applied(&self, index: u64) -> BoxFuture<'static, Result<(), Error>> {
        let raft = self.raft.clone();
        Box::pin(async move { raft.wait_applied(index).await.map_err(reading) })
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }
}
