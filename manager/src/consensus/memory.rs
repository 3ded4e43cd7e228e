//! Consensus of one, in memory: for tests and the simulator.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use shoal_model::cluster::NodeId;
use tokio::sync::watch;

use super::{Consensus, Error, Leader, Leadership, Proposed};
use crate::store::machine::{Machine, Objects};

/// A single member that always leads, unless it is told otherwise.
#[derive(Debug, Clone)]
pub struct Sole {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    machine: Mutex<Machine>,
    leadership: watch::Sender<Leadership>,
    next: Mutex<Option<Fault>>,
}

/// What befalls the next proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is committed, but its proposer does not learn it.
    Lost,
    /// It is not committed, and its proposer does not learn it.
    Dropped,
}

impl Sole {
    /// A member that writes `objects` and leads.
    pub fn new(objects: Objects) -> Self {
        let leader = Leader { node: NodeId::from_bytes([1; 16]), address: String::new() };
        let leadership = Leadership { term: 1, leader: Some(leader), is_self: true };
        let (leadership, _) = watch::channel(leadership);
        let machine = Mutex::new(Machine::new(objects));
        Self { inner: Arc::new(Inner { machine, leadership, next: Mutex::new(None) }) }
    }

    /// Changes who leads.
    pub fn set_leadership(&self, leadership: Leadership) {
        self.inner.leadership.send_replace(leadership);
    }

    /// Lets the next proposal meet a fault.
    pub fn fail_next(&self, fault: Fault) {
        *self.inner.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    fn leads(&self) -> Result<(), Error> {
        let leadership = self.inner.leadership.borrow();
        let leader = leadership.leader.clone();
        if leadership.is_self { Ok(()) } else { Err(Error::NotLeader { leader }) }
    }

    fn apply(&self, entry: &Bytes) -> Result<Proposed, Error> {
        self.leads()?;
        let fault = self.inner.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        if fault == Some(Fault::Dropped) {
            return Err(Error::Unknown);
        }
        let machine = self.inner.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let index = machine.applied() + 1;
        let response = machine.apply(index, entry);
        if fault == Some(Fault::Lost) {
            return Err(Error::Unknown);
        }
        Ok(Proposed { index, response })
    }

    fn applied(&self) -> u64 {
        self.inner.machine.lock().unwrap_or_else(PoisonError::into_inner).applied()
    }
}

impl Consensus for Sole {
    fn propose(&self, entry: Bytes) -> BoxFuture<'static, Result<Proposed, Error>> {
        let this = self.clone();
        Box::pin(async move { this.apply(&entry) })
    }

    fn read_index(&self) -> BoxFuture<'static, Result<u64, Error>> {
        Box::pin(ready(self.leads().map(|()| self.applied())))
    }

    fn wait_applied(&self, index: u64) -> BoxFuture<'static, Result<(), Error>> {
        let applied = self.applied();
        Box::pin(ready(if index <= applied {
            Ok(())
        } else {
            Err(Error::Stopped { reason: format!("entry {index} of {applied}") })
        }))
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.subscribe()
    }
}
