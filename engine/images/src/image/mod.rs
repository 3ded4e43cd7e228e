//! Images: records, names, and the verbs on them.
//!
//! [`Images`] owns a data root's content store, layers and image records. All calls block briefly or, where
//! they say so, for long: run those under `shoal_base::blocking::run`.
//!
//! Invariants: a name (tag or `name@digest`) points at one image at most; an image in the index has all its
//! layers unpacked; what an image needs is swept only after its record is gone.

pub mod config;
pub mod describe;
mod error;
pub mod filter;
mod index;
mod record;
pub mod remove;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use shoal_base::{Disk as _, SharedClock, SystemDisk};
use shoal_model::{ContainerId, Digest, Reference};

use crate::boot::Boot;
use crate::content::{ContentStore, Lease, Leases};
use crate::snapshot::{LayerInfo, Snapshots, WritableLayer};
use crate::unpack::Limits;

pub use config::{HistoryEntry, ImageConfig};
pub use error::Error;
use index::Index;
pub use record::{Descriptor, Image, LayerBlob};

/// All images of one data root. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    clock: SharedClock,
    content: ContentStore,
    snapshots: Snapshots,
    index: RwLock<Index>,
    /// Held while records are written, so that the index never runs ahead of the disk.
    writing: Mutex<()>,
}

/// An image whose blobs are in the content store and whose layers are unpacked.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The config, byte for byte.
    pub config_json: Vec<u8>,
    /// Layers from the lowest up.
    pub layers: Vec<LayerBlob>,
    /// The manifest that named it, when it came by one.
    pub manifest: Option<Descriptor>,
    /// The image it was made from here.
    pub parent: Option<Digest>,
}

impl Images {
    /// Opens the images below the data root (`content/`, `snapshots/`, `images/`), repairs what a crash
    /// left and sweeps what nobody refers to. Blocks.
    ///
    /// # Errors
    /// When the disk fails, or a record was written by a newer release.
    pub fn open(root: &Path, clock: SharedClock) -> Result<Self, Error> {
        let directory = root.join("images");
        let disk = |verb, source| Error::Disk { verb, path: directory.clone(), source };
        std::fs::create_dir_all(&directory).map_err(|e| disk("create", e))?;
        let boot = Boot::compare(&directory).map_err(|e| disk("compare boot id of", e))?;
        let content = ContentStore::open(&root.join("content"), Leases::default(), boot)?;
        let snapshots = Snapshots::open(&root.join("snapshots"), boot)?;
        let index = load_records(&directory)?;
        let inner = Inner {
            directory: directory.clone(),
            clock,
            content,
            snapshots,
            index: RwLock::new(index),
            writing: Mutex::new(()),
        };
        let images = Self { inner: Arc::new(inner) };
        images.repair()?;
        images.sweep()?;
        boot.note(&directory).map_err(|e| disk("note boot id of", e))?;
        Ok(images)
    }

    /// Blobs.
    pub fn content(&self) -> &ContentStore {
        &self.inner.content
    }

    /// Layers and containers' writable layers.
    pub fn snapshots(&self) -> &Snapshots {
        &self.inner.snapshots
    }

    /// The wall clock.
    pub(crate) fn clock(&self) -> &SharedClock {
        &self.inner.clock
    }

    /// A new lease. Take one at the start of whatever brings or uses blobs; drop it at the end.
    pub fn lease(&self) -> Lease {
        self.inner.content.lease()
    }

    /// An image by its whole id.
    pub fn get(&self, id: Digest) -> Option<Arc<Image>> {
        self.index(|index| index.get(id))
    }

    /// All images, in no order.
    pub fn all(&self) -> Vec<Arc<Image>> {
        self.index(Index::all)
    }

    /// Finds an image by what a user wrote: reference, id, or id prefix, with docker's precedence.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`].
    pub fn resolve(&self, name: &str) -> Result<Arc<Image>, Error> {
        self.index(|index| index.resolve(name))
    }

    /// The image that a tagged or digested reference points at.
    pub fn by_reference(&self, reference: &Reference) -> Option<Arc<Image>> {
        self.index(|index| index.by_reference(reference))
    }

    /// Unpacks one layer from its blob unless it is there already, verifying its diff id. Both are then held
    /// by `lease`. Blocks for long; layers may be unpacked in any order and in parallel.
    ///
    /// # Errors
    /// When the blob is damaged, unsafe, too big, or not what `diff_id` says.
    pub fn unpack_layer(
        &self,
        layer: &LayerBlob,
        limits: &Limits,
        lease: &Lease,
    ) -> Result<LayerInfo, Error> {
        lease.hold(layer.digest);
        lease.hold(layer.diff_id);
        if let Some(info) = self.inner.snapshots.layer(layer.diff_id)? {
            return Ok(info);
        }
        let blob = self.inner.content.open_blob(layer.digest)?;
        // A verified blob that is its own diff id is a plain tar whose digest is known already.
        let known = (layer.digest == layer.diff_id).then_some(layer.diff_id);
        Ok(self.inner.snapshots.unpack(layer.diff_id, Box::new(blob), known, limits)?)
    }

