//! A small blocking client: for tests, tools, and the passing of file descriptors. Effects.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::frame::{self, Decoder};
use crate::message::{Event, Failure, Request, Response};

/// Most file descriptors in one frame (the kernel's limit is 253).
pub const FDS_MAX: usize = 64;

/// Why a call had no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket.
    #[error("failed to talk to the shim")]
    Io(#[from] std::io::Error),
    /// The frames.
    #[error("failed to understand the shim")]
    Frame(#[from] frame::Error),
    /// The shim's answer.
    #[error("the shim refused")]
    Refused(#[source] Failure),
}

/// A connection to a shim.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    decoder: Decoder,
    fds: Vec<OwnedFd>,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        Ok(Self::new(UnixStream::connect(path)?))
    }

    /// Takes a connected socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, decoder: Decoder::default(), fds: Vec::new() }
    }

    /// Sends a request and waits for its answer; [`Response::Failed`] is an error.
    ///
    /// # Errors
    /// When the connection fails or the shim refuses.
    pub fn call(&mut self, request: &Request) -> Result<Response, Error> {
        self.call_with_fds(request, &[])
    }

    /// As [`Self::call`], with file descriptors.
    ///
    /// # Errors
    /// When the connection fails or the shim refuses.
    pub fn call_with_fds(
        &mut self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Response, Error> {
        let bytes = frame::encode(request)?;
        let sent = send_with_fds(&self.socket, &bytes, fds)?;
        self.socket.write_all(&bytes[sent..])?;
        match frame::decode(&self.receive()?)? {
            Response::Failed(failure) => Err(Error::Refused(failure)),
            response => Ok(response),
        }
    }

    /// File descriptors that came with the frames received so far.
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    /// Waits for the next event of a subscription.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn next_event(&mut self) -> Result<Event, Error> {
        Ok(frame::decode(&self.receive()?)?)
    }

    /// Gives the stream after an upgrade, and what of it was received already.
    pub fn into_stream(self) -> (UnixStream, Vec<u8>) {
        (self.socket, self.decoder.into_rest())
    }

    /// Gives everything the stream carries until its end.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn read_to_end(self) -> Result<Vec<u8>, Error> {
        let (mut socket, mut bytes) = self.into_stream();
        socket.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn receive(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            if let Some(body) = self.decoder.next_frame()? {
                return Ok(body);
            }
            let mut buffer = [0; 16 << 10];
            let count = receive_with_fds(&self.socket, &mut buffer, &mut self.fds)?;
            if count == 0 {
                return Err(Error::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.decoder.push(&buffer[..count]);
        }
    }
}

/// Sends bytes and file descriptors in one message; gives the number of bytes sent.
///
/// # Errors
/// When the socket fails or there are more than [`FDS_MAX`] descriptors.
pub fn send_with_fds(
    socket: impl std::os::fd::AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> std::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(rustix::io::Errno::TOOBIG.into());
    }
    let parts = [IoSlice::new(bytes)];
    let sent = rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(sent)
}

/// Receives bytes, and adds the file descriptors that came with them to `fds`.
///
/// # Errors
/// When the socket fails.
pub fn receive_with_fds(
    socket: impl std::os::fd::AsFd,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> std::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let received =
        rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(received.bytes)
}
