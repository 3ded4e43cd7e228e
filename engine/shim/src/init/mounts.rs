//! The mounts of the runtime spec, each made beneath the container's root. Effects.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags};
use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::mount_options::{self, Options, RDONLY};
use shoal_shim_protocol::spec::Mount;

use super::fsroot::{FsRoot, Kind, proc_path};
use crate::cgroup::Cgroups;
use crate::failure::{Context, Result, failure};
use crate::sys::{self, Recursive};

/// Makes one mount. `/dev` stays writable until the devices are made; see [`wants_late_readonly`].
pub(crate) fn make(
    root: &FsRoot,
    bundle: &Path,
    mount: &Mount,
    cgroups: Option<&Cgroups>,
    own_cgroup: bool,
) -> Result<()> {
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        let message = format!("mount `{}`: id mappings are not served", mount.destination);
        return Err(failure(FailureKind::NotImplemented, message));
    }
    let options = parse(&mount.options)?;
    match mount.kind.as_deref() {
        _ if options.bind => bind(root, bundle, mount, &options),
        Some("bind") => bind(root, bundle, mount, &options),
        Some("cgroup") => cgroup(root, mount, &options, cgroups, own_cgroup),
        Some("cgroup2") | None => {
            let message = format!("mount `{}`: type is missing or unknown", mount.destination);
            Err(failure(FailureKind::InvalidArgument, message))
        }
        Some(kind) => filesystem(root, mount, kind, &options),
    }
}

fn parse(words: &[String]) -> Result<Options> {
    mount_options::parse(words)
        .map_err(|error| failure(FailureKind::NotImplemented, error.to_string()))
}

/// Whether a mount is made read-only only after the devices were made in it.
pub(crate) fn wants_late_readonly(mount: &Mount) -> bool {
    mount.destination.trim_end_matches('/') == "/dev"
        && mount.kind.as_deref() == Some("tmpfs")
        && mount.options.iter().any(|option| option == "ro")
}

fn bind(root: &FsRoot, bundle: &Path, mount: &Mount, options: &Options) -> Result<()> {
    let failed = || {
        let source = mount.source.as_deref().unwrap_or_default();
        format!("bind `{source}` to `{}` in the container", mount.destination)
    };
    let source = bundle.join(mount.source.as_deref().unwrap_or_default());
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if options.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(CWD, &source, flags).failing(FailureKind::Mount, failed)?;
    let set = |recursive, set: u64, clear: u64, propagation| {
        if set | clear | propagation == 0 {
            return Ok(());
        }
        sys::mount_setattr(
            tree.as_fd(),
            recursive,
            set,
            clear & !set | atime(set, clear),
            propagation,
        )
        .failing(FailureKind::Mount, failed)
    };
    set(Recursive::No, options.set, options.clear, 0)?;
    set(Recursive::Yes, options.set_all, options.clear_all, 0)?;
    let propagation = if options.propagation == 0 { libc::MS_PRIVATE } else { options.propagation };
    let all = options.propagation == 0 || options.propagation_all;
    set(if all { Recursive::Yes } else { Recursive::No }, 0, 0, propagation)?;
    let metadata = rustix::fs::statat(&tree, "", rustix::fs::AtFlags::EMPTY_PATH)
        .failing(FailureKind::Mount, failed)?;
    let directory = rustix::fs::FileType::from_raw_mode(metadata.st_mode).is_dir();
    let kind = if directory { Kind::Directory } else { Kind::File };
    let target = root.ensure(&mount.destination, kind)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", &target, "", flags).failing(FailureKind::Mount, failed)
}

/// The kernel wants the whole group of access-time bits cleared when one of them changes.
fn atime(set: u64, clear: u64) -> u64 {
    if (set | clear) & 0x70 != 0 { 0x70 } else { 0 }
}

