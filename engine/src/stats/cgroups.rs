//! Where a container's cgroups are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Error, read};

/// The directories of a container's cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroups {
    /// By controller (`memory`, `cpuacct` …). Never empty.
    V1(BTreeMap<String, PathBuf>),
    /// The one.
    V2(PathBuf),
}

impl Cgroups {
    /// The groups of a process, where they are mounted here.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or no group of it is mounted.
    pub fn of_process(pid: i32) -> Result<Self, Error> {
        let groups = read(&PathBuf::from(format!("/proc/{pid}/cgroup")))?;
        let mounts = read(Path::new("/proc/self/mountinfo"))?;
        locate(&groups, &mounts).ok_or(Error::NoCgroup { pid })
    }

    /// Any of the directories: each lists all processes.
    pub fn any_directory(&self) -> &Path {
        match self {
            // `pids` and `memory` are always the container's own; named hierarchies may not be.
            Self::V1(directories) => ["pids", "memory", "cpu"]
                .iter()
                .find_map(|controller| directories.get(*controller))
                .or_else(|| directories.values().next())
                .map_or_else(|| Path::new(""), PathBuf::as_path),
            Self::V2(directory) => directory,
        }
    }
}

/// Joins the lines of `/proc/<pid>/cgroup` with the mounts. v1 counts where it has any controller:
/// beside it a v2 hierarchy has none that matter.
fn locate(groups: &str, mountinfo: &str) -> Option<Cgroups> {
    let mounts: Vec<Mounted<'_>> = mountinfo.lines().filter_map(parse_mount).collect();
    let mut v1 = BTreeMap::new();
    let mut v2 = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        if controllers.is_empty() {
            let mount = mounts.iter().find(|mount| mount.kind == "cgroup2");
            v2 = mount.and_then(|mount| mount.directory(path));
        }
        for controller in controllers.split(',').filter(|name| !name.is_empty()) {
            let has = |mount: &&Mounted<'_>| {
                mount.kind == "cgroup" && mount.options.split(',').any(|word| word == controller)
            };
            let directory = mounts.iter().find(has).and_then(|mount| mount.directory(path));
            v1.extend(directory.map(|directory| (controller.to_owned(), directory)));
        }
    }
    v1.retain(|controller, _| !controller.starts_with("name="));
    if v1.is_empty() { v2.map(Cgroups::V2) } else { Some(Cgroups::V1(v1)) }
}

struct Mounted<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl Mounted<'_> {
    /// A mount may show a part of its hierarchy only.
    fn directory(&self, path: &str) -> Option<PathBuf> {
        let rest = Path::new(path).strip_prefix(self.root).ok()?;
        Some(Path::new(self.point).join(rest))
    }
}

fn parse_mount(line: &str) -> Option<Mounted<'_>> {
    let (head, tail) = line.split_once(" - ")?;
    let mut head = head.split(' ').skip(3);
    let mut tail = tail.split(' ');
    Some(Mounted {
        root: head.next()?,
        point: head.next()?,
        kind: tail.next()?,
        options: tail.nth(1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_groups_are_found_by_controller() {
        let groups = "5:cpu,cpuacct:/shoal/x\n4:memory:/shoal/x\n2:name=systemd:/\n0::/\n";
        let mounts = "30 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      31 20 0:27 /shoal /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                      32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let expected = [
            ("cpu", "/sys/fs/cgroup/cpu,cpuacct/shoal/x"),
            ("cpuacct", "/sys/fs/cgroup/cpu,cpuacct/shoal/x"),
            ("memory", "/sys/fs/cgroup/memory/x"),
        ];
        let expected = expected.map(|(name, path)| (name.to_owned(), PathBuf::from(path)));
        assert_eq!(locate(groups, mounts), Some(Cgroups::V1(expected.into())));
    }

    #[test]
    fn v2_has_one_group() {
        let mounts = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            locate("0::/shoal/x\n", mounts),
            Some(Cgroups::V2("/sys/fs/cgroup/shoal/x".into()))
        );
        assert_eq!(locate("0::/x\n", ""), None);
    }
}
