//! One layer of a push: compress if need be, then find out whether anything must be sent, then send it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::BoxFuture;
use shoal_base::blocking;
use shoal_engine_registry::{
    self as registry, Meter, Mount, Reader, Repository, Source, manifest::media,
};
use shoal_model::{Digest, Reference};
use tokio::io::AsyncSeekExt as _;
use tokio::sync::watch;

use super::plan::{self, Packing};
use crate::content::{ContentStore, Expected, Lease};
use crate::image::{Image, LayerBlob};
use crate::pull::{Error, Event, Events, PushStep, Transfers, emit};

/// How many repositories are asked for one blob: each costs a request, and most do not let us.
const MOUNTS_MAX: usize = 3;
/// Level that costs half the time of the usual one for some percent of size.
const GZIP_LEVEL: u32 = 4;
const COPY_BYTES: usize = 256 << 10;
const PERIOD: Duration = Duration::from_millis(100);

/// What a push of one layer needs to know.
pub(super) struct Job<'a> {
    pub(super) repository: &'a Repository,
    pub(super) reference: &'a Reference,
    pub(super) images: &'a [Arc<Image>],
    pub(super) lease: &'a Arc<Lease>,
    pub(super) events: &'a Events,
}

impl Job<'_> {
    fn failed(&self, source: registry::Error) -> Error {
        Error::Push { reference: self.reference.clone(), source: Box::new(source) }
    }

    async fn tell(&self, layer: &LayerBlob, step: PushStep) {
        emit(self.events, Event::Push { id: layer.diff_id.short(), step }).await;
    }
}

impl Transfers {
    /// Sends one layer; gives the blob that stands for it in the registry.
    pub(super) async fn push_layer(
        &self,
        job: &Job<'_>,
        layer: &LayerBlob,
    ) -> Result<LayerBlob, Error> {
        let uploads = &self.shared.uploads;
        let _permit = match uploads.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                job.tell(layer, PushStep::Waiting).await;
                uploads.acquire().await.expect("is never closed")
            }
        };
        let layer = self.packed(job, layer).await?;
        if job.repository.blob_size(layer.digest).await.map_err(|e| job.failed(e))?.is_some() {
            job.tell(&layer, PushStep::LayerAlreadyExists).await;
            return Ok(layer);
        }
        let images = job.images.iter().map(Arc::as_ref);
        let sources = plan::mount_sources(layer.digest, job.reference, images);
        let mut open = None;
        for from in sources.iter().take(MOUNTS_MAX) {
            job.repository.also_read(from);
            match job.repository.mount(layer.digest, from).await {
                Ok(Mount::Mounted) => {
                    let repository = from.path().to_owned();
                    job.tell(&layer, PushStep::MountedFrom { repository }).await;
                    return Ok(layer);
                }
                Ok(Mount::Upload(upload)) => open = Some(upload),
                // The right to read there may be missing; the blob can still be sent.
                Err(error) => tracing::debug!(from = %from, error = %error, "mount refused"),
            }
            if open.is_some() {
                break;
            }
        }
        let upload = match open {
            Some(upload) => upload,
            None => job.repository.start_upload().await.map_err(|e| job.failed(e))?,
        };
        self.send(job, &layer, upload).await?;
        job.tell(&layer, PushStep::Pushed).await;
        Ok(layer)
    }

    /// The layer with a compressed blob: its own, another image's, or one made now.
    async fn packed(&self, job: &Job<'_>, layer: &LayerBlob) -> Result<LayerBlob, Error> {
        if plan::packing(layer) != Packing::Plain {
            return Ok(layer.clone());
        }
        let images = job.images.iter().map(Arc::as_ref);
        if let Some(known) = plan::packed_already(layer.diff_id, images) {
            job.lease.hold(known.digest);
            if self.shared.images.content().stat(known.digest)?.is_some() {
                return Ok(known);
            }
        }
        let (diff_id, lease) = (layer.diff_id, Arc::clone(job.lease));
        self.with_images("compress layer", move |images| {
            compress(images.content(), diff_id, &lease)
        })
        .await
    }

    async fn send(
        &self,
        job: &Job<'_>,
        layer: &LayerBlob,
        upload: registry::Upload,
    ) -> Result<(), Error> {
        let source = Arc::new(Stored {
            content: self.shared.images.content().clone(),
            digest: layer.digest,
        });
        let (meter, mut position) = watch::channel(0);
        let meter = Arc::new(Position(meter));
        let sending = job.repository.upload(upload, layer.digest, layer.size, source, meter);
        let mut sending = std::pin::pin!(sending);
        let clock = self.shared.images.clock();
        let mut told = None::<Duration>;
        loop {
            tokio::select! {
                sent = &mut sending => return sent.map_err(|error| job.failed(error)),
                changed = position.changed() => {
                    let now = clock.monotonic();
                    if changed.is_ok() && told.is_none_or(|told| now.saturating_sub(told) >= PERIOD) {
                        told = Some(now);
                        let current = *position.borrow_and_update();
                        job.tell(layer, PushStep::Pushing { current, total: layer.size }).await;
                    }
                }
            }
        }
    }

    /// Sends a small blob unless the registry has it.
    pub(super) async fn push_blob(
        &self,
        job: &Job<'_>,
        digest: Digest,
        size: u64,
    ) -> Result<(), Error> {
        let failed = |error| job.failed(error);
        if job.repository.blob_size(digest).await.map_err(failed)?.is_some() {
            return Ok(());
        }
        let upload = job.repository.start_upload().await.map_err(failed)?;
        let source = Arc::new(Stored { content: self.shared.images.content().clone(), digest });
        let (meter, _) = watch::channel(0);
        let meter = Arc::new(Position(meter));
        job.repository.upload(upload, digest, size, source, meter).await.map_err(failed)
    }
}

/// Compresses a plain layer into the store.
fn compress(content: &ContentStore, diff_id: Digest, lease: &Lease) -> Result<LayerBlob, Error> {
    let failed = |source| Error::Compress { diff_id, source };
    let mut plain = content.open_blob(diff_id)?;
    let mut encoder = GzEncoder::new(content.ingest_anonymous()?, Compression::new(GZIP_LEVEL));
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = plain.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        encoder.write_all(&buffer[..count]).map_err(failed)?;
    }
    let ingest = encoder.finish().map_err(failed)?;
    let committed = ingest.commit(Expected::default(), lease)?;
    Ok(LayerBlob {
        digest: committed.digest,
        size: committed.size,
        media_type: media::DOCKER_LAYER_GZIP.to_owned(),
        diff_id,
    })
}

/// A blob of the store as something to upload.
struct Stored {
    content: ContentStore,
    digest: Digest,
}

impl Source for Stored {
    fn open(&self, offset: u64) -> BoxFuture<'_, std::io::Result<Reader>> {
        let (content, digest) = (self.content.clone(), self.digest);
        Box::pin(async move {
            let opened = blocking::run("open blob", move || content.open_blob(digest)).await;
            let file = opened.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?;
            let mut file = tokio::fs::File::from_std(file);
            file.seek(std::io::SeekFrom::Start(offset)).await?;
            Ok(Box::new(file) as Reader)
        })
    }
}

/// Passes positions on; only the last one counts.
struct Position(watch::Sender<u64>);

impl Meter for Position {
    fn at(&self, position: u64) {
        self.0.send_replace(position);
    }
}
