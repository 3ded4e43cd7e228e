//! A stopped container's files together with what would be mounted into it, for work that sees both. Blocks.
//!
//! Source: moby `daemon/containerfs_linux.go openContainerFS`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags};

use crate::beneath;
use crate::image_source::RootView;
use crate::mounts::{Resolved, Source};
use crate::sys::with_own_mounts;

/// Runs `job` on a root: `view` with `mounts` in it. `scratch` is any directory; it is covered for nobody but the
/// job.
///
/// # Errors
/// When a mount cannot be made.
pub(crate) fn with_mounts<T: Send>(
    view: &RootView,
    mounts: &[Resolved],
    scratch: &Path,
    job: impl FnOnce(BorrowedFd<'_>) -> T + Send,
) -> io::Result<T> {
    with_own_mounts(|| {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(view.as_fd(), "", CWD, scratch, flags)?;
        let root = beneath::root(scratch)?;
        let mut mounts: Vec<&Resolved> = mounts.iter().collect();
        mounts.sort_by_key(|mount| Path::new(&mount.target).components().count());
        for mount in mounts {
            if let Some(source) = on_host(&mount.source) {
                put(root.as_fd(), &source, mount)?;
            }
        }
        Ok(job(root.as_fd()))
    })?
}

/// What lies on the host while no container runs: not a tmpfs of its own, nor an image of several layers.
fn on_host(source: &Source) -> Option<PathBuf> {
    match source {
        Source::Bind { path, .. } => Some(path.clone()),
        Source::Volume { data, subpath, .. } => Some(data.join(subpath)),
        Source::Image { lower, .. } => lower.first().filter(|_| lower.len() == 1).cloned(),
        Source::Tmpfs { .. } => None,
    }
}

fn put(root: BorrowedFd<'_>, source: &Path, mount: &Resolved) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = match rustix::mount::open_tree(CWD, source, flags) {
        // The next start makes it or says so.
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let meta = rustix::fs::statat(&tree, "", rustix::fs::AtFlags::EMPTY_PATH)?;
    let directory = FileType::from_raw_mode(meta.st_mode).is_dir();
    let target = match ensure(root, Path::new(&mount.target), directory) {
        // Nothing can be there in a view that only reads.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => return Ok(()),
        other => other?,
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&tree, "", &target, "", flags)?;
    if mount.writable {
        return Ok(());
    }
    let made = beneath::open_in(root, Path::new(&mount.target), OFlags::PATH)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    Ok(rustix::mount::mount_remount(beneath::proc_path(made.as_fd()), flags, "")?)
}

/// Opens a mount point, which is made when it is missing.
fn ensure(root: BorrowedFd<'_>, target: &Path, directory: bool) -> io::Result<OwnedFd> {
    match beneath::open_in(root, target, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return beneath::open_in(root, target, OFlags::PATH);
    };
    let parent = ensure(root, parent, true)?;
    if directory {
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
    }
    beneath::open_in(root, target, OFlags::PATH)
}
