//! What the API calls: requests in types of the model, decided by `manager/core`, committed by the store.
//!
//! Reads are linearizable, and a write is in the view of this manager when it returns: what was written is
//! read, on any manager.

mod error;
mod reports;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use shoal_base::random::SharedRandom;
use shoal_manager_core::control::{self as core, find, lists, networks, nodes, secrets, services};
use shoal_manager_core::ids::Ids;
use shoal_manager_core::store::Txn;
use shoal_model::cluster::filters::{NodeFilters, ObjectFilters, ServiceFilters, TaskFilters};
use shoal_model::cluster::request::{NodeView, ServiceUpdate, ServiceView};
use shoal_model::cluster::{
    Cluster, ClusterNetwork, ClusterNetworkId, Config, ConfigId, ConfigSpec, Node, NodeId,
    NodeSpec, Secret, SecretId, SecretSpec, Service, ServiceId, ServiceSpec, Task, Version,
};
use shoal_model::network::NetworkSpec;

use crate::consensus::Overview;
use crate::store::{self, Store};

pub use error::Error;

type Result<T> = std::result::Result<T, Error>;

/// What consensus knows of managers.
pub trait Managers: Debug + Send + Sync + 'static {
    /// What it looks like from the leader.
    fn overview(&self) -> BoxFuture<'static, std::result::Result<Overview, store::Error>>;
}

/// Ids from the system's randomness.
#[derive(Debug, Clone)]
pub struct RandomIds(pub SharedRandom);

impl Ids for RandomIds {
    fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.0.fill(&mut bytes);
        bytes
    }
}

/// The cluster as the API sees it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Control {
    store: Store,
    managers: Arc<dyn Managers>,
    ids: Arc<Mutex<RandomIds>>,
}

impl Control {
    /// Over a store.
    pub fn new(store: Store, managers: Arc<dyn Managers>, random: SharedRandom) -> Self {
        Self { store, managers, ids: Arc::new(Mutex::new(RandomIds(random))) }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Commits what a request changes, computed from an up-to-date view.
    async fn update<T>(&self, mut change: impl FnMut(&mut Txn) -> core::Result<T>) -> Result<T> {
        let decide = |txn: &mut Txn| change(txn).map_err(Error::Refused);
        match self.store.update(decide).await {
            Err(Error::Refused(_)) => {}
            done => return Ok(done?.value),
        }
        // A refusal by a view that is behind the leader may be wrong: the object was created elsewhere.
        self.store.read().await?;
        Ok(self.store.update(decide_again(&mut change)).await?.value)
    }

    /// As [`Control::update`], with new ids.
    async fn create<T>(
        &self,
        mut change: impl FnMut(&mut Txn, &mut dyn Ids) -> core::Result<T>,
    ) -> Result<T> {
        let ids = Arc::clone(&self.ids);
        self.update(move |txn| {
            let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
            change(txn, &mut *ids)
        })
        .await
    }
}

fn decide_again<T>(
    change: &mut impl FnMut(&mut Txn) -> core::Result<T>,
) -> impl FnMut(&mut Txn) -> Result<T> {
    move |txn| change(txn).map_err(Error::Refused)
}

/// The cluster and its nodes. Errors are docker's refusals and those of the store.
#[allow(clippy::missing_errors_doc, reason = "as said")]
impl Control {
    /// The cluster.
    pub async fn cluster(&self) -> Result<Arc<Cluster>> {
        self.store.read().await?.cluster().cloned().ok_or(Error::NoCluster)
    }

    /// The nodes that fit.
    pub async fn nodes(&self, filters: NodeFilters) -> Result<Vec<NodeView>> {
        let nodes = lists::nodes(&self.store.read().await?, &filters);
        let consensus = self.consensus().await?;
        Ok(nodes.into_iter().map(|node| node_view(&consensus, node)).collect())
    }

    /// A node.
    pub async fn node(&self, reference: &str) -> Result<NodeView> {
        let view = self.store.read().await?;
        let node = Arc::clone(find::node(&view, reference)?);
        Ok(node_view(&self.consensus().await?, node))
    }

    /// What consensus looks like from the leader.
    pub async fn consensus(&self) -> Result<Overview> {
        Ok(self.managers.overview().await?)
    }

    /// Changes the spec of a node.
    pub async fn update_node(
        &self,
        reference: &str,
        version: Version,
        spec: NodeSpec,
    ) -> Result<()> {
        let consensus = self.consensus().await?;
        let seat = |id| consensus.seat(id);
        self.update(|txn| nodes::update(txn, reference, version, spec.clone(), seat)).await
    }

