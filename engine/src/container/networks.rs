//! Joining and leaving networks after creation.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_model::EventKind;
use shoal_model::container::{EndpointSpec, NetworkMode, Phase};
use shoal_model::network::Endpoint;

use super::Container;
use super::owner::Owner;
use crate::core::Core;
use crate::error::Error;
use crate::etc_files;
use crate::networking::{Attached, EndpointRequest, NetworkReference, NetworkSettings};

/// Joins a container to a network.
///
/// # Errors
/// When the network is unknown, or it is on it already, or its stack is not its own.
pub(crate) async fn connect(
    core: &Arc<Core>,
    container: &Arc<Container>,
    network: &str,
    spec: EndpointSpec,
) -> Result<(), Error> {
    let found = resolve(core, container, network).await?;
    container.ask(move |owner| Box::pin(owner.connect(found, spec))).await?
}

/// Takes a container off a network.
///
/// # Errors
/// When it is not on it.
pub(crate) async fn disconnect(
    core: &Arc<Core>,
    container: &Arc<Container>,
    network: &str,
) -> Result<(), Error> {
    let found = resolve(core, container, network).await?;
    container.ask(move |owner| Box::pin(owner.disconnect(found))).await?
}

async fn resolve(
    core: &Core,
    container: &Container,
    network: &str,
) -> Result<NetworkReference, Error> {
    let found = core.networking.resolve(network).await;
    found.map_err(Error::part("connect", container.view().name()))
}

impl Owner {
    fn conflict(&self, reason: impl Into<String>) -> Error {
        let container = self.container.view.borrow().name().to_owned();
        Error::Conflict { container, reason: reason.into() }
    }

    async fn connect(
        &mut self,
        network: NetworkReference,
        spec: EndpointSpec,
    ) -> Result<(), Error> {
        let view = self.view();
        if matches!(view.state.phase, Phase::Removing | Phase::Dead) {
            return Err(self.conflict("container is marked for removal and cannot be connected or disconnected to the network"));
        }
        match view.record.spec.host.network_mode {
            NetworkMode::Container(_) => {
                return Err(self.conflict("container sharing network namespace with another container or host cannot be connected to any other network"));
            }
            NetworkMode::Host => {
                return Err(self.conflict(
                    "container cannot be connected to host network and another network",
                ));
            }
            _ => {}
        }
        if view.record.endpoints.contains_key(&network.name) {
            return Err(self.conflict(format!(
                "endpoint with name {} already exists in network {}",
                view.name(),
                network.name
            )));
        }
        let mut endpoint = Endpoint { spec: spec.clone(), ..Endpoint::default() };
        endpoint.network_id = network.id.to_string();
        if let Some(client) = self.client() {
            let request = EndpointRequest { network: network.name.clone(), spec };
            let attached = self.core.networking.connect(&self.container.id, request).await;
            let Attached { settings, descriptors } =
                attached.map_err(Error::part("connect", view.name()))?;
            let kept: Vec<_> =
                descriptors.into_iter().map(|kept| (kept.name, kept.descriptor)).collect();
            client.put_descriptors(&kept).await.map_err(self.shim_error())?;
            self.network_changed(settings)?;
            self.publish_network("connect", &network);
        }
        self.save(|record| {
            record.endpoints.insert(network.name.clone(), endpoint);
        })
        .await
    }

    async fn disconnect(&mut self, network: NetworkReference) -> Result<(), Error> {
        let view = self.view();
        if view.record.spec.host.network_mode == NetworkMode::Host {
            return Err(self.conflict("container cannot be disconnected from host network"));
        }
        if !view.record.endpoints.contains_key(&network.name) {
            return Err(self.conflict(format!(
                "container {} is not connected to network {}",
                view.record.id, network.name
            )));
        }
        if let Some(client) = self.client() {
            let left = self.core.networking.disconnect(&self.container.id, &network.id).await;
            let left = left.map_err(Error::part("disconnect", view.name()))?;
            if !left.drop.is_empty() {
                let request = shoal_shim_protocol::message::Request::DropFds { names: left.drop };
                client.command(&request).await.map_err(self.shim_error())?;
            }
            self.network_changed(left.settings)?;
        }
        self.save(|record| {
            record.endpoints.remove(&network.name);
        })
        .await?;
        self.publish_network("disconnect", &network);
        Ok(())
    }

    /// Names of the networks that the container is on while it runs.
    pub(crate) fn joined_networks(&self) -> Vec<String> {
        self.container.view.borrow().record.endpoints.keys().cloned().collect()
    }

    /// Tells that the container came to these networks, or left them. One that is gone meanwhile is not told of.
    pub(crate) async fn publish_networks(&self, action: &str, names: &[String]) {
        for name in names {
            if let Ok(network) = self.core.networking.resolve(name).await {
                self.publish_network(action, &network);
            }
        }
    }

    fn publish_network(&self, action: &str, network: &NetworkReference) {
        let attributes = BTreeMap::from([
            ("container".to_owned(), self.container.id.to_string()),
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), network.driver.clone()),
        ]);
        self.core.events.publish(EventKind::Network, action, network.id.as_str(), attributes);
    }

    /// Shows and remembers the new settings, and rewrites the files that depend on them.
    fn network_changed(&self, settings: NetworkSettings) -> Result<(), Error> {
        self.remember_network(&settings)?;
        etc_files::write(&self.core, &self.container, &self.view(), Some(&settings))?;
        self.change(|view| view.network = Some(Arc::new(settings)));
        Ok(())
    }
}
