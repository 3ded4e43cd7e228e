//! The port to the daemon itself.

use async_trait::async_trait;
use shoal_model::system::{DiskUsage, DiskUsageParts, SystemInfo, VersionInfo};
use shoal_model::{Event, EventQuery, Failure};

use super::Stream;

/// The daemon.
#[async_trait]
pub trait System: Send + Sync + 'static {
    /// Facts about host, engine and configuration.
    async fn info(&self) -> Result<SystemInfo, Failure>;

    /// Releases.
    fn version(&self) -> VersionInfo;

    /// What is on disk.
    async fn disk_usage(&self, parts: DiskUsageParts) -> Result<DiskUsage, Failure>;

    /// Past events, then those that come, until `query.until` or dropped. Already filtered.
    async fn events(&self, query: EventQuery) -> Result<Stream<Event>, Failure>;
}
