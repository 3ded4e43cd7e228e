//! One running manager: consensus, store, authority, dispatcher, leader loops, and the server of all calls.
//!
//! The composition root gives identity, roots and time; everything here ends with [`Manager::shut_down`].

mod lead;
mod membership;
mod roles;
mod seats;
mod takeover;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use shoal_base::random::SharedRandom;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{SharedClock, SharedDisk};
use shoal_identity::{Keeper, listen};
use shoal_manager_core::store::State;
use shoal_manager_raft::{
    Begin, Fresh, Key, KeyId, Keyring, Member, Raft, RaftId, Start, StartError,
};
use shoal_model::cluster::manager::RaftConfig;
use shoal_model::error::{Chain, Classified, ErrorKind};
use shoal_proto::ca::ca_server::CaServer as CaService;
use shoal_proto::membership::membership_server::MembershipServer;
use tokio::sync::watch;

use crate::ca::{self, CaServer, CaStore, StoredCa};
use crate::consensus::raft::{RaftConsensus, View};
use crate::control::Control;
use crate::dispatcher::{Dispatcher, liveness};
use crate::execs::Execs;
use crate::feature;
use crate::logs::Logs;
use crate::peers::Peers;
use crate::reach::Reach;
use crate::store::forward::{Remote, Server as StoreServer};
use crate::store::machine::Machine;
use crate::store::{self, Objects, Store};
use crate::visits::Visits;

pub use takeover::Survivor;

/// What a manager is started with.
#[derive(Debug)]
pub struct Options {
    /// Of the raft log; made when absent.
    pub directory: PathBuf,
    /// Number of the raft log in it.
    pub raft_id: RaftId,
    /// Where to listen.
    pub listen: SocketAddr,
    /// `host:port`, as other nodes reach it.
    pub advertise: String,
    /// Timing at start; the rest follows the cluster's settings.
    pub raft: RaftConfig,
    /// Whom it takes for the cluster.
    pub begin: Begin,
    /// Whether it leads at once. Otherwise it does so after [`Manager::take_over`]: what it has on disk names managers
    /// that are gone, and the leader would wait for them.
    pub ready: bool,
    /// What this release understands, [`crate::feature::LEVEL`].
    pub feature_level: u32,
}

/// What a manager needs of its surroundings.
#[derive(Clone)]
#[allow(missing_docs, reason = "the types say it")]
pub struct Surroundings {
    pub keeper: Keeper,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub disk: SharedDisk,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("keeper", &self.keeper).finish_non_exhaustive()
    }
}

/// A manager did not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to listen on `{address}`")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("there is no key of the raft log")]
    NoDataKey,
    #[error(
        "the cluster is at feature level {needed}, and this release knows level {known}: install a newer one"
    )]
    Outdated { needed: u32, known: u32 },
    #[error(transparent)]
    Raft(#[from] StartError),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { .. } => ErrorKind::InvalidArgument,
            Self::NoDataKey => ErrorKind::DataLoss,
            Self::Outdated { .. } => ErrorKind::Conflict,
            Self::Raft(error) => error.kind(),
        }
    }
}

/// A running manager.
#[derive(Debug)]
pub struct Manager {
    /// The objects of the cluster.
    pub store: Store,
    /// What the API calls.
    pub control: Control,
    /// Logs of tasks, wherever they are.
    pub logs: Logs,
    /// Execs in tasks, wherever they are.
    pub execs: Execs,
    /// Containers of tasks, wherever they are.
    pub visits: Visits,
    /// Sessions of workers, for workers in this process; also what nodes have of networks.
    pub dispatcher: Dispatcher,
    /// Consensus.
    pub raft: Raft,
    /// The authority's view of the store.
    pub authority: Arc<dyn CaStore>,
    keeper: Keeper,
    ready: watch::Sender<bool>,
    feature_level: u32,
    tasks: Tasks,
}

