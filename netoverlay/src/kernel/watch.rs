//! Tells when somebody else changes our table, or rules of their own.

use std::collections::BTreeSet;
use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::nft::{self, Touched};
use super::socket::{Error, Protocol, Socket};

/// The multicast groups of links, and of neighbour and forwarding entries.
const ROUTE_GROUPS: [i32; 2] = [1, 3];
/// The multicast group of nf_tables.
const GROUP: i32 = 7;

/// A subscription to changes of nftables tables.
#[derive(Debug)]
pub struct Watch {
    socket: AsyncFd<Socket>,
    tables: Vec<String>,
}

impl Watch {
    /// Subscribes `socket`, and with it the namespace it was opened in.
    ///
    /// # Errors
    /// The operating system's.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(socket: Socket, tables: Vec<String>) -> io::Result<Self> {
        socket.join(GROUP)?;
        let socket = watched(socket)?;
        Ok(Self { socket, tables })
    }

    /// Opens a socket for [`Watch::new`] in the calling thread's namespace.
    ///
    /// # Errors
    /// The operating system's.
    pub fn socket() -> io::Result<Socket> {
        Socket::open(Protocol::Netfilter)
    }

    /// Waits for changes by anybody whose socket is not among `own`, or until notifications were lost. Answers
    /// what they were about: our table, or rules of others only.
    ///
    /// # Errors
    /// The operating system's.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change that was not yet read.
    pub async fn changed(&self, own: &BTreeSet<u32>) -> Result<Touched, Error> {
        loop {
            let mut ready = self.socket.readable().await.map_err(Error::Socket)?;
            match self.socket.get_ref().notifications() {
                Ok(Some(replies)) => {
                    let by_others = replies.iter().filter(|reply| !own.contains(&reply.port));
                    let touched = by_others.filter_map(|reply| nft::touched(reply, &self.tables));
                    if let Some(touched) = touched.max() {
                        return Ok(touched);
                    }
                }
                Ok(None) => return Ok(Touched::Own),
                Err(error) if error.errno() == Some(libc::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A subscription to changes of links and of neighbour and forwarding entries.
#[derive(Debug)]
pub struct RouteWatch {
    socket: AsyncFd<Socket>,
}

impl RouteWatch {
    /// Subscribes `socket`, and with it the namespace it was opened in.
    ///
    /// # Errors
    /// The operating system's.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(socket: Socket) -> io::Result<Self> {
        ROUTE_GROUPS.iter().try_for_each(|group| socket.join(*group))?;
        Ok(Self { socket: watched(socket)? })
    }

    /// Opens a socket for [`RouteWatch::new`] in the calling thread's namespace.
    ///
    /// # Errors
    /// The operating system's.
    pub fn socket() -> io::Result<Socket> {
        Socket::open(Protocol::Route)
    }

    /// Waits for changes by anybody, or until notifications were lost; takes all that are there.
    ///
    /// # Errors
    /// The operating system's.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change that was not yet read.
    pub async fn changed(&self) -> Result<(), Error> {
        let mut changed = false;
        loop {
            if changed {
                // All that is there already is one change.
                match self.socket.get_ref().notifications() {
                    Ok(_) => continue,
                    Err(error) if error.errno() == Some(libc::EAGAIN) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            let mut ready = self.socket.readable().await.map_err(Error::Socket)?;
            match self.socket.get_ref().notifications() {
                Ok(_) => changed = true,
                Err(error) if error.errno() == Some(libc::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }
}

fn watched(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    socket.set_nonblocking()?;
    // SAFETY: the socket owns its descriptor, never exchanges it, and answers the same one until it is
    // dropped, which is after the registration.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
}
