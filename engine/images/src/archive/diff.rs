//! `diff`: what a container changed, from its upper directory and a view of the layers below.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use shoal_model::ContainerId;

use super::Error;
use super::tree::{files, is_opaque, sorted_names};
use crate::image::Images;

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How a path differs from the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Docker's 0, `C`.
    Modified,
    /// Docker's 1, `A`.
    Added,
    /// Docker's 2, `D`.
    Deleted,
}

/// One path that differs from the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Absolute path in the container; bytes that are not UTF-8 are replaced.
    pub path: String,
}

impl Images {
    /// Lists what a container changed, sorted by path. Blocks for long.
    ///
    /// # Errors
    /// When the container has no writable layer, or the disk fails.
    pub fn changes(&self, container: &ContainerId) -> Result<Vec<Change>, Error> {
        let layer = self.snapshots().writable(container)?;
        let below = self.snapshots().view_below(container)?;
        let upper = open(rustix::fs::CWD, layer.upper.as_os_str(), b"/")?;
        let below = open(below.as_fd(), OsStr::new("."), b"/")?;
        let mut changes = Vec::new();
        compare(&upper, Some(&below), b"", &mut changes)?;
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(changes)
    }
}

fn open(parent: impl AsFd, name: &OsStr, path: &[u8]) -> Result<OwnedFd, Error> {
    rustix::fs::openat(parent, name, OPEN_DIRECTORY, Mode::empty())
        .map_err(|errno| files(path, errno.into()))
}

/// Compares an upper directory with what lies below it; `None`: nothing shows through.
fn compare(
    upper: &OwnedFd,
    below: Option<&OwnedFd>,
    path: &[u8],
    changes: &mut Vec<Change>,
) -> Result<(), Error> {
    let kind_of = |directory: &OwnedFd, name: &OsStr, path: &[u8]| match rustix::fs::statat(
        directory,
        name,
        AtFlags::SYMLINK_NOFOLLOW,
    ) {
        Ok(stat) => Ok(Some((FileType::from_raw_mode(stat.st_mode), stat.st_rdev))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(files(path, errno.into())),
    };
    for name in sorted_names(upper).map_err(|e| files(path, e))? {
        let child = [path, b"/", name.as_bytes()].concat();
        let Some((kind, device)) = kind_of(upper, &name, &child)? else { continue };
        let was = match below {
            Some(below) => kind_of(below, &name, &child)?.map(|(kind, _)| kind),
            None => None,
        };
        if kind == FileType::CharacterDevice && device == 0 {
            if was.is_some() {
                push(changes, ChangeKind::Deleted, &child);
            }
            continue;
        }
        let change = if was.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        push(changes, change, &child);
        if kind != FileType::Directory {
            continue;
        }
        let inner = open(upper, &name, &child)?;
        let hidden = match (was, below) {
            (Some(FileType::Directory), Some(below)) => Some(open(below, &name, &child)?),
            _ => None,
        };
        if is_opaque(upper, &name) {
            if let Some(hidden) = &hidden {
                deleted(&inner, hidden, &child, changes)?;
            }
            compare(&inner, None, &child, changes)?;
        } else {
            compare(&inner, hidden.as_ref(), &child, changes)?;
        }
    }
    Ok(())
}

/// What an opaque directory hides and does not have itself.
fn deleted(
    upper: &OwnedFd,
    hidden: &OwnedFd,
    path: &[u8],
    changes: &mut Vec<Change>,
) -> Result<(), Error> {
    let there = sorted_names(upper).map_err(|e| files(path, e))?;
    for name in sorted_names(hidden).map_err(|e| files(path, e))? {
        if there.binary_search(&name).is_err() {
            push(changes, ChangeKind::Deleted, &[path, b"/", name.as_bytes()].concat());
        }
    }
    Ok(())
}

fn push(changes: &mut Vec<Change>, kind: ChangeKind, path: &[u8]) {
    changes.push(Change { kind, path: String::from_utf8_lossy(path).into_owned() });
}
