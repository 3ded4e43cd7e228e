//! What the daemon decides about the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use shoal_model::container::LogSpec;

use crate::runtime_spec::DaemonDefaults;

/// An OCI runtime program that `--runtime` may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeProgram {
    /// The program.
    pub path: PathBuf,
    /// Arguments before the subcommand.
    pub args: Vec<String>,
}

/// Configuration of an engine. Several engines share a machine when their paths and cgroup parents differ.
#[derive(Debug, Clone)]
pub struct Config {
    /// Durable data; containers live in `containers/`.
    pub root: PathBuf,
    /// Volatile data, on a tmpfs: run directories of shims in `shim/`.
    pub exec_root: PathBuf,
    /// The program `shoal-shim`.
    pub shim: PathBuf,
    /// Cgroup parent, init, ulimits, shm size, seccomp and more, for containers that do not say.
    pub defaults: DaemonDefaults,
    /// Log driver of containers that name none.
    pub log: LogSpec,
    /// OCI runtimes by name, besides our own ([`OWN_RUNTIME`]).
    pub runtimes: BTreeMap<String, RuntimeProgram>,
    /// Runtime of containers that name none.
    pub default_runtime: String,
    /// Host name of this machine.
    pub hostname: String,
}

/// The name of our own runtime.
pub const OWN_RUNTIME: &str = "shoal";

impl Config {
    /// Directory of all containers.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// Directory of all shims.
    pub fn shims(&self) -> PathBuf {
        self.exec_root.join("shim")
    }

    /// Directory of compiled seccomp programs.
    pub fn seccomp(&self) -> PathBuf {
        self.exec_root.join("seccomp")
    }
}
