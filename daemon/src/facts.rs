//! Facts about the host that `info` and `version` show.

use std::path::Path;

use shoal_model::system::LimitSupport;

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
pub(crate) struct HostFacts {
    pub(crate) kernel: String,
    pub(crate) architecture: String,
    pub(crate) hostname: String,
    pub(crate) operating_system: String,
    pub(crate) os_version: String,
    pub(crate) cpus: u32,
    pub(crate) memory: u64,
    pub(crate) cgroup_version: u8,
    pub(crate) limits: LimitSupport,
}

impl HostFacts {
    /// Asks kernel and distribution.
    pub(crate) fn read() -> Self {
        let uname = rustix::system::uname();
        let release = std::fs::read_to_string("/etc/os-release")
            .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cgroup_version =
            if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { 2 } else { 1 };
        Self {
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            hostname: uname.nodename().to_string_lossy().into_owned(),
            operating_system: os_field(&release, "PRETTY_NAME")
                .unwrap_or_else(|| "Linux".to_owned()),
            os_version: os_field(&release, "VERSION_ID").unwrap_or_default(),
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            memory: memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            cgroup_version,
            limits: if cgroup_version == 2 { limits_v2() } else { limits_v1() },
        }
    }
}

fn os_field(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim_matches('"').to_owned())
}

fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn limits_v1() -> LimitSupport {
    let has = |file: &str| Path::new("/sys/fs/cgroup").join(file).exists();
    LimitSupport {
        memory: has("memory/memory.limit_in_bytes"),
        swap: has("memory/memory.memsw.limit_in_bytes"),
        kernel_memory_tcp: has("memory/memory.kmem.tcp.limit_in_bytes"),
        cpu_cfs_period: has("cpu/cpu.cfs_period_us"),
        cpu_cfs_quota: has("cpu/cpu.cfs_quota_us"),
        cpu_shares: has("cpu/cpu.shares"),
        cpuset: has("cpuset/cpuset.cpus"),
        pids: has("pids"),
        oom_kill_disable: has("memory/memory.oom_control"),
    }
}

fn limits_v2() -> LimitSupport {
    let text = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let has = |controller: &str| text.split_whitespace().any(|name| name == controller);
    LimitSupport {
        memory: has("memory"),
        swap: has("memory"),
        kernel_memory_tcp: false,
        cpu_cfs_period: has("cpu"),
        cpu_cfs_quota: has("cpu"),
        cpu_shares: has("cpu"),
        cpuset: has("cpuset"),
        pids: has("pids"),
        oom_kill_disable: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_of_the_distribution_and_the_memory() {
        let text = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID=13\n";
        assert_eq!(os_field(text, "PRETTY_NAME").as_deref(), Some("Debian GNU/Linux 13 (trixie)"));
        assert_eq!(os_field(text, "VERSION_ID").as_deref(), Some("13"));
        assert_eq!(os_field(text, "NAM"), None);
        assert_eq!(memory("MemTotal:       24684092 kB\nMemFree: 1 kB\n"), 24_684_092 * 1024);
    }
}
