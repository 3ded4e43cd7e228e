//! The network between nodes: delays, losses (which TCP shows as delays), cuts in one or both directions, resets.
//!
//! What is sent on one connection arrives in order; what is sent on several overtakes each other.

mod pipe;
mod post;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use shoal_base::random::Numbers;
use shoal_identity::tls::Expected;
use shoal_identity::wire::{End, Wire};
use shoal_identity::{PeerIdentity, PeerInfo};
use shoal_model::cluster::node::NodeRole;
use tokio::sync::{mpsc, watch};

use pipe::{Direction, Socket};
use post::Post;

use crate::planted::{Bug, Planted};

/// A node, by its address.
pub type Host = IpAddr;

/// Connections that wait to be accepted.
const BACKLOG: usize = 64;
/// Before a lost packet is sent again; doubled each time.
const RESEND: Duration = Duration::from_millis(200);
const RESENDS_MAX: u32 = 6;

/// The network. Clones are the same.
#[derive(Debug, Clone)]
pub struct Network {
    shared: Arc<Mutex<Shared>>,
    /// Changes whenever a way is opened or closed.
    ways: Arc<watch::Sender<u64>>,
    post: Arc<Post>,
}

#[derive(Debug)]
struct Shared {
    numbers: Numbers,
    listeners: BTreeMap<SocketAddr, Listener>,
    connections: Vec<[Weak<Direction>; 2]>,
    cuts: BTreeSet<(Host, Host)>,
    down: BTreeSet<Host>,
    /// Milliseconds that are added to what comes from and goes to a node.
    slow: BTreeMap<Host, u64>,
    /// Of a thousand packets.
    lost: u64,
    /// Of a message, in tenths of milliseconds.
    latency: (u64, u64),
}

#[derive(Debug)]
struct Listener {
    identity: PeerIdentity,
    connections: mpsc::Sender<(End, PeerInfo)>,
}

