//! Standard streams of a process, as the shim holds them. Effects.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use shoal_shim_protocol::config::TerminalSize;
use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::stdcopy::Stream;

use crate::failure::{Context, Result, failure};
use crate::init::setup::{ChildStdio, dev_null, winsize};
use crate::logs::lines::Lines;

/// Input that waits for the process to read it; beyond it clients are not read.
pub(crate) const INPUT_BYTES_MAX: usize = 64 << 10;

/// The shim's ends.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) tty: bool,
    pub(crate) stdin: Option<OwnedFd>,
    /// Bytes for standard input.
    pub(crate) pending: Vec<u8>,
    /// Close standard input when all pending bytes are written.
    pub(crate) closing: bool,
    pub(crate) outputs: Vec<Output>,
}

/// One output of a process.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stream: Stream,
    pub(crate) fd: OwnedFd,
    pub(crate) lines: Lines,
}

/// What reading an output gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(usize),
    Later,
    End,
}

impl Output {
    fn new(stream: Stream, fd: OwnedFd) -> Self {
        Self { stream, fd, lines: Lines::default() }
    }

    /// Reads without waiting.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Read {
        match rustix::io::read(&self.fd, buffer) {
            Ok(0) => Read::End,
            Ok(count) => Read::Bytes(count),
            Err(Errno::AGAIN | Errno::INTR) => Read::Later,
            Err(_) => Read::End, // a terminal whose last process ended says EIO
        }
    }
}

impl Streams {
    /// Makes pipes, or prepares for a terminal; also gives the child's ends.
    pub(crate) fn make(
        tty: bool,
        open_stdin: bool,
        size: Option<TerminalSize>,
    ) -> Result<(Self, ChildStdio)> {
        let mut streams =
            Self { tty, stdin: None, pending: Vec::new(), closing: false, outputs: Vec::new() };
        if tty {
            return Ok((streams, ChildStdio::Terminal(size)));
        }
        let pipe =
            || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(|| "make a pipe".to_owned());
        let input = if open_stdin {
            let (read, write) = pipe()?;
            set_nonblocking(&write)?;
            streams.stdin = Some(write);
            read
        } else {
            dev_null()?
        };
        let mut ends = [Stream::Stdout, Stream::Stderr].into_iter().map(|stream| {
            let (read, write) = pipe()?;
            set_nonblocking(&read)?;
            streams.outputs.push(Output::new(stream, read));
            Ok(write)
        });
        let (Some(out), Some(error)) = (ends.next(), ends.next()) else {
            unreachable!("there are two outputs")
        };
        let child = ChildStdio::Pipes([input, out?, error?]);
        drop(ends);
        Ok((streams, child))
    }

    /// Takes the terminal's master.
    pub(crate) fn set_terminal(&mut self, master: OwnedFd) -> Result<()> {
        set_nonblocking(&master)?;
        let copy =
            rustix::io::fcntl_dupfd_cloexec(&master, 3).doing(|| "copy the terminal".to_owned())?;
        self.stdin = Some(copy);
        self.outputs = vec![Output::new(Stream::Stdout, master)];
        Ok(())
    }

    /// Writes pending input, as much as the process takes now.
    pub(crate) fn flush_input(&mut self) {
        let Some(stdin) = &self.stdin else {
            self.pending = Vec::new();
            return;
        };
        while !self.pending.is_empty() {
            match rustix::io::write(stdin, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.stdin = None; // nobody reads any more
                    self.pending = Vec::new();
                    return;
                }
            }
        }
        if self.closing && !self.tty {
            self.stdin = None;
        } else if self.closing {
            // A terminal has no end of input but its character, Ctrl-D.
            self.closing = false;
            let _full = rustix::io::write(stdin, b"\x04");
        }
    }

    /// Closes standard input once everything pending is written.
    pub(crate) fn close_input(&mut self) {
        self.closing = true;
        self.flush_input();
    }

    /// Sets the terminal's size.
    pub(crate) fn resize(&self, size: TerminalSize) -> Result<()> {
        let master = self.outputs.first().filter(|_| self.tty).map(|output| &output.fd);
        let master = master.ok_or_else(|| {
            failure(FailureKind::Conflict, "the process has no terminal, or it is closed")
        })?;
        rustix::termios::tcsetwinsize(master, winsize(size))
            .doing(|| "set the size of the terminal".to_owned())
    }
}

/// Makes reads and writes of `fd` return at once.
pub(crate) fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    rustix::io::ioctl_fionbio(fd, true).doing(|| "make a descriptor non-blocking".to_owned())
}
