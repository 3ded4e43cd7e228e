//! The Docker Engine API over HTTP/1.1: one connection per request, streams and hijacked connections.

pub(crate) mod host;
pub(crate) mod url;

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use host::Host;
use shoal_gotemplate::value::Value;

/// The newest API version that we speak.
pub(crate) const NEWEST: &str = "1.55";

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// Nothing listens there.
    Unreachable { host: String, advice: &'static str },
    /// Connecting or talking failed.
    Transport { what: String },
    /// The daemon said no.
    Daemon { status: u16, message: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { host, advice } => write!(
                f,
                "Cannot connect to the Docker daemon at {host}. Is the docker daemon running?\n{advice}"
            ),
            Self::Transport { what } => f.write_str(what),
            Self::Daemon { message, .. } => write!(f, "Error response from daemon: {message}"),
        }
    }
}

impl Error {
    /// The HTTP status, 0 when there was no answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Daemon { status, .. } => *status,
            _ => 0,
        }
    }
}

fn transport(error: impl fmt::Display) -> Error {
    Error::Transport { what: error.to_string() }
}

type Result<T> = std::result::Result<T, Error>;
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What a request carries.
pub(crate) enum Payload {
    None,
    Json(serde_json::Value),
    /// A tar stream or the like; such a request cannot be repeated.
    Stream(Body),
}

impl Payload {
    pub(crate) fn stream(
        chunks: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self::Stream(BodyExt::boxed_unsync(StreamBody::new(
            chunks.map(|chunk| chunk.map(Frame::data)),
        )))
    }
}

/// A request under construction.
pub(crate) struct Request {
    method: &'static str,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(&'static str, String)>,
    payload: Payload,
}

impl Request {
    fn new(method: &'static str, path: impl Into<String>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, path: path.into(), query, headers, payload: Payload::None }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new("POST", path)
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new("PUT", path)
    }

    pub(crate) fn head(path: impl Into<String>) -> Self {
        Self::new("HEAD", path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path)
    }

    pub(crate) fn query(mut self, key: &str, value: impl Into<String>) -> Self {
        self.query.push((key.to_owned(), value.into()));
        self
    }

    /// Adds a query parameter when there is something to say.
    pub(crate) fn maybe(self, key: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.query(key, value) }
    }

    /// Adds `key=1`.
    pub(crate) fn switch(self, key: &str, on: bool) -> Self {
        if on { self.query(key, "1") } else { self }
    }

    pub(crate) fn header(mut self, key: &'static str, value: String) -> Self {
        if !value.is_empty() {
            self.headers.push((key, value));
        }
        self
    }

    pub(crate) fn json(mut self, body: serde_json::Value) -> Self {
        self.payload = Payload::Json(body);
        self
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
}

/// An answer whose body is yet to be read.
#[derive(Debug)]
pub(crate) struct Response {
    head: http::response::Parts,
    body: Incoming,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(transport)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    pub(crate) async fn bytes(self) -> Result<Bytes> {
        Ok(self.body.collect().await.map_err(transport)?.to_bytes())
    }

    pub(crate) async fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    pub(crate) async fn value(self) -> Result<Value> {
        let bytes = self.bytes().await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| transport(format!("reading the answer: {error}")))
    }
}

/// Bytes both ways, as after a protocol upgrade.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A hijacked connection.
pub(crate) type Hijacked = Box<dyn Duplex>;

/// The connection to a daemon.
pub(crate) struct Client {
    host: Host,
    /// Without `v`. Lowered once when the daemon is older.
    version: RefCell<String>,
    agreed: RefCell<bool>,
    headers: Vec<(String, String)>,
}

impl Client {
    /// Makes no connection yet.
    pub(crate) fn new(host: Host, headers: Vec<(String, String)>) -> Self {
        let fixed = crate::sys::env("DOCKER_API_VERSION");
        let agreed = RefCell::new(fixed.is_some());
        let version =
            fixed.map_or_else(|| NEWEST.to_owned(), |v| v.trim_start_matches('v').to_owned());
        Self { host, version: RefCell::new(version), agreed, headers }
    }

    #[allow(dead_code, reason = "for commands on images and registries")]
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn version(&self) -> String {
        self.version.borrow().clone()
    }

