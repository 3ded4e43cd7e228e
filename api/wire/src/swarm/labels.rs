//! Labels of services by which clients say what Docker's types have no field for.
//!
//! The docker CLI reads, changes and writes back whole specs through its own types; a label survives that.

/// Shoal's own labels begin so.
pub const PREFIX: &str = "io.shoal.";
/// Before the name of a member of `HostConfig`; the value is that member's JSON, or the text itself.
pub const HOST: &str = "io.shoal.host.";
/// Services that must have come so far before this one starts: `name:started|healthy|completed[:optional]`, with commas.
pub const DEPENDS_ON: &str = "io.shoal.depends-on";

/// The members of `HostConfig` that a service may give by label: those that Docker's specs of services lack.
pub const HOST_MEMBERS: [&str; 29] = [
    "Annotations",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeight",
    "BlkioWeightDevice",
    "CgroupParent",
    "CgroupnsMode",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpuShares",
    "CpusetCpus",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "IpcMode",
    "OomKillDisable",
    "PidMode",
    "Privileged",
    "Runtime",
    "SecurityOpt",
    "ShmSize",
    "StorageOpt",
    "Tmpfs",
    "UTSMode",
    "UsernsMode",
];
