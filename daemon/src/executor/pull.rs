//! The image of a task: pulled when it is not here, or when its name may mean another one by now.
//!
//! Source: moby `daemon/cluster/executor/container/adapter.go pullImage`, `controller.go Prepare`: a pull that
//! fails is no failure while the image is here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use shoal_api::ports::Images as _;
use shoal_base::SharedClock;
use shoal_model::cluster::{TaskSpec, image};
use shoal_model::image::{ImageListOptions, PullRequest};
use shoal_model::{ErrorKind, Failure, Reference};
use tokio::sync::watch;

use crate::ports::HostImages;

/// So long the outcome of a pull serves further tasks with the same image, and names of images count as known.
const FRESH: Duration = Duration::from_secs(15);

/// Pulls, one at a time for each image.
#[derive(Debug)]
pub(super) struct Puller {
    images: Arc<HostImages>,
    clock: SharedClock,
    /// By reference and credentials: tasks of one service share a pull.
    pulls: Mutex<BTreeMap<Key, Outcome>>,
    /// Names of images, and since when they are known.
    names: Mutex<Option<(Duration, image::Names)>>,
}

/// Reference and credentials.
type Key = (String, String);
/// `None` while it is under way.
type Outcome = watch::Receiver<Option<Done>>;

/// A finished pull.
#[derive(Debug, Clone)]
struct Done {
    at: Duration,
    error: Option<(ErrorKind, String)>,
}

impl Puller {
    pub(super) fn new(images: Arc<HostImages>, clock: SharedClock) -> Self {
        Self { images, clock, pulls: Mutex::default(), names: Mutex::default() }
    }

    /// Names of the images that are here, as they were at most [`FRESH`] ago.
    pub(super) async fn names(&self) -> Result<image::Names, Failure> {
        let now = self.clock.monotonic();
        if let Some((at, names)) = &*self.names.lock().unwrap_or_else(PoisonError::into_inner)
            && now.saturating_sub(*at) < FRESH
        {
            return Ok(names.clone());
        }
        let images = self.images.list(ImageListOptions::default()).await?;
        let names =
            image::names(images.iter().flat_map(|image| image.tags.iter().chain(&image.digests)));
        let known = Some((now, names.clone()));
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(names)
    }

    /// Makes the image of `spec` be here.
    pub(super) async fn pull(&self, spec: &TaskSpec) -> Result<(), Failure> {
        let name = &spec.container.image;
        let is_here = self.images.inspect(name, None).await.is_ok();
        let Ok(reference) = name.parse::<Reference>() else {
            // An id of an image, or no name at all: `create` says what is wrong with it.
            return Ok(());
        };
        if is_here && (reference.digest().is_some() || prefers_offline(spec)) {
            return Ok(());
        }
        match self.shared(reference, &spec.registry_auth).await {
            Err(failure) if is_here => {
                tracing::info!(image = %name, error = %failure, "not pulled: the image at hand is used");
                Ok(())
            }
            other => other,
        }
    }

    async fn shared(&self, reference: Reference, auth: &str) -> Result<(), Failure> {
        let key = (reference.to_string(), auth.to_owned());
        loop {
            let (sender, mut receiver) = {
                let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
                let now = self.clock.monotonic();
                // Old outcomes and pulls whose task went away are done anew.
                pulls.retain(|_, pull| match &*pull.borrow() {
                    Some(done) => now.saturating_sub(done.at) < FRESH,
                    None => pull.has_changed().is_ok(),
                });
                match pulls.get(&key) {
                    Some(pull) => (None, pull.clone()),
                    None => {
                        let (sender, receiver) = watch::channel(None);
                        pulls.insert(key.clone(), receiver.clone());
                        (Some(sender), receiver)
                    }
                }
            };
            if let Some(sender) = sender {
                let result = self.one(reference.clone(), auth).await;
                let error = result.as_ref().err().map(|error| (error.kind(), error.chain()));
                sender.send_replace(Some(Done { at: self.clock.monotonic(), error }));
                return result;
            }
            // The puller may have been dropped with its task: then the next round pulls.
            if let Ok(done) = receiver.wait_for(Option::is_some).await {
                return match done.as_ref().and_then(|done| done.error.clone()) {
                    Some((kind, message)) => Err(Failure::new(kind, message)),
                    None => Ok(()),
                };
            }
        }
    }

    async fn one(&self, reference: Reference, auth: &str) -> Result<(), Failure> {
        let request = PullRequest {
            reference: reference.or_latest(),
            all_tags: false,
            platform: None,
            credentials: shoal_api::registry_auth(auth),
        };
        let mut steps = self.images.pull(request).await?;
        while let Some(step) = steps.next().await {
            step?;
        }
        Ok(())
    }
}

/// The user's wish to use what is here.
fn prefers_offline(spec: &TaskSpec) -> bool {
    spec.container.env.iter().any(|pair| pair == "DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1")
}
