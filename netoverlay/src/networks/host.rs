//! The host's own network namespace: the process's.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netlink_packet_route::link::InfoKind;

use crate::endpoint::MacAddress;
use crate::error::Error;
use crate::kernel::link::{self, Link};
use crate::kernel::nft::Table;
use crate::kernel::socket::{Acknowledge, Protocol, Socket};
use crate::kernel::{conntrack, route, sysctl};
use crate::network::Network;
use crate::plan::connections::{Connection, is_stale};
use crate::plan::diff::{Change, diff};
use crate::plan::mesh::{node_address, node_mac};
use crate::plan::networks::Loopback6;
use crate::plan::ports::{Protocol as Transport, PublishedPort};
use crate::plan::ruleset::Ruleset;
use crate::settings::MeshSettings;
use crate::subnet::Subnet;

/// Long-lived sockets in the host's namespace. Everything blocks.
#[derive(Debug)]
pub(super) struct Host {
    route: Mutex<Socket>,
    table: Mutex<Table>,
    /// Of packets and of frames.
    mesh: Mutex<[Table; 2]>,
    connections: Mutex<Socket>,
}

impl Host {
    pub(super) fn open(table: &str, mesh: &MeshSettings) -> Result<Self, Error> {
        let frames = Table::of_frames(mesh_table(table), mesh.bridge.clone())?;
        Ok(Self {
            mesh: Mutex::new([Table::open(mesh_table(table))?, frames]),
            route: Mutex::new(Socket::open(Protocol::Route).map_err(Error::OpenHost)?),
            table: Mutex::new(Table::open(table)?),
            connections: Mutex::new(Socket::open(Protocol::Netfilter).map_err(Error::OpenHost)?),
        })
    }

    pub(super) fn route(&self) -> MutexGuard<'_, Socket> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the sockets that change our tables.
    pub(super) fn table_ports(&self) -> Result<BTreeSet<u32>, Error> {
        let mut ports = BTreeSet::from([self.table().port()?]);
        for table in &*self.mesh_tables() {
            ports.insert(table.port()?);
        }
        Ok(ports)
    }

    fn mesh_tables(&self) -> MutexGuard<'_, [Table; 2]> {
        self.mesh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the mesh's tables, of packets and of frames, equal to `desired` (`None`: no tables); answers how many
    /// changes that took.
    pub(super) fn apply_mesh(&self, desired: Option<[Ruleset; 2]>) -> Result<usize, Error> {
        let mut tables = self.mesh_tables();
        let mut count = 0;
        let desired = desired.map_or([None, None], |both| both.map(Some));
        // What goes back is led before anything comes.
        for (table, desired) in tables.iter_mut().zip(desired).rev() {
            let changes = match (desired, table.read()?) {
                (Some(desired), current) => diff(current.as_ref(), &desired),
                (None, Some(_)) => vec![Change::DeleteTable],
                (None, None) => Vec::new(),
            };
            table.commit(&changes)?;
            count += changes.len();
        }
        Ok(count)
    }

    /// Forgets tracked connections of these families (IPv4 as `true`).
    pub(super) fn forget(
        &self,
        families: &BTreeSet<bool>,
        is_stale: impl Fn(&Connection) -> bool,
    ) -> Result<usize, Error> {
        let mut socket = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for ipv4 in families {
            let forgotten = conntrack::forget(&mut socket, *ipv4, &is_stale);
            count += forgotten.map_err(Error::Connections)?;
        }
        Ok(count)
    }

    /// Makes single changes, without looking at the rest of the table.
    pub(super) fn change_rules(&self, changes: &[Change]) -> Result<(), Error> {
        Ok(self.table().commit(changes)?)
    }

    /// Makes the table equal to what `desired` computes (`None`: no table); answers how many changes that took.
    ///
    /// It is computed under the table's lock: single changes of others come before it and are in it, or
    /// come after it.
    pub(super) fn apply_rules(
        &self,
        desired: impl FnOnce() -> Option<Ruleset>,
    ) -> Result<usize, Error> {
        let mut table = self.table();
        let changes = match (desired(), table.read()?) {
            (Some(desired), current) => diff(current.as_ref(), &desired),
            (None, Some(_)) => vec![Change::DeleteTable],
            (None, None) => Vec::new(),
        };
        table.commit(&changes)?;
        Ok(changes.len())
    }

