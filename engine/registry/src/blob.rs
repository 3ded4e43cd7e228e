//! Download of a blob: streamed, continued where a broken connection left it, bounded in attempts.
//!
//! Checks lengths; the digest is checked by whoever keeps the bytes, since a download may continue what
//! lies on disk already.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{ACCEPT_ENCODING, RANGE};
use http::{HeaderValue, Method, StatusCode};
use shoal_model::Digest;

use crate::error::Error;
use crate::header::range;
use crate::manifest::Descriptor;
use crate::repository::Repository;
use crate::session::{Session, backoff};
use crate::transport::Response;

/// What a download yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// The connection broke; the next call waits this long and goes on.
    Retry {
        /// The wait.
        after: Duration,
    },
}

/// A blob being downloaded.
pub struct Download {
    repository: Arc<Repository>,
    digest: Digest,
    size: u64,
    /// Where the next byte belongs.
    position: u64,
    /// Bytes of the open answer that come before `position`.
    skip: u64,
    open: Option<Response>,
    /// Failures since the last byte.
    failures: u32,
    wait: Option<Duration>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("digest", &self.digest)
            .field("position", &self.position)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Download {
    /// A download of a blob from `position` on. Sends nothing yet.
    pub fn new(repository: Arc<Repository>, blob: &Descriptor, position: u64) -> Self {
        let (digest, size) = (blob.digest, blob.size);
        Self { repository, digest, size, position, skip: 0, open: None, failures: 0, wait: None }
    }

    /// Where the next byte belongs.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next piece; `None` when all bytes have been given.
    ///
    /// # Errors
    /// Refusals, lengths that do not fit, and failures that did not pass in the attempts allowed.
    ///
    /// # Cancel safety
    /// Dropping the future loses no bytes; the next call goes on.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        if let Some(wait) = self.wait {
            self.repository.client().shared.clock.sleep(wait).await;
            self.wait = None;
        }
        if self.position == self.size && self.open.is_none() {
            return Ok(None);
        }
        match self.advance().await {
            Ok(piece) => Ok(piece.map(Piece::Bytes)),
            Err(error) => {
                self.open = None;
                self.failures += 1;
                let attempts = self.repository.client().settings().attempts.max(1);
                if !error.is_transient() || self.failures >= attempts {
                    return Err(error);
                }
                let wish = error.refusal().and_then(|refusal| refusal.retry_after);
                let after = backoff(self.failures, wish);
                tracing::info!(digest = %self.digest, position = self.position, error = %error, "download broke");
                self.wait = Some(after);
                Ok(Some(Piece::Retry { after }))
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Error> {
        if self.open.is_none() {
            self.open = Some(self.reopen().await?);
        }
        let response = self.open.as_mut().expect("was opened above");
        loop {
            let piece = response.piece().await?;
            let url = || response.url.to_string();
            let Some(mut bytes) = piece else {
                if self.position == self.size {
                    self.open = None;
                    return Ok(None);
                }
                // Shorter than announced: the same as a broken connection.
                return Err(Error::Broken {
                    url: url(),
                    source: "the answer ended too early".into(),
                });
            };
            let skipped = self.skip.min(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            self.skip -= skipped;
            bytes.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
            if bytes.is_empty() {
                continue;
            }
            let end = self.position + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if end > self.size {
                return Err(Error::Size { url: url(), expected: self.size, actual: end });
            }
            self.position = end;
            self.failures = 0;
            return Ok(Some(bytes));
        }
    }

    async fn reopen(&mut self) -> Result<Response, Error> {
        let (digest, position, size) = (self.digest, self.position, self.size);
        let repository = &self.repository;
        let open = repository.try_each(move |session| {
            Box::pin(async move {
                let path = repository.path(&format!("blobs/{digest}"));
                open_at(session, &path, position, size).await
            })
        });
        let (response, skip) = open.await?;
        self.skip = skip;
        Ok(response)
    }
}

/// Asks for the blob from `position` on. Also gives how many bytes of the answer come before it.
async fn open_at(
    session: &Session,
    path: &str,
    position: u64,
    size: u64,
) -> Result<(Response, u64), Error> {
    let mut request = session.request(Method::GET, path)?;
    request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if position > 0 {
        let text = format!("bytes={position}-");
        let value = HeaderValue::from_str(&text).expect("digits are a header value");
        request.headers.insert(RANGE, value);
    }
    let response = session.send(request).await?;
    let url = response.url.to_string();
    if response.status == StatusCode::PARTIAL_CONTENT {
        let range = range::content(&response.headers)
            .ok_or_else(|| Error::Malformed { url: url.clone(), what: "Content-Range header" })?;
        if let Some(actual) = range.total.filter(|total| *total != size) {
            return Err(Error::Size { url, expected: size, actual });
        }
        let skip = position
            .checked_sub(range.first)
            .ok_or(Error::Malformed { url, what: "Content-Range header" })?;
        return Ok((response, skip));
    }
    if response.status != StatusCode::OK {
        return Err(Error::Status { url, status: response.status.as_u16() });
    }
    let length = response.header(http::header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    if let Some(actual) = length.filter(|length: &u64| *length != size) {
        return Err(Error::Size { url, expected: size, actual });
    }
    // A server without ranges starts at the beginning again.
    Ok((response, position))
}
