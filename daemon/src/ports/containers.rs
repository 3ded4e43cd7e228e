//! The API's port to containers.

use std::path::PathBuf;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use shoal_api::ports::{ByteStream, Containers, Exit, Inside, Logs, Session, Stream};
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_engine::Engine;
use shoal_engine::container::session;
use shoal_engine_images::image::Images;
use shoal_model::container::{
    ArchivePutOptions, AttachOptions, CommitRequest, ContainerDetails, ContainerSummary,
    CreateRequest, Created, ListOptions, LogOptions, PathChange, PathStat, Pruned, RemoveOptions,
    StatsSample, StopOptions, TopResult, UpdateRequest, WaitCondition,
};
use shoal_model::filters::PruneFilters;
use shoal_model::{Digest, Failure};

use super::given_up;

/// Containers of the engine.
#[derive(Debug)]
pub(crate) struct HostContainers {
    pub(crate) engine: Engine,
    pub(crate) images: Images,
    pub(crate) tasks: Tasks,
    /// Marks of containers that a commit holds frozen.
    pub(crate) frozen: PathBuf,
}

/// The engine's session as the API's.
pub(super) fn session(session: session::Session) -> Session {
    Session { output: session.output, input: session.input, tty: session.tty }
}

#[async_trait]
impl Inside for HostContainers {
    async fn called(&self, name: &str) -> Result<(String, String), Failure> {
        let details = self.engine.inspect(name, false).await?;
        Ok((details.id.to_string(), details.name))
    }

    async fn attach(&self, name: &str, options: AttachOptions) -> Result<Session, Failure> {
        Ok(session(self.engine.attach(name, options).await?))
    }

    async fn resize(&self, name: &str, rows: u32, columns: u32) -> Result<(), Failure> {
        Ok(self.engine.resize(name, rows, columns).await?)
    }

    async fn kill(&self, name: &str, signal: &str) -> Result<(), Failure> {
        Ok(self.engine.kill(name, signal).await?)
    }

    async fn wait(&self, name: &str, condition: WaitCondition) -> Result<Exit, Failure> {
        Ok(self.engine.wait(name, condition)?.map(Ok).boxed())
    }

    async fn stats(&self, name: &str) -> Result<Stream<StatsSample>, Failure> {
        Ok(self.engine.stats(name)?)
    }

    async fn path_stat(&self, name: &str, path: &str) -> Result<PathStat, Failure> {
        Ok(self.engine.path_stat(name, path).await?)
    }

    async fn archive(&self, name: &str, path: &str) -> Result<(PathStat, ByteStream), Failure> {
        Ok(self.engine.archive(name, path).await?)
    }

    async fn unarchive(
        &self,
        name: &str,
        path: &str,
        options: ArchivePutOptions,
        archive: ByteStream,
    ) -> Result<(), Failure> {
        Ok(self.engine.unarchive(name, path, options, archive).await?)
    }
}

#[async_trait]
impl Containers for HostContainers {
    async fn list(&self, options: ListOptions) -> Result<Vec<ContainerSummary>, Failure> {
        Ok(self.engine.list(options).await?)
    }

    async fn create(&self, request: CreateRequest) -> Result<Created, Failure> {
        Ok(self.engine.create(request).await?)
    }

    async fn inspect(&self, name: &str, size: bool) -> Result<ContainerDetails, Failure> {
        Ok(self.engine.inspect(name, size).await?)
    }

    async fn start(&self, name: &str) -> Result<(), Failure> {
        Ok(self.engine.start(name).await?)
    }

    async fn stop(&self, name: &str, options: StopOptions) -> Result<(), Failure> {
        Ok(self.engine.stop(name, options).await?)
    }

    async fn restart(&self, name: &str, options: StopOptions) -> Result<(), Failure> {
        Ok(self.engine.restart(name, options).await?)
    }

    async fn pause(&self, name: &str) -> Result<(), Failure> {
        Ok(self.engine.pause(name).await?)
    }

    async fn unpause(&self, name: &str) -> Result<(), Failure> {
        Ok(self.engine.unpause(name).await?)
    }

    async fn rename(&self, name: &str, to: &str) -> Result<(), Failure> {
        Ok(self.engine.rename(name, to).await?)
    }

    async fn update(&self, name: &str, request: UpdateRequest) -> Result<Vec<String>, Failure> {
        Ok(self.engine.update(name, request).await?)
    }

    async fn remove(&self, name: &str, options: RemoveOptions) -> Result<(), Failure> {
        Ok(self.engine.remove(name, options).await?)
    }

    async fn logs(&self, name: &str, options: LogOptions) -> Result<Logs, Failure> {
        let logs = self.engine.logs(name, options).await?;
        Ok(Logs { tty: logs.tty, records: logs.records })
    }

    async fn top(&self, name: &str, ps_args: &[String]) -> Result<TopResult, Failure> {
        Ok(self.engine.top(name, ps_args).await?)
    }

    async fn changes(&self, name: &str) -> Result<Vec<PathChange>, Failure> {
        Ok(self.engine.changes(name).await?)
    }

    async fn export(&self, name: &str) -> Result<ByteStream, Failure> {
        Ok(self.engine.export(name).await?)
    }

    async fn commit(&self, request: CommitRequest) -> Result<Digest, Failure> {
        let (engine, images) = (self.engine.clone(), self.images.clone());
        let frozen = self.frozen.clone();
        // A client that goes away must not leave the container frozen.
        let committed =
            async move { super::commit::commit(&engine, &images, &frozen, request).await };
        self.tasks.detached(TaskKind::Request, committed).await.map_err(given_up)?
    }

    async fn prune(&self, filters: PruneFilters) -> Result<Pruned, Failure> {
        Ok(self.engine.prune(filters).await?)
    }
}