impl Network {
    /// Without faults.
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            numbers: Numbers::new(seed),
            listeners: BTreeMap::new(),
            connections: Vec::new(),
            cuts: BTreeSet::new(),
            down: BTreeSet::new(),
            slow: BTreeMap::new(),
            lost: 0,
            latency: (5, 30),
        };
        let ways = Arc::new(watch::Sender::new(0));
        Self { shared: Arc::new(Mutex::new(shared)), ways, post: Arc::default() }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets arrive what is sent, for as long as it is polled.
    pub async fn deliver(&self) {
        self.post.deliver().await;
    }

    /// As one node reaches the network.
    pub fn of(&self, host: Host, planted: Planted) -> Arc<dyn Wire> {
        Arc::new(Access { network: self.clone(), host, planted })
    }

    /// Nothing sent by `from` reaches `to` any more.
    pub fn cut(&self, from: Host, to: Host) {
        self.shared().cuts.insert((from, to));
        self.changed();
    }

    /// What `from` sends reaches `to` again.
    pub fn mend(&self, from: Host, to: Host) {
        self.shared().cuts.remove(&(from, to));
        self.changed();
    }

    /// Opens all ways, at the usual speed and without losses.
    pub fn heal(&self) {
        let mut shared = self.shared();
        shared.cuts.clear();
        shared.slow.clear();
        shared.lost = 0;
        shared.latency = (5, 30);
        drop(shared);
        self.changed();
    }

    /// So many of a thousand packets are lost.
    pub fn set_loss(&self, lost: u64) {
        self.shared().lost = lost;
    }

    /// Messages take between so many tenths of milliseconds.
    pub fn set_latency(&self, from: u64, to: u64) {
        self.shared().latency = (from, to.max(from + 1));
    }

    /// Adds milliseconds to what a node sends and gets.
    pub fn set_slow(&self, host: Host, milliseconds: u64) {
        self.shared().slow.insert(host, milliseconds);
    }

    /// The node is off: nobody listens there, others hear nothing from it.
    pub fn set_down(&self, host: Host) {
        let mut shared = self.shared();
        shared.listeners.retain(|address, _| address.ip() != host);
        shared.down.insert(host);
        drop(shared);
        self.changed();
    }

    /// The node's kernel is on again; what others sent to the processes of its former life is answered by resets.
    pub fn set_up(&self, host: Host) {
        self.shared().down.remove(&host);
        self.reset_all(host);
        self.changed();
    }

    /// The node is as fast as others again.
    pub fn set_fast(&self, host: Host) {
        self.shared().slow.remove(&host);
    }

    /// Resets all connections of a node.
    pub fn reset_all(&self, host: Host) {
        let mut concerned = Vec::new();
        self.shared().connections.retain(|directions| {
            let [Some(one), Some(other)] = directions.each_ref().map(Weak::upgrade) else {
                return false;
            };
            if one.from == host || one.to == host {
                concerned.extend([one, other]);
                return false;
            }
            true
        });
        concerned.iter().for_each(|direction| direction.reset());
    }

    fn changed(&self) {
        self.ways.send_modify(|count| *count += 1);
        let alive: Vec<_> = {
            let shared = self.shared();
            shared.connections.iter().flatten().filter_map(Weak::upgrade).collect()
        };
        alive.iter().for_each(|direction| direction.wake());
    }

    fn is_cut(&self, from: Host, to: Host) -> bool {
        let shared = self.shared();
        shared.cuts.contains(&(from, to))
            || shared.down.contains(&from)
            || shared.down.contains(&to)
    }

    fn delay(&self, from: Host, to: Host) -> Duration {
        let mut shared = self.shared();
        let (least, most) = shared.latency;
        let tenths = least + shared.numbers.below(most - least);
        let slow = [from, to].iter().filter_map(|host| shared.slow.get(host)).sum::<u64>();
        let mut delay = Duration::from_micros(tenths * 100) + Duration::from_millis(slow);
        let lost = shared.lost;
        for attempt in 0..RESENDS_MAX {
            if lost == 0 || shared.numbers.below(1000) >= lost {
                break;
            }
            delay += RESEND * 2u32.pow(attempt);
        }
        delay
    }

    async fn open(
        self,
        host: Host,
        own: PeerIdentity,
        to: SocketAddr,
    ) -> io::Result<(PeerIdentity, End)> {
        let mut ways = self.ways.subscribe();
        while self.is_cut(host, to.ip()) || self.is_cut(to.ip(), host) {
            if ways.changed().await.is_err() {
                return Err(io::ErrorKind::NetworkDown.into());
            }
        }
        pipe::round_trip(&self, host, to.ip()).await;
        let (there, back) = (Direction::new(host, to.ip()), Direction::new(to.ip(), host));
        let socket = |incoming: &Arc<Direction>, outgoing: &Arc<Direction>| {
            Box::new(Socket {
                network: self.clone(),
                incoming: Arc::clone(incoming),
                outgoing: Arc::clone(outgoing),
            })
        };
        let (here, other): (End, End) = (socket(&back, &there), socket(&there, &back));
        let info = PeerInfo { address: SocketAddr::new(host, 40_000), identity: Some(own) };
        let mut shared = self.shared();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listener = shared.listeners.get(&to).ok_or_else(refused)?;
        let identity = listener.identity;
        listener.connections.try_send((other, info)).map_err(|_| refused())?;
        shared.connections.retain(|directions| directions[0].strong_count() > 0);
        shared.connections.push([Arc::downgrade(&there), Arc::downgrade(&back)]);
        Ok((identity, here))
    }
}

#[derive(Debug)]
struct Access {
    network: Network,
    host: Host,
    planted: Planted,
}

impl Wire for Access {
    fn connect(
        &self,
        own: PeerIdentity,
        address: &str,
        expected: Expected,
    ) -> BoxFuture<'static, io::Result<End>> {
        let (network, host, address) = (self.network.clone(), self.host, address.parse());
        let shown = if self.planted.is(Bug::SkippedRoleCheck) {
            PeerIdentity { role: NodeRole::Manager, ..own }
        } else {
            own
        };
        Box::pin(async move {
            let address = address.map_err(io::Error::other)?;
            let (identity, end) = network.open(host, shown, address).await?;
            if expected.is(identity) {
                Ok(end)
            } else {
                Err(io::Error::other(format!("expected {expected:?}, found {identity:?}")))
            }
        })
    }

    fn listen(
        &self,
        own: PeerIdentity,
        address: SocketAddr,
    ) -> io::Result<BoxStream<'static, (End, PeerInfo)>> {
        let (connections, incoming) = mpsc::channel(BACKLOG);
        let mut shared = self.network.shared();
        let listener = Listener { identity: own, connections };
        let free = shared.listeners.get(&address).is_none_or(|old| old.connections.is_closed());
        if !free {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        shared.listeners.insert(address, listener);
        let incoming = futures_util::stream::unfold(incoming, |mut incoming| async move {
            incoming.recv().await.map(|connection| (connection, incoming))
        });
        Ok(incoming.boxed())
    }
}
