//! The networks of one host, put together: definitions, leases, sandboxes, rules, repair.
//!
//! Every operation that touches the kernel is one blocking job from beginning to end. Operations on one
//! sandbox follow each other ([`state::Slot`]); others only meet at the short lock of the state and at
//! the host's sockets. No job holds the state's lock while it talks to the kernel.

mod admit;
mod attach;
mod balance;
mod bury;
mod define;
mod detach;
mod host;
mod mesh;
pub(crate) mod overlay;
mod overlay_watch;
mod parents;
mod publish;
mod relay;
mod restore;
mod spare;
mod state;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_base::random::{SharedRandom, id32};
use shoal_base::tasks::Tasks;
use shoal_base::{SharedClock, SharedDisk, blocking};
use shoal_model::NetworkId;
use shoal_model::cluster::service::Protocol;
use shoal_model::cluster::{NetworkView, NodeId};
use tokio::sync::watch as channel;

use self::bury::Buried;
use self::host::Host;
use self::mesh::Meshed;
use self::overlay::Overlays;
use self::spare::Spares;
use self::state::{Slot, State};
use crate::endpoint::EndpointRequest;
use crate::error::Error;
use crate::kernel::watch::Watch;
use crate::network::{Network, NetworkSpec};
use crate::plan::networks::{Surroundings, ruleset};
use crate::plan::ports::PublishedPort;
use crate::plan::ruleset::Ruleset;
use crate::sandbox::{Sandbox, SandboxId, SandboxRequest};
use crate::settings::Settings;
use crate::store::Store;

/// What the composition root gives.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Durable files.
    pub disk: SharedDisk,
    /// Ids.
    pub random: SharedRandom,
    /// Times of creation.
    pub clock: SharedClock,
    /// Owner of the pool's task.
    pub tasks: Tasks,
}

/// The networks of this host: of the network namespace in which [`Networks::open`] was called.
#[derive(Debug, Clone)]
pub struct Networks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    ports: Ports,
    store: Store,
    host: Host,
    spares: Arc<Spares>,
    buried: Buried,
    state: Mutex<State>,
    overlays: Mutex<Overlays>,
    meshed: Mutex<Meshed>,
    /// Ports of the mesh that are not published here.
    refused: channel::Sender<BTreeSet<(Protocol, u16)>>,
    /// Another program's table drops forwarded packets and has our accept.
    admitting: AtomicBool,
    /// The daemon ends and leaves nothing in others' tables.
    left: AtomicBool,
    /// What was reported about other programs' tables: once each.
    reported: Mutex<BTreeSet<String>>,
}

impl Networks {
    /// Reads the definitions and makes network `bridge`, `host` and `none` where they are missing. Touches
    /// nothing of the kernel: [`Networks::restore`] must follow.
    ///
    /// # Errors
    /// Damaged files, or no subnet left for network `bridge`.
    pub async fn open(settings: Settings, ports: Ports) -> Result<Self, Error> {
        let inner = blocking::run("open networks", move || {
            let store = Store::open(ports.disk.clone(), &settings.data_root, &settings.exec_root)?;
            let host = Host::open(&settings.table, &settings.mesh)?;
            let spares = Arc::default();
            let (buried, state, overlays, meshed) = Default::default();
            let (admitting, left, reported) = Default::default();
            let refused = channel::Sender::default();
            let inner = Inner {
                settings,
                ports,
                store,
                host,
                spares,
                buried,
                state,
                overlays,
                meshed,
                refused,
                admitting,
                left,
                reported,
            };
            inner.load_networks()?;
            inner.load_views()?;
            Ok::<_, Error>(inner)
        })
        .await??;
        let (count, clock) = (inner.settings.spare_namespaces, inner.ports.clock.clone());
        inner.spares.keep(count, &inner.ports.tasks, clock);
        let inner = Arc::new(inner);
        bury::keep(&inner);
        mesh::retry(&inner);
        Ok(Self { inner })
    }

    /// Finds a network by name, id or unique id prefix.
    ///
    /// # Errors
    /// When there is none, or the prefix fits several.
    pub fn resolve(&self, name: &str) -> Result<Arc<Network>, Error> {
        self.inner.state().resolve(name).map(|entry| Arc::clone(&entry.network))
    }

