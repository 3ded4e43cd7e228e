//! Plain containers of this host on networks of the cluster.
//!
//! A manager gives their addresses; each is a task that this node has until the container has left the network. Which
//! task stands for which container is kept in a file each beneath the exec root, so that a daemon that comes back knows
//! it; containers outlive a daemon, but not the boot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shoal_model::cluster::TaskId;
use shoal_model::error::{ErrorKind, Fact, Failure, ObjectKind};
use shoal_model::{ContainerId, NetworkId};
use shoal_worker::attach::{Given, Wish};
use tokio::sync::watch;

/// Asks a manager.
#[async_trait]
pub(crate) trait Managers: Send + Sync + 'static {
    /// Gives a container its addresses.
    async fn attach(&self, wish: Wish) -> Result<Given, Failure>;

    /// Takes an attachment back that nobody uses.
    async fn detach(&self, task: TaskId) -> Result<(), Failure>;

    /// Whether there are any: this host is in a cluster.
    fn are_there(&self) -> bool;
}

/// The container of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) container: ContainerId,
    pub(crate) network: NetworkId,
}

#[derive(Debug, Default)]
struct State {
    attached: BTreeMap<TaskId, Attachment>,
    /// Containers of tasks: the cluster gave their addresses with the task.
    of_tasks: BTreeSet<ContainerId>,
}

struct Inner {
    directory: PathBuf,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// `None`: the daemon is still starting.
    managers: watch::Sender<Option<Arc<dyn Managers>>>,
}

/// All attachments of this host. Clones are the same.
#[derive(Clone)]
pub(crate) struct Attachments(Arc<Inner>);

impl std::fmt::Debug for Attachments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachments").field("state", &self.0.state).finish_non_exhaustive()
    }
}

/// As for a network of this host.
pub(crate) fn no_such_network(name: &str) -> Failure {
    let fact = Fact::NoSuch { object: ObjectKind::Network, name: name.to_owned() };
    Failure::of(ErrorKind::NotFound, fact)
}

impl Attachments {
    /// Takes up what an earlier daemon knew. A file that cannot be read stands for nobody.
    pub(crate) fn open(exec_root: &std::path::Path) -> std::io::Result<Self> {
        let directory = exec_root.join("attachments");
        std::fs::create_dir_all(&directory)?;
        let mut state = State::default();
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.file_stem().and_then(std::ffi::OsStr::to_str).and_then(TaskId::parse);
            let content = std::fs::read(&path)?;
            match (name, serde_json::from_slice(&content)) {
                (Some(task), Ok(attachment)) => drop(state.attached.insert(task, attachment)),
                _ => std::fs::remove_file(&path)?,
            }
        }
        Ok(Self(Arc::new(Inner {
            directory,
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            managers: watch::Sender::new(None),
        })))
    }

    /// Who gives addresses; until then containers that start with the daemon wait.
    pub(crate) fn ask(&self, managers: Arc<dyn Managers>) {
        self.0.managers.send_replace(Some(managers));
    }

    /// `None`: the daemon ends before it has begun.
    async fn managers(&self) -> Option<Arc<dyn Managers>> {
        let mut managers = self.0.managers.subscribe();
        let known = managers.wait_for(Option::is_some).await.ok()?;
        known.clone()
    }

    /// Whether networks may exist of which this host has not heard.
    pub(crate) fn are_possible(&self) -> bool {
        self.0.managers.borrow().as_ref().is_some_and(|managers| managers.are_there())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, task: TaskId) -> PathBuf {
        self.0.directory.join(format!("{task}.json"))
    }

    /// The container is a task's own.
    pub(crate) fn note_task(&self, container: &ContainerId) {
        self.state().of_tasks.insert(container.clone());
    }

    /// Whether the cluster gave a container its addresses with its task.
    pub(crate) fn is_of_task(&self, container: &ContainerId) -> bool {
        self.state().of_tasks.contains(container)
    }

    /// The container of a task that is an attachment; `None`: it is none, or has ended.
    pub(crate) fn get(&self, task: TaskId) -> Option<Attachment> {
        self.state().attached.get(&task).cloned()
    }

    /// Tasks that are attachments.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        self.state().attached.keys().copied().collect()
    }

    /// Gets addresses for a container.
    pub(crate) async fn attach(&self, wish: Wish) -> Result<Given, Failure> {
        let unknown = no_such_network(&wish.network);
        let Some(managers) = self.managers().await else { return Err(unknown) };
        let malformed = || Failure::invalid("a container has a malformed id");
        let container = ContainerId::parse(&wish.container).ok_or_else(malformed)?;
        let given = match managers.attach(wish).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(unknown),
            given => given?,
        };
        let network = shoal_netoverlay::network_id(given.network.id);
        let attachment = Attachment { container, network };
        if let Err(source) = self.write(given.task, &attachment) {
            self.give_back(given.task).await;
            return Err(Failure::new(
                ErrorKind::Internal,
                format!("failed to write `{}`: {source}", self.path(given.task).display()),
            ));
        }
        self.state().attached.insert(given.task, attachment);
        self.0.changed.send_replace(());
        Ok(given)
    }

    fn write(&self, task: TaskId, attachment: &Attachment) -> std::io::Result<()> {
        let (path, content) = (self.path(task), serde_json::to_vec(attachment)?);
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, content)?;
        std::fs::rename(&temporary, &path)
    }

    async fn give_back(&self, task: TaskId) {
        let Some(managers) = self.managers().await else { return };
        if let Err(error) = managers.detach(task).await {
            tracing::warn!(%task, error = error.chain(), "an unused attachment was not taken back");
        }
    }

    /// A container has left a network, or (`None`) all: its tasks end.
    pub(crate) fn release(&self, container: &ContainerId, network: Option<&NetworkId>) {
        let mut state = self.state();
        state.of_tasks.remove(container);
        let left = |one: &Attachment| {
            one.container == *container && network.is_none_or(|network| one.network == *network)
        };
        let over: Vec<TaskId> =
            state.attached.iter().filter(|(_, one)| left(one)).map(|(task, _)| *task).collect();
        for task in &over {
            state.attached.remove(task);
        }
        drop(state);
        self.forget(&over);
    }

    /// Nobody wants the task any more; its container may go on.
    pub(crate) fn drop_task(&self, task: TaskId) {
        if self.state().attached.remove(&task).is_some() {
            self.forget(&[task]);
        }
    }

    /// Of the containers that an earlier daemon knew, only these live.
    pub(crate) fn keep(&self, live: &BTreeSet<ContainerId>) {
        let gone: BTreeSet<ContainerId> = {
            let state = self.state();
            let all = state.attached.values().map(|one| one.container.clone());
            all.filter(|container| !live.contains(container)).collect()
        };
        gone.iter().for_each(|container| self.release(container, None));
    }

    fn forget(&self, tasks: &[TaskId]) {
        for task in tasks {
            let path = self.path(*task);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "file of an attachment not removed");
            }
        }
        self.0.changed.send_replace(());
    }

    /// Returns once a task has its container on this host.
    pub(crate) async fn begun(&self, task: TaskId) -> Attachment {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(attachment) = self.get(task) {
                return attachment;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns once the container of a task has left.
    pub(crate) async fn ended(&self, task: TaskId) {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if self.get(task).is_none() || changed.changed().await.is_err() {
                return;
            }
        }
    }
}