fn filesystem(root: &FsRoot, mount: &Mount, kind: &str, options: &Options) -> Result<()> {
    let failed = || format!("mount `{kind}` at `{}` in the container", mount.destination);
    let target = root.ensure(&mount.destination, Kind::Directory)?;
    let late = if wants_late_readonly(mount) { RDONLY } else { 0 };
    let bits = mount_options::mount_flags(options.set & !late) | options.superblock;
    let bits = MountFlags::from_bits_retain(u32::try_from(bits).unwrap_or(0));
    let data = std::ffi::CString::new(options.data.as_str()).map_err(|_| {
        failure(FailureKind::InvalidArgument, format!("options of mount `{}`", mount.destination))
    })?;
    let source = mount.source.as_deref().unwrap_or(kind);
    rustix::mount::mount(source, proc_path(&target), kind, bits, data.as_c_str())
        .failing(FailureKind::Mount, failed)?;
    if options.propagation == 0 {
        return Ok(());
    }
    let made =
        root.open_at(&mount.destination, OFlags::PATH).failing(FailureKind::Mount, failed)?;
    let bits = rustix::mount::MountPropagationFlags::from_bits_retain(
        u32::try_from(options.propagation).unwrap_or(0),
    );
    rustix::mount::mount_change(proc_path(&made), bits).failing(FailureKind::Mount, failed)
}

fn cgroup(
    root: &FsRoot,
    mount: &Mount,
    options: &Options,
    cgroups: Option<&Cgroups>,
    own_cgroup: bool,
) -> Result<()> {
    let Some(cgroups) = cgroups else {
        let message = "a mount of type cgroup needs linux.cgroupsPath";
        return Err(failure(FailureKind::InvalidArgument, message));
    };
    let made = |destination: String, kind: &str, source: &str, words: Vec<String>| Mount {
        destination,
        kind: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        options: words,
        ..Mount::default()
    };
    let words = |more: &[&str]| {
        let mut words = mount.options.clone();
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    };
    let one = |destination: String, directory: &PathBuf, kind: &str, more: &str| {
        if own_cgroup {
            let mount = made(destination, kind, "cgroup", words(&[more]));
            filesystem(root, &mount, kind, &parse(&mount.options)?)
        } else {
            let source = directory.to_string_lossy().into_owned();
            let mount = made(destination, "bind", &source, words(&["bind"]));
            bind(root, Path::new("/"), &mount, &parse(&mount.options)?)
        }
    };
    let Some(hierarchies) = cgroups.hierarchies() else {
        let directories = cgroups.directories();
        let directory = directories.first().ok_or_else(|| {
            failure(FailureKind::NotImplemented, "this host has no cgroup hierarchy")
        })?;
        return one(mount.destination.clone(), directory, "cgroup2", "defaults");
    };
    let base = mount.destination.trim_end_matches('/');
    let writable: Vec<_> =
        ["nosuid", "noexec", "nodev", "mode=755"].iter().map(|word| (*word).to_owned()).collect();
    let tmpfs = made(base.to_owned(), "tmpfs", "tmpfs", writable);
    filesystem(root, &tmpfs, "tmpfs", &parse(&tmpfs.options)?)?;
    for (name, directory) in &hierarchies {
        let controllers = cgroups.mount_options(directory);
        one(format!("{base}/{name}"), directory, "cgroup", &controllers)?;
        if name.contains(',') {
            for alias in name.split(',') {
                let parent = root.ensure(base, Kind::Directory)?;
                rustix::fs::symlinkat(name.as_str(), &parent, alias)
                    .failing(FailureKind::Mount, || format!("link `{base}/{alias}`"))?;
            }
        }
    }
    if options.set & RDONLY != 0 {
        late_readonly(root, base)?;
    }
    Ok(())
}

/// Makes a finished mount read-only.
pub(crate) fn late_readonly(root: &FsRoot, destination: &str) -> Result<()> {
    let failed = || format!("make `{destination}` read-only");
    let made = root.open_at(destination, OFlags::PATH).failing(FailureKind::Mount, failed)?;
    sys::mount_setattr(made.as_fd(), Recursive::No, RDONLY, 0, 0)
        .failing(FailureKind::Mount, failed)
}
