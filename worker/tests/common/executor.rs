//! An executor whose containers are entries of a map.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use shoal_model::ExecId;
use shoal_model::cluster::logs::LogQuery;
use shoal_model::cluster::node::NodeDescription;
use shoal_model::cluster::task::ContainerStatus;
use shoal_model::cluster::{ClusterNetworkId, NetworkView, TaskId};
use shoal_model::container::visit::{Visit, Visited};
use shoal_model::container::{ArchivePutOptions, AttachOptions, PathStat};
use shoal_model::error::{ErrorKind, Failure};
use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use shoal_worker::executor::{End, Executor, Found, Lines, Outcome, Session, Stage, Work};
use shoal_worker::networks::Networks;
use shoal_worker::visits::{Archive, Samples, Visits};
use tokio::sync::watch;

#[derive(Debug, Clone)]
struct Container {
    id: String,
    stage: Stage,
    healthy: bool,
}

#[derive(Debug)]
pub(crate) struct FakeExecutor {
    containers: watch::Sender<BTreeMap<TaskId, Container>>,
    log: Mutex<Vec<String>>,
    secrets: Mutex<Vec<Vec<u8>>>,
    /// New containers are not healthy at once.
    pub(crate) slow: std::sync::atomic::AtomicBool,
    /// Views of networks are not put into effect while it is set.
    pub(crate) holds_views: watch::Sender<bool>,
}

impl Default for FakeExecutor {
    fn default() -> Self {
        Self {
            containers: watch::Sender::new(BTreeMap::new()),
            log: Mutex::default(),
            secrets: Mutex::default(),
            slow: std::sync::atomic::AtomicBool::new(false),
            holds_views: watch::Sender::new(false),
        }
    }
}

impl FakeExecutor {
    /// What was called, in order: `prepare 1`, `start 1`, …
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        self.secrets.lock().unwrap().clone()
    }

    /// Ids of running containers.
    pub(crate) fn running(&self) -> Vec<String> {
        let containers = self.containers.borrow();
        let running = containers.values().filter(|container| container.stage == Stage::Running);
        running.map(|container| container.id.clone()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.containers.borrow().len()
    }

    /// A container ends by itself.
    pub(crate) fn end(&self, task: TaskId, exit_code: i32) {
        let end = End { exit_code, error: String::new() };
        self.change(task, |container| container.stage = Stage::Ended(end));
    }

    pub(crate) fn heal(&self, task: TaskId) {
        self.change(task, |container| container.healthy = true);
    }

    fn change(&self, task: TaskId, change: impl FnOnce(&mut Container)) {
        self.containers.send_modify(|containers| {
            if let Some(container) = containers.get_mut(&task) {
                change(container);
            }
        });
    }

    fn note(&self, what: &str, task: TaskId) {
        self.log.lock().unwrap().push(format!("{what} {}", task.to_bytes()[0]));
    }

    fn get(&self, task: TaskId) -> Option<Found> {
        let containers = self.containers.borrow();
        let container = containers.get(&task)?;
        let exit_code = match &container.stage {
            Stage::Ended(end) => end.exit_code,
            Stage::Created | Stage::Running => 0,
        };
        let status = ContainerStatus { id: container.id.clone(), pid: 1, exit_code };
        Some(Found { container: status, ports: Vec::new(), stage: container.stage.clone() })
    }

    fn must(&self, task: TaskId) -> Result<Found, Failure> {
        self.get(task).ok_or_else(|| Failure::new(ErrorKind::NotFound, "no such container"))
    }
}

#[async_trait]
impl Networks for FakeExecutor {
    async fn apply(&self, view: Arc<NetworkView>) -> Result<(), Failure> {
        let mut holds = self.holds_views.subscribe();
        drop(holds.wait_for(|holds| !holds).await.unwrap());
        let network = view.network.to_bytes()[0];
        self.log.lock().unwrap().push(format!("network {network} {}", view.version));
        Ok(())
    }

    async fn leave(&self, network: ClusterNetworkId) -> Result<(), Failure> {
        self.log.lock().unwrap().push(format!("leave {}", network.to_bytes()[0]));
        Ok(())
    }

    async fn leave_all(&self) -> Result<(), Failure> {
        self.log.lock().unwrap().push("leave all".to_owned());
        Ok(())
    }
}

#[async_trait]
impl Executor for FakeExecutor {
    async fn describe(&self) -> Result<NodeDescription, Failure> {
        Ok(NodeDescription { hostname: "fake".to_owned(), ..NodeDescription::default() })
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        Ok(self.containers.borrow().keys().copied().collect())
    }

