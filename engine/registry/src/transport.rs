//! Requests and answers of one registry: redirects, deadlines, bounded bodies. No authentication here.
//!
//! On `hyper-util`'s pooled client with our own connector and not on `reqwest`: redirects must drop
//! credentials by our rule, deadlines must run on [`shoal_base::Clock`], uploads resume in the middle of a
//! source, and the workspace has every part of it already.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, LOCATION, PROXY_AUTHORIZATION, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use shoal_base::SharedClock;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::ReaderStream;

use crate::connect::{Connector, unless_silent};
use crate::endpoint::Trust;
use crate::error::Error;
use crate::{certs, proxy, url};

const REDIRECTS_MAX: usize = 10;
const UPLOAD_CHUNK: usize = 256 << 10;
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name, TCP and TLS together.
    pub connect: Duration,
    /// Between a request and the head of its answer; while a body goes out, since its last piece.
    pub answer: Duration,
    /// Between two pieces of an answer's body.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        }
    }
}

/// Where the bytes of an upload come from. Read again from the middle when a connection breaks.
pub trait Source: Send + Sync {
    /// Opens the content at `offset`.
    fn open(&self, offset: u64) -> BoxFuture<'_, std::io::Result<Reader>>;
}

/// An open source.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// What a request carries.
#[derive(Clone)]
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    /// `length` bytes of a source from `offset` on.
    Part {
        source: Arc<dyn Source>,
        offset: u64,
        length: u64,
    },
}

/// A request; cheap to send again.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

impl Request {
    pub(crate) fn new(method: Method, url: Uri) -> Self {
        Self { method, url, headers: HeaderMap::new(), payload: Payload::Empty }
    }
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Talks to one registry and to where it redirects.
#[derive(Clone)]
pub(crate) struct Transport {
    client: legacy::Client<Connector, Body>,
    proxies: Arc<Matcher>,
    clock: SharedClock,
    timeouts: Timeouts,
    user_agent: HeaderValue,
}

/// An answer whose head has arrived.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// After redirects.
    pub(crate) url: Uri,
    body: Incoming,
    clock: SharedClock,
    idle: Duration,
}

impl Transport {
    /// A transport with the certificates that stand in `directory` now.
    pub(crate) async fn open(
        host: &str,
        directory: PathBuf,
        trust: Trust,
        clock: SharedClock,
        timeouts: Timeouts,
        user_agent: HeaderValue,
        proxies: Arc<Matcher>,
    ) -> Result<Self, Error> {
        let tls = shoal_base::blocking::run("registry certificates", move || {
            certs::client_config(&directory, trust)
        })
        .await
        .map_err(|lost| Error::Connect { host: host.to_owned(), source: Box::new(lost) })?
        .map_err(|source| Error::Certificates { host: host.to_owned(), source })?;
        let connector = Connector {
            tls: Arc::new(tls),
            proxies: Arc::clone(&proxies),
            clock: clock.clone(),
            timeout: timeouts.connect,
        };
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client, proxies, clock, timeouts, user_agent })
    }

    /// Sends a request and follows redirects of GET and HEAD. Credentials stay at the origin they are for.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response, Error> {
        let mut request = request.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send_once(&request).await?;
            let follows = response.status.is_redirection()
                && matches!(request.method, Method::GET | Method::HEAD);
            let location = response.headers.get(LOCATION).filter(|_| follows);
            let Some(location) = location.and_then(|value| value.to_str().ok()) else {
                return Ok(response);
            };
            let target = url::resolve(&request.url, location)
                .map_err(|source| Error::Url { host: host_of(&request.url), source })?;
            if !url::same_origin(&request.url, &target) {
                request.headers.remove(AUTHORIZATION);
                request.headers.remove(COOKIE);
            }
            request.url = target;
        }
        Err(Error::Redirects { url: request.url.to_string() })
    }

    async fn send_once(&self, request: &Request) -> Result<Response, Error> {
        let sent = Arc::new(AtomicU64::new(0));
        let mut builder = http::Request::builder().method(&request.method).uri(&request.url);
        if let Some(headers) = builder.headers_mut() {
            headers.extend(request.headers.clone());
            headers.insert(USER_AGENT, self.user_agent.clone());
            // Inside a tunnel the proxy sees no headers; CONNECT carries this one there.
            let plain = request.url.scheme_str() == Some("http");
            if let Some(proxy) = proxy::for_url(&self.proxies, &request.url).filter(|_| plain)
                && let Some(value) = proxy.basic_auth()
            {
                headers.insert(PROXY_AUTHORIZATION, value.clone());
            }
            if let Payload::Part { length, .. } = &request.payload {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(*length));
            }
        }
        let body = body_of(&request.payload, &sent).await?;
        let malformed = Error::Malformed { url: request.url.to_string(), what: "request target" };
        let outgoing = builder.body(body).map_err(|_| malformed)?;
        let mut answer = std::pin::pin!(self.client.request(outgoing));
        let answer = loop {
            let before = sent.load(Ordering::Relaxed);
            let waited = unless_silent(&self.clock, self.timeouts.answer, answer.as_mut()).await;
            match waited {
                Some(answer) => break answer,
                None if sent.load(Ordering::Relaxed) > before => {}
                None => {
                    let url = request.url.to_string();
                    return Err(Error::Silent { url, after: self.timeouts.answer });
                }
            }
        };
        let (head, body) = answer.map_err(|error| failed(&request.url, error))?.into_parts();
        Ok(Response {
            status: head.status,
            headers: head.headers,
            url: request.url.clone(),
            body,
            clock: self.clock.clone(),
            idle: self.timeouts.idle,
        })
    }
}

