//! A netlink socket: sends batches of requests, collects acknowledgements and dumps.
//!
//! Source: Linux `Documentation/userspace-api/netlink/intro.rst`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// Length of `struct nlmsghdr`.
pub const HEADER_LEN: usize = 16;
/// The kernel answers at once or after rtnl contention; longer than this is a defect.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const RECEIVE_LEN: usize = 64 * 1024;
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Flags of `struct nlmsghdr`.
pub mod flag {
    /// It is a request.
    pub const REQUEST: u16 = 0x1;
    /// Answer with an acknowledgement.
    pub const ACK: u16 = 0x4;
    /// The dump was interrupted by a change: it must be repeated.
    pub const DUMP_INTERRUPTED: u16 = 0x10;
    /// Answer with all objects.
    pub const DUMP: u16 = 0x300;
    /// Replace an existing object.
    pub const REPLACE: u16 = 0x100;
    /// Fail when the object exists.
    pub const EXCLUSIVE: u16 = 0x200;
    /// Create the object.
    pub const CREATE: u16 = 0x400;
    /// Put the object at the end of its list.
    pub const APPEND: u16 = 0x800;
}

const DONE: u16 = 3;
const ERROR: u16 = 2;
const NOOP: u16 = 1;

/// The kernel's protocols used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket itself.
    #[error("failed to talk to the kernel over netlink")]
    Socket(#[source] io::Error),
    /// The kernel refused one message of a batch.
    #[error("the kernel refused message {index} of a batch of {count}")]
    Refused {
        /// Which message, from zero.
        index: usize,
        /// Messages in the batch.
        count: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer makes no sense.
    #[error("unexpected netlink answer: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Error {
    /// The kernel's error number, when it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Socket(source) => source.raw_os_error(),
            Self::Malformed { .. } => None,
        }
    }

    /// Which message of the batch was refused.
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Refused { index, .. } => Some(*index),
            Self::Socket(_) | Self::Malformed { .. } => None,
        }
    }
}

/// One message: header, family header and attributes, all encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Type of the message.
    pub kind: u16,
    /// Flags besides `REQUEST` and `ACK`.
    pub flags: u16,
    /// Everything behind the header.
    pub payload: Vec<u8>,
}

/// One message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Type of the message.
    pub kind: u16,
    /// Port of the socket whose request caused it; zero: the kernel itself.
    pub port: u32,
    /// Everything behind the header.
    pub payload: Vec<u8>,
}

/// A socket, bound for good to the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
}

