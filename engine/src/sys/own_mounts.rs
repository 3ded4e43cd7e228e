//! Work with mounts that nobody else sees, and the root that mounts have.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::mount::MountPropagationFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Runs `job` on a throw-away thread with a mount namespace of its own: what it mounts ends with it, also when the
/// process dies.
///
/// # Errors
/// When there can be no such thread or namespace.
pub fn with_own_mounts<T: Send>(job: impl FnOnce() -> T + Send) -> io::Result<T> {
    let work = || -> io::Result<T> {
        // SAFETY: only the mount namespace and what `CLONE_FS` implies (root, working directory, umask) are left;
        // no memory or descriptor of the process depends on them, and the thread ends with this job.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private)?;
        Ok(job())
    };
    on_a_thread(work)
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("mounts".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether `/` is something else than the root of the mount namespace. Who joins the namespace of a container that was made
/// there is beneath the namespace's root, not beneath the container's.
///
/// # Errors
/// When `/proc` is not there, or the caller is not privileged.
pub fn is_in_chroot() -> io::Result<bool> {
    let root = || -> io::Result<_> {
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let found = rustix::fs::statx(CWD, "/", AtFlags::empty(), wanted)?;
        Ok((found.stx_dev_major, found.stx_dev_minor, found.stx_ino, found.stx_mnt_id))
    };
    on_a_thread(move || {
        let own = root()?;
        let namespace = File::open("/proc/thread-self/ns/mnt")?;
        // SAFETY: only the root, the working directory and the umask of this thread become its own; it ends here.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
        // Whoever joins a mount namespace, be it the one where he is, gets its root.
        let kind = Some(LinkNameSpaceType::Mount);
        rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)?;
        Ok(root()? != own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers from within a directory that something of this machine was bound to, as its root.
    fn in_root(bound: &str) -> io::Result<bool> {
        let directory = tempfile::tempdir()?;
        with_own_mounts(|| {
            rustix::mount::mount_bind_recursive(bound, directory.path())?;
            rustix::mount::mount_bind_recursive("/proc", directory.path().join("proc"))?;
            rustix::process::chroot(directory.path())?;
            rustix::process::chdir("/")?;
            is_in_chroot()
        })?
    }

    #[test]
    fn a_chroot_is_told_from_a_root() {
        assert!(!is_in_chroot().unwrap());
        assert!(!with_own_mounts(is_in_chroot).unwrap().unwrap());
        // The same files by another mount.
        assert!(in_root("/").unwrap());
    }
}
