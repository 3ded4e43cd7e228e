//! Sandboxes come, and join networks.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use shoal_model::NetworkId;

use super::Inner;
use super::host::has_ipv6;
use super::state::{Live, Slot};
use crate::endpoint::{Endpoint, EndpointRequest};
use crate::error::Error;
use crate::kernel::link::{self, VethPair};
use crate::kernel::namespace::{self, Namespace};
use crate::kernel::route;
use crate::kernel::socket::{Acknowledge, Message, Socket};
use crate::kernel::sysctl;
use crate::network::{BridgeOptions, Driver};
use crate::sandbox::{Sandbox, SandboxId, SandboxRequest};

/// Longest wait for links to come up.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
/// Before the second look; each further wait is twice as long, because looking takes the rtnl lock.
const SETTLE_LOOK: Duration = Duration::from_micros(200);

impl Inner {
    pub(super) fn attach(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        request: &SandboxRequest,
    ) -> Result<Sandbox, Error> {
        let mut place = slot.lock();
        let path = self.store.namespace(&request.id);
        let sandbox =
            Sandbox { id: request.id.clone(), path, endpoints: Vec::new(), ports: Vec::new() };
        let mut live = Live::new(sandbox);
        let made = if slot.is_given_up() {
            Err(Error::GivenUp { sandbox: request.id.clone() })
        } else {
            self.make(&mut live, request)
        };
        if let Err(error) = made {
            if let Err(left) = self.tear_down(&mut live) {
                let left = shoal_model::error::Chain(&left).to_string();
                tracing::warn!(sandbox = %request.id, error = left, "left behind by a failed start");
            }
            self.forget(&request.id, slot);
            return Err(error);
        }
        let sandbox = live.sandbox.clone();
        *place = Some(live);
        Ok(sandbox)
    }

    /// Removes a sandbox from the state, if it still is the one in `slot`.
    pub(super) fn forget(&self, id: &SandboxId, slot: &Arc<Slot>) {
        let mut state = self.state();
        if state.slots.get(id).is_some_and(|current| Arc::ptr_eq(current, slot)) {
            state.slots.remove(id);
        }
    }

    /// The steps in order. What is in `live` when one fails is torn down by the caller.
    fn make(self: &Arc<Self>, live: &mut Live, request: &SandboxRequest) -> Result<(), Error> {
        for (network, wanted) in &request.endpoints {
            if let Some(endpoint) = self.lease(&live.sandbox, network, wanted)? {
                live.sandbox.endpoints.push(endpoint);
            }
        }
        let reserved = self.reserve_ports(&live.sandbox, &request.ports)?;
        for (port, socket) in reserved {
            live.sandbox.ports.push(port);
            live.reserved.push(socket);
        }
        self.store.write_sandbox(&live.sandbox)?;
        let sandbox = &live.sandbox;
        let fail = |source| Error::Namespace { sandbox: sandbox.id.clone(), source };
        let mut namespace = self.spares.take().map_err(fail)?;
        namespace.pin(&sandbox.path).map_err(fail)?;
        let endpoints: Vec<&Endpoint> = sandbox.endpoints.iter().collect();
        self.wire(sandbox, &endpoints, &mut namespace)?;
        self.set_routes(sandbox, &mut namespace)?;
        if !sandbox.ports.is_empty() {
            self.publish(sandbox)?;
        }
        self.start_relays(live)?;
        self.settle(&live.sandbox, &live.sandbox.endpoints, &mut namespace)?;
        self.balance_if_overlay(&live.sandbox)
    }

