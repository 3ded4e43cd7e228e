//! The local driver's store. Every function blocks for short disk work; removal may take longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use shoal_base::random::{SharedRandom, id32};
use shoal_base::{SharedClock, SharedDisk};
use shoal_model::ContainerId;
use shoal_model::volume::{Volume, VolumeSpec, VolumeUsage};

use super::{Error, Filter, mounted, options, usage};
use crate::mounts::{VolumeGrant, VolumeRequest, Volumes};

/// Newest format of `volume.json`.
const FORMAT: u32 = 1;
const DRIVER: &str = "local";
const RECORD: &str = "volume.json";
const DATA: &str = "_data";
/// Volumes that are being removed; no volume's name begins so.
const REMOVING: &str = ".removing-";

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    volume: Volume,
    /// The container with which an anonymous volume was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_for: Option<ContainerId>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) volume: Volume,
    users: BTreeSet<ContainerId>,
    made_for: Option<ContainerId>,
    pub(super) holders: Arc<Holders>,
}

/// Who needs a volume's own file system now. Its lock is held while that is mounted or unmounted.
#[derive(Debug, Default)]
pub(super) struct Holders(Mutex<BTreeSet<ContainerId>>);

impl Holders {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeSet<ContainerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(volume: Volume, made_for: Option<ContainerId>) -> Self {
        Self { volume, users: BTreeSet::new(), made_for, holders: Arc::default() }
    }
}

/// What happens to the anonymous volumes of a removed container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// They stay.
    Keep,
    /// They are removed unless others use them (`rm -v`, `run --rm`).
    RemoveAnonymous,
}

/// Whether a missing volume is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is.
    Strict,
    /// It is not (`rm --force`).
    Force,
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names.
    pub volumes: Vec<String>,
    /// Bytes.
    pub bytes: u64,
}

