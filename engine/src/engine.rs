//! The engine: what the daemon calls. Names are names, ids or id prefixes as the client wrote them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use shoal_base::tasks::TaskKind;
use shoal_model::container::{
    ArchivePutOptions, AttachOptions, ContainerDetails, ContainerSummary, CreateRequest, Created,
    EndpointSpec, ListOptions, LogOptions, LogRecord, PathChange, PathStat, Pruned, RemoveOptions,
    StatsSample, StopOptions, TopResult, UpdateRequest, WaitCondition, WaitOutcome,
};
use shoal_model::exec::{ExecDetails, ExecSpec, ExecStart};
use shoal_model::filters::PruneFilters;
use shoal_model::{ContainerId, EventKind, ExecId, Failure};
use shoal_shim_protocol::config::TerminalSize;

use crate::attach_ahead::{self, AttachAhead};
use crate::config::Config;
use crate::container::session::Session;
use crate::container::settle::Verdict;
use crate::container::{self, Container};
use crate::copy::{self, ByteStream};
use crate::core::{Core, Parts};
use crate::error::Error;
use crate::events::Bus;
use crate::names::Register;
use crate::runtime_spec::facts;
use crate::seccomp::Cache;
use crate::volumes::Local;
use crate::{exec, list, logs, observe, resolve};

/// The containers of one host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    core: Arc<Core>,
}

/// The log of a container.
pub struct Logs {
    /// Whether the container has a terminal.
    pub tty: bool,
    /// Oldest first.
    pub records: BoxStream<'static, Result<LogRecord, Failure>>,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("tty", &self.tty).finish_non_exhaustive()
    }
}

/// Completes when what was waited for happened.
pub type Exit = BoxFuture<'static, WaitOutcome>;

impl Engine {
    /// Takes over what a previous daemon left: reads records, reconnects to shims, collects exits,
    /// removes leftovers, applies restart policies. Containers that run are not touched.
    ///
    /// # Errors
    /// When the directories cannot be made or read. A single container that cannot be taken over does
    /// not fail the whole: it is logged.
    pub async fn open(config: Config, parts: Parts) -> Result<Self, Error> {
        for directory in
            [config.containers(), config.shims(), config.seccomp(), config.root.join("volumes")]
        {
            std::fs::create_dir_all(&directory).map_err(Error::file("create", directory))?;
        }
        let volumes = Local::open(
            config.root.join("volumes"),
            Arc::clone(&parts.disk),
            Arc::clone(&parts.clock),
            Arc::clone(&parts.random),
        )
        .map_err(Error::part("open the volumes of", "this host"))?;
        let seccomp = Cache::new(config.seccomp(), Arc::clone(&parts.disk));
        let core = Arc::new(Core {
            config,
            images: parts.images,
            networking: parts.networking,
            clock: parts.clock,
            random: parts.random,
            disk: parts.disk,
            tasks: parts.tasks,
            events: parts.events,
            names: Register::default(),
            containers: RwLock::default(),
            execs: Mutex::default(),
            host: facts::gather(),
            seccomp,
            attach_ahead: AttachAhead::default(),
            volumes: Arc::new(volumes),
        });
        container::restore::restore(&core).await?;
        Ok(Self { core })
    }

    /// The bus on which all events go.
    pub fn events(&self) -> Bus {
        self.core.events.clone()
    }

    /// The volumes of this host.
    pub fn volumes(&self) -> Arc<Local> {
        Arc::clone(&self.core.volumes)
    }

    fn find(&self, name: &str) -> Result<Arc<Container>, Error> {
        resolve::container(&self.core, name)
    }

