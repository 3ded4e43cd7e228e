//! Decides the network attachments of one task.

use std::net::IpAddr;

use shoal_model::cluster::service::Service;
use shoal_model::cluster::task::{NetworkAttachment, NetworkWish};
use shoal_model::cluster::{ClusterNetwork, IpPrefix, Task};

use super::Allocator;
use super::endpoint::{exhausted, needs_ingress, not_ready, resolve, wishes};
use super::error::Error;
use super::network::is_overlay;
use super::space::Space;
use crate::store::State;

impl Allocator {
    /// One attachment per network, that to ingress first. Nothing is held by that.
    pub(super) fn decide_attachments(
        &mut self,
        state: &State,
        task: &Task,
        service: Option<&Service>,
    ) -> Result<Vec<NetworkAttachment>, Error> {
        let mut attachments: Vec<NetworkAttachment> = Vec::new();
        if let Some(service) = service
            && needs_ingress(service.spec.endpoint.as_ref())
        {
            let network = self.ingress_of(state)?;
            attachments.push(self.decide_attachment(network, &NetworkWish::default())?);
        }
        for wish in wishes(&task.spec, service) {
            let network = resolve(state, &wish.target)?;
            if !attachments.iter().any(|attachment| attachment.network == network.id) {
                attachments.push(self.decide_attachment(network, wish)?);
            }
        }
        Ok(attachments)
    }

    fn decide_attachment(
        &mut self,
        network: &ClusterNetwork,
        wish: &NetworkWish,
    ) -> Result<NetworkAttachment, Error> {
        let mut addresses = Vec::new();
        if is_overlay(network) {
            let space = self.spaces.get_mut(&network.id).ok_or_else(|| not_ready(network))?;
            let fixed = fixed(network, space, &wish.addresses)?;
            for is_ipv4 in [true, false] {
                if !space.has_family(is_ipv4) {
                    continue;
                }
                let asked = fixed.iter().find(|address| address.address.is_ipv4() == is_ipv4);
                addresses.push(match asked {
                    Some(address) => *address,
                    None => space.next(is_ipv4).map_err(|full| exhausted(network, full))?,
                });
            }
        }
        Ok(NetworkAttachment {
            network: network.id,
            addresses,
            aliases: wish.aliases.clone(),
            driver_opts: wish.driver_opts.clone(),
        })
    }
}

/// Addresses that were asked for, with or without a prefix length: at most one per family.
fn fixed(
    network: &ClusterNetwork,
    space: &Space,
    wanted: &[String],
) -> Result<Vec<IpPrefix>, Error> {
    let mut addresses: Vec<IpPrefix> = Vec::new();
    for text in wanted.iter().filter(|text| !text.is_empty()) {
        let (id, name) = (network.id, network.spec.name.clone());
        let bare = text.split_once('/').map_or(text.as_str(), |(address, _)| address);
        let address = bare.parse::<IpAddr>().ok();
        let prefixed = address.and_then(|address| space.prefixed(address));
        let Some(prefixed) = prefixed.filter(|prefixed| {
            let is_ipv4 = prefixed.address.is_ipv4();
            !addresses.iter().any(|other| other.address.is_ipv4() == is_ipv4)
        }) else {
            return Err(Error::NoSuchAddress { network: id, name, address: text.clone() });
        };
        let address = prefixed.address;
        if space.is_held(address) {
            return Err(Error::AddressTaken { network: id, name, address });
        }
        addresses.push(prefixed);
    }
    Ok(addresses)
}
