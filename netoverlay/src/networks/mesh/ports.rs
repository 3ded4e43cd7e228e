//! Ports of the mesh are reserved on each node, as those of containers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use shoal_base::blocking;
use shoal_base::tasks::TaskKind;
use shoal_model::cluster::mesh::{Mesh, MeshPort};

use super::super::Inner;
use super::super::host::loopback6;
use super::super::publish::{host_has_ipv6, reserve_one};
use super::super::relay::Relay;
use super::Meshed;
use crate::error::Error;
use crate::plan::mesh::{families, key};
use crate::plan::networks::Loopback6;
use crate::plan::ports::Protocol;
use crate::sandbox::PortRequest;

/// Nothing tells when another program gives a port back.
const RETRY: Duration = Duration::from_secs(5);

/// A reserved port.
#[derive(Debug)]
pub(super) struct Reservation {
    /// Where it is published; `None`: at all addresses.
    address: Option<IpAddr>,
    /// Whether what comes by IPv6 is relayed.
    relayed: bool,
    sockets: Vec<OwnedFd>,
    relays: BTreeMap<(Protocol, SocketAddr), Relay>,
}

/// Publishes refused ports as soon as they are free.
pub(in super::super) fn retry(inner: &Arc<Inner>) {
    let (weak, clock) = (Arc::downgrade(inner), inner.ports.clock.clone());
    let mut refused = inner.refused.subscribe();
    inner.ports.tasks.spawn(TaskKind::NetworkRepair, async move {
        while refused.wait_for(|refused| !refused.is_empty()).await.is_ok() {
            clock.sleep(RETRY).await;
            let Some(inner) = weak.upgrade() else { return };
            let tried = blocking::run("publish refused ports", move || {
                inner.mesh_networks().iter().try_for_each(|id| inner.follow_mesh(id))
            });
            if let Ok(Err(error)) = tried.await {
                let error = shoal_model::error::Chain(&error).to_string();
                tracing::warn!(error, "refused ports of the routing mesh not tried again");
            }
        }
    });
}

impl Reservation {
    pub(super) fn give_back(self) {
        self.relays.into_values().for_each(Relay::stop);
    }
}

impl Inner {
    /// Reserves the ports of the mesh. One that another program has is refused: it is not published on this node, and
    /// tried again with the next change, or after [`RETRY`].
    pub(super) fn reserve_mesh(&self, meshed: &mut Meshed, mesh: &Mesh, ipv6: bool) {
        // A host without the mesh's IPv6 takes connections by IPv6 nevertheless, as docker does.
        let relayed = loopback6() == Loopback6::Relayed || !families(mesh, ipv6).contains(&false);
        let is_relayed = |port: &MeshPort| {
            relayed && port.address.is_none() && port.interface.is_empty() && host_has_ipv6()
        };
        let wanted: BTreeMap<_, &MeshPort> =
            mesh.ports.iter().map(|port| (key(port), port)).collect();
        let held: BTreeSet<_> = meshed.ports.keys().copied().collect();
        for key in held {
            let kept = wanted.get(&key).zip(meshed.ports.get(&key)).is_some_and(|(port, held)| {
                port.address == held.address && is_relayed(port) == held.relayed
            });
            if !kept && let Some(gone) = meshed.ports.remove(&key) {
                gone.give_back();
            }
        }
        let before = std::mem::take(&mut meshed.refused);
        for (key, port) in wanted {
            if meshed.ports.contains_key(&key) {
                continue;
            }
            match self.reserve_mesh_port(port, is_relayed(port)) {
                Ok(reservation) => drop(meshed.ports.insert(key, reservation)),
                Err(error) => {
                    meshed.refused.insert(key);
                    if !before.contains(&key) {
                        let error = shoal_model::error::Chain(&error).to_string();
                        tracing::warn!(
                            error,
                            "port of the routing mesh not published on this node"
                        );
                    }
                }
            }
        }
        self.tell_refused(meshed, &mesh.ports);
    }

    pub(super) fn tell_refused(&self, meshed: &Meshed, ports: &[MeshPort]) {
        let refused = ports.iter().filter(|port| meshed.refused.contains(&key(port)));
        let refused = refused.map(|port| (port.protocol, port.published)).collect();
        self.refused.send_if_modified(|told| {
            let is_news = *told != refused;
            *told = refused;
            is_news
        });
    }

    fn reserve_mesh_port(&self, port: &MeshPort, relayed: bool) -> Result<Reservation, Error> {
        let (protocol, number) = key(port);
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let any6 = host_has_ipv6().then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let hosts = match port.address {
            Some(address) => vec![address],
            None => [IpAddr::V4(Ipv4Addr::UNSPECIFIED)].into_iter().chain(any6).collect(),
        };
        let targets: Vec<(IpAddr, IpAddr)> = hosts.into_iter().map(|host| (host, own)).collect();
        let request = PortRequest {
            protocol,
            container_port: number,
            host_ip: port.address,
            host_ports: Some((number, number)),
        };
        let reserved = match reserve_one(&targets, &request) {
            // The address that was chosen is another node's.
            Err(Error::Port { source, .. })
                if port.address.is_some()
                    && source.kind() == std::io::ErrorKind::AddrNotAvailable =>
            {
                Vec::new()
            }
            other => other?,
        };
        let mut reservation = Reservation {
            address: port.address,
            relayed,
            sockets: Vec::new(),
            relays: BTreeMap::new(),
        };
        for (published, socket) in reserved {
            if relayed && published.crosses_families() {
                self.start_relay(&published, &socket, &mut reservation.relays)?;
            }
            reservation.sockets.push(socket);
        }
        Ok(reservation)
    }
}
