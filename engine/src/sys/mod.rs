//! What the kernel tells only through calls that have no safe wrapper. Effects.
#![allow(
    unsafe_code,
    reason = "an ioctl's number and type belong together; the allocator's switches and unshare have no safe API"
)]

mod own_mounts;
mod text;

use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Getter, Opcode};

pub use own_mounts::{is_in_chroot, with_own_mounts};
pub use text::release_text;

/// `SIOCOUTQ`, which terminals call `TIOCOUTQ`: the same number on every architecture we build for.
const OUTPUT_QUEUED: Opcode = 0x5411;

/// The bytes (as the kernel accounts them) that were written to a unix socket and not read by its peer.
///
/// # Errors
/// The operating system's; also for what is no socket.
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: this request fills a C `int` and reads nothing.
    let request = unsafe { Getter::<OUTPUT_QUEUED, c_int>::new() };
    // SAFETY: as above; the descriptor is borrowed for the call.
    let queued = unsafe { rustix::ioctl::ioctl(socket, request) }?;
    // A message in the very moment of being freed counts as one.
    Ok(u32::try_from(queued).unwrap_or(0).saturating_sub(1))
}

/// Keeps the heap in one place. The allocator would give threads that allocate at the same time heaps of their
/// own, and what containers that started in parallel keep would hold pages of all of them. To be called before
/// there are threads.
#[cfg(target_env = "gnu")]
pub fn keep_one_heap() {
    // SAFETY: sets a parameter of the allocator, which takes its own lock.
    let known = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    debug_assert_eq!(known, 1, "the parameter is known since glibc 2.10");
}

/// Gives the system back what the heap does not use.
#[cfg(target_env = "gnu")]
pub fn trim_heap() {
    // SAFETY: takes the allocator's own lock and moves nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Other libraries have one heap.
#[cfg(not(target_env = "gnu"))]
pub fn keep_one_heap() {}

/// Other libraries give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn trim_heap() {}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_was_read_is_not_counted() {
        let (mut server, mut client) = UnixStream::pair().unwrap();
        assert_eq!(unread(server.as_fd()).unwrap(), 0);
        server.write_all(b"HTTP/1.1 101").unwrap();
        let queued = unread(server.as_fd()).unwrap();
        assert!(queued >= 12, "{queued}");
        client.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(unread(server.as_fd()).unwrap(), queued, "a message goes as a whole");
        client.read_exact(&mut [0; 8]).unwrap();
        assert_eq!(unread(server.as_fd()).unwrap(), 0);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(unread(file.as_fd()).is_err());
    }
}
