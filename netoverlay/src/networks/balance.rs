//! Tables in sandboxes that spread connections to virtual addresses over backends.
//!
//! What a change of a network takes is made once, and put into each member's table by one transaction over a socket
//! that stays open. A table that is new, was changed by somebody else or refused a change is read and made as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use shoal_base::blocking;
use shoal_base::tasks::TaskKind;
use shoal_model::NetworkId;
use shoal_model::cluster::NetworkView;

use super::Inner;
use super::overlay::Overlays;
use super::overlay_watch::Lifetime;
use crate::error::Error;
use crate::kernel::conntrack;
use crate::kernel::namespace::{self, Namespace};
use crate::kernel::nft::{Table, Touched};
use crate::kernel::socket::Socket;
use crate::kernel::watch::Watch;
use crate::plan::diff::diff;
use crate::plan::overlay::{self, Alive, Backends, Class};
use crate::plan::slots;
use crate::plan::spread::{Change, Spread};
use crate::plan::turn::Turn;
use crate::sandbox::SandboxId;

/// Changes by others come in bursts: one repair for all of them.
const SETTLE: Duration = Duration::from_millis(20);

/// What is known of the tables.
#[derive(Debug, Default)]
pub(super) struct Balanced {
    /// Backends by network: the same in all its members.
    networks: BTreeMap<NetworkId, Shown>,
    /// Tables that are as they must be.
    tables: BTreeMap<SandboxId, Made>,
}

/// How the connections of a network are spread, as one view says.
#[derive(Debug)]
struct Shown {
    view: Arc<NetworkView>,
    spread: Spread,
}

#[derive(Debug)]
struct Made {
    table: Table,
    /// Those that it has.
    classes: BTreeSet<Class>,
    /// Ends the watch over the table.
    _watch: Lifetime,
}

impl Balanced {
    /// Goes on to a view of a network.
    fn follow(&mut self, network: &NetworkId, view: Arc<NetworkView>) -> Change {
        if let Some(shown) = self.networks.get_mut(network) {
            let change = shown.spread.take(&Turn::between(&shown.view, &view));
            shown.view = view;
            return change;
        }
        let mut spread = Spread::default();
        let change = spread.follow(&view);
        self.networks.insert(network.clone(), Shown { view, spread });
        change
    }

    /// A network is not this node's business any more.
    pub(super) fn forget_network(&mut self, network: &NetworkId) {
        self.networks.remove(network);
    }

    /// A sandbox is going, or its table is no longer trusted.
    pub(super) fn forget(&mut self, sandbox: &SandboxId) {
        self.tables.remove(sandbox);
    }
}

impl Inner {
    /// Makes the tables of a network's members as its view says.
    pub(super) fn balance_members(
        self: &Arc<Self>,
        overlays: &mut Overlays,
        network: &NetworkId,
        members: &BTreeSet<SandboxId>,
    ) -> Vec<Error> {
        let Some(view) = overlays.view(network) else { return Vec::new() };
        let change = overlays.balanced.follow(network, view);
        let mut errors = Vec::new();
        for sandbox in members {
            let turned = match overlays.balanced.tables.get_mut(sandbox) {
                Some(made) => made.take(&change),
                None => self.balance(overlays, sandbox),
            };
            if let Err(error) = turned {
                overlays.balanced.forget(sandbox);
                errors.push(error);
            }
        }
        errors
    }

    /// Makes a sandbox's table, after it came, or joined or left a network.
    pub(super) fn balance_sandbox(self: &Arc<Self>, sandbox: &SandboxId) -> Result<(), Error> {
        let mut overlays = self.overlays();
        overlays.balanced.forget(sandbox);
        self.balance(&mut overlays, sandbox)
    }

    /// Its namespace is going.
    pub(super) fn forget_balance(&self, sandbox: &SandboxId) {
        self.overlays().balanced.forget(sandbox);
    }

    /// Makes the whole table of a sandbox as the views of its networks say.
    fn balance(
        self: &Arc<Self>,
        overlays: &mut Overlays,
        sandbox: &SandboxId,
    ) -> Result<(), Error> {
        let path = self.store.namespace(sandbox);
        if !namespace::is_pinned(&path) {
            return Ok(());
        }
        let (mut backends, mut alive) = (Backends::new(), Alive::default());
        for network in self.overlays_of(sandbox) {
            let Some(view) = overlays.view(&network) else { continue };
            let shown = overlays.balanced.networks.entry(network).or_insert_with(|| {
                let mut spread = Spread::default();
                spread.follow(&view);
                Shown { view, spread }
            });
            let vips = shown.view.services.iter().flat_map(|service| &service.virtual_ips);
            alive.virtual_ips.extend(vips);
            alive.present.extend(shown.spread.present());
            let own = shown.spread.backends();
            backends.extend(own.iter().map(|(vip, addresses)| (*vip, addresses.clone())));
        }
        let fail = |source| Error::Namespace { sandbox: sandbox.clone(), source };
        let table = format!("{}-vip", self.settings.table);
        let namespace = Namespace::open(&path).map_err(fail)?;
        let made = namespace.run(|| balance_here(&table, &backends, &alive)).map_err(fail)??;
        if let Some((made, socket)) = made {
            let watch = self.watch_table(sandbox, table, &made, socket)?;
            let classes =
                backends.iter().map(|(vip, addresses)| Class::of(*vip, addresses)).collect();
            let made = Made { table: made, classes, _watch: watch };
            overlays.balanced.tables.insert(sandbox.clone(), made);
        }
        Ok(())
    }