    /// Makes the writable layer of a container on an image. No sweep can take the layers meanwhile.
    ///
    /// # Errors
    /// When the image is gone, the container has a layer already, or the disk fails.
    pub fn prepare(&self, container: &ContainerId, image: Digest) -> Result<WritableLayer, Error> {
        let lease = self.lease();
        let image = self.require(image)?;
        image.config.diff_ids.iter().for_each(|diff_id| lease.hold(*diff_id));
        Ok(self.inner.snapshots.prepare(container, &image.config.diff_ids)?)
    }

    /// Records an image whose layers have been unpacked under `lease`; an image that is there already gets
    /// the manifest added. It has no name yet: see [`Self::tag`] and [`Self::add_repo_digest`].
    ///
    /// # Errors
    /// When config and layers do not fit each other, or the disk fails.
    pub fn register(&self, new: NewImage, lease: &Lease) -> Result<Arc<Image>, Error> {
        let id = self.inner.content.put(&new.config_json, lease)?;
        let config =
            ImageConfig::parse(&new.config_json).map_err(|source| Error::Config { id, source })?;
        let size = self.check_layers(id, &config, &new.layers)?;
        let _writing = self.writing();
        let image = match self.get(id) {
            Some(known) => {
                let mut image = Image::clone(&known);
                if let Some(manifest) = new.manifest
                    && !image.manifests.contains(&manifest)
                {
                    image.manifests.push(manifest);
                    // The newest manifest's blobs are those just verified.
                    image.layers = new.layers;
                }
                image.parent = image.parent.or(new.parent);
                image
            }
            None => Image {
                id,
                config,
                config_json: String::from_utf8(new.config_json)
                    .expect("what parses as JSON is UTF-8"),
                layers: new.layers,
                manifests: new.manifest.into_iter().collect(),
                references: Default::default(),
                repo_digests: Default::default(),
                parent: new.parent,
                last_tagged: None,
                added: self.inner.clock.now(),
                size,
            },
        };
        self.put_record(image)
    }

    fn check_layers(
        &self,
        id: Digest,
        config: &ImageConfig,
        layers: &[LayerBlob],
    ) -> Result<u64, Error> {
        let diff_ids = &config.diff_ids;
        if layers.len() != diff_ids.len() {
            let (layers, diff_ids) = (layers.len(), diff_ids.len());
            return Err(Error::LayerCount { id, layers, diff_ids });
        }
        let mut size = 0;
        for (index, (layer, expected)) in layers.iter().zip(diff_ids).enumerate() {
            let (actual, expected) = (layer.diff_id, *expected);
            if actual != expected {
                return Err(Error::LayerOrder { id, index, actual, expected });
            }
            size += self.inner.snapshots.require(actual)?.size;
        }
        Ok(size)
    }

    /// Points a tagged reference at an image, taking it from the image that had it. Returns that one.
    ///
    /// # Errors
    /// When the reference has no tag or a digest, the image is gone, or the disk fails.
    pub fn tag(&self, reference: &Reference, id: Digest) -> Result<Option<Arc<Image>>, Error> {
        if reference.tag().is_none() || reference.digest().is_some() {
            return Err(Error::NotATag { reference: reference.clone() });
        }
        let _writing = self.writing();
        let previous = self.by_reference(reference).filter(|image| image.id != id);
        let mut image = Image::clone(&*self.require(id)?);
        image.references.insert(reference.clone());
        image.last_tagged = Some(self.inner.clock.now());
        // The new owner first: after a crash between both writes the later tagging wins.
        self.put_record(image)?;
        if let Some(previous) = &previous {
            let mut loser = Image::clone(&*self.require(previous.id)?);
            loser.references.remove(reference);
            self.put_record(loser)?;
        }
        Ok(previous)
    }

    /// Notes that `name@digest` (of a manifest or an index) is this image.
    ///
    /// # Errors
    /// When the reference has no digest, the image is gone, or the disk fails.
    pub fn add_repo_digest(&self, reference: &Reference, id: Digest) -> Result<(), Error> {
        let Some(digest) = reference.digest() else {
            return Err(Error::NotADigest { reference: reference.clone() });
        };
        let reference = reference.with_digest(digest);
        let _writing = self.writing();
        let previous = self.by_reference(&reference).filter(|image| image.id != id);
        let mut image = Image::clone(&*self.require(id)?);
        if image.repo_digests.insert(reference.clone()) {
            self.put_record(image)?;
        }
        if let Some(previous) = previous {
            let mut loser = Image::clone(&previous);
            loser.repo_digests.remove(&reference);
            self.put_record(loser)?;
        }
        Ok(())
    }

