//! The mount list of a runtime spec. Pure.
//!
//! Source: moby `daemon/oci_linux.go withMounts`, `daemon/pkg/oci/defaults.go`.

use std::path::Path;

use shoal_model::container::{IpcMode, Propagation};

use super::oci::Mount;
use super::{Error, Inputs, tmpfs};
use crate::mounts::{ReadOnlyDepth, Resolved, Source};

/// Mounts that stay writable when the root is read-only.
const KEEP_WRITABLE: [&str; 5] = ["/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"];

/// The mounts of a container and the propagation of its root.
pub(super) fn decide(
    inputs: &Inputs<'_>,
    writable_cgroups: bool,
) -> Result<(Vec<Mount>, String), Error> {
    let host = &inputs.spec.host;
    let mut own: Vec<&Resolved> = inputs.mounts.iter().collect();
    own.sort_by_key(|mount| depth(&mount.target));
    let is_own = |target: &str| own.iter().any(|mount| mount.target == target);

    let mut mounts: Vec<Mount> = defaults(inputs)?
        .into_iter()
        .filter(|mount| !is_own(&mount.destination))
        .filter(|mount| !(is_own("/dev") && mount.destination.starts_with("/dev/")))
        .collect();
    let mut root_propagation = Root::Private;
    for mount in &own {
        mounts.push(user_mount(mount, inputs.host.recursive_read_only)?);
        root_propagation = root_propagation.max(Root::needed(mount));
    }
    if host.readonly_rootfs {
        for mount in &mut mounts {
            let target = mount.destination.as_str();
            if !KEEP_WRITABLE.contains(&target) && !is_own(target) && !has(mount, "ro") {
                mount.options.push("ro".to_owned());
            }
        }
    }
    for mount in &mut mounts {
        let cgroup = mount.kind == "cgroup" && (host.privileged || writable_cgroups);
        if cgroup || (host.privileged && mount.destination == "/sys") {
            mount.options.retain(|option| option != "ro");
        }
    }
    Ok((mounts, root_propagation.word().to_owned()))
}

fn has(mount: &Mount, option: &str) -> bool {
    mount.options.iter().any(|have| have == option)
}

fn depth(target: &str) -> usize {
    target.split('/').filter(|part| !part.is_empty()).count()
}

fn defaults(inputs: &Inputs<'_>) -> Result<Vec<Mount>, Error> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    let host = &inputs.spec.host;
    match (&host.ipc_mode, &inputs.shared_memory) {
        (IpcMode::None, _) => {}
        (IpcMode::Host, _) => mounts.push(shared_memory(Path::new("/dev/shm"))),
        (_, Some(path)) => mounts.push(shared_memory(path)),
        (IpcMode::Container(other), None) => {
            let container = other.clone();
            return Err(Error::NamespaceNotShareable { namespace: "IPC", container });
        }
        (_, None) => {
            let size = if host.shm_size > 0 { host.shm_size } else { inputs.daemon.shm_size };
            let size = format!("size={size}");
            let options = ["nosuid", "noexec", "nodev", "mode=1777", &size];
            mounts.push(mount("/dev/shm", "tmpfs", "shm", &options));
        }
    }
    Ok(mounts)
}

fn shared_memory(path: &Path) -> Mount {
    Mount {
        destination: "/dev/shm".to_owned(),
        kind: "bind".to_owned(),
        source: path.display().to_string(),
        options: vec!["rbind".to_owned(), "rprivate".to_owned()],
    }
}

fn user_mount(mount: &Resolved, recursive_read_only: bool) -> Result<Mount, Error> {
    let bind = |path: &Path| {
        Ok(Mount {
            destination: mount.target.clone(),
            kind: "bind".to_owned(),
            source: path.display().to_string(),
            options: bind_options(mount, recursive_read_only)?,
        })
    };
    match &mount.source {
        Source::Bind { path, .. } => bind(path),
        Source::Volume { data, subpath, .. } => bind(&data.join(subpath)),
        Source::Tmpfs { options } => Ok(Mount {
            destination: mount.target.clone(),
            kind: "tmpfs".to_owned(),
            source: "tmpfs".to_owned(),
            options: tmpfs::options(options)?,
        }),
        Source::Image { lower, .. } if lower.len() == 1 => bind(&lower[0]),
        Source::Image { lower, .. } => Ok(image(mount, lower)),
    }
}

/// Overlayfs without an upper layer; it wants at least two lower ones.
fn image(mount: &Resolved, lower: &[std::path::PathBuf]) -> Mount {
    let paths: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
    Mount {
        destination: mount.target.clone(),
        kind: "overlay".to_owned(),
        source: "overlay".to_owned(),
        options: vec!["ro".to_owned(), format!("lowerdir={}", paths.join(":"))],
    }
}

fn bind_options(mount: &Resolved, recursive_read_only: bool) -> Result<Vec<String>, Error> {
    let mut options = vec![if mount.non_recursive { "bind" } else { "rbind" }];
    if !mount.writable {
        options.push(match (mount.read_only_depth, recursive_read_only) {
            (ReadOnlyDepth::Top, _) | (ReadOnlyDepth::Possible, false) => "ro",
            (ReadOnlyDepth::Possible | ReadOnlyDepth::Forced, true) => "rro",
            (ReadOnlyDepth::Forced, false) => {
                return Err(Error::RecursiveReadOnly { target: mount.target.clone() });
            }
        });
    }
    // A volume without a wish is private as well: nothing of it may spread to the host.
    options.push(mount.propagation.unwrap_or(Propagation::RPrivate).as_str());
    Ok(options.into_iter().map(str::to_owned).collect())
}

/// How changes of mounts pass between the host's root and the container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Root {
    Private,
    Slave,
    Shared,
}

impl Root {
    fn needed(mount: &Resolved) -> Self {
        match mount.propagation {
            Some(Propagation::Shared | Propagation::RShared) => Self::Shared,
            Some(Propagation::Slave | Propagation::RSlave) => Self::Slave,
            Some(Propagation::Private | Propagation::RPrivate) | None => Self::Private,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Private => "",
            Self::Slave => "rslave",
            Self::Shared => "shared",
        }
    }
}
