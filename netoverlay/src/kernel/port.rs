//! Reservation of published ports: a bound socket per port, so that no other program gets it.
//!
//! The socket takes nothing: packets are rewritten before they reach it. While the rules are missing
//! (another program flushed them) a filter drops what arrives, so that a client tries again instead of
//! being refused.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::plan::ports::Protocol;

/// Binds a port of the host in the calling thread's namespace; port zero takes a free one. Answers the
/// socket and where it is bound.
///
/// # Errors
/// `AddrInUse` when the port is taken; `AddrNotAvailable` when the host has no such address.
pub fn reserve(protocol: Protocol, address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, rustix::net::ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, rustix::net::ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, rustix::net::ipproto::SCTP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if !address.is_ipv4() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier owner that linger in TIME_WAIT are no reason to refuse; listening,
        // below, excludes everybody else.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    drop_everything(&socket)?;
    rustix::net::bind(&socket, &address)?;
    if protocol != Protocol::Udp {
        rustix::net::listen(&socket, 1)?;
    }
    let bound = rustix::net::getsockname(&socket)?;
    let bound = SocketAddr::try_from(bound)?;
    Ok((socket, bound))
}

/// Attaches a classic filter of one instruction: accept zero bytes.
fn drop_everything(socket: &OwnedFd) -> io::Result<()> {
    let mut instruction = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut instruction };
    let length = libc::socklen_t::try_from(size_of_val(&program)).expect("a small struct");
    // SAFETY: the descriptor is open; `program` and the one instruction it points to live until the
    // call returns, and the kernel copies both.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Connections that wait to be relayed, for instance while the daemon restarts.
const BACKLOG: i32 = 512;

/// A copy of a reserved socket that takes what arrives, without blocking.
///
/// # Errors
/// The operating system's.
pub fn open(protocol: Protocol, reserved: &OwnedFd) -> io::Result<OwnedFd> {
    let socket = reserved.try_clone()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    let unused: libc::c_int = 0;
    // SAFETY: the descriptor is open; the kernel reads no more than the given size, and nothing of it.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DETACH_FILTER,
            (&raw const unused).cast(),
            libc::socklen_t::try_from(size_of_val(&unused)).expect("a small number"),
        )
    };
    if code != 0 {
        let error = io::Error::last_os_error();
        // The filter was taken off by an earlier daemon.
        if error.raw_os_error() != Some(libc::ENOENT) {
            return Err(error);
        }
    }
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
