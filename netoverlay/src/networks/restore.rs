//! After a restart: what lives is taken over, everything else is removed, the kernel is made as it must be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::sockopt;

use super::Inner;
use super::host::set_sysctl;
use super::publish::leading;
use super::state::{Live, Slot};
use crate::endpoint::{Endpoint, host_interface};
use crate::error::Error;
use crate::kernel::link::{self, Link};
use crate::kernel::{namespace, port};
use crate::sandbox::{Sandbox, SandboxId};

type Restored = BTreeMap<SandboxId, Result<Sandbox, Error>>;

impl Inner {
    pub(super) fn restore(
        self: &Arc<Self>,
        live: BTreeMap<SandboxId, Vec<OwnedFd>>,
    ) -> Result<Restored, Error> {
        let found = self.store.sandboxes()?;
        let mut damaged: BTreeMap<SandboxId, Error> = found.damaged.into_iter().collect();
        let (kept, gone): (Vec<_>, Vec<_>) =
            found.records.into_iter().partition(|record| live.contains_key(&record.id));
        let mut records: BTreeMap<SandboxId, Sandbox> =
            kept.into_iter().map(|record| (record.id.clone(), record)).collect();
        let mut restored = Restored::new();
        for (id, descriptors) in live {
            let result = match (records.remove(&id), damaged.remove(&id)) {
                (Some(record), _) => self.adopt(record, descriptors),
                (None, Some(error)) => Err(error),
                (None, None) => Err(Error::NoSuchSandbox { sandbox: id.clone() }),
            };
            restored.insert(id, result);
        }
        self.drop_disabled_default()?;
        // Rules come first: they already hold the ports of what was taken over.
        self.repair()?;
        self.check_endpoints(&mut restored)?;
        for record in gone {
            self.remove_leftover(record);
        }
        for id in damaged.into_keys() {
            self.store.remove_sandbox(&id)?;
        }
        self.sweep(&restored)?;
        if let Err(error) = self.repair_overlays() {
            let error = shoal_model::error::Chain(&error).to_string();
            tracing::warn!(error, "overlay networks not wholly restored");
        }
        if let Err(error) = self.repair_mesh() {
            let error = shoal_model::error::Chain(&error).to_string();
            tracing::warn!(error, "routing mesh not wholly restored");
        }
        Ok(restored)
    }

    /// Takes a recorded sandbox over, with its addresses and ports.
    fn adopt(&self, record: Sandbox, descriptors: Vec<OwnedFd>) -> Result<Sandbox, Error> {
        if !namespace::is_pinned(&record.path) {
            let path = record.path.clone();
            self.remove_leftover(record.clone());
            return Err(Error::NamespaceLost { sandbox: record.id, path });
        }
        let mut state = self.state();
        let mut adopted = Vec::new();
        for endpoint in &record.endpoints {
            if let Err(error) = state.adopt(&record.id, endpoint) {
                for endpoint in adopted {
                    state.release(endpoint);
                }
                return Err(error);
            }
            adopted.push(endpoint);
        }
        let mut given = by_address(descriptors);
        let mut reserved = Vec::new();
        let mut relays = BTreeMap::new();
        for published in &record.ports {
            let kept = given.remove(&(published.protocol as u32, published.host));
            // The port leads to the container whoever holds the socket: a failure is only reported.
            let socket = kept.map_or_else(
                || port::reserve(published.protocol, published.host).map(|(socket, _)| socket),
                Ok,
            );
            match socket {
                Ok(socket) => {
                    if let Err(error) = self.start_relay(published, &socket, &mut relays) {
                        let error = shoal_model::error::Chain(&error).to_string();
                        tracing::warn!(error, "published port not relayed");
                    }
                    let relay = relays.get(&(published.protocol, published.host));
                    if let Some(relay) = relay.filter(|_| !record.is_led_to(published)) {
                        relay.lead_to(None);
                    }
                    reserved.push(socket);
                }
                Err(error) => {
                    let error = error.to_string();
                    tracing::warn!(port = %published.host, error, "published port not reserved");
                }
            }
        }
        for published in leading(&record) {
            state.published.insert(published, record.id.clone());
        }
        let slot = Slot::of(Live { sandbox: record.clone(), reserved, relays });
        state.slots.insert(record.id.clone(), slot);
        Ok(record)
    }

    fn remove_leftover(&self, record: Sandbox) {
        let id = record.id.clone();
        if let Err(error) = self.tear_down(&mut Live::new(record)) {
            let error = shoal_model::error::Chain(&error).to_string();
            tracing::warn!(sandbox = %id, error, "leftover sandbox not wholly removed");
        }
    }

