//! The port to volumes.

use async_trait::async_trait;
use shoal_model::Failure;
use shoal_model::container::Pruned;
use shoal_model::filters::{PruneFilters, VolumeFilters};
use shoal_model::volume::{Volume, VolumeSpec};

/// Volumes of this host.
#[async_trait]
pub trait Volumes: Send + Sync + 'static {
    /// Lists, by name.
    async fn list(&self, filters: VolumeFilters) -> Result<Vec<Volume>, Failure>;

    /// Creates; an existing one of the same driver and options is given back.
    async fn create(&self, spec: VolumeSpec) -> Result<Volume, Failure>;

    /// One by name.
    async fn inspect(&self, name: &str) -> Result<Volume, Failure>;

    /// Removes; `force`: absent is fine.
    async fn remove(&self, name: &str, force: bool) -> Result<(), Failure>;

    /// Removes those that no container refers to; named ones only with `filters.all`.
    async fn prune(&self, filters: PruneFilters) -> Result<Pruned, Failure>;
}
