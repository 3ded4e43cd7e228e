//! What all transfers of one daemon share: the store, the client, how many run at once.

use std::path::Path;
use std::sync::Arc;

use shoal_base::tasks::{TaskKind, Tasks};
use shoal_engine_registry::{Client, Credentials};
use shoal_model::Reference;
use tokio::sync::Semaphore;

use super::error::Error;
use super::flight::Flights;
use crate::image::Images;

/// How much may run at once. Docker's names: `max-concurrent-downloads`, `max-concurrent-uploads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    /// Layers being downloaded, over all pulls. At least 1.
    pub downloads: usize,
    /// Layers being uploaded, over all pushes. At least 1.
    pub uploads: usize,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { downloads: 3, uploads: 5 }
    }
}

/// Moves images to and from registries. Cheap to clone; all clones share their limits.
#[derive(Debug, Clone)]
pub struct Transfers {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) images: Images,
    pub(crate) client: Client,
    pub(crate) tasks: Tasks,
    pub(crate) downloads: Semaphore,
    pub(crate) unpacks: Semaphore,
    pub(crate) uploads: Semaphore,
    pub(super) flights: Flights,
}

/// Who asks for what.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to move. Without tag and digest: `latest`, unless all tags are asked for.
    pub reference: Reference,
    /// Which tags.
    pub scope: Scope,
    /// Decoded `X-Registry-Auth`.
    pub credentials: Credentials,
    /// For a pull: whose image. `None`: the host's.
    pub platform: Option<shoal_model::image::Platform>,
}

/// Which tags of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The one that the reference names.
    One,
    /// All (`--all-tags`).
    AllTags,
}

impl Transfers {
    /// Transfers between `images` and what `client` reaches.
    pub fn new(images: Images, client: Client, tasks: Tasks, concurrency: Concurrency) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            images,
            client,
            tasks,
            downloads: Semaphore::new(concurrency.downloads.max(1)),
            unpacks: Semaphore::new(processors),
            uploads: Semaphore::new(concurrency.uploads.max(1)),
            flights: Flights::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The client, for login and search.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The images.
    pub fn images(&self) -> &Images {
        &self.shared.images
    }

    /// Runs blocking work on the images.
    pub(crate) async fn with_images<T, F>(&self, name: &'static str, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Images) -> Result<T, Error> + Send + 'static,
    {
        let images = self.shared.images.clone();
        shoal_base::blocking::run(name, move || work(&images)).await?
    }

    /// Removes in the background what a failed transfer left without an owner. Partial downloads stay, so
    /// that the next attempt goes on.
    pub(crate) fn sweep_later(&self) {
        let this = self.clone();
        self.shared.tasks.spawn_fallible(TaskKind::Cleanup, async move {
            this.with_images("sweep images", |images| Ok(images.sweep()?)).await.map(drop)
        });
    }
}

/// Sweeps unless told that all went well: also when a cancelled future is dropped.
pub(crate) struct SweepOnFailure<'a> {
    pub(crate) transfers: &'a Transfers,
    pub(crate) armed: bool,
}

impl Drop for SweepOnFailure<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.transfers.sweep_later();
        }
    }
}

/// The default directory of certificates.
pub fn default_certs_dir() -> &'static Path {
    Path::new("/etc/docker/certs.d")
}