    /// All networks.
    pub fn list(&self) -> Vec<Arc<Network>> {
        self.inner.state().networks.values().map(|entry| Arc::clone(&entry.network)).collect()
    }

    /// The sandboxes that have joined a network.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn members(&self, network: &NetworkId) -> Result<Vec<SandboxId>, Error> {
        Ok(self.inner.state().entry(network)?.endpoints().cloned().collect())
    }

    /// Makes a network.
    ///
    /// # Errors
    /// Bad or taken name, bad options, overlapping subnets, or the kernel's refusal.
    pub async fn create_network(&self, spec: NetworkSpec) -> Result<Arc<Network>, Error> {
        self.run("create a network", move |inner| inner.create_network(spec)).await
    }

    /// Makes a network of the cluster known on this node; nothing is made in the kernel before the first endpoint.
    ///
    /// # Errors
    /// A name that another network of this host has.
    pub async fn define_overlay(&self, network: Network) -> Result<Arc<Network>, Error> {
        self.run("define an overlay network", move |inner| inner.define_overlay(network)).await
    }

    /// Puts the view of a network of the cluster into effect; `node` is this node.
    ///
    /// # Errors
    /// The kernel's refusal; doing it again goes on.
    pub async fn apply_view(&self, view: Arc<NetworkView>, node: NodeId) -> Result<(), Error> {
        self.run("apply a view", move |inner| inner.apply_view(view, node)).await
    }

    /// Whether this node was told of a network of the cluster: endpoints can be made then.
    pub fn has_view(&self, network: &NetworkId) -> bool {
        self.inner.has_view(network)
    }

    /// The views in effect.
    pub fn views(&self) -> Vec<Arc<NetworkView>> {
        self.inner.views()
    }

    /// Forgets a network of the cluster, now or with its last endpoint; an unknown one is fine.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn leave_overlay(&self, network: NetworkId) -> Result<(), Error> {
        self.run("leave an overlay network", move |inner| inner.leave_overlay(&network)).await
    }

    /// Ports of the routing mesh that another program of this host has: they are not published here.
    pub fn refused_ports(&self) -> BTreeSet<(Protocol, u16)> {
        self.inner.refused.borrow().clone()
    }

    /// Returns once other ports than these are refused.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn refused_ports_changed(&self, known: &BTreeSet<(Protocol, u16)>) {
        // The sender lives as long as the networks.
        let _ = self.inner.refused.subscribe().wait_for(|refused| refused != known).await;
    }

    /// Removes a network without endpoints.
    ///
    /// # Errors
    /// Unknown, pre-defined or in use.
    pub async fn remove_network(&self, id: NetworkId) -> Result<(), Error> {
        self.run("remove a network", move |inner| inner.remove_network(&id)).await
    }

    /// Makes a sandbox, joins its networks and publishes its ports. Undoes itself on failure.
    ///
    /// # Errors
    /// Unknown network, address or port taken, or the kernel's refusal.
    ///
    /// # Cancel safety
    /// When dropped, the work goes on; [`Networks::detach`] stops it or takes back what it made.
    pub async fn attach(&self, request: SandboxRequest) -> Result<Sandbox, Error> {
        let slot = self.inner.claim(&request.id)?;
        self.run("attach a sandbox", move |inner| inner.attach(&slot, &request)).await
    }

    /// Removes a sandbox and everything of it; an unknown one is fine. Attempts every step.
    ///
    /// # Errors
    /// What stayed behind; the sandbox is then still known, and this can be called again.
    pub async fn detach(&self, id: SandboxId) -> Result<(), Error> {
        let slot = self.inner.state().slots.get(&id).cloned();
        let Some(slot) = slot else { return Ok(()) };
        slot.give_up();
        self.run("detach a sandbox", move |inner| inner.detach(&slot, &id)).await
    }

    /// Joins a sandbox to a further network.
    ///
    /// # Errors
    /// As [`Networks::attach`]; also when it has joined already.
    pub async fn connect(
        &self,
        id: SandboxId,
        network: NetworkId,
        request: EndpointRequest,
    ) -> Result<Sandbox, Error> {
        let slot = self.inner.slot(&id)?;
        self.run("connect a sandbox", move |inner| inner.connect(&slot, &id, &network, &request))
            .await
    }

    /// Takes a sandbox off a network.
    ///
    /// # Errors
    /// When it has not joined.
    pub async fn disconnect(&self, id: SandboxId, network: NetworkId) -> Result<Sandbox, Error> {
        let slot = self.inner.slot(&id)?;
        self.run("disconnect a sandbox", move |inner| inner.disconnect(&slot, &id, &network)).await
    }

    /// Takes over the sandboxes that live, with the sockets that reserved their ports (in any order;
    /// missing ones are bound anew), removes all others, and makes bridges and rules as they must be.
    /// Called once, before any other operation on sandboxes.
    ///
    /// # Errors
    /// When networks cannot work at all. What concerns one sandbox is in its own result.
    pub async fn restore(
        &self,
        live: BTreeMap<SandboxId, Vec<OwnedFd>>,
    ) -> Result<BTreeMap<SandboxId, Result<Sandbox, Error>>, Error> {
        let (restored, watch) = self
            .run("restore networks", move |inner| {
                let restored = inner.restore(live)?;
                let watch = Watch::socket().map_err(Error::OpenHost)?;
                Ok((restored, watch))
            })
            .await?;
        watch::keep(&self.inner, watch)?;
        Ok(restored)
    }

    /// Makes bridges and rules as they must be; answers how many changes the rules took.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn repair(&self) -> Result<usize, Error> {
        self.run("repair networks", |inner| inner.repair_all()).await
    }

    /// For the daemon's end: takes our rules out of other programs' tables when no sandbox lives that would
    /// be cut off by that. Everything else stays for the next start. Nothing may be called after it but
    /// [`Networks::clear`].
    ///
    /// # Errors
    /// What stayed behind.
    pub async fn leave(&self) -> Result<(), Error> {
        self.run("leave networks", |inner| {
            let lives = !inner.state().slots.is_empty();
            if lives { Ok(()) } else { inner.leave() }
        })
        .await
    }

    /// Removes the rules and all bridges, for a daemon that will not come back. Definitions stay.
    ///
    /// # Errors
    /// What stayed behind.
    pub async fn clear(&self) -> Result<(), Error> {
        self.run("clear networks", |inner| inner.clear()).await
    }

    /// Duplicates of the sockets that reserve a sandbox's published ports, in the order of
    /// [`Sandbox::ports`], for whoever keeps them while the daemon restarts.
    ///
    /// # Errors
    /// Unknown sandbox, or no descriptor left.
    pub async fn reserved(&self, id: SandboxId) -> Result<Vec<OwnedFd>, Error> {
        let slot = self.inner.slot(&id)?;
        self.run("duplicate port sockets", move |_| {
            let live = slot.lock();
            let live = live.as_ref().ok_or(Error::NoSuchSandbox { sandbox: id })?;
            let copies: std::io::Result<Vec<OwnedFd>> =
                live.reserved.iter().map(OwnedFd::try_clone).collect();
            copies.map_err(Error::Duplicate)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        job: impl FnOnce(&Arc<Inner>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        blocking::run(name, move || job(&inner)).await?
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random_id(&self) -> String {
        NetworkId::from_bytes(id32(&*self.ports.random)).as_str().to_owned()
    }

    fn slot(&self, id: &SandboxId) -> Result<Arc<Slot>, Error> {
        let unknown = || Error::NoSuchSandbox { sandbox: id.clone() };
        self.state().slots.get(id).cloned().ok_or_else(unknown)
    }

    /// Takes an id for a sandbox that is about to be made.
    fn claim(&self, id: &SandboxId) -> Result<Arc<Slot>, Error> {
        let mut state = self.state();
        if state.slots.contains_key(id) {
            return Err(Error::SandboxExists { sandbox: id.clone() });
        }
        let slot = Arc::<Slot>::default();
        state.slots.insert(id.clone(), Arc::clone(&slot));
        Ok(slot)
    }

    /// `None`: without any bridge there is nothing to rule.
    fn desired_rules(&self) -> Option<Ruleset> {
        let state = self.state();
        let ports: Vec<PublishedPort> = state.published.keys().copied().collect();
        let views = state.views();
        let admit = self.admitting.load(Ordering::SeqCst).then_some(self.settings.mark);
        (!views.is_empty())
            .then(|| ruleset(&views, &ports, Surroundings { loopback: host::loopback6(), admit }))
    }

    fn has_bridges(&self) -> bool {
        !self.state().views().is_empty()
    }
}
