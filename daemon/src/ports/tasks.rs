//! The API's port to the container of one task, wherever it runs.

use async_trait::async_trait;
use futures_util::FutureExt as _;
use shoal_api::ports::{ByteStream, Exit, Inside, Session, Stream};
use shoal_manager::execs;
use shoal_manager::visits::{Remote, unexpected};
use shoal_model::Failure;
use shoal_model::container::visit::{Visit, Visited};
use shoal_model::container::{
    ArchivePutOptions, AttachOptions, PathStat, StatsSample, WaitCondition,
};

/// The container of a task.
#[derive(Debug)]
pub(crate) struct TaskContainer(pub(crate) Remote);

/// A manager's session as the API's.
pub(crate) fn session(session: execs::Session) -> Session {
    let execs::Session { output, input, tty } = session;
    Session { output, input, tty }
}

impl TaskContainer {
    async fn done(&self, visit: Visit) -> Result<(), Failure> {
        match self.0.visit(&visit).await? {
            Visited::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

#[async_trait]
impl Inside for TaskContainer {
    async fn called(&self, _: &str) -> Result<(String, String), Failure> {
        match self.0.visit(&Visit::Called).await? {
            Visited::Called { id, name } => Ok((id, name)),
            other => Err(unexpected(&other)),
        }
    }

    async fn attach(&self, _: &str, options: AttachOptions) -> Result<Session, Failure> {
        Ok(session(self.0.attach(options).await?))
    }

    async fn resize(&self, _: &str, rows: u32, columns: u32) -> Result<(), Failure> {
        self.done(Visit::Resize { rows, columns }).await
    }

    async fn kill(&self, _: &str, signal: &str) -> Result<(), Failure> {
        self.done(Visit::Kill { signal: signal.to_owned() }).await
    }

    async fn wait(&self, _: &str, condition: WaitCondition) -> Result<Exit, Failure> {
        let remote = self.0.clone();
        Ok(async move { remote.wait(condition).await }.boxed())
    }

    async fn stats(&self, _: &str) -> Result<Stream<StatsSample>, Failure> {
        self.0.stats().await
    }

    async fn path_stat(&self, _: &str, path: &str) -> Result<PathStat, Failure> {
        match self.0.visit(&Visit::Look { path: path.to_owned() }).await? {
            Visited::Seen(stat) => Ok(stat),
            other => Err(unexpected(&other)),
        }
    }

    async fn archive(&self, _: &str, path: &str) -> Result<(PathStat, ByteStream), Failure> {
        self.0.archive(path).await
    }

    async fn unarchive(
        &self,
        _: &str,
        path: &str,
        options: ArchivePutOptions,
        archive: ByteStream,
    ) -> Result<(), Failure> {
        self.0.unarchive(path, options, archive).await
    }
}
