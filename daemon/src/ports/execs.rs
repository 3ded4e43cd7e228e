//! The API's port to execs: those of this host by id, those of the cluster's tasks by name.

use std::sync::Arc;

use async_trait::async_trait;
use shoal_api::ports::{Execs, Session};
use shoal_engine::Engine;
use shoal_manager::execs::is_in_task;
use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use shoal_model::{ExecId, Failure};

use crate::cluster::Host;

/// Execs of the engine, and of tasks wherever they run.
#[derive(Debug)]
pub(crate) struct HostExecs {
    pub(crate) engine: Engine,
    pub(crate) cluster: Arc<Host>,
}

#[async_trait]
impl Execs for HostExecs {
    async fn create(&self, container: &str, spec: ExecSpec) -> Result<ExecId, Failure> {
        Ok(self.engine.exec_create(container, spec)?)
    }

    async fn start(&self, id: &str, start: ExecStart) -> Result<Option<Session>, Failure> {
        if is_in_task(id) {
            let session = self.cluster.manager()?.execs.start(id, start).await?;
            return Ok(session.map(super::tasks::session));
        }
        Ok(self.engine.exec_start(id, start).await?.map(super::containers::session))
    }

    async fn resize(&self, id: &str, rows: u32, columns: u32) -> Result<(), Failure> {
        if is_in_task(id) {
            return self.cluster.manager()?.execs.resize(id, rows, columns).await;
        }
        Ok(self.engine.exec_resize(id, rows, columns).await?)
    }

    async fn inspect(&self, id: &str) -> Result<ExecDetails, Failure> {
        if is_in_task(id) {
            return self.cluster.manager()?.execs.inspect(id).await;
        }
        Ok(self.engine.exec_inspect(id)?)
    }
}
