//! The writable layer of a container.

use std::collections::HashSet;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use shoal_model::{ContainerId, Digest};

use super::record::{self, Writable};
use super::{Error, Snapshots, disk, init_layer, short};

/// Where the parts of a container's overlay lie. The mount itself is the shim's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritableLayer {
    /// Lower directories, the uppermost first, as overlayfs wants them: that of the mount points, then those
    /// of the image. Never empty.
    pub lowers: Vec<PathBuf>,
    /// The upper directory: what the container changed.
    pub upper: PathBuf,
    /// Overlayfs' scratch directory.
    pub work: PathBuf,
    /// Layers below, from the lowest up, as the image names them.
    pub diff_ids: Vec<Digest>,
}

impl WritableLayer {
    /// The lower directories relative to [`Snapshots::root`], for mount options that must fit in a page.
    pub fn lowers_relative(&self, root: &Path) -> Vec<PathBuf> {
        let relative = |path: &PathBuf| path.strip_prefix(root).unwrap_or(path).to_owned();
        self.lowers.iter().map(relative).collect()
    }
}

/// What a writable layer holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all files, hard links once.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Snapshots {
    /// Makes the writable layer of a container on top of an image's layers (from the lowest up), which are
    /// kept from then on until [`Self::remove`]. Hold them in a lease while calling.
    ///
    /// # Errors
    /// When a layer is not unpacked, the container has one already, or the disk fails.
    pub fn prepare(
        &self,
        container: &ContainerId,
        diff_ids: &[Digest],
    ) -> Result<WritableLayer, Error> {
        for diff_id in diff_ids {
            self.require(*diff_id)?;
        }
        let directory = self.container_path(container);
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { container: container.clone() });
            }
            other => other.map_err(|e| disk("create", &directory, e))?,
        }
        let made = self.fill(&directory, diff_ids);
        if made.is_err() {
            self.discard(&directory)?;
        }
        made
    }

    fn fill(&self, directory: &Path, diff_ids: &[Digest]) -> Result<WritableLayer, Error> {
        let record = Writable { diff_ids: diff_ids.to_vec(), init: true };
        let bytes = record::encode(&record);
        let init = directory.join("init");
        init_layer::make(&init, &self.lowers(diff_ids)).map_err(|e| disk("fill", &init, e))?;
        let layer = self.describe(directory, record);
        for path in [&layer.upper, &layer.work] {
            std::fs::create_dir(path).map_err(|e| disk("create", path, e))?;
        }
        // The root of the container is the upper directory: it looks like the image's root.
        let below = layer.lowers.get(1).expect("the init layer and at least one of the image");
        let root = std::fs::metadata(below).map_err(|e| disk("inspect", below, e))?;
        let upper = &layer.upper;
        std::os::unix::fs::chown(upper, Some(root.uid()), Some(root.gid()))
            .and_then(|()| {
                std::fs::set_permissions(upper, Permissions::from_mode(root.mode() & 0o7777))
            })
            .map_err(|e| disk("set owner of", upper, e))?;
        // Last, and at once: a directory without record is unfinished.
        let (temporary, path) = (directory.join("layer.json.new"), directory.join("layer.json"));
        std::fs::write(&temporary, bytes).map_err(|e| disk("write", &temporary, e))?;
        std::fs::rename(&temporary, &path).map_err(|e| disk("write", &path, e))?;
        Ok(layer)
    }

    /// The writable layer of a container.
    ///
    /// # Errors
    /// [`Error::NoContainer`], or a damaged record.
    pub fn writable(&self, container: &ContainerId) -> Result<WritableLayer, Error> {
        let directory = self.container_path(container);
        let record: Option<Writable> = record::read(&directory.join("layer.json"))?;
        let record = record.ok_or_else(|| Error::NoContainer { container: container.clone() })?;
        Ok(self.describe(&directory, record))
    }

    /// Removes a container's writable layer, which must not be mounted. Gone at once for everyone; the
    /// space comes back in the background. Absent is fine.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove(&self, container: &ContainerId) -> Result<(), Error> {
        self.discard(&self.container_path(container))
    }

    /// Containers that have a writable layer: whoever knows all containers removes the others at start.
    ///
    /// # Errors
    /// The disk's.
    pub fn containers(&self) -> Result<Vec<ContainerId>, Error> {
        let paths = self.list("containers")?;
        let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
        Ok(names.filter_map(ContainerId::parse).collect())
    }

    /// Counts what a container's writable layer holds. Walks all of it.
    ///
    /// # Errors
    /// [`Error::NoContainer`], or the disk's.
    pub fn usage(&self, container: &ContainerId) -> Result<Usage, Error> {
        let upper = self.writable(container)?.upper;
        let mut usage = Usage::default();
        let mut seen = HashSet::new();
        add_usage(&upper, &mut usage, &mut seen).map_err(|e| disk("measure", &upper, e))?;
        Ok(usage)
    }

    /// Diff ids of all layers that containers stand on.
    pub(super) fn layers_of_containers(&self) -> Result<HashSet<Digest>, Error> {
        let mut used = HashSet::new();
        for path in self.list("containers")? {
            if let Some(record) = record::read::<Writable>(&path.join("layer.json"))? {
                used.extend(record.diff_ids);
            }
        }
        Ok(used)
    }

    /// Drops layers without a record, or with an empty one: that is what a power failure leaves of a record
    /// whose bytes had not reached the disk.
    pub(super) fn drop_unfinished_containers(&self) -> Result<(), Error> {
        for path in self.list("containers")? {
            let record = std::fs::metadata(path.join("layer.json"));
            if !record.is_ok_and(|meta| meta.len() > 0) {
                self.discard(&path)?;
            }
        }
        Ok(())
    }

    /// The stack for `diff_ids`: the uppermost first, each layer once.
    pub(super) fn lowers(&self, diff_ids: &[Digest]) -> Vec<PathBuf> {
        let mut seen = HashSet::new();
        // Overlayfs refuses a directory twice. The upper occurrence decides what is seen, the lower one
        // adds nothing to it.
        let unique = diff_ids.iter().rev().filter(|diff_id| seen.insert(**diff_id));
        let mut lowers: Vec<PathBuf> =
            unique.map(|diff_id| self.inner.root.join(short(*diff_id)).join("fs")).collect();
        if lowers.is_empty() {
            lowers.push(self.inner.root.join("empty"));
        }
        lowers
    }

    fn describe(&self, directory: &Path, record: Writable) -> WritableLayer {
        let init = record.init.then(|| directory.join("init"));
        WritableLayer {
            lowers: init.into_iter().chain(self.lowers(&record.diff_ids)).collect(),
            upper: directory.join("fs"),
            work: directory.join("work"),
            diff_ids: record.diff_ids,
        }
    }

    fn container_path(&self, container: &ContainerId) -> PathBuf {
        self.inner.root.join("containers").join(container.as_str())
    }
}

fn add_usage(
    directory: &Path,
    usage: &mut Usage,
    seen: &mut HashSet<(u64, u64)>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let meta = match entry.metadata() {
            // A running container removes files while we count.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if meta.nlink() > 1 && !meta.is_dir() && !seen.insert((meta.dev(), meta.ino())) {
            continue;
        }
        usage.inodes += 1;
        if meta.is_dir() {
            add_usage(&entry.path(), usage, seen)?;
        } else {
            usage.bytes += meta.len();
        }
    }
    Ok(())
}
