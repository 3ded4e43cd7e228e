//! From planned mounts to mounts with volumes behind them. Runs once, when a container is created.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shoal_model::ContainerId;

use super::{Error, FilesystemSource, Planned, PlannedSource, Resolved, Source};

/// What a container wants of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeRequest {
    /// `None`: a new anonymous volume.
    pub name: Option<String>,
    /// Driver; empty: `local`.
    pub driver: String,
    /// Driver options of a volume that is made.
    pub options: BTreeMap<String, String>,
    /// Labels of a volume that is made.
    pub labels: BTreeMap<String, String>,
}

/// A volume that a container may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeGrant {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its data.
    pub data: PathBuf,
    /// A file system to mount at the data directory.
    pub filesystem: Option<FilesystemSource>,
}

/// Who has volumes.
pub trait Volumes {
    /// Finds or makes a volume and notes that `container` uses it.
    ///
    /// # Errors
    /// When the request is malformed or the disk fails.
    fn acquire(
        &self,
        container: &ContainerId,
        request: VolumeRequest,
    ) -> Result<VolumeGrant, crate::volumes::Error>;

    /// Notes that `container` uses the volume that it inherited.
    ///
    /// # Errors
    /// When there is no such volume.
    fn share(&self, container: &ContainerId, name: &str) -> Result<(), crate::volumes::Error>;
}

/// Resolves the mounts of `container`. `images` holds the layers, topmost first, of the images that the
/// plan names. On failure the caller releases the container's volumes.
///
/// # Errors
/// When a source is missing, a volume cannot be made, or an image was not looked up.
pub fn resolve(
    container: &ContainerId,
    planned: Vec<Planned>,
    volumes: &dyn Volumes,
    images: &BTreeMap<String, Vec<PathBuf>>,
) -> Result<Vec<Resolved>, Error> {
    planned.into_iter().map(|planned| one(container, planned, volumes, images)).collect()
}

fn one(
    container: &ContainerId,
    planned: Planned,
    volumes: &dyn Volumes,
    images: &BTreeMap<String, Vec<PathBuf>>,
) -> Result<Resolved, Error> {
    let mut copy_up = false;
    let source = match planned.source {
        PlannedSource::Bind { path, create } => {
            if !create && !Path::new(&path).exists() {
                return Err(missing(&path));
            }
            Source::Bind { path: path.into(), create }
        }
        PlannedSource::Volume { name, options } => {
            let grant = volumes.acquire(
                container,
                VolumeRequest {
                    name,
                    driver: options.driver,
                    options: options.driver_options,
                    labels: options.labels,
                },
            )?;
            copy_up = !options.no_copy;
            Source::Volume {
                name: grant.name,
                driver: grant.driver,
                data: grant.data,
                subpath: options.subpath,
                filesystem: grant.filesystem,
            }
        }
        PlannedSource::Tmpfs(options) => Source::Tmpfs { options },
        PlannedSource::Image { reference, subpath } => {
            image(&planned.target, reference, &subpath, images)?
        }
        PlannedSource::Inherited(source) => {
            if let Source::Volume { name, .. } = &source {
                volumes.share(container, name)?;
            }
            source
        }
    };
    Ok(Resolved {
        target: planned.target,
        source,
        writable: planned.writable,
        propagation: planned.propagation,
        non_recursive: planned.non_recursive,
        read_only_depth: planned.read_only_depth,
        mode: planned.mode,
        copy_up,
        listed: planned.listed,
    })
}

/// Docker's sentence for a bind source that is not there.
pub(super) fn missing(path: &str) -> Error {
    Error::Config { kind: "bind", problem: format!("bind source path does not exist: {path}") }
}

fn image(
    target: &str,
    reference: String,
    subpath: &str,
    images: &BTreeMap<String, Vec<PathBuf>>,
) -> Result<Source, Error> {
    let Some(lower) = images.get(&reference) else {
        return Err(Error::ImageNotGathered { reference });
    };
    let mut lower = lower.clone();
    if !subpath.is_empty() {
        // Overlayfs merges directories from their roots: a part of several layers cannot be named.
        let [layer] = lower.as_mut_slice() else {
            return Err(Error::ImageSubpath { target: target.to_owned() });
        };
        let path = crate::beneath::real_path(layer, subpath);
        *layer = path.map_err(|source| Error::Subpath {
            volume: reference.clone(),
            subpath: subpath.to_owned(),
            source,
        })?;
    }
    Ok(Source::Image { reference, lower })
}
