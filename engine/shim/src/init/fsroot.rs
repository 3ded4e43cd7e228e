//! Paths of the container, opened beneath its root: no link of the image leads out. Effects.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use shoal_shim_protocol::message::FailureKind;

use crate::failure::{Context, Result};

/// The root of a container.
#[derive(Debug)]
pub(crate) struct FsRoot(OwnedFd);

/// What a mount point must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

impl FsRoot {
    /// Opens the root.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .doing(|| format!("open root file system `{}`", path.display()))?;
        Ok(Self(fd))
    }

    /// Opens `path` in the container.
    pub(crate) fn open_at(&self, path: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let path = path.trim_start_matches('/');
        let path = if path.is_empty() { "." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Opens a path, or makes it and its parents: a mount point.
    pub(crate) fn ensure(&self, path: &str, kind: Kind) -> Result<OwnedFd> {
        let failed = || format!("make mount point `{path}` in the container");
        match self.open_at(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            result => return result.failing(FailureKind::Mount, failed),
        }
        let mut sofar = PathBuf::from("/");
        let mut directory = self.open_at("/", OFlags::PATH).failing(FailureKind::Mount, failed)?;
        let parts: Vec<_> = Path::new(path)
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .collect();
        for (place, name) in parts.iter().enumerate() {
            sofar.push(name);
            let text = sofar.to_string_lossy();
            directory = match self.open_at(&text, OFlags::PATH) {
                Err(Errno::NOENT) => {
                    if kind == Kind::File && place + 1 == parts.len() {
                        let mode = Mode::from_raw_mode(0o644);
                        let flags =
                            OFlags::CREATE | OFlags::WRONLY | OFlags::EXCL | OFlags::CLOEXEC;
                        rustix::fs::openat(&directory, *name, flags, mode).map(drop)
                    } else {
                        rustix::fs::mkdirat(&directory, *name, Mode::from_raw_mode(0o755))
                    }
                    .failing(FailureKind::Mount, failed)?;
                    self.open_at(&text, OFlags::PATH)
                }
                result => result,
            }
            .failing(FailureKind::Mount, failed)?;
        }
        Ok(directory)
    }
}

/// A path of an open file, for calls that take only paths. Needs the host's `/proc`.
pub(crate) fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
