//! The port through which the worker runs tasks. The daemon adapts it to the engine.
//!
//! Source: swarmkit `agent/exec/executor.go`, `agent/exec/controller.go`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use shoal_model::ExecId;
use shoal_model::cluster::logs::LogQuery;
use shoal_model::cluster::node::NodeDescription;
use shoal_model::cluster::service::PortConfig;
use shoal_model::cluster::task::{ConfigReference, ContainerStatus, SecretReference};
use shoal_model::cluster::{ClusterNetwork, Config, Secret, Task, TaskId};
use shoal_model::container::{Input, LogRecord, Output};
use shoal_model::error::Failure;
use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use tokio::sync::mpsc;

use crate::visits::Visits;

/// Everything that a task needs to be made ready. Templates are expanded.
#[derive(Debug, Clone)]
pub struct Work {
    /// The task.
    pub task: Arc<Task>,
    /// Its secrets, in the order of its spec.
    pub secrets: Vec<(SecretReference, Arc<Secret>)>,
    /// Its configs, in the order of its spec.
    pub configs: Vec<(ConfigReference, Arc<Config>)>,
    /// Which of the configs hold data of secrets, by index: they are kept as secrets are.
    pub sensitive_configs: Vec<usize>,
    /// The networks that it joins.
    pub networks: Vec<Arc<ClusterNetwork>>,
}

/// What there is of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The container.
    pub container: ContainerStatus,
    /// Ports in host mode, with the numbers the node chose.
    pub ports: Vec<PortConfig>,
    /// What it does.
    pub stage: Stage,
}

/// What a task's container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Made, and never started.
    Created,
    /// Runs, or is being started or paused.
    Running,
    /// Has ended.
    Ended(End),
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Of its first process.
    pub exit_code: i32,
    /// What else went wrong, e.g. that memory ran out; empty: nothing.
    pub error: String,
}

/// Why waiting for a container is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ended.
    Ended(End),
    /// Its health check gave it up; it still runs.
    Unhealthy,
}

/// A task's log, oldest first.
pub type Lines = BoxStream<'static, Result<LogRecord, Failure>>;

/// A client attached to a process of a task.
pub struct Session {
    /// Ends when the process has closed its outputs. Dropping it detaches.
    pub output: BoxStream<'static, Result<Output, Failure>>,
    /// Where the client's stdin goes; `None`: the process has none.
    pub input: Option<mpsc::Sender<Input>>,
    /// Whether the process has a terminal.
    pub tty: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("tty", &self.tty).finish_non_exhaustive()
    }
}

/// Runs tasks. All methods but `list` and `describe` name a task; there is at most one call per task at a time, `logs`
/// and execs not counted.
///
/// # Cancel safety
/// Any call may be dropped; `shutdown` or `remove` must then clear away what it left.
#[async_trait]
pub trait Executor: Visits {
    /// What the node has to offer.
    async fn describe(&self) -> Result<NodeDescription, Failure>;

    /// Returns once [`Executor::describe`] says something else than `told` that managers should know at once. What else
    /// changes they are told a while later.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    async fn description_changed(&self, _told: &NodeDescription) {
        std::future::pending().await
    }

    /// All tasks of which there is anything.
    async fn list(&self) -> Result<Vec<TaskId>, Failure>;

    /// What there is of a task; `None`: nothing.
    async fn find(&self, task: TaskId) -> Result<Option<Found>, Failure>;

    /// Pulls, mounts and creates. Goes on where an earlier call stopped; a made container is kept.
    async fn prepare(&self, work: Work) -> Result<Found, Failure>;

    /// Starts the container; one that runs already is a success.
    async fn start(&self, task: TaskId) -> Result<Found, Failure>;

    /// Waits until the container is healthy, at once where it has no check; or until it is over with it.
    async fn settle(&self, task: TaskId) -> Result<Option<Outcome>, Failure>;

    /// Waits until it is over with the container.
    async fn wait(&self, task: TaskId) -> Result<Outcome, Failure>;

    /// Takes it out of load balancing and stops it: signal, the whole grace period, kill. Nothing there is a success.
    async fn shutdown(&self, task: TaskId, grace: Duration) -> Result<Option<Found>, Failure>;

    /// Removes container, networks and mounts that only this task used. Nothing there is a success.
    async fn remove(&self, task: TaskId) -> Result<(), Failure>;

    /// Makes an exec in the task's running container.
    async fn exec_create(&self, task: TaskId, spec: ExecSpec) -> Result<ExecId, Failure>;

    /// Starts an exec of the task's container; a session unless detached.
    async fn exec_start(
        &self,
        task: TaskId,
        exec: &str,
        start: ExecStart,
    ) -> Result<Option<Session>, Failure>;

    /// Changes the size of an exec's terminal.
    async fn exec_resize(
        &self,
        task: TaskId,
        exec: &str,
        rows: u32,
        columns: u32,
    ) -> Result<(), Failure>;

    /// Everything about an exec of the task's container.
    async fn exec_inspect(&self, task: TaskId, exec: &str) -> Result<ExecDetails, Failure>;

    /// Reads the task's log; with `follow` until the container ends. `None`: there is no container.
    async fn logs(&self, task: TaskId, query: LogQuery) -> Result<Option<Lines>, Failure>;
}
