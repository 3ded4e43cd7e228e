//! Decides the endpoint of one service: numbers of its published ports, and its virtual addresses.

use shoal_model::cluster::service::{
    Endpoint, EndpointMode, EndpointSpec, PortConfig, PublishMode, Service, ServiceSpec, VirtualIp,
};
use shoal_model::cluster::task::NetworkWish;
use shoal_model::cluster::{ClusterNetwork, ClusterNetworkId, IpPrefix, TaskSpec};

use super::error::Error;
use super::network::is_overlay;
use super::{Allocator, PORT_FIRST, PORT_LAST};
use crate::store::State;

/// Whether tasks and service are on the ingress network.
pub(super) fn needs_ingress(spec: Option<&EndpointSpec>) -> bool {
    spec.is_some_and(|spec| spec.ports.iter().any(|port| port.mode == PublishMode::Ingress))
}

/// The endpoint of a service that asks for nothing that has to be given; `None`: it asks for something.
pub(crate) fn endpoint_of_nothing(spec: &ServiceSpec) -> Option<Endpoint> {
    let wish = spec.endpoint.clone().unwrap_or_default();
    let nothing =
        wish.ports.is_empty() && spec.networks.is_empty() && spec.task.networks.is_empty();
    nothing.then(|| Endpoint { spec: wish, ..Endpoint::default() })
}

/// The endpoint of a service, if tasks of a spec get that and nothing else: then no one needs to wait for the allocator.
pub(crate) fn endpoint_is_all<'a>(service: &'a Service, spec: &TaskSpec) -> Option<&'a Endpoint> {
    let endpoint = service.endpoint.as_ref().filter(|_| service.endpoint_error.is_empty())?;
    let is_present = match &service.spec.endpoint {
        Some(wish) => endpoint.spec == *wish,
        None => endpoint.spec == EndpointSpec::default(),
    };
    let is_all =
        !needs_ingress(service.spec.endpoint.as_ref()) && wishes(spec, Some(service)).is_empty();
    (is_present && is_all).then_some(endpoint)
}

/// Networks that tasks of a spec join: those of the task, else those of old clients.
pub(super) fn wishes<'a>(task: &'a TaskSpec, service: Option<&'a Service>) -> &'a [NetworkWish] {
    match service {
        Some(service) if task.networks.is_empty() => &service.spec.networks,
        _ => &task.networks,
    }
}

/// The network that a wish names, by id or by name.
pub(super) fn resolve<'a>(state: &'a State, target: &str) -> Result<&'a ClusterNetwork, Error> {
    let by_id = ClusterNetworkId::parse(target).and_then(|id| state.network(id));
    by_id
        .or_else(|| state.network_by_name(target))
        .map(|network| &**network)
        .ok_or_else(|| Error::NoNetwork { target: target.to_owned() })
}

impl Allocator {
    /// What the endpoint of a service must be. What it has and still needs stays. Nothing is held by that.
    pub(super) fn decide_endpoint(
        &mut self,
        state: &State,
        service: &Service,
    ) -> Result<Endpoint, Error> {
        let spec = service.spec.endpoint.clone().unwrap_or_default();
        let ports = self.decide_ports(state, service, &spec)?;
        let mut virtual_ips: Vec<VirtualIp> = Vec::new();
        if spec.mode == EndpointMode::Vip {
            let mut networks = Vec::new();
            if needs_ingress(Some(&spec)) {
                networks.push(self.ingress_of(state)?);
            }
            for wish in wishes(&service.spec.task, Some(service)) {
                networks.push(resolve(state, &wish.target)?);
            }
            for network in networks.into_iter().filter(|network| is_overlay(network)) {
                if !virtual_ips.iter().any(|vip| vip.network == network.id) {
                    let vip = self.decide_vip(service, network)?;
                    virtual_ips.push(vip);
                }
            }
        }
        Ok(Endpoint { spec, ports, virtual_ips })
    }

