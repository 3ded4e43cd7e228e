//! Spawned tasks. Each has a kind, and each kind says what its failure means.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a task is for. Add a kind here before spawning a new sort of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// Serves the API on one listener.
    ApiListener,
    /// Serves one API connection or one of its streams.
    ApiConnection,
    /// Owns one container: follows its shim, restarts it, probes its health.
    ContainerMonitor,
    /// Probes one container's health.
    HealthProbe,
    /// Follows one log, event or statistics stream for one client.
    Stream,
    /// Moves one image to or from a registry, an archive or a snapshot.
    ImageTransfer,
    /// Makes received images survive a power failure.
    ImageSeal,
    /// Gives memory back to the system.
    Memory,
    /// Reads messages of one netlink socket.
    Netlink,
    /// Keeps kernel network state equal to the plan.
    NetworkRepair,
    /// Answers DNS for one sandbox.
    Dns,
    /// Carries connections of one published port that the kernel cannot rewrite.
    Relay,
    /// Keeps pools (network namespaces, cgroups) filled ahead of need.
    Pool,
    /// Removes what a finished container left.
    Cleanup,
    /// Does what somebody asked for, also when he went away meanwhile.
    Request,
    /// Runs consensus of a manager.
    Raft,
    /// Serves calls between nodes.
    ClusterListener,
    /// One call or stream between nodes.
    ClusterConnection,
    /// A loop that only the leader runs.
    LeaderLoop,
    /// A worker's session with a manager.
    WorkerSession,
    /// Drives one task on a worker.
    WorkerTask,
    /// Keeps the node's certificate fresh.
    Certificates,
}

/// What the end of a task means for the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Log it; the object it served shows the failure.
    Log,
    /// The program cannot go on: shut down.
    Shutdown,
}

impl TaskKind {
    /// The policy of this kind.
    pub const fn on_error(self) -> OnError {
        match self {
            Self::ApiListener | Self::Netlink | Self::Raft | Self::ClusterListener => {
                OnError::Shutdown
            }
            Self::ApiConnection
            | Self::ContainerMonitor
            | Self::HealthProbe
            | Self::Stream
            | Self::ImageTransfer
            | Self::ImageSeal
            | Self::Memory
            | Self::NetworkRepair
            | Self::Dns
            | Self::Relay
            | Self::Pool
            | Self::Cleanup
            | Self::Request
            | Self::ClusterConnection
            | Self::LeaderLoop
            | Self::WorkerSession
            | Self::WorkerTask
            | Self::Certificates => OnError::Log,
        }
    }
}

/// A task ended before it had a result: the program stops, or the task panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon stops: the work was given up")]
pub struct GivenUp;

/// Owner of all tasks: spawns them, cancels them, waits for them.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    failed: Arc<std::sync::Mutex<Option<String>>>,
}

impl Tasks {
    /// A registry without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that is dropped at its next await when the program stops.
    pub fn spawn<F>(&self, kind: TaskKind, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.track(async move {
            stop.run_until_cancelled(task).await;
        });
        tracing::trace!(?kind, "spawned");
    }

    /// Spawns a task that may fail; the kind's policy decides what then happens.
    pub fn spawn_fallible<F, E>(&self, kind: TaskKind, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let owner = self.clone();
        self.spawn(kind, async move {
            if let Err(error) = task.await {
                owner.failed_with(kind, &error.to_string());
            }
        });
    }

    /// Does `work` in a task of its own and gives its result.
    ///
    /// # Errors
    /// When the program stops first.
    ///
    /// # Cancel safety
    /// Once polled, dropping the future does not stop the work: it goes on to its end. Only the program's stop drops it.
    pub async fn detached<T>(
        &self,
        kind: TaskKind,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, GivenUp>
    where
        T: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.spawn(kind, async move {
            // Who asked may be gone: then nobody needs the answer.
            let _ = answer.send(work.await);
        });
        answered.await.map_err(|_| GivenUp)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    fn track(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tracker.track_future(task));
    }

    fn failed_with(&self, kind: TaskKind, error: &str) {
        tracing::error!(?kind, error, "task failed");
        if kind.on_error() == OnError::Shutdown {
            *self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some(format!("{kind:?}: {error}"));
            self.stop.cancel();
        }
    }

    /// Cancelled when the program stops.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Stops all tasks and waits for them. Returns the failure that forced the stop, if one did.
    pub async fn shut_down(&self) -> Option<String> {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_listener_stops_the_program_and_says_why() {
        let tasks = Tasks::new();
        tasks.spawn(TaskKind::Stream, std::future::pending());
        tasks.spawn_fallible(TaskKind::ApiListener, async { Err::<(), _>("no socket") });
        tasks.stopping().cancelled().await;
        assert_eq!(tasks.shut_down().await.as_deref(), Some("ApiListener: no socket"));
    }

    #[tokio::test]
    async fn detached_work_goes_on_without_its_caller_and_ends_with_the_program() {
        let tasks = Tasks::new();
        let (begin, begun) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let work = async move {
            begun.await.unwrap();
            done.send(7).unwrap();
        };
        let mut call = Box::pin(tasks.detached(TaskKind::Request, work));
        assert!(futures_util::poll!(&mut call).is_pending());
        drop(call);
        begin.send(()).unwrap();
        assert_eq!(ended.await, Ok(7));

        assert_eq!(tasks.detached(TaskKind::Request, async { 8 }).await, Ok(8));
        let endless = tasks.detached(TaskKind::Request, std::future::pending::<()>());
        let (given_up, stopped) = tokio::join!(endless, tasks.shut_down());
        assert_eq!((given_up, stopped), (Err(GivenUp), None));
    }

    #[tokio::test]
    async fn a_failed_stream_stops_nothing() {
        let tasks = Tasks::new();
        tasks.spawn_fallible(TaskKind::Stream, async { Err::<(), _>("client went away") });
        tokio::task::yield_now().await;
        assert!(!tasks.stopping().is_cancelled());
        assert_eq!(tasks.shut_down().await, None);
    }
}