    /// Removes blobs and layers that no image, container or lease refers to. Returns the bytes freed.
    ///
    /// # Errors
    /// The disk's.
    pub fn sweep(&self) -> Result<u64, Error> {
        let sweep = self.inner.content.leases().begin_sweep();
        let images = self.all();
        let blobs: HashSet<Digest> = images.iter().flat_map(|image| image.blobs()).collect();
        let layers: HashSet<Digest> =
            images.iter().flat_map(|image| image.config.diff_ids.iter().copied()).collect();
        let content = self.inner.content.sweep(&sweep, &blobs);
        let snapshots = self.inner.snapshots.sweep(&sweep, layers);
        Ok(content? + snapshots?)
    }

    /// Makes everything received so far survive a power failure. Slow: call it from time to time in the
    /// background, and before a clean stop.
    ///
    /// # Errors
    /// The disk's.
    pub fn seal(&self) -> Result<(), Error> {
        let blobs = self.inner.content.unsealed();
        let layers = self.inner.snapshots.unsealed();
        if blobs.is_empty() && layers.is_empty() {
            return Ok(());
        }
        self.inner.content.sync_file_system()?;
        self.inner.content.mark_sealed(&blobs)?;
        Ok(self.inner.snapshots.mark_sealed(&layers)?)
    }

    /// Re-makes layers that a crash of the machine took, and forgets images that lost a blob for good.
    fn repair(&self) -> Result<(), Error> {
        for image in self.all() {
            if let Err(error) = self.repair_image(&image) {
                let cause = shoal_model::error::Chain(&error).to_string();
                tracing::error!(image = %image.id, cause, "lost an image when the machine went down");
                let _writing = self.writing();
                self.remove_record(image.id)?;
            }
        }
        Ok(())
    }

    fn repair_image(&self, image: &Image) -> Result<(), Error> {
        for digest in image.blobs() {
            if self.inner.content.stat(digest)?.is_none() {
                return Err(crate::content::Error::NotFound { digest }.into());
            }
        }
        let lease = self.lease();
        for layer in &image.layers {
            self.unpack_layer(layer, &Limits::default(), &lease)?;
        }
        Ok(())
    }

    pub(crate) fn require(&self, id: Digest) -> Result<Arc<Image>, Error> {
        self.get(id).ok_or_else(|| Error::NotFound { name: id.to_string() })
    }

    pub(crate) fn writing(&self) -> MutexGuard<'_, ()> {
        self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.inner.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a record, then shows it. The caller holds `writing`.
    fn put_record(&self, image: Image) -> Result<Arc<Image>, Error> {
        let path = self.record_path(image.id);
        SystemDisk.write_atomic(&path, &image.encode()).map_err(|source| Error::Disk {
            verb: "write",
            path,
            source,
        })?;
        let image = Arc::new(image);
        self.inner.index.write().unwrap_or_else(PoisonError::into_inner).put(Arc::clone(&image));
        Ok(image)
    }

    /// Removes a record. The caller holds `writing`.
    fn remove_record(&self, id: Digest) -> Result<(), Error> {
        let path = self.record_path(id);
        SystemDisk.remove(&path).map_err(|source| Error::Disk { verb: "remove", path, source })?;
        self.inner.index.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    fn record_path(&self, id: Digest) -> PathBuf {
        self.inner.directory.join(format!("{}.json", id.hex()))
    }
}

/// Reads all records; removes what a crash left half-written.
fn load_records(directory: &Path) -> Result<Index, Error> {
    let fail = |verb, path: &Path, source| Error::Disk { verb, path: path.to_owned(), source };
    let mut index = Index::default();
    let mut images = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|e| fail("list", directory, e))? {
        let path = entry.map_err(|e| fail("list", directory, e))?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.ends_with(shoal_base::disk::TEMPORARY_SUFFIX.as_bytes()) {
            std::fs::remove_file(&path).map_err(|e| fail("remove", &path, e))?;
        } else if name.ends_with(b".json") {
            let bytes = std::fs::read(&path).map_err(|e| fail("read", &path, e))?;
            images.push(Image::decode(&path, &bytes)?);
        }
    }
    // A name that a crash left with two images belongs to the one tagged last.
    images.sort_by_key(|image| (image.last_tagged, image.added, image.id));
    for image in images {
        index.put(Arc::new(image));
    }
    Ok(index)
}
