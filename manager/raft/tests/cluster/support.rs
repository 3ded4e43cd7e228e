//! Members in one process, over real TCP, with a switch for each direction between two of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use shoal_base::disk::MemoryDisk;
use shoal_base::random::SystemRandom;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{Clock, SharedDisk, SystemClock, SystemDisk};
use shoal_manager_raft::{
    Begin, ConnectError, Connector, Key, KeyId, Keyring, Member, MembershipError, Raft, RaftId,
    Sealer, SnapshotView, Start, StartError, StateMachine, endpoint,
};
use shoal_model::cluster::NodeId;
use shoal_model::cluster::manager::RaftConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;

/// Nothing in these tests takes as long on a healthy cluster.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Every entry, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) entries: Vec<(u64, Bytes)>,
    applied: u64,
}

pub(crate) type SharedJournal = Arc<Mutex<Journal>>;

/// The journal as a state machine. Answers with the number of entries.
pub(crate) struct Machine {
    journal: SharedJournal,
    hold: Arc<AtomicBool>,
}

impl Machine {
    pub(crate) fn new(journal: &SharedJournal) -> Self {
        Self { journal: Arc::clone(journal), hold: Arc::default() }
    }
}

/// Waits to be encoded while `hold` is set.
struct View {
    entries: Vec<(u64, Bytes)>,
    hold: Arc<AtomicBool>,
}

impl SnapshotView for View {
    fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        while self.hold.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        for (index, entry) in &self.entries {
            writer.write_all(&index.to_le_bytes())?;
            writer.write_all(&u64::try_from(entry.len()).unwrap().to_le_bytes())?;
            writer.write_all(entry)?;
        }
        Ok(())
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, index: u64, entry: &Bytes) -> Bytes {
        let mut journal = self.journal.lock().unwrap();
        assert!(index > journal.applied || journal.applied == 0, "entry {index} again");
        journal.applied = index;
        journal.entries.push((index, entry.clone()));
        journal.entries.len().to_string().into()
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let entries = self.journal.lock().unwrap().entries.clone();
        Box::new(View { entries, hold: Arc::clone(&self.hold) })
    }

    fn restore(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut entries = Vec::new();
        let number = |rest: &mut &[u8]| {
            let (head, tail) = rest.split_first_chunk::<8>().ok_or(io::ErrorKind::InvalidData)?;
            *rest = tail;
            Ok::<_, io::Error>(u64::from_le_bytes(*head))
        };
        while !rest.is_empty() {
            let index = number(&mut rest)?;
            let size = usize::try_from(number(&mut rest)?).unwrap();
            let (entry, tail) = rest.split_at_checked(size).ok_or(io::ErrorKind::InvalidData)?;
            rest = tail;
            entries.push((index, Bytes::copy_from_slice(entry)));
        }
        let applied = entries.last().map_or(0, |(index, _)| *index);
        *self.journal.lock().unwrap() = Journal { entries, applied };
        Ok(())
    }

    fn applied(&self) -> u64 {
        self.journal.lock().unwrap().applied
    }
}

/// Directions that are cut.
pub(crate) type Cuts = Arc<RwLock<BTreeSet<(RaftId, RaftId)>>>;

#[derive(Debug, Clone)]
struct SwitchedConnector {
    from: RaftId,
    cuts: Cuts,
}

impl Connector for SwitchedConnector {
    fn connect(&self, member: &Member) -> BoxFuture<'static, Result<Channel, ConnectError>> {
        let link = Link { from: self.from, to: member.id, cuts: Arc::clone(&self.cuts) };
        let address = member.address.clone();
        Box::pin(async move {
            let endpoint = endpoint(&address).unwrap();
            Ok(endpoint
                .connect_with_connector_lazy(Dial { address: address.parse().unwrap(), link }))
        })
    }
}

#[derive(Debug, Clone)]
struct Link {
    from: RaftId,
    to: RaftId,
    cuts: Cuts,
}

