//! Relays of published ports that nftables cannot rewrite: from an IPv6 address of the host to a container
//! that has only IPv4, and from `[::1]` where bridged packets are filtered.
//!
//! No process per port: a task of the daemon takes the connections of the socket that reserves the port.
//! The container sees an address of the host. While no daemon runs, connections wait in that socket, of
//! which the container's shim holds a copy.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use shoal_base::SharedClock;
use shoal_base::tasks::{TaskKind, Tasks};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;

use crate::kernel::port;
use crate::plan::ports::{Protocol, PublishedPort};

/// Connections of one port at a time; further ones wait in the socket.
const CONNECTIONS_MAX: usize = 1024;
/// Senders of datagrams to one port at a time; datagrams of further ones are dropped.
const FLOWS_MAX: usize = 1024;
/// Longest wait for a container to take a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A sender that is silent this long is forgotten. Source: moby `cmd/docker-proxy` UDPConnTrackTimeout.
const FLOW_IDLE: Duration = Duration::from_secs(90);
/// Longest wait for a relay's task to end.
const STOP_LIMIT: Duration = Duration::from_secs(1);
/// After a failure of the listening socket itself.
const PAUSE: Duration = Duration::from_millis(100);
const DATAGRAM_MAX: usize = 65_535;

/// A running relay; dropping it ends its connections.
#[derive(Debug)]
pub(super) struct Relay {
    /// `None`: what arrives is turned away.
    target: watch::Sender<Option<SocketAddr>>,
    /// Disconnected when the task has closed its socket.
    ended: Receiver<()>,
}

impl Relay {
    /// Starts taking what arrives at `reserved`, the socket of `published`.
    pub(super) fn start(
        published: &PublishedPort,
        reserved: &OwnedFd,
        tasks: &Tasks,
        clock: &SharedClock,
    ) -> io::Result<Self> {
        let socket = port::open(published.protocol, reserved)?;
        let (target, receiver) = watch::channel(Some(published.container));
        let mut stopped = receiver.clone();
        let stopped = async move { while stopped.changed().await.is_ok() {} };
        let (ends, ended) = std::sync::mpsc::sync_channel::<()>(1);
        let buffer =
            Mutex::new(vec![0; if published.protocol == Protocol::Udp { DATAGRAM_MAX } else { 0 }]);
        let worker = Worker { target: receiver, clock: clock.clone(), buffer };
        match published.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::from_std(socket.into())?;
                tasks.spawn(TaskKind::Relay, async move {
                    let _ends = ends;
                    select(Box::pin(stopped), Box::pin(worker.carry_connections(listener))).await;
                });
            }
            Protocol::Udp => {
                let socket = UdpSocket::from_std(socket.into())?;
                tasks.spawn(TaskKind::Relay, async move {
                    let (_ends, socket) = (ends, socket);
                    select(Box::pin(stopped), Box::pin(worker.carry_datagrams(&socket))).await;
                });
            }
            Protocol::Sctp => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(Self { target, ended })
    }

    /// Ends it, and waits until its socket is closed, so that the port can be bound again. Blocks.
    pub(super) fn stop(self) {
        let Self { target, ended } = self;
        drop(target);
        // Either way nothing is left to do: an overloaded runtime closes the socket a little later.
        let _ = ended.recv_timeout(STOP_LIMIT);
    }

    /// From now on new connections go there; `None`: nowhere.
    pub(super) fn lead_to(&self, container: Option<SocketAddr>) {
        self.target.send_replace(container);
    }
}

struct Worker {
    target: watch::Receiver<Option<SocketAddr>>,
    clock: SharedClock,
    /// For one datagram on its way back.
    buffer: Mutex<Vec<u8>>,
}

/// One sender of datagrams.
struct Flow {
    socket: UdpSocket,
    /// When the sender sent last, in milliseconds of the clock.
    active: AtomicU64,
}

