//! What is known in memory: networks with their leases, and sandboxes. No I/O.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_model::NetworkId;

use super::relay::Relay;
use crate::endpoint::{Endpoint, EndpointRequest, MacAddress};
use crate::error::Error;
use crate::ipam::Addresses;
use crate::network::{Driver, Network};
use crate::parent::ParentOptions;
use crate::plan::networks::BridgeView;
use crate::plan::ports::{Protocol, PublishedPort};
use crate::sandbox::{Sandbox, SandboxId};
use crate::subnet::Subnet;

/// A sandbox with what this process holds for it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) sandbox: Sandbox,
    /// One bound socket per published port, in the order of [`Sandbox::ports`].
    pub(super) reserved: Vec<OwnedFd>,
    /// What takes connections of ports that the kernel cannot rewrite.
    pub(super) relays: BTreeMap<(Protocol, SocketAddr), Relay>,
}

impl Live {
    pub(super) fn new(sandbox: Sandbox) -> Self {
        Self { sandbox, reserved: Vec::new(), relays: BTreeMap::new() }
    }
}

/// The place of a sandbox: operations on one sandbox follow each other.
#[derive(Debug, Default)]
pub(super) struct Slot {
    live: Mutex<Option<Live>>,
    given_up: AtomicBool,
}

impl Slot {
    pub(super) fn of(live: Live) -> Arc<Self> {
        Arc::new(Self { live: Mutex::new(Some(live)), given_up: AtomicBool::new(false) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing may be added.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }
}

/// A network with its leases.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) network: Arc<Network>,
    leases: Vec<Addresses>,
    /// Index of the bridge; `None`: it is not there (yet).
    pub(super) bridge_index: Option<u32>,
    endpoints: BTreeMap<String, SandboxId>,
}

impl Entry {
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &SandboxId> {
        self.endpoints.values()
    }
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) networks: BTreeMap<NetworkId, Entry>,
    pub(super) slots: BTreeMap<SandboxId, Arc<Slot>>,
    /// Published ports of all sandboxes.
    pub(super) published: BTreeMap<PublishedPort, SandboxId>,
    /// Endpoints whose sandbox is gone and whose veth pair may still be there: their addresses are not
    /// given out again before [`super::bury`] has seen it gone.
    pub(super) dying: Vec<Endpoint>,
}

impl State {
    pub(super) fn add_network(&mut self, network: Network) {
        // The cluster gives the addresses of its networks.
        let own = network.pools.iter().filter(|_| !network.is_of_cluster());
        let leases = own.map(|pool| {
            let auxiliary = pool.auxiliary.values().copied();
            Addresses::new(pool.subnet, pool.range, auxiliary.chain([pool.gateway]))
        });
        let entry = Entry {
            leases: leases.collect(),
            bridge_index: None,
            endpoints: BTreeMap::new(),
            network: Arc::new(network),
        };
        self.networks.insert(entry.network.id.clone(), entry);
    }

    /// By name, id or unique id prefix, in this order.
    pub(super) fn resolve(&self, name: &str) -> Result<&Entry, Error> {
        let all = self.networks.values();
        let exact = all.clone().find(|entry| entry.network.spec.name == name);
        let exact = exact.or_else(|| all.clone().find(|entry| entry.network.id.as_str() == name));
        if let Some(entry) = exact {
            return Ok(entry);
        }
        let mut matches =
            all.filter(|entry| !name.is_empty() && entry.network.id.as_str().starts_with(name));
        match (matches.next(), matches.next()) {
            (Some(entry), None) => Ok(entry),
            (Some(_), Some(_)) => Err(Error::AmbiguousNetwork { prefix: name.to_owned() }),
            (None, _) => Err(Error::NoSuchNetwork { name: name.to_owned() }),
        }
    }

    pub(super) fn entry(&mut self, id: &NetworkId) -> Result<&mut Entry, Error> {
        let unknown = || Error::NoSuchNetwork { name: id.to_string() };
        self.networks.get_mut(id).ok_or_else(unknown)
    }

    pub(super) fn views(&self) -> Vec<BridgeView> {
        self.networks.values().filter_map(|entry| entry.network.view()).collect()
    }