impl Manager {
    /// Opens the log, takes part in consensus, and serves calls. A manager whose log is empty waits until it is
    /// [bootstrapped](Raft::bootstrap) or [joins](Manager::join).
    ///
    /// # Errors
    /// When the address is taken, or the log is damaged or another member's.
    pub async fn start(options: Options, around: Surroundings) -> Result<Self, Error> {
        let Surroundings { keeper, clock, random, disk } = around;
        let credentials = keeper.credentials().clone();
        let listener = listen::bind(&credentials, options.listen)
            .await
            .map_err(|source| Error::Listen { address: options.listen, source })?;
        let objects = Objects::new();
        let node = credentials.identity().node;
        let raft = Raft::start(Start {
            member: Member { id: options.raft_id, node, address: options.advertise },
            config: options.raft,
            directory: options.directory,
            sealer: keyring(&keeper, &random)?,
            connector: Arc::new(Peers::new(&credentials)),
            machine: Box::new(Machine::new(objects.clone())),
            disk,
            clock: clock.clone(),
            begin: options.begin,
        })
        .await?;
        let (needed, known) = (feature::needed(&objects.view()), options.feature_level);
        if needed > known {
            raft.shutdown().await;
            return Err(Error::Outdated { needed, known });
        }
        let tasks = Tasks::new();
        let consensus = Arc::new(RaftConsensus::new(raft.clone(), &tasks));
        let peers = Arc::new(Peers::new(&credentials));
        let leaders = Arc::new(Remote::new(peers.clone(), clock.clone()));
        let store = Store::new(objects, consensus.clone(), leaders, clock.clone());
        let stored = Arc::new(StoredCa::new(store.clone(), clock.clone()));
        tasks.spawn(TaskKind::Certificates, Arc::clone(&stored).run());
        let authority: Arc<dyn CaStore> = stored;
        let dispatcher = Dispatcher::new(
            node,
            store.clone(),
            Arc::new(liveness::Remote::new(peers.clone(), clock.clone())),
            clock.clone(),
            random.clone(),
            tasks.clone(),
        );
        tasks.spawn(TaskKind::Certificates, ca::follow::run(authority.clone(), keeper.clone()));
        let (ready, readiness) = watch::channel(options.ready);
        let leader = lead::Leader {
            store: store.clone(),
            raft: raft.clone(),
            authority: authority.clone(),
            dispatcher: dispatcher.clone(),
            credentials: credentials.clone(),
            clock: clock.clone(),
            random: random.clone(),
            ready: readiness,
        };
        tasks.spawn(TaskKind::LeaderLoop, leader.run());
        tasks.spawn(TaskKind::LeaderLoop, follow_settings(store.clone(), raft.clone()));
        let (sessions, beats) = dispatcher.services();
        let ca = CaServer::new(authority.clone(), clock.clone(), random.clone());
        let membership = membership::Handler::new(store.clone(), raft.clone());
        let router = listen::server(&credentials)
            .add_service(raft.service())
            .add_service(StoreServer::service(consensus))
            .add_service(CaService::new(ca))
            .add_service(MembershipServer::new(membership))
            .add_service(sessions)
            .add_service(beats);
        let incoming = listen::accept(listener, &credentials, &tasks);
        let stop = tasks.stopping();
        tasks.spawn(TaskKind::ClusterListener, async move {
            let served = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(error = %Chain(&error), "the manager's server ended");
            }
        });
        let seats = seats::Seats { raft: raft.clone(), channels: peers, clock: clock.clone() };
        let control = Control::new(store.clone(), Arc::new(seats), random);
        let reach = Reach::new(store.clone(), credentials.clone(), clock.clone());
        let (execs, visits) = (Execs::new(reach.clone()), Visits::new(reach));
        let logs = Logs::new(store.clone(), credentials, clock, tasks.clone());
        Ok(Self {
            store,
            control,
            logs,
            execs,
            visits,
            dispatcher,
            raft,
            authority,
            keeper,
            ready,
            feature_level: known,
            tasks,
        })
    }

    /// Tells one of `managers` where this manager is, until one has written it down.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it was; asking again changes nothing.
    pub async fn join(&self, managers: &[String], clock: &SharedClock) {
        let (level, credentials) = (self.feature_level, self.keeper.credentials());
        membership::join(&self.raft, level, credentials, managers, clock).await;
    }

    /// Writes down that this manager is the only one, and begins to lead.
    ///
    /// # Errors
    /// When it cannot be committed; asking again goes on.
    pub async fn take_over(&self, survivor: &Survivor) -> Result<(), store::Error> {
        self.store.update(|txn| takeover::take_over(txn, survivor)).await?;
        self.ready.send_replace(true);
        Ok(())
    }

    /// Checks that signers outside the cluster are there, for each root that needs them.
    ///
    /// # Errors
    /// The refusal that docker shows.
    pub async fn check_signers(
        &self,
        needed: &[ca::configure::Externals],
    ) -> Result<(), ca::configure::Error> {
        ca::external::check_reachable(needed, self.keeper.credentials()).await
    }

    /// Hands leadership over, if this manager has it and another can take it.
    pub async fn hand_over(&self) {
        if !self.raft.status().leads() {
            return;
        }
        let clock = self.keeper.credentials().clock();
        let began = clock.monotonic();
        match self.raft.transfer_leadership(None).await {
            Ok(to) => {
                let took = (clock.monotonic() - began).as_millis();
                tracing::info!(%to, took, "handed leadership over");
            }
            Err(error) => {
                tracing::info!(error = %Chain(&error), "leadership was not handed over");
            }
        }
    }

    /// Stops taking part. A leader hands over first.
    pub async fn shut_down(&self) {
        self.hand_over().await;
        self.drop_out().await;
    }

    /// Stops taking part at once, as one that dies does.
    pub async fn drop_out(&self) {
        self.tasks.shut_down().await;
        self.raft.shutdown().await;
    }
}

