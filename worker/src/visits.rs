//! The port through which managers, and by them users, reach into the containers of tasks. The daemon adapts it to the
//! engine.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use shoal_model::cluster::TaskId;
use shoal_model::container::visit::{Visit, Visited};
use shoal_model::container::{ArchivePutOptions, AttachOptions, PathStat, StatsSample};
use shoal_model::error::Failure;

use crate::executor::Session;

/// What containers use.
pub type Samples = BoxStream<'static, Result<StatsSample, Failure>>;
/// A tar archive.
pub type Archive = BoxStream<'static, Result<Bytes, Failure>>;

/// Reaches into the containers of tasks. A task without a container is not found.
#[async_trait]
pub trait Visits: Send + Sync + 'static {
    /// Answers a question, or does what is asked. `Wait` may take as long as the container lives.
    ///
    /// # Cancel safety
    /// A wait may be dropped; of the others it is then open whether they were done.
    async fn visit(&self, task: TaskId, visit: Visit) -> Result<Visited, Failure>;

    /// Attaches to the first process.
    async fn attach(&self, task: TaskId, options: AttachOptions) -> Result<Session, Failure>;

    /// Connects to a TCP port as a process within the container would: by its loopback interface.
    async fn forward(&self, task: TaskId, port: u16) -> Result<Session, Failure>;

    /// One sample at once, then one each second until the container is removed.
    async fn stats(&self, task: TaskId) -> Result<Samples, Failure>;

    /// A path as a tar archive.
    async fn archive(&self, task: TaskId, path: &str) -> Result<(PathStat, Archive), Failure>;

    /// Unpacks a tar archive into a directory.
    async fn unarchive(
        &self,
        task: TaskId,
        path: &str,
        options: ArchivePutOptions,
        archive: Archive,
    ) -> Result<(), Failure>;
}
