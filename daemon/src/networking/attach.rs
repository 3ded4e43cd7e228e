//! Addresses that the cluster gives to plain containers on its attachable networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use shoal_engine::networking::{AttachRequest, EndpointRequest};
use shoal_model::cluster::task::NetworkAttachment;
use shoal_model::{ContainerId, Failure, NetworkId};
use shoal_netoverlay::endpoint;
use shoal_netoverlay::network::Driver;
use shoal_worker::attach::Wish;

use super::{HostNetworking, convert};
use crate::attachments::Attachments;
use crate::executor::join_network;

/// What was given, by network.
#[derive(Debug, Default)]
pub(super) struct Given(BTreeMap<NetworkId, NetworkAttachment>);

impl Given {
    /// A wish, with the addresses that were given.
    pub(super) fn of(
        &self,
        network: &NetworkId,
        mut wanted: endpoint::EndpointRequest,
    ) -> endpoint::EndpointRequest {
        let given = self.0.get(network).into_iter().flat_map(|given| &given.addresses);
        for prefix in given {
            match prefix.address {
                IpAddr::V4(address) => wanted.ipv4 = Some(address),
                IpAddr::V6(address) => wanted.ipv6 = Some(address),
            }
        }
        wanted
    }

    /// The container did not join after all.
    pub(super) fn give_back(&self, attachments: &Attachments, container: &ContainerId) {
        self.0.keys().for_each(|network| attachments.release(container, Some(network)));
    }
}

impl HostNetworking {
    /// Asks for the addresses of a plain container on those of the networks that are the cluster's. A container of a
    /// task has its own.
    pub(super) async fn ask_for_addresses(
        &self,
        request: &AttachRequest,
        endpoints: &[EndpointRequest],
    ) -> Result<Given, Failure> {
        let mut given = Given::default();
        if self.attachments.is_of_task(&request.container) {
            return Ok(given);
        }
        for endpoint in endpoints {
            let local = self.networks.resolve(&endpoint.network).ok();
            if local.is_some_and(|network| network.spec.driver != Driver::Overlay) {
                continue;
            }
            let asked = self.ask(request, endpoint).await;
            let (network, attachment) = asked.inspect_err(|_| {
                given.give_back(&self.attachments, &request.container);
            })?;
            given.0.insert(network, attachment);
        }
        Ok(given)
    }

    async fn ask(
        &self,
        request: &AttachRequest,
        endpoint: &EndpointRequest,
    ) -> Result<(NetworkId, NetworkAttachment), Failure> {
        let spec = &endpoint.spec;
        let addresses = spec.ipv4.map(IpAddr::V4).into_iter().chain(spec.ipv6.map(IpAddr::V6));
        let wish = Wish {
            network: endpoint.network.clone(),
            container: request.container.as_str().to_owned(),
            name: request.name.clone(),
            aliases: convert::names(request, endpoint).into_iter().skip(1).collect(),
            addresses: addresses.map(|address| address.to_string()).collect(),
        };
        let answer = self.attachments.attach(wish).await?;
        let id = shoal_netoverlay::network_id(answer.network.id);
        let joined = join_network(&self.networks, &self.clock, &answer.network).await;
        joined.inspect_err(|_| self.attachments.release(&request.container, Some(&id)))?;
        Ok((id, answer.attachment))
    }
}