    /// Makes the endpoints of what was taken over as their records say: the previous daemon may have been
    /// killed in the middle of a connection. What is there already is not touched.
    fn check_endpoints(self: &Arc<Self>, restored: &mut Restored) -> Result<(), Error> {
        let links = self.host.links()?;
        let names: BTreeSet<&str> = links.iter().map(|link| link.name.as_str()).collect();
        for result in restored.values_mut() {
            let Ok(sandbox) = result else { continue };
            if sandbox.endpoints.is_empty() {
                continue;
            }
            if let Err(error) = self.check_sandbox(sandbox, &names) {
                *result = Err(error);
            }
        }
        Ok(())
    }

    fn check_sandbox(
        self: &Arc<Self>,
        sandbox: &Sandbox,
        links: &BTreeSet<&str>,
    ) -> Result<(), Error> {
        let mut namespace = self.open_namespace(sandbox)?;
        let inside = link::list(namespace.route()).map_err(|source| Error::Link {
            sandbox: sandbox.id.clone(),
            step: "list the links",
            source,
        })?;
        let (there, missing): (Vec<&Endpoint>, Vec<&Endpoint>) =
            sandbox.endpoints.iter().partition(|endpoint| {
                if endpoint.on_parent || endpoint.in_overlay {
                    inside.iter().any(|link| link.name == endpoint.interface)
                } else {
                    links.contains(endpoint.host_interface().as_str())
                }
            });
        self.wire(sandbox, &missing, &mut namespace)?;
        self.configure(sandbox, &there, &mut namespace)?;
        self.set_routes(sandbox, &mut namespace)?;
        self.settle(sandbox, &sandbox.endpoints, &mut namespace)
    }

    /// Removes namespaces and veths that no sandbox owns, in our own directory and on our own bridges.
    fn sweep(&self, restored: &Restored) -> Result<(), Error> {
        for id in self.store.namespaces()? {
            if restored.contains_key(&id) {
                continue;
            }
            namespace::unpin(&self.store.namespace(&id))
                .map_err(|source| Error::Namespace { sandbox: id, source })?;
        }
        let owned: BTreeSet<String> = restored
            .values()
            .flatten()
            .flat_map(|sandbox| &sandbox.endpoints)
            .map(|endpoint| host_interface(&endpoint.id))
            .collect();
        let links = self.host.links()?;
        let bridges: BTreeSet<u32> = {
            let state = self.state();
            state.networks.values().filter_map(|entry| entry.bridge_index).collect()
        };
        let leftover = |link: &&Link| {
            link.master.is_some_and(|master| bridges.contains(&master))
                && is_veth_name(&link.name)
                && !owned.contains(&link.name)
        };
        let indexes: Vec<u32> = links.iter().filter(leftover).map(|link| link.index).collect();
        self.remove_links(&indexes)
    }

    /// Makes our rules as they must be, in our table and in others'.
    pub(super) fn apply_rules(&self) -> Result<usize, Error> {
        let others = self.look_at_others()?;
        let own = self.host.apply_rules(|| self.desired_rules())?;
        Ok(own + self.admit(&others)?)
    }

    /// Networks of this host and the mesh; answers how many changes the rules took.
    pub(super) fn repair_all(&self) -> Result<usize, Error> {
        Ok(self.repair()? + self.repair_mesh()?)
    }

    pub(super) fn repair(&self) -> Result<usize, Error> {
        let changes = self.apply_rules()?;
        if self.settings.forwarding && self.has_bridges() {
            set_sysctl("ipv4/ip_forward", "1")?;
        }
        let networks: Vec<_> = {
            let state = self.state();
            state.networks.values().map(|entry| entry.network.clone()).collect()
        };
        for network in networks {
            if self.settings.forwarding && network.pool(false).is_some() {
                set_sysctl("ipv6/conf/all/forwarding", "1")?;
            }
            if let Some(options) = &network.parent {
                // A link that the host lost concerns this network's members only.
                if let Err(error) = self.ensure_parent(options, &network.spec.name) {
                    let error = shoal_model::error::Chain(&error).to_string();
                    tracing::warn!(network = network.spec.name, error, "parent link not made");
                }
            }
            if network.overlay.is_some() {
                continue;
            }
            let index = self.host.ensure_bridge(&network)?;
            if let Ok(entry) = self.state().entry(&network.id) {
                entry.bridge_index = index;
            }
        }
        Ok(changes)
    }
}

/// Names of the veth ends that this crate makes.
fn is_veth_name(name: &str) -> bool {
    name.strip_prefix("veth").is_some_and(|digits| {
        digits.len() == 7 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Sockets by protocol number and address. What is no bound socket is closed.
fn by_address(descriptors: Vec<OwnedFd>) -> BTreeMap<(u32, SocketAddr), OwnedFd> {
    descriptors
        .into_iter()
        .filter_map(|descriptor| {
            let protocol = sockopt::socket_protocol(&descriptor).ok()??;
            let address = rustix::net::getsockname(&descriptor).ok()?;
            let key = (protocol.as_raw().get(), address.try_into().ok()?);
            Some((key, descriptor))
        })
        .collect()
}
