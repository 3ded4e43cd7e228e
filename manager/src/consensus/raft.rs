//! Consensus by `manager/raft`: the store's view of it, and the state machine that it drives.

use std::io::{self, Read, Write};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_manager_core::store::State;
use shoal_manager_raft as raft;
use tokio::sync::watch;

use super::{Consensus, Error, Leader, Leadership, Proposed};
use crate::store::machine::{self, Machine};

impl raft::StateMachine for Machine {
    fn apply(&mut self, index: u64, entry: &Bytes) -> Bytes {
        Self::apply(self, index, entry)
    }

    fn skip(&mut self, index: u64) {
        Self::skip(self, index);
    }

    fn snapshot(&self) -> Box<dyn raft::SnapshotView> {
        Box::new(View(Self::snapshot(self)))
    }

    fn restore(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        Ok(Self::restore(self, reader)?)
    }

    fn applied(&self) -> u64 {
        Self::applied(self)
    }
}

/// A state to be written.
pub(crate) struct View(pub(crate) State);

impl raft::SnapshotView for View {
    fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        Ok(machine::write_snapshot(&self.0, writer)?)
    }
}

/// A running raft member.
#[derive(Debug, Clone)]
pub struct RaftConsensus {
    raft: raft::Raft,
    leadership: watch::Receiver<Leadership>,
}

impl RaftConsensus {
    /// Of a member whose state machine is the [`Machine`] of the store's objects. Who leads is followed by a
    /// task of `tasks`.
    pub fn new(raft: raft::Raft, tasks: &Tasks) -> Self {
        let mut status = raft.watch();
        let (sender, leadership) = watch::channel(seen(&status.borrow()));
        tasks.spawn(TaskKind::Raft, async move {
            while status.changed().await.is_ok() {
                let now = seen(&status.borrow_and_update());
                sender.send_if_modified(|last| {
                    let changed = *last != now;
                    *last = now;
                    changed
                });
            }
            // Consensus has stopped: no one leads, as far as this manager can tell.
            sender.send_modify(|last| *last = Leadership { term: last.term, ..Default::default() });
        });
        Self { raft, leadership }
    }

    /// The member.
    pub fn raft(&self) -> &raft::Raft {
        &self.raft
    }
}

fn leader(member: &raft::Member) -> Leader {
    Leader { node: member.node, address: member.address.clone() }
}

fn seen(status: &raft::Status) -> Leadership {
    Leadership {
        term: status.term,
        leader: status.leader.as_ref().map(leader),
        is_self: status.leads(),
    }
}

impl From<raft::ProposeError> for Error {
    fn from(error: raft::ProposeError) -> Self {
        match error {
            raft::ProposeError::NotLeader { leader: member } => {
                Self::NotLeader { leader: member.as_ref().map(leader) }
            }
            raft::ProposeError::Unavailable => Self::NoQuorum,
            raft::ProposeError::Unknown { .. } => Self::Unknown,
            raft::ProposeError::TooLarge { size, limit } => Self::TooLarge { size, limit },
            raft::ProposeError::DiskFull { reason } => Self::DiskFull { reason },
            raft::ProposeError::Stopped { reason } => Self::Stopped { reason },
        }
    }
}

impl From<raft::ReadError> for Error {
    fn from(error: raft::ReadError) -> Self {
        match error {
            raft::ReadError::NotLeader { leader: member } => {
                Self::NotLeader { leader: member.as_ref().map(leader) }
            }
            raft::ReadError::Unavailable => Self::NoQuorum,
            raft::ReadError::Stopped { reason } => Self::Stopped { reason },
        }
    }
}

impl Consensus for RaftConsensus {
    fn propose(&self, entry: Bytes) -> BoxFuture<'static, Result<Proposed, Error>> {
        let raft = self.raft.clone();
        Box::pin(async move {
            let raft::Proposed { index, response } = raft.propose(entry).await?;
            Ok(Proposed { index, response })
        })
    }

    fn read_index(&self) -> BoxFuture<'static, Result<u64, Error>> {
        let raft = self.raft.clone();
        Box::pin(async move { Ok(raft.read_index().await?) })
    }

    fn wait_applied(&self, index: u64) -> BoxFuture<'static, Result<(), Error>> {
        let raft = self.raft.clone();
        Box::pin(async move { Ok(raft.wait_applied(index).await?) })
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }
}
