//! Unpacked layers, and the writable layers of containers on top of them.
//!
//! `<short>/fs` is a layer, `<short>` being 16 hex digits of its diff id: whiteouts belong to a layer and not
//! to what lies below, so that one directory serves every chain that has the layer, and layers unpack in any
//! order. `containers/<id>/{fs,work}` is a container's writable layer, `init` what lies between it and the
//! image. `new/` has what is being unpacked,
//! `trash/` what is being removed; a start empties both.
//!
//! Blocking. A layer is sealed like a blob: see [`crate::content`]; its record then has mode 0400.

mod error;
mod init_layer;
mod record;
mod trash;
mod view;
mod writable;

use std::collections::{HashMap, HashSet};
use std::fs::Permissions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_model::Digest;

use crate::boot::Boot;
use crate::content::Sweep;
use crate::unpack::{self, Limits};

pub use error::Error;
pub use record::LayerInfo;
use trash::Trash;
pub use view::View;
pub use writable::{Usage, WritableLayer};

const SEALED_MODE: u32 = 0o400;
/// Hex digits of the diff id in a directory's name: with 128 layers, relative paths fit in a page.
const SHORT_LENGTH: usize = 16;

/// The store. Cheap to clone; all clones are one store.
#[derive(Debug, Clone)]
pub struct Snapshots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    trash: Trash,
    layers: Mutex<HashMap<Digest, Layer>>,
}

#[derive(Debug, Clone, Copy)]
struct Layer {
    info: LayerInfo,
    sealed: bool,
}

impl Snapshots {
    /// Opens the store below `root` (made when absent), removing what a crash left half-made.
    ///
    /// # Errors
    /// When the disk fails, or a record was written by a newer release.
    pub fn open(root: &Path, boot: Boot) -> Result<Self, Error> {
        for directory in ["containers", "new", "empty", "empty-below"] {
            let path = root.join(directory);
            std::fs::create_dir_all(&path).map_err(|e| disk("create", &path, e))?;
        }
        let path = root.join("trash");
        let trash = Trash::open(path.clone()).map_err(|e| disk("open", &path, e))?;
        let inner = Inner { root: root.to_owned(), trash, layers: Mutex::default() };
        let store = Self { inner: Arc::new(inner) };
        for path in store.list("new")? {
            store.discard(&path)?;
        }
        store.load_layers(boot)?;
        store.drop_unfinished_containers()?;
        Ok(store)
    }

    /// The directory to which the paths of [`WritableLayer::lowers_relative`] are relative.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// What is known about a layer; `None` when it is not unpacked. Cheap.
    ///
    /// # Errors
    /// When another layer has the same short name.
    pub fn layer(&self, diff_id: Digest) -> Result<Option<LayerInfo>, Error> {
        Ok(lock(&self.inner.layers).get(&diff_id).map(|layer| layer.info))
    }

    /// The same, for a layer that must be there.
    ///
    /// # Errors
    /// [`Error::NoLayer`].
    pub fn require(&self, diff_id: Digest) -> Result<LayerInfo, Error> {
        self.layer(diff_id)?.ok_or(Error::NoLayer { diff_id })
    }

    /// Where the files of a layer lie.
    pub fn layer_path(&self, diff_id: Digest) -> PathBuf {
        self.inner.root.join(short(diff_id)).join("fs")
    }

