//! Work with mounts that nobody else sees.

use std::io;

use rustix::mount::MountPropagationFlags;
use rustix::thread::UnshareFlags;

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
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("mounts".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