    /// The overlay networks that a sandbox has joined.
    fn overlays_of(&self, sandbox: &SandboxId) -> Vec<NetworkId> {
        let state = self.state();
        let entries = state.networks.values().filter(|entry| entry.network.overlay.is_some());
        let joined = entries.filter(|entry| entry.endpoints().any(|member| member == sandbox));
        joined.map(|entry| entry.network.id.clone()).collect()
    }

    /// Has a table that somebody else changes made anew.
    fn watch_table(
        self: &Arc<Self>,
        sandbox: &SandboxId,
        table: String,
        made: &Table,
        socket: Socket,
    ) -> Result<Lifetime, Error> {
        let own = BTreeSet::from([made.port()?]);
        let watch = Watch::new(socket, vec![table]).map_err(Error::OpenHost)?;
        let (weak, clock) = (Arc::downgrade(self), self.ports.clock.clone());
        let sandbox = sandbox.clone();
        let (lifetime, ended) = Lifetime::new();
        self.ports.tasks.spawn(TaskKind::NetworkRepair, async move {
            let changed = async {
                while let Ok(touched) = watch.changed(&own).await {
                    if touched == Touched::Own {
                        clock.sleep(SETTLE).await;
                        return true;
                    }
                }
                false
            };
            tokio::select! {
                changed = changed => if changed { rebalance(&weak, sandbox).await },
                () = ended => {}
            }
        });
        Ok(lifetime)
    }
}

async fn rebalance(weak: &Weak<Inner>, sandbox: SandboxId) {
    let Some(inner) = weak.upgrade() else { return };
    tracing::info!(%sandbox, "the table of virtual addresses was changed by another program");
    let balanced = blocking::run("balance a sandbox", move || inner.balance_sandbox(&sandbox));
    if let Ok(Err(error)) = balanced.await {
        let error = shoal_model::error::Chain(&error).to_string();
        tracing::warn!(error, "the table of virtual addresses is not restored");
    }
}

impl Made {
    fn take(&mut self, change: &Change) -> Result<(), Error> {
        let missing: Vec<Class> = change.step.classes.difference(&self.classes).copied().collect();
        let mut changes = slots::classes(missing.iter().copied());
        changes.extend(change.step.changes.iter().cloned());
        self.table.commit(&changes)?;
        self.classes.extend(missing);
        let (lost, gone) = (&change.step.lost, &change.gone);
        if lost.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let stale = |one: &_| overlay::is_left(one, lost, gone);
        forget(self.table.socket(), lost.iter().map(|(vip, _)| vip).chain(gone), stale)
    }
}

/// In the namespace of the calling thread. `None`: nothing is to be balanced.
fn balance_here(
    table: &str,
    backends: &Backends,
    alive: &Alive,
) -> Result<Option<(Table, Socket)>, Error> {
    let mut table = Table::open(table)?;
    let current = table.read()?;
    if current.is_none() && backends.is_empty() {
        return Ok(None);
    }
    let watch = Watch::socket().map_err(Error::OpenHost)?;
    table.commit(&diff(current.as_ref(), &overlay::balancing(backends)))?;
    let stale = |one: &_| overlay::is_stale(one, backends, alive);
    forget(table.socket(), alive.virtual_ips.iter(), stale)?;
    Ok(Some((table, watch)))
}

/// Forgets connections of the families of `addresses`.
fn forget<'a>(
    socket: &mut Socket,
    addresses: impl Iterator<Item = &'a IpAddr>,
    is_stale: impl Fn(&crate::plan::connections::Connection) -> bool,
) -> Result<(), Error> {
    let families: BTreeSet<bool> = addresses.map(IpAddr::is_ipv4).collect();
    // Most namespaces have none, and looking for some takes the kernel through all of the host's.
    if families.is_empty() || conntrack::count(socket).map_err(Error::Connections)? == 0 {
        return Ok(());
    }
    for ipv4 in families {
        conntrack::forget(socket, ipv4, &is_stale).map_err(Error::Connections)?;
    }
    Ok(())
}
