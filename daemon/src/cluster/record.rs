//! What this host remembers of its membership: `swarm/state.json`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shoal_base::SharedDisk;
use shoal_model::cluster::manager::RaftConfig;
use shoal_model::cluster::node::Availability;
use shoal_model::error::{ErrorKind, Failure};

/// Format of the file; a higher number is refused.
const FORMAT: u32 = 1;

/// Where membership stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// A cluster is being made: nothing of it is acknowledged yet.
    Initializing,
    /// A join has begun; it is gone on with.
    Joining,
    /// A member.
    Member,
    /// Leaving: everything is to be removed.
    Leaving,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Record {
    pub(super) format: u32,
    pub(super) phase: Phase,
    /// Where a manager listens.
    pub(super) listen: SocketAddr,
    /// Told to others.
    pub(super) advertise: SocketAddr,
    /// Address for VXLAN; `None`: that of `advertise`.
    #[serde(default)]
    pub(super) data_path: Option<IpAddr>,
    /// Number of the raft log on this disk.
    pub(super) raft_id: u64,
    /// Timing of consensus as last known.
    pub(super) raft: RaftConfig,
    /// Managers to join; also the first ones to look for later.
    pub(super) remotes: Vec<String>,
    /// Empty unless joining.
    pub(super) token: String,
    pub(super) availability: Availability,
    /// This manager is to be the only one, and the cluster does not say so yet.
    #[serde(default)]
    pub(super) alone: bool,
    /// Where the node API listened last; zero: nowhere yet.
    #[serde(default)]
    pub(super) node_api_port: u16,
}

impl Record {
    pub(super) fn new(
        phase: Phase,
        listen: SocketAddr,
        advertise: SocketAddr,
        raft_id: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            phase,
            listen,
            advertise,
            data_path: None,
            raft_id,
            raft: RaftConfig::default(),
            remotes: Vec::new(),
            token: String::new(),
            availability: Availability::Active,
            alone: false,
            node_api_port: 0,
        }
    }
}

/// The directory of everything about membership.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: PathBuf,
    disk: SharedDisk,
}

fn failed(what: &str, path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(ErrorKind::Internal, format!("failed to {what} `{}`: {error}", path.display()))
}

impl Directory {
    pub(super) fn new(data_root: &Path, disk: SharedDisk) -> Self {
        Self { root: data_root.join("swarm"), disk }
    }

    fn file(&self) -> PathBuf {
        self.root.join("state.json")
    }

    pub(super) fn raft(&self) -> PathBuf {
        self.root.join("raft")
    }

    pub(super) fn certificates(&self) -> PathBuf {
        self.root.join("certificates")
    }

    /// Of the worker; `worker/` within it is its database.
    pub(super) fn worker(&self) -> &Path {
        &self.root
    }

    /// Makes the directory, readable by its owner only.
    pub(super) fn make(&self) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(|error| failed("make", &self.root, &error))
    }

    pub(super) fn read(&self) -> Result<Option<Record>, Failure> {
        let path = self.file();
        let Some(bytes) = self.disk.read(&path).map_err(|error| failed("read", &path, &error))?
        else {
            return Ok(None);
        };
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|error| failed("read", &path, &error))?;
        if record.format > FORMAT {
            let newer = format!("its format {} is newer than this program's", record.format);
            return Err(failed("read", &path, &newer));
        }
        Ok(Some(record))
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), Failure> {
        let path = self.file();
        let bytes = serde_json::to_vec_pretty(record).map_err(|e| failed("encode", &path, &e))?;
        self.disk.write_atomic(&path, &bytes).map_err(|error| failed("write", &path, &error))
    }

    /// Removes the raft log: the node is no manager any more.
    pub(super) fn remove_raft(&self) -> Result<(), Failure> {
        remove(&self.raft())
    }

    /// Removes everything. The state file goes last: until then a start goes on with the removal.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("list", &self.root, &error)),
            Ok(entries) => entries,
        };
        let mut first = Ok(());
        for entry in entries.flatten() {
            if entry.path() != self.file() {
                let removed = remove(&entry.path());
                first = first.and(removed);
            }
        }
        first?;
        remove(&self.root)
    }
}

fn remove(path: &Path) -> Result<(), Failure> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path, &error))
        }
        _ => Ok(()),
    }
}