/// The volumes of one daemon.
#[derive(Debug)]
pub struct Local {
    pub(super) root: PathBuf,
    disk: SharedDisk,
    clock: SharedClock,
    random: SharedRandom,
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Local {
    /// Opens the volumes in `root`, which is made when it is missing, and clears what a crash left.
    ///
    /// # Errors
    /// When the disk fails or a record is newer than this program.
    pub fn open(
        root: PathBuf,
        disk: SharedDisk,
        clock: SharedClock,
        random: SharedRandom,
    ) -> Result<Self, Error> {
        fs::create_dir_all(&root).map_err(disk_error("make", &root))?;
        let mut entries = BTreeMap::new();
        for directory in fs::read_dir(&root).map_err(disk_error("list", &root))? {
            let directory = directory.map_err(disk_error("list", &root))?.path();
            if !directory.is_dir() {
                continue;
            }
            let record = directory.join(RECORD);
            let Some(bytes) = disk.read(&record).map_err(disk_error("read", &record))? else {
                erase(&directory)?;
                continue;
            };
            match parse(&record, &bytes) {
                Ok(Record { volume, made_for, .. }) => {
                    let entry = Entry::new(volume, made_for);
                    entries.insert(entry.volume.name.clone(), entry);
                }
                // One damaged record must not hold up the others. Its data stays, and creating the
                // volume again makes a new record for it.
                Err(error @ Error::Damaged { .. }) => {
                    let error = shoal_model::error::Chain(&error).to_string();
                    tracing::error!(error, "volume is not available");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { root, disk, clock, random, entries: Mutex::new(entries) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a volume, or finds the one that has this name already, whatever its options, as docker does.
    ///
    /// # Errors
    /// When the spec is malformed or the disk fails.
    pub fn create(&self, spec: &VolumeSpec) -> Result<Volume, Error> {
        self.create_in(&mut self.lock(), spec, None)
    }

    fn create_in(
        &self,
        entries: &mut BTreeMap<String, Entry>,
        spec: &VolumeSpec,
        user: Option<&ContainerId>,
    ) -> Result<Volume, Error> {
        if !matches!(spec.driver.as_str(), "" | DRIVER) {
            return Err(Error::UnknownDriver { driver: spec.driver.clone() });
        }
        options::parse(&spec.options)?;
        let anonymous = spec.name.is_empty();
        let name = if anonymous {
            shoal_model::Digest::from_sha256(id32(&*self.random)).hex()
        } else if crate::mounts::volume_name_is_valid(&spec.name) {
            spec.name.clone()
        } else {
            return Err(Error::InvalidName { name: spec.name.clone() });
        };
        if let Some(entry) = entries.get(&name) {
            return Ok(entry.volume.clone());
        }
        let directory = self.root.join(&name);
        let volume = Volume {
            mountpoint: directory.join(DATA).display().to_string(),
            name,
            driver: DRIVER.to_owned(),
            created: self.clock.now(),
            labels: spec.labels.clone(),
            options: spec.options.clone(),
            anonymous,
        };
        let made_for = user.filter(|_| anonymous).cloned();
        let record = Record { format: FORMAT, volume: volume.clone(), made_for: made_for.clone() };
        if let Err(error) = self.write(&directory, &record) {
            // Without its record it is nothing; the next start would remove it as well.
            let _ = fs::remove_dir_all(&directory);
            return Err(error);
        }
        entries.insert(volume.name.clone(), Entry::new(volume.clone(), made_for));
        Ok(volume)
    }

    fn write(&self, directory: &Path, record: &Record) -> Result<(), Error> {
        let data = directory.join(DATA);
        fs::create_dir_all(&data).map_err(disk_error("make", &data))?;
        set_mode(directory, 0o701)?;
        set_mode(&data, 0o755)?;
        let bytes = serde_json::to_vec(record).expect("records have string keys only");
        let path = directory.join(RECORD);
        self.disk.write_atomic(&path, &bytes).map_err(disk_error("write", &path))?;
        self.disk.sync_directory(&self.root).map_err(disk_error("sync", &self.root))
    }

    /// The volume with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn inspect(&self, name: &str) -> Result<Volume, Error> {
        self.lock().get(name).map(|entry| entry.volume.clone()).ok_or_else(|| not_found(name))
    }

    /// The volumes that fit, by name, each with the number of containers that use it.
    pub fn list(&self, filter: &Filter) -> Vec<(Volume, usize)> {
        let entries = self.lock();
        let all = entries.values().map(|entry| (entry.volume.clone(), entry.users.len()));
        all.filter(|(volume, references)| filter.fits(volume, *references)).collect()
    }

    /// What a volume costs. Walks its files.
    ///
    /// # Errors
    /// When there is no such volume.
    pub fn usage(&self, name: &str) -> Result<VolumeUsage, Error> {
        let (data, references) = {
            let entries = self.lock();
            let entry = entries.get(name).ok_or_else(|| not_found(name))?;
            (PathBuf::from(&entry.volume.mountpoint), entry.users.len())
        };
        let bytes = usage::directory_bytes(&data).ok();
        Ok(VolumeUsage {
            bytes: bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1),
            references: i64::try_from(references).unwrap_or(i64::MAX),
        })
    }

    /// Removes a volume and its data.
    ///
    /// # Errors
    /// When it does not exist (unless forced), is in use, or the disk fails.
    pub fn remove(&self, name: &str, removal: Removal) -> Result<(), Error> {
        let doomed = match self.detach(&mut self.lock(), name) {
            Err(Error::NotFound { .. }) if removal == Removal::Force => return Ok(()),
            other => other?,
        };
        erase(&doomed)
    }

    /// Ends a volume's existence; its directory gets another name and may then be removed at leisure.
    fn detach(&self, entries: &mut BTreeMap<String, Entry>, name: &str) -> Result<PathBuf, Error> {
        let entry = entries.get(name).ok_or_else(|| not_found(name))?;
        if !entry.users.is_empty() {
            let containers = entry.users.iter().map(ToString::to_string).collect();
            return Err(Error::InUse { name: name.to_owned(), containers });
        }
        let directory = self.root.join(name);
        let record = directory.join(RECORD);
        self.disk.remove(&record).map_err(disk_error("remove", &record))?;
        entries.remove(name);
        let unique = shoal_model::Digest::from_sha256(id32(&*self.random)).hex();
        let doomed = self.root.join(format!("{REMOVING}{unique}"));
        fs::rename(&directory, &doomed).map_err(disk_error("rename", &directory))?;
        Ok(doomed)
    }

    /// Removes unused volumes that fit: anonymous ones, or with `all` the others too.
    ///
    /// Every one is attempted; failures are in the log, and those volumes not in the answer.
    pub fn prune(&self, filter: &Filter, scope: PruneScope) -> Pruned {
        let mut pruned = Pruned::default();
        for (volume, _) in self.list(&Filter { dangling: Some(true), ..filter.clone() }) {
            if scope == PruneScope::Anonymous && !volume.anonymous {
                continue;
            }
            let bytes = usage::directory_bytes(Path::new(&volume.mountpoint)).unwrap_or(0);
            match self.remove(&volume.name, Removal::Strict) {
                Ok(()) => {
                    pruned.volumes.push(volume.name);
                    pruned.bytes += bytes;
                }
                Err(Error::InUse { .. } | Error::NotFound { .. }) => {} // somebody was faster
                Err(error) => {
                    let error = shoal_model::error::Chain(&error).to_string();
                    tracing::warn!(volume = volume.name, error, "failed to prune volume");
                }
            }
        }
        pruned
    }

    /// Notes what a container uses, from its record, after a start of the daemon. A volume that has
    /// vanished is skipped: the container's start will say so.
    pub fn restore(&self, container: &ContainerId, names: impl IntoIterator<Item = String>) {
        let mut entries = self.lock();
        for name in names {
            if let Some(entry) = entries.get_mut(&name) {
                entry.users.insert(container.clone());
            }
        }
    }

    /// The anonymous volumes that were made with a container.
    pub fn made_for(&self, container: &ContainerId) -> Vec<String> {
        let entries = self.lock();
        let own = entries.values().filter(|entry| entry.made_for.as_ref() == Some(container));
        own.map(|entry| entry.volume.name.clone()).collect()
    }

    /// Removes a volume if it is anonymous and unused; one that is gone is fine.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn discard(&self, name: &str) -> Result<(), Error> {
        if !self.lock().get(name).is_some_and(|entry| entry.volume.anonymous) {
            return Ok(());
        }
        match self.remove(name, Removal::Force) {
            Err(Error::InUse { .. }) => Ok(()),
            other => other,
        }
    }

    /// Forgets what a removed container used. Every volume is attempted.
    ///
    /// # Errors
    /// The first failure to remove an anonymous volume.
    pub fn release(&self, container: &ContainerId, release: Release) -> Result<(), Error> {
        let mut orphans = Vec::new();
        for entry in self.lock().values_mut() {
            if entry.users.remove(container) && entry.users.is_empty() && entry.volume.anonymous {
                orphans.push(entry.volume.name.clone());
            }
        }
        let mut first = Ok(());
        if release == Release::RemoveAnonymous {
            for name in orphans {
                let discarded = self.discard(&name); // unless taken over meanwhile
                first = first.and(discarded);
            }
        }
        first
    }
}

/// Which volumes a prune considers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneScope {
    /// Anonymous ones.
    Anonymous,
    /// All.
    All,
}

impl Volumes for Local {
    fn acquire(
        &self,
        container: &ContainerId,
        request: VolumeRequest,
    ) -> Result<VolumeGrant, Error> {
        let mut entries = self.lock();
        let spec = VolumeSpec {
            name: request.name.unwrap_or_default(),
            driver: request.driver,
            options: request.options,
            labels: request.labels,
        };
        let volume = self.create_in(&mut entries, &spec, Some(container))?;
        if let Some(entry) = entries.get_mut(&volume.name) {
            entry.users.insert(container.clone());
        }
        Ok(VolumeGrant {
            filesystem: options::parse(&volume.options)?,
            data: volume.mountpoint.into(),
            name: volume.name,
            driver: volume.driver,
        })
    }

    fn share(&self, container: &ContainerId, name: &str) -> Result<(), Error> {
        let mut entries = self.lock();
        let entry = entries.get_mut(name).ok_or_else(|| not_found(name))?;
        entry.users.insert(container.clone());
        Ok(())
    }
}

/// Removes a volume's directory, and nothing of what a failure or a crash may have left mounted there: that is
/// somebody's data.
fn erase(directory: &Path) -> Result<(), Error> {
    mounted::detach(&directory.join(DATA))?;
    fs::remove_dir_all(directory).map_err(disk_error("remove", directory))
}

pub(super) fn not_found(name: &str) -> Error {
    Error::NotFound { name: name.to_owned() }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Record, Error> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |source| Error::Damaged { path: path.to_owned(), source };
    let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format > FORMAT {
        return Err(Error::NewerFormat { path: path.to_owned(), format, known: FORMAT });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

fn disk_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Disk { doing, path, source }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(disk_error("chmod", path))
}

#[cfg(test)]
#[path = "store_tests.rs"]
pub(super) mod tests;
