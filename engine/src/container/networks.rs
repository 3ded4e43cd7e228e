//! Joining and leaving networks after creation.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_model::container::{EndpointSpec, NetworkMode, Phase};
use shoal_model::error::Classified as _;
use shoal_model::network::Endpoint;
use shoal_model::{ErrorKind, EventKind, NetworkRefusal};

use super::Container;
use super::owner::Owner;
use super::view::View;
use crate::core::Core;
use crate::error::Error;
use crate::etc_files;
use crate::networking::{Attached, EndpointRequest, NetworkReference, NetworkSettings};
use crate::resolve;

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
    match find(core, container, network).await {
        Ok(found) => container.ask(move |owner| Box::pin(owner.connect(found, spec))).await?,
        // One that is the cluster's becomes known here by joining it.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = network.to_owned();
            container.ask(move |owner| Box::pin(owner.connect_unknown(name, spec, error))).await?
        }
        Err(error) => Err(error),
    }
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
    match find(core, container, network).await {
        Ok(found) => container.ask(move |owner| Box::pin(owner.disconnect(found))).await?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = network.to_owned();
            container.ask(move |owner| Box::pin(owner.forget_unknown(name, error))).await?
        }
        Err(error) => Err(error),
    }
}

/// The container whose stack another one joins.
///
/// # Errors
/// When there is none, or it does not run, or it is the same.
pub(crate) fn donor(core: &Core, joiner: &View, name: &str) -> Result<View, Error> {
    let refuse = |refusal| Error::Refused { container: joiner.name().to_owned(), refusal };
    let missing = || refuse(NetworkRefusal::JoinMissing { name: name.to_owned() });
    let donor = resolve::container(core, name).map_err(|error| match error {
        Error::NoSuchContainer { .. } => missing(),
        other => other,
    })?;
    if donor.id == joiner.record.id {
        return Err(refuse(NetworkRefusal::JoinSelf));
    }
    let view = donor.view();
    if !view.state.phase.is_live() {
        return Err(refuse(NetworkRefusal::JoinStopped {
            container: view.name().to_owned(),
            state: view.state.phase.as_str().to_owned(),
        }));
    }
    Ok(view)
}

/// Docker's name of the driver of the host's own stack.
const HOST: &str = "host";
/// Docker's name of the driver of network `none`.
const NULL: &str = "null";

/// Why a container cannot join a network, if so. Pure.
fn refusal_to_join(view: &View, network: &NetworkReference) -> Option<NetworkRefusal> {
    let record = &view.record;
    if matches!(view.state.phase, Phase::Removing | Phase::Dead) {
        return Some(NetworkRefusal::BeingRemoved { container: record.id.to_string() });
    }
    match record.spec.host.network_mode {
        NetworkMode::Container(_) => return Some(NetworkRefusal::SharedStack),
        NetworkMode::Host if network.driver != HOST => return Some(NetworkRefusal::SharedStack),
        NetworkMode::Host => {}
        _ if network.driver == HOST => return Some(NetworkRefusal::JoinHost),
        _ => {}
    }
    if record.endpoints.contains_key(&network.name) {
        return Some(NetworkRefusal::Joined {
            container: view.name().to_owned(),
            network: network.name.clone(),
        });
    }
    let alone = network.driver == NULL || record.endpoints.contains_key("none");
    alone.then_some(NetworkRefusal::NoneMode)
}

async fn find(
    core: &Core,
    container: &Container,
    network: &str,
) -> Result<NetworkReference, Error> {
    let found = core.networking.resolve(network).await;
    found.map_err(Error::part("connect", container.view().name()))
}

impl Owner {
    fn refuse(&self, refusal: NetworkRefusal) -> Error {
        let container = self.container.view.borrow().name().to_owned();
        Error::Refused { container, refusal }
    }

