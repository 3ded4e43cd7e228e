//! Pull: from a registry into the store.
//!
//! Source: moby `distribution/pull_v2.go` (order of events, what counts as up to date), OCI
//! distribution-spec "Pull".

mod error;
mod event;
mod flight;
mod inspect;
mod pipe;
mod steps;
mod transfers;

use std::sync::Arc;

use futures_util::future::try_join_all;
use shoal_engine_registry::{
    self as registry, Access, Fetched, Parsed, Repository, Target, platform,
};
use shoal_model::image::Platform;
use shoal_model::{Digest, Reference};

pub use error::Error;
pub(crate) use event::emit;
pub use event::{Event, Events, PullStep, PushStep};
pub use inspect::Inspected;
pub(crate) use transfers::SweepOnFailure;
pub use transfers::{Concurrency, Request, Scope, Transfers, default_certs_dir};

use crate::content::Lease;
use crate::image::{Descriptor, Image, ImageConfig, LayerBlob, NewImage};
use flight::Stage;
use steps::Seen;

/// Largest config that is read into memory.
const CONFIG_MAX: usize = 8 << 20;

/// What a pull brought.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: Arc<Image>,
    /// The tag or digest it was pulled by.
    pub reference: Reference,
    /// Whether the reference points at another image than before.
    pub changed: bool,
}

impl Transfers {
    /// Pulls one reference, or all tags of its repository.
    ///
    /// # Errors
    /// The first failure; tags that were pulled before it stay.
    ///
    /// # Cancel safety
    /// Dropping the future leaves partial downloads, on which the next pull goes on, and nothing else.
    pub async fn pull(&self, request: &Request, events: &Events) -> Result<Vec<Pulled>, Error> {
        let mut sweep = SweepOnFailure { transfers: self, armed: true };
        let reference = &request.reference;
        let failed =
            |source| Error::Pull { reference: reference.clone(), source: Box::new(source) };
        let client = &self.shared.client;
        let repository = client.repository(reference, &request.credentials, Access::Pull).await;
        let repository = Arc::new(repository.map_err(failed)?);
        let references = match request.scope {
            Scope::One => vec![reference.clone().or_latest()],
            Scope::AllTags => {
                let tags = repository.tags().await.map_err(failed)?;
                // A tag that is no tag in our grammar cannot be named, hence not pulled.
                tags.iter().filter_map(|tag| reference.with_tag(tag).ok()).collect()
            }
        };
        let mut pulled = Vec::new();
        let wanted = request.platform.as_ref();
        for reference in references {
            pulled.push(self.pull_one(&repository, reference, wanted, events).await?);
        }
        let shown = match request.scope {
            Scope::One => reference.clone().or_latest().familiar(),
            Scope::AllTags => reference.familiar_name(),
        };
        let changed = pulled.iter().any(|pulled| pulled.changed);
        let status = if changed {
            Event::Downloaded { reference: shown }
        } else {
            Event::UpToDate { reference: shown }
        };
        emit(events, status).await;
        for warning in pulled.iter().filter_map(|pulled| differs(pulled, wanted?)) {
            emit(events, warning).await;
        }
        sweep.armed = false;
        Ok(pulled)
    }

    async fn pull_one(
        &self,
        repository: &Arc<Repository>,
        reference: Reference,
        wanted: Option<&Platform>,
        events: &Events,
    ) -> Result<Pulled, Error> {
        let failed =
            |source| Error::Pull { reference: reference.clone(), source: Box::new(source) };
        let target = Target::of(&reference);
        let path = reference.path().to_owned();
        let event = Event::PullingFrom { repository: path, target: target.to_string() };
        let top = repository.manifest(&target).await.map_err(failed)?;
        emit(events, event).await;
        let top_digest = top.descriptor.digest;
        let (fetched, manifest) = self.choose(repository, &reference, top, wanted).await?;

        let lease = Arc::new(self.shared.images.lease());
        lease.hold(fetched.descriptor.digest);
        lease.hold(manifest.config.digest);
        let config_json = self.config(repository, &reference, &manifest.config).await?;
        let config = ImageConfig::parse(&config_json)
            .map_err(|source| Error::Config { reference: reference.clone(), source })?;
        let layers = pair(&reference, &manifest.layers, &config.diff_ids)?;

        let image = match self.shared.images.get(manifest.config.digest) {
            // The same config is the same image; nothing needs to be fetched.
            Some(known) => known,
            None => {
                self.fetch_layers(repository, &layers, &lease, events).await?;
                self.register(fetched, config_json, layers, lease).await?
            }
        };
        let changed = self.name(&reference, top_digest, image.id).await?;
        emit(events, Event::Digest(top_digest)).await;
        let image = self.shared.images.get(image.id).unwrap_or(image);
        Ok(Pulled { image, reference, changed })
    }

    /// The manifest for the wanted platform.
    async fn choose(
        &self,
        repository: &Repository,
        reference: &Reference,
        top: Fetched,
        wanted: Option<&Platform>,
    ) -> Result<(Fetched, registry::Manifest), Error> {
        let index = match &top.parsed {
            Parsed::Manifest(manifest) => {
                let manifest = registry::Manifest::clone(manifest);
                return Ok((top, manifest));
            }
            Parsed::Index(index) => index,
        };
        let wanted = wanted.cloned().unwrap_or_else(Platform::host);
        let Some(entry) = platform::select(index, &wanted) else {
            let reference = reference.clone();
            return Err(Error::NoPlatform { reference, platform: Box::new(wanted) });
        };
        let fetched =
            repository.manifest(&Target::Digest(entry.digest)).await.map_err(|source| {
                Error::Pull { reference: reference.clone(), source: Box::new(source) }
            })?;
        match fetched.parsed.clone() {
            Parsed::Manifest(manifest) => Ok((fetched, *manifest)),
            Parsed::Index(_) => Err(Error::NestedIndex { reference: reference.clone() }),
        }
    }

