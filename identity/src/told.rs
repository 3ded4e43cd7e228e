//! A TLS stream that keeps one reason of its end apart: that the other end says this node was removed. In TLS 1.3 that
//! comes after the handshake, and HTTP/2 hands on no more of an I/O error than its kind and its text.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::{AlertDescription, Error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The kind of that end: one that no socket gives.
const REVOKED: io::ErrorKind = io::ErrorKind::NotFound;

/// Whether an error of a [`Told`] means that this node was removed.
pub(crate) fn is_revoked(error: &io::Error) -> bool {
    let alert = error.get_ref().and_then(|held| held.downcast_ref::<Error>());
    error.kind() == REVOKED
        || matches!(alert, Some(Error::AlertReceived(AlertDescription::CertificateRevoked)))
}

fn told(error: io::Error) -> io::Error {
    if is_revoked(&error) { io::Error::new(REVOKED, error) } else { error }
}

/// The stream.
#[derive(Debug)]
pub struct Told(pub(crate) TlsStream<TcpStream>);

impl Told {
    /// A write that failed may have a reason that was not read yet.
    fn reason(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let mut bytes = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.0).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Err(reason)) if is_revoked(&reason) => return told(reason),
                _ => return error,
            }
        }
    }
}

impl AsyncRead for Told {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer).map_err(told)
    }
}

impl AsyncWrite for Told {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        written.map_err(|error| self.reason(cx, error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.0).poll_flush(cx);
        flushed.map_err(|error| self.reason(cx, error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write_vectored(cx, slices);
        written.map_err(|error| self.reason(cx, error))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
