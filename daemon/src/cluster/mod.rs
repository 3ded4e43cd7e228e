//! Membership of this host: init, join, leave, unlock, and what it is after a restart.
//!
//! [`record`] is what is on disk, [`member`] what runs; [`Host`] changes from one state to the next, one change
//! at a time.

mod addresses;
mod control;
mod events;
mod found;
mod member;
mod node_api;
mod overlays;
mod port;
mod record;
mod resume;
mod status;
mod survive;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_base::random::SharedRandom;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{SharedClock, SharedDisk};
use shoal_engine::events::Bus;
use shoal_identity::{Keeper, NodeFiles, UnlockKey, files, join};
use shoal_manager::store;
use shoal_manager_raft::RaftId;
use shoal_model::cluster::NodeId;
use shoal_model::cluster::node::{ManagerAddress, NodeRole};
use shoal_model::cluster::request::{Init, Join};
use shoal_model::error::{Chain, ErrorKind, Fact, Failure, Unfit};
use shoal_worker::executor::Executor;
use shoal_worker::networks::Networks;
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) use overlays::HostOverlays;
pub(crate) use port::HostCluster;

use member::{Around, Member, start_manager};
use record::{Directory, Phase, Record};

/// `swarm join` answers within this time, and goes on in the background.
const JOIN_WAIT: Duration = Duration::from_secs(20);
/// Between attempts of a join.
const JOIN_AGAIN: Duration = Duration::from_secs(2);
/// So many attempts that fail at once are enough: nobody listens there. Source: swarmkit `ca/certificates.go
/// DownloadRootCA`.
const JOIN_ATTEMPTS: u32 = 5;
/// A bootstrapped manager leads well within this time.
const LEAD_WAIT: Duration = Duration::from_secs(10);

/// What runs tasks and networks of the cluster on this host.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) networks: Arc<dyn Networks>,
}

/// How other nodes reach this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Its node API; `None`: it does not listen.
    pub(crate) api: Option<std::net::SocketAddr>,
    /// Where it takes VXLAN; `None`: not said.
    pub(crate) data_path: Option<std::net::IpAddr>,
    /// From where its own connections may come.
    pub(crate) addresses: Vec<std::net::IpAddr>,
    /// Of the link that carries VXLAN; zero: unknown.
    pub(crate) underlay_mtu: u32,
}

/// Makes it once the node's id is known, and how others reach it.
pub(crate) type MakeRunner = Box<dyn Fn(NodeId, Reach) -> Runner + Send + Sync>;

/// Membership of this host.
pub(crate) struct Host {
    around: Around,
    files: NodeFiles,
    make_runner: MakeRunner,
    tasks: Tasks,
    current: Mutex<Current>,
    /// One change at a time.
    change: Semaphore,
}

#[derive(Debug, Clone)]
enum Current {
    Inactive,
    Pending,
    Locked,
    /// Cannot go on; only leaving helps, or a repair and a restart.
    Broken {
        message: String,
        expired: bool,
    },
    Member(Arc<Member>),
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("current", &self.current()).finish_non_exhaustive()
    }
}

fn unfit(unfit: Unfit) -> Failure {
    let kind = match unfit {
        Unfit::WrongKey => ErrorKind::Unauthorized,
        Unfit::NotLocked => ErrorKind::Conflict,
        Unfit::JoinTimedOut => ErrorKind::DeadlineExceeded,
        _ => ErrorKind::Unavailable,
    };
    Failure::of(kind, Fact::Membership(unfit))
}

impl Host {
    /// Takes up the membership that is on disk.
    pub(crate) async fn open(
        data_root: &std::path::Path,
        clock: SharedClock,
        random: SharedRandom,
        disk: SharedDisk,
        tasks: Tasks,
        events: Bus,
        make_runner: MakeRunner,
    ) -> Result<Arc<Self>, Failure> {
        let directory = Directory::new(data_root, disk.clone());
        directory.make()?;
        let files = NodeFiles::open(&directory.certificates(), disk.clone(), random.clone())?;
        let host = Arc::new(Self {
            around: Around { clock, random, disk, directory, events },
            files,
            make_runner,
            tasks,
            current: Mutex::new(Current::Inactive),
            change: Semaphore::new(1),
        });
        host.take_up().await;
        Ok(host)
    }

