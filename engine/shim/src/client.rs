//! One connection of the engine: requests in, responses, streams, events out. Effects.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use shoal_shim_protocol::client::{receive_with_fds, send_with_fds};
use shoal_shim_protocol::frame::{self, Decoder};
use shoal_shim_protocol::message::{self, Event, Request, Response};
use shoal_shim_protocol::stdcopy::{self, Stream};

use crate::sys;

/// Output queued for one client beyond which its process's output is not read (as docker: the process
/// then blocks in its write).
pub(crate) const QUEUE_BYTES_MAX: usize = 256 << 10;
/// A client with a full queue that takes nothing for so long is dropped, so that it cannot block the
/// container for ever. Differs from docker, which waits.
pub(crate) const STALL_MS_MAX: i64 = 60_000;

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Requests,
    Attached { exec: Option<String>, streams: message::Streams, tty: bool, input_open: bool },
    Subscribed,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: UnixStream,
    decoder: Decoder,
    queue: Vec<u8>,
    queue_fds: Vec<OwnedFd>,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) mode: Mode,
    /// Close when the queue is empty.
    pub(crate) closing: bool,
    pub(crate) gone: bool,
    progress_ms: i64,
}

impl Client {
    pub(crate) fn new(socket: UnixStream) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            decoder: Decoder::default(),
            queue: Vec::new(),
            queue_fds: Vec::new(),
            fds: Vec::new(),
            mode: Mode::Requests,
            closing: false,
            gone: false,
            progress_ms: sys::monotonic_ms(),
        })
    }

    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= QUEUE_BYTES_MAX
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.is_full() && sys::monotonic_ms() - self.progress_ms > STALL_MS_MAX
    }

    /// Reads bytes in request mode; frames are taken with [`Self::next_request`].
    pub(crate) fn receive(&mut self) {
        let mut buffer = [0; 8192];
        match receive_with_fds(&self.socket, &mut buffer, &mut self.fds) {
            Ok(0) => self.gone = true,
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error) if is_temporary(&error) => {}
            Err(_) => self.gone = true,
        }
    }

    /// The next whole request. A malformed one ends the connection, after an answer.
    pub(crate) fn next_request(&mut self) -> Option<Result<Request, frame::Error>> {
        if self.mode != Mode::Requests || self.closing {
            return None;
        }
        let body = self.decoder.next_frame().transpose()?;
        let request = body.and_then(|body| frame::decode(&body));
        self.closing = request.is_err();
        Some(request)
    }

    /// Bytes after the upgrade that came with the last request.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.decoder).into_rest()
    }

    /// Reads stream bytes. `None`: the client will send no more.
    pub(crate) fn read_stream(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.socket.read(buffer) {
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(error) if is_temporary(&error) => Some(0),
            Err(_) => {
                self.gone = true;
                None
            }
        }
    }

    pub(crate) fn respond(&mut self, response: &Response, fds: Vec<OwnedFd>) {
        match frame::encode(response) {
            Ok(bytes) => self.queue_frame(&bytes, fds),
            Err(_) => self.gone = true,
        }
    }

    pub(crate) fn notify(&mut self, event: &Event) {
        if self.mode == Mode::Subscribed && !self.is_full() {
            match frame::encode(event) {
                Ok(bytes) => self.queue_frame(&bytes, Vec::new()),
                Err(_) => self.gone = true,
            }
        } else if self.mode == Mode::Subscribed {
            self.gone = true; // it would miss an event: it must subscribe again
        }
    }

    fn queue_frame(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        if !fds.is_empty() {
            self.flush();
            self.queue_fds = fds;
        }
        self.queue_bytes(bytes);
        self.flush();
    }

    fn queue_bytes(&mut self, bytes: &[u8]) {
        if self.queue.is_empty() {
            self.progress_ms = sys::monotonic_ms();
        }
        self.queue.extend_from_slice(bytes);
    }

    /// Queues output of a process, if this client wants it.
    pub(crate) fn output(&mut self, from: Option<&str>, stream: Stream, bytes: &[u8]) {
        let Mode::Attached { exec, streams, tty, .. } = &self.mode else { return };
        let wanted = match stream {
            Stream::Stdout => streams.stdout,
            Stream::Stderr => streams.stderr,
        };
        if exec.as_deref() != from || !wanted || self.closing {
            return;
        }
        if !*tty {
            let length = u32::try_from(bytes.len()).expect("pieces are short");
            self.queue_bytes(&stdcopy::header(stream, length));
        }
        self.queue_bytes(bytes);
        self.flush();
    }

    /// Sends what the client takes now.
    pub(crate) fn flush(&mut self) {
        while !self.queue.is_empty() && !self.gone {
            let sent = if self.queue_fds.is_empty() {
                self.socket.write(&self.queue)
            } else {
                let fds: Vec<_> = self.queue_fds.iter().map(AsFd::as_fd).collect();
                send_with_fds(&self.socket, &self.queue, &fds)
            };
            match sent {
                Ok(count) => {
                    self.queue.drain(..count);
                    self.queue_fds.clear();
                    self.progress_ms = sys::monotonic_ms();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        if self.queue.capacity() > 4096 && self.queue.is_empty() {
            self.queue = Vec::new();
        }
    }
}

fn is_temporary(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
