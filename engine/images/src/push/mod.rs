//! Push: from the store to a registry.
//!
//! A manifest that came with the image is sent as it is when the layers are still the same, so that the
//! image keeps its digest. Layers that lie here as plain tars are compressed once: the compressed blob takes
//! the plain one's place in the image, so that the next push finds it.
//!
//! Source: moby `distribution/push_v2.go` (order of events), OCI distribution-spec "Push".

mod layer;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use shoal_engine_registry::{
    self as registry, Access, Manifest, Parsed, Repository, Target, platform,
};
use shoal_model::{Digest, Reference};

use crate::content::Lease;
use crate::image::{Descriptor, Image, LayerBlob, NewImage};
use crate::pull::{
    Error, Event, Events, PushStep, Request, Scope, SweepOnFailure, Transfers, emit,
};
use layer::Job;

/// Largest manifest that is read into memory.
const MANIFEST_MAX: u64 = 4 << 20;

/// What a push put into the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag.
    pub reference: Reference,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
}

/// A manifest and its exact bytes.
struct Ready {
    media_type: String,
    bytes: Bytes,
}

impl Transfers {
    /// Pushes one tag, or all tags of a repository.
    ///
    /// # Errors
    /// The first failure; tags that were pushed before it stay.
    ///
    /// # Cancel safety
    /// Dropping the future leaves upload sessions, which the registry removes in its time.
    pub async fn push(&self, request: &Request, events: &Events) -> Result<Vec<Pushed>, Error> {
        let mut sweep = SweepOnFailure { transfers: self, armed: true };
        let repository_name = request.reference.repository();
        let tagged = self.tagged(request)?;
        let client = &self.shared.client;
        let failed =
            |source| Error::Push { reference: request.reference.clone(), source: Box::new(source) };
        let repository =
            client.repository(&request.reference, &request.credentials, Access::Push).await;
        let repository = repository.map_err(failed)?;
        emit(events, Event::PushTo { repository: repository_name.to_string() }).await;
        let mut pushed = Vec::new();
        for (reference, image) in tagged {
            pushed.push(self.push_one(&repository, reference, image, events).await?);
        }
        sweep.armed = false;
        Ok(pushed)
    }

