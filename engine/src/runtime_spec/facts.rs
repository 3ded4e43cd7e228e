//! What a runtime spec depends on and only the host knows. Asked once, when the daemon starts.

use std::path::Path;

use super::capabilities;
use crate::seccomp::Arch;

/// Which cgroup hierarchy has the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy per controller (also where an empty v2 is mounted beside them).
    V1,
    /// The unified one.
    V2,
}

/// Facts of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Which cgroups.
    pub cgroup: CgroupVersion,
    /// Major and minor version.
    pub kernel: (u32, u32),
    /// Of the system calls.
    pub arch: Arch,
    /// Capabilities that the kernel knows and the daemon may hand on.
    pub capabilities: Vec<String>,
    /// Paths beneath /sys that tell temperatures and are masked.
    pub thermal_paths: Vec<String>,
    /// Whether `net.ipv4.ping_group_range` exists.
    pub ping_group_range: bool,
    /// Whether `net.ipv4.ip_unprivileged_port_start` exists.
    pub unprivileged_port_start: bool,
    /// Whether mounts beneath a bind mount can be made read-only (`mount_setattr`, Linux 5.12).
    pub recursive_read_only: bool,
    /// Whether AppArmor confines processes here.
    pub apparmor: bool,
}

/// Asks the host. What cannot be read counts as absent.
pub fn gather() -> HostFacts {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let kernel = parse_kernel(&release).unwrap_or((0, 0));
    let last = read("/proc/sys/kernel/cap_last_cap").and_then(|text| text.trim().parse().ok());
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    HostFacts {
        cgroup: if unified { CgroupVersion::V2 } else { CgroupVersion::V1 },
        kernel,
        arch: Arch::NATIVE,
        capabilities: capabilities::usable(last.unwrap_or(40), bounding_set()),
        thermal_paths: thermal_paths(Path::new("/sys/devices/system/cpu")),
        ping_group_range: Path::new("/proc/sys/net/ipv4/ping_group_range").exists(),
        unprivileged_port_start: Path::new("/proc/sys/net/ipv4/ip_unprivileged_port_start")
            .exists(),
        recursive_read_only: kernel >= (5, 12),
        apparmor: read("/sys/module/apparmor/parameters/enabled")
            .is_some_and(|text| text.starts_with('Y')),
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// `CapBnd` of this process: privileged containers cannot have more than the daemon has.
fn bounding_set() -> u64 {
    let status = read("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
}

/// `6.1.0-13-amd64` → (6, 1).
pub fn parse_kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn thermal_paths(cpus: &Path) -> Vec<String> {
    let mut found: Vec<(u32, String)> = std::fs::read_dir(cpus)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.strip_prefix("cpu")?.parse().ok()?;
            let path = entry.path().join("thermal_throttle");
            path.exists().then(|| (number, path.display().to_string()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_parsed() {
        assert_eq!(parse_kernel("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(parse_kernel("5.10"), Some((5, 10)));
        assert_eq!(parse_kernel("linux"), None);
    }

    #[test]
    fn masked_thermal_paths_are_in_the_order_of_cpus() {
        let dir = tempfile::tempdir().unwrap();
        for cpu in ["cpu10", "cpu2", "cpufreq"] {
            std::fs::create_dir_all(dir.path().join(cpu).join("thermal_throttle")).unwrap();
        }
        std::fs::create_dir_all(dir.path().join("cpu3")).unwrap();
        let expected =
            ["cpu2", "cpu10"].map(|cpu| format!("{}/{cpu}/thermal_throttle", dir.path().display()));
        assert_eq!(thermal_paths(dir.path()), expected);
    }

    #[test]
    fn this_host_answers() {
        let facts = gather();
        assert!(facts.kernel > (4, 0));
        assert!(facts.capabilities.contains(&"CAP_SYS_ADMIN".to_owned()));
    }
}
