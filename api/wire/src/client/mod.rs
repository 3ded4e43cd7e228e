//! A client of the API over unix sockets, TCP, TLS and ssh.
//!
//! One request, one answer; idle connections are used again. Bodies stream both ways; [`Client::hijack`]
//! turns a connection into a raw stream.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::version::{self, ApiVersion};

mod endpoint;
mod error;
mod hijack;
mod response;
mod tls;
mod transport;

pub use endpoint::{Endpoint, TlsOptions};
pub use error::Error;
pub use hijack::Hijacked;
pub use response::{JsonStream, Response};
pub use transport::{Dialer, Transport};

/// What is sent as a request's body.
pub enum Body {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// A stream, chunked.
    Stream(BoxStream<'static, std::io::Result<Bytes>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::Stream(_) => "Stream",
        })
    }
}

type WireBody = UnsyncBoxBody<Bytes, std::io::Error>;
type Pool = Arc<Mutex<Vec<SendRequest<WireBody>>>>;

/// Connections kept for later requests.
const IDLE_MAX: usize = 4;

/// A client of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    endpoint: Arc<Endpoint>,
    dialer: transport::Dialer,
    version: ApiVersion,
    headers: HeaderMap,
    pool: Pool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client that speaks the newest version. Does not connect yet.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, Error> {
        Ok(Self {
            dialer: Dialer::new(endpoint.clone())?,
            endpoint: Arc::new(endpoint),
            version: version::MAX,
            headers: HeaderMap::new(),
            pool: Pool::default(),
        })
    }

    /// Speaks this version from now on.
    #[must_use]
    pub fn with_version(mut self, version: ApiVersion) -> Self {
        self.version = version;
        self
    }

    /// Sends this header with every request.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The version it speaks.
    pub fn version(&self) -> ApiVersion {
        self.version
    }

    /// Where it connects.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks the daemon and speaks the newest version both know. Gives the headers of the ping.
    ///
    /// # Errors
    /// When the daemon cannot be reached.
    pub async fn negotiate(&mut self) -> Result<HeaderMap, Error> {
        let request = self.build(Method::HEAD, "/_ping".to_owned(), HeaderMap::new());
        let response = self.send(request, Body::Empty).await?;
        let headers = response.headers().clone();
        // Read the (empty) body so that the connection is used again.
        response.bytes().await?;
        let server = headers.get("api-version").and_then(|value| value.to_str().ok());
        if let Some(server) = server.and_then(|text| text.parse().ok()) {
            self.version = self.version.min(server);
        }
        Ok(headers)
    }

    /// Sends a request to `path` (with query, without version). Statuses from 400 are errors.
    ///
    /// # Errors
    /// When the daemon cannot be reached or answers an error.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response, Error> {
        let request = self.build(method, self.versioned(path), headers);
        self.send(request, body).await?.check().await
    }

    /// GET, answer as JSON.
    ///
    /// # Errors
    /// As [`Self::request`], and when the answer does not fit `T`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.request(Method::GET, path, HeaderMap::new(), Body::Empty).await?.json().await
    }

    /// POST of a JSON body, answer as JSON.
    ///
    /// # Errors
    /// As [`Self::request`], and when the answer does not fit `T`.
    pub async fn post<B, T>(&self, path: &str, body: &B) -> Result<T, Error>
    where
        B: Serialize + Sync + ?Sized,
        T: DeserializeOwned,
    {
        self.post_response(path, body).await?.json().await
    }

    /// POST of a JSON body; the answer is left to the caller.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn post_response<B>(&self, path: &str, body: &B) -> Result<Response, Error>
    where
        B: Serialize + Sync + ?Sized,
    {
        let body = Body::Bytes(serde_json::to_vec(body).map_err(Error::Encode)?.into());
        self.request(Method::POST, path, json_headers(), body).await
    }

    /// POST without a body; the answer is left to the caller. 304 is no error.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn post_empty(&self, path: &str) -> Result<Response, Error> {
        self.request(Method::POST, path, HeaderMap::new(), Body::Empty).await
    }

    /// DELETE; the answer is left to the caller.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn delete(&self, path: &str) -> Result<Response, Error> {
        self.request(Method::DELETE, path, HeaderMap::new(), Body::Empty).await
    }

    /// POST that turns the connection into a raw stream, for attach and exec start.
    ///
    /// # Errors
    /// As [`Self::request`], and when the daemon does not hand over the connection.
    pub async fn hijack(&self, path: &str, body: Body) -> Result<Hijacked, Error> {
        let mut headers = json_headers();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
        let request = self.build(Method::POST, self.versioned(path), headers);
        let response = self.send(request, body).await?.check().await?;
        Hijacked::of(response).await
    }

    fn versioned(&self, path: &str) -> String {
        format!("/v{}{path}", self.version)
    }

    fn build(&self, method: Method, path: String, mut headers: HeaderMap) -> Request<()> {
        for (name, value) in &self.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        headers.insert(HOST, self.endpoint.host_header());
        let agent = concat!("Shoal-Client/", env!("CARGO_PKG_VERSION"), " (linux)");
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(agent));
        let mut request = Request::new(());
        *request.method_mut() = method;
        // A path that is no URI is the caller's mistake and is answered 404 by any daemon.
        *request.uri_mut() = path.parse().unwrap_or_else(|_| http::Uri::from_static("/invalid"));
        *request.headers_mut() = headers;
        request
    }

    async fn send(&self, request: Request<()>, body: Body) -> Result<Response, Error> {
        let mut sender = self.sender().await?;
        let request = request.map(|()| wire_body(body));
        let answer = sender.send_request(request).await;
        let answer = answer
            .map_err(|source| Error::Request { endpoint: self.endpoint.to_string(), source })?;
        Ok(Response::new(answer, Some(sender), Arc::clone(&self.pool)))
    }

    /// An idle connection that still works, or a new one.
    async fn sender(&self) -> Result<SendRequest<WireBody>, Error> {
        while let Some(mut idle) = pop(&self.pool) {
            if !idle.is_closed() && idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let stream = self.dialer.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::Request { endpoint: self.endpoint.to_string(), source })?;
        drive(connection);
        Ok(sender)
    }
}

/// Moves the bytes of one connection until it ends. Its failures reach the request that waits on it.
#[expect(
    clippy::disallowed_methods,
    reason = "wire sees no task registry; the task ends with its connection"
)]
fn drive(connection: http1::Connection<TokioIo<transport::Transport>, WireBody>) {
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
}

fn pop(pool: &Pool) -> Option<SendRequest<WireBody>> {
    pool.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn push(pool: &Pool, sender: SendRequest<WireBody>) {
    let mut idle = pool.lock().unwrap_or_else(PoisonError::into_inner);
    if idle.len() < IDLE_MAX && !sender.is_closed() {
        idle.push(sender);
    }
}

fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

fn wire_body(body: Body) -> WireBody {
    match body {
        Body::Empty => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        Body::Bytes(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        Body::Stream(stream) => {
            StreamBody::new(stream.map(|item| item.map(Frame::data))).boxed_unsync()
        }
    }
}

/// A part of a path or query, percent-encoded so that it stays one part.
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// `?a=1&b=2` with escaped values, empty for no pairs.
pub fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        out.push_str(&escape(&value));
    }
    out
}

#[cfg(test)]
mod tests;
