//! Network namespaces: made on a throw-away thread, handed out by path.
//!
//! A thread that has left the process's namespace is never used again: it ends with the job.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::socket::{self, Acknowledge, Protocol, Socket};
use super::{link, sysctl};

/// Loopback is the first link of every namespace.
const LOOPBACK: u32 = 1;

/// Parameters of every sandbox. New interfaces get no IPv6 until they have an IPv6 address, need no
/// detection of duplicates, and announce themselves; ports and ping need no privilege, as with docker.
const SANDBOX_SYSCTLS: [(&str, &str); 5] = [
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv4/conf/default/arp_notify", "1"),
    ("ipv4/ip_unprivileged_port_start", "0"),
    ("ipv4/ping_group_range", "0\t2147483647"),
];

/// A namespace could not be made, entered, pinned or let go.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The thread that makes or enters it.
    #[error("failed to start a thread for a network namespace")]
    Thread(#[source] io::Error),
    /// One step of making it.
    #[error("failed to {step} a network namespace")]
    Make {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Its loopback link.
    #[error("failed to bring up the loopback link of a network namespace")]
    Loopback(#[source] socket::Error),
    /// The file that names it.
    #[error("failed to {step} the network namespace at `{path}`")]
    Path {
        /// What was being done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// A namespace with its loopback up, and a socket inside it.
#[derive(Debug)]
pub struct Namespace {
    descriptor: OwnedFd,
    route: Socket,
}

impl Namespace {
    /// Makes a new one.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn create() -> Result<Self, Error> {
        on_own_thread(|| {
            // SAFETY: only the network namespace is left, which no memory or descriptor of the process
            // depends on, and the thread ends with this job.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                .map_err(|errno| Error::Make { step: "create", source: errno.into() })?;
            let mut namespace = Self::current()?;
            for (key, value) in SANDBOX_SYSCTLS {
                sysctl::set(key, value)
                    .map_err(|source| Error::Make { step: "set the parameters of", source })?;
            }
            namespace
                .route
                .transact(&[link::set_up(LOOPBACK)], Acknowledge::Each)
                .map_err(Error::Loopback)?;
            Ok(namespace)
        })
    }

    /// Opens the one at a path.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |step| {
            move |errno: rustix::io::Errno| Error::Path {
                step,
                path: path.to_owned(),
                source: errno.into(),
            }
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(fail("open"))?;
        let route = enter(descriptor.as_fd(), || Socket::open(Protocol::Route))?
            .map_err(|source| Error::Make { step: "open a socket in", source })?;
        Ok(Self { descriptor, route })
    }

    fn current() -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())
            .map_err(|errno| Error::Make { step: "open", source: errno.into() })?;
        let route = Socket::open(Protocol::Route)
            .map_err(|source| Error::Make { step: "open a socket in", source })?;
        Ok(Self { descriptor, route })
    }

    /// The socket for links, addresses and routes inside it.
    pub fn route(&mut self) -> &mut Socket {
        &mut self.route
    }

    /// Keeps it alive at `path` until [`unpin`].
    ///
    /// # Errors
    /// The operating system's; nothing is left then.
    pub fn pin(&self, path: &Path) -> Result<(), Error> {
        let fail =
            |step| move |source: io::Error| Error::Path { step, path: path.to_owned(), source };
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(fail("create the file for"))?;
        let source = format!("/proc/self/fd/{}", raw(self.descriptor.as_fd()));
        rustix::mount::mount_bind(source, path).map_err(|errno| {
            let _ = std::fs::remove_file(path);
            fail("mount")(errno.into())
        })
    }

    /// Runs `job` on a thread inside it.
    ///
    /// # Errors
    /// When the thread cannot enter.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T, Error> {
        enter(self.descriptor.as_fd(), job)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whether a namespace is mounted at `path`.
pub fn is_pinned(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == libc::NSFS_MAGIC)
}

/// Lets go of the namespace at `path` and removes the file; absent is fine.
///
/// # Errors
/// The operating system's.
pub fn unpin(path: &Path) -> Result<(), Error> {
    let fail = |step, source| Error::Path { step, path: path.to_owned(), source };
    while is_pinned(path) {
        rustix::mount::unmount(path, UnmountFlags::DETACH)
            .map_err(|errno| fail("unmount", errno.into()))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fail("remove", error)),
        _ => Ok(()),
    }
}

fn raw(descriptor: BorrowedFd<'_>) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&descriptor)
}

fn enter<T: Send>(namespace: BorrowedFd<'_>, job: impl FnOnce() -> T + Send) -> Result<T, Error> {
    on_own_thread(|| {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(|errno| Error::Make { step: "enter", source: errno.into() })?;
        Ok(job())
    })
}

fn on_own_thread<T: Send>(job: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(128 * 1024)
            .spawn_scoped(scope, job)
            .map_err(Error::Thread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
