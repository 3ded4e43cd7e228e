//! The API's port to execs.

use async_trait::async_trait;
use shoal_api::ports::{Execs, Session};
use shoal_engine::Engine;
use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use shoal_model::{ExecId, Failure};

/// Execs of the engine.
#[derive(Debug)]
pub(crate) struct HostExecs(pub(crate) Engine);

#[async_trait]
impl Execs for HostExecs {
    async fn create(&self, container: &str, spec: ExecSpec) -> Result<ExecId, Failure> {
        Ok(self.0.exec_create(container, spec)?)
    }

    async fn start(&self, id: &str, start: ExecStart) -> Result<Option<Session>, Failure> {
        Ok(self.0.exec_start(id, start).await?.map(super::containers::session))
    }

    async fn resize(&self, id: &str, rows: u32, columns: u32) -> Result<(), Failure> {
        Ok(self.0.exec_resize(id, rows, columns).await?)
    }

    async fn inspect(&self, id: &str) -> Result<ExecDetails, Failure> {
        Ok(self.0.exec_inspect(id)?)
    }
}