/// Which log is begun.
#[derive(Debug)]
#[allow(missing_docs, reason = "as in Options")]
pub struct Log {
    pub directory: PathBuf,
    pub raft_id: RaftId,
    pub advertise: String,
}

/// Begins a log that no one has yet with a state; [`Manager::start`] then goes on with it, and must
/// [take over](Manager::take_over).
///
/// # Errors
/// When it cannot be written. Remove the directory then.
pub async fn begin_with(
    log: Log,
    keeper: &Keeper,
    random: &SharedRandom,
    disk: SharedDisk,
    state: State,
) -> Result<(), Error> {
    let node = keeper.credentials().identity().node;
    let index = state.index();
    shoal_manager_raft::begin_with(Fresh {
        member: Member { id: log.raft_id, node, address: log.advertise },
        directory: log.directory,
        sealer: keyring(keeper, random)?,
        disk,
        state: Box::new(View(state)),
        index,
    })
    .await?;
    Ok(())
}

/// The keys of the log: the newest seals, all open.
fn keyring(keeper: &Keeper, random: &SharedRandom) -> Result<Arc<Keyring>, Error> {
    let mut keys = keeper.data_keys();
    keys.sort_by_key(|key| key.id);
    let newest = keys.pop().ok_or(Error::NoDataKey)?;
    let ring = Keyring::new(KeyId(newest.id), &Key::from_bytes(newest.key), random.clone());
    for key in keys {
        ring.add(KeyId(key.id), &Key::from_bytes(key.key));
    }
    Ok(Arc::new(ring))
}

/// Keeps the settings of raft snapshots as the cluster says.
async fn follow_settings(store: Store, raft: Raft) {
    let mut last = None;
    loop {
        let (state, mut changes) = store.watch();
        loop {
            let view = store.view();
            let cluster = view.cluster().or_else(|| state.cluster());
            let config = cluster.map(|cluster| cluster.spec.raft.clone());
            if config != last {
                if let Some(config) = &config {
                    raft.configure(config);
                }
                last = config;
            }
            // Lagging only means to look again.
            if changes.next().await.is_err() {
                break;
            }
        }
    }
}
