//! What a host may leave on the machine: processes, cgroups, mounts, namespaces, links.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{command, monotonic, stdout};

/// The link of a host in a lab to the others.
const UPLINK: &str = "eth0";

/// What is left of a host whose daemon has ended and whose containers were removed. Clean-up that goes on in
/// the background gets `patience`. Lines that `stays` knows are expected.
pub fn of_host(
    name: &str,
    root: &Path,
    patience: Duration,
    stays: impl Fn(&str) -> bool,
) -> Vec<String> {
    let deadline = monotonic() + patience;
    loop {
        let mut left = look(name, root);
        left.retain(|line| !stays(line));
        if left.is_empty() || monotonic() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn look(name: &str, root: &Path) -> Vec<String> {
    let mut left = Vec::new();
    left.extend(processes(root).into_iter().map(|(pid, line)| format!("process {pid} {line}")));
    // An empty parent cgroup is the daemon's own and may stay for its next start.
    let cgroups =
        cgroups(name).into_iter().filter(|path| path.file_name().is_some_and(|n| n != name));
    left.extend(cgroups.map(|path| format!("cgroup {}", path.display())));
    left.extend(mounts(root).into_iter().map(|line| format!("mount {line}")));
    left.extend(links(name).into_iter().map(|link| format!("link {link}")));
    for directory in ["run/shim", "run/netns", "data/containers"] {
        let entries = std::fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| format!("file {}", entry.path().display())));
    }
    left
}

/// Ends and removes everything of a host, as far as possible.
pub fn clear(name: &str, root: &Path) {
    for (pid, _) in processes(root) {
        let _ = stdout(command("kill").args(["-9", &pid.to_string()]));
    }
    let mut cgroups = cgroups(name);
    // A frozen process does not die before it is thawed. Each hierarchy has at most one of these files.
    for cgroup in &cgroups {
        for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            if cgroup.join(file).exists() {
                let _ = std::fs::write(cgroup.join(file), thawed);
            }
        }
    }
    cgroups.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for cgroup in cgroups {
        for pid in std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default().lines()
        {
            let _ = stdout(command("kill").args(["-9", pid]));
        }
        for _ in 0..50 {
            if std::fs::remove_dir(&cgroup).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    unmount(root);
    // Whoever still looks at a container's namespace keeps it, and both ends of its link.
    for link in links(name) {
        let end = link.split(": ").nth(1).and_then(|words| words.split('@').next());
        if let Some(end) = end.filter(|end| *end != UPLINK) {
            let _ = stdout(command("ip").args(["-n", name, "link", "delete", end]));
        }
    }
}

/// Takes away everything that is mounted beneath a directory, in the mount namespace of this thread.
pub(crate) fn unmount(root: &Path) {
    for line in mounts(root).iter().rev() {
        if let Some(target) = line.split(' ').nth(1) {
            let _ = stdout(command("umount").args(["-l", target]));
        }
    }
}

/// Whether a text names a directory or something beneath it; `/l/h10` is not beneath `/l/h1`.
fn names(text: &str, root: &Path) -> bool {
    let root = root.display().to_string();
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric());
    text.match_indices(&root).any(|(at, _)| ends(&text[at + root.len()..]))
}

/// Processes whose command line names the host's directory: its shims, its daemon.
fn processes(root: &Path) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (names(&line, root) && pid != std::process::id()).then_some((pid, line))
        })
        .collect()
}

fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for base in ["/sys/fs/cgroup"] {
        let hierarchies = std::fs::read_dir(base).into_iter().flatten().flatten();
        for hierarchy in hierarchies {
            collect(&hierarchy.path().join(name), &mut found);
        }
        collect(&Path::new(base).join(name), &mut found);
    }
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    if !directory.is_dir() {
        return;
    }
    found.push(directory.to_owned());
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), found);
        }
    }
}

fn mounts(root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
    text.lines().filter(|line| names(line, root)).map(str::to_owned).collect()
}

/// Links of containers in the host's namespace; bridges are the daemon's own and may stay.
fn links(name: &str) -> Vec<String> {
    let text = stdout(command("ip").args(["-n", name, "-o", "link", "show", "type", "veth"]))
        .unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_alike_is_another_one() {
        let root = Path::new("/l/h1");
        for text in ["shoald --root /l/h1", "tmpfs /l/h1/run tmpfs", "/l/h10 /l/h1"] {
            assert!(names(text, root), "{text}");
        }
        for text in ["shoald --root /l/h10", "/l/h1a/run", "/l"] {
            assert!(!names(text, root), "{text}");
        }
    }
}