/// Who is to acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// Every message: each is processed even when one before it failed.
    Each,
    /// Only the message at this index: for transactions, where one failure undoes all.
    At(usize),
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(protocol: Protocol) -> io::Result<Self> {
        let number = match protocol {
            Protocol::Route => libc::NETLINK_ROUTE,
            Protocol::Netfilter => libc::NETLINK_NETFILTER,
        };
        let number = u32::try_from(number).ok().and_then(std::num::NonZeroU32::new);
        let descriptor = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            number.map(rustix::net::Protocol::from_raw),
        )?;
        sockopt::set_socket_timeout(&descriptor, sockopt::Timeout::Recv, Some(ANSWER_LIMIT))?;
        sockopt::set_socket_send_buffer_size_force(&descriptor, BUFFER_BYTES)?;
        sockopt::set_socket_recv_buffer_size_force(&descriptor, BUFFER_BYTES)?;
        let socket = Self { descriptor, sequence: 1 };
        socket.bind()?;
        // Acknowledgements then carry the request's header only, not the whole request.
        socket.set_option(libc::NETLINK_CAP_ACK, 1)?;
        Ok(socket)
    }

    /// Joins a multicast group, to be told of changes.
    ///
    /// # Errors
    /// The operating system's.
    pub fn join(&self, group: i32) -> io::Result<()> {
        self.set_option(libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// From now on receiving does not wait.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.descriptor, true)?)
    }

    /// The port by which the kernel names this socket in notifications of what it changed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn port(&self) -> io::Result<u32> {
        // SAFETY: all bytes of the struct may be zero.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        let mut length = libc::socklen_t::try_from(size_of_val(&address)).expect("a small struct");
        // SAFETY: the descriptor is open; address and length live until the call returns, and the length
        // is that of the address.
        let code = unsafe {
            libc::getsockname(
                self.descriptor.as_raw_fd(),
                (&raw mut address).cast(),
                &raw mut length,
            )
        };
        if code == 0 { Ok(address.nl_pid) } else { Err(io::Error::last_os_error()) }
    }

    fn bind(&self) -> io::Result<()> {
        // SAFETY: all bytes of the struct may be zero.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = u16::try_from(libc::AF_NETLINK).expect("families are small");
        let length = libc::socklen_t::try_from(size_of_val(&address)).expect("a small struct");
        // SAFETY: the descriptor is open; the address lives until the call returns and its length is given.
        let code =
            unsafe { libc::bind(self.descriptor.as_raw_fd(), (&raw const address).cast(), length) };
        if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn set_option(&self, option: i32, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the descriptor is open, `value` lives until the call returns and its size is given.
        let code = unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const value).cast(),
                libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("four fits"),
            )
        };
        if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends all messages in one datagram and waits for what was asked to be acknowledged.
    ///
    /// # Errors
    /// The first message that the kernel refused.
    pub fn transact(
        &mut self,
        messages: &[Message],
        acknowledge: Acknowledge,
    ) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let first = self.take_sequence(messages.len());
        let mut datagram = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let ack = match acknowledge {
                Acknowledge::Each => true,
                Acknowledge::At(wanted) => wanted == index,
            };
            let flags = message.flags | flag::REQUEST | if ack { flag::ACK } else { 0 };
            encode(&mut datagram, message, flags, first.wrapping_add(small(index)));
        }
        self.send(&datagram)?;
        let last = match acknowledge {
            Acknowledge::Each => messages.len() - 1,
            Acknowledge::At(index) => index,
        };
        self.collect_acknowledgements(first, messages.len(), last)
    }

    fn collect_acknowledgements(&self, first: u32, count: usize, last: usize) -> Result<(), Error> {
        let mut refused = None;
        let mut buffer = vec![0; RECEIVE_LEN];
        loop {
            let length = self.receive(&mut buffer)?;
            for frame in frames(&buffer[..length]) {
                let frame = frame?;
                let index = frame.sequence.wrapping_sub(first) as usize;
                if index >= count || frame.kind != ERROR {
                    continue; // A late answer to a request that was given up.
                }
                if let Some(source) = errno_of(frame.payload)? {
                    refused.get_or_insert(Error::Refused { index, count, source });
                    // A transaction that cannot go on is refused as a whole, on its first message.
                    if index == 0 && last != 0 && count > 1 && is_batch_begin(frame.payload) {
                        return refused.map_or(Ok(()), Err);
                    }
                }
                if index == last {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Asks for one object.
    ///
    /// # Errors
    /// The kernel's refusal, for instance because there is none.
    pub fn ask(&mut self, message: &Message) -> Result<Reply, Error> {
        let sequence = self.take_sequence(1);
        let mut datagram = Vec::new();
        encode(&mut datagram, message, message.flags | flag::REQUEST, sequence);
        self.send(&datagram)?;
        let mut buffer = vec![0; RECEIVE_LEN];
        loop {
            let length = self.receive(&mut buffer)?;
            for frame in frames(&buffer[..length]) {
                let frame = frame?;
                if frame.sequence != sequence {
                    continue;
                }
                if frame.kind != ERROR {
                    return Ok(frame.reply());
                }
                let source = errno_of(frame.payload)?;
                let source = source.unwrap_or_else(|| io::ErrorKind::Other.into());
                return Err(Error::Refused { index: 0, count: 1, source });
            }
        }
    }

    /// Asks for all objects; repeats when the kernel says that they changed meanwhile.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn dump(&mut self, message: &Message) -> Result<Vec<Reply>, Error> {
        loop {
            let sequence = self.take_sequence(1);
            let mut datagram = Vec::new();
            encode(&mut datagram, message, message.flags | flag::REQUEST | flag::DUMP, sequence);
            self.send(&datagram)?;
            if let Some(replies) = self.collect_dump(sequence)? {
                return Ok(replies);
            }
        }
    }

    fn collect_dump(&self, sequence: u32) -> Result<Option<Vec<Reply>>, Error> {
        let mut replies = Vec::new();
        let mut interrupted = false;
        let mut buffer = vec![0; RECEIVE_LEN];
        loop {
            let length = self.receive(&mut buffer)?;
            for frame in frames(&buffer[..length]) {
                let frame = frame?;
                if frame.sequence != sequence {
                    continue;
                }
                interrupted |= frame.flags & flag::DUMP_INTERRUPTED != 0;
                match frame.kind {
                    DONE => return Ok((!interrupted).then_some(replies)),
                    ERROR => {
                        let source = errno_of(frame.payload)?;
                        let source = source.unwrap_or_else(|| io::ErrorKind::Other.into());
                        return Err(Error::Refused { index: 0, count: 1, source });
                    }
                    NOOP => {}
                    _ => replies.push(frame.reply()),
                }
            }
        }
    }

    /// Waits for the next notifications of a joined group. `None`: some were lost.
    ///
    /// # Errors
    /// The operating system's; `WouldBlock` after twenty silent seconds.
    pub fn notifications(&self) -> Result<Option<Vec<Reply>>, Error> {
        let mut buffer = vec![0; RECEIVE_LEN];
        match self.receive(&mut buffer) {
            Ok(length) => frames(&buffer[..length])
                .map(|frame| frame.map(|frame| frame.reply()))
                .collect::<Result<Vec<_>, _>>()
                .map(Some),
            Err(error) if error.errno() == Some(libc::ENOBUFS) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take_sequence(&mut self, count: usize) -> u32 {
        let first = self.sequence;
        self.sequence = first.wrapping_add(small(count));
        first
    }

    fn send(&self, datagram: &[u8]) -> Result<(), Error> {
        let sent = retry(|| rustix::net::send(&self.descriptor, datagram, SendFlags::empty()))?;
        if sent == datagram.len() { Ok(()) } else { Err(Error::Malformed { what: "short send" }) }
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        let (_, length) =
            retry(|| rustix::net::recv(&self.descriptor, &mut *buffer, RecvFlags::TRUNC))?;
        if length > buffer.len() {
            return Err(Error::Malformed { what: "datagram longer than the buffer" });
        }
        Ok(length)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Result<T, Error> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(|errno| Error::Socket(errno.into())),
        }
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("a batch has fewer than 2^32 messages")
}

fn encode(out: &mut Vec<u8>, message: &Message, flags: u16, sequence: u32) {
    let length = small(HEADER_LEN + message.payload.len());
    out.extend(length.to_ne_bytes());
    out.extend(message.kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    out.extend(&message.payload);
    out.resize(out.len().next_multiple_of(4), 0);
}

struct Frame<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    payload: &'a [u8],
}

impl Frame<'_> {
    fn reply(&self) -> Reply {
        Reply { kind: self.kind, port: self.port, payload: self.payload.to_vec() }
    }
}

fn frames(mut bytes: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, Error>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let Some(length) = u32_at(bytes, 0).map(|length| length as usize) else {
            bytes = &[];
            return Some(Err(Error::Malformed { what: "short header" }));
        };
        if length < HEADER_LEN || length > bytes.len() {
            bytes = &[];
            return Some(Err(Error::Malformed { what: "length beyond the datagram" }));
        }
        let frame = Frame {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            sequence: u32_at(bytes, 8).unwrap_or_default(),
            port: u32_at(bytes, 12).unwrap_or_default(),
            payload: &bytes[HEADER_LEN..length],
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(frame))
    })
}

/// `None`: success.
fn errno_of(payload: &[u8]) -> Result<Option<io::Error>, Error> {
    let code = u32_at(payload, 0).ok_or(Error::Malformed { what: "short acknowledgement" })?;
    let code = i32::from_ne_bytes(code.to_ne_bytes());
    Ok((code != 0).then(|| io::Error::from_raw_os_error(-code)))
}

/// Whether the message an acknowledgement is about begins an nf_tables transaction.
fn is_batch_begin(payload: &[u8]) -> bool {
    payload.get(8..10).is_some_and(|kind| kind == 0x10_u16.to_ne_bytes())
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}
