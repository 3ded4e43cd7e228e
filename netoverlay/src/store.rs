//! Files: definitions of networks (durable) and records of sandboxes (of this boot).
//!
//! A sandbox's record is written before the first effect on the kernel and removed after the last, so
//! that whatever a killed daemon left has a record. Records are renamed into place but not fsynced:
//! after a loss of power no sandbox exists any more.

mod views;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shoal_base::SharedDisk;
use shoal_base::disk::TEMPORARY_SUFFIX;
use shoal_model::NetworkId;

use crate::error::Error;
use crate::network::Network;
use crate::sandbox::{Sandbox, SandboxId};
pub(crate) use views::{KnownView, Written};

/// Number of the format of both kinds of files.
const FORMAT: u32 = 1;
const SUFFIX: &str = ".json";

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// The directories.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    disk: SharedDisk,
    networks: PathBuf,
    sandboxes: PathBuf,
    namespaces: PathBuf,
    /// Namespaces of overlay networks.
    overlays: PathBuf,
    /// Views of overlay networks.
    views: PathBuf,
}

/// What [`Store::sandboxes`] found.
#[derive(Debug, Default)]
pub(crate) struct FoundSandboxes {
    pub(crate) records: Vec<Sandbox>,
    /// Records that cannot be read: their sandboxes cannot be restored, only removed.
    pub(crate) damaged: Vec<(SandboxId, Error)>,
}

impl Store {
    /// Makes the directories where they are missing.
    pub(crate) fn open(disk: SharedDisk, data: &Path, exec: &Path) -> Result<Self, Error> {
        let store = Self {
            disk,
            networks: data.join("networks"),
            sandboxes: exec.join("sandboxes"),
            namespaces: exec.join("netns"),
            overlays: exec.join("overlays"),
            views: exec.join("views"),
        };
        let Self { networks, sandboxes, namespaces, overlays, views, .. } = &store;
        for directory in [networks, sandboxes, namespaces, overlays, views] {
            std::fs::create_dir_all(directory).map_err(|source| Error::File {
                step: "create directory",
                path: directory.clone(),
                source,
            })?;
        }
        Ok(store)
    }

    pub(crate) fn namespace(&self, id: &SandboxId) -> PathBuf {
        self.namespaces.join(id.as_str())
    }

    /// Where the namespace of an overlay network is pinned.
    pub(crate) fn overlay(&self, id: &NetworkId) -> PathBuf {
        self.overlays.join(id.as_str())
    }

    /// All networks; what a crash left half-written is removed.
    pub(crate) fn networks(&self) -> Result<Vec<Network>, Error> {
        self.names(&self.networks)?
            .iter()
            .map(|name| self.read(&self.networks.join(format!("{name}{SUFFIX}"))))
            .collect()
    }

    pub(crate) fn write_network(&self, network: &Network) -> Result<(), Error> {
        let path = self.network_path(&network.id);
        self.disk.write_atomic(&path, &encode(network)).map_err(|source| Error::File {
            step: "write",
            path,
            source,
        })
    }

    pub(crate) fn remove_network(&self, id: &NetworkId) -> Result<(), Error> {
        let path = self.network_path(id);
        self.disk.remove(&path).map_err(|source| Error::File { step: "remove", path, source })
    }

    fn network_path(&self, id: &NetworkId) -> PathBuf {
        self.networks.join(format!("{id}{SUFFIX}"))
    }

    pub(crate) fn sandboxes(&self) -> Result<FoundSandboxes, Error> {
        let mut found = FoundSandboxes::default();
        for name in self.names(&self.sandboxes)? {
            let id = SandboxId::parse(&name)?;
            match self.read::<Sandbox>(&self.sandbox_path(&id)) {
                Ok(record) => found.records.push(record),
                Err(error) => found.damaged.push((id, error)),
            }
        }
        Ok(found)
    }

    /// Sandboxes that have a file in the directory of namespaces.
    pub(crate) fn namespaces(&self) -> Result<Vec<SandboxId>, Error> {
        let names = entries(&self.namespaces)?;
        Ok(names.iter().filter_map(|name| SandboxId::parse(name).ok()).collect())
    }

    pub(crate) fn write_sandbox(&self, sandbox: &Sandbox) -> Result<(), Error> {
        replace(self.sandbox_path(&sandbox.id), &encode(sandbox))
    }

    pub(crate) fn remove_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        remove(self.sandbox_path(id))
    }

    fn sandbox_path(&self, id: &SandboxId) -> PathBuf {
        self.sandboxes.join(format!("{id}{SUFFIX}"))
    }

    /// The names of all records of a directory; removes files that were being written.
    fn names(&self, directory: &Path) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for name in entries(directory)? {
            if name.ends_with(TEMPORARY_SUFFIX) {
                let path = directory.join(name);
                self.disk.remove(&path).map_err(|source| Error::File {
                    step: "remove",
                    path,
                    source,
                })?;
            } else if let Some(name) = name.strip_suffix(SUFFIX) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<T, Error> {
        let fail = |source| Error::File { step: "read", path: path.to_owned(), source };
        let damaged = |source| Error::Damaged { path: path.to_owned(), source };
        let bytes = self.disk.read(path).map_err(fail)?;
        let bytes = bytes.ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
        let FormatOnly { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(Error::Newer { path: path.to_owned(), format, known: FORMAT });
        }
        let versioned: Versioned<T> = serde_json::from_slice(&bytes).map_err(damaged)?;
        Ok(versioned.content)
    }
}

/// Puts a file of this boot in place of another.
fn replace(path: PathBuf, content: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension(format!("json{TEMPORARY_SUFFIX}"));
    std::fs::write(&temporary, content)
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(|source| Error::File { step: "write", path, source })
}

/// Removes a file of this boot; absent is fine.
fn remove(path: PathBuf) -> Result<(), Error> {
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { step: "remove", path, source })
        }
        _ => Ok(()),
    }
}

fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(&Versioned { format: FORMAT, content })
        .expect("plain types always encode")
}

fn entries(directory: &Path) -> Result<Vec<String>, Error> {
    let fail = |source| Error::File { step: "list", path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fail)? {
        if let Ok(name) = entry.map_err(fail)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