    /// Forgets tracked datagrams that were led elsewhere before `ports` came or went.
    pub(super) fn forget_connections(&self, ports: &[PublishedPort]) -> Result<(), Error> {
        let mut socket = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for ipv4 in [true, false] {
            let of_family = |port: &&PublishedPort| {
                port.protocol == Transport::Udp && port.host.is_ipv4() == ipv4
            };
            if ports.iter().any(|port| of_family(&port)) {
                let forgotten = conntrack::forget(&mut socket, ipv4, |one| is_stale(one, ports));
                let count = forgotten.map_err(Error::Connections)?;
                tracing::debug!(count, "tracked datagrams forgotten");
            }
        }
        Ok(())
    }

    /// Removes the table; absent is fine.
    pub(super) fn drop_rules(&self) -> Result<(), Error> {
        let mut table = self.table();
        if table.read()?.is_some() {
            table.commit(&[Change::DeleteTable])?;
        }
        Ok(())
    }

    pub(super) fn links(&self) -> Result<Vec<Link>, Error> {
        link::list(&mut self.route()).map_err(Error::ReadHost)
    }

    /// Subnets that the host routes or has addresses of, besides those of `except`.
    pub(super) fn used_subnets(&self, except: Option<&str>) -> Result<Vec<Subnet>, Error> {
        let mut socket = self.route();
        let links = link::list(&mut socket).map_err(Error::ReadHost)?;
        let except = links.iter().find(|link| Some(link.name.as_str()) == except);
        let except = except.map(|link| link.index);
        let mut used: Vec<Subnet> = route::destinations(&mut socket)
            .map_err(Error::ReadHost)?
            .into_iter()
            .filter(|(index, _)| except.is_none() || *index != except)
            .map(|(_, subnet)| subnet)
            .collect();
        let addresses = route::addresses(&mut socket).map_err(Error::ReadHost)?;
        let addresses = addresses.into_iter().filter(|(index, _)| Some(*index) != except);
        used.extend(addresses.map(|(_, address)| address.network()));
        Ok(used)
    }

    /// The IPv4 address of a bridge that is there already.
    pub(super) fn address_of(&self, bridge: &str) -> Result<Option<Subnet>, Error> {
        let mut socket = self.route();
        let found = link::find(&mut socket, bridge).map_err(Error::ReadHost)?;
        let Some(found) = found else { return Ok(None) };
        let addresses = route::addresses(&mut socket).map_err(Error::ReadHost)?;
        let own = addresses
            .into_iter()
            .find(|(index, address)| *index == found.index && address.is_ipv4());
        Ok(own.map(|(_, address)| address))
    }

