//! Nodes: their disks, clocks and processes, which are started, killed and started again.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use shoal_base::disk::MemoryDisk;
use shoal_base::random::{SeededRandom, SharedRandom};
use shoal_base::tasks::Tasks;
use shoal_base::{SharedClock, SharedDisk};
use shoal_identity::files::Stored;
use shoal_identity::keeper::Keeper;
use shoal_identity::tls::Expected;
use shoal_identity::{Credentials, NodeFiles, connect};
use shoal_manager::assembly::{self, Manager, Options, Surroundings};
use shoal_manager_raft::{Begin, RaftId};
use shoal_model::cluster::NodeId;
use shoal_model::error::Failure;
use shoal_worker::agent::{self, Ports, Worker};
use shoal_worker::session::Connector;
use shoal_worker::storage::SecretCache;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::executor::Machine;
use crate::net::Network;
use crate::planted::Planted;
use crate::settings::Settings;
use crate::time::NodeClock;

/// Where managers listen.
pub const PORT: u16 = 2377;

/// What every node has.
#[derive(Debug)]
pub struct Node {
    /// Its number, from 1.
    pub number: u8,
    /// Its id.
    pub id: NodeId,
    /// Its address.
    pub host: IpAddr,
    /// Its disk.
    pub disk: MemoryDisk,
    /// Its clock.
    pub clock: NodeClock,
    /// Where its certificate is.
    pub files: NodeFiles,
    random: SharedRandom,
    network: Network,
    planted: Planted,
    settings: Settings,
}

/// What a node is made from.
#[derive(Debug)]
pub struct Making<'a> {
    /// Its number.
    pub number: u8,
    /// Its id.
    pub id: NodeId,
    /// Its certificate.
    pub stored: Stored,
    /// Of the run.
    pub seed: u64,
    /// Any node's.
    pub clock: &'a NodeClock,
    /// All nodes'.
    pub network: &'a Network,
    /// The run's bug.
    pub planted: Planted,
    /// Of the run.
    pub settings: Settings,
}

/// Where a node is.
pub fn host(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

impl Node {
    /// A node that is off.
    ///
    /// # Errors
    /// When its certificate cannot be stored.
    pub fn new(making: Making<'_>) -> anyhow::Result<Self> {
        let Making { number, id, stored, seed, clock, network, planted, settings } = making;
        let random: SharedRandom = Arc::new(SeededRandom::new(seed ^ (u64::from(number) << 40)));
        let directory = Path::new("/node");
        // Certificates are on a disk of their own: what becomes of them after a crash has its own tests.
        let disk = MemoryDisk::new();
        shoal_base::Disk::create_directory(&disk, directory)?;
        let files = NodeFiles::open(directory, Arc::new(disk), random.clone())?;
        files.save(&stored, None)?;
        Ok(Self {
            number,
            id,
            host: host(number),
            disk: MemoryDisk::new(),
            clock: clock.another(),
            files,
            random,
            network: network.clone(),
            planted,
            settings,
        })
    }

    fn clock(&self) -> SharedClock {
        Arc::new(self.clock.clone())
    }

    /// The disk as its processes see it.
    fn seen_disk(&self) -> SharedDisk {
        crate::forgetful::disk(&self.disk, self.planted)
    }

    fn keeper(&self) -> anyhow::Result<Keeper> {
        let stored = self.files.load(None)?;
        let stored =
            stored.ok_or_else(|| anyhow::anyhow!("node {} has no certificate", self.number))?;
        let keeper = Keeper::new(self.files.clone(), stored, None, self.clock())?;
        keeper.credentials().set_wire(self.network.of(self.host, self.planted));
        Ok(keeper)
    }

    /// Calls in this node's name.
    ///
    /// # Errors
    /// When it has no certificate.
    pub fn credentials(&self) -> anyhow::Result<Credentials> {
        Ok(self.keeper()?.credentials().clone())
    }

    /// Starts a manager.
    ///
    /// # Errors
    /// When its log is damaged.
    pub async fn start_manager(&self) -> Result<Manager, assembly::Error> {
        let address = SocketAddr::new(self.host, PORT);
        let keeper = self.keeper().map_err(|_| assembly::Error::NoDataKey)?;
        let options = Options {
            directory: PathBuf::from("/manager/raft"),
            raft_id: RaftId(self.number.into()),
            listen: address,
            advertise: address.to_string(),
            raft: self.settings.raft(),
            begin: Begin::AsStored,
            ready: true,
            feature_level: shoal_manager::feature::LEVEL,
        };
        let around = Surroundings {
            keeper,
            clock: self.clock(),
            random: self.random.clone(),
            disk: self.seen_disk(),
        };
        Manager::start(options, around).await
    }

    /// Starts a worker that knows these managers.
    ///
    /// # Errors
    /// When it cannot read its disk.
    pub async fn start_worker(
        &self,
        machine: &Arc<Machine>,
        managers: &[IpAddr],
    ) -> anyhow::Result<(Worker, Tasks)> {
        let tasks = Tasks::new();
        let options = agent::Options {
            directory: PathBuf::from("/worker"),
            seeds: managers.iter().map(|host| SocketAddr::new(*host, PORT).to_string()).collect(),
            secrets: SecretCache::Memory,
        };
        shoal_base::Disk::create_directory(&self.disk, &options.directory)?;
        let ports = Ports {
            executor: Arc::<Machine>::clone(machine),
            networks: Arc::<Machine>::clone(machine),
            connector: Arc::new(ByCertificate(self.credentials()?)),
            clock: self.clock(),
            random: self.random.clone(),
            disk: self.seen_disk(),
            tasks: tasks.clone(),
        };
        Ok((Worker::start(options, ports).await?, tasks))
    }
}

struct ByCertificate(Credentials);

#[async_trait]
impl Connector for ByCertificate {
    async fn connect(&self, address: &str) -> Result<Channel, Failure> {
        Ok(connect::channel(&self.0, address, Expected::Manager)?)
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It is killed; what it wrote is there.
    Killed,
    /// The machine loses its power; of what was not synced some survives, as the seed says.
    PowerCut(u64),
}

/// What runs on a node, in one of its lives.
#[derive(Debug)]
pub struct Life<P> {
    /// The process.
    pub process: P,
    /// Cancelled when it dies.
    pub died: CancellationToken,
}

impl<P> Life<P> {
    /// It has begun.
    pub fn new(process: P) -> Self {
        Self { process, died: CancellationToken::new() }
    }
}

/// Lets a node's process die: from this instant on nothing that it does has an effect. `stop` ends what is left of it in
/// memory.
pub async fn die(
    node: &Node,
    died: &CancellationToken,
    death: Death,
    stop: impl Future<Output = ()>,
) {
    node.disk.die_at(0);
    died.cancel();
    node.network.set_down(node.host);
    stop.await;
    match death {
        Death::Killed => {
            node.disk.die_at(u64::MAX);
            node.network.set_up(node.host);
        }
        Death::PowerCut(seed) => node.disk.cut_power(seed),
    }
}

/// Switches a node on.
pub fn revive(node: &Node) {
    node.disk.set_capacity(None);
    node.network.set_up(node.host);
}
