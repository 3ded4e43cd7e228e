//! What the engine needs of images: the defaults of one, and root file systems made from it.
//!
//! A seam rather than the images crate itself, so that kernel tests run on a plain directory tree.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use async_trait::async_trait;
use shoal_engine_images::archive::diff;
use shoal_engine_images::snapshot::WritableLayer;
use shoal_model::container::{ContainerSize, PathChange, PathChangeKind};
use shoal_model::image::{GraphDriver, ImageDefaults, Platform};
use shoal_model::{ContainerId, Digest, ErrorKind, Fact, Failure, ObjectKind};
use shoal_shim_protocol::config::Rootfs;

/// An image, as far as a container depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Its id.
    pub id: Digest,
    /// How its containers run unless told otherwise.
    pub defaults: ImageDefaults,
}

/// An open root directory, which ends when it is dropped.
pub type RootView = dyn AsFd + Send + Sync;

/// Images and the writable layers of containers.
#[async_trait]
pub trait ImageSource: Debug + Send + Sync + 'static {
    /// Finds an image by reference, id or id prefix.
    ///
    /// # Errors
    /// `Fact::NoSuch { object: Image, .. }` when it is not here for this platform.
    async fn find(&self, image: &str, platform: Option<&Platform>) -> Result<ImageFacts, Failure>;

    /// Makes the writable layer of a container on top of an image. From now on the image is in use.
    ///
    /// # Errors
    /// When the image went away or the disk is full.
    async fn prepare(&self, container: &ContainerId, image: &Digest) -> Result<Rootfs, Failure>;

    /// The root file system of a container that was prepared earlier.
    ///
    /// # Errors
    /// When there is none.
    async fn rootfs(&self, container: &ContainerId) -> Result<Rootfs, Failure>;

    /// Removes the writable layer of a container; absent is fine.
    ///
    /// # Errors
    /// When something stayed behind.
    async fn remove(&self, container: &ContainerId) -> Result<(), Failure>;

    /// All containers that have a writable layer; for the removal of leftovers.
    ///
    /// # Errors
    /// When they cannot be listed.
    async fn containers(&self) -> Result<Vec<ContainerId>, Failure>;

    /// What a container changed, sorted by path.
    ///
    /// # Errors
    /// When its layer cannot be read.
    async fn changes(&self, container: &ContainerId) -> Result<Vec<PathChange>, Failure>;

    /// A read-only view of a container's file system, without what is mounted into it.
    ///
    /// # Errors
    /// When there is none.
    async fn view(&self, container: &ContainerId) -> Result<Box<RootView>, Failure>;

    /// The file system of a container that does not run, to be written, without what is mounted into it.
    ///
    /// # Errors
    /// When there is none.
    async fn open(&self, container: &ContainerId) -> Result<Box<RootView>, Failure>;

    /// Writes all files beneath `root` as a tar archive. Blocks for long.
    ///
    /// # Errors
    /// When a file cannot be read, or `out` fails.
    fn write_tree(&self, root: BorrowedFd<'_>, out: &mut dyn std::io::Write)
    -> Result<(), Failure>;

    /// Bytes of a container's own layer and with its image's.
    ///
    /// # Errors
    /// When its layer cannot be read.
    async fn size(&self, container: &ContainerId) -> Result<ContainerSize, Failure>;

    /// Read-only layers of an image, topmost first, for image mounts.
    ///
    /// # Errors
    /// When the image is not here.
    async fn layers(&self, image: &str) -> Result<Vec<PathBuf>, Failure>;

    /// Storage driver and its paths for inspect.
    fn graph(&self, container: &ContainerId) -> GraphDriver;

    /// Whether `ancestor` (reference, id or id prefix) names `image` or an image it builds on.
    fn is_ancestor(&self, ancestor: &str, image: &Digest) -> bool;
}

/// The real one: the store of `engine/images`.
#[async_trait]
impl ImageSource for shoal_engine_images::image::Images {
    async fn find(&self, image: &str, platform: Option<&Platform>) -> Result<ImageFacts, Failure> {
        let found = self.resolve(image)?;
        if let Some(wanted) = platform
            && !fits(wanted, &found.config.platform)
        {
            let fact = Fact::NoSuch { object: ObjectKind::Image, name: image.to_owned() };
            return Err(Failure::of(ErrorKind::NotFound, fact));
        }
        Ok(ImageFacts { id: found.id, defaults: found.config.defaults.clone() })
    }

