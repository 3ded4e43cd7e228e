//! The handle: starts consensus, proposes, reads, and shows its state.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, InitializeError, LinearizableReadError, RaftError};
use openraft::errors::{Fatal, ForwardToLeader};
use openraft::{RaftMetrics, ReadPolicy};
use shoal_base::{SharedClock, SharedDisk};
use shoal_model::cluster::manager::RaftConfig;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

use crate::compact::Policy;
use crate::error::{BootstrapError, ProposeError, ReadError, StartError, TransferError};
use crate::log::health::Health;
use crate::log::store::LogStore;
use crate::net::client::{AddressBook, Peers};
use crate::net::server::Service;
use crate::probation::Probation;
use crate::settings::{self, limits};
use crate::snapshot::machine::Machine;
use crate::snapshot::store::SnapshotStore;
use crate::status::{self, Status};
use crate::types::{Command, Place, Types};
use crate::{Connector, KeyId, Member, RaftId, Sealer, StateMachine};

pub(crate) type Core = openraft::Raft<Types, Machine>;

/// What a member is started with.
pub struct Start {
    /// This member. Its id must be the one the directory was begun with.
    pub member: Member,
    /// The cluster's settings. Snapshot settings can change later ([`Raft::configure`]); those of time
    /// are read here only.
    pub config: RaftConfig,
    /// Holds log, votes and snapshots, and nothing else. Made when absent.
    pub directory: PathBuf,
    /// Encrypts what is written there.
    pub sealer: Arc<dyn Sealer>,
    /// Reaches the others.
    pub connector: Arc<dyn Connector>,
    /// Empty; it is brought to the committed state before `start` returns.
    pub machine: Box<dyn StateMachine>,
    /// Small files.
    pub disk: SharedDisk,
    /// Time for deadlines.
    pub clock: SharedClock,
    /// Whom it takes for the cluster.
    pub begin: Begin,
}

/// Whom a member takes for the cluster when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    /// The members of its log.
    #[default]
    AsStored,
    /// Itself alone: the others are lost for good. Everything in its log counts as committed; should a lost
    /// member run on, two clusters do. The machine's state stays as it is.
    Alone,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start")
            .field("member", &self.member)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// An entry that was committed and applied here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Its index.
    pub index: u64,
    /// What the state machine answered.
    pub response: Bytes,
}

/// A running member. Clones are the same member.
#[derive(Clone)]
pub struct Raft {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Raft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raft").field("member", &self.inner.member).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) member: Member,
    pub(crate) core: Core,
    pub(crate) clock: SharedClock,
    pub(crate) status: watch::Receiver<Status>,
    /// Of log and snapshots.
    disk: [Health; 2],
    applied: watch::Receiver<Option<u64>>,
    /// One membership change at a time: openraft#1544.
    pub(crate) change: Semaphore,
    policy: watch::Sender<Policy>,
    log: LogStore,
    snapshots: SnapshotStore,
    probation: Probation,
    /// Taken by shutdown. `None`: the caller's, which is the only thread.
    runtime: Mutex<Option<Runtime>>,
}

