//! The port to networks.

use async_trait::async_trait;
use shoal_model::container::{EndpointSpec, Pruned};
use shoal_model::filters::{NetworkFilters, PruneFilters};
use shoal_model::network::{Network, NetworkDetails, NetworkSpec};
use shoal_model::{Failure, NetworkId};

/// Networks of this host.
#[async_trait]
pub trait Networks: Send + Sync + 'static {
    /// Lists, by name.
    async fn list(&self, filters: NetworkFilters) -> Result<Vec<Network>, Failure>;

    /// Creates; gives the id and warnings.
    async fn create(&self, spec: NetworkSpec) -> Result<(NetworkId, Vec<String>), Failure>;

    /// One with its running containers, by name, id or id prefix.
    async fn inspect(&self, name: &str) -> Result<NetworkDetails, Failure>;

    /// Removes.
    async fn remove(&self, name: &str) -> Result<(), Failure>;

    /// Joins a container, running or not.
    async fn connect(
        &self,
        network: &str,
        container: &str,
        endpoint: EndpointSpec,
    ) -> Result<(), Failure>;

    /// Takes a container off; `force`: also when it is gone.
    async fn disconnect(&self, network: &str, container: &str, force: bool) -> Result<(), Failure>;

    /// Removes those without containers.
    async fn prune(&self, filters: PruneFilters) -> Result<Pruned, Failure>;
}
