//! The container's control groups: made, limited, joined, frozen, removed. Effects; what is written
//! where is decided by the pure modules `v1` and `v2`.

pub(crate) mod device_bpf;
pub(crate) mod devices;
pub(crate) mod v1;
pub(crate) mod v2;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use shoal_shim_protocol::message::{CgroupPath, FailureKind};
use shoal_shim_protocol::spec::Resources;

use crate::failure::{Context, Result, failure};
use crate::sys;

/// One hierarchy and the container's directory in it.
#[derive(Debug, Clone)]
struct Group {
    controllers: Vec<String>,
    mount: PathBuf,
    path: PathBuf,
}

/// All cgroups of a container.
#[derive(Debug)]
pub(crate) struct Cgroups {
    version: Version,
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Cgroups {
    /// Finds the hierarchies of this host; makes nothing yet. `path` is relative to their mounts.
    pub(crate) fn locate(path: &str) -> Result<Self> {
        let relative = path.trim_start_matches('/');
        if relative.is_empty() || relative.split('/').any(|part| part == "..") {
            let message = format!("linux.cgroupsPath `{path}` must name a directory");
            return Err(failure(FailureKind::InvalidArgument, message));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .doing(|| "read `/proc/self/mountinfo`".to_owned())?;
        Ok(Self::from_mountinfo(&mounts, relative))
    }

    fn from_mountinfo(mountinfo: &str, relative: &str) -> Self {
        let (mut v1, mut v2) = (Vec::<Group>::new(), Vec::<Group>::new());
        for (mount, kind, options) in mountinfo.lines().filter_map(parse_mount) {
            let group = |controllers| Group {
                controllers,
                mount: PathBuf::from(mount),
                path: Path::new(mount).join(relative),
            };
            match kind {
                "cgroup" => {
                    let known = |option: &&str| {
                        !matches!(*option, "rw" | "ro" | "xattr" | "noprefix" | "clone_children")
                            && (!option.contains('=') || option.starts_with("name="))
                    };
                    let controllers: Vec<_> =
                        options.split(',').filter(known).map(str::to_owned).collect();
                    if !v1.iter().any(|other| other.controllers == controllers) {
                        v1.push(group(controllers));
                    }
                }
                "cgroup2" if v2.is_empty() => v2.push(group(vec!["unified".to_owned()])),
                _ => {}
            }
        }
        if v1.is_empty() {
            Self { version: Version::V2, groups: v2 }
        } else {
            Self { version: Version::V1, groups: v1 }
        }
    }

    /// Makes the directories and writes the limits.
    pub(crate) fn make(&self, resources: &Resources) -> Result<()> {
        for group in &self.groups {
            fs::create_dir_all(&group.path)
                .doing(|| format!("make cgroup `{}`", group.path.display()))?;
            if group.controllers.iter().any(|name| name == "cpuset") {
                inherit_cpuset(group)?;
            }
            if self.version == Version::V2 {
                enable_controllers(group)?;
            }
        }
        self.apply(resources)?;
        let rules = devices::with_defaults(&resources.devices);
        match self.version {
            Version::V1 => self.write_all(&v1::device_writes(&rules)),
            Version::V2 if rules.is_empty() => Ok(()),
            Version::V2 => {
                let directory = self.directory()?.ok_or_else(|| {
                    failure(FailureKind::Internal, "this host has no cgroup hierarchy")
                })?;
                device_bpf::attach(&device_bpf::program(&rules)?, &directory)
            }
        }
    }

    /// Writes the limits that are given.
    pub(crate) fn apply(&self, resources: &Resources) -> Result<()> {
        match self.version {
            Version::V1 => {
                let writes = v1::writes(resources)?;
                // Memory and memory + swap bound each other: what fails in one order may be possible
                // in the other.
                self.write_all(&writes).or_else(|_| {
                    let mut reversed = writes.clone();
                    reversed.sort_by_key(|write| !write.file.contains("memsw"));
                    self.write_all(&reversed)
                })
            }
            Version::V2 => self.write_all(&v2::writes(resources)?),
        }
    }

    fn write_all(&self, writes: &[Write]) -> Result<()> {
        writes.iter().try_for_each(|write| {
            let group = self.find(write.controller).ok_or_else(|| {
                let message = format!(
                    "cgroup controller `{}`, which `{}` needs, is not mounted",
                    write.controller, write.file
                );
                failure(FailureKind::NotImplemented, message)
            })?;
            let file = group.path.join(&write.file);
            fs::write(&file, &write.value)
                .doing(|| format!("write `{}` to `{}`", write.value, file.display()))
        })
    }

    fn find(&self, controller: &str) -> Option<&Group> {
        match self.version {
            Version::V1 => self
                .groups
                .iter()
                .find(|group| group.controllers.iter().any(|name| name == controller)),
            Version::V2 => self.groups.first(),
        }
    }

    /// On cgroup v2: the directory, for `CLONE_INTO_CGROUP`.
    pub(crate) fn directory(&self) -> Result<Option<OwnedFd>> {
        let Some(group) = self.groups.first().filter(|_| self.version == Version::V2) else {
            return Ok(None);
        };
        let file = fs::File::open(&group.path)
            .doing(|| format!("open cgroup `{}`", group.path.display()))?;
        Ok(Some(file.into()))
    }

    /// On cgroup v1: moves a process in. (On v2 it was born there.)
    pub(crate) fn attach(&self, pid: u32) -> Result<()> {
        if self.version == Version::V2 {
            return Ok(());
        }
        self.groups.iter().try_for_each(|group| {
            let file = group.path.join("cgroup.procs");
            fs::write(&file, pid.to_string())
                .doing(|| format!("move process {pid} to cgroup `{}`", group.path.display()))
        })
    }

    /// All processes, ascending.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let preferred = ["pids", "memory", "devices", "freezer"];
        let group =
            preferred.iter().find_map(|name| self.find(name)).or_else(|| self.groups.first());
        let mut pids = Vec::new();
        if let Some(group) = group {
            collect_pids(&group.path, &mut pids);
        }
        pids.sort_unstable();
        pids
    }

    /// Freezes or thaws, and waits until that is done.
    pub(crate) fn freeze(&self, frozen: Frozen) -> Result<()> {
        let (file, value, state, expected) = match (self.version, frozen) {
            (Version::V1, Frozen::Yes) => ("freezer.state", "FROZEN", "freezer.state", "FROZEN"),
            (Version::V1, Frozen::No) => ("freezer.state", "THAWED", "freezer.state", "THAWED"),
            (Version::V2, Frozen::Yes) => ("cgroup.freeze", "1", "cgroup.events", "frozen 1"),
            (Version::V2, Frozen::No) => ("cgroup.freeze", "0", "cgroup.events", "frozen 0"),
        };
        let group = self.find("freezer").ok_or_else(|| {
            failure(FailureKind::NotImplemented, "cgroup controller `freezer` is not mounted")
        })?;
        let path = group.path.join(file);
        for _ in 0..2000 {
            fs::write(&path, value).doing(|| format!("write `{value}` to `{}`", path.display()))?;
            let now = fs::read_to_string(group.path.join(state)).unwrap_or_default();
            if now.lines().any(|line| line.trim() == expected) {
                return Ok(());
            }
            sys::sleep_ms(1);
        }
        let _thawed = fs::write(&path, if self.version == Version::V1 { "THAWED" } else { "0" });
        Err(failure(FailureKind::Internal, "some process could not be frozen within 2 seconds"))
    }

    /// Number of times the memory killer struck.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let Some(group) = self.find("memory") else { return 0 };
        let text = fs::read_to_string(group.path.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// A descriptor that tells of the memory killer.
    pub(crate) fn watch_oom(&self) -> Option<OwnedFd> {
        let group = self.find("memory")?;
        crate::oom::watch(&group.path, self.version == Version::V2)
    }

    /// Kills what is left and removes the directories. Tries every step.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut first = Ok(());
        for group in &self.groups {
            let removed = remove_tree(&group.path);
            let removed = removed.doing(|| format!("remove cgroup `{}`", group.path.display()));
            first = first.and(removed);
        }
        first
    }

    /// Kills every process with SIGKILL until none is left, two seconds at most.
    pub(crate) fn kill_all(&self) {
        for _ in 0..400 {
            let pids = self.pids();
            if pids.is_empty() {
                return;
            }
            for pid in pids {
                let _gone = sys::kill(pid, libc::SIGKILL);
            }
            sys::sleep_ms(5);
        }
    }

    /// For statistics.
    pub(crate) fn paths(&self) -> Vec<CgroupPath> {
        let path = |group: &Group| CgroupPath {
            controllers: group.controllers.join(","),
            path: group.path.clone(),
        };
        self.groups.iter().map(path).collect()
    }

    /// For mounts of type `cgroup`: each hierarchy's name, and the container's directory in it.
    /// `None` on v2.
    pub(crate) fn hierarchies(&self) -> Option<Vec<(String, PathBuf)>> {
        let hierarchy = |group: &Group| {
            let name = group.mount.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, group.path.clone())
        };
        (self.version == Version::V1).then(|| self.groups.iter().map(hierarchy).collect())
    }

