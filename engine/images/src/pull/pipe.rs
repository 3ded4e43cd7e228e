//! From the writer of a download to the unpacker on another thread, counted.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf, Bytes};

/// Pieces between the writer and the unpacker.
const QUEUE: usize = 8;

/// How many bytes a reader has given.
pub(super) type Counter = Arc<AtomicU64>;

/// The end into which a download is poured.
pub(super) struct Inlet(SyncSender<Option<Bytes>>);

impl Inlet {
    /// Passes bytes on, waiting while the unpacker is slow. One that gave up is no reason to stop.
    pub(super) fn pour(&self, bytes: &Bytes) {
        let _ = self.0.send(Some(bytes.clone()));
    }

    /// Says that all bytes have come. Without it, the outlet ends in an error.
    pub(super) fn finish(self) {
        let _ = self.0.send(None);
    }
}

/// The end from which the unpacker reads.
pub(super) struct Outlet {
    pieces: Receiver<Option<Bytes>>,
    current: Bytes,
    ended: bool,
}

/// A new pipe.
pub(super) fn open() -> (Inlet, Outlet) {
    let (inlet, pieces) = sync_channel(QUEUE);
    (Inlet(inlet), Outlet { pieces, current: Bytes::new(), ended: false })
}

impl Read for Outlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.current.has_remaining() && !self.ended {
            match self.pieces.recv() {
                Ok(Some(piece)) => self.current = piece,
                Ok(None) => self.ended = true,
                Err(_) => {
                    let stopped = "the download was stopped";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, stopped));
                }
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// A reader that counts.
pub(super) struct Counted<R> {
    pub(super) inner: R,
    pub(super) counter: Counter,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.counter.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_ends_well_only_when_told_so() {
        let (inlet, mut outlet) = open();
        inlet.pour(&Bytes::from_static(b"ab"));
        inlet.pour(&Bytes::new());
        inlet.pour(&Bytes::from_static(b"cd"));
        inlet.finish();
        let mut text = String::new();
        outlet.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcd");
        assert_eq!(outlet.read(&mut [0]).unwrap(), 0);

        let (inlet, mut outlet) = open();
        inlet.pour(&Bytes::from_static(b"ab"));
        drop(inlet);
        let error = outlet.read_to_string(&mut text).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
