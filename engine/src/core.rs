//! What all containers of one engine share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use shoal_base::random::SharedRandom;
use shoal_base::tasks::Tasks;
use shoal_base::{SharedClock, SharedDisk};
use shoal_model::{ContainerId, EventKind, ExecId};

use crate::attach_ahead::AttachAhead;
use crate::config::{Config, OWN_RUNTIME};
use crate::container::Container;
use crate::events::Bus;
use crate::exec::Exec;
use crate::image_source::ImageSource;
use crate::names::Register;
use crate::networking::Networking;
use crate::runtime_spec::HostFacts;
use crate::seccomp::Cache;
use crate::volumes::Local;

/// Parts of the host and of the daemon that the engine works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Images.
    pub images: Arc<dyn ImageSource>,
    /// Networks.
    pub networking: Arc<dyn Networking>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub random: SharedRandom,
    /// Small durable files.
    pub disk: SharedDisk,
    /// Owner of spawned tasks.
    pub tasks: Tasks,
    /// Where events go; shared with images, volumes and networks.
    pub events: Bus,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub config: Config,
    pub images: Arc<dyn ImageSource>,
    pub networking: Arc<dyn Networking>,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub disk: SharedDisk,
    pub tasks: Tasks,
    pub events: Bus,
    pub names: Register,
    pub containers: RwLock<BTreeMap<ContainerId, Arc<Container>>>,
    pub execs: Mutex<BTreeMap<ExecId, Arc<Exec>>>,
    pub host: HostFacts,
    pub seccomp: Cache,
    pub attach_ahead: AttachAhead,
    pub volumes: Arc<Local>,
}

impl Core {
    /// Publishes an event of a container.
    pub(crate) fn publish(
        &self,
        container: &ContainerId,
        action: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        self.events.publish(EventKind::Container, action, container.as_str(), attributes);
    }

    /// Whether `runtime` names our own runtime (also by being empty) or a configured program.
    pub(crate) fn knows_runtime(&self, runtime: &str) -> bool {
        matches!(runtime, "" | OWN_RUNTIME) || self.config.runtimes.contains_key(runtime)
    }

    /// All containers, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        let containers = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        containers.values().cloned().collect()
    }

    pub(crate) fn insert(&self, container: Arc<Container>) {
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        containers.insert(container.id.clone(), container);
    }

    pub(crate) fn forget(&self, id: &ContainerId) {
        self.containers.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.execs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, exec| exec.container != *id);
    }
}
