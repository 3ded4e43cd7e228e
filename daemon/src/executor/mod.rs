//! Runs tasks of the cluster on this host's engine: the worker's port `Executor`.

mod container;
mod files;
mod making;
mod network;
mod pull;
mod visits;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use shoal_base::blocking;
use shoal_base::tasks::Tasks;
use shoal_engine::Engine;
use shoal_engine::container::session as engine;
use shoal_engine::container::settle::Verdict;
use shoal_model::cluster::logs::LogQuery;
use shoal_model::cluster::node::NodeDescription;
use shoal_model::cluster::service::PortConfig;
use shoal_model::cluster::task::{ContainerStatus, TaskRuntime};
use shoal_model::cluster::{NodeId, TaskId};
use shoal_model::container::{
    ContainerDetails, ListOptions, LogOptions, Phase, RemoveOptions, StopOptions, WaitCondition,
};
use shoal_model::error::{Fact, ObjectKind};
use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use shoal_model::filters::{ContainerFilters, LabelFilter};
use shoal_model::{ContainerId, ErrorKind, ExecId, Failure};
use shoal_worker::executor::{End, Executor, Found, Lines, Outcome, Session, Stage, Work};

use crate::attachments::{Attachment, Attachments};
use crate::ports::{HostImages, given_up};
use files::TaskFiles;
use making::Making;
pub(crate) use network::join as join_network;
use pull::Puller;

/// A container that asked for an attachment waits for it no longer.
const ATTACHMENT_WAIT: Duration = Duration::from_secs(10);

/// The executor of this host.
#[derive(Debug)]
pub(crate) struct HostExecutor {
    engine: Engine,
    puller: Puller,
    networks: shoal_netoverlay::Networks,
    attachments: Attachments,
    clock: shoal_base::SharedClock,
    /// Own what is being made, and what forwarded connections send.
    tasks: Tasks,
    files: TaskFiles,
    node: NodeId,
    description: NodeDescription,
    /// Containers by task, as far as they were seen; the engine has the last word.
    known: Arc<Mutex<Known>>,
    making: Making,
}

/// What was seen of the containers of tasks.
#[derive(Debug, Default)]
struct Known {
    containers: BTreeMap<TaskId, ContainerId>,
    /// All were seen once: what is neither known since then nor being made is not there, for only this executor makes them.
    all: bool,
}

/// What tasks run on.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) images: Arc<HostImages>,
    pub(crate) networks: shoal_netoverlay::Networks,
    pub(crate) attachments: Attachments,
    pub(crate) clock: shoal_base::SharedClock,
    pub(crate) tasks: Tasks,
}

