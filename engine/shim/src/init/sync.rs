//! Talk between the shim and a process it is making, over a socket pair. Effects.

use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};
use shoal_shim_protocol::client::{receive_with_fds, send_with_fds};
use shoal_shim_protocol::frame::{self, Decoder};
use shoal_shim_protocol::message::{Failure, FailureKind};

use crate::failure::{Context, Result, failure};

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    /// Everything is made; the terminal's master may come along.
    Ready,
    /// An exec's process, as the shim knows it.
    Pid(u32),
    /// It failed.
    Failed(Failure),
}

/// The shim's end.
#[derive(Debug)]
pub(crate) struct ParentEnd {
    socket: UnixStream,
    decoder: Decoder,
    fds: Vec<OwnedFd>,
}

/// The child's end.
#[derive(Debug)]
pub(crate) struct ChildEnd(UnixStream);

/// Makes both ends.
pub(crate) fn pair() -> Result<(ParentEnd, ChildEnd)> {
    let (parent, child) = UnixStream::pair().doing(|| "make a socket pair".to_owned())?;
    Ok((
        ParentEnd { socket: parent, decoder: Decoder::default(), fds: Vec::new() },
        ChildEnd(child),
    ))
}

impl ParentEnd {
    /// Lets the child go on.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.socket.write_all(b"g").doing(|| "release the container's process".to_owned())
    }

    /// Waits for the child to say something. `None`: its end was closed, by an exec or its death.
    pub(crate) fn wait(&mut self) -> Result<Option<Message>> {
        loop {
            let body = self.decoder.next_frame().map_err(unreadable)?;
            if let Some(body) = body {
                return frame::decode(&body).map(Some).map_err(unreadable);
            }
            let mut buffer = [0; 4096];
            let count = receive_with_fds(&self.socket, &mut buffer, &mut self.fds)
                .doing(|| "hear from the container's process".to_owned())?;
            if count == 0 {
                return Ok(None);
            }
            self.decoder.push(&buffer[..count]);
        }
    }

    /// A descriptor the child sent.
    pub(crate) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop()
    }
}

fn unreadable(error: frame::Error) -> Failure {
    failure(FailureKind::Internal, format!("the container's process is not understood: {error}"))
}

impl ChildEnd {
    /// Waits until released; ends the process when the shim is gone.
    pub(crate) fn wait(&mut self) {
        let mut byte = [0];
        if !matches!(self.0.read(&mut byte), Ok(1)) {
            crate::sys::exit_now(1);
        }
    }

    /// Tells the shim. When that fails the shim is gone, and so will be this process.
    pub(crate) fn tell(&mut self, message: &Message, fd: Option<BorrowedFd<'_>>) {
        let Ok(bytes) = frame::encode(message) else { crate::sys::exit_now(1) };
        let fds: Vec<_> = fd.into_iter().collect();
        if send_with_fds(&self.0, &bytes, &fds).is_ok_and(|sent| sent == bytes.len()) {
            return;
        }
        crate::sys::exit_now(1);
    }
}
