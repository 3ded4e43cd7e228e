//! The port to containers.

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use shoal_model::container::{
    ArchivePutOptions, AttachOptions, CommitRequest, ContainerDetails, ContainerSummary,
    CreateRequest, Created, ListOptions, LogOptions, LogRecord, PathChange, PathStat, Pruned,
    RemoveOptions, StatsSample, StopOptions, TopResult, UpdateRequest, WaitCondition, WaitOutcome,
};
use shoal_model::filters::PruneFilters;
use shoal_model::{Digest, Failure};

use super::{ByteStream, Session, Stream};

/// Completes when what was waited for happened.
pub type Exit = BoxFuture<'static, Result<WaitOutcome, Failure>>;

/// The log of a container.
pub struct Logs {
    /// Whether the container has a terminal: lines are then not framed.
    pub tty: bool,
    /// Oldest first.
    pub records: Stream<LogRecord>,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("tty", &self.tty).finish_non_exhaustive()
    }
}

/// What is done within a container that is there: one of this host, by its name; or that of a task of the cluster,
/// wherever it runs, and then names are not looked at.
#[async_trait]
pub trait Inside: Send + Sync + 'static {
    /// Its id, and its name without the leading slash.
    async fn called(&self, name: &str) -> Result<(String, String), Failure>;

    /// Attaches to the init process; also before the start.
    async fn attach(&self, name: &str, options: AttachOptions) -> Result<Session, Failure>;

    /// Changes the size of its terminal.
    async fn resize(&self, name: &str, rows: u32, columns: u32) -> Result<(), Failure>;

    /// Sends a signal (name with or without `SIG`, or number). `NotRunning` when it does not run.
    async fn kill(&self, name: &str, signal: &str) -> Result<(), Failure>;

    /// Registers a wait and returns at once; the future then completes on the exit.
    async fn wait(&self, name: &str, condition: WaitCondition) -> Result<Exit, Failure>;

    /// One sample at once, then one each second until dropped. Ends when the container is removed. A
    /// container that does not run gives empty samples.
    async fn stats(&self, name: &str) -> Result<Stream<StatsSample>, Failure>;

    /// Looks at a path in it.
    async fn path_stat(&self, name: &str, path: &str) -> Result<PathStat, Failure>;

    /// A path in it as a tar archive.
    async fn archive(&self, name: &str, path: &str) -> Result<(PathStat, ByteStream), Failure>;

    /// Unpacks a tar archive (plain, gzip, bzip2, xz or zstd) into a directory in it.
    async fn unarchive(
        &self,
        name: &str,
        path: &str,
        options: ArchivePutOptions,
        archive: ByteStream,
    ) -> Result<(), Failure>;
}

/// Containers of this host.
#[async_trait]
pub trait Containers: Inside {
    /// Lists, newest first.
    async fn list(&self, options: ListOptions) -> Result<Vec<ContainerSummary>, Failure>;

    /// Creates. Fails with `NoSuch` image when it is not here; never pulls.
    async fn create(&self, request: CreateRequest) -> Result<Created, Failure>;

    /// Everything about one; with `size` also its sizes.
    async fn inspect(&self, name: &str, size: bool) -> Result<ContainerDetails, Failure>;

    /// Starts. `AlreadyInState` when it runs, `StartFailed` when its program cannot be started.
    async fn start(&self, name: &str) -> Result<(), Failure>;

    /// Stops and waits for the end. `AlreadyInState` when it does not run.
    async fn stop(&self, name: &str, options: StopOptions) -> Result<(), Failure>;

    /// Stops if it runs, then starts.
    async fn restart(&self, name: &str, options: StopOptions) -> Result<(), Failure>;

    /// Freezes.
    async fn pause(&self, name: &str) -> Result<(), Failure>;

    /// Thaws.
    async fn unpause(&self, name: &str) -> Result<(), Failure>;

    /// Renames; `to` without leading slash.
    async fn rename(&self, name: &str, to: &str) -> Result<(), Failure>;

    /// Changes limits; gives warnings.
    async fn update(&self, name: &str, request: UpdateRequest) -> Result<Vec<String>, Failure>;

    /// Removes.
    async fn remove(&self, name: &str, options: RemoveOptions) -> Result<(), Failure>;

    /// Reads its log. `NotImplemented` when its driver cannot be read.
    async fn logs(&self, name: &str, options: LogOptions) -> Result<Logs, Failure>;

    /// Its processes, as `ps` shows them with these arguments.
    async fn top(&self, name: &str, ps_args: &[String]) -> Result<TopResult, Failure>;

    /// What differs from its image, sorted by path.
    async fn changes(&self, name: &str) -> Result<Vec<PathChange>, Failure>;

    /// Its file system as a tar archive.
    async fn export(&self, name: &str) -> Result<ByteStream, Failure>;

    /// Makes an image of it.
    async fn commit(&self, request: CommitRequest) -> Result<Digest, Failure>;

    /// Removes all that do not run.
    async fn prune(&self, filters: PruneFilters) -> Result<Pruned, Failure>;
}