impl Link {
    fn check(&self) -> io::Result<()> {
        let cut = self.cuts.read().unwrap().contains(&(self.from, self.to));
        if cut { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

#[derive(Clone)]
struct Dial {
    address: SocketAddr,
    link: Link,
}

impl tower_service::Service<http::Uri> for Dial {
    type Response = TokioIo<Switched>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Switched>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let (address, link) = (self.address, self.link.clone());
        Box::pin(async move {
            link.check()?;
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(Switched { stream, link }))
        })
    }
}

/// A connection that fails at its next use once its direction is cut.
struct Switched {
    stream: TcpStream,
    link: Link,
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.link.check()?;
        read
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A member that runs.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) raft: Raft,
    pub(crate) journal: SharedJournal,
    /// Streams of entries and heartbeats that others opened to it.
    pub(crate) appends: Arc<AtomicUsize>,
    stop: CancellationToken,
    tasks: Tasks,
}

impl Node {
    /// Stops at once, without handing over.
    pub(crate) async fn stop(self) {
        self.raft.shutdown().await;
        self.stop.cancel();
        self.tasks.shut_down().await;
    }

    /// Proposes, and again while there is no leader here or no quorum.
    pub(crate) async fn write(&self, entry: &str) -> u64 {
        within(async {
            loop {
                match self.raft.propose(Bytes::copy_from_slice(entry.as_bytes())).await {
                    Ok(proposed) => return proposed.index,
                    Err(error) if error.certainly_not_committed() => pause().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        let journal = self.journal.lock().unwrap();
        let text = |entry: &Bytes| String::from_utf8(entry.to_vec()).unwrap();
        journal.entries.iter().map(|(_, entry)| text(entry)).collect()
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        seen: impl FnMut(&shoal_manager_raft::Status) -> bool,
    ) {
        let mut watch = self.raft.watch();
        let waited = tokio::time::timeout(PATIENCE, watch.wait_for(seen)).await;
        assert!(matches!(waited, Ok(Ok(_))), "{what}: {:?}", self.raft.status());
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Makes a change of the members; again while a leader on a starved machine doubts that it leads.
pub(crate) async fn changed(change: impl AsyncFn() -> Result<(), MembershipError>) {
    within(async {
        loop {
            match change().await {
                Err(MembershipError::Unavailable) => pause().await,
                other => return other.unwrap(),
            }
        }
    })
    .await;
}

pub(crate) async fn pause() {
    SystemClock.sleep(Duration::from_millis(10)).await;
}

/// Directories and addresses of members, so that they can stop and start.
pub(crate) struct Lab {
    directory: tempfile::TempDir,
    pub(crate) cuts: Cuts,
    pub(crate) config: RaftConfig,
    pub(crate) begin: Begin,
    /// Keeps snapshots from being encoded.
    pub(crate) hold: Arc<AtomicBool>,
    pub(crate) keyring: Arc<Keyring>,
    /// Members that have a disk in memory.
    pub(crate) disks: BTreeMap<usize, MemoryDisk>,
    members: Vec<Member>,
    listeners: Vec<Option<TcpListener>>,
}

impl Lab {
    pub(crate) async fn new(count: u8) -> Self {
        let mut members = Vec::new();
        let mut listeners = Vec::new();
        for number in 1..=count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            members.push(Member {
                id: RaftId(u64::from(number)),
                node: NodeId::from_bytes([number; 16]),
                address: listener.local_addr().unwrap().to_string(),
            });
            listeners.push(Some(listener));
        }
        Self {
            directory: tempfile::tempdir().unwrap(),
            cuts: Cuts::default(),
            config: RaftConfig::default(),
            begin: Begin::AsStored,
            hold: Arc::default(),
            keyring: Arc::new(Keyring::new(
                KeyId(1),
                &Key::from_bytes([7; 32]),
                Arc::new(SystemRandom),
            )),
            disks: BTreeMap::new(),
            members,
            listeners,
        }
    }

    /// As [`Lab::new`], with disks in memory.
    pub(crate) async fn in_memory(count: u8) -> Self {
        let mut lab = Self::new(count).await;
        lab.disks = (1..=usize::from(count)).map(|number| (number, MemoryDisk::new())).collect();
        lab
    }

    fn disk(&self, number: usize) -> SharedDisk {
        match self.disks.get(&number) {
            Some(disk) => Arc::new(disk.clone()),
            None => Arc::new(SystemDisk),
        }
    }

    /// Member `number`, from one.
    pub(crate) fn member(&self, number: usize) -> &Member {
        &self.members[number - 1]
    }

    pub(crate) fn path(&self, number: usize) -> PathBuf {
        self.directory.path().join(number.to_string())
    }

    pub(crate) async fn start(&mut self, number: usize) -> Node {
        self.try_start(number).await.unwrap()
    }

    pub(crate) async fn try_start(&mut self, number: usize) -> Result<Node, StartError> {
        let member = self.member(number).clone();
        let listener = match self.listeners[number - 1].take() {
            Some(listener) => listener,
            None => TcpListener::bind(&member.address).await.unwrap(),
        };
        let journal = SharedJournal::default();
        let raft = Raft::start(Start {
            config: self.config.clone(),
            directory: self.path(number),
            sealer: Arc::clone(&self.keyring) as Arc<dyn Sealer>,
            connector: Arc::new(SwitchedConnector {
                from: member.id,
                cuts: Arc::clone(&self.cuts),
            }),
            machine: Box::new(Machine {
                journal: Arc::clone(&journal),
                hold: Arc::clone(&self.hold),
            }),
            disk: self.disk(number),
            clock: Arc::new(SystemClock),
            begin: self.begin,
            member,
        })
        .await?;
        let (stop, tasks) = (CancellationToken::new(), Tasks::new());
        let appends = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&appends);
        let mut server = tonic::transport::Server::builder().trace_fn(move |request| {
            let is_append = request.uri().path().ends_with("/Append");
            counter.fetch_add(usize::from(is_append), Ordering::SeqCst);
            tracing::Span::none()
        });
        let router = server.add_service(raft.service());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(TaskKind::ClusterListener, async move {
            router.serve_with_incoming_shutdown(incoming, stopped).await.unwrap();
        });
        Ok(Node { raft, journal, appends, stop, tasks })
    }

    /// Gives a member that is stopped another address.
    pub(crate) async fn relocate(&mut self, number: usize) -> Member {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.members[number - 1].address = listener.local_addr().unwrap().to_string();
        self.listeners[number - 1] = Some(listener);
        self.member(number).clone()
    }

    /// Gives a member that is stopped another raft id.
    pub(crate) fn rename(&mut self, number: usize, id: RaftId) {
        self.members[number - 1].id = id;
    }

    /// Starts all members as one cluster of voters led by the first.
    pub(crate) async fn cluster(&mut self) -> Vec<Node> {
        let mut nodes = vec![self.start(1).await];
        nodes[0].raft.bootstrap().await.unwrap();
        nodes[0].until("leads", |status| status.leads()).await;
        for number in 2..=self.members.len() {
            nodes.push(self.start(number).await);
            changed(async || nodes[0].raft.add_voter(self.member(number), PATIENCE).await).await;
        }
        nodes
    }

    /// Cuts a member off from all others, both ways.
    pub(crate) fn isolate(&self, number: usize) {
        let mut cuts = self.cuts.write().unwrap();
        for other in &self.members {
            cuts.insert((self.member(number).id, other.id));
            cuts.insert((other.id, self.member(number).id));
        }
    }

    pub(crate) fn heal(&self) {
        self.cuts.write().unwrap().clear();
    }
}

/// Position of the node that leads, once one does and a majority follows it.
pub(crate) async fn leader_of(nodes: &[&Node]) -> usize {
    within(async {
        loop {
            let leading = nodes.iter().position(|node| {
                let status = node.raft.status();
                let followed = nodes.iter().filter(|other| {
                    let leader = other.raft.status().leader;
                    leader.is_some_and(|leader| leader.id == status.id)
                });
                status.leads() && followed.count() == nodes.len()
            });
            if let Some(position) = leading {
                return position;
            }
            pause().await;
        }
    })
    .await
}
