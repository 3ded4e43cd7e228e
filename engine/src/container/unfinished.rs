//! What a killed daemon left half-way: removals that had begun, creations that had not come to their record.
//!
//! The directory goes last: until then the next start knows what is left to do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use shoal_base::Disk;
use shoal_model::ContainerId;
use shoal_model::error::Chain as Causes;

use super::record::{self, REMOVING_PREFIX, REMOVING_VOLUMES_PREFIX, Record};
use crate::list;
use crate::volumes::Local;

/// A directory of a container that does not exist.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// Its removal had begun, and these volumes were to go with it.
    Removal { path: PathBuf, volumes: Vec<String> },
    /// It was being created.
    Creation { path: PathBuf, id: ContainerId },
}

impl Unfinished {
    /// What the directory of a removal that had begun says; `None`: its name is another's.
    pub(super) fn removal(disk: &dyn Disk, path: &Path, name: &str) -> Option<Self> {
        let with_volumes = name.starts_with(REMOVING_VOLUMES_PREFIX);
        if !with_volumes && !name.starts_with(REMOVING_PREFIX) {
            return None;
        }
        // Without a record its volumes went already: the record is removed after them.
        let record = with_volumes.then(|| record::read(disk, &path.join(record::FILE)));
        let volumes = match record {
            Some(Ok(Some(record))) => volumes_of(&record).map(str::to_owned).collect(),
            Some(Err(error)) => {
                tracing::error!(path = %path.display(), error = %Causes(&error),
                    "the volumes of a removed container stay");
                Vec::new()
            }
            Some(Ok(None)) | None => Vec::new(),
        };
        Some(Self::Removal { path: path.to_owned(), volumes })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Removal { path, .. } | Self::Creation { path, .. } => path,
        }
    }
}

/// Finishes all of them. `records`: the containers that do exist, whose volumes stay.
pub(super) fn finish(volumes: &Local, unfinished: &[Unfinished], records: &[Record]) {
    let used: BTreeSet<&str> = records.iter().flat_map(volumes_of).collect();
    for one in unfinished {
        let names = match one {
            Unfinished::Removal { volumes, .. } => volumes.clone(),
            Unfinished::Creation { id, .. } => volumes.made_for(id),
        };
        let unused = names.iter().filter(|name| !used.contains(name.as_str()));
        let discarded = unused.map(|name| volumes.discard(name));
        let failed = discarded.filter_map(Result::err).last();
        if let Some(error) = failed {
            tracing::error!(error = %Causes(&error), "a volume of an unfinished container stays");
            continue;
        }
        detach_shared_memory(&one.path().join("shm"));
        remove_directory(one.path());
    }
}

fn volumes_of(record: &Record) -> impl Iterator<Item = &str> {
    record.mounts.iter().filter_map(list::volume_name)
}

pub(super) fn remove_directory(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::error!(path = %path.display(), %error, "failed to remove a leftover");
    }
}

pub(super) fn detach_shared_memory(path: &Path) {
    if let Err(error) = crate::mounts::shared_memory::detach(path) {
        tracing::error!(error = %Causes(&error), "shared memory stays mounted");
    }
}
