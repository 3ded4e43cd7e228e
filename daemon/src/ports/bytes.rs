//! Between streams of bytes and blocking readers and writers.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use shoal_api::ports::ByteStream;
use shoal_base::blocking;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_model::Failure;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::lost;

/// Bytes gathered before they are handed on.
const CHUNK: usize = 256 << 10;
/// Chunks that a slow client may be behind.
const CHUNKS: usize = 4;

/// Reads a stream on a blocking thread. Call it within the runtime.
pub(super) fn reader(stream: ByteStream) -> Box<dyn Read + Send> {
    let stream = stream.map(|chunk| chunk.map_err(|failure| io::Error::other(failure.chain())));
    Box::new(io::BufReader::with_capacity(CHUNK, SyncIoBridge::new(StreamReader::new(stream))))
}

/// Runs a job that writes, and gives what it writes as a stream. A failure is the stream's last item; when the
/// client goes away the job's next write fails.
pub(super) fn written<F>(tasks: &Tasks, name: &'static str, job: F) -> ByteStream
where
    F: FnOnce(&mut dyn Write) -> Result<(), Failure> + Send + 'static,
{
    let (sender, chunks) = mpsc::channel(CHUNKS);
    tasks.spawn(TaskKind::Stream, async move {
        let failures = sender.clone();
        let result = blocking::run(name, move || {
            let mut writer = Writer { sender, gathered: BytesMut::with_capacity(CHUNK) };
            job(&mut writer)?;
            // A client that left needs no rest.
            let _ = writer.flush();
            Ok(())
        });
        if let Err(failure) = result.await.map_err(lost).flatten() {
            let _ = failures.send(Err(failure)).await;
        }
    });
    ReceiverStream::new(chunks).boxed()
}

struct Writer {
    sender: mpsc::Sender<Result<Bytes, Failure>>,
    gathered: BytesMut,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.gathered, BytesMut::with_capacity(CHUNK)).freeze();
        let sent = self.sender.blocking_send(Ok(chunk));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away"))
    }
}
