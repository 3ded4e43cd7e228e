//! Sandboxes leave networks, and go.

use std::sync::Arc;

use shoal_model::NetworkId;

use super::Inner;
use super::publish::leading;
use super::relay::Relay;
use super::state::{Live, Slot};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::kernel::socket::Acknowledge;
use crate::kernel::{link, namespace};
use crate::sandbox::{Sandbox, SandboxId};

impl Inner {
    pub(super) fn detach(&self, slot: &Arc<Slot>, id: &SandboxId) -> Result<(), Error> {
        let mut place = slot.lock();
        if let Some(live) = place.as_mut() {
            self.tear_down(live)?;
        }
        *place = None;
        self.forget(id, slot);
        Ok(())
    }

    /// Undoes everything that may be there of a sandbox; every step is attempted. Ports are given back
    /// only when nothing in the kernel uses them any more; veth pairs go with their namespace, and
    /// addresses are given back when they have gone.
    pub(super) fn tear_down(&self, live: &mut Live) -> Result<(), Error> {
        let id = live.sandbox.id.clone();
        let errors: Vec<Error> = [
            self.withdraw(&leading(&live.sandbox)),
            self.remove_member_links(&live.sandbox, &live.sandbox.endpoints),
            namespace::unpin(&live.sandbox.path)
                .map_err(|source| Error::Namespace { sandbox: id.clone(), source }),
        ]
        .into_iter()
        .filter_map(Result::err)
        .collect();
        Error::collect(errors)?;
        // From here on a restart sweeps the veth pairs, which no record names.
        self.store.remove_sandbox(&id)?;
        std::mem::take(&mut live.relays).into_values().for_each(Relay::stop);
        live.reserved.clear();
        self.forget_balance(&id);
        if !live.sandbox.endpoints.is_empty() {
            let overlays = live.sandbox.endpoints.iter().filter(|one| one.in_overlay);
            let overlays: Vec<NetworkId> = overlays.map(|one| one.network.clone()).collect();
            let mut state = self.state();
            let meshes = live.sandbox.endpoints.iter().map(|one| one.network.clone());
            let mut meshes: Vec<NetworkId> = meshes.collect();
            meshes.retain(|id| {
                state.networks.get(id).is_some_and(|entry| entry.network.mesh.is_some())
            });
            for endpoint in &live.sandbox.endpoints {
                state.leave(endpoint);
            }
            state.dying.append(&mut live.sandbox.endpoints);
            drop(state);
            self.buried.wake();
            // The sandbox is gone whatever comes of this; the next start tries again.
            for network in overlays {
                if let Err(error) = self.vacate(&network) {
                    let error = shoal_model::error::Chain(&error).to_string();
                    tracing::warn!(%network, error, "overlay network not wholly removed");
                }
            }
            for network in meshes {
                if let Err(error) = self.vacate_mesh(&network) {
                    let error = shoal_model::error::Chain(&error).to_string();
                    tracing::warn!(%network, error, "routing mesh not as it should be");
                }
            }
        }
        Ok(())
    }

    /// Removes the links of endpoints; absent ones are fine.
    pub(super) fn unwire(&self, sandbox: &Sandbox, endpoints: &[&Endpoint]) -> Result<(), Error> {
        let pairs = endpoints.iter().filter(|endpoint| !endpoint.on_parent);
        let failures = pairs.filter_map(|endpoint| {
            if endpoint.in_overlay {
                return self.unwire_overlay(endpoint).err();
            }
            self.host.remove_link(&endpoint.host_interface()).err().map(|source| Error::Link {
                sandbox: sandbox.id.clone(),
                step: "remove a veth pair",
                source,
            })
        });
        let mut failures: Vec<Error> = failures.collect();
        failures.extend(self.remove_member_links(sandbox, endpoints.iter().copied()).err());
        Error::collect(failures)
    }

    pub(super) fn disconnect(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        id: &SandboxId,
        network: &NetworkId,
    ) -> Result<Sandbox, Error> {
        let mut place = slot.lock();
        let live = place.as_mut().ok_or_else(|| Error::NoSuchSandbox { sandbox: id.clone() })?;
        let found = live.sandbox.endpoints.iter().position(|one| one.network == *network);
        let Some(position) = found else {
            let state = self.state();
            let known = state.networks.get(network);
            let network =
                known.map_or_else(|| network.to_string(), |one| one.network.spec.name.clone());
            return Err(Error::NotJoined { sandbox: id.clone(), network });
        };
        self.unwire(&live.sandbox, &[&live.sandbox.endpoints[position]])?;
        let endpoint = live.sandbox.endpoints.remove(position);
        let rest = self.after_leaving(live);
        self.state().release(&endpoint);
        if endpoint.in_overlay {
            self.vacate(network)?;
            self.balance_sandbox(id)?;
        }
        rest?;
        Ok(live.sandbox.clone())
    }

    fn after_leaving(&self, live: &mut Live) -> Result<(), Error> {
        let routed = self
            .open_namespace(&live.sandbox)
            .and_then(|mut namespace| self.set_routes(&live.sandbox, &mut namespace));
        let republished = self.republish(live);
        let written = self.store.write_sandbox(&live.sandbox);
        Error::collect([routed, republished, written].into_iter().filter_map(Result::err).collect())
    }

    /// Removes links by index, for leftovers that no record names.
    pub(super) fn remove_links(&self, indexes: &[u32]) -> Result<(), Error> {
        let messages: Vec<_> = indexes.iter().map(|index| link::delete(*index)).collect();
        match self.host.route().transact(&messages, Acknowledge::Each) {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
            other => other.map_err(Error::ReadHost),
        }
    }
}
