//! What runs on a worker: containers that are entries of a map, and views of networks that are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use shoal_base::random::Numbers;
use shoal_model::ExecId;
use shoal_model::cluster::logs::LogQuery;
use shoal_model::cluster::node::{GenericResource, NodeDescription, NodeResources, Platform};
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

use crate::planted::{Bug, Planted};
use crate::wish;

/// What became of a container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// What it does.
    pub stage: Stage,
    /// What it was made from.
    pub image: String,
}

/// The containers of one machine; they outlive the worker that made them.
#[derive(Debug)]
pub struct Machine {
    name: String,
    containers: watch::Sender<BTreeMap<TaskId, Container>>,
    views: Mutex<BTreeMap<ClusterNetworkId, Arc<NetworkView>>>,
    numbers: Mutex<Numbers>,
    planted: Planted,
}

impl Machine {
    /// An empty one.
    pub fn new(name: &str, seed: u64, planted: Planted) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            containers: watch::Sender::new(BTreeMap::new()),
            views: Mutex::default(),
            numbers: Mutex::new(Numbers::new(seed)),
            planted,
        })
    }

    /// All containers.
    pub fn containers(&self) -> BTreeMap<TaskId, Container> {
        self.containers.borrow().clone()
    }

    /// Whether a task's container runs.
    pub fn runs(&self, task: TaskId) -> bool {
        self.containers.borrow().get(&task).is_some_and(|it| it.stage == Stage::Running)
    }

    /// Views of networks that are in effect.
    pub fn views(&self) -> BTreeMap<ClusterNetworkId, Arc<NetworkView>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The machine lost its power: nothing runs, no network is there.
    pub fn lose_power(&self) {
        let end = End { exit_code: 137, error: String::new() };
        self.containers.send_modify(|containers| {
            for container in containers.values_mut() {
                if container.stage == Stage::Running {
                    container.stage = Stage::Ended(end.clone());
                }
            }
        });
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// One of the running containers ends by itself; its task.
    pub fn end_one(&self, exit_code: i32) -> Option<TaskId> {
        let running: Vec<TaskId> = {
            let containers = self.containers.borrow();
            let running = containers.iter().filter(|(_, it)| it.stage == Stage::Running);
            running.map(|(task, _)| *task).collect()
        };
        let index = usize::try_from(self.numbers().below(running.len() as u64)).unwrap_or(0);
        let task = *running.get(index)?;
        let end = End { exit_code, error: String::new() };
        self.change(task, |container| container.stage = Stage::Ended(end));
        Some(task)
    }

    fn change(&self, task: TaskId, change: impl FnOnce(&mut Container)) {
        self.containers.send_modify(|containers| {
            if let Some(container) = containers.get_mut(&task) {
                change(container);
            }
        });
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn takes(&self, least: u64, most: u64) {
        let milliseconds = least + self.numbers().below(most - least);
        crate::time::pass(Duration::from_millis(milliseconds)).await;
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
impl Networks for Machine {
    async fn apply(&self, view: Arc<NetworkView>) -> Result<(), Failure> {
        self.takes(1, 20).await;
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if self.planted.is(Bug::StaleEndpoint) && views.contains_key(&view.network) {
            return Ok(());
        }
        views.insert(view.network, view);
        Ok(())
    }

    async fn leave(&self, network: ClusterNetworkId) -> Result<(), Failure> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).remove(&network);
        Ok(())
    }

    async fn leave_all(&self) -> Result<(), Failure> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}

#[async_trait]
impl Executor for Machine {
    async fn describe(&self) -> Result<NodeDescription, Failure> {
        let plugins = [("Network", "overlay"), ("Network", "bridge"), ("Volume", "local")];
        Ok(NodeDescription {
            hostname: self.name.clone(),
            platform: Platform { architecture: "x86_64".to_owned(), os: "linux".to_owned() },
            resources: NodeResources {
                nano_cpus: wish::NODE_CPUS,
                memory: 8 << 30,
                generic: vec![GenericResource::Discrete {
                    kind: wish::DEVICE.to_owned(),
                    value: wish::NODE_DEVICES,
                }],
            },
            plugins: plugins.map(|(kind, name)| (kind.to_owned(), name.to_owned())).into(),
            feature_level: shoal_manager::feature::LEVEL,
            ..NodeDescription::default()
        })
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        Ok(self.containers.borrow().keys().copied().collect())
    }

    async fn find(&self, task: TaskId) -> Result<Option<Found>, Failure> {
        Ok(self.get(task))
    }

    async fn prepare(&self, work: Work) -> Result<Found, Failure> {
        self.takes(5, 300).await;
        let task = work.task.id;
        let number = self.numbers().next();
        self.containers.send_modify(|containers| {
            containers.entry(task).or_insert_with(|| Container {
                id: format!("{number:016x}"),
                stage: Stage::Created,
                image: work.task.spec.container.image.clone(),
            });
        });
        self.must(task)
    }

    async fn start(&self, task: TaskId) -> Result<Found, Failure> {
        self.takes(2, 30).await;
        let image = self.containers.borrow().get(&task).map(|it| it.image.clone());
        let stage = match image {
            Some(image) if image.starts_with(wish::FAILING) => {
                Stage::Ended(End { exit_code: 1, error: String::new() })
            }
            Some(image) if image.starts_with(wish::JOB) => {
                Stage::Ended(End { exit_code: 0, error: String::new() })
            }
            _ => Stage::Running,
        };
        let lies = self.planted.is(Bug::LyingStart) && stage == Stage::Running;
        if !lies {
            self.change(task, |container| {
                if container.stage == Stage::Created {
                    container.stage = stage;
                }
            });
        }
        let found = self.must(task)?;
        Ok(if lies { Found { stage: Stage::Running, ..found } } else { found })
    }

    async fn settle(&self, task: TaskId) -> Result<Option<Outcome>, Failure> {
        match self.must(task)?.stage {
            Stage::Ended(end) => Ok(Some(Outcome::Ended(end))),
            Stage::Created | Stage::Running => Ok(None),
        }
    }

    async fn wait(&self, task: TaskId) -> Result<Outcome, Failure> {
        let mut containers = self.containers.subscribe();
        let lies = self.planted.is(Bug::LyingStart);
        let ended = containers.wait_for(|containers| {
            containers.get(&task).is_none_or(|container| match container.stage {
                Stage::Running => false,
                Stage::Created => !lies,
                Stage::Ended(_) => true,
            })
        });
        // The sender lives as long as this does.
        drop(ended.await);
        match self.must(task)?.stage {
            Stage::Ended(end) => Ok(Outcome::Ended(end)),
            Stage::Created | Stage::Running => {
                Err(Failure::new(ErrorKind::Internal, "the container does not run"))
            }
        }
    }

    async fn shutdown(&self, task: TaskId, _: Duration) -> Result<Option<Found>, Failure> {
        self.takes(2, 200).await;
        let found = self.get(task);
        let end = End { exit_code: 143, error: String::new() };
        if self.planted.is(Bug::IgnoredStop) {
            return Ok(found.map(|found| Found { stage: Stage::Ended(end), ..found }));
        }
        self.change(task, |container| {
            if container.stage == Stage::Running {
                container.stage = Stage::Ended(end);
            }
        });
        Ok(self.get(task))
    }

    async fn remove(&self, task: TaskId) -> Result<(), Failure> {
        self.takes(1, 20).await;
        if !self.planted.is(Bug::IgnoredStop) {
            self.containers.send_modify(|containers| drop(containers.remove(&task)));
        }
        Ok(())
    }

    async fn logs(&self, task: TaskId, _: LogQuery) -> Result<Option<Lines>, Failure> {
        Ok(self.get(task).map(|_| futures_util::stream::empty().boxed()))
    }

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

#[async_trait]
impl Visits for Machine {
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
    Failure::new(ErrorKind::Conflict, "containers of the simulation have no processes")
}