impl Drop for Inner {
    /// A runtime must not be dropped where it would block.
    fn drop(&mut self) {
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Raft {
    /// Opens the directory, restores the state machine and takes part in consensus.
    ///
    /// # Errors
    /// When the directory is another member's, damaged, or sealed with an unknown key.
    pub async fn start(start: Start) -> Result<Self, StartError> {
        let config = Arc::new(settings::openraft_config(&start.config)?);
        if shoal_base::single::is_on() {
            let parts = run(start, config).await?;
            return Ok(Self { inner: Arc::new(parts.into_inner(None)) });
        }
        let runtime = settings::runtime()?;
        let handle = runtime.handle().clone();
        let started = handle.spawn(run(start, config)).await;
        let parts = match started {
            Ok(parts) => parts,
            Err(error) => Err(StartError::Consensus { reason: error.to_string() }),
        };
        match parts {
            Ok(parts) => Ok(Self { inner: Arc::new(parts.into_inner(Some(runtime))) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// This member.
    pub fn member(&self) -> &Member {
        &self.inner.member
    }

    /// Begins a cluster whose only voter is this member. It leads as soon as this returns, or a tick later.
    ///
    /// # Errors
    /// When the member already has a log.
    pub async fn bootstrap(&self) -> Result<(), BootstrapError> {
        let member = &self.inner.member;
        let members = std::collections::BTreeMap::from([(member.id.0, Place::from(member))]);
        self.inner.core.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(
                InitializeError::NotAllowed(_) | InitializeError::NotInMembers(_),
            ) => BootstrapError::NotEmpty,
            RaftError::Fatal(fatal) => BootstrapError::Stopped { reason: fatal.to_string() },
        })
    }

    /// Whether this member has a log: it was bootstrapped, or heard of a leader.
    ///
    /// # Errors
    /// When consensus has stopped.
    pub async fn is_initialized(&self) -> Result<bool, ReadError> {
        self.inner
            .core
            .is_initialized()
            .await
            .map_err(|fatal| ReadError::Stopped { reason: stopped(&fatal) })
    }

    /// Proposes an entry. Success: it is on disk on a majority and applied here.
    ///
    /// # Errors
    /// See [`ProposeError`]; only [`ProposeError::Unknown`] leaves open whether it was committed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the entry is committed.
    pub async fn propose(&self, entry: Bytes) -> Result<Proposed, ProposeError> {
        let (size, limit) = (entry.len(), limits::ENTRY_BYTES);
        if size > limit {
            return Err(ProposeError::TooLarge { size, limit });
        }
        if let Some(reason) = self.inner.log.health().full() {
            return Err(ProposeError::DiskFull { reason });
        }
        match self.inner.core.client_write(Command(entry)).await {
            Ok(written) => Ok(Proposed { index: written.log_id.index(), response: written.data }),
            Err(RaftError::APIError(error)) => Err(self.propose_error(error)),
            Err(RaftError::Fatal(fatal)) => Err(ProposeError::Stopped { reason: stopped(&fatal) }),
        }
    }

    fn propose_error(&self, error: ClientWriteError<Types>) -> ProposeError {
        match error {
            ClientWriteError::ForwardToLeader(forward) => match self.leader(forward) {
                Forward::Elsewhere(leader) => ProposeError::NotLeader { leader },
                Forward::NoQuorum => ProposeError::Unavailable,
            },
            ClientWriteError::LogEntryDiscarded(forward) => match self.leader(forward) {
                Forward::Elsewhere(leader) => ProposeError::Unknown { leader },
                Forward::NoQuorum => ProposeError::Unknown { leader: None },
            },
            ClientWriteError::ChangeMembershipError(error) => {
                ProposeError::Stopped { reason: error.to_string() }
            }
            ClientWriteError::PreconditionFailed(error) => {
                ProposeError::Stopped { reason: error.to_string() }
            }
        }
    }

    /// Who to ask instead.
    pub(crate) fn leader(&self, forward: ForwardToLeader<Types>) -> Forward {
        let leader = forward.leader_id.zip(forward.leader_node);
        match leader {
            Some((id, _)) if id == self.inner.member.id.0 => Forward::NoQuorum,
            Some((id, place)) => Forward::Elsewhere(Some(place.member(id))),
            None if self.inner.core.is_leader() => Forward::NoQuorum,
            None => Forward::Elsewhere(None),
        }
    }

    /// An index such that a state that has applied it contains every write acknowledged before the call.
    /// Only the leader knows it; wait for it with [`Raft::wait_applied`], on any member.
    ///
    /// # Errors
    /// When this member does not lead, or no quorum confirms that it does.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        match self.inner.core.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(match self.leader(forward) {
                    Forward::Elsewhere(leader) => ReadError::NotLeader { leader },
                    Forward::NoQuorum => ReadError::Unavailable,
                })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadError::Unavailable)
            }
            Err(RaftError::Fatal(fatal)) => Err(ReadError::Stopped { reason: stopped(&fatal) }),
        }
    }

    /// Returns once the state machine here has applied `index`. Put a deadline around it.
    ///
    /// # Errors
    /// When consensus has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn wait_applied(&self, index: u64) -> Result<(), ReadError> {
        let mut applied = self.inner.applied.clone();
        let reached = applied.wait_for(|applied| applied.is_some_and(|applied| applied >= index));
        reached.await.map(drop).map_err(|_| ReadError::Stopped { reason: "shut down".to_owned() })
    }

    /// Index of the last entry the state machine here has applied.
    pub fn applied(&self) -> Option<u64> {
        *self.inner.applied.borrow()
    }

    /// State of consensus as this member sees it.
    pub fn status(&self) -> Status {
        let timeout = self.inner.policy.borrow().election_timeout;
        let mut status = status::compute(&self.inner.core.metrics().borrow_watched(), timeout);
        status.disk_full = self.inner.disk.iter().find_map(Health::full);
        status
    }

    /// [`Raft::status`] whenever role, leader, term, members or indexes change. Values may be skipped.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.inner.status.clone()
    }

    /// Hands leadership to `to`, or to the voter that is furthest. Returns once the other leads.
    ///
    /// # Errors
    /// When this member does not lead, `to` does not vote, or it did not take over within an election
    /// timeout; this member then goes on leading.
    pub async fn transfer_leadership(&self, to: Option<RaftId>) -> Result<RaftId, TransferError> {
        crate::membership::transfer(self, to).await
    }

    /// Changes the snapshot settings. Those of time wait for the next start.
    pub fn configure(&self, config: &RaftConfig) {
        self.inner.policy.send_modify(|policy| policy.update(config));
    }

    /// Takes a raft snapshot now; it is written in the background.
    ///
    /// # Errors
    /// When consensus has stopped.
    pub async fn take_snapshot(&self) -> Result<(), ReadError> {
        self.inner
            .core
            .trigger()
            .snapshot()
            .await
            .map_err(|fatal| ReadError::Stopped { reason: stopped(&fatal) })
    }

    /// After a key rotation: replaces what is sealed with old keys by a snapshot. When it returns, only the
    /// current key is in use, unless it changed meanwhile. Entries for slow followers go too: those get the
    /// snapshot. Put a deadline around it: it waits until the whole log is committed.
    ///
    /// # Errors
    /// When consensus has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future leaves old keys in use; calling it again goes on.
    pub async fn reseal(&self) -> Result<(), ReadError> {
        let Some(last) = self.status().last else { return Ok(()) };
        let closed = self.inner.log.roll().await;
        closed.map_err(|error| ReadError::Stopped { reason: error.to_string() })?;
        self.wait_applied(last).await?;
        let core = &self.inner.core;
        loop {
            let newest = core.metrics().borrow_watched().snapshot;
            if newest.is_some_and(|id| id.index() >= last) {
                break;
            }
            // Ignored while another is being written: then that one is waited for first.
            self.take_snapshot().await?;
            self.wait_metrics(|metrics| metrics.snapshot > newest).await?;
        }
        core.trigger().purge_log(last).await.map_err(|fatal| read_stopped(&fatal))?;
        self.wait_metrics(|metrics| metrics.purged.is_some_and(|id| id.index() >= last)).await?;
        self.inner.snapshots.discard_old();
        Ok(())
    }

    async fn wait_metrics(
        &self,
        reached: impl Fn(&RaftMetrics<Types>) -> bool,
    ) -> Result<(), ReadError> {
        let mut metrics = self.inner.core.metrics();
        loop {
            if reached(&metrics.borrow_watched()) {
                return Ok(());
            }
            let changed = metrics.changed().await;
            changed.map_err(|_| ReadError::Stopped { reason: "shut down".to_owned() })?;
        }
    }

    /// Keys that something on disk is sealed with; any other may be forgotten.
    pub fn keys_in_use(&self) -> std::collections::BTreeSet<KeyId> {
        let mut keys = self.inner.log.keys_in_use();
        keys.extend(self.inner.snapshots.keys_in_use());
        keys
    }

    /// The tonic service for the manager's server. Authorisation is by the server's layer.
    pub fn service(&self) -> Service {
        crate::net::server::service(
            self.inner.core.clone(),
            self.inner.member.id,
            self.inner.snapshots.clone(),
            self.inner.probation.clone(),
        )
    }

    /// Stops consensus here and closes the log. Idempotent.
    pub async fn shutdown(&self) {
        // Otherwise the core would wait until a full disk has room.
        self.inner.log.health().end();
        // A panic of the core was logged by its task; there is nothing else to do about it.
        let _ = self.inner.core.shutdown().await;
        self.inner.log.close().await;
        let runtime = self.inner.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

pub(crate) enum Forward {
    Elsewhere(Option<Member>),
    NoQuorum,
}

fn read_stopped(fatal: &Fatal<Types>) -> ReadError {
    ReadError::Stopped { reason: stopped(fatal) }
}

pub(crate) fn stopped(fatal: &Fatal<Types>) -> String {
    fatal.to_string()
}

/// What start-up on the raft threads yields.
struct Parts {
    member: Member,
    core: Core,
    clock: SharedClock,
    status: watch::Receiver<Status>,
    disk: [Health; 2],
    applied: watch::Receiver<Option<u64>>,
    policy: watch::Sender<Policy>,
    log: LogStore,
    snapshots: SnapshotStore,
    probation: Probation,
}

impl Parts {
    fn into_inner(self, runtime: Option<Runtime>) -> Inner {
        Inner {
            member: self.member,
            core: self.core,
            clock: self.clock,
            status: self.status,
            disk: self.disk,
            applied: self.applied,
            change: Semaphore::new(1),
            policy: self.policy,
            log: self.log,
            snapshots: self.snapshots,
            probation: self.probation,
            runtime: Mutex::new(runtime),
        }
    }
}

async fn run(start: Start, config: Arc<openraft::Config>) -> Result<Parts, StartError> {
    let Start {
        member,
        config: cluster,
        directory,
        sealer,
        connector,
        machine,
        disk,
        clock,
        begin,
    } = start;
    let opened = {
        let (directory, id) = (directory.clone(), member.id);
        shoal_base::blocking::run("open raft log", move || {
            crate::log::claim(&directory, id, disk.as_ref())?;
            let log = LogStore::open(&directory.join("log"), sealer.clone(), disk.clone())?;
            let keep_from = log.purged_index();
            let directory = directory.join("snapshots");
            let snapshots = SnapshotStore::open(&directory, sealer, disk, keep_from)?;
            Ok::<_, StartError>((log, snapshots))
        })
    };
    let (mut log, snapshots) =
        opened.await.map_err(|lost| StartError::Consensus { reason: lost.to_string() })??;
    if begin == Begin::Alone {
        crate::log::alone::make_sole_member(&mut log, &member).await?;
    }
    let policy = Policy::new(&cluster);
    snapshots.keep_old(policy.keep_old);
    let (applied_sender, applied) = watch::channel(None);
    let disk = [log.health().clone(), Health::new()];
    let health = disk[1].clone();
    let machine = Machine::new(machine, snapshots.clone(), applied_sender, clock.clone(), health);
    let book = AddressBook::default();
    let peers = Peers::new(connector, book.clone(), snapshots.clone());
    let core = Core::new(member.id.0, config, peers.clone(), log.clone(), machine)
        .await
        .map_err(|fatal| StartError::Consensus { reason: stopped(&fatal) })?;
    book.follow(&core);
    let probation = Probation::begin(&core, member.id.0, peers, clock.clone());
    let election_timeout = policy.election_timeout;
    let (policy, policy_receiver) = watch::channel(policy);
    crate::compact::spawn(&core, log.clone(), snapshots.clone(), applied.clone(), policy_receiver);
    let status = status::spawn(&core, election_timeout, disk.clone(), clock.clone());
    crate::full::spawn(&core, &disk[0], status.clone(), clock.clone());
    let parts =
        Parts { member, core, clock, status, disk, applied, policy, log, snapshots, probation };
    Ok(parts)
}
