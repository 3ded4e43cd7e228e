//! The `/dev/shm` that containers share: of `--ipc shareable`, and of those that join it.
//!
//! A mount in one container's namespace cannot be bound into another's, so this one is on the host, as
//! in docker, and only for containers that ask to share. All others have theirs inside.
//!
//! Source: moby `daemon/container_operations_unix.go setupIPCDirs`.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::Error;

/// Mounts a tmpfs of `bytes` at `directory`, which is made when it is missing. One that a crash left is
/// replaced. Blocks.
///
/// # Errors
/// When it cannot be mounted; then nothing is.
pub fn attach(directory: &Path, bytes: i64) -> Result<(), Error> {
    detach(directory)?;
    let failed = |source: io::Error| Error::SharedMemory { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(failed)?;
    let options = std::ffi::CString::new(format!("mode=1777,size={bytes}"))
        .expect("numbers have no zero bytes");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("shm", directory, "tmpfs", flags, Some(options.as_c_str()))
        .map_err(|error| failed(error.into()))?;
    let private = MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change(directory, private).map_err(|error| {
        // Half a mount is none.
        let _ = rustix::mount::unmount(directory, UnmountFlags::DETACH);
        failed(error.into())
    })
}

/// Unmounts it, and removes the directory. What is not there is fine. Blocks.
///
/// # Errors
/// When it cannot be unmounted.
pub fn detach(directory: &Path) -> Result<(), Error> {
    use rustix::io::Errno;
    let failed = |source: io::Error| Error::SharedMemory { path: directory.to_owned(), source };
    loop {
        match rustix::mount::unmount(directory, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {} // perhaps there is another beneath
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(error) => return Err(failed(error.into())),
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attaching_twice_and_detaching_twice_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shm");
        let mounted = || {
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
            table.lines().filter(|line| line.contains(path.to_str().unwrap())).count()
        };
        attach(&path, 1 << 20).unwrap();
        fs::write(path.join("x"), "").unwrap();
        attach(&path, 1 << 20).unwrap();
        assert_eq!((mounted(), path.join("x").exists()), (1, false));
        assert_eq!(rustix::fs::statvfs(&path).unwrap().f_blocks * 4096, 1 << 20);
        detach(&path).unwrap();
        detach(&path).unwrap();
        assert_eq!((mounted(), path.exists()), (0, false));
    }
}