    /// Directories, for the state file and, on v2, the mount of type `cgroup`.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        self.groups.iter().map(|group| group.path.clone()).collect()
    }

    /// Options of a v1 mount of the hierarchy that holds `directory`.
    pub(crate) fn mount_options(&self, directory: &Path) -> String {
        let group = self.groups.iter().find(|group| group.path == directory);
        group.map(|group| group.controllers.join(",")).unwrap_or_default()
    }
}

/// Frozen, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frozen {
    Yes,
    No,
}

/// One value for one file of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) controller: &'static str,
    pub(crate) file: String,
    pub(crate) value: String,
}

/// Mount point, file system type, options of the file system.
fn parse_mount(line: &str) -> Option<(&str, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mount = left.split(' ').nth(4)?;
    let mut right = right.split(' ');
    Some((mount, right.next()?, right.nth(1)?))
}

/// A new cpuset of v1 is empty and nothing may run in it until it has processors and memory.
fn inherit_cpuset(group: &Group) -> Result<()> {
    let relative = group.path.strip_prefix(&group.mount).unwrap_or(&group.path);
    let mut directory = group.mount.clone();
    for part in relative {
        let parent = directory.clone();
        directory.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = directory.join(file);
            let read = |path: &Path| {
                fs::read_to_string(path).doing(|| format!("read `{}`", path.display()))
            };
            if read(&own)?.trim().is_empty() {
                let value = read(&parent.join(file))?;
                fs::write(&own, value.trim()).doing(|| format!("write `{}`", own.display()))?;
            }
        }
    }
    Ok(())
}