    /// Makes a network's bridge as it must be and answers its index. Changes only what differs.
    pub(super) fn ensure_bridge(&self, network: &Network) -> Result<Option<u32>, Error> {
        let Some(options) = &network.bridge else { return Ok(None) };
        let name = &options.name;
        let fail = |step| move |source| Error::Bridge { bridge: name.clone(), step, source };
        let mut socket = self.route();
        let find = |socket: &mut Socket| link::find(socket, name).map_err(fail("find"));
        let found = if let Some(found) = find(&mut socket)? {
            found
        } else {
            let mac = bridge_mac(network);
            let create = link::create_bridge(&link::Bridge { name, mac, mtu: options.mtu });
            socket.transact(&[create], Acknowledge::Each).map_err(fail("create"))?;
            find(&mut socket)?.ok_or_else(|| Error::NotABridge { bridge: name.clone() })?
        };
        if found.kind != Some(InfoKind::Bridge) {
            return Err(Error::NotABridge { bridge: name.clone() });
        }
        set_bridge_sysctls(network, name)?;
        let wanted: Vec<Subnet> =
            network
                .pools
                .iter()
                .map(|pool| Subnet { address: pool.gateway, prefix: pool.subnet.prefix })
                .chain(network.pools.iter().filter_map(|pool| {
                    Some(node_address(network.mesh?.index, pool.subnet.is_ipv4()))
                }))
                .filter(|address| address.is_ipv4() || has_ipv6())
                .collect();
        let present: Vec<Subnet> = route::addresses(&mut socket)
            .map_err(fail("read the addresses of"))?
            .into_iter()
            .filter(|(index, _)| *index == found.index)
            .map(|(_, address)| address)
            .collect();
        let mut messages = Vec::new();
        for address in present.iter().filter(|address| !is_link_local(**address)) {
            if !wanted.contains(address) {
                messages.push(route::remove_address(found.index, *address));
            }
        }
        for address in wanted.iter().filter(|address| !present.contains(address)) {
            messages.push(route::add_address(found.index, *address));
        }
        if found.mtu != options.mtu {
            messages.push(link::set_mtu(found.index, options.mtu));
        }
        if !found.up {
            messages.push(link::set_up(found.index));
        }
        socket.transact(&messages, Acknowledge::Each).map_err(fail("configure"))?;
        let with_ipv6 = network.pool(false).is_some() && (network.mesh.is_none() || has_ipv6());
        if with_ipv6 && loopback6() == Loopback6::Rewritten {
            match socket.transact(&[route::add_loopback6(found.index)], Acknowledge::Each) {
                Err(error) if error.errno() != Some(libc::EEXIST) => {
                    return Err(fail("route [::1] over")(error));
                }
                _ => {}
            }
        }
        Ok(Some(found.index))
    }

    pub(super) fn remove_link(&self, name: &str) -> Result<(), crate::kernel::socket::Error> {
        link::remove(&mut self.route(), name)
    }
}

/// Fixed by the gateway: the bridge would else change its address with its ports.
fn bridge_mac(network: &Network) -> MacAddress {
    if let Some(mesh) = network.mesh {
        return node_mac(mesh.index);
    }
    let gateway = network.pools.first().map(|pool| pool.gateway);
    match gateway {
        Some(std::net::IpAddr::V4(address)) => MacAddress::from_ipv4(address),
        Some(std::net::IpAddr::V6(address)) => MacAddress::from_ipv6(address),
        None => {
            let bytes = network.id.as_str().as_bytes();
            MacAddress([0x02, 0x42, bytes[0], bytes[1], bytes[2], bytes[3]])
        }
    }
}

fn is_link_local(subnet: Subnet) -> bool {
    match subnet.address {
        std::net::IpAddr::V4(_) => false,
        std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn set_bridge_sysctls(network: &Network, bridge: &str) -> Result<(), Error> {
    let ipv6 = network.pool(false).is_some();
    let values = [
        // 127.0.0.1:<published port> leaves by the bridge.
        (format!("ipv4/conf/{bridge}/route_localnet"), "1"),
        (format!("ipv6/conf/{bridge}/accept_ra"), "0"),
        (format!("ipv6/conf/{bridge}/accept_dad"), "0"),
        (format!("ipv6/conf/{bridge}/disable_ipv6"), if ipv6 { "0" } else { "1" }),
    ];
    for (key, value) in values {
        set_sysctl(&key, value)?;
    }
    Ok(())
}

pub(super) fn set_sysctl(key: &str, value: &str) -> Result<(), Error> {
    match sysctl::set(key, value) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Sysctl { key: key.to_owned(), source }),
    }
}

/// Whether the kernel has IPv6.
pub(super) fn has_ipv6() -> bool {
    std::path::Path::new("/proc/thread-self/net/if_inet6").exists()
}

/// The name of the mesh's tables.
pub(super) fn mesh_table(table: &str) -> String {
    format!("{table}-mesh")
}

/// How `[::1]` works in the calling thread's namespace: anybody may change the parameter at any time.
pub(super) fn loopback6() -> Loopback6 {
    let filtered = sysctl::get("bridge/bridge-nf-call-ip6tables");
    if filtered.is_ok_and(|value| value.is_some_and(|value| value != "0")) {
        Loopback6::Relayed
    } else {
        Loopback6::Rewritten
    }
}
