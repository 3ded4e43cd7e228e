//! One task per sandbox that answers its queries.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{SharedClock, blocking};
use shoal_model::cluster::NetworkView;
use shoal_model::{Classified, ErrorKind, NetworkId};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

use super::forward::{self, Upstream, read_message, write_message};
use super::message::{Code, Over, Query, Unusable, refusal};
use super::sockets::{Redirect, Sockets};
use super::view::{Found, Membership, View};
use crate::kernel::nft::{self, Touched};
use crate::kernel::watch::Watch;
use crate::kernel::{namespace, namespace::Namespace};
use crate::sandbox::SandboxId;

/// Datagrams that wait for another server's answer; further ones are told to come again.
const FORWARDS_MAX: usize = 1024;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// A connection without a query is closed after this time.
const IDLE: Duration = Duration::from_secs(10);
/// A flush of rules comes as many notifications: one look for all of them.
const SETTLE: Duration = Duration::from_millis(20);
/// Largest query that is read.
const QUERY_MAX: usize = 4096;

/// The name server of a sandbox could not be started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    #[error("failed to bind the name server's sockets")]
    Bind(#[source] io::Error),
    #[error("failed to watch the name server's rules")]
    Watch(#[source] io::Error),
    #[error(transparent)]
    Rules(#[from] nft::Error),
    #[error(transparent)]
    Lost(#[from] blocking::Lost),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// What a sandbox's name server needs.
#[derive(Debug)]
pub struct Service {
    /// Whose.
    pub sandbox: SandboxId,
    /// Its namespace.
    pub path: PathBuf,
    /// Who knows other names, in order. Empty: nobody may be asked.
    pub upstreams: Vec<Upstream>,
    /// Sockets of an earlier daemon, UDP and TCP.
    pub kept: Option<(OwnedFd, OwnedFd)>,
}

/// The name servers of all sandboxes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dns {
    tasks: Tasks,
    clock: SharedClock,
    /// Name of the nftables table in sandboxes.
    table: String,
    view: Arc<RwLock<View>>,
    /// Running servers; dropping the sender ends one.
    running: Arc<Mutex<BTreeMap<SandboxId, watch::Sender<Vec<Upstream>>>>>,
}

impl Dns {
    /// Without sandboxes. `table`: name of the nftables table to use in their namespaces.
    pub fn new(tasks: Tasks, clock: SharedClock, table: impl Into<String>) -> Self {
        let (view, running) = Default::default();
        Self { tasks, clock, table: table.into(), view, running }
    }

    /// Sets names and networks of a sandbox.
    pub fn set(&self, sandbox: &SandboxId, memberships: Vec<Membership>) {
        self.view.write().unwrap_or_else(PoisonError::into_inner).set(sandbox, memberships);
    }

    /// Shows the names on a network of the cluster as its view says; `None`: it has none any more.
    pub fn show_cluster(&self, network: NetworkId, told: Option<Arc<NetworkView>>) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        view.show_cluster(network, told);
    }

    /// Starts answering a sandbox, or gives its running server other upstreams; answers copies of new
    /// sockets (UDP, TCP), for whoever keeps them, and nothing when they were kept already.
    ///
    /// # Errors
    /// The operating system's; nothing runs then.
    ///
    /// # Cancel safety
    /// When dropped, nothing runs; [`Dns::remove`] is harmless.
    pub async fn serve(&self, service: Service) -> Result<Option<[OwnedFd; 2]>, Error> {
        let Service { sandbox, path, upstreams, kept } = service;
        if let Some(running) = self.running().get(&sandbox) {
            running.send_replace(upstreams);
            return Ok(None);
        }
        let table = self.table.clone();
        let (namespace, sockets, copies, redirect, changes) =
            blocking::run("open a name server", move || {
                let namespace = Namespace::open(&path)?;
                let adopted = kept.and_then(|(udp, tcp)| Sockets::adopt(udp, tcp));
                let is_new = adopted.is_none();
                let sockets = adopted.map_or_else(|| Sockets::bind(&namespace), Ok)?;
                let redirect = sockets.redirect(&table)?;
                let changes = redirect.make(&namespace)?;
                let copies =
                    if is_new { Some(sockets.copies().map_err(Error::Bind)?) } else { None };
                Ok::<_, Error>((namespace, sockets, copies, redirect, changes))
            })
            .await??;
        let Sockets { udp, tcp } = sockets;
        udp.set_nonblocking(true).map_err(Error::Bind)?;
        tcp.set_nonblocking(true).map_err(Error::Bind)?;
        let udp = UdpSocket::from_std(udp).map_err(Error::Bind)?;
        let tcp = TcpListener::from_std(tcp).map_err(Error::Bind)?;
        let watch = Watch::new(changes, vec![redirect.table.clone()]).map_err(Error::Watch)?;
        let (sender, receiver) = watch::channel(upstreams);
        let mut stopped = receiver.clone();
        let server = Server {
            sandbox: sandbox.clone(),
            namespace: Arc::new(namespace),
            upstreams: receiver,
            view: Arc::clone(&self.view),
            clock: self.clock.clone(),
        };
        self.running().insert(sandbox, sender);
        self.tasks.spawn(TaskKind::Dns, async move {
            let ended = async move { while stopped.changed().await.is_ok() {} };
            tokio::select! {
                () = ended => {}
                () = server.run(udp, tcp) => {}
                () = server.keep(watch, redirect) => {}
            }
        });
        Ok(copies)
    }

    /// Ends the server of a sandbox and forgets its names; an unknown one is fine. Its sockets, which hold
    /// the namespace, are closed soon after.
    pub fn remove(&self, sandbox: &SandboxId) {
        self.running().remove(sandbox);
        self.view.write().unwrap_or_else(PoisonError::into_inner).remove(sandbox);
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<SandboxId, watch::Sender<Vec<Upstream>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Server {
    sandbox: SandboxId,
    namespace: Arc<Namespace>,
    upstreams: watch::Receiver<Vec<Upstream>>,
    view: Arc<RwLock<View>>,
    clock: SharedClock,
}

/// What becomes of a message at once.
enum Step {
    Done(Option<Vec<u8>>),
    Forward(Query),
}

impl Server {
    /// Leads port 53 here again when somebody else flushed the rules. Ends never.
    async fn keep(&self, watch: Watch, redirect: Redirect) {
        // Our own repair is noticed, too, and found to be complete.
        let none = BTreeSet::new();
        loop {
            match watch.changed(&none).await {
                Ok(Touched::Own) => {}
                Ok(Touched::Foreign) => continue,
                Err(error) => {
                    let error = shoal_model::error::Chain(&error).to_string();
                    tracing::error!(sandbox = %self.sandbox, error, "rules are no longer watched");
                    return std::future::pending().await;
                }
            }
            self.clock.sleep(SETTLE).await;
            let (redirect, namespace) = (redirect.clone(), Arc::clone(&self.namespace));
            let mended = blocking::run("mend a name server", move || redirect.mend(&namespace));
            match mended.await.map_err(Error::Lost).flatten() {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(sandbox = %self.sandbox, "rules of the name server restored");
                }
                Err(error) => {
                    let error = shoal_model::error::Chain(&error).to_string();
                    tracing::warn!(sandbox = %self.sandbox, error, "rules of the name server not restored");
                }
            }
        }
    }

    /// Answers until it is dropped.
    async fn run(&self, udp: UdpSocket, tcp: TcpListener) {
        let mut forwards = FuturesUnordered::<BoxFuture<'_, ()>>::new();
        let mut connections = FuturesUnordered::<BoxFuture<'_, ()>>::new();
        let mut buffer = vec![0; QUERY_MAX];
        loop {
            tokio::select! {
                Some(()) = forwards.next() => {}
                Some(()) = connections.next() => {}
                received = udp.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => {
                        let udp = &udp;
                        let answer = match self.step(&buffer[..length], Over::Udp) {
                            Step::Done(answer) => answer,
                            Step::Forward(query) if forwards.len() >= FORWARDS_MAX => {
                                Some(query.respond(Code::ServerFailure, &[], Over::Udp))
                            }
                            Step::Forward(query) => {
                                let bytes = buffer[..length].to_vec();
                                forwards.push(Box::pin(async move {
                                    let answer = self.forward(&query, &bytes, Over::Udp).await;
                                    send(udp, &answer, from).await;
                                }));
                                None
                            }
                        };
                        if let Some(answer) = answer {
                            send(udp, &answer, from).await;
                        }
                    }
                    Err(error) => self.pause(&error).await,
                },
                accepted = tcp.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => connections.push(Box::pin(self.converse(stream))),
                    Err(error) => self.pause(&error).await,
                },
            }
        }
    }

    /// A failing socket must not make the loop spin.
    async fn pause(&self, error: &io::Error) {
        const PAUSE: Duration = Duration::from_millis(50);
        let error = error.to_string();
        tracing::debug!(sandbox = %self.sandbox, error, "name server could not read");
        self.clock.sleep(PAUSE).await;
    }

    fn step(&self, bytes: &[u8], over: Over) -> Step {
        let query = match Query::parse(bytes) {
            Ok(query) => query,
            Err(Unusable::Ignore) => return Step::Done(None),
            Err(Unusable::Refuse(id, flags, code)) => {
                return Step::Done(Some(refusal(id, flags, code)));
            }
        };
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        match view.find(&self.sandbox, &query) {
            Found::Answers(answers) => {
                Step::Done(Some(query.respond(Code::NoError, &answers, over)))
            }
            Found::Unknown => Step::Forward(query),
        }
    }

    async fn forward(&self, query: &Query, bytes: &[u8], over: Over) -> Vec<u8> {
        let upstreams = self.upstreams.borrow().clone();
        let asked = (query, bytes, over);
        let answer = forward::ask(&upstreams, &self.namespace, &self.clock, asked).await;
        answer.unwrap_or_else(|| query.respond(Code::ServerFailure, &[], over))
    }

    async fn converse(&self, mut stream: TcpStream) {
        loop {
            let read = Box::pin(read_message(&mut stream));
            let bytes = match select(read, self.clock.sleep(IDLE)).await {
                Either::Left((Ok(Some(bytes)), _)) => bytes,
                Either::Left(_) | Either::Right(_) => return,
            };
            let answer = match self.step(&bytes, Over::Tcp) {
                Step::Done(None) => return,
                Step::Done(Some(answer)) => answer,
                Step::Forward(query) => self.forward(&query, &bytes, Over::Tcp).await,
            };
            let written = Box::pin(write_message(&mut stream, &answer));
            let Either::Left((Ok(()), _)) = select(written, self.clock.sleep(IDLE)).await else {
                return;
            };
        }
    }
}

async fn send(udp: &UdpSocket, answer: &[u8], to: std::net::SocketAddr) {
    if let Err(error) = udp.send_to(answer, to).await {
        let error = error.to_string();
        tracing::debug!(%to, error, "answer not sent");
    }
}
