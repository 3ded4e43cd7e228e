//! The port to execs.

use async_trait::async_trait;
use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use shoal_model::{ExecId, Failure};

use super::Session;

/// Execs of this host, by id, and those of the cluster's tasks, by name (ADR 0008).
#[async_trait]
pub trait Execs: Send + Sync + 'static {
    /// Creates one in a running container; `NotRunning`, `Paused`, `Restarting` otherwise.
    async fn create(&self, container: &str, spec: ExecSpec) -> Result<ExecId, Failure>;

    /// Starts it. A session unless `detach`. `StartFailed` when its program cannot be started (its exit code
    /// is then kept for inspect); `Conflict` when it was started before.
    async fn start(&self, id: &str, start: ExecStart) -> Result<Option<Session>, Failure>;

    /// Changes the size of its terminal.
    async fn resize(&self, id: &str, rows: u32, columns: u32) -> Result<(), Failure>;

    /// Everything about one.
    async fn inspect(&self, id: &str) -> Result<ExecDetails, Failure>;
}