    async fn find(&self, task: TaskId) -> Result<Option<Found>, Failure> {
        Ok(self.get(task))
    }

    async fn prepare(&self, work: Work) -> Result<Found, Failure> {
        let id = work.task.id;
        self.note("prepare", id);
        let secrets = work.secrets.iter().map(|(_, secret)| secret.spec.data.clone());
        self.secrets.lock().unwrap().extend(secrets);
        let name = format!("c{}", self.log().len());
        let healthy = !self.slow.load(std::sync::atomic::Ordering::Relaxed);
        self.containers.send_modify(|containers| {
            let container = Container { id: name, stage: Stage::Created, healthy };
            containers.entry(id).or_insert(container);
        });
        self.must(id)
    }

    async fn start(&self, task: TaskId) -> Result<Found, Failure> {
        self.note("start", task);
        self.change(task, |container| container.stage = Stage::Running);
        self.must(task)
    }

    async fn settle(&self, task: TaskId) -> Result<Option<Outcome>, Failure> {
        let mut containers = self.containers.subscribe();
        let settled = containers.wait_for(|containers| {
            containers.get(&task).is_none_or(|c| c.healthy || c.stage != Stage::Running)
        });
        drop(settled.await.unwrap());
        match self.must(task)?.stage {
            Stage::Ended(end) => Ok(Some(Outcome::Ended(end))),
            Stage::Created | Stage::Running => Ok(None),
        }
    }

    async fn wait(&self, task: TaskId) -> Result<Outcome, Failure> {
        let mut containers = self.containers.subscribe();
        let ended = containers.wait_for(|containers| {
            containers.get(&task).is_none_or(|container| container.stage != Stage::Running)
        });
        drop(ended.await.unwrap());
        match self.must(task)?.stage {
            Stage::Ended(end) => Ok(Outcome::Ended(end)),
            Stage::Created | Stage::Running => {
                Err(Failure::new(ErrorKind::Internal, "the container runs"))
            }
        }
    }

    async fn shutdown(&self, task: TaskId, grace: Duration) -> Result<Option<Found>, Failure> {
        self.note(&format!("shutdown({}s)", grace.as_secs()), task);
        let end = End { exit_code: 143, error: String::new() };
        self.change(task, |container| container.stage = Stage::Ended(end));
        Ok(self.get(task))
    }

    async fn remove(&self, task: TaskId) -> Result<(), Failure> {
        self.note("remove", task);
        self.containers.send_modify(|containers| drop(containers.remove(&task)));
        Ok(())
    }

    /// Its containers write nothing.
    async fn logs(&self, task: TaskId, _: LogQuery) -> Result<Option<Lines>, Failure> {
        Ok(self.get(task).map(|_| futures_util::stream::empty().boxed()))
    }

    /// Its containers have no processes.
    async fn exec_create(&self, _: TaskId, _: ExecSpec) -> Result<ExecId, Failure> {
        Err(no_processes())
    }

    async fn exec_start(
        &self,
        _: TaskId,
        _: &str,
        _: ExecStart,
    ) -> Result<Option<Session>, Failure> {
        Err(no_processes())
    }

    async fn exec_resize(&self, _: TaskId, _: &str, _: u32, _: u32) -> Result<(), Failure> {
        Err(no_processes())
    }

    async fn exec_inspect(&self, _: TaskId, _: &str) -> Result<ExecDetails, Failure> {
        Err(no_processes())
    }
}

/// Its containers have no inside either.
#[async_trait]
impl Visits for FakeExecutor {
    async fn visit(&self, _: TaskId, _: Visit) -> Result<Visited, Failure> {
        Err(no_processes())
    }

    async fn attach(&self, _: TaskId, _: AttachOptions) -> Result<Session, Failure> {
        Err(no_processes())
    }

    async fn forward(&self, _: TaskId, _: u16) -> Result<Session, Failure> {
        Err(no_processes())
    }

    async fn stats(&self, _: TaskId) -> Result<Samples, Failure> {
        Err(no_processes())
    }

    async fn archive(&self, _: TaskId, _: &str) -> Result<(PathStat, Archive), Failure> {
        Err(no_processes())
    }

    async fn unarchive(
        &self,
        _: TaskId,
        _: &str,
        _: ArchivePutOptions,
        _: Archive,
    ) -> Result<(), Failure> {
        Err(no_processes())
    }
}

fn no_processes() -> Failure {
    Failure::new(ErrorKind::Conflict, "there are no processes here")
}
