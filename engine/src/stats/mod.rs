//! What a container uses: processor, memory, block devices, processes, network.
//!
//! [`Cgroups::of_process`] finds the container's groups, [`sample`] reads them. The texts are parsed by
//! pure functions in `parse`. A file that is not there (a controller that is off) leaves zeros, as in
//! docker.
//!
//! Source: moby `daemon/stats_unix.go`, containerd `cgroups/v1`, `v2`; kernel `cgroup-v2.rst`.

mod cgroups;
mod parse;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shoal_model::{Classified, ErrorKind, Timestamp};

pub use cgroups::Cgroups;

/// Ticks of the clock in `/proc/stat` and `cpuacct.stat`: `USER_HZ`, fixed by the kernel's interface.
const NANOS_PER_TICK: u64 = 10_000_000;

/// Why a container's use cannot be told.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("process {pid} is in no cgroup that is mounted here")]
    NoCgroup { pid: i32 },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// One reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When it was read.
    pub read: Timestamp,
    /// Processor.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Block devices.
    pub block_io: BlockIo,
    /// Processes.
    pub pids: Pids,
    /// Interfaces but the loopback.
    pub networks: BTreeMap<String, Network>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of the container's.
    pub total: u64,
    /// By processor; empty on cgroup v2.
    pub per_cpu: Vec<u64>,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub kernel: u64,
    /// Of the whole host, idle time included.
    pub system: u64,
    /// Processors of the host.
    pub online_cpus: u32,
    /// Periods in which a quota was in force.
    pub periods: u64,
    /// Periods in which it was used up.
    pub throttled_periods: u64,
    /// Time for which processes had to wait.
    pub throttled_time: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// In use, page cache included.
    pub usage: u64,
    /// Most ever in use; zero where the kernel does not tell.
    pub max_usage: u64,
    /// Everything in `memory.stat`.
    pub stats: BTreeMap<String, u64>,
    /// How often the limit was hit; v1 only.
    pub failures: u64,
    /// The limit, or all memory of the host.
    pub limit: u64,
}

/// Work on block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// Bytes.
    pub bytes: Vec<BlockIoEntry>,
    /// Operations; v1 only.
    pub operations: Vec<BlockIoEntry>,
}

/// Work of one kind on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockIoEntry {
    /// Of the device.
    pub major: u64,
    /// Of the device.
    pub minor: u64,
    /// The kernel's word on v1 (`Read`), docker's on v2 (`read`).
    pub operation: String,
    /// Bytes or operations.
    pub value: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// `None`: unlimited.
    pub limit: Option<u64>,
}

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Network {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// Reads what `cgroups` use. `network_of` is a process in the container's network namespace; `None`
/// where that is not its own (the host's), then no interfaces are listed. Blocks briefly.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn sample(cgroups: &Cgroups, network_of: Option<i32>, now: Timestamp) -> Result<Sample, Error> {
    let host_cpu = read(Path::new("/proc/stat"))?;
    let host_memory = parse::memory_total(&read(Path::new("/proc/meminfo"))?);
    let mut sample = match cgroups {
        Cgroups::V1(directories) => v1(directories, now),
        Cgroups::V2(directory) => v2(directory, now),
    };
    let (system, online_cpus) = parse::host_cpu(&host_cpu);
    sample.cpu.system = system;
    sample.cpu.online_cpus = online_cpus;
    if sample.memory.limit == 0 || sample.memory.limit > host_memory {
        sample.memory.limit = host_memory;
    }
    if let Some(pid) = network_of {
        let path = PathBuf::from(format!("/proc/{pid}/net/dev"));
        sample.networks = parse::networks(&read(&path)?);
    }
    Ok(sample)
}

