//! Answers: whole, as JSON, or as a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::StreamExt as _;
use http::{HeaderMap, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::SendRequest;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Error, Pool, WireBody, push};
use crate::json;

/// An answer. As a stream it gives the bytes of its body.
pub struct Response {
    parts: http::response::Parts,
    body: Incoming,
    sender: Option<SendRequest<WireBody>>,
    pool: Pool,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("parts", &self.parts).finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    message: String,
}

impl Response {
    pub(super) fn new(
        answer: http::Response<Incoming>,
        sender: Option<SendRequest<WireBody>>,
        pool: Pool,
    ) -> Self {
        let (parts, body) = answer.into_parts();
        Self { parts, body, sender, pool }
    }

    /// The status, below 400 (304 is possible).
    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The whole body.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When the connection breaks or the body does not fit.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        json::decode(&self.bytes().await?).map_err(Error::Decode)
    }

    /// The body as a sequence of JSON values, as progress, events and statistics come.
    pub fn json_stream<T: DeserializeOwned>(self) -> JsonStream<T> {
        JsonStream { response: self, buffer: BytesMut::new(), ready: VecDeque::new(), ended: false }
    }

    pub(super) async fn check(self) -> Result<Self, Error> {
        let status = self.status();
        if status.as_u16() < 400 {
            return Ok(self);
        }
        let body = self.bytes().await?;
        let message = match json::decode::<ErrorBody>(&body) {
            Ok(error) if !error.message.is_empty() => error.message,
            _ => {
                let text = String::from_utf8_lossy(&body);
                let reason = status.canonical_reason().unwrap_or("error");
                if text.trim().is_empty() { reason.to_owned() } else { text.trim().to_owned() }
            }
        };
        Err(Error::Status { status, message })
    }

    pub(super) fn into_parts(self) -> (http::response::Parts, Incoming) {
        (self.parts, self.body)
    }
}

impl Stream for Response {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(source)) => return Poll::Ready(Some(Err(Error::Body(source)))),
                None => {
                    // Read to its end: the connection can serve another request.
                    if let Some(sender) = self.sender.take() {
                        push(&self.pool, sender);
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// A sequence of JSON values. Gives each as soon as it is whole.
#[derive(Debug)]
pub struct JsonStream<T> {
    response: Response,
    buffer: BytesMut,
    ready: VecDeque<T>,
    ended: bool,
}

impl<T: DeserializeOwned> JsonStream<T> {
    /// The next value; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks or a value does not fit.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(value) = self.ready.pop_front() {
                return Ok(Some(value));
            }
            if self.ended {
                return Ok(None);
            }
            match self.response.next().await {
                Some(chunk) => self.buffer.extend_from_slice(&chunk?),
                None => self.ended = true,
            }
            self.parse()?;
        }
    }

    fn parse(&mut self) -> Result<(), Error> {
        let mut values =
            serde_json::Deserializer::from_slice(&self.buffer).into_iter::<serde_json::Value>();
        loop {
            match values.next() {
                Some(Ok(value)) => {
                    self.ready.push_back(json::decode_value(value).map_err(Error::Decode)?);
                }
                Some(Err(error)) if error.is_eof() && !self.ended => break,
                Some(Err(error)) => return Err(Error::Decode(json::Error::Syntax(error))),
                None => break,
            }
        }
        let used = values.byte_offset();
        self.buffer.advance(used);
        Ok(())
    }
}