    /// The config, from the store if it is there.
    async fn config(
        &self,
        repository: &Repository,
        reference: &Reference,
        config: &registry::Descriptor,
    ) -> Result<Vec<u8>, Error> {
        if let Some(known) = self.shared.images.get(config.digest) {
            return Ok(known.config_json.clone().into_bytes());
        }
        let bytes = repository.small_blob(config, CONFIG_MAX).await;
        let failed =
            |source| Error::Pull { reference: reference.clone(), source: Box::new(source) };
        Ok(bytes.map_err(failed)?.to_vec())
    }

    /// Brings all layers, side by side.
    async fn fetch_layers(
        &self,
        repository: &Arc<Repository>,
        layers: &[LayerBlob],
        lease: &Lease,
        events: &Events,
    ) -> Result<(), Error> {
        let mut missing = Vec::<&LayerBlob>::new();
        for layer in layers {
            lease.hold(layer.digest);
            lease.hold(layer.diff_id);
            let id = layer.digest.short();
            let step =
                if self.has(layer)? { PullStep::AlreadyExists } else { PullStep::PullingFsLayer };
            // An empty layer may stand in an image many times.
            if step == PullStep::PullingFsLayer && !missing.contains(&layer) {
                missing.push(layer);
            }
            emit(events, Event::Pull { id, step }).await;
        }
        let flights = missing.into_iter().map(|layer| self.follow(repository, layer, events));
        try_join_all(flights).await.map(drop)
    }

    fn has(&self, layer: &LayerBlob) -> Result<bool, Error> {
        let blob = self.shared.images.content().stat(layer.digest)?;
        let images = &self.shared.images;
        let unpacked =
            images.snapshots().layer(layer.diff_id).map_err(crate::image::Error::from)?;
        Ok(blob.is_some_and(|blob| blob.size == layer.size) && unpacked.is_some())
    }

    /// Rides along with the flight of one layer and tells the client.
    async fn follow(
        &self,
        repository: &Arc<Repository>,
        layer: &LayerBlob,
        events: &Events,
    ) -> Result<(), Error> {
        let clock = self.shared.images.clock();
        let mut passenger = self.board(repository, layer);
        let mut seen = Seen::default();
        loop {
            let progress = passenger.progress.borrow_and_update().clone();
            for step in seen.steps(&progress, layer.size, clock.monotonic()) {
                emit(events, Event::Pull { id: layer.digest.short(), step }).await;
            }
            if let Stage::Done(result) = progress.stage {
                return result.map_err(|source| Error::Layer { digest: layer.digest, source });
            }
            tokio::select! {
                changed = passenger.progress.changed() => {
                    changed.map_err(|_| Error::Stopped { digest: layer.digest })?;
                }
                () = clock.sleep(steps::PERIOD), if seen.withholds() => {}
            }
        }
    }

    async fn register(
        &self,
        fetched: Fetched,
        config_json: Vec<u8>,
        layers: Vec<LayerBlob>,
        lease: Arc<Lease>,
    ) -> Result<Arc<Image>, Error> {
        self.with_images("register image", move |images| {
            images.content().put(&fetched.bytes, &lease)?;
            let manifest = Descriptor {
                media_type: fetched.descriptor.media_type,
                digest: fetched.descriptor.digest,
                size: fetched.descriptor.size,
            };
            let new = NewImage { config_json, layers, manifest: Some(manifest), parent: None };
            Ok(images.register(new, &lease)?)
        })
        .await
    }

    /// Points tag and `name@digest` at the image. Whether what the user named points elsewhere now.
    async fn name(&self, reference: &Reference, top: Digest, id: Digest) -> Result<bool, Error> {
        let reference = reference.clone();
        self.with_images("name image", move |images| {
            let named = match (reference.digest(), reference.tag()) {
                (Some(digest), _) => reference.with_digest(digest),
                _ => reference.clone(),
            };
            let before = images.by_reference(&named).map(|image| image.id);
            images.add_repo_digest(&reference.with_digest(top), id)?;
            if reference.digest().is_none() && before != Some(id) {
                images.tag(&reference, id)?;
            }
            Ok(before != Some(id))
        })
        .await
    }
}

/// The warning that an image is for another platform than the one asked for.
fn differs(pulled: &Pulled, wanted: &Platform) -> Option<Event> {
    let actual = &pulled.image.config.platform;
    (!platform::satisfies(actual, wanted)).then(|| Event::PlatformDiffers {
        reference: pulled.reference.familiar(),
        wanted: wanted.clone(),
        actual: actual.clone(),
    })
}

/// Layers of a manifest with the diff ids of its config.
fn pair(
    reference: &Reference,
    layers: &[registry::Descriptor],
    diff_ids: &[Digest],
) -> Result<Vec<LayerBlob>, Error> {
    if layers.len() != diff_ids.len() {
        let (layers, diff_ids) = (layers.len(), diff_ids.len());
        return Err(Error::LayerCount { reference: Box::new(reference.clone()), layers, diff_ids });
    }
    let paired = layers.iter().zip(diff_ids).map(|(layer, diff_id)| LayerBlob {
        digest: layer.digest,
        size: layer.size,
        media_type: layer.media_type.clone(),
        diff_id: *diff_id,
    });
    Ok(paired.collect())
}

/// What a registry calls a layer's blob.
fn descriptor(layer: &LayerBlob) -> registry::Descriptor {
    registry::Descriptor {
        media_type: layer.media_type.clone(),
        digest: layer.digest,
        size: layer.size,
        urls: Vec::new(),
        annotations: Default::default(),
        platform: None,
    }
}