    /// Gives addresses on a network. `None`: the network needs no endpoint in the kernel.
    fn lease(
        &self,
        sandbox: &Sandbox,
        network: &NetworkId,
        wanted: &EndpointRequest,
    ) -> Result<Option<Endpoint>, Error> {
        let known = Arc::clone(&self.state().entry(network)?.network);
        if !known.spec.driver.has_endpoints() {
            return Ok(None);
        }
        if sandbox.endpoints.iter().any(|endpoint| endpoint.network == *network) {
            let network = known.spec.name.clone();
            return Err(Error::AlreadyJoined { sandbox: sandbox.id.clone(), network });
        }
        if known.spec.driver == Driver::Ipvlan && wanted.mac.is_some() {
            return Err(Error::NoMac { network: known.spec.name.clone() });
        }
        let prefix = match (&known.bridge, &known.parent) {
            (Some(bridge), _) => &bridge.interface_prefix,
            (None, Some(parent)) => &parent.interface_prefix,
            (None, None) => "eth",
        };
        let interface = sandbox.free_interface(prefix);
        let names = (self.random_id(), interface);
        let mut wanted = wanted.clone();
        if known.mesh.is_some() && !has_ipv6() {
            // The cluster cannot know: the task does without.
            wanted.ipv6 = None;
        }
        self.lease_patiently(|state| state.lease(&sandbox.id, network, &wanted, names.clone()))
            .map(Some)
    }

    /// Makes the veth pairs of `endpoints` and configures their ends: one datagram on the host's side,
    /// one inside.
    pub(super) fn wire(
        self: &Arc<Self>,
        sandbox: &Sandbox,
        endpoints: &[&Endpoint],
        namespace: &mut Namespace,
    ) -> Result<(), Error> {
        if endpoints.is_empty() {
            return Ok(());
        }
        let fail = |step| move |source| Error::Link { sandbox: sandbox.id.clone(), step, source };
        let mut create = Vec::new();
        for endpoint in endpoints {
            let known = Arc::clone(&self.state().entry(&endpoint.network)?.network);
            if let Some(options) = &known.parent {
                create.push(self.member_link(&known, options, endpoint, namespace)?);
                continue;
            }
            if let Some(options) = known.overlay {
                self.wire_overlay(&known, options, endpoint, namespace)?;
                continue;
            }
            let (bridge_index, options) = self.bridge_of(&endpoint.network)?;
            create.push(link::create_veth(&VethPair {
                name: &endpoint.host_interface(),
                bridge_index,
                mtu: options.mtu,
                peer_name: &endpoint.interface,
                peer_mac: endpoint.mac,
                namespace: namespace.as_fd(),
            }));
        }
        let created = self.host.route().transact(&create, Acknowledge::Each);
        created.map_err(fail("create the links"))?;
        self.configure(sandbox, endpoints, namespace)
    }

    /// Gives the interfaces inside their addresses and sets them up; doing it again changes nothing.
    pub(super) fn configure(
        &self,
        sandbox: &Sandbox,
        endpoints: &[&Endpoint],
        namespace: &mut Namespace,
    ) -> Result<(), Error> {
        let fail = |step| move |source| Error::Link { sandbox: sandbox.id.clone(), step, source };
        if endpoints.iter().any(|endpoint| endpoint.ipv6.is_some()) {
            enable_ipv6(sandbox, endpoints, namespace)?;
        }
        let links = link::list(namespace.route()).map_err(fail("list the links"))?;
        let mut configure = Vec::new();
        for endpoint in endpoints {
            let found = links.iter().find(|link| link.name == endpoint.interface);
            let found = found.ok_or_else(|| Error::EndpointLost {
                sandbox: sandbox.id.clone(),
                network: endpoint.network_name.clone(),
            })?;
            for address in endpoint.ipv4.iter().chain(&endpoint.ipv6) {
                configure.push(route::add_address(found.index, *address));
            }
            configure.push(link::set_up(found.index));
        }
        let configured = namespace.route().transact(&configure, Acknowledge::Each);
        configured.map_err(fail("configure the interfaces"))?;
        self.set_hairpin(sandbox, endpoints)
    }