    /// Gives addresses to a new endpoint of `sandbox`. On failure none is kept.
    pub(super) fn lease(
        &mut self,
        sandbox: &SandboxId,
        network: &NetworkId,
        request: &EndpointRequest,
        (endpoint, interface): (String, String),
    ) -> Result<Endpoint, Error> {
        let entry = self.entry(network)?;
        let network = Arc::clone(&entry.network);
        check_families(&network, request)?;
        let mut leased = [None, None];
        for leases in &mut entry.leases {
            let ipv4 = leases.subnet().is_ipv4();
            let place = &mut leased[usize::from(!ipv4)];
            if place.is_some() {
                continue; // Docker, too, takes one address per family, of the first subnet.
            }
            let wanted =
                if ipv4 { request.ipv4.map(IpAddr::V4) } else { request.ipv6.map(IpAddr::V6) };
            let taken = match wanted {
                Some(wanted) => leases.take(wanted),
                None => leases.take_next(),
            };
            match taken {
                Ok(address) => *place = Some(address),
                Err(source) => {
                    entry.release(leased.into_iter().flatten().map(|lease| lease.address));
                    return Err(Error::Address {
                        sandbox: sandbox.clone(),
                        network: network.spec.name.clone(),
                        id: network.id.clone(),
                        source,
                    });
                }
            }
        }
        let [ipv4, ipv6] = if network.is_of_cluster() { given(&network, request)? } else { leased };
        let shares_mac = network.spec.driver == Driver::Ipvlan;
        let routes_by_link = network.parent.as_ref().is_some_and(ParentOptions::routes_by_link);
        let gateway = |is_ipv4| {
            let leads_outside =
                !network.spec.internal && !routes_by_link && network.overlay.is_none();
            let has_address = if is_ipv4 { ipv4.is_some() } else { ipv6.is_some() };
            let pool = network.pool(is_ipv4);
            let pool = pool.filter(|_| leads_outside && (has_address || network.mesh.is_none()));
            pool.map(|pool| pool.gateway)
        };
        let derived = match (ipv4.map(|lease| lease.address), ipv6.map(|lease| lease.address)) {
            (Some(IpAddr::V4(address)), _) => MacAddress::from_ipv4(address),
            (_, Some(IpAddr::V6(address))) => MacAddress::from_ipv6(address),
            _ => MacAddress([0x02, 0x42, 0, 0, 0, 0]),
        };
        entry.endpoints.insert(endpoint.clone(), sandbox.clone());
        Ok(Endpoint {
            id: endpoint,
            network: network.id.clone(),
            network_name: network.spec.name.clone(),
            ipv4,
            gateway: gateway(true).and_then(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            }),
            ipv6,
            ipv6_gateway: gateway(false).and_then(|address| match address {
                IpAddr::V6(address) => Some(address),
                IpAddr::V4(_) => None,
            }),
            mac: if shares_mac { MacAddress([0; 6]) } else { request.mac.unwrap_or(derived) },
            interface,
            gateway_priority: request.gateway_priority,
            on_parent: network.parent.is_some(),
            in_overlay: network.overlay.is_some(),
            routes_by_link: routes_by_link && !network.spec.internal,
        })
    }

    /// Takes an endpoint's addresses as given out: it outlived the previous daemon.
    pub(super) fn adopt(&mut self, sandbox: &SandboxId, endpoint: &Endpoint) -> Result<(), Error> {
        let entry = self.entry(&endpoint.network)?;
        for address in endpoint.ipv4.iter().chain(&endpoint.ipv6) {
            let leases =
                entry.leases.iter_mut().find(|leases| leases.subnet().contains(address.address));
            let Some(leases) = leases else { continue };
            leases.take(address.address).map_err(|source| Error::Address {
                sandbox: sandbox.clone(),
                network: endpoint.network_name.clone(),
                id: endpoint.network.clone(),
                source,
            })?;
        }
        entry.endpoints.insert(endpoint.id.clone(), sandbox.clone());
        Ok(())
    }

    /// Takes an endpoint and its addresses back.
    pub(super) fn release(&mut self, endpoint: &Endpoint) {
        self.leave(endpoint);
        if let Some(entry) = self.networks.get_mut(&endpoint.network) {
            let addresses = endpoint.ipv4.iter().chain(&endpoint.ipv6);
            entry.release(addresses.map(|address| address.address));
        }
    }

    /// Takes an endpoint back; its addresses rest until they are released.
    pub(super) fn leave(&mut self, endpoint: &Endpoint) {
        if let Some(entry) = self.networks.get_mut(&endpoint.network) {
            entry.endpoints.remove(&endpoint.id);
        }
    }
}

impl Entry {
    fn release(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            for leases in &mut self.leases {
                leases.release(address);
            }
        }
    }
}

/// The addresses that the cluster gave, with the prefixes of the network's subnets.
fn given(network: &Network, request: &EndpointRequest) -> Result<[Option<Subnet>; 2], Error> {
    let with_prefix = |address: IpAddr| {
        let mut pools = network.pools.iter().map(|pool| pool.subnet);
        let subnet = pools.find(|subnet| subnet.contains(address));
        let outside =
            || Error::NoSubnet { network: network.spec.name.clone(), address: address.to_string() };
        let prefix = subnet.ok_or_else(outside)?.prefix;
        Ok::<_, Error>(Subnet { address, prefix })
    };
    let ipv4 = request.ipv4.map(|address| with_prefix(address.into())).transpose()?;
    let ipv6 = request.ipv6.map(|address| with_prefix(address.into())).transpose()?;
    if ipv4.is_none() && ipv6.is_none() {
        return Err(Error::NoGivenAddress { network: network.spec.name.clone() });
    }
    Ok([ipv4, ipv6])
}

fn check_families(network: &Network, request: &EndpointRequest) -> Result<(), Error> {
    let wanted = [request.ipv4.map(IpAddr::V4), request.ipv6.map(IpAddr::V6)];
    for address in wanted.into_iter().flatten() {
        if network.pool(address.is_ipv4()).is_none() {
            return Err(Error::NoSubnet {
                network: network.spec.name.clone(),
                address: address.to_string(),
            });
        }
    }
    Ok(())
}