impl Worker {
    async fn carry_connections(&self, listener: TcpListener) {
        let mut connections = FuturesUnordered::<BoxFuture<'_, ()>>::new();
        loop {
            tokio::select! {
                Some(()) = connections.next() => {}
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => connections.push(Box::pin(self.carry(stream))),
                    Err(error) => self.pause(&error).await,
                },
            }
        }
    }

    async fn carry(&self, mut client: TcpStream) {
        let Some(target) = *self.target.borrow() else { return };
        let connected = Box::pin(TcpStream::connect(target));
        let outcome = match select(connected, self.clock.sleep(CONNECT_LIMIT)).await {
            Either::Left((Ok(mut server), _)) => {
                // A program that waits for small answers must not wait for the relay as well.
                let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
                tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
            }
            Either::Left((Err(error), _)) => Err(error),
            Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = outcome {
            tracing::debug!(%target, error = %error, "relayed connection ended");
        }
    }

    async fn carry_datagrams(&self, socket: &UdpSocket) {
        let mut flows = BTreeMap::<SocketAddr, Arc<Flow>>::new();
        let mut answers = FuturesUnordered::<BoxFuture<'_, SocketAddr>>::new();
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            tokio::select! {
                Some(client) = answers.next() => { flows.remove(&client); }
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((length, client)) => {
                        let flow = match flows.get(&client) {
                            Some(flow) => Arc::clone(flow),
                            None if flows.len() >= FLOWS_MAX => continue,
                            None => match self.flow().await {
                                Ok(flow) => {
                                    flows.insert(client, Arc::clone(&flow));
                                    answers.push(Box::pin(self.answer(Arc::clone(&flow), socket, client)));
                                    flow
                                }
                                Err(error) => {
                                    self.pause(&error).await;
                                    continue;
                                }
                            },
                        };
                        flow.active.store(self.now(), Ordering::Relaxed);
                        if let Err(error) = flow.socket.send(&buffer[..length]).await {
                            tracing::debug!(%client, error = %error, "datagram not relayed");
                        }
                    }
                    Err(error) => self.pause(&error).await,
                },
            }
        }
    }

    async fn flow(&self) -> io::Result<Arc<Flow>> {
        let target = *self.target.borrow();
        let target = target.ok_or(io::ErrorKind::HostUnreachable)?;
        let any: SocketAddr = if target.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(target).await?;
        Ok(Arc::new(Flow { socket, active: AtomicU64::new(self.now()) }))
    }

    /// Sends what the container answers back, until both have been silent.
    async fn answer(&self, flow: Arc<Flow>, back: &UdpSocket, client: SocketAddr) -> SocketAddr {
        let idle = u64::try_from(FLOW_IDLE.as_millis()).unwrap_or(u64::MAX);
        loop {
            let readable = Box::pin(flow.socket.readable());
            match select(readable, self.clock.sleep(FLOW_IDLE)).await {
                Either::Left((readable, _)) => {
                    let passed = readable.and_then(|()| self.pass_back(&flow, back, client));
                    match passed {
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                            // For instance the container's refusal: nobody listens there yet.
                            tracing::debug!(%client, error = %error, "answer not relayed");
                        }
                        _ => {}
                    }
                }
                Either::Right(_) => {
                    let silent = self.now().saturating_sub(flow.active.load(Ordering::Relaxed));
                    if silent >= idle {
                        return client;
                    }
                }
            }
        }
    }

    fn pass_back(&self, flow: &Flow, back: &UdpSocket, client: SocketAddr) -> io::Result<()> {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let length = flow.socket.try_recv(&mut buffer)?;
        back.try_send_to(&buffer[..length], client).map(drop)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// A failing socket must not make a loop spin.
    async fn pause(&self, error: &io::Error) {
        tracing::debug!(error = %error, "relay could not take a connection");
        self.clock.sleep(PAUSE).await;
    }
}
