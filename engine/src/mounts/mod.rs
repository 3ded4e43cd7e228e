//! The mounts of a container: from what the spec says to what is mounted.
//!
//! [`plan`] is pure: it merges `-v`, `--mount`, `--tmpfs`, `--volumes-from` and the image's volumes into
//! one list of [`Planned`] mounts, or says why not. [`resolve`] runs when the container is created: it
//! checks bind sources and asks for volumes; its [`Resolved`] mounts are kept. [`prepare`] runs at every
//! start and gives what goes into the runtime spec. [`copy_up`] fills an empty volume from the image.
//!
//! Source: moby `daemon/volumes.go registerMountPoints`, `volume/mounts/linux_parser.go`.

pub mod copy_up;
mod error;
mod parse;
mod plan;
mod prepare;
mod resolve;
pub mod shared_memory;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use shoal_model::container::Propagation;

pub use error::Error;
pub(crate) use parse::volume_name_is_valid;
pub use plan::{Inherited, Planned, PlannedSource, plan};
pub use prepare::prepare;
pub(crate) use prepare::unescape;
pub use resolve::{VolumeGrant, VolumeRequest, Volumes, resolve};

/// A mount of a container, with everything decided. Kept in the container's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Clean absolute path in the container.
    pub target: String,
    /// What is mounted.
    pub source: Source,
    /// Whether the container may write.
    pub writable: bool,
    /// `None`: rprivate.
    pub propagation: Option<Propagation>,
    /// Without the mounts beneath the source.
    pub non_recursive: bool,
    /// What a read-only mount does to the mounts beneath it.
    pub read_only_depth: ReadOnlyDepth,
    /// Option words for inspect (`Mode`).
    pub mode: String,
    /// Fill an empty volume from the image.
    pub copy_up: bool,
    /// Whether inspect lists it: not `--tmpfs`, nor the engine's own files.
    pub listed: bool,
}

impl Resolved {
    /// A writable private mount of a host path, as the engine makes for its own files.
    pub fn own_file(path: PathBuf, target: &str) -> Self {
        Self {
            target: target.to_owned(),
            source: Source::Bind { path, create: false },
            writable: true,
            propagation: None,
            non_recursive: false,
            read_only_depth: ReadOnlyDepth::Possible,
            mode: String::new(),
            copy_up: false,
            listed: false,
        }
    }
}

/// The name of the volume that is mounted, if that has a file system of its own.
pub(crate) fn own_filesystem(mount: &Resolved) -> Option<&str> {
    match &mount.source {
        Source::Volume { name, filesystem: Some(_), .. } => Some(name),
        Source::Volume { filesystem: None, .. }
        | Source::Bind { .. }
        | Source::Tmpfs { .. }
        | Source::Image { .. } => None,
    }
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A path of the host.
    Bind {
        /// Absolute path.
        path: PathBuf,
        /// Make a directory there when it is missing.
        create: bool,
    },
    /// A volume.
    Volume {
        /// Its name.
        name: String,
        /// Its driver.
        driver: String,
        /// Its data on the host.
        data: PathBuf,
        /// Path inside it, without a leading slash; empty: all of it.
        subpath: String,
        /// A file system to mount at the data directory, for volumes with `type` and `device`.
        filesystem: Option<FilesystemSource>,
    },
    /// A new tmpfs.
    Tmpfs {
        /// Options joined by commas, docker's defaults not included.
        options: String,
    },
    /// An image's files.
    Image {
        /// What the user called it.
        reference: String,
        /// Read-only layers, topmost first.
        lower: Vec<PathBuf>,
    },
}

/// A file system that containers share: it is mounted at the volume's data while one of them uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemSource {
    /// e.g. `nfs`, `tmpfs`, `ext4`.
    pub kind: String,
    /// Device, or `host:/export`.
    pub device: String,
    /// Mount options.
    pub options: Vec<String>,
}

/// What a read-only mount does to the mounts beneath it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadOnlyDepth {
    /// Read-only too where the kernel can.
    #[default]
    Possible,
    /// Stay as they are.
    Top,
    /// Read-only too, or fail.
    Forced,
}

/// A line of `Mounts` in inspect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs` or `image`.
    pub kind: String,
    /// Name of the volume, else empty.
    pub name: String,
    /// Path on the host, else empty.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Driver of the volume, else empty.
    pub driver: String,
    /// Option words.
    pub mode: String,
    /// Whether the container may write.
    pub writable: bool,
    /// The kernel's word, or empty.
    pub propagation: String,
}

/// What inspect shows, in the order of the targets.
pub fn points(mounts: &[Resolved]) -> Vec<MountPoint> {
    let listed = mounts.iter().filter(|mount| mount.listed);
    let mut points: Vec<MountPoint> = listed.map(point).collect();
    points.sort_by(|one, other| one.destination.cmp(&other.destination));
    points
}

fn point(mount: &Resolved) -> MountPoint {
    let propagation = mount.propagation.map_or("", Propagation::as_str);
    let (kind, name, source, driver, propagation) = match &mount.source {
        Source::Bind { path, .. } => {
            let propagation = if propagation.is_empty() { "rprivate" } else { propagation };
            ("bind", "", path.display().to_string(), "", propagation)
        }
        Source::Volume { name, driver, data, .. } => {
            ("volume", name.as_str(), data.display().to_string(), driver.as_str(), propagation)
        }
        Source::Tmpfs { .. } => ("tmpfs", "", String::new(), "", ""),
        Source::Image { reference, .. } => ("image", "", reference.clone(), "", ""),
    };
    MountPoint {
        kind: kind.to_owned(),
        name: name.to_owned(),
        source,
        destination: mount.target.clone(),
        driver: driver.to_owned(),
        mode: mount.mode.clone(),
        writable: mount.writable,
        propagation: propagation.to_owned(),
    }
}