    async fn connect(
        &mut self,
        network: NetworkReference,
        spec: EndpointSpec,
    ) -> Result<(), Error> {
        let view = self.view();
        if view.record.endpoints.contains_key(&network.name) && self.client().is_none() {
            // As with docker: the wish of its creation stays.
            return Ok(());
        }
        if let Some(refusal) = refusal_to_join(&view, &network) {
            return Err(self.refuse(refusal));
        }
        if self.client().is_some() {
            self.join(network.name.clone(), spec.clone()).await?;
            self.publish_network("connect", &network);
        }
        self.remember_endpoint(network, spec).await
    }

    /// Joins a network that this host does not know yet. Whether there is one shows with the container's start, as with
    /// docker; `unknown` is told where no cluster can have it.
    async fn connect_unknown(
        &mut self,
        name: String,
        spec: EndpointSpec,
        unknown: Error,
    ) -> Result<(), Error> {
        let view = self.view();
        if self.client().is_none() && self.core.networking.knows_all() {
            return Err(unknown);
        }
        if matches!(view.state.phase, Phase::Removing | Phase::Dead) {
            let container = view.record.id.to_string();
            return Err(self.refuse(NetworkRefusal::BeingRemoved { container }));
        }
        let own_stack = match view.record.spec.host.network_mode {
            NetworkMode::Container(_) | NetworkMode::Host => Some(NetworkRefusal::SharedStack),
            _ if view.record.endpoints.contains_key("none") => Some(NetworkRefusal::NoneMode),
            _ => None,
        };
        if let Some(refusal) = own_stack {
            return Err(self.refuse(refusal));
        }
        if self.client().is_none() {
            let endpoint = Endpoint { spec, ..Endpoint::default() };
            return self
                .save(|record| {
                    record.endpoints.entry(name).or_insert(endpoint);
                })
                .await;
        }
        self.join(name.clone(), spec.clone()).await?;
        let network = self.core.networking.resolve(&name).await;
        let network = network.map_err(Error::part("connect", view.name()))?;
        self.publish_network("connect", &network);
        self.remember_endpoint(network, spec).await
    }

    /// Takes back a wish to join a network that this host does not know.
    async fn forget_unknown(&mut self, name: String, unknown: Error) -> Result<(), Error> {
        if self.client().is_some() || !self.view().record.endpoints.contains_key(&name) {
            return Err(unknown);
        }
        self.save(|record| drop(record.endpoints.remove(&name))).await
    }

    /// Joins a network while the container runs.
    async fn join(&mut self, network: String, spec: EndpointSpec) -> Result<(), Error> {
        let view = self.view();
        let Some(client) = self.client() else { return Ok(()) };
        let request = EndpointRequest { network, spec };
        let attached = self.core.networking.connect(&self.container.id, request).await;
        let Attached { settings, descriptors } =
            attached.map_err(Error::part("connect", view.name()))?;
        let kept: Vec<_> =
            descriptors.into_iter().map(|kept| (kept.name, kept.descriptor)).collect();
        client.put_descriptors(&kept).await.map_err(self.shim_error())?;
        self.network_changed(settings)
    }

    async fn remember_endpoint(
        &mut self,
        network: NetworkReference,
        spec: EndpointSpec,
    ) -> Result<(), Error> {
        let network_id = network.id.to_string();
        let endpoint = Endpoint { spec, network_id, ..Endpoint::default() };
        self.save(|record| {
            record.endpoints.insert(network.name, endpoint);
        })
        .await
    }

    async fn disconnect(&mut self, network: NetworkReference) -> Result<(), Error> {
        let view = self.view();
        if view.record.spec.host.network_mode == NetworkMode::Host && network.driver == HOST {
            return Err(self.refuse(NetworkRefusal::LeaveHost));
        }
        if !view.record.endpoints.contains_key(&network.name) {
            return Err(self.refuse(NetworkRefusal::NotJoined {
                container: view.record.id.to_string(),
                network: network.name,
                running: self.client().is_some(),
            }));
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