    /// What has several steps is not left half-way when the caller goes away.
    async fn to_its_end<T: Send + 'static>(
        &self,
        verb: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.core.tasks.detached(TaskKind::Request, verb).await?
    }

    /// Full id of a container.
    ///
    /// # Errors
    /// When there is none, or the prefix fits several.
    pub fn resolve(&self, name: &str) -> Result<ContainerId, Error> {
        self.find(name).map(|container| container.id.clone())
    }

    /// Lists, newest first.
    ///
    /// # Errors
    /// When a filter names an unknown container.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<ContainerSummary>, Error> {
        list::list(&self.core, options).await
    }

    /// Creates.
    ///
    /// # Errors
    /// Bad input, unknown image, taken name, or the disk's failure.
    ///
    /// # Cancel safety
    /// Once begun it goes on to its end: the container is made whole, or nothing of it is left.
    pub async fn create(&self, request: CreateRequest) -> Result<Created, Error> {
        let core = Arc::clone(&self.core);
        let created = async move { container::create::create(&core, request).await };
        Box::pin(self.to_its_end(created)).await
    }

    /// Everything about one; with `size` also its sizes.
    ///
    /// # Errors
    /// When there is none.
    pub async fn inspect(&self, name: &str, size: bool) -> Result<ContainerDetails, Error> {
        let container = self.find(name)?;
        let mut details = list::details(&self.core, &container);
        if size {
            let measured = self.core.images.size(&container.id).await;
            details.size = Some(measured.map_err(Error::part("measure", &details.name))?);
        }
        Ok(details)
    }

    /// Starts.
    ///
    /// # Errors
    /// `AlreadyInState` when it runs, `StartFailed` when its program cannot be started.
    pub async fn start(&self, name: &str) -> Result<(), Error> {
        container::start::start(&self.find(name)?).await
    }

    /// Stops and waits for the end.
    ///
    /// # Errors
    /// `AlreadyInState` when it does not run.
    ///
    /// # Cancel safety
    /// Once begun it goes on to the kill, as with dockerd.
    pub async fn stop(&self, name: &str, options: StopOptions) -> Result<(), Error> {
        let (core, container) = (Arc::clone(&self.core), self.find(name)?);
        self.to_its_end(async move { container::stop::stop(&core, &container, &options).await })
            .await
    }

    /// Stops if it runs, then starts.
    ///
    /// # Errors
    /// Those of stop and start.
    ///
    /// # Cancel safety
    /// Once begun it goes on to the start, as with dockerd.
    pub async fn restart(&self, name: &str, options: StopOptions) -> Result<(), Error> {
        let (core, container) = (Arc::clone(&self.core), self.find(name)?);
        let restarted =
            async move { container::restart::restart(&core, &container, &options).await };
        self.to_its_end(restarted).await
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it does not run, or the signal is unknown.
    pub async fn kill(&self, name: &str, signal: &str) -> Result<(), Error> {
        container::kill::kill(&self.find(name)?, signal).await
    }

    /// Freezes.
    ///
    /// # Errors
    /// When it does not run or is frozen.
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        container::pause::pause(&self.find(name)?).await
    }

    /// Thaws.
    ///
    /// # Errors
    /// When it is not frozen.
    pub async fn unpause(&self, name: &str) -> Result<(), Error> {
        container::pause::unpause(&self.find(name)?).await
    }

    /// Renames.
    ///
    /// # Errors
    /// When the name is invalid or taken.
    pub async fn rename(&self, name: &str, to: &str) -> Result<(), Error> {
        container::rename::rename(&self.find(name)?, to).await
    }

    /// Changes limits and restart policy; gives warnings.
    ///
    /// # Errors
    /// When a value is malformed or the kernel refuses it.
    pub async fn update(&self, name: &str, request: UpdateRequest) -> Result<Vec<String>, Error> {
        container::update::update(&self.find(name)?, request).await
    }

    /// Removes.
    ///
    /// # Errors
    /// When it runs and is not forced.
    ///
    /// # Cancel safety
    /// Once begun it goes on to its end.
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<(), Error> {
        let container = self.find(name)?;
        self.to_its_end(async move { container::remove::remove(&container, options).await }).await
    }

    /// Registers a wait and returns at once; the future completes on the exit.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn wait(&self, name: &str, condition: WaitCondition) -> Result<Exit, Error> {
        let container = self.find(name)?;
        Ok(container::wait::register(container.view.subscribe(), condition))
    }

    /// Waits for a verdict of the health check that `wanted` accepts; the end of the container is one.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn settle(
        &self,
        name: &str,
        wanted: fn(Verdict) -> bool,
    ) -> Result<impl Future<Output = Verdict> + Send + 'static, Error> {
        let view = self.find(name)?.view.subscribe();
        Ok(container::settle::wait(view, wanted))
    }

    /// Attaches to the init process; also before the start.
    ///
    /// # Errors
    /// When it is paused or restarting.
    pub async fn attach(&self, name: &str, options: AttachOptions) -> Result<Session, Error> {
        container::attach::attach(&self.core, &self.find(name)?, options).await
    }

    /// Changes the size of its terminal.
    ///
    /// # Errors
    /// When it does not run or has none.
    pub async fn resize(&self, name: &str, rows: u32, columns: u32) -> Result<(), Error> {
        container::pause::resize(&self.find(name)?, terminal_size(rows, columns)?).await
    }

    /// Reads its log.
    ///
    /// # Errors
    /// `NotImplemented` when its driver keeps nothing that can be read.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<Logs, Error> {
        let container = self.find(name)?;
        let records = logs::open(&self.core, &container, options).await?;
        Ok(Logs { tty: container.view.borrow().record.spec.tty, records })
    }

    /// What differs from its image.
    ///
    /// # Errors
    /// When its layer cannot be read.
    pub async fn changes(&self, name: &str) -> Result<Vec<PathChange>, Error> {
        let container = self.find(name)?;
        let changes = self.core.images.changes(&container.id).await;
        changes.map_err(Error::part("compare", container.view().name()))
    }

    /// Its processes, as `ps` shows them with these arguments.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn top(&self, name: &str, ps_args: &[String]) -> Result<TopResult, Error> {
        observe::list_processes(&self.core, &self.find(name)?, ps_args).await
    }

    /// One sample at once, then one each second until dropped. Ends when the container is removed.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn stats(
        &self,
        name: &str,
    ) -> Result<BoxStream<'static, Result<StatsSample, Failure>>, Error> {
        Ok(observe::follow(&self.core, &self.find(name)?))
    }

    /// Looks at a path in it.
    ///
    /// # Errors
    /// When the path does not exist.
    pub async fn path_stat(&self, name: &str, path: &str) -> Result<PathStat, Error> {
        copy::stat(&self.core, &self.find(name)?, path).await
    }

    /// A path in it as a tar archive.
    ///
    /// # Errors
    /// When the path does not exist.
    pub async fn archive(&self, name: &str, path: &str) -> Result<(PathStat, ByteStream), Error> {
        copy::archive(&self.core, &self.find(name)?, path).await
    }

    /// Unpacks a tar archive into a directory in it.
    ///
    /// # Errors
    /// When the directory does not exist, the archive is damaged, or the container does not run.
    pub async fn unarchive(
        &self,
        name: &str,
        path: &str,
        options: ArchivePutOptions,
        archive: ByteStream,
    ) -> Result<(), Error> {
        copy::unarchive(&self.core, &self.find(name)?, path, options, archive).await
    }

    /// Its file system as a tar archive.
    ///
    /// # Errors
    /// When its layers cannot be opened.
    pub async fn export(&self, name: &str) -> Result<ByteStream, Error> {
        copy::export(&self.core, &self.find(name)?).await
    }

    /// Pids of all its processes on the host.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pids(&self, name: &str) -> Result<Vec<u32>, Error> {
        container::pause::pids(&self.find(name)?).await
    }

    /// Joins a container to a network, running or not.
    ///
    /// # Errors
    /// When the network is unknown or joined already.
    pub async fn connect(
        &self,
        network: &str,
        name: &str,
        endpoint: EndpointSpec,
    ) -> Result<(), Error> {
        container::networks::connect(&self.core, &self.find(name)?, network, endpoint).await
    }

    /// Takes a container off a network.
    ///
    /// # Errors
    /// When it is not on it.
    pub async fn disconnect(&self, network: &str, name: &str) -> Result<(), Error> {
        container::networks::disconnect(&self.core, &self.find(name)?, network).await
    }

    /// Containers that live and are on a network, by its name: for its inspect and removal.
    pub fn members_of_network(&self, network: &str) -> Vec<ContainerDetails> {
        let live = |container: &Arc<Container>| {
            let view = container.view.borrow();
            view.network.as_ref().is_some_and(|settings| settings.endpoints.contains_key(network))
        };
        let members = self.core.all().into_iter().filter(live);
        members.map(|container| list::details(&self.core, &container)).collect()
    }

    /// Removes all that do not run.
    ///
    /// # Errors
    /// Never as a whole: a container that cannot be removed is logged and left out.
    pub async fn prune(&self, filters: PruneFilters) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        for container in self.core.all() {
            let view = container.view();
            if view.counts_as_running()
                || !filters.matches(view.record.created, &view.record.spec.labels)
            {
                continue;
            }
            let size = self.core.images.size(&container.id).await;
            match container::remove::remove(&container, RemoveOptions::default()).await {
                Ok(()) => {
                    pruned.removed.push(container.id.to_string());
                    pruned.reclaimed += size.map_or(0, |size| size.writable);
                }
                // It was started, or removed by somebody else, meanwhile.
                Err(Error::Phase { .. } | Error::NoSuchContainer { .. }) => {}
                Err(error) => {
                    tracing::warn!(container = %container.id,
                        error = %shoal_model::error::Chain(&error), "not pruned");
                }
            }
        }
        let reclaimed = BTreeMap::from([("reclaimed".to_owned(), pruned.reclaimed.to_string())]);
        self.core.events.publish(EventKind::Container, "prune", "", reclaimed);
        Ok(pruned)
    }

    /// Creates an exec in a running container.
    ///
    /// # Errors
    /// When it does not run.
    pub fn exec_create(&self, name: &str, spec: ExecSpec) -> Result<ExecId, Error> {
        attach_ahead::expect(&self.core);
        exec::create(&self.core, &self.find(name)?, spec)
    }

    /// Starts an exec; a session unless detached.
    ///
    /// # Errors
    /// When it was started before, or its program cannot be started.
    ///
    /// # Cancel safety
    /// Once begun the program is started; a session that nobody takes is detached.
    pub async fn exec_start(&self, id: &str, start: ExecStart) -> Result<Option<Session>, Error> {
        let exec = exec::find(&self.core, id)?;
        let container = self.find(exec.container.as_str())?;
        let core = Arc::clone(&self.core);
        self.to_its_end(async move { exec::start(&core, &container, &exec, start).await }).await
    }

    /// Changes the size of an exec's terminal.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn exec_resize(&self, id: &str, rows: u32, columns: u32) -> Result<(), Error> {
        let exec = exec::find(&self.core, id)?;
        let container = self.find(exec.container.as_str())?;
        exec::resize(&container, &exec, terminal_size(rows, columns)?).await
    }

    /// Everything about one exec.
    ///
    /// # Errors
    /// When there is none.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecDetails, Error> {
        exec::find(&self.core, id).map(|exec| exec.details())
    }

    /// Publishes an event about a container that was caused outside the engine's own verbs: `export`,
    /// `commit`, `copy`, `archive-path`, `extract-to-dir`, `top`.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn publish(&self, name: &str, action: &str, extra: &[(&str, String)]) -> Result<(), Error> {
        let container = self.find(name)?;
        let attributes = container::attributes(&container.view.borrow(), extra);
        self.core.publish(&container.id, action, attributes);
        Ok(())
    }

    /// Why an image cannot be removed: the containers that were made from it, running ones first.
    pub fn users_of_image(&self, image: &shoal_model::Digest) -> Vec<(ContainerId, bool)> {
        let mut users: Vec<(ContainerId, bool)> = self
            .core
            .all()
            .iter()
            .filter_map(|container| {
                let view = container.view.borrow();
                let uses = view.record.image == Some(*image);
                uses.then(|| (container.id.clone(), view.counts_as_running()))
            })
            .collect();
        users.sort_by_key(|(_, running)| !running);
        users
    }

    /// Which containers refer to a volume.
    pub fn users_of_volume(&self, volume: &str) -> Vec<ContainerId> {
        list::users_of_volume(&self.core, volume)
    }
}

fn terminal_size(rows: u32, columns: u32) -> Result<TerminalSize, Error> {
    let small = |field, number: u32| {
        u16::try_from(number).map_err(|_| Error::Invalid {
            field,
            reason: format!("{number} is more than {}", u16::MAX),
        })
    };
    Ok(TerminalSize { rows: small("h", rows)?, columns: small("w", columns)? })
}
