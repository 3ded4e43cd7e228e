//! Resource use of a container.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Resource use of a container at one moment. A container that does not run gives an empty sample.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsSample {
    /// When; `None` when it does not run.
    pub at: Option<Timestamp>,
    /// CPU.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes.
    pub pids: PidsStats,
    /// Disks.
    pub blkio: BlkioStats,
    /// By name of the interface; empty with the host's network.
    pub networks: BTreeMap<String, InterfaceStats>,
}

/// CPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "durations of CPU time")]
pub struct CpuStats {
    pub total: Duration,
    pub user: Duration,
    pub kernel: Duration,
    /// One for each CPU; empty on cgroup v2.
    pub per_cpu: Vec<Duration>,
    /// CPU time of the whole host.
    pub system: Duration,
    pub online_cpus: u32,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled: Duration,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// Bytes.
    pub usage: u64,
    /// Highest so far; `None` where the kernel does not say.
    pub max_usage: Option<u64>,
    /// Bytes; the host's memory when unlimited.
    pub limit: u64,
    /// Times the limit was hit; cgroup v1.
    pub fail_count: Option<u64>,
    /// The kernel's `memory.stat`.
    pub details: BTreeMap<String, u64>,
    /// Whether `details` are those of cgroup v2.
    pub unified: bool,
}

/// Processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// Zero: unlimited.
    pub limit: u64,
}

/// Disks. Each list may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioStats {
    /// Bytes.
    pub service_bytes: Vec<BlkioEntry>,
    /// Operations.
    pub serviced: Vec<BlkioEntry>,
}

/// One counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioEntry {
    /// Device.
    pub major: u64,
    /// Device.
    pub minor: u64,
    /// `read`, `write`, `sync`, `async`, `discard`, `total`.
    pub operation: String,
    /// Counter.
    pub value: u64,
}

/// One network interface, from the container's view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the kernel's counters")]
pub struct InterfaceStats {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}