    /// A bare connection, on which somebody else speaks.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Duplex>> {
        self.host.connect().await
    }

    /// Asks the daemon which version it speaks. Needed only before requests that cannot be repeated.
    pub(crate) async fn negotiate(&self) -> Result<()> {
        if *self.agreed.borrow() {
            return Ok(());
        }
        let response = self.exchange(&Request::head("/_ping"), Payload::None, false).await?;
        let theirs = response.header("api-version").to_owned();
        self.lower(&theirs);
        Ok(())
    }

    fn lower(&self, theirs: &str) {
        let number = |version: &str| {
            version.split_once('.').and_then(|(major, minor)| {
                Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
            })
        };
        if number(theirs).is_some_and(|theirs| number(NEWEST).is_some_and(|ours| theirs < ours)) {
            *self.version.borrow_mut() = theirs.to_owned();
        }
        *self.agreed.borrow_mut() = true;
    }

    /// Sends a request and gives the answer when its status is good.
    pub(crate) async fn send(&self, mut request: Request) -> Result<Response> {
        let payload = std::mem::replace(&mut request.payload, Payload::None);
        let again = match &payload {
            Payload::None => Payload::None,
            Payload::Json(body) => Payload::Json(body.clone()),
            Payload::Stream(_) => {
                self.negotiate().await?;
                return check(self.exchange(&request, payload, true).await?).await;
            }
        };
        match check(self.exchange(&request, payload, true).await?).await {
            Err(Error::Daemon { status: 400, message }) if !*self.agreed.borrow() => {
                let Some(theirs) = supported(&message) else {
                    return Err(Error::Daemon { status: 400, message });
                };
                self.lower(&theirs);
                check(self.exchange(&request, again, true).await?).await
            }
            other => {
                *self.agreed.borrow_mut() = true;
                other
            }
        }
    }

    /// Sends a request and reads the JSON of the answer.
    pub(crate) async fn value(&self, request: Request) -> Result<Value> {
        self.send(request).await?.value().await
    }

    /// Sends a request whose answer has no content of interest.
    pub(crate) async fn done(&self, request: Request) -> Result<()> {
        self.send(request).await?.bytes().await.map(|_| ())
    }

    /// Sends a request that turns the connection into a plain stream.
    pub(crate) async fn hijack(&self, request: Request) -> Result<Hijacked> {
        let request =
            request.header("connection", "Upgrade".into()).header("upgrade", "tcp".into());
        let response = self.send(request).await?;
        if response.head.status != 101 {
            let status = response.head.status;
            return Err(transport(format!("unable to upgrade to tcp, received {status}")));
        }
        let response = http::Response::from_parts(response.head, response.body);
        let upgraded = hyper::upgrade::on(response).await.map_err(transport)?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }

    async fn exchange(
        &self,
        request: &Request,
        payload: Payload,
        versioned: bool,
    ) -> Result<Response> {
        let stream = self.host.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(transport)?;
        crate::sys::spawn(connection.with_upgrades());
        let mut target = String::new();
        if versioned {
            target.push_str(&format!("/v{}", self.version.borrow()));
        }
        target.push_str(&request.path);
        for (index, (key, value)) in request.query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(&format!("{key}={}", url::encode(value)));
        }
        let mut builder = http::Request::builder()
            .method(request.method)
            .uri(target)
            .header("host", self.host.authority())
            .header("user-agent", concat!("Shoal-Client/", env!("CARGO_PKG_VERSION"), " (linux)"));
        for (key, value) in &self.headers {
            builder = builder.header(key, value);
        }
        for (key, value) in &request.headers {
            builder = builder.header(*key, value);
        }
        let body: Body = match payload {
            Payload::None => Full::default().map_err(|never| match never {}).boxed_unsync(),
            Payload::Json(json) => {
                builder = builder.header("content-type", "application/json");
                Full::from(json.to_string()).map_err(|never| match never {}).boxed_unsync()
            }
            Payload::Stream(body) => {
                builder = builder.header("content-type", "application/x-tar");
                body
            }
        };
        let request = builder.body(body).map_err(transport)?;
        let response = sender.send_request(request).await.map_err(transport)?;
        let (head, body) = response.into_parts();
        Ok(Response { head, body })
    }
}

/// Turns a bad status into an error with the daemon's message.
async fn check(response: Response) -> Result<Response> {
    let status = response.head.status;
    if status.is_success() || matches!(status.as_u16(), 101 | 304) {
        return Ok(response);
    }
    let text = response.text().await?;
    let message = serde_json::from_str::<Value>(&text)
        .ok()
        .map(|value| value.at("message").text().to_owned())
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| {
            let text = text.trim();
            if text.is_empty() { status.to_string() } else { text.to_owned() }
        });
    Err(Error::Daemon { status: status.as_u16(), message: message.trim().to_owned() })
}

/// The version that an older daemon names in its refusal of ours.
fn supported(message: &str) -> Option<String> {
    if !message.contains("is too new") {
        return None;
    }
    let (_, version) = message.split_once("Maximum supported API version is ")?;
    Some(version.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_refusal_of_a_newer_version_names_the_older_one() {
        let text = "client version 1.55 is too new. Maximum supported API version is 1.50";
        assert_eq!(super::supported(text).as_deref(), Some("1.50"));
        assert_eq!(super::supported("bad parameter"), None);
    }
}