    /// Waits until both ends of the veth pairs carry packets. The kernel takes note of a carrier in the
    /// background; before, the bridge drops what comes from the port and IPv6 addresses do not work, so
    /// that a program's first packet would be lost, and with it a second.
    pub(super) fn settle(
        &self,
        sandbox: &Sandbox,
        endpoints: &[Endpoint],
        namespace: &mut Namespace,
    ) -> Result<(), Error> {
        let is_up = |socket: &mut Socket, name: &str| {
            let fail =
                |source| Error::Link { sandbox: sandbox.id.clone(), step: "watch a link", source };
            // Linux from 6.8 on takes note of the carrier when it is asked for the link: then one look is
            // enough. Older kernels do it in the background.
            let found = link::find(socket, name).map_err(fail)?;
            Ok::<bool, Error>(found.is_none_or(|link| link.operational))
        };
        let clock = &self.ports.clock;
        let deadline = clock.monotonic() + SETTLE_LIMIT;
        let mut wait = SETTLE_LOOK;
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.on_parent) {
            let name = endpoint.host_interface();
            let bridge = match endpoint.in_overlay {
                true => None,
                false => Some(self.bridge_of(&endpoint.network)?.1.name),
            };
            loop {
                // In this order: the bridge has a carrier once its first port has one.
                let outside = match &bridge {
                    Some(bridge) => {
                        is_up(&mut self.host.route(), &name)?
                            && is_up(&mut self.host.route(), bridge)?
                    }
                    None => self.is_overlay_up(endpoint)?,
                };
                if outside && is_up(namespace.route(), &endpoint.interface)? {
                    break;
                }
                if clock.monotonic() > deadline {
                    // The link works soon: no reason to fail a start on a machine this busy.
                    tracing::warn!(sandbox = %sandbox.id, link = name, "link is slow to come up");
                    return Ok(());
                }
                std::thread::sleep(wait);
                wait *= 2;
            }
        }
        Ok(())
    }

    /// A container reaches itself by a published port: where bridged packets pass netfilter, the frame
    /// goes back out of the port it came by.
    fn set_hairpin(&self, sandbox: &Sandbox, endpoints: &[&Endpoint]) -> Result<(), Error> {
        if sandbox.ports.is_empty() || !bridged_packets_are_filtered() {
            return Ok(());
        }
        let fail = |source| Error::Link {
            sandbox: sandbox.id.clone(),
            step: "set the hairpin mode",
            source,
        };
        let mut socket = self.host.route();
        let links = link::list(&mut socket).map_err(fail)?;
        let indexes = endpoints.iter().filter_map(|endpoint| {
            let name = endpoint.host_interface();
            links.iter().find(|link| link.name == name).map(|link| link.index)
        });
        let messages: Vec<Message> = indexes.map(link::set_hairpin).collect();
        socket.transact(&messages, Acknowledge::Each).map_err(fail)
    }

    fn bridge_of(&self, network: &NetworkId) -> Result<(u32, BridgeOptions), Error> {
        let known = {
            let mut state = self.state();
            let entry = state.entry(network)?;
            if let (Some(index), Some(options)) = (entry.bridge_index, &entry.network.bridge) {
                return Ok((index, options.clone()));
            }
            Arc::clone(&entry.network)
        };
        let unknown = || Error::NoSuchNetwork { name: network.to_string() };
        let index = self.host.ensure_bridge(&known)?.ok_or_else(unknown)?;
        self.state().entry(network)?.bridge_index = Some(index);
        Ok((index, known.bridge.clone().ok_or_else(unknown)?))
    }

    /// Sets the default routes of the endpoints that give them.
    pub(super) fn set_routes(
        &self,
        sandbox: &Sandbox,
        namespace: &mut Namespace,
    ) -> Result<(), Error> {
        let gateways = [
            sandbox.gateway(true).map(|one| (one, true, one.gateway.map(IpAddr::V4))),
            sandbox.gateway(false).map(|one| (one, false, one.ipv6_gateway.map(IpAddr::V6))),
        ];
        if gateways.iter().all(Option::is_none) {
            return Ok(());
        }
        let fail = |step| move |source| Error::Link { sandbox: sandbox.id.clone(), step, source };
        let links = link::list(namespace.route()).map_err(fail("list the links"))?;
        let messages: Vec<Message> = gateways
            .into_iter()
            .flatten()
            .filter_map(|(endpoint, ipv4, gateway)| {
                let found = links.iter().find(|link| link.name == endpoint.interface)?;
                Some(match gateway {
                    Some(gateway) => route::set_default_route(found.index, gateway),
                    None => route::set_default_route_by_link(found.index, ipv4),
                })
            })
            .collect();
        namespace
            .route()
            .transact(&messages, Acknowledge::Each)
            .map_err(fail("set the default routes"))
    }

    pub(super) fn connect(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        id: &SandboxId,
        network: &NetworkId,
        request: &EndpointRequest,
    ) -> Result<Sandbox, Error> {
        let mut place = slot.lock();
        let live = place.as_mut().ok_or_else(|| Error::NoSuchSandbox { sandbox: id.clone() })?;
        let before = live.sandbox.clone();
        let Some(endpoint) = self.lease(&live.sandbox, network, request)? else {
            return Ok(before);
        };
        live.sandbox.endpoints.push(endpoint.clone());
        let joined = self.join(live, &endpoint);
        if let Err(error) = joined {
            let undone =
                [self.unwire(&live.sandbox, &[&endpoint]), self.store.write_sandbox(&before)];
            for left in undone.into_iter().filter_map(Result::err) {
                let left = shoal_model::error::Chain(&left).to_string();
                tracing::warn!(sandbox = %id, error = left, "left behind by a failed connection");
            }
            self.state().release(&endpoint);
            live.sandbox.endpoints = before.endpoints;
            return Err(error);
        }
        Ok(live.sandbox.clone())
    }

    fn join(self: &Arc<Self>, live: &mut Live, endpoint: &Endpoint) -> Result<(), Error> {
        self.store.write_sandbox(&live.sandbox)?;
        let mut namespace = self.open_namespace(&live.sandbox)?;
        self.wire(&live.sandbox, &[endpoint], &mut namespace)?;
        self.set_routes(&live.sandbox, &mut namespace)?;
        self.republish(live)?;
        self.settle(&live.sandbox, std::slice::from_ref(endpoint), &mut namespace)?;
        self.balance_if_overlay(&live.sandbox)?;
        self.store.write_sandbox(&live.sandbox)
    }

    fn balance_if_overlay(self: &Arc<Self>, sandbox: &Sandbox) -> Result<(), Error> {
        if sandbox.endpoints.iter().any(|endpoint| endpoint.in_overlay) {
            self.balance_sandbox(&sandbox.id)?;
        }
        Ok(())
    }

    pub(super) fn open_namespace(&self, sandbox: &Sandbox) -> Result<Namespace, Error> {
        if !namespace::is_pinned(&sandbox.path) {
            return Err(Error::NamespaceLost {
                sandbox: sandbox.id.clone(),
                path: sandbox.path.clone(),
            });
        }
        Namespace::open(&sandbox.path)
            .map_err(|source| Error::Namespace { sandbox: sandbox.id.clone(), source })
    }
}

fn enable_ipv6(
    sandbox: &Sandbox,
    endpoints: &[&Endpoint],
    namespace: &Namespace,
) -> Result<(), Error> {
    let with_ipv6 = endpoints.iter().filter(|endpoint| endpoint.ipv6.is_some());
    let keys: Vec<String> = with_ipv6
        .map(|endpoint| format!("ipv6/conf/{}/disable_ipv6", endpoint.interface))
        .collect();
    let set = namespace.run(|| {
        keys.iter().try_for_each(|key| {
            let set = sysctl::set(key, "0");
            set.map(drop).map_err(|source| Error::Sysctl { key: key.clone(), source })
        })
    });
    set.map_err(|source| Error::Namespace { sandbox: sandbox.id.clone(), source })?
}

fn bridged_packets_are_filtered() -> bool {
    ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"]
        .iter()
        .any(|key| sysctl::get(key).ok().flatten().is_some_and(|value| value != "0"))
}
