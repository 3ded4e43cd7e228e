//! Connections that became raw streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::Stream as _;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Error, Response};

/// The raw stream of attach and exec. Shutting down its write half ends the process's stdin; reading goes on.
pub struct Hijacked {
    stream: Stream,
    framed: bool,
}

enum Stream {
    Upgraded(TokioIo<Upgraded>),
    /// A daemon that does not upgrade answers 200 and a body; nothing can be sent then.
    Body(Box<Response>, Bytes),
}

impl std::fmt::Debug for Hijacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hijacked").field("framed", &self.framed).finish_non_exhaustive()
    }
}

/// Content type of framed streams.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

impl Hijacked {
    pub(super) async fn of(response: Response) -> Result<Self, Error> {
        let kind = response.headers().get(CONTENT_TYPE);
        let framed = kind.is_some_and(|kind| kind == MULTIPLEXED);
        let stream = match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                let (parts, body) = response.into_parts();
                let answer = http::Response::from_parts(parts, body);
                let upgraded = hyper::upgrade::on(answer).await.map_err(Error::Body)?;
                Stream::Upgraded(TokioIo::new(upgraded))
            }
            StatusCode::OK => Stream::Body(Box::new(response), Bytes::new()),
            other => return Err(Error::NotUpgraded(other)),
        };
        Ok(Self { stream, framed })
    }

    /// Whether the daemon said that output comes in frames. Before API 1.42 it does not say: then output is
    /// framed unless the process has a terminal.
    pub fn framed(&self) -> bool {
        self.framed
    }
}

impl AsyncRead for Hijacked {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Upgraded(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Body(response, left) => {
                while left.is_empty() {
                    match ready!(Pin::new(&mut **response).poll_next(cx)) {
                        Some(Ok(chunk)) => *left = chunk,
                        Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                        None => return Poll::Ready(Ok(())),
                    }
                }
                let count = left.len().min(buf.remaining());
                buf.put_slice(&left[..count]);
                left.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Hijacked {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Upgraded(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Body(..) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Upgraded(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Body(..) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Upgraded(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Body(..) => Poll::Ready(Ok(())),
        }
    }
}