    fn current(&self) -> Current {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, current: Current) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.change.acquire().await.expect("the semaphore is never closed")
    }

    /// What a restart finds. A failure is a state, not the end of the daemon: containers need it.
    async fn take_up(self: &Arc<Self>) {
        let broken = |error: Failure| Current::Broken { message: error.chain(), expired: false };
        let record = match self.around.directory.read() {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(error) => return self.set(broken(error)),
        };
        match record.phase {
            // Nothing of these was acknowledged, or all of it is to go.
            Phase::Initializing | Phase::Leaving => {
                self.clear_tasks().await;
                if let Err(error) = self.forget() {
                    self.set(broken(error));
                }
            }
            Phase::Joining => self.go_on_joining(record),
            Phase::Member => self.resume(record, None).await,
        }
    }

    fn forget(&self) -> Result<(), Failure> {
        self.files.erase()?;
        self.around.directory.remove()?;
        self.around.directory.make()?;
        // The certificates' directory went with the rest.
        NodeFiles::open(
            &self.around.directory.certificates(),
            self.around.disk.clone(),
            self.around.random.clone(),
        )?;
        Ok(())
    }

    /// Starts the member with everything that it serves. When that fails its manager does not run on.
    async fn start(
        &self,
        keeper: Keeper,
        record: Record,
        manager: Option<shoal_manager::assembly::Manager>,
    ) -> Result<Arc<Member>, Failure> {
        let manager = manager.map(Arc::new);
        let started = self.start_beside(keeper, record, manager.clone()).await;
        if started.is_err()
            && let Some(manager) = manager
        {
            manager.shut_down().await;
        }
        started
    }

    async fn start_beside(
        &self,
        keeper: Keeper,
        mut record: Record,
        manager: Option<Arc<shoal_manager::assembly::Manager>>,
    ) -> Result<Arc<Member>, Failure> {
        let around = self.around.clone();
        let api = node_api::listen(&mut record, &around.directory).await?;
        let underlay = record.data_path.unwrap_or_else(|| record.advertise.ip());
        let host = addresses::of_host().unwrap_or_else(|error| {
            tracing::warn!(error = error.chain(), "the addresses of this host are not known");
            Vec::new()
        });
        let reach = Reach {
            api: api.as_ref().map(|api| api.advertise),
            data_path: record.data_path,
            addresses: addresses::own(&host),
            underlay_mtu: addresses::mtu_of(underlay, &host),
        };
        let runner = (self.make_runner)(keeper.credentials().identity().node, reach);
        Member::start(keeper, record, manager, runner, api, around).await
    }

    async fn run(&self, keeper: Keeper, mut record: Record) -> Result<Current, Failure> {
        let identity = keeper.credentials().identity();
        let manager = match identity.role {
            NodeRole::Manager => {
                Some(survive::start(&mut record, &keeper, None, &self.around).await?)
            }
            NodeRole::Worker => None,
        };
        let joins = match &manager {
            // The log of a manager that had no time to take part in consensus is empty.
            Some(manager) => !manager.raft.is_initialized().await.unwrap_or(true),
            None => false,
        };
        let remotes = record.remotes.clone();
        let member = self.start(keeper, record, manager).await?;
        if joins && let Some(manager) = member.manager() {
            let clock = self.around.clock.clone();
            self.tasks.spawn(TaskKind::ClusterListener, async move {
                manager.join(&remotes, &clock).await;
            });
        }
        Ok(Current::Member(member))
    }

    /// Begins a cluster.
    async fn init(self: &Arc<Self>, request: Init) -> Result<NodeId, Failure> {
        let _permit = self.permit().await;
        if request.force_new_cluster && !matches!(self.current(), Current::Inactive) {
            return self.force_new_cluster(&request).await;
        }
        if !matches!(self.current(), Current::Inactive) {
            return Err(unfit(Unfit::AlreadyAMember));
        }
        let host = addresses::of_host()?;
        let listen = addresses::listen(&request.listen, &host)?;
        let advertise = addresses::advertise(&request.advertise, listen, &host)?;
        let data_path = addresses::data_path(&request.data_path, &host)?;
        control::check_pools(&request)?;
        let raft_id = RaftId::random(&*self.around.random);
        let mut record = Record::new(Phase::Initializing, listen, advertise, raft_id.0);
        record.data_path = data_path;
        record.raft = request.spec.raft.clone();
        self.set(Current::Pending);
        match self.begin(&request, record, advertise, data_path).await {
            Ok(member) => {
                let (node, mut view) = (member.node(), member.view());
                self.adopt(member);
                // Docker answers when the node is ready for tasks; the cluster exists in any case.
                tokio::select! {
                    _ = view.wait_for(|view| view.session.is_some()) => {}
                    () = self.around.clock.sleep(LEAD_WAIT) => {}
                }
                Ok(node)
            }
            Err(error) => {
                if let Err(left) = self.forget() {
                    tracing::error!(error = %left, "a cluster that was not made left something behind");
                }
                self.set(Current::Inactive);
                Err(error)
            }
        }
    }

    async fn begin(
        &self,
        request: &Init,
        mut record: Record,
        advertise: std::net::SocketAddr,
        data_path: Option<std::net::IpAddr>,
    ) -> Result<Arc<Member>, Failure> {
        let around = &self.around;
        around.directory.write(&record)?;
        let manager = ManagerAddress { raft_id: record.raft_id, address: advertise };
        let now = around.clock.now();
        let founded = found::found(request, manager, data_path, now, &*around.random)?;
        let lock = found::lock(&founded.cluster);
        let unlock = lock.map(|lock| lock.key);
        self.files.save(&founded.stored, unlock.as_ref())?;
        let keeper = Keeper::new(self.files.clone(), founded.stored, unlock, around.clock.clone())?;
        let manager = start_manager(&record, keeper.clone(), around).await?;
        let begun = async {
            manager.raft.bootstrap().await.map_err(|error| {
                Failure::new(
                    error.kind(),
                    format!("failed to begin the raft log: {}", Chain(&error)),
                )
            })?;
            let (cluster, node) = (founded.cluster, founded.node);
            manager
                .store
                .update(|txn| {
                    txn.put_cluster(cluster.clone()).map_err(store::Error::Rejected)?;
                    control::predefined(txn, &*around.random)?;
                    txn.put_node(node.clone()).map_err(store::Error::Rejected)
                })
                .await?;
            record.phase = Phase::Member;
            around.directory.write(&record)
        };
        let begun = tokio::select! {
            begun = begun => begun,
            () = around.clock.sleep(LEAD_WAIT) => Err(Failure::new(
                ErrorKind::DeadlineExceeded,
                "the first manager did not lead in time",
            )),
        };
        if let Err(error) = begun {
            manager.shut_down().await;
            return Err(error);
        }
        self.start(keeper, record, Some(manager)).await
    }

    /// Joins a cluster; answers when this node is a member, or after [`JOIN_WAIT`].
    async fn join(self: &Arc<Self>, request: Join) -> Result<(), Failure> {
        let _permit = self.permit().await;
        if !matches!(self.current(), Current::Inactive) {
            return Err(unfit(Unfit::AlreadyAMember));
        }
        if request.remotes.is_empty() {
            return Err(Failure::invalid("at least 1 RemoteAddr is required to join"));
        }
        shoal_identity::JoinToken::parse(&request.token)?;
        let host = addresses::of_host()?;
        let listen = addresses::listen(&request.listen, &host)?;
        let advertise = addresses::advertise(&request.advertise, listen, &host)?;
        let data_path = addresses::data_path(&request.data_path, &host)?;
        let raft_id = RaftId::random(&*self.around.random);
        let mut record = Record::new(Phase::Joining, listen, advertise, raft_id.0);
        record.data_path = data_path;
        let remotes = request.remotes.iter().map(|remote| addresses::remote(remote));
        record.remotes = remotes.collect::<Result<_, _>>()?;
        record.token = request.token;
        record.availability = request.availability;
        self.around.directory.write(&record)?;
        self.set(Current::Pending);
        let deadline = self.around.clock.monotonic() + JOIN_WAIT;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.try_join(&record).await {
                Ok(member) => {
                    let mut view = member.view();
                    self.adopt(member);
                    let left = deadline.saturating_sub(self.around.clock.monotonic());
                    return tokio::select! {
                        _ = view.wait_for(|view| view.session.is_some()) => Ok(()),
                        () = self.around.clock.sleep(left) => Err(unfit(Unfit::JoinTimedOut)),
                    };
                }
                // What cannot pass by itself is told at once, and nothing stays behind.
                Err(JoinFailure::Final(error)) => return Err(self.not_joined(error)?),
                Err(JoinFailure::MayPass(error)) => {
                    if self.around.clock.monotonic() + JOIN_AGAIN > deadline {
                        tracing::warn!(%error, "not joined yet; going on in the background");
                        self.go_on_joining(record);
                        return Err(unfit(Unfit::JoinTimedOut));
                    }
                    if attempts == JOIN_ATTEMPTS {
                        return Err(self.not_joined(error)?);
                    }
                    self.around.clock.sleep(JOIN_AGAIN).await;
                }
            }
        }
    }

    /// After a join that failed for good; gives why it did.
    fn not_joined(&self, error: Failure) -> Result<Failure, Failure> {
        self.forget()?;
        self.set(Current::Inactive);
        Ok(error)
    }

    fn go_on_joining(self: &Arc<Self>, record: Record) {
        self.set(Current::Pending);
        let host = Arc::clone(self);
        self.tasks.spawn(TaskKind::WorkerSession, async move {
            loop {
                let permit = host.permit().await;
                if !matches!(host.current(), Current::Pending) {
                    return;
                }
                match host.try_join(&record).await {
                    Ok(member) => return host.adopt(member),
                    Err(JoinFailure::Final(error)) => {
                        tracing::error!(%error, "the join was refused");
                        let message = error.chain();
                        return host.set(Current::Broken { message, expired: false });
                    }
                    Err(JoinFailure::MayPass(error)) => {
                        tracing::info!(%error, "not joined yet");
                    }
                }
                drop(permit);
                host.around.clock.sleep(JOIN_AGAIN).await;
            }
        });
    }

    async fn try_join(&self, record: &Record) -> Result<Arc<Member>, JoinFailure> {
        let asked = join::Join {
            managers: &record.remotes,
            token: &record.token,
            availability: record.availability,
            files: &self.files,
            clock: self.around.clock.clone(),
            random: self.around.random.clone(),
        };
        let keeper = match join::join(&asked).await {
            Ok(keeper) => keeper,
            Err(error) if error.may_pass() => return Err(JoinFailure::MayPass(error.into())),
            Err(error) => return Err(JoinFailure::Final(error.into())),
        };
        let mut record = record.clone();
        record.phase = Phase::Member;
        record.token = String::new();
        self.around.directory.write(&record).map_err(JoinFailure::MayPass)?;
        match self.run(keeper, record).await {
            Ok(Current::Member(member)) => Ok(member),
            Ok(_) => Err(JoinFailure::Final(Failure::new(ErrorKind::Internal, "not a member"))),
            Err(error) => Err(JoinFailure::Final(error)),
        }
    }

    /// Leaves the cluster: tasks and all state of it are removed.
    async fn leave(&self, force: bool) -> Result<(), Failure> {
        let _permit = self.permit().await;
        match self.current() {
            Current::Inactive => {
                let message = "This node is not part of a swarm";
                return Err(Failure::new(ErrorKind::Unavailable, message));
            }
            Current::Member(member) => {
                if member.is_manager() && !force {
                    let manager = member.manager();
                    let seen = match &manager {
                        Some(manager) => manager.control.consensus().await.ok(),
                        None => None,
                    };
                    return Err(control::leaving(seen.as_ref()));
                }
                self.mark_leaving()?;
                member.leave().await?;
            }
            Current::Pending | Current::Locked | Current::Broken { .. } => {
                if !force && matches!(self.current(), Current::Locked) {
                    return Err(unfit(Unfit::Locked));
                }
                self.mark_leaving()?;
                self.clear_tasks().await;
            }
        }
        self.forget()?;
        self.set(Current::Inactive);
        Ok(())
    }

    /// Removes what the tasks of a membership that is not running left here. Whoever leaves may do so with a certificate
    /// that cannot be read: nobody knows any more which tasks were its own.
    async fn clear_tasks(&self) {
        let cleared = match self.files.identity() {
            Ok(None) => Ok(()),
            Ok(Some(identity)) => {
                let runner = (self.make_runner)(identity.node, Reach::default());
                member::clear(&*runner.executor, &*runner.networks).await
            }
            Err(error) => Err(Failure::from(error)),
        };
        if let Err(error) = cleared {
            tracing::error!(error = error.chain(), "tasks of the membership that ends stay behind");
        }
    }

    fn mark_leaving(&self) -> Result<(), Failure> {
        if let Some(mut record) = self.around.directory.read()? {
            record.phase = Phase::Leaving;
            self.around.directory.write(&record)?;
        }
        Ok(())
    }

    /// Unlocks a locked manager.
    async fn unlock(self: &Arc<Self>, key: &str) -> Result<(), Failure> {
        let _permit = self.permit().await;
        if !matches!(self.current(), Current::Locked) {
            let inactive = matches!(self.current(), Current::Inactive);
            return Err(unfit(if inactive { Unfit::NotAMember } else { Unfit::NotLocked }));
        }
        let key = UnlockKey::parse(key)?;
        let Some(record) = self.around.directory.read()? else {
            return Err(Failure::new(ErrorKind::DataLoss, "state.json is missing"));
        };
        match self.files.load(Some(&key)) {
            Err(files::Error::WrongKey) => return Err(unfit(Unfit::WrongKey)),
            loaded => drop(loaded?),
        }
        self.resume(record, Some(key)).await;
        match self.current() {
            Current::Broken { message, .. } => Err(Failure::new(ErrorKind::Internal, message)),
            _ => Ok(()),
        }
    }

    /// Ends the member; containers run on.
    pub(crate) async fn stop(&self) {
        if let Current::Member(member) = self.current() {
            member.stop().await;
        }
    }

    /// The manager of this node, or why there is none.
    pub(crate) fn manager(&self) -> Result<Arc<shoal_manager::assembly::Manager>, Failure> {
        match self.current() {
            Current::Inactive | Current::Pending => Err(unfit(Unfit::NotAMember)),
            Current::Locked => Err(unfit(Unfit::Locked)),
            Current::Broken { expired: true, .. } => Err(unfit(Unfit::Expired)),
            Current::Broken { .. } => Err(unfit(Unfit::NotAMember)),
            Current::Member(member) => member.manager().ok_or_else(|| {
                let manager = member.is_manager();
                unfit(if manager { Unfit::ManagerNotReady } else { Unfit::Worker })
            }),
        }
    }
}

enum JoinFailure {
    /// Another attempt may succeed.
    MayPass(Failure),
    Final(Failure),
}
