//! The engine's port to images, over the image store of this host.

use std::path::PathBuf;

use async_trait::async_trait;
use shoal_base::blocking;
use shoal_engine::image_source::{ImageFacts, ImageSource};
use shoal_engine_images::archive::diff::ChangeKind;
use shoal_engine_images::image::Images;
use shoal_engine_images::snapshot::WritableLayer;
use shoal_model::container::{ContainerSize, PathChange, PathChangeKind};
use shoal_model::image::{GraphDriver, Platform};
use shoal_model::{ContainerId, Digest, ErrorKind, Failure};
use shoal_shim_protocol::config::Rootfs;

/// Images and writable layers of this host.
#[derive(Debug, Clone)]
pub(crate) struct HostImageSource(pub(crate) Images);

impl HostImageSource {
    async fn run<T, E>(
        &self,
        name: &'static str,
        job: impl FnOnce(&Images) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        let images = self.0.clone();
        match blocking::run(name, move || job(&images)).await {
            Ok(result) => result.map_err(Into::into),
            Err(lost) => Err(Failure::new(ErrorKind::Internal, lost.to_string())),
        }
    }
}

fn rootfs(layer: WritableLayer) -> Rootfs {
    Rootfs::Overlay {
        lower: layer.lowers,
        upper: layer.upper,
        work: layer.work,
        options: Vec::new(),
    }
}

#[async_trait]
impl ImageSource for HostImageSource {
    async fn find(&self, image: &str, platform: Option<&Platform>) -> Result<ImageFacts, Failure> {
        let found = self.0.resolve(image)?;
        if let Some(wanted) = platform
            && !fits(wanted, &found.config.platform)
        {
            let message = format!(
                "image with reference {image} was found but its platform ({}/{}) does not match the specified platform ({}/{})",
                found.config.platform.os,
                found.config.platform.architecture,
                wanted.os,
                wanted.architecture
            );
            return Err(Failure::new(ErrorKind::NotFound, message));
        }
        Ok(ImageFacts { id: found.id, defaults: found.config.defaults.clone() })
    }

    async fn prepare(&self, container: &ContainerId, image: &Digest) -> Result<Rootfs, Failure> {
        let (container, id) = (container.clone(), *image);
        self.run("prepare a writable layer", move |images| -> Result<_, Failure> {
            let lease = images.lease();
            let image = images.resolve(&id.to_string())?;
            image.config.diff_ids.iter().for_each(|diff_id| lease.hold(*diff_id));
            Ok(rootfs(images.snapshots().prepare(&container, &image.config.diff_ids)?))
        })
        .await
    }

    async fn rootfs(&self, container: &ContainerId) -> Result<Rootfs, Failure> {
        Ok(rootfs(self.0.snapshots().writable(container)?))
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), Failure> {
        // A rename; what takes long goes on in the background.
        Ok(self.0.snapshots().remove(container)?)
    }

    async fn containers(&self) -> Result<Vec<ContainerId>, Failure> {
        Ok(self.0.snapshots().containers()?)
    }

    async fn changes(&self, container: &ContainerId) -> Result<Vec<PathChange>, Failure> {
        let container = container.clone();
        let changes =
            self.run("compare with the image", move |images| images.changes(&container)).await?;
        let changes = changes.into_iter().map(|change| PathChange {
            path: change.path,
            kind: match change.kind {
                ChangeKind::Modified => PathChangeKind::Modified,
                ChangeKind::Added => PathChangeKind::Added,
                ChangeKind::Deleted => PathChangeKind::Deleted,
            },
        });
        Ok(changes.collect())
    }

    async fn size(&self, container: &ContainerId) -> Result<ContainerSize, Failure> {
        let container = container.clone();
        self.run("measure a writable layer", move |images| -> Result<_, Failure> {
            let snapshots = images.snapshots();
            let writable = snapshots.usage(&container)?.bytes;
            let mut total = writable;
            for diff_id in snapshots.writable(&container)?.diff_ids {
                total += snapshots.require(diff_id)?.size;
            }
            Ok(ContainerSize { writable, total })
        })
        .await
    }

    async fn layers(&self, image: &str) -> Result<Vec<PathBuf>, Failure> {
        let found = self.0.resolve(image)?;
        let snapshots = self.0.snapshots();
        Ok(found
            .config
            .diff_ids
            .iter()
            .rev()
            .map(|diff_id| snapshots.layer_path(*diff_id))
            .collect())
    }

    fn graph(&self, container: &ContainerId) -> GraphDriver {
        // A container that is being removed has no layer any more: it is shown without paths.
        let data = self
            .0
            .snapshots()
            .writable(container)
            .map(|layer| graph_data(&layer))
            .unwrap_or_default();
        GraphDriver { name: super::STORAGE_DRIVER.to_owned(), data }
    }

    fn is_ancestor(&self, ancestor: &str, image: &Digest) -> bool {
        let Ok(ancestor) = self.0.resolve(ancestor) else { return false };
        let Some(image) = self.0.get(*image) else { return ancestor.id == *image };
        ancestor.id == image.id || image.config.diff_ids.starts_with(&ancestor.config.diff_ids)
    }
}

fn graph_data(layer: &WritableLayer) -> std::collections::BTreeMap<String, String> {
    let lowers: Vec<String> = layer.lowers.iter().map(|path| path.display().to_string()).collect();
    [
        ("LowerDir", lowers.join(":")),
        ("UpperDir", layer.upper.display().to_string()),
        ("WorkDir", layer.work.display().to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn fits(wanted: &Platform, actual: &Platform) -> bool {
    wanted.os == actual.os
        && wanted.architecture == actual.architecture
        && (wanted.variant.is_empty()
            || actual.variant.is_empty()
            || wanted.variant == actual.variant)
}