    async fn prepare(&self, container: &ContainerId, image: &Digest) -> Result<Rootfs, Failure> {
        let lease = self.lease();
        let found = self.resolve(&image.to_string())?;
        let layers: Vec<Digest> = found.layers.iter().map(|layer| layer.diff_id).collect();
        let made = self.snapshots().prepare(container, &layers)?;
        drop(lease);
        Ok(overlay(made))
    }

    async fn rootfs(&self, container: &ContainerId) -> Result<Rootfs, Failure> {
        Ok(overlay(self.snapshots().writable(container)?))
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), Failure> {
        Ok(self.snapshots().remove(container)?)
    }

    async fn containers(&self) -> Result<Vec<ContainerId>, Failure> {
        Ok(self.snapshots().containers()?)
    }

    async fn changes(&self, container: &ContainerId) -> Result<Vec<PathChange>, Failure> {
        let (images, container) = (self.clone(), container.clone());
        let found = shoal_base::blocking::run("compare a container with its image", move || {
            Self::changes(&images, &container)
        })
        .await
        .map_err(lost)??;
        let kind = |kind| match kind {
            diff::ChangeKind::Modified => PathChangeKind::Modified,
            diff::ChangeKind::Added => PathChangeKind::Added,
            diff::ChangeKind::Deleted => PathChangeKind::Deleted,
        };
        let changes = found.into_iter();
        Ok(changes.map(|one| PathChange { path: one.path, kind: kind(one.kind) }).collect())
    }

    async fn view(&self, container: &ContainerId) -> Result<Box<RootView>, Failure> {
        Ok(Box::new(self.snapshots().view_container(container)?))
    }

    async fn open(&self, container: &ContainerId) -> Result<Box<RootView>, Failure> {
        Ok(Box::new(self.snapshots().open_container(container)?))
    }

    fn write_tree(
        &self,
        root: BorrowedFd<'_>,
        out: &mut dyn std::io::Write,
    ) -> Result<(), Failure> {
        Ok(self.export(root, out)?)
    }

    async fn size(&self, container: &ContainerId) -> Result<ContainerSize, Failure> {
        let images = self.clone();
        let container = container.clone();
        shoal_base::blocking::run("measure a container", move || -> Result<_, Failure> {
            let layer = images.snapshots().writable(&container)?;
            let writable = images.snapshots().usage(&container)?.bytes;
            let mut total = writable;
            for diff_id in layer.diff_ids {
                total += images.snapshots().require(diff_id)?.size;
            }
            Ok(ContainerSize { writable, total })
        })
        .await
        .map_err(lost)?
    }

    async fn layers(&self, image: &str) -> Result<Vec<PathBuf>, Failure> {
        let found = self.resolve(image)?;
        let paths = found.layers.iter().rev();
        Ok(paths.map(|layer| self.snapshots().layer_path(layer.diff_id)).collect())
    }

    fn graph(&self, container: &ContainerId) -> GraphDriver {
        let mut data = BTreeMap::new();
        if let Ok(layer) = self.snapshots().writable(container) {
            let lowers: Vec<String> =
                layer.lowers.iter().map(|path| path.display().to_string()).collect();
            data.insert("LowerDir".to_owned(), lowers.join(":"));
            data.insert("UpperDir".to_owned(), layer.upper.display().to_string());
            data.insert("WorkDir".to_owned(), layer.work.display().to_string());
        }
        GraphDriver { name: "overlay2".to_owned(), data }
    }

    fn is_ancestor(&self, ancestor: &str, image: &Digest) -> bool {
        let Ok(wanted) = self.resolve(ancestor) else { return false };
        let mut at = Some(*image);
        while let Some(id) = at {
            if id == wanted.id {
                return true;
            }
            at = self.get(id).and_then(|found| found.parent);
        }
        false
    }
}

fn lost(lost: shoal_base::blocking::Lost) -> Failure {
    Failure::new(ErrorKind::Internal, lost.to_string())
}

fn overlay(layer: WritableLayer) -> Rootfs {
    Rootfs::Overlay {
        lower: layer.lowers,
        upper: layer.upper,
        work: layer.work,
        options: Vec::new(),
    }
}

/// Whether an image of platform `found` is what was asked for; an empty variant is any.
fn fits(wanted: &Platform, found: &Platform) -> bool {
    wanted.os == found.os
        && wanted.architecture == found.architecture
        && (wanted.variant.is_empty()
            || found.variant.is_empty()
            || wanted.variant == found.variant)
}