    /// Removes a node and revokes its certificate.
    pub async fn remove_node(&self, reference: &str, force: bool) -> Result<NodeId> {
        let consensus = self.consensus().await?;
        let seat = |id| consensus.seat(id);
        self.update(|txn| nodes::remove(txn, reference, force, seat)).await
    }
}

fn node_view(consensus: &Overview, node: Arc<Node>) -> NodeView {
    let manager = consensus.manager(node.id);
    NodeView { node, manager }
}

/// Services and tasks. Errors are docker's refusals and those of the store.
#[allow(clippy::missing_errors_doc, reason = "as said")]
impl Control {
    /// The services that fit, with counts where asked for.
    pub async fn services(
        &self,
        filters: ServiceFilters,
        with_counts: bool,
    ) -> Result<Vec<ServiceView>> {
        let view = self.store.read().await?;
        let counted = |service: Arc<Service>| ServiceView {
            counts: with_counts.then(|| lists::counts(&view, &service)),
            service,
        };
        Ok(lists::services(&view, &filters).into_iter().map(counted).collect())
    }

    /// A service.
    pub async fn service(&self, reference: &str) -> Result<ServiceView> {
        let view = self.store.read().await?;
        let service = Arc::clone(find::service(&view, reference)?);
        Ok(ServiceView { service, counts: None })
    }

    /// Creates a service. Gives warnings too.
    pub async fn create_service(&self, spec: ServiceSpec) -> Result<(ServiceId, Vec<String>)> {
        let create = |txn: &mut Txn, ids: &mut dyn Ids| services::create(txn, ids, spec.clone());
        let id = self.create(create).await?;
        Ok((id, Vec::new()))
    }

    /// Changes the spec of a service, or goes back to the previous one. Gives warnings.
    pub async fn update_service(
        &self,
        reference: &str,
        version: Version,
        request: ServiceUpdate,
    ) -> Result<Vec<String>> {
        let change = |txn: &mut Txn| services::update(txn, reference, version, request.clone());
        self.update(change).await?;
        Ok(Vec::new())
    }

    /// Removes a service.
    pub async fn remove_service(&self, reference: &str) -> Result<()> {
        self.update(|txn| services::remove(txn, reference)).await
    }

    /// The tasks that fit.
    pub async fn tasks(&self, filters: TaskFilters) -> Result<Vec<Arc<Task>>> {
        Ok(lists::tasks(&self.store.read().await?, &filters)?)
    }

    /// A task.
    pub async fn task(&self, reference: &str) -> Result<Arc<Task>> {
        Ok(Arc::clone(find::task(&self.store.read().await?, reference)?))
    }
}

/// Secrets, configs, networks. Errors are docker's refusals and those of the store.
#[allow(clippy::missing_errors_doc, reason = "as said")]
impl Control {
    /// The secrets that fit, with their data: the API does not show it.
    pub async fn secrets(&self, filters: ObjectFilters) -> Result<Vec<Arc<Secret>>> {
        Ok(lists::secrets(&self.store.read().await?, &filters))
    }

    /// A secret, with its data: the API does not show it.
    pub async fn secret(&self, reference: &str) -> Result<Arc<Secret>> {
        Ok(Arc::clone(find::secret(&self.store.read().await?, reference)?))
    }

    /// Creates a secret.
    pub async fn create_secret(&self, spec: SecretSpec) -> Result<SecretId> {
        self.create(|txn, ids| secrets::create_secret(txn, ids, spec.clone())).await
    }

    /// Changes the labels of a secret.
    pub async fn update_secret(
        &self,
        reference: &str,
        version: Version,
        spec: SecretSpec,
    ) -> Result<()> {
        self.update(|txn| secrets::update_secret(txn, reference, version, &spec)).await
    }

    /// Removes a secret.
    pub async fn remove_secret(&self, reference: &str) -> Result<()> {
        self.update(|txn| secrets::remove_secret(txn, reference)).await
    }

    /// The configs that fit.
    pub async fn configs(&self, filters: ObjectFilters) -> Result<Vec<Arc<Config>>> {
        Ok(lists::configs(&self.store.read().await?, &filters))
    }

    /// A config.
    pub async fn config(&self, reference: &str) -> Result<Arc<Config>> {
        Ok(Arc::clone(find::config(&self.store.read().await?, reference)?))
    }

    /// Creates a config.
    pub async fn create_config(&self, spec: ConfigSpec) -> Result<ConfigId> {
        self.create(|txn, ids| secrets::create_config(txn, ids, spec.clone())).await
    }

    /// Changes the labels of a config.
    pub async fn update_config(
        &self,
        reference: &str,
        version: Version,
        spec: ConfigSpec,
    ) -> Result<()> {
        self.update(|txn| secrets::update_config(txn, reference, version, &spec)).await
    }

    /// Removes a config.
    pub async fn remove_config(&self, reference: &str) -> Result<()> {
        self.update(|txn| secrets::remove_config(txn, reference)).await
    }

    /// All networks of the cluster.
    pub async fn networks(&self) -> Result<Vec<Arc<ClusterNetwork>>> {
        Ok(self.store.read().await?.networks().cloned().collect())
    }

    /// Creates a network.
    pub async fn create_network(&self, spec: NetworkSpec) -> Result<ClusterNetworkId> {
        self.create(|txn, ids| networks::create(txn, ids, spec.clone())).await
    }

    /// Removes a network.
    pub async fn remove_network(&self, id: ClusterNetworkId) -> Result<()> {
        self.update(|txn| networks::remove(txn, id)).await
    }
}