    /// The tags to push and their images, in the order of the tags.
    fn tagged(&self, request: &Request) -> Result<Vec<(Reference, Arc<Image>)>, Error> {
        let repository = request.reference.repository();
        if request.reference.digest().is_some() {
            return Err(Error::PushByDigest { reference: request.reference.clone() });
        }
        let mut all = Vec::new();
        for image in self.shared.images.all() {
            for reference in &image.references {
                if reference.repository() == repository {
                    all.push((reference.clone(), Arc::clone(&image)));
                }
            }
        }
        if all.is_empty() {
            return Err(Error::NoTags { repository });
        }
        if request.scope == Scope::One {
            let wanted = request.reference.clone().or_latest();
            all.retain(|(reference, _)| *reference == wanted);
            if all.is_empty() {
                return Err(Error::NoSuchTag { reference: wanted });
            }
        }
        if let Some(wanted) = &request.platform
            && let Some((reference, _)) =
                all.iter().find(|(_, image)| !platform::satisfies(&image.config.platform, wanted))
        {
            let reference = reference.clone();
            return Err(Error::NoPlatform { reference, platform: Box::new(wanted.clone()) });
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }

    async fn push_one(
        &self,
        repository: &Repository,
        reference: Reference,
        image: Arc<Image>,
        events: &Events,
    ) -> Result<Pushed, Error> {
        let lease = Arc::new(self.shared.images.lease());
        image.blobs().for_each(|digest| lease.hold(digest));
        let images = self.shared.images.all();
        let original = self.original(&image)?;
        let job = Job { repository, reference: &reference, images: &images, lease: &lease, events };
        let foreign = |layer: &LayerBlob| {
            let parts = original.iter().flat_map(|(_, manifest)| &manifest.layers);
            parts.into_iter().any(|part| part.digest == layer.digest && part.is_foreign())
        };
        let mut unique = Vec::<&LayerBlob>::new();
        for layer in image.layers.iter().rev() {
            let id = layer.diff_id.short();
            let skipped = foreign(layer);
            let step = if skipped { PushStep::SkippedForeign } else { PushStep::Preparing };
            emit(events, Event::Push { id, step }).await;
            if !skipped && !unique.contains(&layer) {
                unique.push(layer);
            }
        }
        let sent = try_join_all(unique.iter().map(|layer| self.push_layer(&job, layer))).await?;
        let by_diff_id: HashMap<Digest, LayerBlob> =
            sent.into_iter().map(|layer| (layer.diff_id, layer)).collect();
        let config_size = u64::try_from(image.config_json.len()).unwrap_or(u64::MAX);
        self.push_blob(&job, image.id, config_size).await?;

        let ready = match original {
            Some((ready, _)) => ready,
            None => self.renew(&image, config_size, &by_diff_id, &lease).await?,
        };
        self.finish(&job, &image, ready).await
    }

    /// Puts the manifest and notes the image's new name.
    async fn finish(&self, job: &Job<'_>, image: &Image, ready: Ready) -> Result<Pushed, Error> {
        let tag = job.reference.tag().unwrap_or("latest").to_owned();
        let target = Target::Tag(tag.clone());
        let digest =
            job.repository.put_manifest(&target, &ready.media_type, &ready.bytes).await.map_err(
                |source| Error::Push { reference: job.reference.clone(), source: Box::new(source) },
            )?;
        let (name, id) = (job.reference.with_digest(digest), image.id);
        self.with_images("name image", move |images| Ok(images.add_repo_digest(&name, id)?))
            .await?;
        let size = u64::try_from(ready.bytes.len()).unwrap_or(u64::MAX);
        emit(job.events, Event::Pushed { tag, digest, size }).await;
        Ok(Pushed { reference: job.reference.clone(), digest, size })
    }

    /// The stored manifest that is made of the image's present layers, if there is one.
    fn original(&self, image: &Image) -> Result<Option<(Ready, Manifest)>, Error> {
        // A manifest of plain layers is valid, but costs everyone who pulls: those are compressed.
        if image.layers.iter().any(|layer| plan::packing(layer) == plan::Packing::Plain) {
            return Ok(None);
        }
        for stored in image.manifests.iter().rev() {
            let bytes = self.shared.images.content().read(stored.digest, MANIFEST_MAX)?;
            let parsed = registry::manifest::parse(&bytes, &stored.media_type)
                .map_err(|source| Error::StoredManifest { digest: stored.digest, source })?;
            if let Parsed::Manifest(manifest) = parsed
                && plan::fits(&manifest, image)
            {
                let media_type = stored.media_type.clone();
                return Ok(Some((Ready { media_type, bytes: Bytes::from(bytes) }, *manifest)));
            }
        }
        Ok(None)
    }

    /// Makes a manifest of the layers as they were sent, and remembers both with the image.
    async fn renew(
        &self,
        image: &Image,
        config_size: u64,
        sent: &HashMap<Digest, LayerBlob>,
        lease: &Arc<Lease>,
    ) -> Result<Ready, Error> {
        let now = |layer: &LayerBlob| sent.get(&layer.diff_id).unwrap_or(layer).clone();
        let layers: Vec<LayerBlob> = image.layers.iter().map(now).collect();
        let manifest = plan::manifest((image.id, config_size), &layers);
        let media_type = manifest.media_type.clone();
        let bytes =
            Bytes::from(serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data"));
        let (config_json, stored) = (image.config_json.clone().into_bytes(), bytes.clone());
        let (kept_type, lease) = (media_type.clone(), Arc::clone(lease));
        self.with_images("remember manifest", move |images| {
            let digest = images.content().put(&stored, &lease)?;
            let size = u64::try_from(stored.len()).unwrap_or(u64::MAX);
            let manifest = Some(Descriptor { media_type: kept_type, digest, size });
            images.register(NewImage { config_json, layers, manifest, parent: None }, &lease)?;
            Ok(())
        })
        .await?;
        Ok(Ready { media_type, bytes })
    }
}
