//! Opening paths that somebody else controls: never outside their root, whatever links they plant.
//!
//! Source: openat2(2), `RESOLVE_IN_ROOT`, `RESOLVE_BENEATH`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

/// Opens a directory of ours as a root.
///
/// # Errors
/// The operating system's.
pub fn root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens `path` as a process whose `/` is `root` would: links lead inside only.
///
/// # Errors
/// The operating system's.
pub fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    open_with(root, path, flags, ResolveFlags::IN_ROOT)
}

/// Opens one name in a directory, and never follows it.
///
/// # Errors
/// The operating system's.
pub fn open_entry(directory: BorrowedFd<'_>, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    open_with(directory, name, flags | OFlags::NOFOLLOW, resolve)
}

fn open_with(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = flags | OFlags::CLOEXEC;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // A rename elsewhere raced with the walk; the kernel asks to try again.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Reads a whole small file of somebody else's, at most `limit` bytes; `None` when it is missing.
///
/// # Errors
/// The operating system's; also when it is no regular file or too large.
pub fn read_in(root: BorrowedFd<'_>, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    // Not blocking: it might be a pipe.
    let file = match open_in(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => std::fs::File::from(other?),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(io::Error::other("the file is too large"));
    }
    Ok(Some(bytes))
}

/// The path on the host, without symbolic links, of `path` beneath `root`; it must exist there.
///
/// # Errors
/// The operating system's; leaving the root is an error too.
pub fn real_path(directory: &Path, path: &str) -> io::Result<PathBuf> {
    let root = root(directory)?;
    let opened = open_with(root.as_fd(), Path::new(path), OFlags::PATH, ResolveFlags::BENEATH)?;
    host_path(opened.as_fd())
}

/// Removes `name` from a directory with everything beneath it; never follows a link.
///
/// # Errors
/// The operating system's; what is gone already is fine.
pub fn remove_tree(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&inner)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            remove_tree(inner.as_fd(), entry.file_name())?;
        }
    }
    Ok(rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?)
}

/// Where an open file is on the host now.
///
/// # Errors
/// The operating system's.
pub fn host_path(file: BorrowedFd<'_>) -> io::Result<PathBuf> {
    std::fs::read_link(proc_path(file))
}

/// A path that leads to an open file, also one opened with `O_PATH`.
pub fn proc_path(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_inside_only() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "mine").unwrap();
        symlink("/etc", dir.path().join("absolute")).unwrap();
        symlink("../../../../etc/passwd", dir.path().join("relative")).unwrap();
        let root = root(dir.path()).unwrap();
        for path in ["etc/passwd", "/absolute/passwd", "relative", "../etc/passwd"] {
            let read = read_in(root.as_fd(), Path::new(path), 10).unwrap();
            assert_eq!(read.as_deref(), Some(&b"mine"[..]), "{path}");
        }
        assert_eq!(read_in(root.as_fd(), Path::new("none"), 10).unwrap(), None);
        assert!(read_in(root.as_fd(), Path::new("etc"), 10).is_err());
        assert!(read_in(root.as_fd(), Path::new("etc/passwd"), 3).is_err());
        assert!(open_entry(root.as_fd(), Path::new("absolute"), OFlags::RDONLY).is_err());
        assert!(real_path(dir.path(), "absolute").is_err());
        assert!(real_path(dir.path(), "..").is_err());
    }
}