/// The ids, on the host, of all processes in `cgroups`, those of nested groups included. Sorted.
///
/// # Errors
/// When the group cannot be read.
pub fn processes(cgroups: &Cgroups) -> Result<Vec<i32>, Error> {
    let mut found = Vec::new();
    let mut open = vec![cgroups.any_directory().to_owned()];
    while let Some(directory) = open.pop() {
        let text = read(&directory.join("cgroup.procs"))?;
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        let inner = fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok);
        open.extend(inner.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn v1(directories: &BTreeMap<String, PathBuf>, now: Timestamp) -> Sample {
    let text = |controller: &str, file: &str| {
        let directory = directories.get(controller);
        directory.and_then(|path| fs::read_to_string(path.join(file)).ok()).unwrap_or_default()
    };
    let number = |controller, file| parse::number(&text(controller, file));
    let usage = parse::pairs(&text("cpuacct", "cpuacct.stat"));
    let quota = parse::pairs(&text("cpu", "cpu.stat"));
    let get = |map: &BTreeMap<String, u64>, key: &str| map.get(key).copied().unwrap_or(0);
    let block_io = |what: &str| {
        let files = ["blkio.", "blkio.bfq.", "blkio.throttle."]
            .map(|scheduler| format!("{scheduler}{what}_recursive"));
        let entries = files.iter().map(|file| parse::block_io_v1(&text("blkio", file)));
        entries.into_iter().find(|entries| !entries.is_empty()).unwrap_or_default()
    };
    Sample {
        read: now,
        networks: BTreeMap::new(),
        cpu: Cpu {
            total: number("cpuacct", "cpuacct.usage").unwrap_or(0),
            per_cpu: parse::numbers(&text("cpuacct", "cpuacct.usage_percpu")),
            user: get(&usage, "user").saturating_mul(NANOS_PER_TICK),
            kernel: get(&usage, "system").saturating_mul(NANOS_PER_TICK),
            periods: get(&quota, "nr_periods"),
            throttled_periods: get(&quota, "nr_throttled"),
            throttled_time: get(&quota, "throttled_time"),
            ..Cpu::default()
        },
        memory: Memory {
            usage: number("memory", "memory.usage_in_bytes").unwrap_or(0),
            max_usage: number("memory", "memory.max_usage_in_bytes").unwrap_or(0),
            stats: parse::pairs(&text("memory", "memory.stat")),
            failures: number("memory", "memory.failcnt").unwrap_or(0),
            limit: number("memory", "memory.limit_in_bytes").unwrap_or(0),
        },
        block_io: BlockIo {
            bytes: block_io("io_service_bytes"),
            operations: block_io("io_serviced"),
        },
        pids: Pids {
            current: number("pids", "pids.current").unwrap_or(0),
            limit: number("pids", "pids.max"),
        },
    }
}

fn v2(directory: &Path, now: Timestamp) -> Sample {
    let text = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let number = |file: &str| parse::number(&text(file));
    let cpu = parse::pairs(&text("cpu.stat"));
    let nanos = |key: &str| cpu.get(key).copied().unwrap_or(0).saturating_mul(1000);
    let count = |key: &str| cpu.get(key).copied().unwrap_or(0);
    Sample {
        read: now,
        networks: BTreeMap::new(),
        cpu: Cpu {
            total: nanos("usage_usec"),
            user: nanos("user_usec"),
            kernel: nanos("system_usec"),
            periods: count("nr_periods"),
            throttled_periods: count("nr_throttled"),
            throttled_time: nanos("throttled_usec"),
            ..Cpu::default()
        },
        memory: Memory {
            usage: number("memory.current").unwrap_or(0),
            max_usage: number("memory.peak").unwrap_or(0),
            stats: parse::pairs(&text("memory.stat")),
            failures: 0,
            limit: number("memory.max").unwrap_or(0),
        },
        block_io: BlockIo { bytes: parse::block_io_v2(&text("io.stat")), operations: Vec::new() },
        pids: Pids { current: number("pids.current").unwrap_or(0), limit: number("pids.max") },
    }
}

#[cfg(test)]
mod tests;