    /// Unpacks a layer. `known` is its digest when the input is a plain tar verified before. The caller
    /// holds `diff_id` in a lease. Two that unpack the same layer do not disturb each other.
    ///
    /// # Errors
    /// When the archive is bad or not what `diff_id` says. Nothing is left then.
    pub fn unpack(
        &self,
        diff_id: Digest,
        input: Box<dyn Read + Send>,
        known: Option<Digest>,
        limits: &Limits,
    ) -> Result<LayerInfo, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let building = self.inner.root.join("new").join(format!("{}-{number}", short(diff_id)));
        let built = self.build(&building, diff_id, input, known, limits);
        let published = built.and_then(|info| self.publish(&building, info));
        if building.exists() {
            self.discard(&building)?;
        }
        published
    }

    /// Unpacks a plain tar whose digest is not known yet, beside the hashing of the same bytes. Dropped
    /// without [`Candidate::publish`] it leaves nothing.
    pub(crate) fn unpack_candidate(
        &self,
        input: Box<dyn Read + Send>,
        limits: &Limits,
    ) -> Result<Candidate, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let building = self.inner.root.join("new").join(format!("candidate-{number}"));
        let mut candidate = Candidate { store: self.clone(), building, size: 0 };
        let unknown = Digest::from_sha256([0; 32]);
        let files = candidate.building.join("fs");
        make_root(&files)?;
        let unpacked = unpack::unpack(&files, input, Some(unknown), limits)
            .map_err(|source| Error::Unpack { diff_id: unknown, source })?;
        candidate.size = unpacked.size;
        Ok(candidate)
    }

    fn build(
        &self,
        building: &Path,
        diff_id: Digest,
        input: Box<dyn Read + Send>,
        known: Option<Digest>,
        limits: &Limits,
    ) -> Result<LayerInfo, Error> {
        let files = building.join("fs");
        make_root(&files)?;
        let unpacked = unpack::unpack(&files, input, known, limits)
            .map_err(|source| Error::Unpack { diff_id, source })?;
        if unpacked.diff_id != diff_id {
            return Err(Error::DiffIdMismatch { expected: diff_id, actual: unpacked.diff_id });
        }
        let info = LayerInfo { diff_id, size: unpacked.size };
        write_record(building, info)?;
        Ok(info)
    }

    fn publish(&self, building: &Path, info: LayerInfo) -> Result<LayerInfo, Error> {
        let target = self.inner.root.join(short(info.diff_id));
        let mut layers = lock(&self.inner.layers);
        if let Some(other) = layers.keys().find(|other| short(**other) == short(info.diff_id)) {
            if *other != info.diff_id {
                return Err(Error::ShortNameTaken { one: info.diff_id, other: *other });
            }
            return Ok(info); // someone was faster
        }
        std::fs::rename(building, &target).map_err(|e| disk("publish", &target, e))?;
        layers.insert(info.diff_id, Layer { info, sealed: false });
        Ok(info)
    }

    /// Removes layers that are neither in `keep` nor used by a container nor held by a lease. Returns the
    /// bytes freed. `sweep` must have been begun before `keep` was computed.
    ///
    /// # Errors
    /// The disk's; all layers are attempted.
    pub fn sweep(&self, sweep: &Sweep, mut keep: HashSet<Digest>) -> Result<u64, Error> {
        keep.extend(self.layers_of_containers()?);
        let candidates: Vec<Layer> = lock(&self.inner.layers)
            .values()
            .filter(|layer| !keep.contains(&layer.info.diff_id))
            .copied()
            .collect();
        let (mut freed, mut failed) = (0, None);
        for layer in candidates {
            let path = self.inner.root.join(short(layer.info.diff_id));
            let removed = sweep.remove_unheld(layer.info.diff_id, || {
                // Forgotten first: whoever looks now unpacks it again under another name.
                lock(&self.inner.layers).remove(&layer.info.diff_id);
                self.inner.trash.discard(&path)
            });
            match removed {
                Ok(true) => freed += layer.info.size,
                Ok(false) => {}
                Err(error) => failed = Some(disk("remove", &path, error)),
            }
        }
        failed.map_or(Ok(freed), Err)
    }

    pub(crate) fn unsealed(&self) -> HashSet<Digest> {
        let layers = lock(&self.inner.layers);
        layers.values().filter(|layer| !layer.sealed).map(|layer| layer.info.diff_id).collect()
    }

    pub(crate) fn mark_sealed(&self, batch: &HashSet<Digest>) -> Result<(), Error> {
        for diff_id in batch {
            let mut layers = lock(&self.inner.layers);
            let Some(layer) = layers.get_mut(diff_id) else { continue };
            let path = self.inner.root.join(short(*diff_id)).join("layer.json");
            std::fs::set_permissions(&path, Permissions::from_mode(SEALED_MODE))
                .map_err(|e| disk("seal", &path, e))?;
            layer.sealed = true;
        }
        Ok(())
    }

    /// Reads the records of all layers. What may be torn is removed; images bring it back from its blob.
    fn load_layers(&self, boot: Boot) -> Result<(), Error> {
        for path in self.list("")? {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.len() != SHORT_LENGTH || !name.iter().all(u8::is_ascii_hexdigit) {
                continue;
            }
            let record_path = path.join("layer.json");
            let sealed = std::fs::metadata(&record_path)
                .is_ok_and(|meta| meta.mode() & 0o777 == SEALED_MODE);
            if boot == Boot::New && !sealed {
                self.discard(&path)?;
                continue;
            }
            match record::read::<LayerInfo>(&record_path)? {
                Some(info) => {
                    lock(&self.inner.layers).insert(info.diff_id, Layer { info, sealed });
                }
                None => self.discard(&path)?,
            }
        }
        Ok(())
    }

    fn discard(&self, path: &Path) -> Result<(), Error> {
        self.inner.trash.discard(path).map_err(|e| disk("discard", path, e))
    }

    /// Paths of the entries of a directory of the store.
    fn list(&self, directory: &str) -> Result<Vec<PathBuf>, Error> {
        let path = self.inner.root.join(directory);
        let entries = std::fs::read_dir(&path).map_err(|e| disk("list", &path, e))?;
        entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()
            .map_err(|e| disk("list", &path, e))
    }
}

/// A layer unpacked before its digest was known.
#[derive(Debug)]
pub(crate) struct Candidate {
    store: Snapshots,
    building: PathBuf,
    size: u64,
}

impl Candidate {
    /// Makes it the layer `diff_id`, which the caller has verified, and holds in a lease.
    pub(crate) fn publish(self, diff_id: Digest) -> Result<LayerInfo, Error> {
        let info = LayerInfo { diff_id, size: self.size };
        write_record(&self.building, info)?;
        self.store.publish(&self.building, info)
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        // Published, it is elsewhere already, and absent is fine.
        if let Err(error) = self.store.discard(&self.building) {
            tracing::warn!(%error, "a half-made layer stays until the next start");
        }
    }
}

/// Makes the root directory of a layer. An archive without an entry for it means docker's default mode.
fn make_root(files: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(files).map_err(|e| disk("create", files, e))?;
    std::fs::set_permissions(files, Permissions::from_mode(0o755))
        .map_err(|e| disk("set mode of", files, e))
}

fn write_record(building: &Path, info: LayerInfo) -> Result<(), Error> {
    let path = building.join("layer.json");
    std::fs::write(&path, record::encode(&info)).map_err(|e| disk("write", &path, e))
}

fn short(diff_id: Digest) -> String {
    let mut hex = diff_id.hex();
    hex.truncate(SHORT_LENGTH);
    hex
}

fn disk(verb: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Disk { verb, path: path.to_owned(), source }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