    pub(super) fn ingress_of<'a>(&self, state: &'a State) -> Result<&'a ClusterNetwork, Error> {
        let ingress = self.ingress.and_then(|id| state.network(id));
        ingress.map(|network| &**network).ok_or(Error::NoIngress)
    }

    fn decide_vip(
        &mut self,
        service: &Service,
        network: &ClusterNetwork,
    ) -> Result<VirtualIp, Error> {
        let before = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
        let before = before.copied().find(|vip| vip.network == network.id);
        let mut address = |is_ipv4: bool, before: Option<IpPrefix>| {
            let space = self.spaces.get_mut(&network.id).ok_or_else(|| not_ready(network))?;
            if !space.has_family(is_ipv4) {
                return Ok(None);
            }
            let kept = before.filter(|before| space.prefixed(before.address) == Some(*before));
            match kept {
                Some(kept) => Ok(Some(kept)),
                None => space.next(is_ipv4).map(Some).map_err(|full| exhausted(network, full)),
            }
        };
        let ipv4 = address(true, before.and_then(|vip| vip.ipv4))?;
        let ipv6 = address(false, before.and_then(|vip| vip.ipv6))?;
        Ok(VirtualIp { network: network.id, ipv4, ipv6 })
    }

    fn decide_ports(
        &mut self,
        state: &State,
        service: &Service,
        spec: &EndpointSpec,
    ) -> Result<Vec<PortConfig>, Error> {
        let is_ingress = |port: &&PortConfig| port.mode == PublishMode::Ingress;
        let mut ports = spec.ports.clone();
        for (position, port) in spec.ports.iter().enumerate() {
            if port.published == 0 || port.mode != PublishMode::Ingress {
                continue;
            }
            let (number, protocol) = (port.published, port.protocol);
            let mut earlier = spec.ports[..position].iter().filter(is_ingress);
            if earlier.any(|other| other.published == number && other.protocol == protocol) {
                return Err(Error::PortTwice { port: number, protocol });
            }
            if let Some(by) = self.port_owner(protocol, number).filter(|by| *by != service.id) {
                let name = state.service(by).map(|by| by.spec.annotations.name.clone());
                let name = name.unwrap_or_default();
                return Err(Error::PortTaken { port: number, protocol, name, by });
            }
        }
        let mut before: Vec<PortConfig> =
            service.endpoint.iter().flat_map(|endpoint| &endpoint.ports).cloned().collect();
        for position in 0..ports.len() {
            let wish = ports[position].clone();
            if wish.published != 0 || wish.mode != PublishMode::Ingress {
                continue;
            }
            let is_taken = |number: u16| {
                ports
                    .iter()
                    .filter(is_ingress)
                    .any(|port| port.published == number && port.protocol == wish.protocol)
            };
            let kept = before.iter().position(|port| {
                let chosen = PortConfig { published: 0, ..port.clone() };
                chosen == wish
                    && (PORT_FIRST..=PORT_LAST).contains(&port.published)
                    && !is_taken(port.published)
            });
            let number = match kept {
                Some(kept) => before.swap_remove(kept).published,
                None => self
                    .ports_of(wish.protocol)
                    .next(|number| !u16::try_from(number).is_ok_and(is_taken))
                    .and_then(|number| u16::try_from(number).ok())
                    .ok_or(Error::NoPort { first: PORT_FIRST, last: PORT_LAST })?,
            };
            ports[position].published = number;
        }
        Ok(ports)
    }
}

pub(super) fn not_ready(network: &ClusterNetwork) -> Error {
    let (id, name) = (network.id, network.spec.name.clone());
    if network.error.is_empty() {
        Error::NotReady { network: id, name }
    } else {
        Error::Broken { network: id, name, reason: network.error.clone() }
    }
}

pub(super) fn exhausted(network: &ClusterNetwork, full: Option<IpPrefix>) -> Error {
    let (id, name) = (network.id, network.spec.name.clone());
    match full {
        Some(subnet) => Error::NoAddress { network: id, name, subnet },
        None => Error::NotReady { network: id, name },
    }
}
