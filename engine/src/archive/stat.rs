//! What a path in a container is.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat};
use shoal_model::Timestamp;

use super::{Error, Wanted};
use crate::beneath;

/// Header `X-Docker-Container-Path-Stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Last component.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Bits of Go's `os.FileMode`, which are not the kernel's.
    pub mode: u32,
    /// Modification.
    pub mtime: Timestamp,
    /// Of a link: the path in the container that it leads to in the end. Else empty.
    pub link_target: String,
}

/// Says what `path` is, the last component not followed.
///
/// # Errors
/// When it does not exist.
pub fn stat(root: BorrowedFd<'_>, path: &str) -> Result<PathStat, Error> {
    let wanted = Wanted::parse(path);
    let (_, meta) = open(root, &wanted)?;
    let link = FileType::from_raw_mode(meta.st_mode).is_symlink();
    let link_target = if link { final_target(root, &wanted)? } else { String::new() };
    Ok(describe(&wanted, &meta, link_target))
}

pub(super) fn describe(wanted: &Wanted, meta: &Stat, link_target: String) -> PathStat {
    let nanos = i64::try_from(meta.st_mtime_nsec).unwrap_or(0);
    PathStat {
        name: wanted.base().to_owned(),
        size: meta.st_size,
        mode: go_mode(meta.st_mode),
        mtime: Timestamp::from_parts(meta.st_mtime, nanos),
        link_target,
    }
}

/// A handle (`O_PATH`) of what is meant.
pub(super) fn open(root: BorrowedFd<'_>, wanted: &Wanted) -> Result<(OwnedFd, Stat), Error> {
    let text = wanted.text();
    let follow = if wanted.follow { OFlags::DIRECTORY } else { OFlags::NOFOLLOW };
    let opened = beneath::open_in(root, Path::new(&text), OFlags::PATH | follow)
        .map_err(|source| Error::access(&text, source))?;
    let meta = rustix::fs::fstat(&opened).map_err(|error| Error::access(&text, error.into()))?;
    Ok((opened, meta))
}

/// Resolves all links in `wanted`, for display only: nothing is opened by the answer. What does not
/// exist stays as it is written.
fn final_target(root: BorrowedFd<'_>, wanted: &Wanted) -> Result<String, Error> {
    /// As many as the kernel follows.
    const LINKS_MAX: usize = 40;
    let mut todo: Vec<String> = wanted.parts.iter().rev().cloned().collect();
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(part) = todo.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        let text = format!("/{}", done.join("/"));
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let Ok(entry) = beneath::open_in(root, Path::new(&text), flags) else { continue };
        let Ok(target) = rustix::fs::readlinkat(&entry, c"", Vec::new()) else { continue };
        links += 1;
        if links > LINKS_MAX {
            let source = rustix::io::Errno::LOOP.into();
            return Err(Error::Access { path: wanted.text(), source });
        }
        let target = target.to_string_lossy().into_owned();
        done.pop();
        if target.starts_with('/') {
            done.clear();
        }
        todo.extend(target.split('/').rev().map(str::to_owned));
    }
    Ok(format!("/{}", done.join("/")))
}

/// Go's bits for the kernel's.
pub(super) fn go_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        FileType::RegularFile => 0,
        _ => 1 << 19,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.into_iter().filter(|(bit, _)| mode & bit != 0);
    special.fold(kind | (mode & 0o777), |bits, (_, go)| bits | go)
}
