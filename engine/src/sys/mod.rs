//! What the kernel tells only through calls that have no safe wrapper. Effects.
#![allow(
    unsafe_code,
    reason = "the request number of an ioctl and the type it fills belong together"
)]

use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Getter, Opcode};

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
