//! What the engine needs of images: the defaults of one, and root file systems made from it.
//!
//! A seam rather than the images crate itself, so that kernel tests run on a plain directory tree.

use std::fmt::Debug;
use std::path::PathBuf;

use async_trait::async_trait;
use shoal_model::container::{ContainerSize, PathChange};
use shoal_model::image::{ImageDefaults, Platform};
use shoal_model::{ContainerId, Digest, Failure};
use shoal_shim_protocol::config::Rootfs;

/// An image, as far as a container depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Its id.
    pub id: Digest,
    /// How its containers run unless told otherwise.
    pub defaults: ImageDefaults,
}

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
    fn graph(&self, container: &ContainerId) -> shoal_model::image::GraphDriver;

    /// Whether `ancestor` (reference, id or id prefix) names `image` or an image it builds on.
    fn is_ancestor(&self, ancestor: &str, image: &Digest) -> bool;
}
