//! One direction of a connection: bytes that arrive later, in order, as those of TCP do.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{Host, Network};

/// Bytes on their way before a writer waits.
const WINDOW: usize = 1 << 20;

/// Bytes from one end to the other.
#[derive(Debug)]
pub(super) struct Direction {
    pub(super) from: Host,
    pub(super) to: Host,
    flow: Mutex<Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    queue: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    last: Option<Instant>,
    /// The writer is done: the reader sees the end after what is queued.
    ended: bool,
    /// The reader is gone, or the connection was reset.
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Direction {
    pub(super) fn new(from: Host, to: Host) -> Arc<Self> {
        Arc::new(Self { from, to, flow: Mutex::default() })
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has both ends look again.
    pub(super) fn wake(&self) {
        let mut flow = self.flow();
        let wakers = [flow.reader.take(), flow.writer.take()];
        drop(flow);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Something has arrived.
    pub(super) fn wake_reader(&self) {
        let reader = self.flow().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(super) fn reset(&self) {
        let mut flow = self.flow();
        flow.broken = true;
        flow.queue.clear();
        drop(flow);
        self.wake();
    }

    fn end(&self) {
        self.flow().ended = true;
        self.wake();
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) network: Network,
    pub(super) incoming: Arc<Direction>,
    pub(super) outgoing: Arc<Direction>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The other end reads what was sent before, and then the end; what it still sends is lost.
        self.outgoing.end();
        self.incoming.reset();
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let direction = Arc::clone(&self.incoming);
        let mut flow = direction.flow();
        if flow.broken {
            return Poll::Ready(Err(reset()));
        }
        flow.reader = Some(context.waker().clone());
        let Some((at, _)) = flow.queue.front() else {
            return if flow.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        // The post wakes it then.
        if *at > Instant::now() {
            return Poll::Pending;
        }
        // Lost until the way is free again: the sender repeats it.
        if self.network.is_cut(direction.from, direction.to) {
            return Poll::Pending;
        }
        let Some((_, bytes)) = flow.queue.front_mut() else { return Poll::Pending };
        let count = bytes.len().min(buffer.remaining());
        buffer.put_slice(&bytes[..count]);
        bytes.advance(count);
        if bytes.is_empty() {
            flow.queue.pop_front();
        }
        flow.bytes -= count;
        let writer = flow.writer.take();
        drop(flow);
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    /// One packet, of what `packet` makes when it may be sent; its length.
    fn send(
        &self,
        context: &Context<'_>,
        packet: impl FnOnce() -> Bytes,
    ) -> Poll<io::Result<usize>> {
        let direction = &self.outgoing;
        let mut flow = direction.flow();
        if flow.broken || flow.ended {
            return Poll::Ready(Err(reset()));
        }
        if flow.bytes >= WINDOW {
            flow.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let packet = packet();
        let length = packet.len();
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        let (now, delay) = (Instant::now(), self.network.delay(direction.from, direction.to));
        let at = (now + delay).max(flow.last.unwrap_or(now));
        let is_last = flow.last == Some(at);
        flow.last = Some(at);
        flow.bytes += length;
        flow.queue.push_back((at, packet));
        drop(flow);
        if !is_last {
            self.network.post.send(at, Arc::downgrade(direction));
        }
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.send(context, || Bytes::copy_from_slice(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.send(context, || {
            let mut packet = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
            parts.iter().for_each(|part| packet.extend_from_slice(part));
            packet.freeze()
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.end();
        Poll::Ready(Ok(()))
    }
}

/// A round trip.
pub(super) async fn round_trip(network: &Network, from: Host, to: Host) {
    let there: Duration = network.delay(from, to);
    crate::time::pass(there + network.delay(to, from)).await;
}