impl HostExecutor {
    pub(crate) fn new(
        parts: Parts,
        exec_root: &std::path::Path,
        node: NodeId,
        description: NodeDescription,
    ) -> Self {
        let Parts { engine, images, networks, attachments, clock, tasks } = parts;
        let puller = Puller::new(images, clock.clone());
        let files = TaskFiles::new(exec_root);
        let (known, making) = (Arc::default(), Making::default());
        Self {
            engine,
            puller,
            networks,
            attachments,
            clock,
            tasks,
            files,
            node,
            description,
            known,
            making,
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container of a task, by what is known or by its label, once nothing is being made of it.
    async fn container(&self, task: TaskId) -> Result<Option<ContainerDetails>, Failure> {
        self.making.made(task).await;
        let (known, is_absent) = {
            let known = self.known();
            (known.containers.get(&task).cloned(), known.all)
        };
        if let Some(id) = known {
            match self.engine.inspect(id.as_str(), false).await.map_err(Failure::from) {
                Err(failure) if failure.kind() == ErrorKind::NotFound => {
                    self.known().containers.remove(&task);
                }
                other => return other.map(Some),
            }
        }
        if is_absent {
            return Ok(None);
        }
        let found = self.list_containers(Some(task)).await?;
        match found.into_iter().next() {
            None => Ok(None),
            Some((task, id)) => {
                self.known().containers.insert(task, id.clone());
                Ok(Some(self.engine.inspect(id.as_str(), false).await?))
            }
        }
    }

    async fn list_containers(
        &self,
        task: Option<TaskId>,
    ) -> Result<Vec<(TaskId, ContainerId)>, Failure> {
        let label = LabelFilter {
            key: container::TASK_ID.to_owned(),
            value: task.map(|task| task.to_string()),
        };
        let filters = ContainerFilters { labels: vec![label], ..ContainerFilters::default() };
        let options = ListOptions { all: true, filters, ..ListOptions::default() };
        let containers = self.engine.list(options).await?;
        // Containers of an earlier membership have another node's label and are not ours.
        let node = self.node.to_string();
        Ok(containers
            .into_iter()
            .filter(|one| one.labels.get("com.docker.swarm.node.id") == Some(&node))
            .filter_map(|one| Some((TaskId::parse(one.labels.get(container::TASK_ID)?)?, one.id)))
            .collect())
    }

    /// Makes the networks of a task known on this host. What is made in the kernel follows their views, which come
    /// right behind the task.
    async fn make_networks(&self, work: &Work) -> Result<(), Failure> {
        let overlays = work.networks.iter().filter(|network| network::is_overlay(network));
        for network in overlays {
            network::fits(network, &self.description)?;
            network::join(&self.networks, &self.clock, network).await?;
        }
        Ok(())
    }

    /// The container asked for the attachment a moment ago, and waits for it; or nobody does any more.
    async fn prepare_attachment(&self, task: TaskId) -> Result<Found, Failure> {
        tokio::select! {
            attachment = self.attachments.begun(task) => Ok(attached(&attachment, Stage::Created)),
            () = self.clock.sleep(ATTACHMENT_WAIT) => Err(Failure::new(
                ErrorKind::NotFound,
                "the container of the attachment is gone",
            )),
        }
    }

    async fn required(&self, task: TaskId) -> Result<ContainerDetails, Failure> {
        let missing =
            || Failure::new(ErrorKind::NotFound, format!("task `{task}` has no container"));
        self.container(task).await?.ok_or_else(missing)
    }
}

fn attached(attachment: &Attachment, stage: Stage) -> Found {
    let id = attachment.container.to_string();
    let container = ContainerStatus { id, ..ContainerStatus::default() };
    Found { container, ports: Vec::new(), stage }
}

fn found(details: &ContainerDetails) -> Found {
    let state = &details.state;
    let stage = match state.phase {
        Phase::Created if state.error.is_empty() => Stage::Created,
        Phase::Running | Phase::Paused | Phase::Restarting => Stage::Running,
        Phase::Created | Phase::Removing | Phase::Exited | Phase::Dead => {
            Stage::Ended(end(details))
        }
    };
    let container = ContainerStatus {
        id: details.id.to_string(),
        pid: u32::try_from(state.pid).unwrap_or(0),
        exit_code: state.exit.as_ref().map_or(0, |exit| exit.code),
    };
    Found { container, ports: ports(details), stage }
}

fn end(details: &ContainerDetails) -> End {
    let exit = details.state.exit.as_ref();
    End { exit_code: exit.map_or(0, |exit| exit.code), error: details.state.error.clone() }
}

/// Ports of the container that are published on this node.
fn ports(details: &ContainerDetails) -> Vec<PortConfig> {
    use shoal_model::cluster::service::{Protocol, PublishMode};
    let mut ports: Vec<PortConfig> = details
        .network
        .ports
        .iter()
        .filter_map(|port| {
            let protocol = match port.protocol.as_str() {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                _ => Protocol::Sctp,
            };
            Some(PortConfig {
                name: String::new(),
                protocol,
                target: port.container_port,
                published: port.host_port?,
                mode: PublishMode::Host,
            })
        })
        .collect();
    // One row per family on the host, one port for the user.
    ports.sort();
    ports.dedup();
    ports
}

#[async_trait]
impl Executor for HostExecutor {
    async fn describe(&self) -> Result<NodeDescription, Failure> {
        Ok(NodeDescription {
            images: self.puller.names().await?,
            refused_ports: self.networks.refused_ports(),
            ..self.description.clone()
        })
    }

    async fn description_changed(&self, told: &NodeDescription) {
        self.networks.refused_ports_changed(&told.refused_ports).await;
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        // Before the containers: what is made in between is one of them.
        let mut tasks = self.making.tasks();
        let containers = self.list_containers(None).await?;
        tasks.extend(containers.iter().map(|(task, _)| *task));
        tasks.extend(self.attachments.tasks());
        tasks.sort();
        tasks.dedup();
        // Some may have been made since the engine was asked.
        let mut known = self.known();
        known.containers.extend(containers);
        known.all = true;
        Ok(tasks)
    }

    async fn find(&self, task: TaskId) -> Result<Option<Found>, Failure> {
        if let Some(attachment) = self.attachments.get(task) {
            return Ok(Some(attached(&attachment, Stage::Running)));
        }
        Ok(self.container(task).await?.as_ref().map(found))
    }

    async fn prepare(&self, work: Work) -> Result<Found, Failure> {
        let id = work.task.id;
        if work.task.spec.runtime == TaskRuntime::Attachment {
            return self.prepare_attachment(id).await;
        }
        if let Some(details) = self.container(id).await? {
            return Ok(found(&details));
        }
        self.make_networks(&work).await?;
        self.puller.pull(&work.task.spec).await?;
        let (files, engine, node) = (self.files.clone(), self.engine.clone(), self.node);
        let known = Arc::clone(&self.known);
        let made = async move {
            let written = files.clone();
            let (work, shown) = blocking::run("write files of a task", move || {
                let shown = written.write(&work);
                (work, shown)
            })
            .await
            .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
            let request = container::request(&work.task, node, &work.networks, shown?);
            let created = engine.create(request).await;
            if created.is_err()
                && let Err(error) = remove_files(files, id).await
            {
                tracing::warn!(task = %id, %error, "files of a task that was not made stay");
            }
            let created = created?;
            // Here, for this goes on when nobody waits for it any more.
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.containers.insert(id, created.id.clone());
            Ok::<_, Failure>(created)
        };
        let created = self.making.make(&self.tasks, id, made).await.map_err(given_up)??;
        Ok(found(&self.engine.inspect(created.id.as_str(), false).await?))
    }

    async fn start(&self, task: TaskId) -> Result<Found, Failure> {
        if let Some(attachment) = self.attachments.get(task) {
            return Ok(attached(&attachment, Stage::Running));
        }
        let details = self.required(task).await?;
        if !details.state.phase.is_live() {
            self.attachments.note_task(&details.id);
            self.engine.start(details.id.as_str()).await?;
        }
        Ok(found(&self.required(task).await?))
    }

    async fn settle(&self, task: TaskId) -> Result<Option<Outcome>, Failure> {
        if self.attachments.get(task).is_some() {
            return Ok(None);
        }
        let id = self.required(task).await?.id;
        match self.engine.settle(id.as_str(), |_| true)?.await {
            Verdict::Healthy => Ok(None),
            Verdict::Unhealthy => Ok(Some(Outcome::Unhealthy)),
            Verdict::Over => Ok(Some(Outcome::Ended(end(&self.required(task).await?)))),
        }
    }

    async fn wait(&self, task: TaskId) -> Result<Outcome, Failure> {
        if self.attachments.get(task).is_some() {
            self.attachments.ended(task).await;
            return Ok(Outcome::Ended(End { exit_code: 0, error: String::new() }));
        }
        let id = self.required(task).await?.id;
        let bad = |verdict| verdict != Verdict::Healthy;
        match self.engine.settle(id.as_str(), bad)?.await {
            Verdict::Unhealthy => Ok(Outcome::Unhealthy),
            Verdict::Healthy | Verdict::Over => {
                // The exit is recorded a moment after the state is no longer running.
                self.engine.wait(id.as_str(), WaitCondition::NotRunning)?.await;
                Ok(Outcome::Ended(end(&self.required(task).await?)))
            }
        }
    }

    async fn shutdown(&self, task: TaskId, grace: Duration) -> Result<Option<Found>, Failure> {
        let Some(details) = self.container(task).await? else { return Ok(None) };
        // One that was created only is perhaps being started for a call that was given up: its stop waits for that.
        if !matches!(details.state.phase, Phase::Exited | Phase::Removing | Phase::Dead) {
            let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
            let timeout = Some(i64::try_from(seconds).unwrap_or(i64::MAX));
            let stopped =
                self.engine.stop(details.id.as_str(), StopOptions { signal: None, timeout }).await;
            match stopped.map_err(Failure::from) {
                // It ended by itself meanwhile, or never began.
                Err(failure)
                    if matches!(failure.kind(), ErrorKind::NotModified | ErrorKind::NotFound) => {}
                other => other?,
            }
        }
        Ok(self.container(task).await?.as_ref().map(found))
    }

    async fn remove(&self, task: TaskId) -> Result<(), Failure> {
        self.attachments.drop_task(task);
        if let Some(details) = self.container(task).await? {
            let options = RemoveOptions { volumes: true, force: true, link: false };
            match self.engine.remove(details.id.as_str(), options).await.map_err(Failure::from) {
                Err(failure) if failure.kind() != ErrorKind::NotFound => return Err(failure),
                _ => {}
            }
        }
        self.known().containers.remove(&task);
        remove_files(self.files.clone(), task).await
    }

    async fn exec_create(&self, task: TaskId, spec: ExecSpec) -> Result<ExecId, Failure> {
        let container = self.required(task).await?.id;
        Ok(self.engine.exec_create(container.as_str(), spec)?)
    }

    async fn exec_start(
        &self,
        task: TaskId,
        exec: &str,
        start: ExecStart,
    ) -> Result<Option<Session>, Failure> {
        self.exec_inspect(task, exec).await?;
        let session = self.engine.exec_start(exec, start).await?;
        Ok(session.map(|engine::Session { output, input, tty }| Session { output, input, tty }))
    }

    async fn exec_resize(
        &self,
        task: TaskId,
        exec: &str,
        rows: u32,
        columns: u32,
    ) -> Result<(), Failure> {
        self.exec_inspect(task, exec).await?;
        Ok(self.engine.exec_resize(exec, rows, columns).await?)
    }

    async fn exec_inspect(&self, task: TaskId, exec: &str) -> Result<ExecDetails, Failure> {
        let details = self.engine.exec_inspect(exec)?;
        // Execs of other containers are none of the task's.
        if details.container != self.required(task).await?.id {
            let fact = Fact::NoSuch { object: ObjectKind::Exec, name: exec.to_owned() };
            return Err(Failure::of(ErrorKind::NotFound, fact));
        }
        Ok(details)
    }

    async fn logs(&self, task: TaskId, query: LogQuery) -> Result<Option<Lines>, Failure> {
        let Some(details) = self.container(task).await? else { return Ok(None) };
        let LogQuery { follow, stdout, stderr, since, tail } = query;
        let tail = tail.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX));
        let options = LogOptions { stdout, stderr, follow, since, until: None, tail };
        match self.engine.logs(details.id.as_str(), options).await.map_err(Failure::from) {
            Ok(logs) => Ok(Some(logs.records)),
            Err(failure) if failure.kind() == ErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

async fn remove_files(files: TaskFiles, task: TaskId) -> Result<(), Failure> {
    blocking::run("remove files of a task", move || files.remove(task))
        .await
        .map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?
}

/// What this host offers to a cluster.
pub(crate) fn description(
    config: &crate::config::Config,
    facts: &crate::facts::HostFacts,
) -> anyhow::Result<NodeDescription> {
    use shoal_model::cluster::node::{NodeResources, Platform};
    let owned = |kind: &str, names: &[&str]| {
        names.iter().map(|name| (kind.to_owned(), (*name).to_owned())).collect::<Vec<_>>()
    };
    let mut plugins = owned("Log", &["journald", "json-file", "local", "none", "syslog"]);
    plugins.extend(owned("Network", &["bridge", "host", "ipvlan", "macvlan", "null", "overlay"]));
    plugins.extend(owned("Volume", &["local"]));
    let labels = config.options.labels.iter().map(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        (key.to_owned(), value.to_owned())
    });
    Ok(NodeDescription {
        hostname: facts.hostname.clone(),
        platform: Platform { architecture: facts.architecture.clone(), os: "linux".to_owned() },
        resources: NodeResources {
            nano_cpus: i64::from(facts.cpus) * 1_000_000_000,
            memory: i64::try_from(facts.memory)?,
            generic: crate::generic::parse(&config.options.node_generic_resources)
                .context("--node-generic-resource")?,
        },
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: crate::lab::feature_level(),
        engine_labels: labels.collect(),
        plugins: plugins.into_iter().collect(),
        ..NodeDescription::default()
    })
}
