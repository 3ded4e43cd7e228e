//! What is known of a container on disk: `containers/<id>/container.json`.
//!
//! The record is written and fsynced at creation and whenever the user changes the container; a start
//! writes nothing that must be durable. What runs is derived from the shims' run directories, how it
//! ended from the outcome file that the shim writes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shoal_base::Disk;
use shoal_model::container::{ContainerSpec, State};
use shoal_model::network::Endpoint;
use shoal_model::{ContainerId, Digest, Timestamp};

use crate::error::Error;

/// Newest format this release knows.
pub const FORMAT: u32 = 1;
/// File name of the record.
pub const FILE: &str = "container.json";
/// File name of the outcome, written by the shim.
pub const OUTCOME_FILE: &str = "outcome.json";
/// Prefix of the directories of containers whose removal has begun.
pub const REMOVING_PREFIX: &str = ".removing-";
/// As [`REMOVING_PREFIX`], where anonymous volumes go with the container.
pub const REMOVING_VOLUMES_PREFIX: &str = ".removing-volumes-";

/// One container, durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Id.
    pub id: ContainerId,
    /// Without slash.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Image it was made from.
    pub image: Option<Digest>,
    /// The wish with the defaults of image and daemon merged in.
    pub spec: ContainerSpec,
    /// Program of the init process.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The user's last word was stop or kill.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// It was started at least once.
    #[serde(default)]
    pub started_before: bool,
    /// Restarts by its policy since the user's last start.
    #[serde(default)]
    pub restart_count: u32,
    /// State at the time of writing, for what no other file tells: times and exit of the last run.
    pub state: State,
    /// Networks of the container with what is fixed about them (ids, aliases).
    #[serde(default)]
    pub endpoints: std::collections::BTreeMap<String, Endpoint>,
    /// Its mounts, resolved at creation.
    #[serde(default)]
    pub mounts: Vec<crate::mounts::Resolved>,
}

/// Where a container keeps its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `containers/<id>`.
    pub directory: PathBuf,
    /// `<exec root>/shim/<id>`: run directory of the shim.
    pub run: PathBuf,
}

impl Paths {
    /// Paths of one container.
    pub fn new(containers: &Path, shims: &Path, id: &ContainerId) -> Self {
        Self { directory: containers.join(id.as_str()), run: shims.join(id.as_str()) }
    }

    /// The record.
    pub fn record(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// The outcome of the last run.
    pub fn outcome(&self) -> PathBuf {
        self.directory.join(OUTCOME_FILE)
    }

    /// The shim's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join(shoal_shim_protocol::SOCKET_FILE)
    }

    /// Where `/dev/shm` of a container that shares it is mounted while it runs.
    pub fn shared_memory(&self) -> PathBuf {
        self.directory.join("shm")
    }

    /// Network settings of the running container; volatile.
    pub fn network(&self) -> PathBuf {
        self.run.join("network.json")
    }
}

/// Writes a record durably.
///
/// # Errors
/// The disk's.
pub fn write(disk: &dyn Disk, paths: &Paths, record: &Record) -> Result<(), Error> {
    let bytes = serde_json::to_vec(record)
        .map_err(|source| Error::Encode { what: "a container record", source })?;
    let path = paths.record();
    disk.write_atomic(&path, &bytes).map_err(Error::file("write", path))
}

/// Reads the record of a container; `None` when there is none.
///
/// # Errors
/// When it cannot be read, is damaged, or newer than this release.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Record>, Error> {
    let Some(bytes) = disk.read(path).map_err(Error::file("read", path))? else { return Ok(None) };
    decode(path, &bytes).map(Some)
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Record, Error> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let damaged = |source| Error::DamagedRecord { path: path.to_owned(), source };
    let header: Header = serde_json::from_slice(bytes).map_err(damaged)?;
    if header.format > FORMAT {
        return Err(Error::NewerRecord {
            path: path.to_owned(),
            found: header.format,
            known: FORMAT,
        });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_record_is_refused_and_a_damaged_one_named() {
        let path = Path::new("/x/container.json");
        let newer = decode(path, br#"{"format": 2, "unknown": true}"#).unwrap_err();
        assert_eq!(
            newer.to_string(),
            "record `/x/container.json` has format 2, this release knows up to 1"
        );
        let damaged = decode(path, b"{\"format\": 1, \"id\"").unwrap_err();
        assert_eq!(damaged.to_string(), "record `/x/container.json` is damaged");
    }
}
