//! Streams between a client and a process: the shim's socket as output chunks and input messages.

use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_model::container::{Input, Output, OutputKind};
use shoal_model::{ErrorKind, Failure};
use shoal_shim_protocol::message::Streams;
use shoal_shim_protocol::stdcopy::{self, Stream as StdStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::shim_client::Connection;

/// Messages of input that wait for a process that does not read.
const INPUT_QUEUE: usize = 16;
/// Largest piece of output handed on at once.
const CHUNK_BYTES: usize = 32 << 10;
/// Length of a stdcopy header.
const HEADER_BYTES: usize = 8;

/// A client attached to a process.
pub struct Session {
    /// Ends when the process has closed its outputs. Dropping it detaches.
    pub output: BoxStream<'static, Result<Output, Failure>>,
    /// Where the client's stdin goes; `None` when the process has none or the client sends none.
    pub input: Option<mpsc::Sender<Input>>,
    /// Whether the process has a terminal.
    pub tty: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("tty", &self.tty).finish_non_exhaustive()
    }
}

/// A client that attached before the start: the start connects it.
#[derive(Debug)]
pub(crate) struct PendingAttach {
    /// Streams it wants.
    pub streams: Streams,
    /// Where the connection goes; dropped: the start failed.
    pub connect: oneshot::Sender<Connection>,
}

impl Session {
    /// A session over a connection that exists.
    pub(crate) fn connected(
        tasks: &Tasks,
        connection: Connection,
        streams: Streams,
        tty: bool,
    ) -> Self {
        Self::later(tasks, std::future::ready(Some(connection)), streams, tty)
    }

    /// A session whose connection comes later; `None`: it never will, and the session ends.
    pub(crate) fn later(
        tasks: &Tasks,
        connection: impl Future<Output = Option<Connection>> + Send + 'static,
        streams: Streams,
        tty: bool,
    ) -> Self {
        let (read_sender, read_half) = oneshot::channel();
        let (input, receiver) = if streams.stdin {
            let (sender, receiver) = mpsc::channel(INPUT_QUEUE);
            (Some(sender), Some(receiver))
        } else {
            (None, None)
        };
        // Input flows whether or not anybody reads the output.
        tasks.spawn(TaskKind::Stream, async move {
            let Some(connection) = connection.await else { return };
            let (rest, read, write) = split(connection);
            let (pumped, idle) =
                if receiver.is_some() { (Some(write), None) } else { (None, Some(write)) };
            if let Err(reader) = read_sender.send(Reader::new(read, rest, tty, idle)) {
                // Nobody wants the output: it is dropped, the input may go on.
                drop(reader);
            }
            if let (Some(receiver), Some(write)) = (receiver, pumped) {
                pump_input(receiver, write).await;
            }
        });
        let output = stream::once(async move { read_half.await.ok() })
            .filter_map(std::future::ready)
            .flat_map(Reader::into_stream)
            .boxed();
        Self { output, input, tty }
    }
}

impl Session {
    /// Lets the output end only after `end`, so that who sees it end finds what `end` waits for.
    pub(crate) fn ending_after(self, end: impl Future<Output = ()> + Send + 'static) -> Self {
        let last = stream::once(end).filter_map(|()| std::future::ready(None));
        Self { output: self.output.chain(last).boxed(), ..self }
    }
}

fn split(connection: Connection) -> (Vec<u8>, OwnedReadHalf, OwnedWriteHalf) {
    let (rest, stream): (Vec<u8>, UnixStream) = connection.into_stream();
    let (read, write) = stream.into_split();
    (rest, read, write)
}

/// Writes a client's input until it ends, detaches or vanishes, or the process closes its side.
async fn pump_input(mut receiver: mpsc::Receiver<Input>, mut write: OwnedWriteHalf) {
    while let Some(input) = receiver.recv().await {
        match input {
            Input::Data(bytes) => {
                if write.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            Input::End => {
                // A peer that is gone already has no use for the end of input.
                let _ = write.shutdown().await;
                break;
            }
            Input::Detached => break,
        }
    }
    // Without a shutdown of its own: only `End` means the end of input.
    write.forget();
}

/// Turns the shim's bytes into chunks of output.
#[derive(Debug)]
struct Reader {
    read: OwnedReadHalf,
    rest: Vec<u8>,
    at: usize,
    /// What is left of the present stdcopy frame.
    left: Option<(OutputKind, usize)>,
    tty: bool,
    idle: Option<OwnedWriteHalf>,
    done: bool,
}

impl Reader {
    /// `idle` is the write half of a session without input: it stays open with the output, because
    /// closing it would tell the shim that stdin ended.
    fn new(read: OwnedReadHalf, rest: Vec<u8>, tty: bool, idle: Option<OwnedWriteHalf>) -> Self {
        Self { read, rest, at: 0, left: None, tty, idle, done: false }
    }

    fn into_stream(self) -> BoxStream<'static, Result<Output, Failure>> {
        stream::unfold(self, |mut reader| async move {
            if reader.done {
                return None;
            }
            let next = reader.next().await;
            reader.done = !matches!(next, Ok(Some(_)));
            match next {
                Ok(None) => None,
                Ok(Some(output)) => Some((Ok(output), reader)),
                Err(failure) => Some((Err(failure), reader)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Output>, Failure> {
        loop {
            if let Some(output) = self.take_chunk()? {
                return Ok(Some(output));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    fn available(&self) -> &[u8] {
        &self.rest[self.at..]
    }

    /// A chunk from what was received already.
    fn take_chunk(&mut self) -> Result<Option<Output>, Failure> {
        if self.left.is_none() && !self.tty {
            let Some(header) = self.available().first_chunk::<HEADER_BYTES>() else {
                return Ok(None);
            };
            let (stream, length) = stdcopy::parse_header(*header).ok_or_else(|| {
                Failure::new(ErrorKind::Internal, "the shim sent a malformed stream header")
            })?;
            let kind = match stream {
                StdStream::Stdout => OutputKind::Stdout,
                StdStream::Stderr => OutputKind::Stderr,
            };
            self.at += HEADER_BYTES;
            self.left = (length > 0).then_some((kind, length as usize));
            if self.left.is_none() {
                return self.take_chunk();
            }
        }
        let (kind, left) = self.left.unwrap_or((OutputKind::Stdout, usize::MAX));
        let count = self.available().len().min(left).min(CHUNK_BYTES);
        if count == 0 {
            return Ok(None);
        }
        let bytes = self.available()[..count].to_vec();
        self.at += count;
        if !self.tty {
            self.left = (left > count).then_some((kind, left - count));
        }
        Ok(Some(Output { kind, bytes }))
    }

    /// Receives more; `false` at the end of the stream.
    async fn fill(&mut self) -> Result<bool, Failure> {
        self.rest.drain(..self.at);
        self.at = 0;
        self.rest.reserve(CHUNK_BYTES);
        match self.read.read_buf(&mut self.rest).await {
            Ok(count) => Ok(count > 0),
            // The shim closes with unread input in its buffer: the process is gone, no failure.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => {
                Err(Failure::new(ErrorKind::Internal, format!("failed to read output: {error}")))
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(write) = self.idle.take() {
            write.forget();
        }
    }
}