/// On v2 each parent must hand its controllers down.
fn enable_controllers(group: &Group) -> Result<()> {
    let relative = group.path.strip_prefix(&group.mount).unwrap_or(&group.path);
    let mut directory = group.mount.clone();
    for part in relative {
        let file = directory.join("cgroup.controllers");
        let available = fs::read_to_string(&file).doing(|| format!("read `{}`", file.display()))?;
        for controller in available.split_whitespace() {
            // A parent with processes of its own refuses domain controllers; the write of the limit
            // that needs one then fails with its name.
            let _missing =
                fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        directory.push(part);
    }
    Ok(())
}

fn collect_pids(directory: &Path, pids: &mut Vec<u32>) {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_pids(&entry.path(), pids);
        }
    }
}

/// Removes a directory of cgroups, leaves first. Absent is removed. A process that was just killed
/// keeps its cgroup busy for a moment.
pub(crate) fn remove_tree(directory: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    for attempt in 0.. {
        match fs::remove_dir(directory) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && attempt < 200 => {
                sys::sleep_ms(5);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn hybrid_hosts_use_version_1() {
        let found = Cgroups::from_mountinfo(HYBRID, "docker/x");
        let paths: Vec<_> = found.paths().into_iter().map(|path| path.controllers).collect();
        assert_eq!(found.version, Version::V1);
        assert_eq!(paths, ["cpu,cpuacct", "name=systemd"]);
        assert_eq!(found.directories()[0], Path::new("/sys/fs/cgroup/cpu,cpuacct/docker/x"));
    }

    #[test]
    fn pure_version_2() {
        let found = Cgroups::from_mountinfo("1 2 0:3 / /cg rw - cgroup2 none rw", "a");
        assert_eq!(found.version, Version::V2);
        assert_eq!(found.directories(), [Path::new("/cg/a")]);
    }

    #[test]
    fn paths_must_stay_below_the_mount() {
        for bad in ["/", "", "a/../../b"] {
            assert_eq!(
                Cgroups::locate(bad).unwrap_err().kind,
                FailureKind::InvalidArgument,
                "{bad}"
            );
        }
    }
}