fn failed(url: &Uri, error: legacy::Error) -> Error {
    if error.is_connect() {
        Error::Connect { host: host_of(url), source: Box::new(error) }
    } else {
        Error::Broken { url: url.to_string(), source: Box::new(error) }
    }
}

pub(crate) fn host_of(url: &Uri) -> String {
    url.authority().map(ToString::to_string).unwrap_or_default()
}

async fn body_of(payload: &Payload, sent: &Arc<AtomicU64>) -> Result<Body, Error> {
    let whole = |bytes: Bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    match payload {
        Payload::Empty => Ok(whole(Bytes::new())),
        Payload::Bytes(bytes) => Ok(whole(bytes.clone())),
        Payload::Part { source, offset, length } => {
            let reader = source.open(*offset).await.map_err(|source| Error::Source { source })?;
            let sent = Arc::clone(sent);
            let pieces = ReaderStream::with_capacity(reader.take(*length), UPLOAD_CHUNK);
            let frames = pieces.map_ok(move |piece| {
                sent.fetch_add(1, Ordering::Relaxed);
                Frame::data(piece)
            });
            Ok(StreamBody::new(frames).boxed_unsync())
        }
    }
}

impl Response {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = unless_silent(&self.clock, self.idle, self.body.frame()).await;
            let silent = || Error::Silent { url: self.url.to_string(), after: self.idle };
            let Some(frame) = frame.ok_or_else(silent)? else { return Ok(None) };
            let frame = frame.map_err(|source| Error::Broken {
                url: self.url.to_string(),
                source: Box::new(source),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(crate) async fn bytes(&mut self, limit: usize) -> Result<Bytes, Error> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if all.len() + piece.len() > limit {
                return Err(Error::TooLong { url: self.url.to_string(), limit });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// A header as text.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The URL that the `Location` header names.
    pub(crate) fn location(&self) -> Result<Uri, Error> {
        let missing = || Error::Malformed { url: self.url.to_string(), what: "Location header" };
        let location = self.header(LOCATION).ok_or_else(missing)?;
        url::resolve(&self.url, location)
            .map_err(|source| Error::Url { host: host_of(&self.url), source })
    }

    /// The error that an answer of another status than wanted is. Reads what the registry says.
    pub(crate) async fn into_error(mut self) -> Error {
        const WORDS_MAX: usize = 64 << 10;
        let body = self.bytes(WORDS_MAX).await.unwrap_or_default();
        let url = self.url.to_string();
        match crate::refusal::Refusal::find(self.status, &self.headers, &body) {
            Some(refusal) => Error::Refused { url, refusal },
            None => Error::Status { url, status: self.status.as_u16() },
        }
    }
}
